// What phantom-testpmd measures with: the latency histogram, and the search for NDR and PDR, against systems
// whose answer is known.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "tools/testpmd/histogram.h"
#include "tools/testpmd/search.h"

namespace {

using testpmd::Goal;
using testpmd::GoalResult;
using testpmd::Histogram;
using testpmd::NextTrial;
using testpmd::Search;
using testpmd::SearchLimits;
using testpmd::SearchTrial;

// ---- histogram

constexpr std::uint64_t kLimit = 1ULL << Histogram::kMaxBits;

// Every magnitude below the limit equally often, which plain uniform numbers are far from.
rc::Gen<std::uint64_t> value_of() {
  return rc::gen::map(
      rc::gen::pair(rc::gen::inRange(0U, Histogram::kMaxBits + 1), rc::gen::arbitrary<std::uint64_t>()),
      [](const std::pair<unsigned, std::uint64_t>& p) {
        return std::uint64_t{p.second & ((1ULL << p.first) - 1)};
      });
}

void check(bool passed) {
  ASSERT_TRUE(passed);
}

Histogram of(const std::vector<std::uint64_t>& values) {
  Histogram h;
  for (const std::uint64_t value : values) h.record(value);
  return h;
}

TEST(Histogram, EveryValueLiesInItsNarrowBucket) {
  check(rc::check([] {
    const std::uint64_t value = *value_of();
    const unsigned bucket = Histogram::bucket_of(value);
    RC_ASSERT(bucket < Histogram::kBuckets);
    RC_ASSERT(Histogram::lowest_of(bucket) <= value);
    RC_ASSERT(value <= Histogram::highest_of(bucket));
    RC_ASSERT((Histogram::highest_of(bucket) - Histogram::lowest_of(bucket)) * 128 <= value);
  }));
}

TEST(Histogram, BucketsFollowEachOtherWithoutGaps) {
  EXPECT_EQ(Histogram::lowest_of(0), 0U);
  for (unsigned bucket = 1; bucket < Histogram::kBuckets; ++bucket) {
    ASSERT_EQ(Histogram::lowest_of(bucket), Histogram::highest_of(bucket - 1) + 1) << bucket;
    ASSERT_EQ(Histogram::bucket_of(Histogram::lowest_of(bucket)), bucket);
    ASSERT_EQ(Histogram::bucket_of(Histogram::highest_of(bucket)), bucket);
  }
  EXPECT_EQ(Histogram::highest_of(Histogram::kBuckets - 1), kLimit - 1);
}

TEST(Histogram, PercentilesAreThoseOfTheSortedValues) {
  check(rc::check([] {
    auto values = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint64_t>>(value_of()));
    const Histogram h = of(values);
    std::sort(values.begin(), values.end());
    for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
      const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()) - 1e-9);
      const std::uint64_t exact = values[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
      const std::uint64_t found = h.percentile(percent);
      RC_ASSERT(found >= exact);
      RC_ASSERT((found - exact) * 128 <= exact);
      RC_ASSERT(found <= values.back());
    }
    RC_ASSERT(h.max() == values.back());
    RC_ASSERT(h.min() == values.front());
    RC_ASSERT(h.percentile(100) == values.back());
  }));
}

TEST(Histogram, MergingIsRecordingEverything) {
  check(rc::check([](const std::vector<std::uint16_t>& small) {
    const auto first = *rc::gen::container<std::vector<std::uint64_t>>(value_of());
    std::vector<std::uint64_t> all = first;
    all.insert(all.end(), small.begin(), small.end());
    Histogram merged = of(first);
    merged.merge(of({small.begin(), small.end()}));
    const Histogram whole = of(all);
    RC_ASSERT(merged.count() == whole.count());
    RC_ASSERT(merged.max() == whole.max());
    RC_ASSERT(merged.min() == whole.min());
    for (unsigned bucket = 0; bucket < Histogram::kBuckets; ++bucket)
      RC_ASSERT(merged.in_bucket(bucket) == whole.in_bucket(bucket));
  }));
}

