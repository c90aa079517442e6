// phantom-testpmd's benchmarks over trials of a simulated system: rates, latency, rekey and migration, what
// is void, what ends them, their reports and commands.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/fake_harness.h"
#include "tools/testpmd/bench.h"
#include "tools/testpmd/bench_commands.h"
#include "tools/testpmd/bench_report.h"
#include "tools/testpmd/console.h"

namespace testpmd {
namespace {

// Carries `rate_pps` of what the generator sends, and no more; what an event costs is set.
class SimulatedHarness : public FakeHarness {
 public:
  double rate_pps = 1e6;
  double generator_pps = 3e6;
  double shortfall = 0;  // share of the schedule that is not sent
  std::int64_t event_lost = 0;
  double event_blocked_us = 0;
  std::string refuse_event;
  unsigned cold_trials = 0;  // nothing comes through at first
  unsigned void_trials = 0;  // the next so many are void
  std::uint64_t surplus = 0;
  unsigned slow_starts = 0;  // as fast as it goes is only half of what it carries, so often
  bool pushes_back = false;  // the link takes no more than the system can carry
  std::vector<TrialSpec> asked;

  TrialResult trial(const TrialSpec& spec) override {
    asked.push_back(spec);
    TrialResult found;
    if (spec.progress && !spec.progress(spec.seconds / 2)) {
      found.interrupted = true;
      return found;
    }
    if (spec.event) spec.event();
    const double ways = spec.offer.ways == Ways::kBoth ? 2 : 1;
    double asked_pps = (spec.offer.pps > 0 ? spec.offer.pps : generator_pps) * ways;
    found.seconds = spec.seconds;
    if (spec.offer.pps <= 0 && slow_starts > 0) {
      --slow_starts;
      asked_pps = rate_pps / 2;
    }
    found.intended = packets(asked_pps * spec.seconds);
    found.offered = packets(std::min(asked_pps, generator_pps * ways) * (1 - shortfall) * spec.seconds);
    const std::uint64_t room = packets(rate_pps * ways * spec.seconds);
    if (pushes_back && found.offered > room) {
      found.link_full = true;
      found.unsent = spec.offer.pps > 0 ? found.offered - room : 0;
      found.offered = room;
    }
    found.received = std::exchange(cold_trials, cold_trials > 0 ? cold_trials - 1 : 0) > 0
                         ? 0
                         : std::min(found.offered, room) + surplus;
    if (spec.event && !events_.empty()) found.received -= static_cast<std::uint64_t>(event_lost);
    found.blocked_us = events_.empty() ? 20 : event_blocked_us;
    events_.clear();
    return finish(found, spec);
  }
  std::string rekey(const std::string& session, unsigned steps) override {
    return happen("rekey " + session, steps);
  }
  std::string migrate(const std::string& session) override { return happen("migrate " + session, 1); }

  std::vector<std::string> history;

