// Results as tables for people, JSON and CSV: one shape for all three.
//
// A report has tables; a table has named columns and rows. JSON: an object with a list of objects a table (an
// object instead of the list for a table of `single` row). CSV: a table's header and rows, the table's name
// first in each; tables are parted by an empty line. Units are in the names of columns.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace testpmd {

enum class Format : std::uint8_t { kTable, kJson, kCsv };
inline constexpr std::size_t kReportColumns = 100;  // width of tables

using Cell = std::variant<std::monostate, std::uint64_t, std::int64_t, double, std::string>;

// How people see the numbers of a column; JSON and CSV have them as they are.
enum class Show : std::uint8_t {
  kPlain,    // text, or a number as it is
  kCount,    // 1,234,567
  kScaled,   // 1.235 M
  kPercent,  // a ratio: 0.0123 -> 1.2300 %
  kMicros,   // 12.3
  kFixed,    // 12.34
};

struct Column {
  std::string key;    // in JSON and CSV
  std::string title;  // for people
  Show show = Show::kPlain;
};

struct Table {
  std::string name;   // in JSON and CSV
  std::string title;  // for people; empty: none
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
  bool single = false;   // one row: an object in JSON
  bool upright = false;  // for people: a line a column, the rows beside one another (the first column is the
                         // heading)
  bool data_only = false;  // not for people: JSON and CSV alone have it
};

struct Report {
  std::vector<Table> tables;
  std::string text;  // for people, before the tables; "text" in JSON
};

std::string cell_text(const Cell& cell, Show show);
std::string table_text(const Report& report);
nlohmann::ordered_json report_json(const Report& report);
std::string csv_text(const Report& report);
// As the format says; JSON as one line.
std::string report_text(const Report& report, Format format);

}  // namespace testpmd
