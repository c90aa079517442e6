// The worker under attack and while keys change, each beside clean traffic of the same run.
//
// forged/KIND: every second packet is a forgery. `clean` and `forged` are cycles a packet of all packets,
// `rate` is packets per second in total against clean traffic, `each` what one forgery costs.
// rekey/WAY: one session with a new epoch every 10,000 packets. Control's part of it is done between the
// samples, as another core would, but for its messages, which the worker takes in. `swap` are samples with a
// new epoch in them, `after` those with the messages that follow, `quiet` all others; `cost` is the share of
// throughput lost.
#include <array>

#include <rte_mbuf.h>

#include "bench/pipeline_bed.h"

namespace bench {
namespace {

using support::kWan;

// ---- forged packets
enum Forgery : std::uint8_t {
  kTag,      // right in everything but its tag
  kUnknown,  // of no session
  kAhead,    // 2..16 epochs ahead, as a peer would be that control has to catch up with
  kReplay,   // genuine, delivered before
  kMixed,    // all of them in turn
};

class Forger {
 public:
  Forger(Bed& bed, std::size_t bytes) : bed_(bed), bytes_(bytes), keys_(bed.epoch_keys(0)) {}

  // kSample packets into the WAN ring, genuine and forged in turn.
  void feed(Order& order, Forgery kind) {
    settled_.resize(order.sessions());
    for (std::uint32_t i = 0; i < order.sessions(); ++i) settled_[i] = bed_.next_sequence(i);
    for (unsigned n = 0; n < kSample; n += 2) {
      packets_[n] = bed_.sealed(order.next(), bytes_);
      const auto now = kind == kMixed ? static_cast<Forgery>(n / 2 % kMixed) : kind;
      packets_[n + 1] = begin(order.next(), now);
    }
    bed_.seal();
    for (unsigned n = 1; n < kSample; n += 2) {
      spoil(packets_[n], kind == kMixed ? static_cast<Forgery>(n / 2 % kMixed) : kind);
    }
    for (rte_mbuf* m : packets_) bed_.site.gw.receive(kWan, m);
  }

 private:
  // The last number delivered before this sample, or one that is still to come: a forger does not use it up.
  rte_mbuf* begin(std::uint32_t i, Forgery kind) {
    return bed_.sealed(i, bytes_, kind == kReplay ? settled_[i] - 1 : bed_.next_sequence(i), *keys_);
  }

  void spoil(rte_mbuf* m, Forgery kind) {
    auto* p = rte_pktmbuf_mtod_offset(m, std::uint8_t*, kPhantomAt);
    ++count_;
    if (kind == kTag) p[session::kPayloadOffset + bytes_] ^= 1;
    if (kind == kAhead) p[session::kOffEpoch] = static_cast<std::uint8_t>(2 + count_ % 15);
    if (kind != kUnknown) return;
    session::store_be32(p + session::kOffSessionId, count_ * 2246822519U);
    session::store_be32(p + session::kOffSessionId + 4, count_);
  }

