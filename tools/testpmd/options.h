// The command line of phantom-testpmd.
#pragma once

#include <optional>
#include <vector>

#include "tools/testpmd/app.h"
#include "tools/testpmd/engine.h"

namespace testpmd {

struct Options {
  HarnessOptions harness;
  AppOptions app;
};

// Options, or nothing with the exit code to leave with (help and version were printed, errors explained).
std::optional<Options> parse_options(int argc, char** argv, const std::vector<AttackInfo>& attacks,
                                     int& exit_code);

}  // namespace testpmd
