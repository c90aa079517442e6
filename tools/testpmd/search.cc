#include "tools/testpmd/search.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace testpmd {

namespace {

// Steps outwards from the only known bound double, so that a wrong first guess costs few trials (CSIT expands
// intervals by the same factor).
constexpr double kExpansion = 2;
// Loads at a goal and stage that an average search decides; for the estimate of time left only.
constexpr double kLoadsPerTarget = 3;
// Time is compared with this slack, so that 0.1 + 0.2 is not longer than 0.3.
constexpr double kSlack = 1e-9;

// So many times the initial value of a ratio that leads to the final one in equal factors.
double between(double initial, double final, unsigned stage, unsigned stages) {
  if (stages < 2) return final;
  return initial * std::pow(final / initial, static_cast<double>(stage) / (stages - 1));
}

void require(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument(what);
}

void check(const Goal& goal) {
  const std::string who = "goal " + goal.name + ": ";
  require(goal.loss_ratio >= 0 && goal.loss_ratio < 1, who + "the loss ratio must be from 0 to below 1");
  require(goal.width > 0 && goal.width < 1, who + "the width must be above 0 and below 1");
  require(goal.exceed_ratio >= 0 && goal.exceed_ratio < 1,
          who + "the exceed ratio must be from 0 to below 1");
  require(goal.initial_trial_s > 0 && goal.final_trial_s >= goal.initial_trial_s,
          who + "trials must have a duration, the final at least the initial one");
  require(goal.duration_sum_s >= goal.final_trial_s, who + "the duration sum must hold a final trial");
}

}  // namespace

std::vector<Goal> csit_goals(double pdr) {
  Goal none;
  Goal partial;
  partial.name = "PDR";
  partial.loss_ratio = pdr;
  return {none, partial};
}

Search::Search(std::vector<Goal> goals, SearchLimits limits) : goals_(std::move(goals)), limits_(limits) {
  require(!goals_.empty(), "a search needs a goal");
  for (const Goal& goal : goals_) check(goal);
  require(limits_.min_load > 0 && limits_.max_load >= limits_.min_load,
          "loads must be above 0, the highest not below the lowest");
  require(limits_.max_seconds > 0, "a search needs time");
  require(limits_.stages >= 1 && limits_.void_tries >= 1 && limits_.max_voids >= 1,
          "a search needs a stage and tries");
  start_target();
}

// Widths halve from stage to stage; durations and their sums grow by equal factors.
Search::Target Search::target(std::size_t goal, unsigned stage) const {
  const Goal& g = goals_[goal];
  const double coarser = std::exp2(limits_.stages - 1 - stage);
  return {.loss_ratio = g.loss_ratio,
          .exceed_ratio = g.exceed_ratio,
          .width = 1 - std::pow(1 - g.width, coarser),
          .trial_s = between(g.initial_trial_s, g.final_trial_s, stage, limits_.stages),
          .sum_s = between(g.initial_trial_s, g.duration_sum_s, stage, limits_.stages)};
}

// Load classification of MLRsearch: trials shorter than the target's own only count for high loss, and only
// as far as short ones with low loss don't make up for it.
Search::Class Search::verdict(double load, const Target& t) const {
  const auto found = samples_.find(load);
  if (found == samples_.end()) return Class::kUndecided;
  double full_low = 0, full_high = 0, short_low = 0, short_high = 0;
  for (const Sample& s : found->second) {
    const bool full = s.seconds + kSlack >= t.trial_s;
    const bool high = s.loss_ratio > t.loss_ratio;
    (full ? (high ? full_high : full_low) : (high ? short_high : short_low)) += s.seconds;
  }
  const double balance = short_low * t.exceed_ratio / (1 - t.exceed_ratio);
  const double high = full_high + std::max(0.0, short_high - balance);
  const double whole = std::max(full_low + high, t.sum_s);
  if ((whole - full_low) / whole <= t.exceed_ratio + kSlack) return Class::kLower;
  return high / whole > t.exceed_ratio + kSlack ? Class::kUpper : Class::kUndecided;
}

// The least load that fails is the upper bound, the highest that holds below it the lower one: a load that
// held above a failing one does not count.
Search::Bounds Search::bounds(const Target& t) const {
  Bounds b;
  for (const auto& [load, samples] : samples_) {
    if (unreachable_ && load >= *unreachable_) break;
    const Class c = verdict(load, t);
    if (c == Class::kLower) b.lower = load;
    if (c == Class::kUpper) {
      b.upper = load;
      break;
    }
  }
  return b;
}