  Bed& bed_;
  std::size_t bytes_;
  std::unique_ptr<EpochKeys> keys_;
  std::vector<std::uint32_t> settled_;
  std::array<rte_mbuf*, kSample> packets_{};
  std::uint32_t count_ = 0;
};

// What became of forgeries so far, by kind: every one of them ends for its own reason.
std::array<std::uint64_t, kMixed> refused(const Bed& bed, std::uint64_t punted) {
  using session::DropReason;
  const support::Gateway& gw = bed.site.gw;
  return {gw.drops(DropReason::kAuth), gw.drops(DropReason::kUnknownSession),
          gw.drops(DropReason::kEpochAheadBudget) + punted, gw.drops(DropReason::kReplayDuplicate)};
}

// All of `samples` half-forged samples were refused, each for the reason of its kind and no genuine one.
bool all_refused(const std::array<std::uint64_t, kMixed>& before,
                 const std::array<std::uint64_t, kMixed>& after, Forgery kind, std::uint64_t samples) {
  const std::uint64_t each = kind == kMixed ? kSample / 2 / kMixed : kSample / 2;
  for (unsigned k = 0; k < kMixed; ++k) {
    const bool sent = kind == kMixed || kind == k;
    if (after[k] - before[k] != (sent ? samples * each : 0)) return false;
  }
  return true;
}

template <Forgery kKind>
void forged(benchmark::State& state) {
  auto& [bed, order] = pipeline_bed(static_cast<std::uint32_t>(state.range(1)));
  const auto bytes = static_cast<std::size_t>(state.range(0));
  Lane lane(bed, Lane::Way::kOpen, bytes);
  Forger forger(bed, bytes);
  Samples clean, half;
  // What other rows fed to the ports alone was never delivered: as a replay it would be welcome.
  for (std::uint32_t fed = 0; fed < order.sessions(); fed += kSample) {
    lane.feed(order);
    lane.poll();
  }
  std::uint64_t punted = 0;
  const auto before = refused(bed, 0);
  for (auto _ : state) {
    lane.expect(kSample);
    lane.feed(order);
    clean.add(lane.poll().poll);
    lane.expect(kSample / 2);
    forger.feed(order, kKind);
    half.add(lane.poll().poll);
    const std::vector<rte_mbuf*> punts = bed.site.gw.punts();
    for (rte_mbuf* m : punts) rte_pktmbuf_free(m);
    punted += punts.size();
  }
  put(state, "clean", clean);
  put(state, "forged", half);
  put_ratio(state, "rate", clean, half);
  state.counters["each"] = 2 * half.median() - clean.median();
  state.counters["each_min"] = 2 * half.least() - clean.least();
  const auto samples = static_cast<std::uint64_t>(state.iterations());
  const bool good = lane.wrong() == 0 && all_refused(before, refused(bed, punted), kKind, samples);
  if (!good) state.SkipWithError("a genuine packet was refused, or a forged one was not");
}

const std::vector<std::vector<std::int64_t>> kArguments = {{64, 512, 1400}, {1, kPipelineSessions}};
void arguments(benchmark::internal::Benchmark* b) {
  b->ArgsProduct(kArguments)->ArgNames({"bytes", "sessions"});
}
BENCHMARK_TEMPLATE(forged, kTag)->Name("forged/tag")->Apply(arguments);
BENCHMARK_TEMPLATE(forged, kUnknown)->Name("forged/unknown")->Apply(arguments);
BENCHMARK_TEMPLATE(forged, kAhead)->Name("forged/ahead")->Apply(arguments);
BENCHMARK_TEMPLATE(forged, kReplay)->Name("forged/replay")->Apply(arguments);
BENCHMARK_TEMPLATE(forged, kMixed)->Name("forged/mixed")->Apply(arguments);

// ---- rekeys
constexpr std::uint32_t kPerEpoch = 10'000;
// Samples of a row: 100 of a session's 256 epochs.
constexpr unsigned kRekeySamples = 100 * kPerEpoch / kSample;

// A session that changes its epoch, or whose peer does, with control's part of it.
class Rekeyed {
 public:
  Rekeyed(Bed& bed, Lane::Way way, std::size_t bytes)
      : bed_(bed), session_(bed.room() - 1), way_(way), bytes_(bytes) {
    bed.add(session_, way == Lane::Way::kSeal ? kPerEpoch : session::REKEY_SOFT_LIMIT);
    sending_ = bed.epoch_keys(0);
    advances_ = bed.advances();
  }
  ~Rekeyed() { bed_.remove(session_); }
  Rekeyed(const Rekeyed&) = delete;
  Rekeyed& operator=(const Rekeyed&) = delete;

  void feed() {
    for (unsigned n = 0; n < kSample; ++n) {
      if (way_ == Lane::Way::kSeal) {
        bed_.site.gw.receive(support::kLan, bed_.plain(session_, bytes_));
      } else {
        bed_.site.gw.receive(kWan, from_peer());
      }
    }
    bed_.seal();
  }

