#include "tools/testpmd/bench_commands.h"

#include <charconv>
#include <map>
#include <memory>
#include <sstream>

#include <fmt/core.h>

#include "tools/testpmd/bench_report.h"
#include "tools/testpmd/console.h"
#include "tools/testpmd/interrupt.h"
#include "tools/testpmd/values.h"

namespace testpmd {

namespace {

// RFC 2544, section 9.1, Ethernet; the largest ones don't fit through a tunnel without jumbo frames outside.
constexpr const char* kStandardSizes = "64,128,256,512,1024,1280,1400";
constexpr double kLongestSeconds = 3'600;
// A search that only has to tell the load of another benchmark.
constexpr double kQuickSeconds = 30;

// ---- words

std::optional<FrameSize> size_named(const std::string& word) {
  const auto sizes = parse_sizes(word);
  if (!sizes || sizes->empty()) return std::nullopt;
  return FrameSize{word, *sizes};
}

// Sizes parted by commas are measured one by one.
std::vector<FrameSize> sizes_named(const std::string& word) {
  std::vector<FrameSize> sizes;
  std::istringstream parts(word);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto size = size_named(part);
    if (!size) return {};
    sizes.push_back(*size);
  }
  return sizes;
}

// "0.5%" or "0.005".
std::optional<double> parse_ratio(std::string_view word) {
  const bool percent = !word.empty() && word.back() == '%';
  if (percent) word.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  value = percent ? value / 100 : value;
  return value >= 0 && value < 1 ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_pps(std::string_view word) {
  const auto rate = parse_rate(word);
  return rate && rate->unit == Rate::Unit::kPps ? std::optional(rate->value) : std::nullopt;
}

std::optional<double> parse_repeat(std::string_view word) {
  const auto count = parse_count(word);
  return count && *count >= 1 && *count <= 1'000 ? std::optional(static_cast<double>(*count)) : std::nullopt;
}

struct Setting {
  const char* name;
  const char* expected;
  std::optional<double> (*parse)(std::string_view);
  void (*set)(BenchWords&, double);
};
constexpr Setting kSettings[] = {
    {"pdr", "a loss ratio as 0.5%, 0 for no PDR", parse_ratio, [](BenchWords& w, double v) { w.pdr = v; }},
    {"width", "a ratio as 1%", parse_ratio, [](BenchWords& w, double v) { w.width = v; }},
    {"trial", "a time as 1s", parse_seconds, [](BenchWords& w, double v) { w.trial_s = v; }},
    {"sum", "a time as 21s", parse_seconds, [](BenchWords& w, double v) { w.sum_s = v; }},
    {"time", "a time as 2m", parse_seconds, [](BenchWords& w, double v) { w.time_s = v; }},
    {"max", "a rate as 2mpps", parse_pps, [](BenchWords& w, double v) { w.max_pps = v; }},
    {"min", "a rate as 10kpps", parse_pps, [](BenchWords& w, double v) { w.min_pps = v; }},
    {"ndr", "a rate as 2mpps", parse_pps, [](BenchWords& w, double v) { w.ndr_pps = v; }},
    {"run", "a time as 1s", parse_seconds, [](BenchWords& w, double v) { w.run_s = v; }},
    {"repeat", "a number, 1 to 1000", parse_repeat,
     [](BenchWords& w, double v) { w.repeat = static_cast<unsigned>(v); }},
};

void take_setting(BenchWords& words, const std::string& name, const std::string& value) {
  std::vector<std::string> names;
  for (const Setting& setting : kSettings) {
    names.emplace_back(setting.name);
    if (name != setting.name) continue;
    const auto parsed = setting.parse(value);
    if (parsed)
      setting.set(words, *parsed);
    else
      words.error = fmt::format("{} wants {}, not \"{}\"", name, setting.expected, value);
    return;
  }
  words.error = fmt::format("\"{}\" is neither frame sizes (64,512,imix) nor one of {}{}", name,
                            listed(names), did_you_mean(name, names));
}

// ---- running

// NDRs that were found, by name of the size: what `bench latency` and the others take their load from.
using Known = std::map<std::string, double>;

class Bench {
 public:
  Bench(Console& console, BenchWords words, Known& known)
      : console_(console), words_(std::move(words)), known_(known) {}

  Outcome ndr(const std::string& command) {
    const NdrResult found = search(words_.sizes, words_.time_s > 0 ? words_.time_s : kLongestSeconds);
    console_.result(command, ndr_report(found, offer().ways));
    for (const NdrOfSize& one : found.sizes)
      if (!one.error.empty() && !found.interrupted) return failed(one.size.name + " bytes: " + one.error);
    return {};
  }

  Outcome latency(const std::string& command) {
    for (const FrameSize& size : words_.sizes) {
      const double ndr_pps = load_of(size);
      if (interrupt_seen()) break;
      if (ndr_pps <= 0) return failed("no NDR was found for " + size.name + " bytes, so there is no load");
      LatencySpec spec{.offer = offer(), .size = size, .ndr_pps = ndr_pps};
      if (words_.run_s > 0) spec.seconds = words_.run_s;
      const LatencyResult found = bench_latency(console_.harness(), spec, watch());
      console_.progress_done();
      console_.result(command, latency_report(found));
      for (const LatencyOfLoad& load : found.loads)
        if (!load.error.empty() && !found.interrupted) return failed("a trial is void: " + load.error);
    }
    return {};
  }

  Outcome event(const std::string& command, BenchEvent event) {
    for (const FrameSize& size : words_.sizes) {
      const double ndr_pps = load_of(size);
      if (interrupt_seen()) break;
      if (ndr_pps <= 0) return failed("no NDR was found for " + size.name + " bytes, so there is no load");
      EventSpec spec{.event = event, .offer = offer(), .size = size, .ndr_pps = ndr_pps};
      spec.repeat = words_.repeat;
      if (words_.run_s > 0) spec.seconds = words_.run_s;
      const EventResult found = bench_event(console_.harness(), spec, watch());
      console_.progress_done();
      console_.result(command, event_report(found));
      for (const EventOfLoad& load : found.loads) {
        const EventSummary with = summary_of(load.runs, true);
        if (with.runs == 0 && !found.interrupted) return failed("every run is void: " + first_error(load));
      }
    }
    return {};
  }

 private:
  [[nodiscard]] const Offer& offer() const { return console_.harness().offer(); }

  BenchWatch watch() {
    return [this](const BenchProgress& p) {
      console_.progress({p.title, p.share, p.seconds_left, p.note});
      return !interrupt_seen();
    };
  }

  NdrResult search(const std::vector<FrameSize>& sizes, double seconds) {
    NdrSpec spec{.offer = offer(), .sizes = sizes, .max_seconds = seconds, .max_pps = words_.max_pps};
    spec.goals = csit_goals(words_.pdr);
    if (words_.pdr <= 0) spec.goals.resize(1);
    spec.min_pps = words_.min_pps;
    for (Goal& goal : spec.goals) {
      goal.width = words_.width;
      goal.final_trial_s = words_.trial_s;
      goal.initial_trial_s = words_.trial_s;
      goal.duration_sum_s = std::max(words_.sum_s, words_.trial_s);
    }
    NdrResult found = bench_ndr(console_.harness(), spec, watch());
    console_.progress_done();
    for (const NdrOfSize& one : found.sizes)
      if (!one.goals.empty() && one.goals[0].lower) known_[one.size.name] = *one.goals[0].lower;
    return found;
  }

  double load_of(const FrameSize& size) {
    if (words_.ndr_pps > 0) return words_.ndr_pps;
    if (!known_.contains(size.name)) search({size}, words_.time_s > 0 ? words_.time_s : kQuickSeconds);
    return known_.contains(size.name) ? known_[size.name] : 0;
  }

  static std::string first_error(const EventOfLoad& load) {
    for (const EventRun& run : load.runs)
      if (run.with_event && !run.error.empty()) return run.error;
    return "nothing was run";
  }

  Console& console_;
  BenchWords words_;
  Known& known_;
};

Outcome run_bench(Console& console, const Args& args, Known& known) {
  if (console.harness().running()) return refused("traffic runs; `stop` it, a benchmark starts its own");
  const std::string text = args.has(1) ? args[1] : "";
  const std::string command = "bench " + args[0] + (text.empty() ? "" : " " + text);
  BenchWords words = parse_bench(text);
  if (!words.error.empty()) return refused(words.error);
  if (args[0] != "ndr" && text.find_first_of("0123456789i") != 0) words.sizes = sizes_named("64");
  console.forget_trial();
  console.ran = true;
  Bench bench(console, std::move(words), known);
  if (args[0] == "ndr") return bench.ndr(command);
  if (args[0] == "latency") return bench.latency(command);
  return bench.event(command, args[0] == "rekey" ? BenchEvent::kRekey : BenchEvent::kMigration);
}

}  // namespace

BenchWords parse_bench(const std::string& text) {
  BenchWords words;
  std::istringstream in(text);
  std::string word;
  bool first = true;
  while (words.error.empty() && in >> word) {
    if (std::exchange(first, false)) {
      words.sizes = sizes_named(word);
      if (!words.sizes.empty()) continue;
    }
    std::string value;
    in >> value;
    take_setting(words, word, value);
  }
  if (words.error.empty() && words.width <= 0) words.error = "width must be above 0";
  if (words.sizes.empty()) words.sizes = sizes_named(kStandardSizes);
  return words;
}

std::vector<Command> bench_commands() {
  const auto known = std::make_shared<Known>();
  return {
      {"bench ndr|latency|rekey|migration [ <text...> ]",
       "sizes (64,512,imix), then settings: pdr 0.5% width 1% trial 1s sum 21s time 2m max RATE min RATE; "
       "ndr RATE run 1s repeat 5",
       [known](Console& console, const Args& args) { return run_bench(console, args, *known); }}};
}

}  // namespace testpmd
