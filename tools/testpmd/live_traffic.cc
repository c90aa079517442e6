// Starting, stopping, measuring; reading counters.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "tools/testpmd/engine.h"
#include "tools/testpmd/live_harness.h"

namespace testpmd {

std::atomic<bool> interrupted{false};

namespace {

// How long start() waits for neighbours, which retry within a second (dataplane/neighbour.h).
constexpr double kResolveSeconds = 3;
// Nothing has arrived for so long: nothing will.
constexpr double kQuietSeconds = 0.1;
// The main lcore's rest when there is nothing to do; the control loop of a gateway has the same.
constexpr unsigned kPumpSleepUs = 200;
constexpr std::uint32_t kMostFlows = 64;
constexpr std::uint32_t kDefaultMtu = 1500;  // of the inner LAN side, where there is no LAN port

void add(WayCounters& sum, const WayCounters& one) {
  for (const auto member : {&WayCounters::intended, &WayCounters::sent_pkts, &WayCounters::sent_bytes,
                            &WayCounters::refused, &WayCounters::received, &WayCounters::received_bytes,
                            &WayCounters::duplicates, &WayCounters::out_of_order, &WayCounters::too_old,
                            &WayCounters::corrupt, &WayCounters::foreign, &WayCounters::no_buffer}) {
    sum.*member += one.*member;
  }
  sum.longest_gap_tsc = std::max(sum.longest_gap_tsc, one.longest_gap_tsc);
}

void add(LaneCounters& sum, const LaneCounters& one) {
  sum.loops += one.loops;
  sum.busy_loops += one.busy_loops;
  sum.busy_tsc += one.busy_tsc;
  for (std::size_t i = 0; i < sum.rx_burst.size(); ++i) {
    sum.rx_burst[i] += one.rx_burst[i];
    sum.tx_burst[i] += one.tx_burst[i];
  }
}

void add(PortCounters& sum, const PortCounters& one) {
  sum.name = one.name;
  sum.rx_pkts += one.rx_pkts;
  sum.rx_bytes += one.rx_bytes;
  sum.tx_pkts += one.tx_pkts;
  sum.tx_bytes += one.tx_bytes;
  sum.tx_refused += one.tx_refused;
}

}  // namespace

bool generates(Mode mode) {
  return mode == Mode::kGen || mode == Mode::kSeal || mode == Mode::kLoop || mode == Mode::kSelf;
}

double LiveHarness::now_seconds() const {
  return static_cast<double>(rte_rdtsc()) / tsc_hz_;
}

// ---- what traffic is to be

std::string LiveHarness::mode_refused(Mode mode) const {
  const bool needs_sessions = mode == Mode::kSeal || mode == Mode::kLoop || mode == Mode::kSelf;
  const std::string name = mode_name(mode);
  if (needs_sessions && session_count() == 0) {
    return fmt::format("mode {} needs sessions, the configuration has none: add [[session]] tables", name);
  }
  if (mode == Mode::kSelf && !self_) {
    return "mode self needs the other end: set harness.self to the configuration of a gateway";
  }
  if ((mode == Mode::kGen || mode == Mode::kLoop || mode == Mode::kRelay) && !config_.lan) {
    return fmt::format("mode {} needs a port with role \"lan\": add one", name);
  }
  const bool needs_wan =
      mode == Mode::kSeal || mode == Mode::kLoop || mode == Mode::kRelay || mode == Mode::kCapture;
  if (needs_wan && config_.wan.empty()) {
    return fmt::format("mode {} needs a port with role \"wan\": add one", name);
  }
  return {};
}

std::string LiveHarness::set_mode(Mode mode) {
  if (running_) return "traffic is running: stop it first";
  std::string refused = mode_refused(mode);
  if (!refused.empty()) return refused;
  mode_ = mode;
  rest();
  return {};
}

std::string LiveHarness::sizes_refused(const Offer& offer) const {
  std::uint64_t weights = 0;
  const std::uint32_t mtu = config_.lan ? ports_[0].config.mtu : kDefaultMtu;
  const std::uint32_t room = config_.end.pools.data_room_bytes - RTE_PKTMBUF_HEADROOM + kFcsBytes;
  const std::uint32_t most = std::min(mtu + kEtherBytes + kFcsBytes, room);
  for (const SizeShare& share : offer.sizes) {
    weights += share.weight;
    if (share.bytes >= kLeastFrame && share.bytes <= most) continue;
    return fmt::format("frames of {} bytes: sizes are {} to {} (Ethernet with FCS, mtu {} of the LAN side)",
                       share.bytes, kLeastFrame, most, mtu);
  }
  return weights == 0 ? "no frame size has a weight" : "";
}

std::string LiveHarness::offer_refused(const Offer& offer, Mode mode) const {
  if (offer.pps < 0 || !std::isfinite(offer.pps)) return "a rate is a number from 0 (as fast as it goes) on";
  if (offer.burst == 0 || offer.burst > dataplane::kMaxBurst) {
    return fmt::format("a burst of {}: 1 to {} packets, as a worker takes at once", offer.burst,
                       dataplane::kMaxBurst);
  }
  if (offer.streams == 0 || offer.streams > kMostFlows) {
    return fmt::format("{} streams: 1 to {} inner flows of a session", offer.streams, kMostFlows);
  }
  if (offer.sessions > session_count() && (mode != Mode::kGen || session_count() != 0)) {
    return fmt::format("{} sessions: the configuration has {}", offer.sessions, session_count());
  }
  return sizes_refused(offer);
}

std::string LiveHarness::set_offer(const Offer& offer) {
  std::string refused = offer_refused(offer, mode_);
  if (!refused.empty()) return refused;
  if (!running_) {
    offer_ = offer;
    return {};
  }
  Offer same = offer;
  same.pps = offer_.pps;
  if (same != offer_) return "traffic is running: only its rate may change, stop it first";
  offer_ = offer;
  auto plan = next_plan();
  fill_offer(*plan);
  ++plan->schedule;
  plan->start_tsc = rte_rdtsc();
  post(std::move(plan));
  return {};
}

bool LiveHarness::sends(Way way) const {
  if (mode_ == Mode::kGen) return way == Way::kUp;
  if (mode_ == Mode::kSeal) return way == Way::kDown;
  if (!generates(mode_)) return false;
  return (static_cast<unsigned>(offer_.ways) >> static_cast<unsigned>(way) & 1U) != 0;
}

// Without sessions mode gen has one of its own: a pair of addresses.
std::uint32_t LiveHarness::sessions_used() const {
  const auto all = static_cast<std::uint32_t>(std::max<std::size_t>(session_count(), 1));
  return offer_.sessions == 0 ? all : offer_.sessions;
}

// ---- plans

std::unique_ptr<Plan> LiveHarness::next_plan() const {
  return std::make_unique<Plan>(*plan_);
}

void LiveHarness::fill_offer(Plan& plan) const {
  plan.sessions = sessions_used();
  plan.flows = offer_.streams;
  plan.burst = offer_.burst;
  plan.pkts_per_tsc = offer_.pps / tsc_hz_;
  plan.sizes = turns_of(offer_.sizes);
}

void LiveHarness::post(std::unique_ptr<Plan> plan) {
  for (const auto& lane : lanes_) lane->set_plan(plan.get());
  for (const auto& lane : lanes_) {
    while (!lane->has(plan.get())) usleep(10);
  }
  plan_ = std::move(plan);
}

void LiveHarness::rest() {
  auto plan = next_plan();
  plan->mode = mode_;
  plan->running = plan->sending = false;
  post(std::move(plan));
  running_ = false;
}

std::string LiveHarness::resolve() {
  const bool lan = mode_ != Mode::kSelf && config_.lan && hosts_[0]->wanted();
  const auto gateway_missing = [&] { return lan && sends(Way::kUp) && !hosts_[0]->known(); };
  const auto peer_missing = [&]() -> std::string {
    if (!sends(Way::kDown) && mode_ != Mode::kSelf) return {};
    for (const PhantomEnd* end : {end_.get(), mode_ == Mode::kSelf ? self_.get() : nullptr}) {
      if (end == nullptr) continue;
      for (const dataplane::NeighbourView& n : end->control().neighbours()) {
        if (n.state != "reachable" && n.state != "static") return n.address;
      }
    }
    return {};
  };
  wait(kResolveSeconds, [&] { return !gateway_missing() && peer_missing().empty(); });
  if (gateway_missing()) {
    return fmt::format(
        "the gateway's LAN address {} does not answer on port \"{}\": is it running, and is "
        "this its address (gateway4 of the port)?",
        dataplane::to_text(*hosts_[0]->gateway()), ports_[0].config.name);
  }
  const std::string peer = peer_missing();
  if (peer.empty()) return {};
  return fmt::format("{} does not answer on the WAN side: is the gateway running, and on this link?", peer);
}

std::string LiveHarness::begin(std::uint64_t first_pkts, double seconds) {
  if (running_) return "traffic is running already: stop it first";
  std::string refused = mode_refused(mode_);
  if (refused.empty()) refused = offer_refused(offer_, mode_);
  if (refused.empty()) refused = resolve();
  if (!refused.empty()) return refused;
  auto plan = next_plan();
  fill_offer(*plan);
  plan->mode = mode_;
  plan->running = true;
  plan->sending = generates(mode_);
  plan->ways = {sends(Way::kUp), sends(Way::kDown)};
  plan->first_pkts = first_pkts;
  ++plan->run;
  ++plan->fresh;
  ++plan->cleared;
  ++plan->schedule;
  if (config_.lan) plan->gateway_mac = hosts_[0]->gateway_mac();
  for (unsigned way = 0; way < kWays; ++way) {
    plan->ports[way] = spread_ports(static_cast<Way>(way), config_.plan, plan->sessions, plan->flows,
                                    session_count() == 0 ? 1 : config_.end.sessions[0].policy.tx_streams);
  }
  plan->start_tsc = rte_rdtsc() + static_cast<std::uint64_t>(kLeadSeconds * tsc_hz_);
  plan->end_tsc = seconds == 0 ? 0 : plan->start_tsc + static_cast<std::uint64_t>(seconds * tsc_hz_);
  began_ = static_cast<double>(plan->start_tsc) / tsc_hz_;
  running_ = true;
  post(std::move(plan));
  note_bases();
  return {};
}

std::uint64_t LiveHarness::arrivals() const {
  std::uint64_t sum = 0;
  for (const auto& lane : lanes_) sum += lane->arrivals();
  return sum;
}

void LiveHarness::end_sending() {
  auto plan = next_plan();
  plan->sending = false;
  post(std::move(plan));
  ended_ = now_seconds();
}

void LiveHarness::drain() {
  std::uint64_t seen = arrivals();
  double quiet_since = now_seconds();
  const double end = quiet_since + static_cast<double>(config_.drain_ns) / 1e9;
  while (now_seconds() < end && now_seconds() - quiet_since < kQuietSeconds) {
    pump();
    usleep(kPumpSleepUs);
    const std::uint64_t now = arrivals();
    if (now != seen) quiet_since = now_seconds();
    seen = now;
  }
}

void LiveHarness::stop() {
  if (!running_) return;
  end_sending();
  if (generates(mode_)) drain();
  rest();
}

void LiveHarness::pump() {
  end_->poll();
  if (self_) self_->poll();
  if (!capture_) return;
  if (const std::string wrong = capture_->write(); !wrong.empty())
    fmt::print(stderr, "phantom-testpmd: {}\n", wrong);
}

void LiveHarness::wait(double seconds, const std::function<bool()>& until) {
  const double end = now_seconds() + seconds;
  while (now_seconds() < end && !interrupted.load(std::memory_order_relaxed)) {
    if (until && until()) return;
    pump();
    usleep(kPumpSleepUs);
  }
}

// ---- reading

std::array<std::uint64_t, session::kDropReasons> LiveHarness::end_drops() const {
  auto sum = end_->drops();
  if (self_ == nullptr) return sum;
  const auto more = self_->drops();
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  return sum;
}

Totals LiveHarness::totals() const {
  Totals t;
  t.seconds = std::max(0.0, (running_ && plan_->sending ? now_seconds() : ended_) - began_);
  if (running_ && !generates(mode_)) t.seconds = now_seconds() - began_;
  t.ports.resize(ports_.size());
  for (const auto& lane : lanes_) {
    for (unsigned way = 0; way < kWays; ++way) {
      add(t.way[way], lane->way(static_cast<Way>(way)));
      t.latency[way].merge(lane->latency(static_cast<Way>(way)));
    }
    add(t.lanes, lane->counters());
    for (std::size_t i = 0; i < ports_.size(); ++i) add(t.ports[i], lane->devices()[i].counters);
  }
  const auto drops = end_drops();
  for (std::size_t i = 0; i < drops.size(); ++i) {
    if (drops[i] != drops_base_[i])
      t.end_drops.emplace_back(session::kDropReasonNames[i], drops[i] - drops_base_[i]);
  }
  for (unsigned i = 0; attacker_ != nullptr && i < attacks().size(); ++i) {
    const std::uint64_t sent = attacker_->sent(i) - attacks_base_[i];
    if (sent != 0) t.attacks.emplace_back(attacks()[i].name, sent);
  }
  return t;
}

void LiveHarness::note_bases() {
  drops_base_ = end_drops();
  attacks_base_.assign(attacks().size(), 0);
  for (unsigned i = 0; attacker_ != nullptr && i < attacks_base_.size(); ++i) {
    attacks_base_[i] = attacker_->sent(i);
  }
}

void LiveHarness::clear() {
  auto plan = next_plan();
  ++plan->cleared;
  post(std::move(plan));
  began_ = ended_ = now_seconds();
  note_bases();
}

}  // namespace testpmd
