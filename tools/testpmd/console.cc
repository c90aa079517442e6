#include "tools/testpmd/console.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <utility>

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include "tools/testpmd/commands.h"
#include "tools/testpmd/facts.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/live.h"

namespace testpmd {
namespace {

constexpr int kPollMs = 2;  // the control loop must not rest for longer
constexpr unsigned kDeepestLoad = 8;
constexpr std::size_t kLongestLine = 65'536;

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> names_of(const std::vector<AttackInfo>& attacks) {
  std::vector<std::string> names;
  names.reserve(attacks.size());
  for (const AttackInfo& attack : attacks) names.push_back(attack.name);
  return names;
}

std::vector<Command> all_commands(std::vector<Command> more) {
  std::vector<Command> all = traffic_commands();
  for (auto commands : {show_commands(), end_commands(), script_commands(), std::move(more)}) {
    for (Command& command : commands) all.push_back(std::move(command));
  }
  return all;
}

std::string progress_text(const Progress& progress) {
  std::string text = progress.title;
  if (progress.done >= 0) {
    constexpr std::size_t kWidth = 20;
    const auto full = static_cast<std::size_t>(std::min(progress.done, 1.0) * kWidth);
    text += fmt::format(" [{}{}] {:3.0f} %", std::string(full, '#'), std::string(kWidth - full, '.'),
                        std::min(progress.done, 1.0) * 100);
  }
  if (progress.seconds_left >= 0) text += fmt::format(", {:.0f} s left", progress.seconds_left);
  if (!progress.note.empty()) text += ", " + progress.note;
  return text.substr(0, kReportColumns - 1);
}

}  // namespace

Console::Console(Harness& harness, ConsoleSettings settings, std::vector<Command> more)
    : harness_(harness),
      settings_(std::move(settings)),
      fact_names_(testpmd::fact_names(names_of(settings_.attacks))),
      table_(all_commands(std::move(more)), harness_kinds(harness, names_of(settings_.attacks))) {
  if (harness.offer().pps > 0) rate = {Rate::Unit::kPps, harness.offer().pps};
}

// ---- output

void Console::print(std::string_view text) {
  progress_done();
  std::fwrite(text.data(), 1, text.size(), settings_.out);
  std::fflush(settings_.out);
}

void Console::report(const Report& report) {
  print(report_text(report, format));
}

void Console::result(const std::string& command, const Report& report) {
  this->report(report);
  nlohmann::ordered_json kept = {{"command", command}};
  kept.update(report_json(report));
  results_.push_back(std::move(kept));
  if (!results_csv_.empty()) results_csv_ += "\n";
  results_csv_ += csv_text(report);
}

void Console::progress(const Progress& progress) {
  const double now = clock_seconds();
  const double since = now - progress_at_;
  if (since < (settings_.terminal ? 0.05 : 1.0)) return;
  progress_at_ = now;
  if (!settings_.terminal && since > 2) return;  // what ends at once leaves no line
  if (settings_.terminal) {
    fmt::print(settings_.out, "\r{}\033[K", progress_text(progress));
    std::fflush(settings_.out);
    progress_shown_ = true;
  } else {
    fmt::print(stderr, "{}\n", progress_text(progress));
  }
}

void Console::progress_done() {
  if (!std::exchange(progress_shown_, false)) return;
  fmt::print(settings_.out, "\r\033[K");
  std::fflush(settings_.out);
}

// ---- lines

Outcome Console::run(const std::string& line) {
  CommandTable::Parsed parsed = table_.parse(line);
  if (!parsed.error.empty()) return refused(std::move(parsed.error));
  if (parsed.command == nullptr) return {};
  Outcome outcome = parsed.command->run(*this, parsed.args);
  progress_done();
  return outcome;
}

// Nothing: carry on with the next line.
std::optional<Outcome> Console::run_numbered(const std::string& line, const std::string& name,
                                             unsigned number) {
  Outcome outcome = run(line);
  if (!outcome.ok()) {
    outcome.text = fmt::format("{}:{}: {}", name, number, outcome.text);
    return outcome;
  }
  if (!outcome.text.empty()) print(outcome.text + "\n");
  if (leaving || interrupt_seen()) return Outcome{};
  return {};
}

Outcome Console::run_file(const std::string& file) {
  if (depth_ >= kDeepestLoad) return refused(fmt::format("{} is loaded by itself", file));
  std::ifstream input(file);
  if (!input) return refused(fmt::format("{} cannot be read: {}", file, std::strerror(errno)));
  ++depth_;
  std::string line;
  std::optional<Outcome> ended;
  for (unsigned number = 1; !ended && std::getline(input, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    pump();
    ended = run_numbered(line, file, number);
  }
  --depth_;
  if (!ended && input.bad()) return refused(fmt::format("{} cannot be read to its end", file));
  return ended.value_or(Outcome{});
}

// Splits what a descriptor gives into lines.
struct Console::LineBuffer {
  std::string bytes;
  bool ended = false;

  // Waits a moment for more.
  void fill(int descriptor) {
    pollfd ready{descriptor, POLLIN, 0};
    if (poll(&ready, 1, kPollMs) <= 0) return;
    std::array<char, 4096> chunk{};
    const ssize_t count = read(descriptor, chunk.data(), chunk.size());
    if (count > 0) bytes.append(chunk.data(), static_cast<std::size_t>(count));
    ended = count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN);
  }

  std::optional<std::string> next() {
    const std::size_t end = bytes.find('\n');
    const bool last = end == std::string::npos && ended && !bytes.empty();
    if (end == std::string::npos && !last) return {};
    std::string line = bytes.substr(0, end);
    bytes.erase(0, last ? bytes.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
  }
};

Outcome Console::run_descriptor(int descriptor, const std::string& name, unsigned& lines) {
  LineBuffer buffer;
  lines = 0;
  while (!interrupt_seen()) {
    if (const auto line = buffer.next()) {
      ++lines;
      if (auto ended = run_numbered(*line, name, lines)) return *ended;
      continue;
    }
    if (buffer.ended) break;
    if (buffer.bytes.size() > kLongestLine) {
      return refused(fmt::format("{}:{}: the line is too long", name, lines + 1));
    }
    pump();
    buffer.fill(descriptor);
  }
  return {};
}

// ---- time

void Console::print_statistics() {
  if (settings_.stats_period_s <= 0 || !harness_.running()) return;
  const double now = clock_seconds();
  if (statistics_at_ == 0 || now - statistics_at_ > 2 * settings_.stats_period_s) {
    statistics_at_ = now;
    statistics_before_ = harness_.totals();
    return;
  }
  if (now - statistics_at_ < settings_.stats_period_s) return;
  statistics_at_ += settings_.stats_period_s;
  Totals totals = harness_.totals();
  if (totals.seconds < statistics_before_.seconds) statistics_before_ = {};  // cleared meanwhile
  print(live_line(harness_, statistics_before_, totals));
  statistics_before_ = std::move(totals);
}

void Console::pump() {
  harness_.pump();
  print_statistics();
}

bool Console::wait(double seconds, const std::function<bool()>& until) {
  harness_.wait(seconds, [&] {
    print_statistics();
    return interrupt_seen() || (until && until());
  });
  return !interrupt_seen();
}

// ---- what was found

void Console::remember(const TrialResult& trial) {
  trial_ = trial;
  ran = true;
}

Facts Console::facts() const {
  Facts facts = facts_of(harness_.totals(), harness_.tsc_per_ns());
  if (trial_) put_trial(facts, *trial_);
  return facts;
}

Outcome Console::check(const std::string& expression) {
  std::string error;
  const auto parsed = Expression::parse(expression, fact_names_, error);
  if (!parsed) return refused(std::move(error));
  const Expression::Verdict verdict = parsed->evaluate(facts());
  checked_.push_back({expression, verdict.holds, verdict.why});
  if (verdict.holds) return {};
  return failed(fmt::format("assertion '{}' does not hold: {}", expression, verdict.why));
}

}  // namespace testpmd