// Nothing is left to be measured for this target.
bool Search::narrow(const Bounds& b, const Target& t) const {
  if (b.upper && b.lower) return (*b.upper - *b.lower) / *b.upper <= t.width + kSlack;
  if (b.upper) return *b.upper <= limits_.min_load;
  if (!b.lower) return false;
  if (unreachable_) return (*unreachable_ - *b.lower) / *unreachable_ <= t.width + kSlack;
  return *b.lower >= limits_.max_load;
}

// ---- which load next

double Search::step(const Target& t) {
  const double factor = std::pow(1 - t.width, expansion_);
  expansion_ *= kExpansion;
  return factor;
}

// A bound of the stage before that lies inside what is known now: the likeliest bound of this stage.
std::optional<double> Search::known(const Bounds& b) const {
  for (const auto& candidate : {before_.lower, before_.upper}) {
    if (!candidate || (unreachable_ && *candidate >= *unreachable_)) continue;
    if (*candidate > b.lower.value_or(0) && *candidate < b.upper.value_or(HUGE_VAL)) return candidate;
  }
  return std::nullopt;
}

// What an overloaded system passed is close to what it can carry; tried once.
std::optional<double> Search::forwarded(const Bounds& b, const Target& t) {
  if (guessed_ || stage_ != 0 || !b.upper) return std::nullopt;
  guessed_ = true;
  double least = 1;
  for (const Sample& s : samples_.at(*b.upper)) least = std::min(least, s.loss_ratio);
  const double load = *b.upper * (1 - least) / (1 - t.loss_ratio);
  const bool inside = load > std::max(limits_.min_load, b.lower.value_or(0)) && load < *b.upper;
  return inside ? std::optional(load) : std::nullopt;
}

double Search::first_load() const {
  return unreachable_ ? std::max(limits_.min_load, *unreachable_ / 2) : limits_.max_load;
}

double Search::below(double upper, const Target& t) {
  return std::max(limits_.min_load, upper * step(t));
}

double Search::above(double lower, const Target& t) {
  const double next = lower / step(t);
  if (unreachable_ && next >= *unreachable_) return std::sqrt(lower * *unreachable_);
  return std::min(next, limits_.max_load);
}

double Search::inside(double lower, double upper, const Target& t) {
  const double middle = std::sqrt(lower * upper);
  if (last_ == Class::kUpper) outwards_ = false;
  return outwards_ ? std::min(middle, above(lower, t)) : middle;
}

std::optional<double> Search::pick(const Target& t) {
  const Bounds b = bounds(t);
  if (narrow(b, t)) return std::nullopt;
  if (const auto load = known(b)) return load;
  if (const auto load = forwarded(b, t)) return load;
  if (b.lower && b.upper) return inside(*b.lower, *b.upper, t);
  if (b.upper) return below(*b.upper, t);
  return b.lower ? above(*b.lower, t) : first_load();
}

// ---- going on

void Search::end(const std::string& why) {
  over_ = true;
  why_ = why;
}

void Search::start_target() {
  before_ = stage_ > 0 ? bounds(target(goal_, stage_ - 1)) : Bounds{};
  last_ = Class::kUndecided;
  outwards_ = true;
  guessed_ = false;
  expansion_ = 1;
}

void Search::advance() {
  if (++goal_ == goals_.size()) {
    goal_ = 0;
    if (++stage_ == limits_.stages) return end("");
  }
  start_target();
}

std::optional<NextTrial> Search::next() {
  if (pending_ || over_) return over_ ? std::nullopt : pending_;
  Target t = target(goal_, stage_);
  while (!current_ || verdict(*current_, t) != Class::kUndecided) {
    if (current_) last_ = verdict(*current_, t);
    current_ = pick(t);
    if (current_) continue;
    advance();
    if (over_) return std::nullopt;
    t = target(goal_, stage_);
  }
  if (elapsed_s_ + t.trial_s > limits_.max_seconds) {
    end("the time for the search was over");
    return std::nullopt;
  }
  pending_ = NextTrial{.load = *current_, .seconds = t.trial_s, .goal = goal_, .stage = stage_};
  return pending_;
}

void Search::report(const SearchTrial& trial) {
  if (!pending_) throw std::logic_error("a search was told of a trial that it did not ask for");
  SearchTrial taken = trial;
  taken.load = pending_->load;
  taken.seconds = pending_->seconds;
  taken.goal = pending_->goal;
  taken.stage = pending_->stage;
  taken.elapsed_s = std::max(trial.elapsed_s, taken.seconds);
  pending_.reset();
  elapsed_s_ += taken.elapsed_s;
  wanted_s_ += taken.seconds;
  trials_.push_back(taken);
  if (taken.void_reason.empty())
    samples_[taken.load].push_back({taken.seconds, taken.loss_ratio});
  else
    take_void(taken);
  done_ = std::max(done_, over_ ? 1.0 : elapsed_s_ / (elapsed_s_ + seconds_left()));
}

