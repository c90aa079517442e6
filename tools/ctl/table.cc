#include "tools/ctl/table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <vector>

#include <fmt/core.h>

namespace ctl {
namespace {

class Table {
 public:
  // A title that begins with '>' is that of a column of numbers.
  explicit Table(std::vector<std::string> titles) {
    for (std::string& title : titles) {
      right_.push_back(title.starts_with('>'));
      if (right_.back()) title.erase(0, 1);
    }
    rows_.push_back(std::move(titles));
  }
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::string text() const {
    std::vector<std::size_t> widths(right_.size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += i == 0 ? "" : "  ";
        line +=
            right_[i] ? fmt::format("{:>{}}", row[i], widths[i]) : fmt::format("{:<{}}", row[i], widths[i]);
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> right_;
};

// Newer and older gateways may lack what we know: then there is a dash.
std::string cell(const Json& object, const char* key) {
  if (!object.contains(key)) return "-";
  const Json& value = object[key];
  if (value.is_string()) return value.get_ref<const std::string&>().empty() ? "-" : value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return fmt::format("{:.1f}", value.get<double>());
  if (value.is_null()) return "-";
  return value.dump();
}

// Negative: not known.
std::string seconds(const Json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_number()) return "-";
  const auto value = object[key].get<double>();
  if (value < 0 || !std::isfinite(value)) return "-";
  if (value < 120) return fmt::format("{:.1f}s", value);
  if (value < 7200) return fmt::format("{:.0f}m", value / 60);
  if (value < 48 * 3600) return fmt::format("{:.0f}h", value / 3600);
  if (value < 1000 * 86'400.0) return fmt::format("{:.0f}d", value / 86'400);
  return ">1000d";
}

std::string milliseconds(const Json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_number() || object[key].get<double>() < 0) return "-";
  return fmt::format("{:.2f}", object[key].get<double>());
}

std::string percent(const Json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_number()) return "-";
  return fmt::format("{:.1f}%", 100 * object[key].get<double>());
}

// Of a "bandwidth" object; at least so much when the path was not full at the last report.
std::string megabits(const Json& object) {
  if (!object.contains("bandwidth")) return "-";
  const Json& b = object["bandwidth"];
  const Json rate = b.is_object() ? b.value("bottleneck_bw_bytes_per_s", Json()) : Json();
  if (!rate.is_number()) return "-";
  return fmt::format("{}{:.1f} Mbit/s",
                     b.value("full", Json()) == true ? "" : ">=", rate.get<double>() * 8e-6);
}

void bandwidth_rows(Table& table, const Json& session) {
  table.row({"bandwidth", megabits(session)});
  for (const auto& item : session["bandwidth"].items()) {
    const bool share = item.key() == "loss";
    table.row({"bandwidth." + item.key(), share ? percent(session["bandwidth"], "loss")
                                                : cell(session["bandwidth"], item.key().c_str())});
  }
}

std::string counts_table(const char* title, const Json& counts) {
  Table table({title, ">packets"});
  for (const auto& item : counts.items()) table.row({item.key(), item.value().dump()});
  return table.text();
}

std::string rows_table(const Json& list, std::vector<std::string> titles,
                       const std::vector<const char*>& keys) {
  Table table(std::move(titles));
  for (const Json& one : list) {
    std::vector<std::string> cells;
    cells.reserve(keys.size());
    for (const char* key : keys) cells.push_back(cell(one, key));
    table.row(std::move(cells));
  }
  return table.text();
}

}  // namespace

std::string sessions_table(const Json& sessions) {
  Table table({"SESSION", "STATE", ">EPOCH", ">PEER EPOCH", ">WORKER", ">PATHS", ">RX PACKETS", ">TX PACKETS",
               ">REKEYS", ">IDLE", ">BUDGET", "PEER"});
  for (const Json& s : sessions) {
    table.row({cell(s, "name"), cell(s, "state"), cell(s, "epoch"), cell(s, "peer_epoch"), cell(s, "worker"),
               s.contains("paths") ? std::to_string(s["paths"].size()) : "-", cell(s, "rx_pkts"),
               cell(s, "tx_pkts"), cell(s, "rekeys"), seconds(s, "idle_seconds"),
               seconds(s, "budget_left_seconds"), cell(s, "peer")});
  }
  return table.text();
}

std::string session_text(const Json& session) {
  Table table({"FIELD", "VALUE"});
  for (const auto& item : session.items()) {
    if (item.key() == "paths") continue;
    if (item.key() == "bandwidth") {
      bandwidth_rows(table, session);
      continue;
    }
    if (item.key() == "streams") {
      for (const auto& counter : item.value().items()) {
        if (counter.value() != 0) table.row({"streams." + counter.key(), counter.value().dump()});
      }
      continue;
    }
    const bool time = item.key().ends_with("_seconds");
    table.row({item.key(), time ? seconds(session, item.key().c_str()) : cell(session, item.key().c_str())});
  }
  std::string out = table.text();
  if (session.contains("paths") && !session["paths"].empty())
    out += "\n" + paths_table(session["paths"], false);
  return out;
}

