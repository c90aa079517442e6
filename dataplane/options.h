// The command line of phantom-gateway.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dataplane {

struct Options {
  std::string config;
  bool check = false;        // validate and leave
  bool init_state = false;   // create the state store and leave
  bool adopt_state = false;  // take a state store over and leave
  std::string json;          // final summary as JSON, empty: none
  std::optional<std::uint32_t> stats_period_s;
  std::uint32_t run_seconds = 0;  // 0: until a signal
  std::vector<std::string> eal;   // everything after --eal
};

// Exit codes of phantom-gateway.
enum ExitCode : int { kExitOk = 0, kExitFailure = 1, kExitUsage = 2, kExitStore = 3, kExitDevice = 4 };

// Options, or nothing with the exit code to leave with (help and version were printed, errors explained).
std::optional<Options> parse_options(int argc, char** argv, int& exit_code);

}  // namespace dataplane
