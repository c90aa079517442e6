// Reading TOML tables with exact positions: wrong types, unknown keys and missing ones become ConfigErrors.
//
// Thread: main lcore before launch. Only readers of configurations include this.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <toml++/toml.h>

#include "dataplane/config.h"

namespace dataplane {

// Errors of one file, and where each of its fields stands.
class ConfigIssues {
 public:
  ConfigIssues(std::string file, std::vector<ConfigError>& errors)
      : file_(std::move(file)), errors_(errors) {}
  // `field` is looked up for its line; an unknown one takes that of the table it is in. The first error of a
  // field stands: others would follow from it.
  void add(const std::string& field, std::string expected, std::string advice);
  void add_at(int line, const std::string& field, std::string expected, std::string advice);
  void place(const std::string& field, int line) { lines_[field] = line; }
  [[nodiscard]] int line_of(std::string field) const;
  // True when a field with a name that begins so has an error.
  [[nodiscard]] bool any_under(std::string_view prefix) const;

 private:
  std::string file_;
  std::vector<ConfigError>& errors_;
  std::map<std::string, int> lines_;
  std::set<std::string, std::less<>> fields_;  // with errors
};

// The name of `known` closest to `name`, or "" when none is near.
std::string nearest_name(std::string_view name, const std::set<std::string, std::less<>>& known);

struct Choice {
  std::string_view name;
  int value;
};

// One table: every key is asked for once, then finish() reports those that nobody asked for. A value that is
// wrong leaves `out` as it was.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string path, ConfigIssues& issues);

  template <std::unsigned_integral T>
  void number(std::string_view key, T& out, std::uint64_t least, std::uint64_t most) {
    if (const auto value = integer(key, least, most)) out = static_cast<T>(*value);
  }
  void power_of_two(std::string_view key, std::uint32_t& out, std::uint64_t least, std::uint64_t most);
  void power_of_two(std::string_view key, std::uint16_t& out, std::uint64_t least, std::uint64_t most);
  void flag(std::string_view key, bool& out);
  void text(std::string_view key, std::string& out);
  void texts(std::string_view key, std::vector<std::string>& out);
  void numbers(std::string_view key, std::vector<std::uint32_t>& out, std::uint64_t least,
               std::uint64_t most);
  void duration_ns(std::string_view key, std::uint64_t& out, std::uint64_t least_ns);
  // Nothing when the key is missing or its value is none of the choices.
  std::optional<int> choice(std::string_view key, std::span<const Choice> choices);
  // A string that `parse` understands; `expected` says what it should look like.
  template <typename Parse, typename Out>
  void parsed(std::string_view key, Out& out, Parse parse, const std::string& expected) {
    if (const auto value = string_at(key, expected)) take(child(key), *value, out, parse, expected);
  }
  template <typename Parse, typename T>
  void parsed_list(std::string_view key, std::vector<T>& out, Parse parse, const std::string& expected) {
    each_string(key, expected, [&](const std::string& field, const std::string& value) {
      std::optional<T> item;
      take(field, value, item, parse, expected);
      if (item) out.push_back(*item);
    });
  }
  // A table, if it is there; and each of an array of tables ([[key]]).
  void table(std::string_view key, const std::function<void(TableReader&)>& read);
  void tables(std::string_view key, const std::function<void(TableReader&)>& read);

  [[nodiscard]] bool has(std::string_view key) const { return table_.contains(key); }
  void require(std::string_view key, const std::string& expected, const std::string& advice);
  [[nodiscard]] std::string child(std::string_view key) const;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] ConfigIssues& issues() { return issues_; }
  [[nodiscard]] int line() const { return static_cast<int>(table_.source().begin.line); }
  void finish();

 private:
  const toml::node* find(std::string_view key);
  void wrong_type(std::string_view key, const toml::node& node, const std::string& expected);
  std::optional<std::uint64_t> integer(std::string_view key, std::uint64_t least, std::uint64_t most);
  std::optional<std::string> string_at(std::string_view key, const std::string& expected);
  void each_string(std::string_view key, const std::string& expected,
                   const std::function<void(const std::string& field, const std::string& value)>& use);

  template <typename Parse, typename Out>
  void take(const std::string& field, const std::string& value, Out& out, Parse parse,
            const std::string& expected) {
    auto result = parse(value);
    if (result) {
      out = *result;
    } else {
      issues_.add(field, expected + ", found \"" + value + "\"", "correct the value");
    }
  }

  const toml::table& table_;
  std::string path_;
  ConfigIssues& issues_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace dataplane
