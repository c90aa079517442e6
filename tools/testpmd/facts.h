// What assertions may speak of: numbers by name, out of counters or of a trial.
//
//   sent received loss loss_ratio duplicates out_of_order corrupt    packets, both ways added up; of a trial
//                        what a full link did not take is lost too
//   mpps gbps            received, millions of packets and 10^9 bits of frames a second
//   offered_mpps intended
//   p50_us p90_us p99_us p999_us p9999_us max_us                      latency, microseconds
//   seconds              of sending
//   blocked_us           longest gap between arrivals, of a trial less the usual one
//   drops                of the Phantom end in the harness, and drops.REASON for each
//   attack.NAME          packets that this attack sent
//
// Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "tools/testpmd/expression.h"
#include "tools/testpmd/harness.h"

namespace testpmd {

std::vector<std::string> fact_names(const std::vector<std::string>& attacks);
Facts facts_of(const Totals& totals, double tsc_per_ns);
// Those of a trial instead of what they say about traffic.
void put_trial(Facts& facts, const TrialResult& trial);

// Latency of both ways.
Histogram latency_of(const Totals& totals);
// Of a way that sends: sent less received. A way that only listens loses nothing.
std::int64_t lost_packets(const WayCounters& way);
std::int64_t lost_packets(const Totals& totals);
// No way received more than was sent (of those that send), and nothing was counted twice.
bool consistent(const Totals& totals);

}  // namespace testpmd
