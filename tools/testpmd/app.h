// A run of phantom-testpmd with a harness: scripts, prompt, the end with its totals, files and assertions.
//
// Thread: main lcore.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/testpmd/console.h"
#include "tools/testpmd/harness.h"

namespace testpmd {

struct AppOptions {
  std::string cmdline_file;
  bool auto_start = false;
  double stats_period_s = 0;
  double run_seconds = 0;               // 0: until quit, the end of the input, or a signal
  std::vector<std::string> assertions;  // looked at when all is over
  std::string json, csv;                // files for the final results; empty: none
};

// What a harness isn't needed for: are the assertions readable, may the files be written? Nothing wrong:
// empty.
std::string check_options(const AppOptions& options, const std::vector<AttackInfo>& attacks);

// Returns the exit code (command.h). Errors are printed to stderr. Signals are caught already (interrupt.h).
int run_app(Harness& harness, const AppOptions& options, const std::vector<AttackInfo>& attacks,
            std::vector<Command> more = {});

}  // namespace testpmd
