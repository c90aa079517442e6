// Rate by number of sessions: a worker with 1 to 1,000,000 of them that all have traffic, beside a worker of
// a gateway with one, at 64 bytes.
//
//   bench_scale [--sessions N] [Google Benchmark's options]
//
// --sessions: room for so many, 1,000,000 by default and fewer where memory is short; rows beyond it are
// skipped and say so. Argument of a row: sessions in traffic. Those of `uniform` come in turn, shuffled, so
// that the last packet of each is as long ago as it can be; those of `zipf` by 1/rank. Samples of 256 packets
// with one session and with many take turns. bench/README.md has the counters.
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include <rte_cycles.h>
#include <rte_eal.h>

#include "bench/arguments.h"
#include "bench/lane.h"
#include "bench/memory.h"

namespace {

using bench::Bed;
using bench::Lane;
using bench::Order;

constexpr std::size_t kBytes = 64;
constexpr std::uint32_t kMost = 1'000'000;
// Left to everything else: this program's own tables, the kernel, and whoever else runs.
constexpr std::size_t kSpareBytes = std::size_t{1} << 30;

std::uint32_t room = kMost;

Bed& bed() {
  static Bed b("s", room);
  return b;
}

// The other gateway: as it is with one session, and no tables for more.
Bed& single_bed() {
  static Bed b("t", 1);
  return b;
}

Order& order(std::uint32_t sessions, Order::Kind kind) {
  static std::map<std::pair<std::uint32_t, Order::Kind>, std::unique_ptr<Order>> orders;
  std::unique_ptr<Order>& found = orders[{sessions, kind}];
  if (!found) found = std::make_unique<Order>(sessions, kind);
  return *found;
}

unsigned eal_megabytes(std::uint32_t sessions) {
  return Bed::eal_megabytes(sessions) + Bed::eal_megabytes(1);
}

std::size_t needed(std::uint32_t sessions) {
  return Bed::bytes_needed(sessions) + (std::size_t{eal_megabytes(sessions)} << 20) + kSpareBytes;
}

void limit_room() {
  const std::size_t available = bench::available_memory();
  const std::uint32_t wanted = room;
  while (room > 1 && needed(room) > available) room -= room / 10 + 1;
  if (room == wanted) return;
  std::cerr << "bench_scale: " << (available >> 20) << " MiB are available and " << wanted
            << " sessions need " << (needed(wanted) >> 20) << " MiB; going up to " << room << "\n";
}

struct Run {
  bench::LaneSamples many, one;
};

void sample(Lane& lane, Order& turns, bench::LaneSamples& samples) {
  lane.feed(turns);
  const bench::Polled polled = lane.poll();
  samples.add(polled, lane.port(turns));
}

void report(benchmark::State& state, const Run& run) {
  run.many.put(state);
  run.one.put(state, "one_");
  bench::put_ratio(state, "rate", run.one.poll, run.many.poll);
  state.counters["mpps"] = static_cast<double>(rte_get_tsc_hz()) / run.many.poll.median() / 1e6;
}

template <Lane::Way kWay, Order::Kind kKind>
void scale(benchmark::State& state) {
  const auto sessions = static_cast<std::uint32_t>(state.range(0));
  if (sessions > room) {
    state.SkipWithError("more sessions than there is room for");
    return;
  }
  bed().warm(sessions);
  single_bed().warm(1);
  Lane lane(bed(), kWay, kBytes);
  Lane single_lane(single_bed(), kWay, kBytes);
  Order& many = order(sessions, kKind);
  Order& single = order(1, Order::Kind::kUniform);
  const auto drops = [] { return bed().site.gw.all_drops() + single_bed().site.gw.all_drops(); };
  const std::uint64_t before = drops();
  Run run;
  for (auto _ : state) {
    sample(lane, many, run.many);
    sample(single_lane, single, run.one);
  }
  report(state, run);
  if (lane.wrong() + single_lane.wrong() != 0 || drops() != before)
    state.SkipWithError("packets were dropped");
}

void all(benchmark::internal::Benchmark* b) {
  b->ArgName("sessions")->Arg(1)->Arg(100)->Arg(10'000)->Arg(100'000)->Arg(kMost);
}
void several(benchmark::internal::Benchmark* b) {
  b->ArgName("sessions")->Arg(100)->Arg(10'000)->Arg(100'000)->Arg(kMost);
}

constexpr auto kSeal = Lane::Way::kSeal;
constexpr auto kOpen = Lane::Way::kOpen;
BENCHMARK_TEMPLATE(scale, kSeal, Order::Kind::kUniform)->Name("seal/uniform")->Apply(all);
BENCHMARK_TEMPLATE(scale, kOpen, Order::Kind::kUniform)->Name("open/uniform")->Apply(all);
BENCHMARK_TEMPLATE(scale, kSeal, Order::Kind::kZipf)->Name("seal/zipf")->Apply(several);
BENCHMARK_TEMPLATE(scale, kOpen, Order::Kind::kZipf)->Name("open/zipf")->Apply(several);

}  // namespace

int main(int argc, char** argv) {
  room = bench::take_number(argc, argv, "--sessions", kMost, kMost);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  limit_room();
  support::start_eal({eal_megabytes(room), true});
  benchmark::AddCustomContext("eal_memory", rte_eal_has_hugepages() != 0 ? "hugepages" : "no-huge");
  benchmark::AddCustomContext("sessions", std::to_string(room));
  benchmark::AddCustomContext("session_bytes", std::to_string(Bed::bytes_needed(room) / room));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
