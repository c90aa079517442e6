#include "tools/testpmd/facts.h"

#include <algorithm>
#include <array>

#include "session/drop_reason.h"

namespace testpmd {
namespace {

constexpr std::array kPlainNames = {"sent",         "received", "loss",       "loss_ratio", "duplicates",
                                    "out_of_order", "corrupt",  "mpps",       "gbps",       "seconds",
                                    "intended",     "p50_us",   "p90_us",     "p99_us",     "p999_us",
                                    "p9999_us",     "max_us",   "blocked_us", "drops",      "offered_mpps"};

double count(std::uint64_t value) {
  return static_cast<double>(value);
}

void put_latency(Facts& facts, const Histogram& histogram, double unit_per_us) {
  const auto us = [&](double percent) { return count(histogram.percentile(percent)) / unit_per_us; };
  facts["p50_us"] = us(50);
  facts["p90_us"] = us(90);
  facts["p99_us"] = us(99);
  facts["p999_us"] = us(99.9);
  facts["p9999_us"] = us(99.99);
  facts["max_us"] = count(histogram.max()) / unit_per_us;
}

}  // namespace

std::vector<std::string> fact_names(const std::vector<std::string>& attacks) {
  std::vector<std::string> names(kPlainNames.begin(), kPlainNames.end());
  names.reserve(names.size() + session::kDropReasons + attacks.size());
  for (std::size_t i = 1; i < session::kDropReasons; ++i) {  // 0: no reason
    names.push_back("drops." + std::string(session::kDropReasonNames[i]));
  }
  for (const std::string& attack : attacks) names.push_back("attack." + attack);
  return names;
}

Histogram latency_of(const Totals& totals) {
  Histogram both = totals.latency[0];
  for (unsigned way = 1; way < kWays; ++way) both.merge(totals.latency[way]);
  return both;
}

std::int64_t lost_packets(const WayCounters& way) {
  if (way.sent_pkts == 0) return 0;
  return static_cast<std::int64_t>(way.sent_pkts) - static_cast<std::int64_t>(way.received);
}

std::int64_t lost_packets(const Totals& totals) {
  std::int64_t lost = 0;
  for (const WayCounters& way : totals.way) lost += lost_packets(way);
  return lost;
}

bool consistent(const Totals& totals) {
  return std::all_of(totals.way.begin(), totals.way.end(),
                     [](const WayCounters& way) { return lost_packets(way) >= 0; });
}

Facts facts_of(const Totals& totals, double tsc_per_ns) {
  Facts facts;
  double bytes = 0;
  for (const WayCounters& way : totals.way) {
    facts["sent"] += count(way.sent_pkts);
    facts["intended"] += count(way.intended);
    facts["received"] += count(way.received);
    facts["duplicates"] += count(way.duplicates);
    facts["out_of_order"] += count(way.out_of_order);
    facts["corrupt"] += count(way.corrupt);
    bytes += count(way.received_bytes);
    const double gap_us = count(way.longest_gap_tsc) / (tsc_per_ns * 1e3);
    facts["blocked_us"] = std::max(facts["blocked_us"], gap_us);
  }
  facts["loss"] = static_cast<double>(lost_packets(totals));
  facts["loss_ratio"] = facts["sent"] > 0 ? facts["loss"] / facts["sent"] : 0;
  facts["seconds"] = totals.seconds;
  const double per_second = totals.seconds > 0 ? 1 / totals.seconds : 0;
  facts["mpps"] = facts["received"] * per_second / 1e6;
  facts["offered_mpps"] = facts["sent"] * per_second / 1e6;
  facts["gbps"] = bytes * 8 * per_second / 1e9;
  put_latency(facts, latency_of(totals), tsc_per_ns * 1e3);
  facts["drops"] = 0;
  for (const auto& [reason, drops] : totals.end_drops) {
    facts["drops." + reason] = count(drops);
    facts["drops"] += count(drops);
  }
  for (const auto& [attack, sent] : totals.attacks) facts["attack." + attack] = count(sent);
  return facts;
}

void put_trial(Facts& facts, const TrialResult& trial) {
  facts["sent"] = count(trial.offered);
  facts["intended"] = count(trial.intended);
  facts["received"] = count(trial.received);
  facts["duplicates"] = count(trial.duplicates);
  facts["out_of_order"] = count(trial.out_of_order);
  facts["corrupt"] = count(trial.corrupt);
  facts["loss"] = static_cast<double>(trial.lost) + count(trial.unsent);
  facts["loss_ratio"] = trial.loss_ratio;
  facts["seconds"] = trial.seconds;
  facts["mpps"] = trial.received_pps / 1e6;
  facts["offered_mpps"] = trial.offered_pps / 1e6;
  facts["blocked_us"] = trial.blocked_us;
  put_latency(facts, trial.latency_ns, 1e3);
}

}  // namespace testpmd
