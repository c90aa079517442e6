// Trials: warm up, clear, send, drain, read, judge.
#include <algorithm>

#include <fmt/format.h>

#include "tools/testpmd/engine.h"
#include "tools/testpmd/live_harness.h"

namespace testpmd {
namespace {

constexpr double kProgressSeconds = 0.05;
// Of what was intended, what must have been sent for a trial to be one (CSIT takes the same tolerance for
// TRex).
constexpr double kLeastOffered = 0.995;
// Refusals of a device from which on its link, not the generator, kept packets back.
constexpr std::uint64_t kFullRefusals = 8;
// Before the first trial of some sessions each of them carries packets, at this rate at most and at least,
// until none is lost or this often: keys are taken over, neighbours found and caches filled then.
constexpr double kWarmPps = 100'000;
constexpr double kLeastWarmPps = 1000;
constexpr double kWarmSeconds = 0.05;
constexpr unsigned kWarmRounds = 10;

std::uint64_t sum_of(const std::array<WayCounters, kWays>& ways, std::uint64_t WayCounters::*what) {
  return ways[0].*what + ways[1].*what;
}

}  // namespace

// ---- trials

std::string LiveHarness::warm_up() {
  const Offer wanted = offer_;
  Offer key = wanted;
  key.pps = 0;
  key.sizes.assign(1, SizeShare{});
  if (warm_mode_ == mode_ && warm_offer_ == key) return {};
  offer_ = key;
  offer_.pps = std::clamp(10.0 * sessions_used(), kLeastWarmPps, kWarmPps);
  const double seconds = std::max(kWarmSeconds, 2.0 * sessions_used() / offer_.pps);
  std::string error;
  std::uint64_t lost_before = UINT64_MAX;
  for (unsigned round = 0; round < kWarmRounds && !interrupted.load(); ++round) {
    error = begin(0, seconds);
    if (!error.empty()) break;
    wait(seconds + kLeadSeconds, {});
    end_sending();
    drain();
    const Totals t = totals();
    rest();
    const std::uint64_t sent = sum_of(t.way, &WayCounters::sent_pkts);
    const std::uint64_t lost = sent - std::min(sent, sum_of(t.way, &WayCounters::received));
    if (lost == 0 || lost >= lost_before) break;
    lost_before = lost;
  }
  offer_ = wanted;
  warm_mode_ = mode_;
  if (error.empty()) warm_offer_ = key;
  return error;
}

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
  if (result.error.empty()) result.error = warm_up();
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