TEST(Histogram, MeanIsCloseToThatOfTheValues) {
  check(rc::check([] {
    const auto values = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint64_t>>(value_of()));
    double sum = 0;
    for (const std::uint64_t value : values) sum += static_cast<double>(value);
    const double mean = sum / static_cast<double>(values.size());
    RC_ASSERT(std::abs(of(values).mean() - mean) <= mean / 128 + 1e-9);
  }));
}

TEST(Histogram, WhatIsBeyondItsRangeKeepsItsMaximum) {
  Histogram h = of({kLimit, ~0ULL});
  EXPECT_EQ(h.count(), 2U);
  EXPECT_EQ(h.max(), ~0ULL);
  EXPECT_EQ(h.percentile(100), ~0ULL);
  h.clear();
  EXPECT_EQ(h.count(), 0U);
  EXPECT_EQ(h.max(), 0U);
  EXPECT_EQ(h.min(), 0U);
  EXPECT_EQ(h.percentile(99), 0U);
}

// ---- search

// A system that carries `rate` and loses the rest, and more when it is asked for.
struct System {
  double rate = 1e6;
  double loss = 0;              // of every trial
  double livelock = 0;          // of what is offered above the rate: lost beside it
  double generator = HUGE_VAL;  // above it trials are void
  double bad_trials = 0;        // share of trials with a hiccup
  double hiccup = 0.01;         // loss of such a trial
  double drain_s = 0.05;
  std::mt19937_64 random{1};

  SearchTrial measure(const NextTrial& next) {
    SearchTrial trial;
    trial.elapsed_s = next.seconds + drain_s;
    if (next.load > generator) {
      trial.void_reason = "the generator was the limit";
      return trial;
    }
    const double over = std::max(0.0, next.load - rate);
    trial.loss_ratio = std::min(1.0, loss + over / next.load + livelock * over / rate);
    if (std::uniform_real_distribution<double>(0, 1)(random) < bad_trials) trial.loss_ratio += hiccup;
    trial.loss_ratio = std::min(1.0, trial.loss_ratio);
    return trial;
  }
};

std::vector<GoalResult> search(System& system, Search& s) {
  while (const auto next = s.next()) s.report(system.measure(*next));
  return s.results();
}

