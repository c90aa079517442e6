#include "tools/testpmd/options.h"

#include <algorithm>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <rte_version.h>

namespace testpmd {
namespace {

constexpr const char* kFooter =
    "On a terminal there is a prompt (`help` lists its commands, Tab completes); elsewhere the lines of "
    "stdin are a\n"
    "script, ended by the first error. With --run-seconds or --cmdline-file stdin is not read.\n"
    "SIGINT and SIGTERM stop traffic and end the run with a table of totals; at the prompt Ctrl-C clears the "
    "line.\n"
    "Everything after --eal goes to DPDK as it is, behind eal.args of the file.\n"
    "Exit codes: 0 ok; 1 an assertion is false, or a run or trial failed; 2 usage, configuration or a "
    "refused command\n"
    "(a script's is named as FILE:LINE); 3 state store refused; 4 device or EAL.";

void declare_run(CLI::App& app, AppOptions& options) {
  app.add_option("--cmdline-file", options.cmdline_file, "Run the commands of this file first");
  app.add_flag("--auto-start", options.auto_start, "Start traffic after it");
  app.add_option("--run-seconds", options.run_seconds,
                 "End by itself after so many seconds, without a prompt")
      ->check(CLI::Range(0.001, 31'536'000.0));
  app.add_option("--stats-period", options.stats_period_s,
                 "Print rates every so many seconds while traffic runs, 0: never (not at a prompt)")
      ->check(CLI::Range(0.0, 86'400.0));
  app.add_option("--assert", options.assertions,
                 "Must hold at the end, as 'loss==0 && mpps>=1'; may be repeated")
      ->expected(1)
      ->take_all();
  app.add_option("--json", options.json, "Write the final results to this file as JSON");
  app.add_option("--csv", options.csv, "Write the final results to this file as CSV");
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, const std::vector<AttackInfo>& attacks,
                                     int& exit_code) {
  Options options;
  char** const end = argv + argc;
  char** const eal = std::find(argv, end, std::string_view("--eal"));
  if (eal != end) options.harness.eal.assign(eal + 1, end);
  CLI::App app("phantom-testpmd: generates, verifies, attacks, impairs and measures Phantom traffic",
               "phantom-testpmd");
  app.add_option("-c,--config,config", options.harness.config, "Configuration file (TOML)")->required();
  app.add_flag("--init-state", options.harness.init_state, "Create the state store first");
  declare_run(app, options.app);
  app.set_version_flag("--version", fmt::format("phantom-testpmd {} ({})", PHANTOM_VERSION, rte_version()));
  app.footer(kFooter);
  try {
    app.parse(static_cast<int>(eal - argv), argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? kExitOk : kExitUsage;
    return {};
  }
  const std::string wrong = check_options(options.app, attacks);
  if (wrong.empty()) return options;
  fmt::print(stderr, "phantom-testpmd: {}\n", wrong);
  exit_code = kExitUsage;
  return {};
}

}  // namespace testpmd
