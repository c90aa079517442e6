// Benchmarks' results as reports: tables for people, and the same with every trial as JSON and CSV, from
// which tools/plot draws.
//
// Pure; any thread.
#pragma once

#include "tools/testpmd/bench.h"
#include "tools/testpmd/report.h"

namespace testpmd {

// Tables "rates" (a row a size and goal) and "trials" (data only).
Report ndr_report(const NdrResult& result, Ways ways);
// Tables "latency" (a row a load) and "curve" (data only: percentiles by load).
Report latency_report(const LatencyResult& result);
// Tables "rekey" or "migration" (a row a load, with and without the event) and "runs" (data only).
Report event_report(const EventResult& result);

}  // namespace testpmd
