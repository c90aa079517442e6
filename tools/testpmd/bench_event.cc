// Rekey and migration under load.
#include <algorithm>
#include <cmath>

#include "tools/testpmd/bench.h"
#include "tools/testpmd/bench_trial.h"

namespace testpmd {

namespace {

std::string cause(Harness& harness, BenchEvent event, const std::string& session) {
  return event == BenchEvent::kRekey ? harness.rekey(session, 1) : harness.migrate(session);
}

// One run, repeated while it is void.
EventRun run_once(Harness& harness, const EventSpec& spec, const std::string& session, const Offer& offer,
                  bool with_event, BenchClock& clock) {
  EventRun run;
  for (unsigned i = 0; i < spec.tries && !clock.stopped(); ++i) {
    std::string trouble = with_event ? "the event did not come" : "";
    TrialSpec trial;
    trial.offer = offer;
    trial.seconds = spec.seconds;
    trial.event_at = spec.seconds / 2;
    if (with_event) trial.event = [&] { trouble = cause(harness, spec.event, session); };
    const TrialResult found = watched_trial(harness, trial, clock);
    run = {.with_event = with_event,
           .lost = found.lost,
           .unsent = found.unsent,
           .blocked_us = found.blocked_us,
           .offered = found.offered,
           .duplicates = found.duplicates,
           .out_of_order = found.out_of_order,
           .error = void_reason(found, offer.pps, ways_of(offer.ways))};
    if (run.error.empty()) run.error = trouble;
    if (run.error.empty()) break;
  }
  return run;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

const char* event_name(BenchEvent event) {
  return event == BenchEvent::kRekey ? "rekey" : "migration";
}

EventResult bench_event(Harness& harness, const EventSpec& spec, const BenchWatch& watch) {
  EventResult result;
  result.event = spec.event;
  result.size = spec.size;
  if (harness.session_count() > 0) result.session = harness.session_name(0);
  const double planned = 2.0 * spec.repeat * spec.seconds * static_cast<double>(spec.shares.size());
  BenchClock clock(watch, planned);
  Offer offer = spec.offer;
  offer.sizes = spec.size.sizes;
  offer.sessions = 1;
  const std::string cold = ramp_up(harness, offer, clock);
  for (const double share : spec.shares) {
    EventOfLoad load{.share = share, .pps = share * spec.ndr_pps, .runs = {}};
    offer.pps = load.pps;
    const std::string title = std::string(event_name(spec.event)) + " at " +
                              std::to_string(std::lround(share * 100)) + " % of NDR, run ";
    for (unsigned i = 0; i < 2 * spec.repeat && !clock.stopped(); ++i) {
      clock.begin_trial(title + std::to_string(i + 1), spec.seconds);
      const bool with_event = i % 2 == 1;
      load.runs.push_back(cold.empty() ? run_once(harness, spec, result.session, offer, with_event, clock)
                                       : EventRun{.with_event = with_event, .error = cold});
    }
    result.loads.push_back(std::move(load));
  }
  result.interrupted = clock.stopped();
  return result;
}

EventSummary summary_of(const std::vector<EventRun>& runs, bool with_event) {
  EventSummary summary;
  std::vector<double> lost;
  std::vector<double> blocked;
  for (const EventRun& run : runs) {
    if (run.with_event != with_event) continue;
    if (!run.error.empty()) {
      ++summary.voids;
      continue;
    }
    lost.push_back(static_cast<double>(run.lost));
    summary.unsent_worst = std::max(summary.unsent_worst, run.unsent);
    blocked.push_back(run.blocked_us);
  }
  summary.runs = static_cast<unsigned>(lost.size());
  if (lost.empty()) return summary;
  summary.lost_median = median(lost);
  summary.lost_worst = *std::max_element(lost.begin(), lost.end());
  summary.blocked_median_us = median(blocked);
  summary.blocked_worst_us = *std::max_element(blocked.begin(), blocked.end());
  return summary;
}

}  // namespace testpmd
