// Mailboxes between control and a worker: what looking into an empty one costs, a message sent and received,
// and a message to another core and back, beside what the machine itself takes for the like.
//
// Counters: cycles (of a look or a round trip) or cycles_per_message, medians and minima of samples of one
// run. Rows that differ only in `ours...` belong together: `load` reads one shared line, `copy` copies the
// same bytes in and out of memory without a ring, `flag` passes a number in one line each way. Rings lie on
// plain memory, so no EAL is started. Rows with two threads need two CPUs.
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include <rte_pause.h>
#include <rte_ring.h>
#include <sched.h>

#include "bench/samples.h"
#include "dataplane/mailbox.h"
#include "dataplane/message.h"
#include "dataplane/ring_elem.h"

namespace {

using bench::Samples;
using bench::stamp;
using dataplane::Message;

constexpr unsigned kRing = 1024;        // as pools.mailbox_ring
constexpr unsigned kMostMessages = 32;  // what a worker takes in one loop
constexpr unsigned kTurns = 64;         // of what is measured, between two looks at the clock
constexpr unsigned kSpins = 4096;       // before a waiting thread lets others run

struct Freed {
  void operator()(void* p) const { std::free(p); }
};

class Ring {
 public:
  Ring() {
    const auto bytes = static_cast<std::size_t>(dataplane::phantom_ring_memsize_elem(sizeof(Message), kRing));
    memory_.reset(std::aligned_alloc(128, (bytes + 127) / 128 * 128));
    rte_ring_init(get(), "bench", kRing, RING_F_SP_ENQ | RING_F_SC_DEQ);
  }
  [[nodiscard]] rte_ring* get() const { return static_cast<rte_ring*>(memory_.get()); }

 private:
  std::unique_ptr<void, Freed> memory_;
};

// Measures `turns` times `what` in each iteration; `unit` of them count as one of the counter's.
template <typename What>
Samples sample(benchmark::State& state, double units, What&& what) {
  static const auto kStamp = static_cast<double>(bench::stamp_cycles());
  Samples samples;
  for (auto _ : state) {
    const std::uint64_t begin = stamp();
    for (unsigned i = 0; i < kTurns; ++i) what();
    samples.add((static_cast<double>(stamp() - begin) - kStamp) / (kTurns * units));
  }
  return samples;
}

// ---- an empty mailbox
void look(benchmark::State& state) {
  const Ring ring;
  bench::put(state, "cycles",
             sample(state, 1, [&] { benchmark::DoNotOptimize(rte_ring_empty(ring.get())); }));
}

void take_nothing(benchmark::State& state) {
  const Ring ring;
  std::array<Message, kMostMessages> messages;
  bench::put(state, "cycles", sample(state, 1, [&] {
               benchmark::DoNotOptimize(dataplane::pop(ring.get(), messages.data(), kMostMessages));
             }));
}

void load(benchmark::State& state) {
  std::atomic<std::uint64_t> word{0};
  bench::put(state, "cycles",
             sample(state, 1, [&] { benchmark::DoNotOptimize(word.load(std::memory_order_acquire)); }));
}

// ---- messages on one core
void message(benchmark::State& state) {
  const Ring ring;
  const auto burst = static_cast<unsigned>(state.range(0));
  std::array<Message, kMostMessages> in;
  std::array<Message, kMostMessages> out;
  unsigned taken = burst;
  bench::put(state, "cycles_per_message", sample(state, burst, [&] {
               for (unsigned i = 0; i < burst; ++i) dataplane::push(ring.get(), in[i]);
               taken = std::min(taken, dataplane::pop(ring.get(), out.data(), kMostMessages));
               benchmark::DoNotOptimize(out);
             }));
  if (taken != burst) state.SkipWithError("messages were lost");
}

void copy(benchmark::State& state) {
  const auto burst = static_cast<unsigned>(state.range(0));
  std::array<Message, kMostMessages> in;
  std::array<Message, kMostMessages> out;
  std::vector<Message> memory(kRing);
  std::size_t at = 0;
  bench::put(state, "cycles_per_message", sample(state, burst, [&] {
               Message* const place = &memory[at];
               at = (at + kMostMessages) % kRing;
               for (unsigned i = 0; i < burst; ++i) place[i] = in[i];
               benchmark::ClobberMemory();
               for (unsigned i = 0; i < burst; ++i) out[i] = place[i];
               benchmark::DoNotOptimize(out);
             }));
}

// ---- two cores
void wait(unsigned& spins) {
  if (++spins % kSpins == 0) {
    std::this_thread::yield();
  } else {
    rte_pause();
  }
}

// The CPUs this process may use.
std::vector<int> cpus() {
  cpu_set_t set;
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return found;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  }
  return found;
}

