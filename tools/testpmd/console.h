// What commands work on: the harness, the format and rate that were set, what was found so far. Runs lines
// and script files.
//
// Thread: main lcore.
#pragma once

#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/testpmd/command.h"
#include "tools/testpmd/command_table.h"
#include "tools/testpmd/expression.h"
#include "tools/testpmd/figures.h"
#include "tools/testpmd/harness.h"
#include "tools/testpmd/report.h"
#include "tools/testpmd/values.h"

namespace testpmd {

// How far something long has come; shown by Console::progress.
struct Progress {
  std::string title;         // "search 512 bytes, trial 7"
  double done = 0;           // 0..1; below 0: not known
  double seconds_left = -1;  // below 0: not known
  std::string note;          // "1.2 Mpps .. 1.4 Mpps"
};

struct AttackInfo {
  std::string name, reason, help;
};

struct ConsoleSettings {
  std::FILE* out = stdout;
  bool terminal = false;  // in and out are one: screens are refreshed in place, keys are read
  double stats_period_s = 0;
  std::vector<AttackInfo> attacks;
};

// An assertion that was looked at.
struct Checked {
  std::string expression;
  bool holds = false;
  std::string why;
};

class Console {
 public:
  // `harness` outlives it. `more`: commands besides those of commands.h.
  Console(Harness& harness, ConsoleSettings settings, std::vector<Command> more = {});

  [[nodiscard]] Harness& harness() { return harness_; }
  [[nodiscard]] CommandTable& table() { return table_; }
  [[nodiscard]] const ConsoleSettings& settings() const { return settings_; }

  // ---- output
  void print(std::string_view text);
  void report(const Report& report);  // in the format that is set
  // A report that the final JSON and CSV hold too, as an element of "results".
  void result(const std::string& command, const Report& report);
  // One line, rewritten in place on a terminal; elsewhere on stderr, at most one a second.
  void progress(const Progress& progress);
  void progress_done();

  // ---- lines. run() executes one; a script ends at the first that fails, its Outcome names file and line.
  Outcome run(const std::string& line);
  Outcome run_file(const std::string& file);
  // Lines of a descriptor as they come, with the control loop running meanwhile. `lines`: how many there
  // were.
  Outcome run_descriptor(int descriptor, const std::string& name, unsigned& lines);

  // ---- time. One turn of the control loop, and the statistics line when it is due.
  void pump();
  // False: it was interrupted. `until` true ends it too.
  bool wait(double seconds, const std::function<bool()>& until = {});

  // ---- what is set, and found
  Format format = Format::kTable;
  Rate rate;  // offer().pps is made from it, anew when sizes change
  bool leaving = false;
  bool ran = false;  // traffic was started, or a trial made, at some time
  void remember(const TrialResult& trial);
  void forget_trial() { trial_.reset(); }
  [[nodiscard]] Facts facts() const;
  [[nodiscard]] const std::vector<std::string>& fact_names() const { return fact_names_; }
  // Looks at an assertion, remembers it. Code kExitUsage when it can't be read, kExitFailure when false.
  Outcome check(const std::string& expression);
  [[nodiscard]] const std::vector<Checked>& checked() const { return checked_; }
  [[nodiscard]] const nlohmann::ordered_json& results() const { return results_; }
  [[nodiscard]] const std::string& results_csv() const { return results_csv_; }

 private:
  struct LineBuffer;
  std::optional<Outcome> run_numbered(const std::string& line, const std::string& name, unsigned number);
  void print_statistics();

  Harness& harness_;
  ConsoleSettings settings_;
  std::vector<std::string> fact_names_;
  CommandTable table_;
  std::optional<TrialResult> trial_;  // the last, until traffic starts or counters are cleared
  std::vector<Checked> checked_;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
  std::string results_csv_;
  Totals statistics_before_;
  double statistics_at_ = 0;  // seconds of the steady clock; 0: not yet
  double progress_at_ = 0;
  bool progress_shown_ = false;
  unsigned depth_ = 0;  // of scripts that load scripts
};

}  // namespace testpmd
