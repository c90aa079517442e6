// Rates as they are now: a screen that is refreshed in place, or a line a period.
//
// Thread: main lcore.
#pragma once

#include <string>

#include "tools/testpmd/console.h"

namespace testpmd {

// Until q or Ctrl-C, or for so many seconds (0: no end). On anything but a terminal a line a second.
void run_live(Console& console, double seconds);

// The screen and the line; pure.
std::string live_screen(const Harness& harness, const Totals& before, const Totals& now);
std::string live_line(const Harness& harness, const Totals& before, const Totals& now);

}  // namespace testpmd
