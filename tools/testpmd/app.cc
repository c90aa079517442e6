#include "tools/testpmd/app.h"

#include <fstream>
#include <limits>
#include <utility>

#include <fmt/core.h>
#include <unistd.h>

#include "tools/testpmd/facts.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/prompt.h"

namespace testpmd {
namespace {

constexpr std::size_t kSessionsKept = 1'024;  // of the final JSON and CSV

int complain(const Outcome& outcome) {
  if (!outcome.text.empty()) fmt::print(stderr, "phantom-testpmd: {}\n", outcome.text);
  return outcome.code;
}

// A run without a prompt lasts as long as its script, --run-seconds, or with --auto-start until a signal.
Outcome run_input(Console& console, const AppOptions& options, bool terminal) {
  if (options.run_seconds > 0) {
    console.wait(options.run_seconds);
    return {};
  }
  if (terminal) {
    run_prompt(console);
    return {};
  }
  unsigned lines = 0;
  if (options.cmdline_file.empty()) {
    Outcome outcome = console.run_descriptor(STDIN_FILENO, "stdin", lines);
    if (!outcome.ok() || lines > 0) return outcome;
  }
  while (options.auto_start && console.wait(1)) {
  }
  return {};
}

Outcome run_commands(Console& console, const AppOptions& options, bool terminal) {
  if (!options.cmdline_file.empty()) {
    Outcome outcome = console.run_file(options.cmdline_file);
    if (!outcome.ok() || console.leaving || interrupt_seen()) return outcome;
  }
  if (options.auto_start && !console.harness().running()) {
    Outcome outcome = console.run("start");
    if (!outcome.ok()) return outcome;
  }
  return run_input(console, options, terminal);
}

Report final_report(Console& console) {
  Report report = totals_report(console.harness());
  report.tables.insert(report.tables.begin(), offer_table(console.harness(), rate_text(console.rate)));
  report.tables.push_back(bursts_table(console.harness().totals()));
  report.tables.push_back(sessions_table(console.harness(), kSessionsKept));
  return report;
}

bool write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) fmt::print(stderr, "phantom-testpmd: the results could not be written to {}\n", path);
  return static_cast<bool>(file);
}

bool write_results(Console& console, const AppOptions& options, int code, bool signalled) {
  if (options.json.empty() && options.csv.empty()) return true;
  const Report report = final_report(console);
  nlohmann::ordered_json json = report_json(report);
  json["results"] = console.results();
  json["assertions"] = nlohmann::ordered_json::array();
  for (const Checked& checked : console.checked()) {
    json["assertions"].push_back(
        {{"expression", checked.expression}, {"holds", checked.holds}, {"why", checked.why}});
  }
  json["consistent"] = consistent(console.harness().totals());
  json["interrupted"] = signalled;
  json["exit_code"] = code;
  std::string csv = csv_text(report);
  if (!console.results_csv().empty()) csv += "\n" + console.results_csv();
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const bool json_written = write_file(options.json, text);
  return write_file(options.csv, csv) && json_written;
}

// Assertions of the command line; the worst code.
int check_assertions(Console& console, const AppOptions& options) {
  int code = kExitOk;
  for (const std::string& expression : options.assertions) {
    if (complain(console.check(expression)) != kExitOk) code = kExitFailure;
  }
  return code;
}

int finish(Console& console, const AppOptions& options, int code) {
  const bool signalled = interrupt_seen();
  clear_interrupt();  // what is on its way is waited for; one more signal ends that
  Harness& harness = console.harness();
  const bool stopped_here = harness.running();
  if (stopped_here) harness.stop();
  if (stopped_here || (signalled && console.ran)) console.report(totals_report(harness));
  if (!consistent(harness.totals())) {
    fmt::print(stderr, "phantom-testpmd: more packets arrived than were sent; the totals can't be right\n");
    if (code == kExitOk) code = kExitFailure;
  }
  const int asserted = check_assertions(console, options);
  if (code == kExitOk) code = asserted;
  if (!write_results(console, options, code, signalled) && code == kExitOk) code = kExitFailure;
  return code;
}

}  // namespace

std::string check_options(const AppOptions& options, const std::vector<AttackInfo>& attacks) {
  std::vector<std::string> names;
  names.reserve(attacks.size());
  for (const AttackInfo& attack : attacks) names.push_back(attack.name);
  const std::vector<std::string> known = fact_names(names);
  for (const std::string& expression : options.assertions) {
    std::string error;
    if (!Expression::parse(expression, known, error)) return "--assert: " + error;
  }
  if (!options.cmdline_file.empty() && access(options.cmdline_file.c_str(), R_OK) != 0) {
    return fmt::format("--cmdline-file {} cannot be read", options.cmdline_file);
  }
  for (const std::string& path : {options.json, options.csv}) {
    if (path.empty()) continue;
    if (!std::ofstream(path, std::ios::app)) return fmt::format("{} cannot be written", path);
  }
  return {};
}

int run_app(Harness& harness, const AppOptions& options, const std::vector<AttackInfo>& attacks,
            std::vector<Command> more) {
  const bool input_is_terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  const bool prompts = input_is_terminal && options.run_seconds <= 0;
  ConsoleSettings settings;
  settings.terminal = input_is_terminal;
  settings.stats_period_s = prompts ? 0 : options.stats_period_s;
  settings.attacks = attacks;
  Console console(harness, std::move(settings), std::move(more));
  int code = kExitUsage;
  try {
    code = complain(run_commands(console, options, prompts));
  } catch (...) {
    if (harness.running()) harness.stop();
    throw;
  }
  return finish(console, options, code);
}

}  // namespace testpmd
