// What epochs cost: a swap, following a peer, packets of other epochs, forged ones, and catching up, each
// beside an ordinary packet of the current epoch in the same run.
//
// Counters: `cycles`, of the event or a packet as README.md says for each row; `packet`, an ordinary packet
// of 64 bytes; `ratio`, the first by the second. Medians and minima of samples in turns. Rows of `worker` are
// the shard and the engine in bursts of 32, as a worker calls them; rows of `session` are a whole
// session::Session, datagram by datagram, with the control side's part: derivations, jumps, the record.
#include <memory>

#include <benchmark/benchmark.h>

#include "bench/epoch_rig.h"
#include "bench/samples.h"
#include "session/memory_store.h"
#include "session/session.h"

namespace {

using bench::kRigBurst;
using bench::Samples;
using bench::stamp;

double stamps() {
  static const auto kCycles = static_cast<double>(bench::stamp_cycles());
  return kCycles;
}

template <typename What>
double timed(What&& what) {
  const std::uint64_t begin = stamp();
  what();
  return static_cast<double>(stamp() - begin) - stamps();
}

const crypto::Aead& engine() {
  static const crypto::Aead aead;
  return aead;
}

bench::Chain& chain() {
  static bench::Chain c(engine());
  return c;
}

void report(benchmark::State& state, const Samples& cycles, const Samples& packet, bool good) {
  bench::put(state, "cycles", cycles);
  bench::put(state, "packet", packet);
  bench::put_ratio(state, "ratio", cycles, packet);
  if (!good) state.SkipWithError("a packet met another fate than it should");
}

// A burst of packets, opened; cycles a packet.
double burst(bench::WorkerRig& rig, std::uint8_t epoch, bool forged, unsigned expected, bool& good) {
  rig.make(epoch, forged);
  unsigned accepted = 0;
  const double cycles = timed([&] { accepted = rig.open(); }) / kRigBurst;
  good &= accepted == expected;
  return cycles;
}

// ---- worker
// `event` of a rig behind a burst of its current epoch, over and over, and what it takes. False: a packet met
// another fate than it should.
template <typename Event>
bool in_turns(benchmark::State& state, Samples& packet, Samples& taken, Event&& event) {
  bench::WorkerRig rig(chain());
  bool good = true;
  for (auto _ : state) {
    packet.add(burst(rig, rig.epoch(), false, kRigBurst, good));
    taken.add(event(rig, good));
    rig.prepare();
  }
  return good;
}

void swap(benchmark::State& state) {
  Samples cycles, packet;
  const bool good = in_turns(state, packet, cycles,
                             [](bench::WorkerRig& rig, bool&) { return timed([&] { rig.swap(); }); });
  report(state, cycles, packet, good);
}

// A burst whose first packet is of the next epoch: what it takes longer, all of it for one epoch.
void follow(benchmark::State& state) {
  Samples following, packet;
  const bool good = in_turns(state, packet, following, [](bench::WorkerRig& rig, bool& fine) {
    return burst(rig, static_cast<std::uint8_t>(rig.epoch() + 1), false, kRigBurst, fine);
  });
  Samples cycles;
  cycles.add((following.median() - packet.median()) * kRigBurst);
  report(state, cycles, packet, good);
  const double least = (following.least() - packet.least()) * kRigBurst;
  state.counters["cycles_min"] = least;
  state.counters["ratio_min"] = least / packet.least();
}

// Packets of one epoch beside those of the current, which is kCurrent and has a previous and a next one.
constexpr std::uint8_t kCurrent = 100;
void others(benchmark::State& state, int distance, bool forged) {
  bench::WorkerRig rig(chain());
  rig.restart(kCurrent - 1);
  rig.swap();
  rig.install_next();
  const auto epoch = static_cast<std::uint8_t>(kCurrent + distance);
  Samples cycles, packet;
  bool good = true;
  for (auto _ : state) {
    packet.add(burst(rig, kCurrent, false, kRigBurst, good));
    cycles.add(burst(rig, epoch, forged, forged ? 0 : kRigBurst, good));
  }
  good &= rig.epoch() == kCurrent;
  report(state, cycles, packet, good);
}

// ---- session
constexpr std::uint64_t kNow_ns = 1'000'000'000;

// A responder at epoch 0 that has heard its peer.
struct Responder {
  Responder() {
    session::SessionConfig config;
    config.identity.name = "bench";
    config.identity.id = bench::rig_id();
    config.identity.role = session::Role::kResponder;
    config.window_bits = 1024;
    config.windows = 4;
    config.keys = 64;
    end = std::make_unique<session::Session>(config, chain().secret().clone(), engine(), store, kNow_ns);
    for (unsigned i = 0; i < kRigBurst; ++i) receive(0, false, true);
  }

