#include "dataplane/config_reader.h"

#include <algorithm>
#include <bit>
#include <sstream>

#include <fmt/core.h>

#include "dataplane/address_text.h"

namespace dataplane {
namespace {

// Edit distance (Levenshtein), for suggestions.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string type_name(const toml::node& node) {
  std::ostringstream text;
  text << node.type();
  return text.str();
}

int line_of_node(const toml::node& node) {
  return static_cast<int>(node.source().begin.line);
}

}  // namespace

void ConfigIssues::add(const std::string& field, std::string expected, std::string advice) {
  if (!fields_.insert(field).second) return;
  add_at(line_of(field), field, std::move(expected), std::move(advice));
}

void ConfigIssues::add_at(int line, const std::string& field, std::string expected, std::string advice) {
  errors_.push_back(ConfigError{file_, line, field, std::move(expected), std::move(advice)});
}

bool ConfigIssues::any_under(std::string_view prefix) const {
  const auto first = fields_.lower_bound(prefix);
  return first != fields_.end() && first->starts_with(prefix);
}

int ConfigIssues::line_of(std::string field) const {
  while (!field.empty()) {
    if (const auto found = lines_.find(field); found != lines_.end()) return found->second;
    const std::size_t end = field.find_last_of(".[");
    field.resize(end == std::string::npos ? 0 : end);
  }
  return 0;
}

std::string nearest_name(std::string_view name, const std::set<std::string, std::less<>>& known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const auto [shorter, longer] = std::minmax({name.size(), candidate.size()});
    if (longer - shorter >= best_distance) continue;
    const std::size_t d = distance(name, candidate);
    if (d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

TableReader::TableReader(const toml::table& table, std::string path, ConfigIssues& issues)
    : table_(table), path_(std::move(path)), issues_(issues) {
  issues_.place(path_, line_of_node(table));
}

std::string TableReader::child(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const toml::node* TableReader::find(std::string_view key) {
  known_.emplace(key);
  const toml::node* node = table_.get(key);
  if (node != nullptr) issues_.place(child(key), line_of_node(*node));
  return node;
}

void TableReader::wrong_type(std::string_view key, const toml::node& node, const std::string& expected) {
  issues_.add(child(key), fmt::format("{}, found a value of type {}", expected, type_name(node)),
              "correct the value");
}

std::optional<std::uint64_t> TableReader::integer(std::string_view key, std::uint64_t least,
                                                  std::uint64_t most) {
  const toml::node* node = find(key);
  if (node == nullptr) return {};
  const std::string expected = fmt::format("a whole number from {} to {}", least, most);
  const auto value = node->is_integer() ? node->value<std::int64_t>() : std::nullopt;
  if (!value) {
    wrong_type(key, *node, expected);
    return {};
  }
  if (*value < 0 || static_cast<std::uint64_t>(*value) < least || static_cast<std::uint64_t>(*value) > most) {
    issues_.add(child(key), fmt::format("{}, found {}", expected, *value), "choose a value in that range");
    return {};
  }
  return static_cast<std::uint64_t>(*value);
}

void TableReader::power_of_two(std::string_view key, std::uint32_t& out, std::uint64_t least,
                               std::uint64_t most) {
  const auto value = integer(key, least, most);
  if (!value) return;
  if (!std::has_single_bit(*value)) {
    issues_.add(child(key), fmt::format("a power of two from {} to {}, found {}", least, most, *value),
                fmt::format("use {} or {}", std::bit_floor(*value), std::min(std::bit_ceil(*value), most)));
    return;
  }
  out = static_cast<std::uint32_t>(*value);
}

void TableReader::power_of_two(std::string_view key, std::uint16_t& out, std::uint64_t least,
                               std::uint64_t most) {
  std::uint32_t wide = out;
  power_of_two(key, wide, least, most);
  out = static_cast<std::uint16_t>(wide);
}

void TableReader::flag(std::string_view key, bool& out) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  if (!node->is_boolean()) return wrong_type(key, *node, "true or false");
  out = *node->value<bool>();
}

std::optional<std::string> TableReader::string_at(std::string_view key, const std::string& expected) {
  const toml::node* node = find(key);
  if (node == nullptr) return {};
  if (!node->is_string()) {
    wrong_type(key, *node, expected);
    return {};
  }
  return *node->value<std::string>();
}

void TableReader::text(std::string_view key, std::string& out) {
  const auto value = string_at(key, "a text in quotes");
  if (!value) return;
  if (value->empty()) {
    issues_.add(child(key), "a text that is not empty", "fill it in or remove the key");
    return;
  }
  out = *value;
}

void TableReader::each_string(
    std::string_view key, const std::string& expected,
    const std::function<void(const std::string& field, const std::string& value)>& use) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const toml::array* array = node->as_array();
  if (array == nullptr) return wrong_type(key, *node, "a list, each element " + expected);
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string field = fmt::format("{}[{}]", child(key), i);
    issues_.place(field, line_of_node(*array->get(i)));
    if (const auto value = array->get(i)->value_exact<std::string>()) {
      use(field, *value);
    } else {
      issues_.add(field, fmt::format("{}, found a value of type {}", expected, type_name(*array->get(i))),
                  "correct the value");
    }
  }
}

