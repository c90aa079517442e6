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

// Between making a plan and its first packet: lanes that sleep take it meanwhile.
constexpr double kLeadSeconds = 0.002;
// How long start() waits for neighbours, which retry within a second (dataplane/neighbour.h).
constexpr double kResolveSeconds = 3;
// Nothing has arrived for so long: nothing will.
constexpr double kQuietSeconds = 0.1;
// The main lcore's rest when there is nothing to do; the control loop of a gateway has the same.
constexpr unsigned kPumpSleepUs = 200;
constexpr double kProgressSeconds = 0.05;
// Of what was intended, what must have been sent for a trial to be one (CSIT takes the same tolerance for
// TRex).
constexpr double kLeastOffered = 0.995;
// Refusals of a device from which on its link, not the generator, kept packets back.
constexpr std::uint64_t kFullRefusals = 8;
constexpr std::uint32_t kMostFlows = 64;
constexpr std::uint32_t kDefaultMtu = 1500;  // of the inner LAN side, where there is no LAN port

std::uint64_t sum_of(const std::array<WayCounters, kWays>& ways, std::uint64_t WayCounters::*what) {
  return ways[0].*what + ways[1].*what;
}

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

bool generates(Mode mode) {
  return mode == Mode::kGen || mode == Mode::kSeal || mode == Mode::kLoop || mode == Mode::kSelf;
}

}  // namespace

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

unsigned LiveHarness::sending_lanes() const {
  return std::min(static_cast<unsigned>(lanes_.size()), sessions_used());
}

// ---- plans

std::unique_ptr<Plan> LiveHarness::next_plan() const {
  return std::make_unique<Plan>(*plan_);
}

void LiveHarness::fill_offer(Plan& plan) const {
  plan.sessions = sessions_used();
  plan.flows = offer_.streams;
  plan.burst = offer_.burst;
  plan.pkts_per_tsc = offer_.pps / tsc_hz_ / sending_lanes();
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
  plan->first_pkts = (first_pkts + sending_lanes() - 1) / sending_lanes();
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
  if (capture_) capture_->write();
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
  const auto drops = end_->drops();
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
  drops_base_ = end_->drops();
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

// ---- trials

void LiveHarness::run_trial(const TrialSpec& spec, TrialResult& result) {
  const double begin_at = began_;
  double next = 0;
  bool event_due = static_cast<bool>(spec.event);
  wait(spec.seconds + kLeadSeconds + began_ - now_seconds(), [&] {
    const double done = std::max(0.0, now_seconds() - begin_at);
    if (event_due && done >= spec.event_at) {
      event_due = false;
      spec.event();
    }
    if (!spec.progress || done < next) return false;
    next = done + kProgressSeconds;
    result.interrupted = !spec.progress(done);
    return result.interrupted;
  });
  if (interrupted.load(std::memory_order_relaxed)) result.interrupted = true;
}

void LiveHarness::judge_trial(const TrialSpec& spec, TrialResult& result) const {
  const Totals t = totals();
  result.intended = sum_of(t.way, &WayCounters::intended);
  result.offered = sum_of(t.way, &WayCounters::sent_pkts);
  result.received = sum_of(t.way, &WayCounters::received);
  result.duplicates = sum_of(t.way, &WayCounters::duplicates);
  result.out_of_order = sum_of(t.way, &WayCounters::out_of_order);
  result.corrupt = sum_of(t.way, &WayCounters::corrupt);
  result.lost = static_cast<std::int64_t>(result.offered) - static_cast<std::int64_t>(result.received);
  const auto offered = static_cast<double>(result.offered);
  const auto received = static_cast<double>(result.received);
  const auto intended = static_cast<double>(result.intended);
  const bool full = sum_of(t.way, &WayCounters::refused) >= kFullRefusals;
  if (spec.offer.pps != 0 && full && offered < kLeastOffered * intended) {
    result.link_full = true;
    result.unsent = result.intended - result.offered;
  }
  const double sent = offered + static_cast<double>(result.unsent);
  if (sent != 0)
    result.loss_ratio = static_cast<double>(result.lost + static_cast<std::int64_t>(result.unsent)) / sent;
  result.offered_pps = offered / result.seconds;
  result.received_pps = received / result.seconds;
  Histogram latency;
  for (unsigned way = 0; way < kWays; ++way) {
    latency.merge(t.latency[way]);
    const auto arrived = static_cast<double>(t.way[way].received);
    if (arrived == 0) continue;
    const double gap_us = static_cast<double>(t.way[way].longest_gap_tsc) / tsc_hz_ * 1e6;
    result.blocked_us = std::max(result.blocked_us, gap_us - result.seconds * 1e6 / arrived);
  }
  result.latency_ns = latency.scaled(1e9 / tsc_hz_);
  if (result.interrupted) return;
  if (result.offered == 0) {
    result.error = "nothing was sent: is the device's link up?";
  } else if (spec.offer.pps != 0 && !result.link_full && offered < kLeastOffered * intended) {
    result.error = fmt::format("the generator was the limit: {} of {} packets were sent", result.offered,
                               result.intended);
  } else if (result.lost < 0) {
    result.error = fmt::format("more arrived than was sent: {} of {}", result.received, result.offered);
  }
}

TrialResult LiveHarness::trial(const TrialSpec& spec) {
  TrialResult result;
  if (running_) result.error = "traffic is running: stop it first";
  if (!generates(mode_))
    result.error = fmt::format("mode {} sends nothing that could be counted", mode_name(mode_));
  if (result.error.empty() && spec.seconds <= 0) result.error = "a trial takes more than 0 seconds";
  if (result.error.empty()) result.error = set_offer(spec.offer);
  if (result.error.empty()) result.error = begin(0, spec.seconds);
  if (!result.error.empty()) return result;
  run_trial(spec, result);
  end_sending();
  result.seconds = std::min(spec.seconds, ended_ - began_);
  ended_ = began_ + result.seconds;
  drain();
  judge_trial(spec, result);
  rest();
  return result;
}

}  // namespace testpmd