  // One datagram; cycles of taking it in.
  double receive(std::uint8_t epoch, bool forged, bool delivered) {
    bench::make_packet(chain(), engine(), {epoch, next_sequence, forged}, datagram);
    if (!forged) ++next_sequence;
    bool was = false;
    const double cycles =
        timed([&] { was = end->receive(datagram, kNow_ns).kind == session::Received::Kind::kData; });
    good &= was == delivered;
    return cycles;
  }

  session::MemoryStore store;
  std::unique_ptr<session::Session> end;
  std::array<std::uint8_t, bench::kPacketBytes> datagram{};
  std::uint32_t next_sequence = 0;
  bool good = true;
};

// The first packet of a peer that went on by so many epochs unheard.
void catch_up(benchmark::State& state) {
  const auto ahead = static_cast<std::uint8_t>(state.range(0));
  Samples cycles, packet;
  bool good = true;
  for (auto _ : state) {
    Responder responder;
    packet.add(responder.receive(0, false, true));
    cycles.add(responder.receive(ahead, false, true));
    good &= responder.good && responder.end->epoch() == ahead;
  }
  report(state, cycles, packet, good);
}

// A forged packet so far ahead: the first is what derives the keys to try it with, others find them there.
void trial(benchmark::State& state) {
  const auto ahead = static_cast<std::uint8_t>(state.range(0));
  const bool first = state.range(1) != 0;
  Samples cycles, packet;
  bool good = true;
  for (auto _ : state) {
    Responder responder;
    packet.add(responder.receive(0, false, true));
    double spent = responder.receive(ahead, true, false);
    if (!first) spent = responder.receive(ahead, true, false);
    cycles.add(spent);
    good &= responder.good && responder.end->epoch() == 0;
  }
  report(state, cycles, packet, good);
}

// The same when the budget of trials is spent.
void over_budget(benchmark::State& state) {
  constexpr unsigned kMore = 100;  // than the burst that a session allows
  Responder responder;
  for (unsigned i = 0; i < kMore; ++i) responder.receive(16, true, false);
  Samples cycles, packet;
  for (auto _ : state) {
    packet.add(responder.receive(0, false, true));
    cycles.add(responder.receive(16, true, false));
  }
  report(state, cycles, packet, responder.good && responder.end->epoch() == 0);
}

BENCHMARK(swap)->Name("worker/swap");
BENCHMARK(follow)->Name("worker/follow");
BENCHMARK_CAPTURE(others, previous, -1, false)->Name("worker/previous");
BENCHMARK_CAPTURE(others, forged_current, 0, true)->Name("worker/forged_current");
BENCHMARK_CAPTURE(others, forged_previous, -1, true)->Name("worker/forged_previous");
BENCHMARK_CAPTURE(others, forged_next, 1, true)->Name("worker/forged_next");
BENCHMARK_CAPTURE(others, forged_ahead, 9, true)->Name("worker/forged_ahead");
BENCHMARK_CAPTURE(others, forged_too_far, 17, true)->Name("worker/forged_too_far");
BENCHMARK_CAPTURE(others, forged_behind, -2, true)->Name("worker/forged_behind");
BENCHMARK(catch_up)->Name("session/catch_up")->ArgName("ahead")->Arg(2)->Arg(4)->Arg(8)->Arg(12)->Arg(16);
BENCHMARK(trial)->Name("session/trial")->ArgNames({"ahead", "first"})->ArgsProduct({{2, 8, 16}, {1, 0}});
BENCHMARK(over_budget)->Name("session/over_budget");

}  // namespace

BENCHMARK_MAIN();