  // After a sample: the next epoch is made ready, and what is left behind is given up. True when a new epoch
  // began in that sample.
  bool control() {
    if (bed_.advances() == advances_) return false;
    advances_ = bed_.advances();
    ++rekeys_;
    const std::uint8_t epoch = bed_.site.gw.shard().hot(Bed::slot(session_)).current.epoch;
    dataplane::Message message;
    message.slot = Bed::slot(session_);
    message.generation = bed_.generation(session_);
    message.kind = dataplane::MessageKind::kRetirePrevious;
    message.a = static_cast<std::uint8_t>(epoch - 1);
    bed_.site.gw.command(0, message);
    message.kind = dataplane::MessageKind::kInstallNext;
    message.key = bed_.take_keys(*bed_.epoch_keys(static_cast<std::uint8_t>(epoch + 1)));
    bed_.site.gw.command(0, message);
    return true;
  }
  [[nodiscard]] unsigned rekeys() const { return rekeys_; }

 private:
  rte_mbuf* from_peer() {
    if (++in_epoch_ > kPerEpoch) {
      bed_.seal();  // what was made so far is of the epoch before
      sending_ = bed_.epoch_keys(static_cast<std::uint8_t>(sending_->epoch + 1));
      in_epoch_ = 1;
    }
    return bed_.sealed(session_, bytes_, bed_.next_sequence(session_)++, *sending_);
  }

  Bed& bed_;
  std::uint32_t session_;
  Lane::Way way_;
  std::size_t bytes_;
  std::unique_ptr<EpochKeys> sending_;
  std::uint32_t in_epoch_ = 0;
  std::uint64_t advances_ = 0;
  unsigned rekeys_ = 0;
};

// Of the session that rekeys, each beside the sample of the other one just before.
struct RekeySamples {
  struct Kind {
    Samples poll, extra;
    void add(double cycles, double clean_cycles) {
      poll.add(cycles);
      extra.add(cycles - clean_cycles);
    }
  };
  Samples clean;
  Kind quiet, swap, after;

  // What a rekey adds to two samples, of what an epoch takes.
  [[nodiscard]] double cost() const {
    const double extra = swap.extra.median() + after.extra.median() - 2 * quiet.extra.median();
    return extra * kSample / (kPerEpoch * clean.median());
  }
  void report(benchmark::State& state) const {
    put(state, "clean", clean);
    put(state, "quiet", quiet.poll);
    put(state, "swap", swap.poll);
    put(state, "after", after.poll);
    state.counters["cost"] = cost();
  }
};

template <Lane::Way kWay>
void rekey(benchmark::State& state) {
  auto& [bed, order] = pipeline_bed(1);
  const auto bytes = static_cast<std::size_t>(state.range(0));
  Lane lane(bed, kWay, bytes);
  Rekeyed rekeyed(bed, kWay, bytes);
  const std::uint64_t drops = bed.site.gw.all_drops();
  RekeySamples samples;
  bool after = false;
  for (auto _ : state) {
    lane.feed(order);
    const double clean = lane.poll().poll;
    samples.clean.add(clean);
    rekeyed.feed();
    const double cycles = lane.poll().poll;
    const bool swapped = rekeyed.control();
    (swapped ? samples.swap : after ? samples.after : samples.quiet).add(cycles, clean);
    after = swapped;
  }
  samples.report(state);
  state.counters["rekeys"] = rekeyed.rekeys();
  if (lane.wrong() != 0 || bed.site.gw.all_drops() != drops) state.SkipWithError("packets were dropped");
  if (rekeyed.rekeys() == 0) state.SkipWithError("there was no rekey");
}

BENCHMARK_TEMPLATE(rekey, Lane::Way::kSeal)
    ->Name("rekey/seal")
    ->ArgName("bytes")
    ->Arg(64)
    ->Arg(512)
    ->Arg(1400)
    ->Iterations(kRekeySamples);
BENCHMARK_TEMPLATE(rekey, Lane::Way::kOpen)
    ->Name("rekey/open")
    ->ArgName("bytes")
    ->Arg(64)
    ->Arg(512)
    ->Arg(1400)
    ->Iterations(kRekeySamples);

}  // namespace
}  // namespace bench