std::string paths_table(const Json& paths, bool with_session) {
  std::vector<std::string> titles = {">PATH",       "STATE",       "UP",         "IN USE",
                                     ">RTT MS",     ">LOSS",       ">BANDWIDTH", ">RX PACKETS",
                                     ">TX PACKETS", ">MIGRATIONS", "LOCAL",      "PEER"};
  if (with_session) titles.insert(titles.begin(), "SESSION");
  Table table(titles);
  for (const Json& p : paths) {
    std::vector<std::string> cells = {cell(p, "path"),       cell(p, "state"),           cell(p, "up"),
                                      cell(p, "in_use"),     milliseconds(p, "srtt_ms"), percent(p, "loss"),
                                      megabits(p),           cell(p, "rx_pkts"),         cell(p, "tx_pkts"),
                                      cell(p, "migrations"), cell(p, "local"),           cell(p, "peer")};
    if (with_session) cells.insert(cells.begin(), cell(p, "session"));
    table.row(std::move(cells));
  }
  return table.text();
}

std::string routes_table(const Json& routes) {
  Table table({"PREFIX", "VIA", "TARGET"});
  for (const Json& route : routes) {
    std::string via = "-";
    std::string target = "-";
    for (const char* key : {"session", "lan_gateway", "port"}) {
      if (!route.contains(key)) continue;
      via = key;
      target = cell(route, key);
    }
    table.row({cell(route, "prefix"), via, target});
  }
  return table.text();
}

std::string services_table(const Json& services) {
  Table table(
      {"SERVICE", "SESSIONS", "TARGET", ">OPEN", ">OPENED", ">REFUSED", ">TO BACKEND", ">FROM BACKEND"});
  for (const Json& s : services) {
    table.row({cell(s, "name"), cell(s, "sessions"), cell(s, "target"), cell(s, "open"), cell(s, "opened"),
               cell(s, "refused"), cell(s, "to_backend_bytes"), cell(s, "from_backend_bytes")});
  }
  return table.text();
}

std::string stats_table(const Json& s) {
  std::string out = fmt::format("gateway {}, up {}, {} sessions\n\n", cell(s, "gateway"),
                                seconds(s, "seconds"), cell(s, "sessions"));
  out += rows_table(
      s.value("ports", Json::array()),
      {"PORT", ">RX PACKETS", ">RX BYTES", ">TX PACKETS", ">TX BYTES", ">RX MISSED", ">RX ERRORS",
       ">TX ERRORS"},
      {"name", "rx_pkts", "rx_bytes", "tx_pkts", "tx_bytes", "rx_missed", "rx_errors", "tx_errors"});
  out += "\n" + rows_table(s.value("workers", Json::array()),
                           {">WORKER", ">LCORE", ">RX PACKETS", ">TX PACKETS", ">SEALED", ">OPENED",
                            ">HANDED OFF", ">TO CONTROL", ">CYCLES/PKT"},
                           {"index", "lcore", "rx_pkts", "tx_pkts", "sealed_pkts", "opened_pkts",
                            "handed_off", "punted", "cycles_per_pkt"});
  if (!s.value("drops", Json::object()).empty()) out += "\n" + counts_table("DROPPED", s["drops"]);
  if (!s.value("consumed", Json::object()).empty()) out += "\n" + counts_table("CONSUMED", s["consumed"]);
  if (s.contains("books")) {
    const Json& b = s["books"];
    out += fmt::format("\nbooks: rx {} + originated {} = tx {} + drops {} + consumed {} + held {}: {}\n",
                       cell(b, "rx"), cell(b, "originated"), cell(b, "tx"), cell(b, "drops"),
                       cell(b, "consumed"), cell(b, "held"),
                       b.value("balanced", false) ? "balanced" : "not balanced at this moment");
  }
  return out;
}

std::string methods_table(const Json& methods) {
  Table table({"METHOD", "PARAMETERS", "DOES"});
  for (const Json& method : methods) {
    std::string params;
    for (const Json& param : method.value("params", Json::array())) {
      const std::string name = cell(param, "name");
      params += (params.empty() ? "" : " ") + (param.value("required", false) ? name : "[" + name + "]");
    }
    table.row({cell(method, "method"), params.empty() ? "-" : params, cell(method, "text")});
  }
  return table.text();
}

std::string event_line(const Json& event) {
  const auto unix_ms = event.value("unix_ms", std::uint64_t{0});
  const auto second = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  gmtime_r(&second, &parts);
  std::array<char, 32> when{};
  (void)std::strftime(when.data(), when.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{:>6}  {}.{:03}Z  {:<16}  {:<14}  {}\n", event.value("number", std::uint64_t{0}),
                     when.data(), unix_ms % 1000, cell(event, "session"), cell(event, "kind"),
                     event.value("text", std::string()));
}

}  // namespace ctl
