// What a session costs beside packets: control's time for adding and removing one, the worker's while it
// takes the news in, and memory.
//
//   bench_control [--sessions N] [Google Benchmark's options]
//
// Argument of a row: sessions that are there already; rows with more than N (default 100,000) are skipped and
// say so. A real control core and worker on one thread, taken in turns. The state store is memory, so what a
// disk takes is not in it, but for the rows `sqlite_tmpfs` and `sqlite_disk`. bench/README.md has the
// counters.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <spdlog/spdlog.h>

#include "bench/arguments.h"
#include "bench/memory.h"
#include "bench/samples.h"
#include "dataplane/session_manager.h"
#include "dataplane/store.h"
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

constexpr std::uint32_t kFew = 1000;
constexpr std::uint32_t kUsual = 100'000;
constexpr std::uint32_t kMost = 1'000'000;
// Of an idle session: two directions of two epochs.
constexpr std::uint32_t kKeysPerSession = 4;
// Memory that a session takes, keys, slot and control's part, with room for what tables double in.
constexpr std::size_t kSessionBytes = 12 * 1024;

// Rows with more sessions are skipped.
std::uint32_t most_sessions = kUsual;

support::GatewayOptions options(std::uint32_t sessions) {
  support::GatewayOptions o;
  o.sessions = sessions + kSpare;
  o.keys = kKeysPerSession * sessions + 8 * kSpare;
  o.windows_per_session = 1;
  o.routes = 2 * kSpare;
  return o;
}

enum class Disk : std::uint8_t {
  kNone,   // the store is memory
  kTmpfs,  // SQLite in /dev/shm: its own work, and system calls that reach no disk
  kDisk,   // SQLite in TMPDIR, or /tmp: with what that file system takes to make a commit durable
};

// A state store of its own on disk, gone afterwards.
class StateFolder {
 public:
  explicit StateFolder(Disk disk) : path_(folder(disk)) {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no folder could be made as " + path_);
    dataplane::SqliteStore::create(path_, "bench");
    store_ = std::make_unique<dataplane::SqliteStore>(path_, "bench");
  }
  ~StateFolder() {
    store_.reset();
    std::error_code left;
    std::filesystem::remove_all(path_, left);
  }
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;
  [[nodiscard]] dataplane::SqliteStore& store() { return *store_; }

 private:
  static std::string folder(Disk disk) {
    const char* chosen = std::getenv("TMPDIR");
    const std::string base = disk == Disk::kTmpfs ? "/dev/shm" : chosen != nullptr ? chosen : "/tmp";
    return base + "/phantom-bench-state-XXXXXX";
  }
  std::string path_;
  std::unique_ptr<dataplane::SqliteStore> store_;
};

// A gateway with so many idle sessions, one at a time.
class House {
 public:
  House(std::uint32_t sessions, Disk disk)
      : state_(disk == Disk::kNone ? nullptr : std::make_unique<StateFolder>(disk)),
        live(fmt::format("c{}", sessions), 1, options(sessions), state_ ? &state_->store() : nullptr),
        sessions_(sessions),
        disk_(disk) {
    const std::size_t heap = dataplane::heap_bytes();
    const std::uint32_t keys = free_keys();
    for (std::uint32_t i = 0; i < sessions; ++i) {
      if (!live.add(name(i), i).ok()) throw std::runtime_error("a session was refused");
      turns(2);  // or news for the worker pile up
    }
    turns(1000);
    heap_each = static_cast<double>(dataplane::heap_bytes() - heap) / sessions;
    keys_each = static_cast<double>(keys - free_keys()) / sessions;
  }

  static std::string name(std::uint32_t i) { return fmt::format("s{}", i); }
  [[nodiscard]] std::uint32_t sessions() const { return sessions_; }
  [[nodiscard]] Disk disk() const { return disk_; }
  // No secret comes twice: a store would know it.
  std::uint32_t next_number() { return next_number_++; }
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

