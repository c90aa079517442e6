// Anti-replay window: ours beside a bitset that is shifted (what the reference does) and a std::set that is
// trimmed, on the same sequences in the same run.
//
// Arguments: how far packets are out of order (0: not at all). Every step is what a received packet costs: an
// advisory look before it is opened, the decision behind it. cycles_per_packet is the time stamp counter over
// the packets of a run; the ratio of two rows with the same argument is the figure that travels between
// machines.
#include <algorithm>
#include <bitset>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include "session/replay.h"

namespace {

constexpr std::size_t kPackets = 1 << 16;

template <std::uint32_t kBits>
class Ours {
 public:
  bool fresh(std::uint32_t sequence) const {
    return session::replay_peek(state_, words_.data(), kBits, sequence) == session::ReplayVerdict::kNew;
  }
  bool take(std::uint32_t sequence) {
    return session::replay_commit(state_, words_.data(), kBits, sequence) == session::ReplayVerdict::kNew;
  }

 private:
  session::ReplayState state_;
  std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>(kBits / 64);
};

template <std::uint32_t kBits>
class ShiftedBitset {
 public:
  bool fresh(std::uint32_t sequence) const {
    const std::uint32_t back = highest_ - sequence;
    return !used_ || (back != 0 && back >= kHalf) || (back < kBits && !seen_[back]);
  }
  bool take(std::uint32_t sequence) {
    if (!fresh(sequence)) return false;
    const std::uint32_t ahead = sequence - highest_;
    if (!used_ || ahead < kHalf) {
      seen_ = used_ && ahead < kBits ? seen_ << ahead : std::bitset<kBits>();
      highest_ = sequence;
      used_ = true;
    }
    seen_.set(highest_ - sequence);
    return true;
  }

 private:
  static constexpr std::uint32_t kHalf = 1U << 31;
  std::bitset<kBits> seen_;
  std::uint32_t highest_ = 0;
  bool used_ = false;
};

// Plain integers that never wrap within a run.
template <std::uint32_t kBits>
class TrimmedSet {
 public:
  bool fresh(std::uint32_t sequence) const {
    return seen_.empty() || (sequence + kBits > *seen_.rbegin() && seen_.count(sequence) == 0);
  }
  bool take(std::uint32_t sequence) {
    if (!fresh(sequence)) return false;
    seen_.insert(sequence);
    while (*seen_.begin() + kBits <= *seen_.rbegin()) seen_.erase(seen_.begin());
    return true;
  }

 private:
  std::set<std::uint32_t> seen_;
};

// 0, 1, 2, ... with each packet up to `reorder` places late; every number once.
std::vector<std::uint32_t> arrivals(std::uint32_t reorder) {
  std::mt19937 random(1);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> order(kPackets);
  for (std::uint32_t i = 0; i < kPackets; ++i) {
    order[i] = {i + static_cast<std::uint32_t>(random() % (reorder + 1)), i};
  }
  std::sort(order.begin(), order.end());
  std::vector<std::uint32_t> sequences;
  for (const auto& [place, sequence] : order) sequences.push_back(sequence);
  return sequences;
}

template <class Window>
void receive(benchmark::State& state) {
  const auto sequences = arrivals(static_cast<std::uint32_t>(state.range(0)));
  std::uint64_t taken = 0;
  std::uint64_t rounds = 0;
  std::uint64_t cycles = 0;
  for (auto _ : state) {
    Window window;
    const std::uint64_t start = __rdtsc();
    for (const std::uint32_t sequence : sequences) {
      if (window.fresh(sequence) && window.take(sequence)) ++taken;
    }
    cycles += __rdtsc() - start;
    ++rounds;
  }
  if (taken != rounds * kPackets) state.SkipWithError("a packet inside the window was refused");
  state.counters["cycles_per_packet"] =
      static_cast<double>(cycles) / (static_cast<double>(rounds) * static_cast<double>(kPackets));
  state.SetItemsProcessed(static_cast<std::int64_t>(rounds * kPackets));
}

void reorders(benchmark::internal::Benchmark* bench) {
  bench->ArgName("reorder")->Arg(0)->Arg(8)->Arg(256);
}

BENCHMARK_TEMPLATE(receive, Ours<1024>)->Name("replay/1024/ours")->Apply(reorders);
BENCHMARK_TEMPLATE(receive, ShiftedBitset<1024>)->Name("replay/1024/shifted_bitset")->Apply(reorders);
BENCHMARK_TEMPLATE(receive, TrimmedSet<1024>)->Name("replay/1024/std_set")->Apply(reorders);
BENCHMARK_TEMPLATE(receive, Ours<8192>)->Name("replay/8192/ours")->Apply(reorders);
BENCHMARK_TEMPLATE(receive, ShiftedBitset<8192>)->Name("replay/8192/shifted_bitset")->Apply(reorders);
BENCHMARK_TEMPLATE(receive, TrimmedSet<8192>)->Name("replay/8192/std_set")->Apply(reorders);

}  // namespace

BENCHMARK_MAIN();
