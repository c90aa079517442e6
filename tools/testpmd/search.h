// Search for the highest loads at which a system still meets loss goals, several goals in one search: NDR
// (no loss) and PDR (little loss).
//
// After the Multiple Loss Ratio search (MLRsearch) that the Benchmarking Methodology working group of the
// IETF specifies and CSIT uses. A goal is met at a load when the trials there, weighed by duration, exceed
// its loss ratio for no more than its exceed ratio of the time; a load is decided as soon as no further trial
// within the duration sum could change that. So noise (a busy core, an interrupt) costs repetitions and
// doesn't move the result. Each goal is approached in stages: first short trials and wide bounds, last the
// goal's own; bounds of a stage, of either goal, are where the next one begins to look.
//
// Pure: no clock, no traffic. The caller asks next(), measures, calls report(), until next() gives nothing.
// It always ends: by narrow bounds, by the time allowed, or because trials stayed void.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace testpmd {

struct Goal {
  std::string name = "NDR";
  double loss_ratio = 0;       // of offered packets, below 1
  double width = 0.005;        // of the final bounds: (upper - lower) / upper
  double initial_trial_s = 1;  // duration of a trial in the first stage
  double final_trial_s = 1;    // in the last
  double duration_sum_s = 21;  // that decides a load in the last stage when trials disagree
  double exceed_ratio = 0.5;   // share of that duration which may exceed loss_ratio; below 1
};
// CSIT's parameters, for loss ratios of 0 (NDR) and `pdr` (PDR, 0.005 there).
std::vector<Goal> csit_goals(double pdr = 0.005);

struct SearchLimits {
  double min_load = 1;
  double max_load = 1;       // at most what the generator is known to reach
  double max_seconds = 600;  // of wall clock, by what the trials' reports say
  unsigned stages = 3;
  unsigned void_tries = 3;  // of one load; then it counts as out of the generator's reach
  unsigned max_voids = 30;  // in all; then the search ends
};

// A trial to be run, and what it was run for.
struct NextTrial {
  double load = 0;
  double seconds = 0;
  std::size_t goal = 0;
  unsigned stage = 0;
};

struct SearchTrial {
  double load = 0;     // as next() gave it
  double seconds = 0;  // of sending, as next() gave it
  double loss_ratio = 0;
  std::string void_reason;  // not empty: says nothing about the system
  double elapsed_s = 0;     // wall clock, with ramp-up and drain; at least `seconds` is counted
  std::size_t goal = 0;     // as in NextTrial; for pictures
  unsigned stage = 0;
};

struct GoalResult {
  std::string name;
  // Highest load at which the goal was met below `upper`, lowest at which it was not.
  std::optional<double> lower, upper;
  double width = 0;         // (upper - lower) / upper; 0 with one bound only
  double throughput = 0;    // conditional throughput at `lower`: what passed there, packets a second
  bool final_stage = true;  // false: the search ended early, these bounds are of a shorter stage
  bool regular = false;     // both bounds, of the last stage and close enough, or met at the highest load
  std::string note;         // why not regular, or what limits it
};

class Search {
 public:
  // Throws std::invalid_argument with the reason when goals or limits make no sense.
  Search(std::vector<Goal> goals, SearchLimits limits);

  // Nothing: it is over. Otherwise the same until report() is called.
  [[nodiscard]] std::optional<NextTrial> next();
  void report(const SearchTrial& trial);
  // True, and it goes on with what it knows, when it ended with a goal that was met at the highest load, and
  // no load was void. The new highest load must be above the one before.
  bool raise(double max_load);

  [[nodiscard]] std::vector<GoalResult> results() const;
  [[nodiscard]] const std::vector<SearchTrial>& trials() const { return trials_; }
  [[nodiscard]] const std::vector<Goal>& goals() const { return goals_; }
  // Empty: every goal has its result. Otherwise why it ended before.
  [[nodiscard]] const std::string& why_ended() const { return why_; }
  [[nodiscard]] double elapsed_s() const { return elapsed_s_; }
  // Estimates for people: of seconds still to come, and of the share done (0..1, never falls).
  [[nodiscard]] double seconds_left() const;
  [[nodiscard]] double share_done() const;

 private:
  enum class Class : std::uint8_t { kUndecided, kLower, kUpper };
  struct Target {  // a goal at a stage
    double loss_ratio, exceed_ratio, width, trial_s, sum_s;
  };
  struct Sample {
    double seconds, loss_ratio;
  };
  struct Bounds {
    std::optional<double> lower, upper;
  };

  [[nodiscard]] Target target(std::size_t goal, unsigned stage) const;
  [[nodiscard]] Class verdict(double load, const Target& t) const;
  [[nodiscard]] Bounds bounds(const Target& t) const;
  [[nodiscard]] bool narrow(const Bounds& b, const Target& t) const;
  [[nodiscard]] double throughput_at(double load, const Target& t) const;
  [[nodiscard]] GoalResult result_of(std::size_t goal) const;
  void describe(GoalResult& result, const Bounds& b, const Target& t) const;
  [[nodiscard]] double left_of(std::size_t goal, unsigned stage) const;

  std::optional<double> pick(const Target& t);
  [[nodiscard]] std::optional<double> known(const Bounds& b) const;
  std::optional<double> forwarded(const Bounds& b, const Target& t);
  [[nodiscard]] double first_load() const;
  double below(double upper, const Target& t);
  double above(double lower, const Target& t);
  double inside(double lower, double upper, const Target& t);
  double step(const Target& t);
  void start_target();
  void advance();
  void take_void(const SearchTrial& trial);
  void end(const std::string& why);

  std::vector<Goal> goals_;
  SearchLimits limits_;
  std::map<double, std::vector<Sample>> samples_;  // by load
  std::map<double, unsigned> voids_;               // by load
  std::vector<SearchTrial> trials_;
  std::optional<double> unreachable_;  // loads from here on are void
  std::string unreachable_why_;
  std::optional<NextTrial> pending_;
  std::size_t goal_ = 0;           // that is worked on
  unsigned stage_ = 0;             // of all goals
  std::optional<double> current_;  // load that is measured until it has a verdict
  Bounds before_;                  // of this goal a stage ago
  Class last_ = Class::kUndecided;
  bool outwards_ = true;  // no bracket yet: steps go on in one direction
  bool guessed_ = false;  // the forwarding rate was tried
  double expansion_ = 1;  // of the next step outwards, in widths
  unsigned all_voids_ = 0;
  double elapsed_s_ = 0;
  double wanted_s_ = 0;  // sum of the durations asked for
  double done_ = 0;      // highest share so far
  std::string why_;
  bool over_ = false;
};

}  // namespace testpmd