bool Search::raise(double max_load) {
  const auto found = results();
  const bool met =
      std::any_of(found.begin(), found.end(), [](const GoalResult& goal) { return !goal.upper; });
  if (!over_ || !why_.empty() || !met || unreachable_ || max_load <= limits_.max_load) return false;
  limits_.max_load = max_load;
  over_ = false;
  goal_ = 0;
  stage_ = 0;
  current_.reset();
  start_target();
  return true;
}

// A load that stays void is out of reach, and with it all above it, whatever was measured there: the search
// goes on below.
void Search::take_void(const SearchTrial& trial) {
  const bool given_up = ++voids_[trial.load] >= limits_.void_tries;
  if (++all_voids_ >= limits_.max_voids)
    return end(std::to_string(all_voids_) + " trials were void, the last one: " + trial.void_reason);
  if (!given_up) return;
  if (trial.load <= limits_.min_load)
    return end("the same trial was void " + std::to_string(voids_[trial.load]) +
               " times, at last: " + trial.void_reason);
  unreachable_ = std::min(trial.load, unreachable_.value_or(trial.load));
  unreachable_why_ = trial.void_reason;
  current_.reset();
}

// ---- results

// Conditional throughput: the loss at the quantile of time that the exceed ratio names. Time that was not
// measured counts as lost.
double Search::throughput_at(double load, const Target& t) const {
  std::vector<Sample> full;
  for (const Sample& s : samples_.at(load))
    if (s.seconds + kSlack >= t.trial_s) full.push_back(s);
  std::sort(full.begin(), full.end(),
            [](const Sample& a, const Sample& b) { return a.loss_ratio < b.loss_ratio; });
  double whole = 0, loss = 0;
  for (const Sample& s : full) whole += s.seconds;
  double left = (1 - t.exceed_ratio) * std::max(whole, t.sum_s);
  for (const Sample& s : full) {
    if (left <= kSlack) break;
    loss = s.loss_ratio;
    left -= s.seconds;
  }
  return left > kSlack ? 0 : load * (1 - loss);
}

void Search::describe(GoalResult& result, const Bounds& b, const Target& t) const {
  const bool enough = narrow(b, t) && result.final_stage;
  result.lower = b.lower;
  result.upper = b.upper;
  if (b.lower) result.throughput = throughput_at(*b.lower, t);
  if (b.lower && b.upper) result.width = (*b.upper - *b.lower) / *b.upper;
  result.regular = enough && b.lower && (b.upper || !unreachable_);
  if (result.regular) {
    if (!b.upper) result.note = "met at the highest load";
  } else if (enough && !b.lower) {
    result.note = "not met at the lowest load";
  } else if (enough) {
    result.note = "at least this: higher loads were void (" + unreachable_why_ + ")";
  } else {
    result.note = why_.empty() ? "not finished" : why_;
  }
}

GoalResult Search::result_of(std::size_t goal) const {
  GoalResult result;
  result.name = goals_[goal].name;
  for (unsigned stage = limits_.stages; stage-- > 0;) {
    const Target t = target(goal, stage);
    const Bounds b = bounds(t);
    result.final_stage = stage + 1 == limits_.stages;
    describe(result, b, t);
    if (narrow(b, t) || (b.lower && b.upper)) break;
  }
  return result;
}

std::vector<GoalResult> Search::results() const {
  std::vector<GoalResult> results;
  for (std::size_t goal = 0; goal < goals_.size(); ++goal) results.push_back(result_of(goal));
  return results;
}

// ---- estimates

// Trial time that a goal still needs at a stage, by how many loads a search takes on average.
double Search::left_of(std::size_t goal, unsigned stage) const {
  const Target t = target(goal, stage);
  if (narrow(bounds(t), t)) return 0;
  const double share = std::max(t.exceed_ratio, 1 - t.exceed_ratio);
  const double a_load = std::ceil(t.sum_s * share / t.trial_s) * t.trial_s;
  double spent = 0;
  for (const SearchTrial& trial : trials_)
    if (trial.goal == goal && trial.stage == stage) spent += trial.seconds;
  return std::max(kLoadsPerTarget * a_load - spent, a_load);
}

double Search::seconds_left() const {
  if (over_) return 0;
  double left = 0;
  for (unsigned stage = stage_; stage < limits_.stages; ++stage)
    for (std::size_t goal = stage == stage_ ? goal_ : 0; goal < goals_.size(); ++goal)
      left += left_of(goal, stage);
  const double overhead = wanted_s_ > 0 ? elapsed_s_ / wanted_s_ : 1;
  return std::clamp(left * overhead, 0.0, std::max(0.0, limits_.max_seconds - elapsed_s_));
}

double Search::share_done() const {
  return over_ ? 1 : done_;
}

}  // namespace testpmd
