// What the benchmarks share: a trial with its progress passed on, clock and ramp-up.
//
// Thread: main lcore.
#pragma once

#include <string>

#include "tools/testpmd/bench.h"

namespace testpmd {

unsigned ways_of(Ways ways);
double clock_s();  // steady

// A benchmark's progress, of which a trial is a part.
class BenchClock {
 public:
  BenchClock(const BenchWatch& watch, double planned_s) : watch_(watch), planned_s_(planned_s) {}

  // Planned trials of fixed length: share and time left follow from what is done.
  void begin_trial(const std::string& title, double seconds);
  void end_trial();
  // Where a search knows better.
  void begin_trial(const std::string& title, double share, double next_share, double left_s, double seconds);
  // For TrialSpec::progress.
  bool at(double trial_s);

  [[nodiscard]] bool stopped() const { return stopped_; }
  void stop() { stopped_ = true; }
  std::string note;

 private:
  const BenchWatch& watch_;
  double planned_s_;
  double done_s_ = 0;  // of planned
  double trial_s_ = 1;
  double from_ = 0, to_ = 0;  // share at the trial's begin and end
  double shown_ = 0;          // never falls
  double left_s_ = 0;
  std::string title_;
  bool stopped_ = false;
};

// A trial; interrupted ones stop the clock.
TrialResult watched_trial(Harness& harness, TrialSpec spec, BenchClock& clock);

// Until something comes back: neighbours, paths and caches are warm then. Empty, or what is wrong.
std::string ramp_up(Harness& harness, const Offer& offer, BenchClock& clock);

}  // namespace testpmd
