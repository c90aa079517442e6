// What a session costs beside packets: control's time for adding and removing one, the worker's while it
// takes the news in, and memory.
//
//   bench_control [Google Benchmark's options]
//
// Argument: sessions that are there already. A real control core and worker on one thread, taken in turns;
// the state store is memory, so what a disk takes is not in it. bench/README.md has the counters.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <malloc.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <spdlog/spdlog.h>

#include "bench/samples.h"
#include "tests/support/live.h"

namespace {

using bench::Samples;
using bench::stamp;

// Turns of control and worker after which an order is carried out and answered.
constexpr unsigned kTurns = 6;
constexpr unsigned kSpare = 64;  // room beside the sessions that are there

double microseconds(double cycles) {
  return cycles * 1e6 / static_cast<double>(rte_get_tsc_hz());
}

std::size_t heap_bytes() {
  return mallinfo2().uordblks + mallinfo2().hblkhd;
}

support::GatewayOptions options(std::uint32_t sessions) {
  support::GatewayOptions o;
  o.sessions = sessions + kSpare;
  o.keys = 6 * (sessions + kSpare);
  o.windows_per_session = 1;
  o.routes = 2 * kSpare;
  return o;
}

// A gateway with so many idle sessions, one at a time.
class House {
 public:
  explicit House(std::uint32_t sessions)
      : live(fmt::format("c{}", sessions), 1, options(sessions)), sessions_(sessions) {
    const std::size_t heap = heap_bytes();
    const std::uint32_t keys = free_keys();
    for (std::uint32_t i = 0; i < sessions; ++i) {
      if (!live.add(name(i), i).ok()) throw std::runtime_error("a session was refused");
      turns(i % 16 == 0 ? kTurns : 0);
    }
    turns(1000);
    heap_each = static_cast<double>(heap_bytes() - heap) / sessions;
    keys_each = static_cast<double>(keys - free_keys()) / sessions;
  }

  static std::string name(std::uint32_t i) { return fmt::format("s{}", i); }
  [[nodiscard]] std::uint32_t sessions() const { return sessions_; }
  [[nodiscard]] dataplane::StallStats& stalls() { return live.gw.topology().workers[0].stats->stalls; }
  // Cycles of control in so many turns.
  std::uint64_t turns(unsigned n) {
    std::uint64_t cycles = 0;
    for (unsigned i = 0; i < n; ++i) {
      const std::uint64_t begin = stamp();
      live.control->poll();
      cycles += stamp() - begin;
      live.gw.poll(0);
    }
    return cycles;
  }

  support::Live live;
  double heap_each = 0;
  double keys_each = 0;

 private:
  std::uint32_t free_keys() { return live.gw.topology().workers[0].keys->free_count(); }
  std::uint32_t sessions_;
};

std::unique_ptr<House> there;

House& house(std::uint32_t sessions) {
  if (!there || there->sessions() != sessions) {
    there.reset();
    there = std::make_unique<House>(sessions);
  }
  return *there;
}

// Cycles of control, the turns behind an order included; `idle`: of so many turns without one.
struct Costs {
  Samples add, remove, idle;
};

// Counters in microseconds, less the least that turns take anyway.
void put_cost(benchmark::State& state, const std::string& name, const Samples& whole, const Samples& idle) {
  state.counters[name] = microseconds(whole.median() - idle.least());
  state.counters[name + "_min"] = microseconds(whole.least() - idle.least());
}

// One more session and its removal.
void visit(House& h, std::uint32_t number, bool routed, Costs& costs) {
  const std::string name = House::name(number);
  const dataplane::SessionEntry entry = h.live.entry(name, number);
  std::vector<dataplane::RouteConfig> routes;
  if (routed) routes.push_back(h.live.route("100.64.0.1/32", name));
  costs.idle.add(static_cast<double>(h.turns(kTurns)));
  std::uint64_t begin = stamp();
  const bool added = h.live.door().session_add(entry, routes).ok();
  std::uint64_t cycles = stamp() - begin;
  costs.add.add(static_cast<double>(cycles + h.turns(kTurns)));
  begin = stamp();
  const bool removed = h.live.door().session_remove(name, 0).ok();
  cycles = stamp() - begin;
  costs.remove.add(static_cast<double>(cycles + h.turns(kTurns)));
  if (!added || !removed) throw std::runtime_error("a session was refused");
}

template <bool kRouted>
void session_cost(benchmark::State& state) {
  House& h = house(static_cast<std::uint32_t>(state.range(0)));
  h.stalls() = {};
  Costs costs;
  std::uint32_t number = h.sessions();
  for (auto _ : state) visit(h, ++number, kRouted, costs);
  put_cost(state, "add_us", costs.add, costs.idle);
  put_cost(state, "remove_us", costs.remove, costs.idle);
  const dataplane::StallStats& stalls = h.stalls();
  std::uint64_t loops = 0;
  for (const std::uint64_t n : stalls.loops) loops += n;
  state.counters["stall_us"] = static_cast<double>(stalls.worst_loop_ns) / 1e3;
  state.counters["stall_loops"] = static_cast<double>(loops);
  state.counters["stall_above_10us"] = static_cast<double>(stalls.above(10));
}

void memory(benchmark::State& state) {
  House& h = house(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(h);
  session::ShardLimits limits = h.live.gw.shard().limits();
  const std::size_t whole = session::Shard::bytes_needed(limits);
  const std::uint32_t most = limits.sessions;
  limits.sessions = most / 2;
  const auto slots = static_cast<double>(whole - session::Shard::bytes_needed(limits));
  state.counters["slot_bytes"] = slots / static_cast<double>(most - limits.sessions);
  state.counters["key_bytes"] = h.keys_each * sizeof(crypto::KeySlot);
  state.counters["heap_bytes"] = h.heap_each;
  state.counters["session_bytes"] =
      state.counters["slot_bytes"] + state.counters["key_bytes"] + state.counters["heap_bytes"];
}

BENCHMARK(session_cost<false>)->Name("session/plain")->ArgName("sessions")->Arg(1000)->Iterations(2000);
BENCHMARK(session_cost<true>)->Name("session/route")->ArgName("sessions")->Arg(1000)->Iterations(2000);
BENCHMARK(memory)->ArgName("sessions")->Arg(1000)->Iterations(1);
BENCHMARK(session_cost<false>)->Name("session/plain")->ArgName("sessions")->Arg(50'000)->Iterations(2000);
BENCHMARK(memory)->ArgName("sessions")->Arg(50'000)->Iterations(1);

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  spdlog::set_level(spdlog::level::warn);  // or each session says hello
  support::start_eal({1024, true});
  benchmark::AddCustomContext("eal_memory", rte_eal_has_hugepages() != 0 ? "hugepages" : "no-huge");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  there.reset();  // before what it stands on
  return 0;
}