void stay_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

// Another core that does `step` over and over, and this one on a CPU of its own meanwhile.
class OtherCore {
 public:
  template <typename Step>
  explicit OtherCore(Step step) {
    sched_getaffinity(0, sizeof(before_), &before_);
    const std::vector<int> usable = cpus();
    stay_on(usable.front());
    thread_ = std::thread([this, step, other = usable.back()]() mutable {
      stay_on(other);
      for (unsigned spins = 0; !stop_.load(std::memory_order_relaxed);) {
        if (!step()) wait(spins);
      }
    });
  }
  ~OtherCore() {
    stop_ = true;
    thread_.join();
    sched_setaffinity(0, sizeof(before_), &before_);
  }
  OtherCore(const OtherCore&) = delete;
  OtherCore& operator=(const OtherCore&) = delete;

 private:
  cpu_set_t before_{};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

bool two_cpus(benchmark::State& state) {
  if (cpus().size() >= 2) return true;
  state.SkipWithError("only one CPU");
  return false;
}

// `burst` messages to the other core, which sends each back.
void round_trip(benchmark::State& state) {
  if (!two_cpus(state)) return;
  const Ring there;
  const Ring back;
  const auto burst = static_cast<unsigned>(state.range(0));
  std::array<Message, kMostMessages> held;
  const OtherCore other([&there, &back, held]() mutable {
    const unsigned n = dataplane::pop(there.get(), held.data(), kMostMessages);
    for (unsigned i = 0; i < n; ++i) dataplane::push(back.get(), held[i]);
    return n != 0;
  });
  std::array<Message, kMostMessages> out;
  const Samples samples = sample(state, burst, [&] {
    for (unsigned i = 0; i < burst; ++i) dataplane::push(there.get(), out[i]);
    unsigned spins = 0;
    for (unsigned taken = 0; taken < burst;) {
      const unsigned n = dataplane::pop(back.get(), out.data(), kMostMessages);
      taken += n;
      if (n == 0) wait(spins);
    }
  });
  bench::put(state, "cycles_per_message", samples);
}

void flag(benchmark::State& state) {
  if (!two_cpus(state)) return;
  struct alignas(128) Word {
    std::atomic<std::uint64_t> value{0};
  };
  Word there;
  Word back;
  const OtherCore other([&there, &back, seen = std::uint64_t{0}]() mutable {
    const std::uint64_t now = there.value.load(std::memory_order_acquire);
    if (now == seen) return false;
    seen = now;
    back.value.store(now, std::memory_order_release);
    return true;
  });
  std::uint64_t number = 0;
  const Samples samples = sample(state, 1, [&] {
    there.value.store(++number, std::memory_order_release);
    unsigned spins = 0;
    while (back.value.load(std::memory_order_acquire) != number) wait(spins);
  });
  bench::put(state, "cycles_per_message", samples);
}

void bursts(benchmark::internal::Benchmark* b) {
  b->ArgName("burst")->Arg(1)->Arg(4)->Arg(16)->Arg(kMostMessages);
}

BENCHMARK(look)->Name("empty/ours_look");
BENCHMARK(take_nothing)->Name("empty/ours_take");
BENCHMARK(load)->Name("empty/load");
BENCHMARK(message)->Name("message/ours")->Apply(bursts);
BENCHMARK(copy)->Name("message/copy")->Apply(bursts);
BENCHMARK(round_trip)->Name("round_trip/ours")->Apply(bursts)->UseRealTime();
BENCHMARK(flag)->Name("round_trip/flag")->ArgName("burst")->Arg(1)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