 private:
  std::unique_ptr<StateFolder> state_;  // before what uses it

 public:
  support::Live live;
  double heap_each = 0;
  double keys_each = 0;

 private:
  std::uint32_t free_keys() { return live.gw.topology().workers[0].keys->free_count(); }
  std::uint32_t sessions_;
  std::uint32_t next_number_ = sessions_;
  Disk disk_;
};

std::unique_ptr<House> there;

// Null, and the row says why: it is not for this run.
House* house(benchmark::State& state, Disk disk = Disk::kNone) {
  const auto sessions = static_cast<std::uint32_t>(state.range(0));
  if (there && there->sessions() == sessions && there->disk() == disk) return there.get();
  there.reset();
  const bool asked = sessions <= most_sessions;
  if (!asked || sessions * kSessionBytes > bench::available_memory()) {
    state.SkipWithError(asked ? "not enough memory for so many sessions" : "needs --sessions of so many");
    return nullptr;
  }
  there = std::make_unique<House>(sessions, disk);
  return there.get();
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

template <bool kRouted, Disk kDisk>
void session_cost(benchmark::State& state) {
  House* const h = house(state, kDisk);
  if (h == nullptr) return;
  h->stalls() = {};
  Costs costs;
  for (auto _ : state) visit(*h, h->next_number(), kRouted, costs);
  put_cost(state, "add_us", costs.add, costs.idle);
  put_cost(state, "remove_us", costs.remove, costs.idle);
  const dataplane::StallStats& stalls = h->stalls();
  std::uint64_t loops = 0;
  for (const std::uint64_t n : stalls.loops) loops += n;
  state.counters["stall_us"] = static_cast<double>(stalls.worst_loop_ns) / 1e3;
  state.counters["stall_loops"] = static_cast<double>(loops);
  state.counters["stall_above_10us"] = static_cast<double>(stalls.above(10));
}

void memory(benchmark::State& state) {
  House* const h = house(state);
  if (h == nullptr) return;
  for (auto _ : state) benchmark::DoNotOptimize(h);
  session::ShardLimits limits = h->live.gw.shard().limits();
  const std::size_t whole = session::Shard::bytes_needed(limits);
  const std::uint32_t most = limits.sessions;
  limits.sessions = most / 2;
  const auto slots = static_cast<double>(whole - session::Shard::bytes_needed(limits));
  state.counters["slot_bytes"] = slots / static_cast<double>(most - limits.sessions);
  state.counters["key_bytes"] = h->keys_each * sizeof(crypto::KeySlot);
  state.counters["heap_bytes"] = h->heap_each;
  state.counters["session_bytes"] =
      state.counters["slot_bytes"] + state.counters["key_bytes"] + state.counters["heap_bytes"];
}

void with(std::int64_t sessions) {
  const auto row = [sessions](const char* name, auto* cost, int iterations) {
    benchmark::RegisterBenchmark(name, cost)->ArgName("sessions")->Arg(sessions)->Iterations(iterations);
  };
  row("session/plain", session_cost<false, Disk::kNone>, 2000);
  row("session/route", session_cost<true, Disk::kNone>, 2000);
  row("memory", memory, 1);
  if (sessions != kFew) return;
  row("session/sqlite_tmpfs", session_cost<false, Disk::kTmpfs>, 500);
  row("session/sqlite_disk", session_cost<false, Disk::kDisk>, 500);
}

}  // namespace

int main(int argc, char** argv) {
  most_sessions = bench::take_number(argc, argv, "--sessions", kMost, kUsual);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  spdlog::set_level(spdlog::level::warn);  // or each session says hello
  support::start_eal({1024, true});
  benchmark::AddCustomContext("eal_memory", rte_eal_has_hugepages() != 0 ? "hugepages" : "no-huge");
  for (const std::uint32_t sessions : {kFew, kUsual, kMost}) with(sessions);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  there.reset();  // before what it stands on
  return 0;
}