void TableReader::texts(std::string_view key, std::vector<std::string>& out) {
  each_string(key, "a text in quotes",
              [&](const std::string&, const std::string& value) { out.push_back(value); });
}

void TableReader::duration_ns(std::string_view key, std::uint64_t& out, std::uint64_t least_ns) {
  const std::string expected = "a time with unit, for example \"500ms\", \"3s\" or \"5m\"";
  const auto value = string_at(key, expected);
  if (!value) return;
  const auto ns = parse_duration_ns(*value);
  if (!ns) {
    issues_.add(child(key), fmt::format("{}, found \"{}\"", expected, *value),
                "units are us, ms, s, m and h; at most a day");
  } else if (*ns < least_ns) {
    issues_.add(child(key), fmt::format("at least {} ms, found \"{}\"", least_ns / 1'000'000, *value),
                "choose a longer time");
  } else {
    out = *ns;
  }
}

void TableReader::numbers(std::string_view key, std::vector<std::uint32_t>& out, std::uint64_t least,
                          std::uint64_t most) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const std::string expected = fmt::format("whole numbers from {} to {}", least, most);
  const toml::array* array = node->as_array();
  if (array == nullptr) return wrong_type(key, *node, "a list of " + expected);
  for (const toml::node& element : *array) {
    const auto value = element.value_exact<std::int64_t>();
    if (!value || *value < 0 || static_cast<std::uint64_t>(*value) < least ||
        static_cast<std::uint64_t>(*value) > most) {
      return wrong_type(key, element, "a list of " + expected);
    }
    out.push_back(static_cast<std::uint32_t>(*value));
  }
}

std::optional<int> TableReader::choice(std::string_view key, std::span<const Choice> choices) {
  std::string expected;
  for (const Choice& c : choices) expected += fmt::format("{}\"{}\"", expected.empty() ? "" : " or ", c.name);
  const auto value = string_at(key, expected);
  if (!value) return {};
  for (const Choice& c : choices) {
    if (c.name == *value) return c.value;
  }
  issues_.add(child(key), fmt::format("{}, found \"{}\"", expected, *value), "choose one of them");
  return {};
}

void TableReader::table(std::string_view key, const std::function<void(TableReader&)>& read) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  if (!node->is_table()) return wrong_type(key, *node, "a table");
  TableReader reader(*node->as_table(), child(key), issues_);
  read(reader);
  reader.finish();
}

void TableReader::tables(std::string_view key, const std::function<void(TableReader&)>& read) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const toml::array* array = node->as_array();
  if (array == nullptr) return wrong_type(key, *node, fmt::format("a list of tables, [[{}]]", key));
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string field = fmt::format("{}[{}]", child(key), i);
    if (const toml::table* element = array->get(i)->as_table()) {
      TableReader reader(*element, field, issues_);
      read(reader);
      reader.finish();
    } else {
      issues_.add_at(line_of_node(*array->get(i)), field, "a table", fmt::format("write [[{}]]", key));
    }
  }
}

void TableReader::require(std::string_view key, const std::string& expected, const std::string& advice) {
  if (!has(key)) issues_.add(child(key), expected + ", but the key is missing", advice);
}

void TableReader::finish() {
  for (const auto& [key, node] : table_) {
    const std::string_view name = key.str();
    if (known_.contains(name)) continue;
    std::string list;
    for (const std::string& one : known_) list += (list.empty() ? "" : ", ") + one;
    const std::string near = nearest_name(name, known_);
    issues_.add_at(static_cast<int>(key.source().begin.line), child(name), "a known key",
                   near.empty() ? "known here: " + list : "did you mean \"" + near + "\"?");
  }
}

}  // namespace dataplane
