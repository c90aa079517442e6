#include "tools/testpmd/bench_report.h"

#include <array>

#include <fmt/core.h>

#include "tools/testpmd/values.h"

namespace testpmd {

namespace {

constexpr double kNsPerUs = 1'000;
// Percentiles of the curve that is drawn: even steps, then ever closer to 100.
constexpr std::array kCurve = {0.0,   10.0, 20.0,  30.0,   40.0,  50.0,   60.0,   70.0,
                               75.0,  80.0, 85.0,  90.0,   95.0,  97.5,   99.0,   99.5,
                               99.75, 99.9, 99.95, 99.975, 99.99, 99.995, 99.999, 99.9999};

Cell maybe(const std::optional<double>& value) {
  return value ? Cell{*value} : Cell{};
}

// Of the wire (preamble and gap included), as ports are rated.
double wire_bits(double pps, const FrameSize& size) {
  return pps * 8 * (mean_frame_bytes(size.sizes) + kWireOverheadBytes);
}

double us_at(const Histogram& h, double percent) {
  return static_cast<double>(h.percentile(percent)) / kNsPerUs;
}

void add_rates(Table& table, const NdrOfSize& one, const std::vector<Goal>& goals) {
  for (std::size_t i = 0; i < goals.size(); ++i) {
    const GoalResult found = i < one.goals.size() ? one.goals[i] : GoalResult{};
    const std::string note = found.note.empty() ? one.error : found.note;
    table.rows.push_back({one.size.name, goals[i].name, goals[i].loss_ratio, maybe(found.lower),
                          maybe(found.upper), found.width, found.throughput,
                          wire_bits(found.throughput, one.size), std::uint64_t{one.trials.size()},
                          one.seconds, std::string(found.regular ? "yes" : "no"), note});
  }
}

void add_trials(Table& table, const NdrOfSize& one, const std::vector<Goal>& goals) {
  for (std::size_t i = 0; i < one.trials.size(); ++i) {
    const SearchTrial& trial = one.trials[i];
    table.rows.push_back({one.size.name, std::uint64_t{i + 1}, goals.at(trial.goal).name,
                          std::uint64_t{trial.stage}, trial.load, trial.seconds, trial.loss_ratio,
                          trial.void_reason});
  }
}

Table data_table(const std::string& name, std::vector<Column> columns) {
  Table table;
  table.name = name;
  table.columns = std::move(columns);
  table.data_only = true;
  return table;
}

Column column(const char* key, const char* title, Show show = Show::kPlain) {
  return {key, title, show};
}

std::vector<Column> keys(std::initializer_list<const char*> names) {
  std::vector<Column> columns;
  columns.reserve(names.size());
  for (const char* name : names) columns.push_back(column(name, name));
  return columns;
}

Table rates_table(const std::string& title) {
  Table table;
  table.name = "rates";
  table.title = title;
  table.columns = {column("size", "size"),
                   column("goal", "goal"),
                   column("loss_ratio", "loss up to", Show::kPercent),
                   column("lower_pps", "holds pps", Show::kScaled),
                   column("upper_pps", "fails pps", Show::kScaled),
                   column("width", "width", Show::kPercent),
                   column("throughput_pps", "passed pps", Show::kScaled),
                   column("wire_bits_per_second", "wire bit/s", Show::kScaled),
                   column("trials", "trials"),
                   column("seconds", "seconds", Show::kFixed),
                   column("regular", "regular"),
                   column("note", "note")};
  return table;
}

Table latency_table(const std::string& title) {
  Table table;
  table.name = "latency";
  table.title = title;
  table.columns = {column("size", "size"),
                   column("share", "of NDR", Show::kPercent),
                   column("pps", "pps", Show::kScaled),
                   column("sent", "sent", Show::kCount),
                   column("lost", "lost", Show::kCount),
                   column("p50_us", "p50 us", Show::kMicros),
                   column("p90_us", "p90 us", Show::kMicros),
                   column("p99_us", "p99 us", Show::kMicros),
                   column("p99_9_us", "p99.9 us", Show::kMicros),
                   column("p99_99_us", "p99.99 us", Show::kMicros),
                   column("max_us", "max us", Show::kMicros),
                   column("void", "void")};
  return table;
}

Table event_table(const EventResult& result) {
  Table table;
  table.name = event_name(result.event);
  table.title = fmt::format("{} under load, {} bytes, session {}", event_name(result.event), result.size.name,
                            result.session);
  table.columns = {column("share", "of NDR", Show::kPercent),
                   column("pps", "pps", Show::kScaled),
                   column("event", "event"),
                   column("runs", "runs"),
                   column("void", "void"),
                   column("lost_median", "lost median", Show::kCount),
                   column("lost_worst", "lost worst", Show::kCount),
                   column("unsent_worst", "not taken", Show::kCount),
                   column("blocked_median_us", "blocked median us", Show::kMicros),
                   column("blocked_worst_us", "blocked worst us", Show::kMicros)};
  return table;
}

std::string event_text(BenchEvent event, bool with_event) {
  return with_event ? event_name(event) : "without";
}

}  // namespace

Report ndr_report(const NdrResult& result, Ways ways) {
  Table rates = rates_table(ways == Ways::kBoth ? "Rates, each way" : "Rates");
  Table trials = data_table(
      "trials", keys({"size", "trial", "goal", "stage", "load_pps", "seconds", "loss_ratio", "void"}));
  for (const NdrOfSize& one : result.sizes) {
    add_rates(rates, one, result.goals);
    add_trials(trials, one, result.goals);
  }
  return {{std::move(rates), std::move(trials)}, {}};
}

Report latency_report(const LatencyResult& result) {
  Table table = latency_table(fmt::format("Latency, {} bytes", result.size.name));
  Table curve = data_table("curve", keys({"size", "share", "percent", "us"}));
  for (const LatencyOfLoad& load : result.loads) {
    const Histogram& h = load.trial.latency_ns;
    table.rows.push_back({result.size.name, load.share, load.pps, load.trial.offered, load.trial.lost,
                          us_at(h, 50), us_at(h, 90), us_at(h, 99), us_at(h, 99.9), us_at(h, 99.99),
                          us_at(h, 100), load.error});
    if (!load.error.empty()) continue;
    for (const double percent : kCurve) {
      // A percentile that fewer than one packet lies above is the maximum.
      if ((100 - percent) / 100 * static_cast<double>(h.count()) < 1) break;
      curve.rows.push_back({result.size.name, load.share, percent, us_at(h, percent)});
    }
    if (h.count() > 0) curve.rows.push_back({result.size.name, load.share, 100.0, us_at(h, 100)});
  }
  return {{std::move(table), std::move(curve)}, {}};
}

Report event_report(const EventResult& result) {
  Table table = event_table(result);
  Table runs = data_table("runs", keys({"share", "event", "offered", "lost", "unsent", "blocked_us",
                                        "duplicates", "out_of_order", "void"}));
  for (const EventOfLoad& load : result.loads) {
    for (const bool with_event : {false, true}) {
      const EventSummary s = summary_of(load.runs, with_event);
      table.rows.push_back({load.share, load.pps, event_text(result.event, with_event), std::uint64_t{s.runs},
                            std::uint64_t{s.voids}, s.lost_median, s.lost_worst, s.unsent_worst,
                            s.blocked_median_us, s.blocked_worst_us});
    }
    for (const EventRun& run : load.runs)
      runs.rows.push_back({load.share, event_text(result.event, run.with_event), run.offered, run.lost,
                           run.unsent, run.blocked_us, run.duplicates, run.out_of_order, run.error});
  }
  return {{std::move(table), std::move(runs)}, {}};
}

}  // namespace testpmd
