#include "tools/testpmd/bench.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "tools/testpmd/bench_trial.h"

namespace testpmd {

namespace {

// Of what the generator reached at full speed: what it can hold at an even rate. When all of that passes, the
// search goes on above it, so often and by such steps, until loads fail or the generator can't send them.
constexpr double kSteadyShare = 0.95;
constexpr unsigned kRaises = 5;
constexpr double kRaise = 2;
// A search begins no lower than this share of its highest load.
constexpr double kLeastShare = 0.001;
// Latency is that of a load when so much of it was taken by the link.
constexpr double kLeastTaken = 0.95;
constexpr double kFastestSeconds = 0.3;
constexpr unsigned kFastestTrials = 3;

Offer offer_of(const Offer& base, const FrameSize& size, double pps) {
  Offer offer = base;
  offer.sizes = size.sizes;
  offer.pps = pps;
  return offer;
}

std::string rate_note(const Search& search) {
  std::string note;
  for (const GoalResult& result : search.results()) {
    if (!result.lower && !result.upper) continue;
    const auto text = [](const std::optional<double>& pps) {
      return pps ? std::to_string(static_cast<std::uint64_t>(*pps)) : std::string("?");
    };
    note += (note.empty() ? "" : ", ") + result.name + " " + text(result.lower) + ".." + text(result.upper);
  }
  return note;
}

// One frame size of bench_ndr.
class SizeSearch {
 public:
  SizeSearch(Harness& harness, const NdrSpec& spec, const FrameSize& size, BenchClock& clock)
      : harness_(harness), spec_(spec), clock_(clock), begin_s_(clock_s()) {
    found_.size = size;
  }

  // `share`, `part`: of the whole benchmark, done before and in this size; `seconds`: it may take.
  NdrOfSize run(double share, double part, double seconds) {
    share_ = share;
    part_ = part;
    found_.error = ramp_up(harness_, offer_of(spec_.offer, found_.size, 0), clock_);
    if (found_.error.empty()) find_highest();
    if (found_.error.empty()) search(seconds - (clock_s() - begin_s_));
    found_.seconds = clock_s() - begin_s_;
    return found_;
  }

 private:
  void find_highest() {
    found_.highest_pps = spec_.max_pps;
    if (spec_.max_pps > 0) return;
    TrialSpec trial;
    trial.offer = offer_of(spec_.offer, found_.size, 0);
    trial.seconds = kFastestSeconds;
    TrialResult fastest;
    for (unsigned i = 0; i < kFastestTrials && !clock_.stopped(); ++i) {
      clock_.begin_trial(found_.size.name + " bytes: as fast as it goes", share_, share_, 0, trial.seconds);
      const TrialResult found = watched_trial(harness_, trial, clock_);
      if (i == 0 || found.offered_pps > fastest.offered_pps) fastest = found;
    }
    found_.highest_pps = kSteadyShare * fastest.offered_pps / ways_of(spec_.offer.ways);
    if (found_.highest_pps < 1) found_.error = "the generator sent nothing: " + fastest.error;
  }

  void search(double seconds) {
    const double highest = std::max(1.0, found_.highest_pps);
    const double least = spec_.min_pps > 0 ? spec_.min_pps : found_.highest_pps * kLeastShare;
    const SearchLimits limits{.min_load = std::clamp(least, 1.0, highest),
                              .max_load = highest,
                              .max_seconds = std::max(0.001, seconds)};
    Search search(spec_.goals, limits);
    run(search);
    for (unsigned i = 0; i < kRaises && spec_.max_pps <= 0 && !clock_.stopped(); ++i) {
      if (!search.raise(found_.highest_pps * kRaise)) break;
      found_.highest_pps *= kRaise;
      run(search);
    }
    found_.goals = search.results();
    found_.trials = search.trials();
    found_.error = clock_.stopped() ? "interrupted" : search.why_ended();
  }

