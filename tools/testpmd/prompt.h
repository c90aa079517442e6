// The prompt on a terminal: DPDK's rdline edits, completes and remembers lines, Console runs them.
//
// Thread: main lcore; the control loop runs while it waits for keys.
#pragma once

#include "tools/testpmd/console.h"

namespace testpmd {

inline constexpr const char* kPromptText = "phantom-testpmd> ";

// Until quit, Ctrl-D on an empty line, or SIGTERM. Commands that fail are answered and forgotten.
void run_prompt(Console& console);

}  // namespace testpmd
