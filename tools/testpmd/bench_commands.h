// The prompt's commands `bench ndr|latency|rekey|migration`.
#pragma once

#include <string>
#include <vector>

#include "tools/testpmd/bench.h"
#include "tools/testpmd/command.h"

namespace testpmd {

std::vector<Command> bench_commands();

// What stands behind `bench ...`: sizes, then settings as word and value. Pure.
struct BenchWords {
  std::vector<FrameSize> sizes;  // RFC 2544, section 9.1, where none are named
  double pdr = 0.005;            // 0: no PDR
  double width = 0.005;
  double trial_s = 1;
  double sum_s = 21;
  double time_s = 0;   // for all; 0: as long as it takes, at most kLongestSeconds
  double max_pps = 0;  // 0: found out
  double min_pps = 0;  // 0: a thousandth of the highest load
  double ndr_pps = 0;  // 0: the last one that was found, or it is searched for
  double run_s = 0;    // of a run of latency, rekey, migration; 0: theirs
  unsigned repeat = 5;
  std::string error;  // not empty: what is wrong, and what may stand there
};
BenchWords parse_bench(const std::string& text);

}  // namespace testpmd
