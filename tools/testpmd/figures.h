// Counters as tables (report.h).
//
// Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "tools/testpmd/harness.h"
#include "tools/testpmd/report.h"

namespace testpmd {

// What went between two readings of the counters. The first may be empty: since the last clear.
struct Rates {
  double seconds = 0;
  std::array<double, kWays> offered_pps{}, sent_pps{}, received_pps{}, received_bits{};  // bits of frames
  double cycles_per_packet = 0;  // of lanes, in turns that moved a packet
  double burst_fill = 0;         // packets a burst that was not empty
};
Rates rates_between(const Totals& before, const Totals& now);

Table ways_table(const Totals& totals);  // "ways": sent, received, loss, rates; up, down and both
Table latency_table(const Totals& totals, double tsc_per_ns);  // "latency": percentiles
Table lanes_table(const Totals& totals);                       // "lanes": cycles per packet, burst fill
Table bursts_table(const Totals& totals);
Table ports_table(const Totals& totals, const std::string& port);  // "ports"; "all" or a name
Table drops_table(const Totals& totals);                           // "end_drops"
Table attacks_table(const Totals& totals);                         // "attacks"
Table sessions_table(const Harness& harness, std::size_t most);    // "sessions"
Table trial_table(const std::vector<TrialResult>& trials);         // "trials"
Table offer_table(const Harness& harness, const std::string& rate);

// The end of a run: everything but sessions.
Report totals_report(const Harness& harness);

}  // namespace testpmd
