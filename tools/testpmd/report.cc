#include "tools/testpmd/report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "tools/testpmd/values.h"

namespace testpmd {
namespace {

struct NumberText {
  Show show;
  std::string operator()(std::monostate) const { return "-"; }
  std::string operator()(const std::string& text) const { return text; }
  std::string operator()(std::uint64_t value) const {
    if (show == Show::kCount) return grouped(value);
    return show == Show::kPlain ? fmt::format("{}", value) : (*this)(static_cast<double>(value));
  }
  std::string operator()(std::int64_t value) const {
    if (show == Show::kCount) return grouped(value);
    return show == Show::kPlain ? fmt::format("{}", value) : (*this)(static_cast<double>(value));
  }
  std::string operator()(double value) const {
    if (!std::isfinite(value)) return "-";
    switch (show) {
      case Show::kScaled:
        return scaled(value);
      case Show::kPercent:
        return fmt::format("{:.4f} %", value * 100);
      case Show::kMicros:
        return fmt::format("{:.1f}", value);
      case Show::kFixed:
        return fmt::format("{:.2f}", value);
      case Show::kCount:
        return grouped(static_cast<std::int64_t>(std::llround(value)));
      case Show::kPlain:
        break;
    }
    return fmt::format("{:g}", value);
  }
};

using Line = std::vector<std::string>;

bool is_text(const Table& table, std::size_t column) {
  return std::all_of(table.rows.begin(), table.rows.end(), [&](const auto& row) {
    return column >= row.size() || std::holds_alternative<std::string>(row[column]) ||
           std::holds_alternative<std::monostate>(row[column]);
  });
}

Line titles(const Table& table) {
  Line line;
  for (const Column& column : table.columns) line.push_back(column.title);
  return line;
}

std::string cell_at(const Table& table, std::size_t row, std::size_t column) {
  return column < table.rows[row].size() ? cell_text(table.rows[row][column], table.columns[column].show)
                                         : "-";
}

// Cells in columns as wide as their widest; the last text column may be cut so that a line stays within
// kReportColumns.
std::string aligned(const std::vector<Line>& lines, const std::vector<bool>& left) {
  std::vector<std::size_t> widths(left.size(), 0);
  for (const Line& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const Line& line : lines) {
    std::string row = " ";
    for (std::size_t i = 0; i < line.size(); ++i) {
      row +=
          left[i] ? fmt::format(" {:<{}}", line[i], widths[i]) : fmt::format(" {:>{}}", line[i], widths[i]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

std::string rows_text(const Table& table) {
  std::vector<Line> lines = {titles(table)};
  std::vector<bool> left;
  for (std::size_t i = 0; i < table.columns.size(); ++i) left.push_back(is_text(table, i));
  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    Line line;
    for (std::size_t i = 0; i < table.columns.size(); ++i) line.push_back(cell_at(table, row, i));
    lines.push_back(std::move(line));
  }
  return aligned(lines, left);
}

std::string upright_text(const Table& table) {
  std::vector<Line> lines;
  for (std::size_t column = 0; column < table.columns.size(); ++column) {
    Line line = {table.columns[column].title};
    for (std::size_t row = 0; row < table.rows.size(); ++row) line.push_back(cell_at(table, row, column));
    lines.push_back(std::move(line));
  }
  std::vector<bool> left(table.rows.size() + 1, table.rows.size() == 1);
  left[0] = true;
  return aligned(lines, left);
}

std::string rule(const std::string& title) {
  std::string line = fmt::format("---- {} ", title);
  if (line.size() < kReportColumns) line.append(kReportColumns - line.size(), '-');
  return line + "\n";
}

nlohmann::ordered_json cell_json(const Cell& cell) {
  if (const auto* whole = std::get_if<std::uint64_t>(&cell)) return *whole;
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return *whole;
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* value = std::get_if<double>(&cell)) {
    if (std::isfinite(*value)) return *value;
  }
  return nullptr;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  quoted += '"';
  return quoted;
}

std::string csv_cell(const Cell& cell) {
  if (const auto* whole = std::get_if<std::uint64_t>(&cell)) return fmt::format("{}", *whole);
  if (const auto* whole = std::get_if<std::int64_t>(&cell)) return fmt::format("{}", *whole);
  if (const auto* text = std::get_if<std::string>(&cell)) return csv_field(*text);
  if (const auto* value = std::get_if<double>(&cell)) {
    if (std::isfinite(*value)) return fmt::format("{}", *value);
  }
  return {};
}

}  // namespace

std::string cell_text(const Cell& cell, Show show) {
  return std::visit(NumberText{show}, cell);
}

std::string table_text(const Report& report) {
  std::string text = report.text;
  for (const Table& table : report.tables) {
    if (table.data_only) continue;
    if (!table.title.empty()) text += rule(table.title);
    if (table.rows.empty()) {
      text += "  (none)\n";
      continue;
    }
    text += table.upright ? upright_text(table) : rows_text(table);
  }
  return text;
}

nlohmann::ordered_json report_json(const Report& report) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  if (!report.text.empty()) object["text"] = report.text;
  for (const Table& table : report.tables) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const auto& cells : table.rows) {
      nlohmann::ordered_json row = nlohmann::ordered_json::object();
      for (std::size_t i = 0; i < table.columns.size() && i < cells.size(); ++i) {
        row[table.columns[i].key] = cell_json(cells[i]);
      }
      rows.push_back(std::move(row));
    }
    if (table.single && !rows.empty()) {
      object[table.name] = rows.front();
    } else {
      object[table.name] = std::move(rows);
    }
  }
  return object;
}

std::string csv_text(const Report& report) {
  std::string text;
  if (!report.text.empty()) text += fmt::format("table,text\ntext,{}\n", csv_field(report.text));
  for (const Table& table : report.tables) {
    if (!text.empty()) text += "\n";
    text += "table";
    for (const Column& column : table.columns) text.append(",").append(csv_field(column.key));
    text += "\n";
    for (const auto& cells : table.rows) {
      text += csv_field(table.name);
      for (const Cell& cell : cells) text.append(",").append(csv_cell(cell));
      text += "\n";
    }
  }
  return text;
}

std::string report_text(const Report& report, Format format) {
  if (format == Format::kJson) {
    return report_json(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return format == Format::kCsv ? csv_text(report) : table_text(report);
}

}  // namespace testpmd