SearchLimits limits_to(double max_load, double max_seconds = 3'600) {
  return {.min_load = 1'000, .max_load = max_load, .max_seconds = max_seconds};
}

double bounded(double least, double most, double share) {
  return least * std::pow(most / least, share);
}
rc::Gen<double> share_of() {
  return rc::gen::map(rc::gen::inRange(0, 10'001), [](int n) { return n / 10'000.0; });
}

TEST(Search, FindsAKnownRate) {
  check(rc::check([] {
    System system;
    system.rate = bounded(2e3, 2e7, *share_of());
    system.livelock = *share_of();
    Search s(testpmd::csit_goals(), limits_to(3e7));
    const auto found = search(system, s);
    RC_ASSERT(s.why_ended().empty());
    const double ndr = system.rate;
    RC_ASSERT(found[0].regular);
    RC_ASSERT(*found[0].lower <= ndr && ndr < *found[0].upper);
    RC_ASSERT(found[0].width <= 0.005 + 1e-9);
    RC_ASSERT(std::abs(found[0].throughput - ndr) <= 0.01 * ndr);
    RC_ASSERT(found[1].regular);
    RC_ASSERT(found[1].width <= 0.005 + 1e-9);
    System at = system;
    RC_ASSERT(at.measure({.load = *found[1].lower, .seconds = 1}).loss_ratio <= 0.005);
    RC_ASSERT(at.measure({.load = *found[1].upper, .seconds = 1}).loss_ratio > 0.005);
    RC_ASSERT(s.trials().size() < 400U);
  }));
}

TEST(Search, TakesNoLongerThanItMust) {
  System system;
  Search s(testpmd::csit_goals(), limits_to(4e6));
  search(system, s);
  // Every bound takes 11 s; NDR's upper one may be PDR's lower one, and the coarse stages take little.
  EXPECT_GE(s.elapsed_s(), 33);
  EXPECT_LT(s.elapsed_s(), 80);
}

TEST(Search, TenNoisyRunsAgree) {
  std::vector<double> ndr;
  std::vector<double> pdr;
  for (unsigned run = 0; run < 10; ++run) {
    System system{.bad_trials = 0.15, .random = std::mt19937_64{run + 1}};
    Search s(testpmd::csit_goals(), limits_to(4e6 + run * 1e4));
    const auto found = search(system, s);
    ASSERT_TRUE(found[0].regular && found[1].regular) << s.why_ended();
    EXPECT_NEAR(*found[0].lower, 1e6, 1e4);
    ndr.push_back(*found[0].lower);
    pdr.push_back(*found[1].lower);
  }
  for (const auto& runs : {ndr, pdr}) {
    const auto [least, most] = std::minmax_element(runs.begin(), runs.end());
    EXPECT_LE((*most - *least) / *most, 0.01);  // each within 0.005 below the true value
  }
}

TEST(Search, ALossOfEveryTrialLeavesOnlyThePartialDropRate) {
  System system{.loss = 0.002};
  Search s(testpmd::csit_goals(), limits_to(4e6));
  const auto found = search(system, s);
  EXPECT_FALSE(found[0].lower);
  EXPECT_FALSE(found[0].regular);
  EXPECT_EQ(found[0].note, "not met at the lowest load");
  ASSERT_TRUE(found[1].regular) << found[1].note;
  EXPECT_NEAR(*found[1].lower, 1e6 / (1 - 0.003), 6e3);
}

TEST(Search, ASystemFasterThanTheHighestLoad) {
  System system{.rate = 1e7};
  Search s(testpmd::csit_goals(), limits_to(4e6));
  for (const GoalResult& found : search(system, s)) {
    EXPECT_TRUE(found.regular);
    EXPECT_EQ(found.lower, 4e6);
    EXPECT_FALSE(found.upper);
    EXPECT_DOUBLE_EQ(found.throughput, 4e6);
  }
}

TEST(Search, AGeneratorThatIsTheLimitIsNamed) {
  System system{.rate = 1e7, .generator = 2.5e6};
  SearchLimits limits = limits_to(4e6);
  limits.max_voids = 100;
  Search s(testpmd::csit_goals(), limits);
  for (const GoalResult& found : search(system, s)) {
    EXPECT_FALSE(found.regular);
    ASSERT_TRUE(found.lower);
    EXPECT_NEAR(*found.lower, 2.5e6, 2.5e4);
    EXPECT_NE(found.note.find("the generator was the limit"), std::string::npos) << found.note;
  }
}

TEST(Search, ARateBelowTheGeneratorsLimitIsStillFound) {
  System system{.generator = 2.5e6};
  Search s(testpmd::csit_goals(), limits_to(4e6));
  const auto found = search(system, s);
  EXPECT_TRUE(found[0].regular && found[1].regular);
  EXPECT_NEAR(*found[0].lower, 1e6, 5e3);
}

// A valid trial above loads that stay void proves nothing: the result is what holds below them.
TEST(Search, VoidTrialsBelowABoundLowerIt) {
  System system;
  Search s(testpmd::csit_goals(), limits_to(2e6));
  while (const auto next = s.next()) {
    SearchTrial trial = system.measure(*next);
    if (next->load > 9e5 && next->load < 1.9e6) trial.void_reason = "noise";
    s.report(trial);
  }
  const auto found = s.results();
  for (const GoalResult& one : found) {
    EXPECT_FALSE(one.regular);
    ASSERT_TRUE(one.lower);
    EXPECT_NEAR(*one.lower, 9e5, 9e3);
    EXPECT_NE(one.note.find("noise"), std::string::npos);
  }
}

TEST(Search, VoidTrialsEndIt) {
  System system{.generator = 0};
  Search s(testpmd::csit_goals(), limits_to(4e6));
  const auto found = search(system, s);
  EXPECT_EQ(s.trials().size(), 30U);
  EXPECT_NE(s.why_ended().find("the generator was the limit"), std::string::npos);
  EXPECT_FALSE(found[0].lower || found[0].upper || found[0].regular);
}

TEST(Search, TimeEndsItWithWhatIsKnown) {
  System system;
  Search s(testpmd::csit_goals(), limits_to(4e6, 20));
  const auto found = search(system, s);
  EXPECT_LE(s.elapsed_s(), 21);
  EXPECT_EQ(s.why_ended(), "the time for the search was over");
  ASSERT_TRUE(found[0].lower && found[0].upper);
  EXPECT_FALSE(found[0].regular || found[0].final_stage);
  EXPECT_NEAR(*found[0].lower, 1e6, 5e4);
  EXPECT_FALSE(found[0].note.empty());
}

// Whatever the trials say, it ends in time, asks for loads within its limits, and its bounds are in order.
TEST(Search, AlwaysEnds) {
  check(rc::check([](std::uint64_t seed) {
    std::mt19937_64 random{seed};
    auto uniform = [&](double least, double most) {
      return std::uniform_real_distribution<double>(least, most)(random);
    };
    std::vector<Goal> goals = testpmd::csit_goals(uniform(0.001, 0.3));
    for (Goal& goal : goals) {
      goal.width = uniform(0.001, 0.2);
      goal.exceed_ratio = uniform(0, 0.9);
      goal.final_trial_s = uniform(1, 3);
    }
    SearchLimits limits = limits_to(bounded(1e3, 1e7, uniform(0, 1)), 300);
    limits.stages = static_cast<unsigned>(uniform(1, 5));
    Search s(goals, limits);
    const double void_share = uniform(0, 0.2);
    while (const auto next = s.next()) {
      RC_ASSERT(next->load >= limits.min_load && next->load <= limits.max_load);
      SearchTrial trial;
      trial.loss_ratio = uniform(0, 1) < 0.5 ? 0 : uniform(0, 0.5);
      if (uniform(0, 1) < void_share) trial.void_reason = "noise";
      const double before = s.share_done();
      s.report(trial);
      RC_ASSERT(s.share_done() >= before && s.share_done() <= 1);
      RC_ASSERT(s.seconds_left() >= 0 && s.seconds_left() <= limits.max_seconds);
    }
    RC_ASSERT(s.elapsed_s() <= limits.max_seconds + 1e-6);
    RC_ASSERT(!s.next());
    for (const GoalResult& found : s.results()) {
      if (found.lower && found.upper) RC_ASSERT(*found.lower < *found.upper);
      if (found.regular) RC_ASSERT(found.final_stage && found.lower);
      if (!found.regular) RC_ASSERT(!found.note.empty());
    }
  }));
}

// The quantile of time that may exceed the loss ratio does not count.
TEST(Search, ThroughputIsThatOfTheMedianTrial) {
  Goal goal;
  goal.initial_trial_s = goal.final_trial_s = 1;
  goal.duration_sum_s = 5;
  goal.loss_ratio = 0.1;
  SearchLimits limits = limits_to(1'000);
  limits.stages = 1;
  Search s({goal}, limits);
  for (const double loss : {0.05, 0.4, 0.02, 0.08}) {
    ASSERT_TRUE(s.next());
    SearchTrial trial;
    trial.loss_ratio = loss;
    s.report(trial);
  }
  EXPECT_FALSE(s.next());
  const auto found = s.results();
  EXPECT_TRUE(found[0].regular);
  EXPECT_DOUBLE_EQ(found[0].throughput, 1'000 * (1 - 0.08));
}

TEST(Search, SenselessGoalsAreRefused) {
  const auto refused = [](const std::function<void(Goal&, SearchLimits&)>& change) {
    Goal goal;
    SearchLimits limits = limits_to(1e6);
    change(goal, limits);
    EXPECT_THROW(Search({goal}, limits), std::invalid_argument);
  };
  refused([](Goal& g, SearchLimits&) { g.loss_ratio = 1; });
  refused([](Goal& g, SearchLimits&) { g.width = 0; });
  refused([](Goal& g, SearchLimits&) { g.exceed_ratio = 1; });
  refused([](Goal& g, SearchLimits&) { g.initial_trial_s = 0; });
  refused([](Goal& g, SearchLimits&) { g.duration_sum_s = 0.5; });
  refused([](Goal&, SearchLimits& l) { l.min_load = 0; });
  refused([](Goal&, SearchLimits& l) { l.max_load = 1; });
  refused([](Goal&, SearchLimits& l) { l.max_seconds = 0; });
  refused([](Goal&, SearchLimits& l) { l.stages = 0; });
  EXPECT_THROW(Search({}, limits_to(1e6)), std::invalid_argument);
}

}  // namespace
