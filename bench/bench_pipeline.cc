// The worker's whole loop beside raw ipsec-mb calls, in the same run and on the same packets.
//
// Arguments: bytes of the inner IP packet (the plaintext), number of sessions. One sample is 256 packets in
// bursts of 32: built outside the clock, then timed through Worker::poll() of a real gateway on ring ports,
// from rx_burst to tx_burst. Beside it, per sample: `port`, what rx_burst and tx_burst of the same ring ports
// cost with nothing in between; `aead`, what the poll spent in the engine's batch call; and `raw`, ipsec-mb's
// GCM over the same buffers and keys with nothing of ours. README.md has all counters; other rows of this
// program are in pipeline_stages.cc and pipeline_trouble.cc.
#include <map>
#include <memory>
#include <vector>

#include <rte_eal.h>

#include "bench/aead_engines.h"
#include "bench/pipeline_bed.h"

namespace bench {

PipelineBed::PipelineBed(std::uint32_t sessions)
    : bed(sessions == 1 ? "p" : "q", sessions + 1), order(sessions) {
  bed.warm(sessions);
}

PipelineBed& pipeline_bed(std::uint32_t sessions) {
  static std::map<std::uint32_t, std::unique_ptr<PipelineBed>> beds;
  std::unique_ptr<PipelineBed>& found = beds[sessions];
  if (!found) found = std::make_unique<PipelineBed>(sessions);
  return *found;
}

namespace {

template <Lane::Way kWay>
double raw_sample(const std::vector<crypto::AeadJob>& jobs) {
  static const RawImb engine;
  const std::uint64_t begin = stamp();
  for (unsigned at = 0; at < kSample; at += crypto::kMaxBatch) {
    if constexpr (kWay == Lane::Way::kSeal) {
      engine.seal_batch(&jobs[at], crypto::kMaxBatch);
    } else {
      benchmark::DoNotOptimize(engine.open_batch(&jobs[at], crypto::kMaxBatch));
    }
  }
  return static_cast<double>(stamp() - begin) / kSample;
}
static_assert(kSample % crypto::kMaxBatch == 0);

// Packets as the worker would get them, and where the text of each lies.
template <Lane::Way kWay>
double raw(Bed& bed, Order& order, std::size_t bytes) {
  session::Shard& shard = bed.site.gw.shard();
  std::vector<crypto::AeadJob> jobs;
  std::vector<rte_mbuf*> packets;
  for (unsigned n = 0; n < kSample; ++n) {
    const std::uint32_t i = order.next();
    const session::KeyRef& keys = shard.hot(Bed::slot(i)).current;
    constexpr bool kSeal = kWay == Lane::Way::kSeal;
    rte_mbuf* m = kSeal ? bed.plain(i, bytes) : bed.sealed(i, bytes);
    const std::size_t text_at = kSeal ? 14 : kPhantomAt + session::kPayloadOffset;
    auto* text = rte_pktmbuf_mtod_offset(m, std::uint8_t*, text_at);
    jobs.push_back({shard.key(kSeal ? keys.send_key : keys.recv_key),
                    text - session::kPayloadOffset,
                    text,
                    static_cast<std::uint32_t>(bytes),
                    session::kHeaderBytes,
                    crypto::Suite::kAes256Gcm,
                    0,
                    {}});
    packets.push_back(m);
  }
  bed.seal();
  const double cycles = raw_sample<kWay>(jobs);
  rte_pktmbuf_free_bulk(packets.data(), kSample);
  return cycles;
}

void report(benchmark::State& state, const LaneSamples& lane, const Samples& raw_calls) {
  lane.put(state);
  put(state, "raw", raw_calls);
  const double ours = lane.poll.median() - lane.port.median();
  state.counters["ours"] = ours;
  state.counters["ratio"] = ours / raw_calls.median();
  state.counters["ratio_min"] = (lane.poll.least() - lane.port.least()) / raw_calls.least();
}

template <Lane::Way kWay>
void whole(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  auto& [bed, order] = pipeline_bed(static_cast<std::uint32_t>(state.range(1)));
  const std::uint64_t drops = bed.site.gw.all_drops();
  Lane lane(bed, kWay, bytes);
  LaneSamples samples;
  Samples raw_calls;
  for (auto _ : state) {
    lane.feed(order);
    const Polled polled = lane.poll();
    samples.add(polled, lane.port(order));
    raw_calls.add(raw<kWay>(bed, order, bytes));
  }
  report(state, samples, raw_calls);
  if (lane.wrong() != 0 || bed.site.gw.all_drops() != drops) state.SkipWithError("packets were dropped");
}

BENCHMARK_TEMPLATE(whole, Lane::Way::kSeal)->Name("seal")->Apply(every_size);
BENCHMARK_TEMPLATE(whole, Lane::Way::kOpen)->Name("open")->Apply(every_size);

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  support::start_eal({2 * bench::Bed::eal_megabytes(bench::kPipelineSessions), true});
  benchmark::AddCustomContext("eal_memory", rte_eal_has_hugepages() != 0 ? "hugepages" : "no-huge");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
