#include "dataplane/options.h"

#include <algorithm>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <rte_version.h>

namespace dataplane {
namespace {

constexpr const char* kFooter =
    "Everything after --eal goes to DPDK as it is, behind eal.args of the file.\n"
    "SIGINT and SIGTERM end the gateway after a drain, with a final table; SIGUSR1 prints the table now.\n"
    "Exit codes: 0 ok, 2 configuration or usage, 3 state store refused, 4 device or EAL, 1 anything else.\n"
    "First start: --check FILE, then --init-state FILE once, then FILE.";

void declare(CLI::App& app, Options& options) {
  app.add_option("-c,--config,config", options.config, "Configuration file (TOML)")->required();
  CLI::Option* check =
      app.add_flag("--check", options.check, "Check configuration and secrets, start nothing");
  CLI::Option* init =
      app.add_flag("--init-state", options.init_state, "Create the state store, once, and leave");
  CLI::Option* adopt = app.add_flag("--adopt-state", options.adopt_state,
                                    "Take over a state store that no other gateway uses any more, and leave");
  check->excludes(init)->excludes(adopt);
  init->excludes(adopt);
  app.add_option("--json", options.json, "Write the final summary to this file as JSON");
  app.add_option("--stats-period", options.stats_period_s, "Print rates every so many seconds, 0: never")
      ->check(CLI::Range(0, 86'400));
  app.add_option("--run-seconds", options.run_seconds, "End by itself after so many seconds")
      ->check(CLI::Range(1, 31'536'000));
  app.set_version_flag("--version", fmt::format("phantom-gateway {} ({})", PHANTOM_VERSION, rte_version()));
  app.footer(kFooter);
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, int& exit_code) {
  Options options;
  char** const end = argv + argc;
  char** const eal = std::find(argv, end, std::string_view("--eal"));
  if (eal != end) options.eal.assign(eal + 1, end);
  CLI::App app("phantom-gateway: IP tunnels over Phantom Transport, on DPDK", "phantom-gateway");
  declare(app, options);
  try {
    app.parse(static_cast<int>(eal - argv), argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? kExitOk : kExitUsage;
    return {};
  }
  return options;
}

}  // namespace dataplane
