// What a worker spends on the numbers of a packet, without cryptography: the tunnel's streams, whose windows
// and counters are found by index, and reliable ones, which are found through the shard's index.
//
// Arguments: streams in turn. cycles_per_packet is the time stamp counter over the packets of a run; compare
// rows of one run, or runs of two builds that take turns.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include "session/shard.h"
#include "session/shard_commands.h"

namespace {

constexpr std::uint32_t kPackets = 1 << 16;

struct Rig {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  static session::ShardLimits limits() {
    session::ShardLimits limits;
    limits.sessions = 4;
    limits.keys = 8;
    limits.windows = 10'100;
    limits.window_bits = 1024;
    limits.streams_per_session = 10'050;
    return limits;
  }
  Rig() {
    session::SessionInit init;
    init.slot = 0;
    init.generation = 1;
    init.current.send_key = 0;
    init.current.recv_key = 1;
    init.current.valid = true;
    init.seq_limit.fill(1U << 30);
    if (!commands.add(init)) throw std::runtime_error("the session was refused");
  }
  std::vector<crypto::KeySlot> slots = std::vector<crypto::KeySlot>(limits().keys);
  std::vector<Line> memory = std::vector<Line>(session::Shard::bytes_needed(limits()) / sizeof(Line) + 1);
  session::Shard shard{limits(), slots, std::as_writable_bytes(std::span(memory))};
  session::ShardCommands commands{shard};
};

template <typename Step>
void run(benchmark::State& state, Step&& step) {
  const auto streams = static_cast<std::uint32_t>(state.range(0));
  const auto rig = std::make_unique<Rig>();
  std::uint32_t sequence = 0;
  std::uint64_t done = 0;
  std::uint64_t packets = 0;
  std::uint64_t cycles = 0;
  for (auto _ : state) {
    const std::uint64_t start = __rdtsc();
    for (std::uint32_t i = 0; i < kPackets; i += streams) {
      for (std::uint32_t stream = 1; stream <= streams; ++stream, ++packets) {
        done += step(*rig, static_cast<std::uint16_t>(stream), sequence) ? 1 : 0;
      }
      ++sequence;
    }
    cycles += __rdtsc() - start;
  }
  if (done != packets) state.SkipWithError("a packet was refused");
  state.counters["cycles_per_packet"] = static_cast<double>(cycles) / static_cast<double>(packets);
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
}

void receive(benchmark::State& state) {
  run(state, [](Rig& rig, std::uint16_t stream, std::uint32_t sequence) {
    const session::RxFields fields{sequence, stream, session::kTunnelFlags, 0, 0};
    const session::RxPick pick = rig.shard.pick_key(rig.shard.hot(0), fields, 0);
    return rig.shard.accept(0, fields, pick.branch, 100, 1).action == session::RxAction::kDeliver;
  });
}

void grant(benchmark::State& state) {
  run(state, [](Rig& rig, std::uint16_t stream, std::uint32_t) {
    return rig.shard.grant(0, stream).drop == session::DropReason::kNone;
  });
}

BENCHMARK(receive)
    ->Name("windows/receive")
    ->ArgName("streams")
    ->Arg(1)
    ->Arg(16)
    ->Arg(64)
    ->Arg(1024)
    ->Arg(10'000);
BENCHMARK(grant)->Name("windows/grant")->ArgName("streams")->Arg(1)->Arg(16);

}  // namespace

BENCHMARK_MAIN();