 private:
  static std::uint64_t packets(double count) { return static_cast<std::uint64_t>(std::llround(count)); }
  std::string happen(const std::string& what, unsigned steps) {
    history.push_back(what + " " + std::to_string(steps));
    if (refuse_event.empty()) events_.push_back(what);
    return refuse_event;
  }
  TrialResult finish(TrialResult found, const TrialSpec& spec) {
    found.lost = static_cast<std::int64_t>(found.offered) - static_cast<std::int64_t>(found.received);
    found.loss_ratio = (static_cast<double>(found.lost) + static_cast<double>(found.unsent)) /
                       static_cast<double>(found.offered + found.unsent);
    found.offered_pps = static_cast<double>(found.offered) / found.seconds;
    found.received_pps = static_cast<double>(found.received) / found.seconds;
    // Latency rises with the load: 10 us and more, 1 % of the packets ten times that.
    const double base_ns = 10'000 * (1 + spec.offer.pps / rate_pps);
    for (unsigned i = 0; i < 10'000; ++i)
      found.latency_ns.record(static_cast<std::uint64_t>(i % 100 == 0 ? 10 * base_ns : base_ns));
    if (void_trials > 0 && spec.seconds >= 0.5) {
      --void_trials;
      found.error = "the machine was busy";
    }
    return found;
  }
  std::vector<std::string> events_;
};

FrameSize bytes(std::uint32_t size) {
  return {std::to_string(size), {{size, 1}}};
}

NdrSpec quick_ndr(std::vector<FrameSize> sizes = {bytes(64)}) {
  NdrSpec spec;
  spec.sizes = std::move(sizes);
  return spec;
}

// ---- rates

TEST(BenchNdr, FindsBothRatesOfEverySize) {
  SimulatedHarness harness;
  double last = 0;
  unsigned calls = 0;
  const NdrResult found =
      bench_ndr(harness, quick_ndr({bytes(64), bytes(512), {"imix", imix()}}), [&](const BenchProgress& p) {
        EXPECT_GE(p.share, last - 1e-9);
        EXPECT_LE(p.share, 1);
        EXPECT_GE(p.seconds_left, 0);
        EXPECT_FALSE(p.title.empty());
        last = p.share;
        ++calls;
        return true;
      });
  ASSERT_EQ(found.sizes.size(), 3U);
  EXPECT_GT(calls, 100U);
  for (const NdrOfSize& one : found.sizes) {
    EXPECT_EQ(one.error, "");
    EXPECT_NEAR(one.highest_pps, 0.95 * 3e6, 1);
    ASSERT_EQ(one.goals.size(), 2U);
    EXPECT_TRUE(one.goals[0].regular && one.goals[1].regular);
    EXPECT_NEAR(*one.goals[0].lower, 1e6, 1e4);
    EXPECT_NEAR(*one.goals[1].lower, 1e6 / 0.995, 1e4);
  }
  EXPECT_EQ(harness.asked.back().offer.sizes.size(), imix().size());
}

TEST(BenchNdr, WhatAFullLinkDoesNotTakeIsLost) {
  SimulatedHarness harness;
  harness.pushes_back = true;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_EQ(found.sizes[0].error, "");
  EXPECT_NEAR(found.sizes[0].highest_pps, 0.95e6 * 2, 1);
  EXPECT_TRUE(found.sizes[0].goals[0].regular && found.sizes[0].goals[0].upper);
  EXPECT_NEAR(*found.sizes[0].goals[0].lower, 1e6, 1e4);
}

TEST(BenchNdr, LoadsStayAboveTheLeast) {
  SimulatedHarness harness;
  NdrSpec spec = quick_ndr();
  spec.min_pps = 2e6;
  const NdrResult found = bench_ndr(harness, spec);
  EXPECT_FALSE(found.sizes[0].goals[0].lower);
  EXPECT_EQ(found.sizes[0].goals[0].note, "not met at the lowest load");
  for (const SearchTrial& trial : found.sizes[0].trials) EXPECT_GE(trial.load, 2e6);
}

TEST(BenchNdr, RatesAreOfEachWay) {
  SimulatedHarness harness;
  NdrSpec spec = quick_ndr();
  spec.offer.ways = Ways::kBoth;
  const NdrResult found = bench_ndr(harness, spec);
  EXPECT_NEAR(*found.sizes[0].goals[0].lower, 1e6, 1e4);
}

TEST(BenchNdr, WhatTheGeneratorCannotExceedIsSaid) {
  SimulatedHarness harness;
  harness.rate_pps = 1e8;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_EQ(found.sizes[0].error, "");
  EXPECT_NEAR(*found.sizes[0].goals[0].lower, 3e6, 3e4);
  EXPECT_EQ(found.sizes[0].goals[0].note.find("at least"), 0U) << found.sizes[0].goals[0].note;
  EXPECT_FALSE(found.sizes[0].goals[0].regular);
}

// The first look at how fast it goes fell into a bad moment.
TEST(BenchNdr, GoesOnAboveAHighestLoadThatIsTooLow) {
  SimulatedHarness harness;
  harness.slow_starts = 3;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_EQ(found.sizes[0].error, "");
  EXPECT_TRUE(found.sizes[0].goals[0].regular && found.sizes[0].goals[0].upper);
  EXPECT_NEAR(*found.sizes[0].goals[0].lower, 1e6, 1e4);
}

TEST(BenchNdr, VoidTrialsAreRepeatedAndThenNamed) {
  SimulatedHarness harness;
  harness.void_trials = 2;  // of the first load of the search
  EXPECT_TRUE(bench_ndr(harness, quick_ndr()).sizes[0].goals[0].regular);
  harness.void_trials = 1'000'000;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_NE(found.sizes[0].error.find("the machine was busy"), std::string::npos);
  EXPECT_LE(found.sizes[0].trials.size(), 30U);
}

TEST(BenchNdr, NumbersThatCannotBeAreVoid) {
  SimulatedHarness harness;
  harness.surplus = 5;
  harness.rate_pps = 1e8;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_NE(found.sizes[0].error.find("more packets came than were sent"), std::string::npos)
      << found.sizes[0].error;
  ASSERT_EQ(found.sizes[0].goals.size(), 2U);
  EXPECT_FALSE(found.sizes[0].goals[0].lower || found.sizes[0].goals[0].regular);
}

TEST(BenchNdr, AGeneratorBehindItsScheduleIsTheLimit) {
  SimulatedHarness harness;
  NdrSpec spec = quick_ndr();
  spec.max_pps = 1e6;
  harness.shortfall = 0.02;
  const NdrResult found = bench_ndr(harness, spec);
  EXPECT_NE(found.sizes[0].error.find("the generator was the limit"), std::string::npos);
}

TEST(BenchNdr, WaitsUntilTrafficComesThrough) {
  SimulatedHarness harness;
  harness.cold_trials = 4;
  EXPECT_TRUE(bench_ndr(harness, quick_ndr()).sizes[0].goals[0].regular);
  harness.cold_trials = 1'000'000;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  EXPECT_NE(found.sizes[0].error.find("nothing comes through"), std::string::npos);
  EXPECT_TRUE(found.sizes[0].trials.empty());
}

TEST(BenchNdr, EndsWhenItIsTold) {
  SimulatedHarness harness;
  unsigned calls = 0;
  const NdrResult found = bench_ndr(harness, quick_ndr({bytes(64), bytes(512)}),
                                    [&](const BenchProgress&) { return ++calls < 30; });
  EXPECT_TRUE(found.interrupted);
  EXPECT_EQ(found.sizes.size(), 1U);
  EXPECT_EQ(found.sizes[0].error, "interrupted");
}

TEST(BenchNdr, ItsTimeIsBounded) {
  SimulatedHarness harness;
  NdrSpec spec = quick_ndr({bytes(64), bytes(512)});
  spec.max_seconds = 20;
  const NdrResult found = bench_ndr(harness, spec);
  EXPECT_EQ(found.sizes[0].error, "the time for the search was over");
  EXPECT_LE(found.sizes[0].trials.size(), 10U);
  // The simulation takes no time: what the first size left over, the second one has.
  EXPECT_GT(found.sizes[1].trials.size(), found.sizes[0].trials.size());
}

// ---- latency

TEST(BenchLatency, MeasuresAtSharesOfTheRate) {
  SimulatedHarness harness;
  harness.void_trials = 2;
  const LatencyResult found = bench_latency(harness, {.size = bytes(512), .ndr_pps = 1e6});
  ASSERT_EQ(found.loads.size(), 3U);
  std::uint64_t before = 0;
  for (const LatencyOfLoad& load : found.loads) {
    EXPECT_EQ(load.error, "");
    EXPECT_DOUBLE_EQ(load.pps, load.share * 1e6);
    EXPECT_GT(load.trial.latency_ns.percentile(50), before);
    before = load.trial.latency_ns.percentile(50);
  }
  const nlohmann::json json = report_json(latency_report(found));
  EXPECT_EQ(json["latency"].size(), 3U);
  EXPECT_NEAR(json["latency"][2]["p50_us"].get<double>(), 19, 0.2);
  EXPECT_NEAR(json["latency"][2]["p99_9_us"].get<double>(), 190, 2);
  EXPECT_EQ(json["curve"].back()["percent"], 100);
}

TEST(BenchLatency, ALinkThatDidNotTakeTheLoadIsNamed) {
  SimulatedHarness harness;
  harness.pushes_back = true;
  const LatencyResult found = bench_latency(harness, {.size = bytes(64), .ndr_pps = 1.5e6});
  EXPECT_EQ(found.loads[0].error, "");
  EXPECT_NE(found.loads[2].error.find("the link was full"), std::string::npos) << found.loads[2].error;
}

TEST(BenchLatency, AVoidTrialIsNamed) {
  SimulatedHarness harness;
  harness.void_trials = 1'000;
  const LatencyResult found = bench_latency(harness, {.size = bytes(64), .ndr_pps = 1e6});
  for (const LatencyOfLoad& load : found.loads) EXPECT_EQ(load.error, "the machine was busy");
  const nlohmann::json json = report_json(latency_report(found));
  EXPECT_EQ(json["latency"][0]["void"], "the machine was busy");
  EXPECT_TRUE(json["curve"].empty());
}

// ---- rekey and migration

TEST(BenchEvent, RekeyCountsLossAndBlockedTimeBesideQuietRuns) {
  SimulatedHarness harness;
  harness.event_lost = 3;
  harness.event_blocked_us = 400;
  const EventResult found =
      bench_event(harness, {.event = BenchEvent::kRekey, .size = bytes(64), .ndr_pps = 1e6});
  ASSERT_EQ(found.loads.size(), 2U);
  EXPECT_EQ(harness.history.size(), 10U);
  EXPECT_EQ(harness.history[0], "rekey alpha 1");
  EXPECT_EQ(harness.asked.back().offer.sessions, 1U);
  for (const EventOfLoad& load : found.loads) {
    const EventSummary with = summary_of(load.runs, true);
    const EventSummary quiet = summary_of(load.runs, false);
    EXPECT_EQ(with.runs, 5U);
    EXPECT_EQ(with.lost_median, 3);
    EXPECT_EQ(with.blocked_worst_us, 400);
    EXPECT_EQ(quiet.runs, 5U);
    EXPECT_EQ(quiet.lost_worst, 0);
    EXPECT_EQ(quiet.blocked_median_us, 20);
  }
  const nlohmann::json json = report_json(event_report(found));
  EXPECT_EQ(json["rekey"].size(), 4U);
  EXPECT_EQ(json["runs"].size(), 20U);
}

TEST(BenchEvent, WhatAFullLinkDidNotTakeIsNamed) {
  SimulatedHarness harness;
  harness.pushes_back = true;
  const EventResult found = bench_event(harness, {.size = bytes(64), .ndr_pps = 2e6, .shares = {0.9}});
  EXPECT_EQ(summary_of(found.loads[0].runs, true).lost_worst, 0);
  EXPECT_EQ(summary_of(found.loads[0].runs, true).unsent_worst, 800'000U);
}

TEST(BenchEvent, ARefusedEventIsAVoidRun) {
  SimulatedHarness harness;
  harness.refuse_event = "no second address";
  const EventResult found =
      bench_event(harness, {.event = BenchEvent::kMigration, .size = bytes(64), .ndr_pps = 1e6, .repeat = 2});
  const EventSummary with = summary_of(found.loads[0].runs, true);
  EXPECT_EQ(with.runs, 0U);
  EXPECT_EQ(with.voids, 2U);
  EXPECT_EQ(found.loads[0].runs[1].error, "no second address");
  EXPECT_EQ(harness.history.size(), 2U * 2 * 3);  // shares, repeat, tries
  EXPECT_EQ(summary_of(found.loads[0].runs, false).runs, 2U);
}

TEST(BenchEvent, MedianAndWorst) {
  std::vector<EventRun> runs;
  for (const int lost : {7, 0, 1, 2})
    runs.push_back({.with_event = true, .lost = lost, .blocked_us = lost * 10.0});
  const EventSummary s = summary_of(runs, true);
  EXPECT_EQ(s.lost_median, 1.5);
  EXPECT_EQ(s.lost_worst, 7);
  EXPECT_EQ(s.blocked_median_us, 15);
  EXPECT_EQ(s.blocked_worst_us, 70);
}

// ---- reports and commands

TEST(BenchReport, HoldsEveryTrialForPictures) {
  SimulatedHarness harness;
  const NdrResult found = bench_ndr(harness, quick_ndr());
  const Report report = ndr_report(found, Ways::kUp);
  const nlohmann::json json = report_json(report);
  ASSERT_EQ(json["rates"].size(), 2U);
  EXPECT_EQ(json["rates"][0]["goal"], "NDR");
  EXPECT_EQ(json["rates"][0]["regular"], "yes");
  // 64 bytes and 20 of preamble and gap.
  EXPECT_DOUBLE_EQ(json["rates"][0]["wire_bits_per_second"].get<double>(),
                   json["rates"][0]["throughput_pps"].get<double>() * 84 * 8);
  EXPECT_EQ(json["trials"].size(), found.sizes[0].trials.size());
  EXPECT_NE(csv_text(report).find("trials,64,1,NDR,0,"), std::string::npos)
      << csv_text(report).substr(0, 400);
  const std::string text = table_text(report);
  EXPECT_NE(text.find("NDR"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;  // no row a trial
}

TEST(BenchWords, SizesAndSettings) {
  const BenchWords plain = parse_bench("");
  EXPECT_EQ(plain.error, "");
  EXPECT_EQ(plain.sizes.size(), 7U);
  const BenchWords words =
      parse_bench("64,imix pdr 0.5% width 1% trial 500ms sum 5s time 2m max 2mpps min 10kpps repeat 9");
  EXPECT_EQ(words.error, "");
  ASSERT_EQ(words.sizes.size(), 2U);
  EXPECT_EQ(words.sizes[1].name, "imix");
  EXPECT_DOUBLE_EQ(words.pdr, 0.005);
  EXPECT_DOUBLE_EQ(words.width, 0.01);
  EXPECT_DOUBLE_EQ(words.trial_s, 0.5);
  EXPECT_DOUBLE_EQ(words.time_s, 120);
  EXPECT_DOUBLE_EQ(words.max_pps, 2e6);
  EXPECT_DOUBLE_EQ(words.min_pps, 10e3);
  EXPECT_EQ(words.repeat, 9U);
  EXPECT_NE(parse_bench("64 widht 1%").error.find("width"), std::string::npos);
  EXPECT_NE(parse_bench("64 pdr 200%").error.find("loss ratio"), std::string::npos);
  EXPECT_NE(parse_bench("63").error, "");
  EXPECT_NE(parse_bench("64 width 0").error, "");
  EXPECT_NE(parse_bench("64 time").error, "");
}

class BenchCommands : public testing::Test {
 protected:
  static ConsoleSettings settings_to(std::FILE* out) {
    ConsoleSettings settings;
    settings.out = out;
    return settings;
  }
  SimulatedHarness harness_;
  std::FILE* out_ = std::tmpfile();
  Console console_{harness_, settings_to(out_), bench_commands()};
  ~BenchCommands() override { std::fclose(out_); }
};

TEST_F(BenchCommands, LatencyTakesTheRateThatWasFound) {
  EXPECT_TRUE(console_.run("bench ndr 64 pdr 0").ok());
  const std::size_t trials = harness_.asked.size();
  EXPECT_TRUE(console_.run("bench latency 64 run 2s").ok());
  EXPECT_EQ(harness_.asked.size(), trials + 1 + 3);  // ramp-up, 10, 50 and 90 %
  EXPECT_NEAR(harness_.asked.back().offer.pps, 0.9e6, 1e4);
  EXPECT_TRUE(console_.run("bench rekey 64 repeat 2").ok());
  EXPECT_TRUE(console_.run("bench migration 64 ndr 500kpps repeat 2").ok());
  EXPECT_EQ(harness_.history.back(), "migrate alpha 1");
  ASSERT_EQ(console_.results().size(), 4U);
  EXPECT_EQ(console_.results()[0]["command"], "bench ndr 64 pdr 0");
  EXPECT_EQ(console_.results()[0]["rates"].size(), 1U);
  EXPECT_TRUE(console_.results()[3].contains("migration"));
}

TEST_F(BenchCommands, MistakesAreRefusedBeforeAnythingRuns) {
  EXPECT_EQ(console_.run("bench ndr 64 witdh 1%").code, kExitUsage);
  EXPECT_EQ(console_.run("bench nothing").code, kExitUsage);
  EXPECT_TRUE(harness_.asked.empty());
  harness_.start();
  EXPECT_EQ(console_.run("bench ndr 64").code, kExitUsage);
  harness_.stop();
}

TEST_F(BenchCommands, ASearchWithoutResultFails) {
  harness_.void_trials = 1'000'000;
  const Outcome outcome = console_.run("bench ndr 64");
  EXPECT_EQ(outcome.code, kExitFailure);
  EXPECT_NE(outcome.text.find("the machine was busy"), std::string::npos);
}

}  // namespace
}  // namespace testpmd
