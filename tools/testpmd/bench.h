// Benchmarks over trials: the rates that a system carries (NDR, PDR), its latency at shares of them, and what
// a rekey or a migration costs under load.
//
// Everything ends: trials that are void are repeated a bounded number of times, searches have a time. A trial
// is void when the harness says so, when it did not offer what was asked for, or when its numbers can't be
// (more packets received than sent); void results are named, never counted as good or bad.
//
// Rates are packets a second each way, as in Offer.
//
// Thread: main lcore; traffic must not run when one begins, and doesn't when it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/testpmd/harness.h"
#include "tools/testpmd/search.h"

namespace testpmd {

struct FrameSize {
  std::string name;  // "64", "imix"
  std::vector<SizeShare> sizes;
};

// How far it is; the returned false ends the benchmark.
struct BenchProgress {
  std::string title;
  double share = 0;  // 0..1
  double seconds_left = 0;
  std::string note;
};
using BenchWatch = std::function<bool(const BenchProgress&)>;

// Why a trial says nothing about the system; empty: it does. `pps`: asked for each way, 0: as fast as it
// goes.
std::string void_reason(const TrialResult& trial, double pps, unsigned ways);

// ---- NDR and PDR

struct NdrSpec {
  Offer offer = {};  // all but rate and sizes
  std::vector<FrameSize> sizes;
  std::vector<Goal> goals = csit_goals();
  double max_seconds = 1'800;  // for all sizes together
  double max_pps = 0;          // 0: as fast as the generator goes, which is measured
  double min_pps = 0;          // lowest load that is tried; 0: a thousandth of the highest
};
struct NdrOfSize {
  FrameSize size = {};
  double highest_pps = 0;  // of the search
  std::vector<GoalResult> goals;
  std::vector<SearchTrial> trials;
  double seconds = 0;
  std::string error;  // why there is no result, or none of the full length
};
struct NdrResult {
  std::vector<Goal> goals;
  std::vector<NdrOfSize> sizes;
  bool interrupted = false;
};
NdrResult bench_ndr(Harness& harness, const NdrSpec& spec, const BenchWatch& watch = {});

// ---- latency

struct LatencySpec {
  Offer offer = {};
  FrameSize size = {};
  double ndr_pps = 0;
  std::vector<double> shares = {0.1, 0.5, 0.9};  // of the NDR
  double seconds = 5;
  unsigned tries = 5;  // of a trial that is void
};
struct LatencyOfLoad {
  double share = 0;
  double pps = 0;
  TrialResult trial;
  std::string error = {};  // not empty: void, for all its tries
};
struct LatencyResult {
  FrameSize size = {};
  std::vector<LatencyOfLoad> loads;
  bool interrupted = false;
};
LatencyResult bench_latency(Harness& harness, const LatencySpec& spec, const BenchWatch& watch = {});

// ---- rekey and migration under load

enum class BenchEvent : std::uint8_t { kRekey, kMigration };
const char* event_name(BenchEvent event);

// One session carries the load: with more, the gap that one of them sees would be hidden by the others.
// Every run with the event has one without beside it, which tells what the machine itself costs.
struct EventSpec {
  BenchEvent event = BenchEvent::kRekey;
  Offer offer = {};
  FrameSize size = {};
  double ndr_pps = 0;
  std::vector<double> shares = {0.5, 0.9};
  unsigned repeat = 5;
  double seconds = 1;  // of a run; the event is in its middle
  unsigned tries = 3;
};
struct EventRun {
  bool with_event = false;
  std::int64_t lost = 0;     // sent, and never came
  std::uint64_t unsent = 0;  // what a full link did not take: no packet's loss, but the load was less
  double blocked_us = 0;
  std::uint64_t offered = 0, duplicates = 0, out_of_order = 0;
  std::string error = {};  // not empty: void, for all its tries
};
struct EventOfLoad {
  double share = 0;
  double pps = 0;
  std::vector<EventRun> runs;
};
struct EventResult {
  BenchEvent event = BenchEvent::kRekey;
  FrameSize size = {};
  std::string session;
  std::vector<EventOfLoad> loads;
  bool interrupted = false;
};
EventResult bench_event(Harness& harness, const EventSpec& spec, const BenchWatch& watch = {});

struct EventSummary {
  unsigned runs = 0;  // that are not void
  unsigned voids = 0;
  double lost_median = 0, lost_worst = 0;
  std::uint64_t unsent_worst = 0;
  double blocked_median_us = 0, blocked_worst_us = 0;
};
EventSummary summary_of(const std::vector<EventRun>& runs, bool with_event);

}  // namespace testpmd
