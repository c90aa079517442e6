// What each stage of the worker's loop costs: the stages' own functions, called here on a burst in the order
// of Worker::poll(), with a look at the clock behind each. No stage knows of it.
//
// Counters are cycles a packet, medians and minima of samples of 256, without what looking at the clock
// costs; `sum` is all of them, `poll` the worker's own loop on the same kind of packets in the same run. What
// `sum` is above it is what stages lose when they cannot overlap.
#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include <rte_ethdev.h>

#include "bench/aead_clock.h"
#include "bench/pipeline_bed.h"
#include "dataplane/core.h"
#include "dataplane/forward.h"
#include "dataplane/open.h"
#include "dataplane/parse.h"
#include "dataplane/seal.h"
#include "dataplane/steer.h"
#include "dataplane/tx.h"
#include "dataplane/worker_messages.h"

namespace bench {
namespace {

using dataplane::Core;
using dataplane::Packets;

// kSteer: which session, by id or by route. kWork: sealing before the AEAD call (numbers, headers) or opening
// before it (look-up, keys). kCommit: behind it, windows and delivery or outer headers. kForward: what came
// out of a tunnel finds its way. kRest: clock, mailbox, what control is owed.
enum Stage : std::uint8_t { kRx, kParse, kSteer, kWork, kAead, kCommit, kForward, kTx, kRest, kStages };

class Stages {
 public:
  explicit Stages(support::Site& site) : core_(site.gw.topology(), 0) {
    learn(kWanAdjacency, support::kWan, support::Site::wan4(2), support::mac(0x22));
    learn(kLanAdjacency, support::kLan, support::Site::host4(1), support::mac(9));
  }

  // One loop over what was fed.
  void loop() {
    at_ = stamp();
    core_.tick();
    mark(kRest);
    for (unsigned i = 0; i < core_.port_count; ++i) receive(core_.ports[i]);
    Packets returned;
    dataplane::take_messages(core_, returned);
    mark(kRest);
    aead_clock.reset();
    dataplane::seal_flush(core_);
    mark_aead();
    dataplane::tx_flush(core_);
    mark(kTx);
    dataplane::answer_fences(core_);
    dataplane::pay_owed(core_);
    core_.stats.held = dataplane::held(core_);
    mark(kRest);
  }

  // Cycles so far, and from zero again.
  std::array<std::uint64_t, kStages> take() {
    const std::array<std::uint64_t, kStages> taken = cycles_;
    cycles_ = {};
    return taken;
  }

 private:
  static constexpr std::uint16_t kWanAdjacency = support::kPeerAdjacency;
  static constexpr std::uint16_t kLanAdjacency = 1;

  void learn(std::uint16_t index, unsigned port, const std::string& address,
             const dataplane::MacAddress& to) {
    dataplane::NeighbourUpdate update;
    update.address = support::ip(address);
    update.mac = to;
    update.port = static_cast<std::uint8_t>(port);
    update.state = dataplane::NeighbourState::kReachable;
    update.adjacency = index;
    dataplane::on_neighbour(core_, update);
  }

  void receive(dataplane::CorePort& port) {
    Packets in;
    in.count = rte_eth_rx_burst(port.ethdev, port.queue, in.at,
                                std::min(static_cast<std::uint16_t>(core_.burst), std::uint16_t{kBurst}));
    dataplane::PortStats& stats = core_.stats.port[port.index];
    stats.rx_pkts += in.count;
    for (rte_mbuf* m : in) stats.rx_bytes += m->pkt_len;
    mark(kRx);
    if (in.count == 0) return;
    dataplane::Parsed parsed;
    dataplane::parse_burst(core_, port, in, parsed);
    mark(kParse);
    dataplane::steer(core_, parsed.phantom);
    mark(kSteer);
    if (parsed.phantom.count != 0) open(parsed.phantom);
    dataplane::route(core_, parsed.ip);
    mark(kSteer);
  }

  void open(Packets& phantom) {
    Packets inner;
    aead_clock.reset();
    dataplane::open_burst(core_, phantom, inner);
    mark_aead();
    dataplane::forward_inner(core_, inner);
    mark(kForward);
  }

  void add(Stage stage, std::uint64_t cycles, std::uint64_t clock) {
    cycles_[stage] += cycles > clock ? cycles - clock : 0;
  }
  void mark(Stage stage) {
    const std::uint64_t now = stamp();
    add(stage, now - at_, stamp_);
    at_ = now;
  }
  // A stage with the engine's call inside.
  void mark_aead() {
    const std::uint64_t now = stamp();
    const AeadClock& clock = aead_clock;
    if (clock.calls == 0) {
      add(kWork, now - at_, stamp_);
    } else {
      const std::uint64_t behind = now - clock.last_end;
      add(kCommit, behind, stamp_);
      add(kAead, clock.cycles, clock.calls * stamp_);
      add(kWork, now - at_ - behind - clock.cycles, clock.calls * stamp_);
    }
    at_ = now;
  }

  Core core_;
  std::uint64_t at_ = 0;
  const std::uint64_t stamp_ = stamp_cycles();
  std::array<std::uint64_t, kStages> cycles_{};
};

struct StageSamples {
  std::array<Samples, kStages> stage;
  Samples sum;

  void add(const std::array<std::uint64_t, kStages>& cycles) {
    double total = 0;
    for (unsigned s = 0; s < kStages; ++s) {
      const double each = static_cast<double>(cycles[s]) / kSample;
      stage[s].add(each);
      total += each;
    }
    sum.add(total);
  }
};

Stages& stages_of(std::uint32_t sessions) {
  static std::map<std::uint32_t, std::unique_ptr<Stages>> all;
  std::unique_ptr<Stages>& found = all[sessions];
  if (!found) found = std::make_unique<Stages>(pipeline_bed(sessions).bed.site);
  return *found;
}

template <Lane::Way kWay>
void each_stage(benchmark::State& state) {
  auto& [bed, order] = pipeline_bed(static_cast<std::uint32_t>(state.range(1)));
  Stages& stages = stages_of(static_cast<std::uint32_t>(state.range(1)));
  Lane lane(bed, kWay, static_cast<std::size_t>(state.range(0)));
  StageSamples samples;
  Samples poll;
  unsigned sent = kSample;
  for (auto _ : state) {
    lane.feed(order);
    stages.take();
    for (unsigned at = 0; at < kSample; at += kBurst) stages.loop();
    samples.add(stages.take());
    sent = std::min(sent, discard_sent(bed.site.gw, lane.out()));
    lane.feed(order);
    poll.add(lane.poll().poll);
  }
  constexpr const char* kWorkName = kWay == Lane::Way::kSeal ? "seal" : "open";
  const char* names[kStages] = {"rx", "parse", "steer", kWorkName, "aead", "commit", "forward", "tx", "rest"};
  for (unsigned s = 0; s < kStages; ++s) put(state, names[s], samples.stage[s]);
  put(state, "sum", samples.sum);
  put(state, "poll", poll);
  if (sent != kSample || lane.wrong() != 0) state.SkipWithError("packets were dropped");
}

BENCHMARK_TEMPLATE(each_stage, Lane::Way::kSeal)->Name("stages/seal")->Apply(every_size);
BENCHMARK_TEMPLATE(each_stage, Lane::Way::kOpen)->Name("stages/open")->Apply(every_size);

}  // namespace
}  // namespace bench
