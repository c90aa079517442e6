#include "tools/testpmd/bench_trial.h"

#include <algorithm>
#include <chrono>

namespace testpmd {

namespace {

// Offering less than this share of what was asked for makes a trial void: the result would be of another
// load.
constexpr double kLeastOffered = 0.99;
// Ramp-up: little traffic, until it comes through.
constexpr double kRampPps = 1'000;
constexpr double kRampSeconds = 0.2;
constexpr unsigned kRampTries = 15;

}  // namespace

unsigned ways_of(Ways ways) {
  return ways == Ways::kBoth ? 2 : 1;
}

double clock_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void BenchClock::begin_trial(const std::string& title, double seconds) {
  const double plan = std::max(planned_s_, done_s_ + seconds);
  begin_trial(title, done_s_ / plan, (done_s_ + seconds) / plan, plan - done_s_, seconds);
}

void BenchClock::begin_trial(const std::string& title, double share, double next_share, double left_s,
                             double seconds) {
  title_ = title;
  from_ = share;
  to_ = next_share;
  left_s_ = left_s;
  trial_s_ = seconds;
}

void BenchClock::end_trial() {
  done_s_ += trial_s_;
}

bool BenchClock::at(double trial_s) {
  if (!watch_ || stopped_) return !stopped_;
  const double part = std::clamp(trial_s / trial_s_, 0.0, 1.0);
  shown_ = std::max(shown_, from_ + part * (to_ - from_));
  const double left = std::max(0.0, left_s_ - trial_s);
  stopped_ = !watch_({.title = title_, .share = shown_, .seconds_left = left, .note = note});
  return !stopped_;
}

std::string void_reason(const TrialResult& trial, double pps, unsigned ways) {
  if (!trial.error.empty()) return trial.error;
  if (trial.interrupted) return "it was interrupted";
  if (trial.lost < 0)
    return "more packets came than were sent: " + std::to_string(trial.received) + " of " +
           std::to_string(trial.offered);
  if (trial.offered == 0) return "nothing was sent";
  if (trial.corrupt > 0) return std::to_string(trial.corrupt) + " packets came back damaged";
  const double asked = pps * ways;
  if (!trial.link_full && trial.offered_pps < kLeastOffered * asked)
    return "the generator was the limit: " + std::to_string(static_cast<std::uint64_t>(trial.offered_pps)) +
           " packets a second instead of " + std::to_string(static_cast<std::uint64_t>(asked));
  return {};
}

TrialResult watched_trial(Harness& harness, TrialSpec spec, BenchClock& clock) {
  if (!clock.at(0)) {
    TrialResult none;
    none.interrupted = true;
    return none;
  }
  spec.progress = [&clock](double seconds) { return clock.at(seconds); };
  TrialResult found = harness.trial(spec);
  clock.end_trial();
  if (found.interrupted) clock.stop();
  return found;
}

std::string ramp_up(Harness& harness, const Offer& offer, BenchClock& clock) {
  TrialSpec spec;
  spec.offer = offer;
  spec.offer.pps = kRampPps;
  spec.seconds = kRampSeconds;
  TrialResult found;
  for (unsigned i = 0; i < kRampTries && !clock.stopped(); ++i) {
    clock.begin_trial("ramp-up", kRampSeconds);
    found = watched_trial(harness, spec, clock);
    if (found.received > 0 && found.lost == 0) return {};
  }
  if (clock.stopped()) return "interrupted";
  if (found.received > 0) return {};  // with loss, which is the system's: the trials will tell
  return "nothing comes through: " + std::to_string(found.offered) + " packets were sent" +
         (found.error.empty() ? "" : " (" + found.error + ")");
}

}  // namespace testpmd