  void run(Search& search) {
    while (!clock_.stopped()) {
      const auto next = search.next();
      if (!next) break;
      const double now = share_ + part_ * search.share_done();
      clock_.note = rate_note(search);
      clock_.begin_trial(found_.size.name + " bytes: trial " + std::to_string(search.trials().size() + 1),
                         now, now, left_s(search), next->seconds);
      measure(search, *next);
    }
  }

  // Sizes still to come are taken to need as long as this one.
  [[nodiscard]] double left_s(const Search& search) const {
    const double whole = search.elapsed_s() + search.seconds_left();
    const double sizes_to_come = std::max(0.0, (1 - share_) / part_ - 1);
    return std::min(search.seconds_left() + sizes_to_come * whole, spec_.max_seconds);
  }

  void measure(Search& search, const NextTrial& next) {
    TrialSpec spec;
    spec.offer = offer_of(spec_.offer, found_.size, next.load);
    spec.seconds = next.seconds;
    const double begin_s = clock_s();
    const TrialResult found = watched_trial(harness_, spec, clock_);
    if (found.interrupted) return;
    SearchTrial trial;
    trial.loss_ratio = found.loss_ratio;
    trial.void_reason = void_reason(found, next.load, ways_of(spec.offer.ways));
    trial.elapsed_s = clock_s() - begin_s;
    search.report(trial);
  }

  Harness& harness_;
  const NdrSpec& spec_;
  BenchClock& clock_;
  double begin_s_;
  double share_ = 0, part_ = 1;
  NdrOfSize found_;
};

}  // namespace

NdrResult bench_ndr(Harness& harness, const NdrSpec& spec, const BenchWatch& watch) {
  NdrResult result;
  result.goals = spec.goals;
  BenchClock clock(watch, spec.max_seconds);
  const double end_s = clock_s() + spec.max_seconds;
  const auto count = static_cast<double>(spec.sizes.size());
  for (std::size_t i = 0; i < spec.sizes.size() && !clock.stopped(); ++i) {
    // What one size leaves over, the next ones have.
    const double seconds = (end_s - clock_s()) / static_cast<double>(spec.sizes.size() - i);
    SizeSearch search(harness, spec, spec.sizes[i], clock);
    result.sizes.push_back(search.run(static_cast<double>(i) / count, 1 / count, seconds));
  }
  result.interrupted = clock.stopped();
  return result;
}

LatencyResult bench_latency(Harness& harness, const LatencySpec& spec, const BenchWatch& watch) {
  LatencyResult result;
  result.size = spec.size;
  BenchClock clock(watch, spec.seconds * static_cast<double>(spec.shares.size()));
  const std::string cold = ramp_up(harness, offer_of(spec.offer, spec.size, 0), clock);
  for (const double share : spec.shares) {
    if (clock.stopped()) break;
    LatencyOfLoad load;
    load.share = share;
    load.pps = share * spec.ndr_pps;
    load.error = cold;
    TrialSpec trial;
    trial.offer = offer_of(spec.offer, spec.size, load.pps);
    trial.seconds = spec.seconds;
    for (unsigned i = 0; i < spec.tries && cold.empty() && !clock.stopped(); ++i) {
      clock.begin_trial("latency at " + std::to_string(std::lround(share * 100)) + " % of NDR", spec.seconds);
      load.trial = watched_trial(harness, trial, clock);
      load.error = void_reason(load.trial, load.pps, ways_of(spec.offer.ways));
      const double taken =
          1 - static_cast<double>(load.trial.unsent) / static_cast<double>(load.trial.intended);
      if (load.error.empty() && taken < kLeastTaken)  // latency of another load than the one that is named
        load.error = "the link was full: " + std::to_string(load.trial.unsent) + " of " +
                     std::to_string(load.trial.intended) + " packets were not taken";
      if (load.error.empty()) break;
    }
    result.loads.push_back(std::move(load));
  }
  result.interrupted = clock.stopped();
  return result;
}

}  // namespace testpmd
