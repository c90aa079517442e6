#include "tools/ctl/session_file.h"

#include <filesystem>

#include <fmt/core.h>

namespace ctl {
namespace {

Json to_json(const toml::node& node) {
  if (const auto* table = node.as_table()) {
    Json out = Json::object();
    for (const auto& [key, value] : *table) out[std::string(key.str())] = to_json(value);
    return out;
  }
  if (const auto* array = node.as_array()) {
    Json out = Json::array();
    for (const toml::node& value : *array) out.push_back(to_json(value));
    return out;
  }
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto flag = node.value_exact<bool>()) return *flag;
  if (const auto number = node.value_exact<std::int64_t>()) return *number;
  if (const auto number = node.value_exact<double>()) return *number;
  return node.value<std::string>().value_or("a date or a time");  // no key takes one
}

int line_of_node(const toml::node& node) {
  return static_cast<int>(node.source().begin.line);
}

}  // namespace

SessionFile::SessionFile(std::string path) : path_(std::move(path)) {
  const auto refuse = [&](const std::string& what) { throw FileError(fmt::format("{}: {}", path_, what)); };
  try {
    file_ = toml::parse_file(path_);
  } catch (const toml::parse_error& error) {
    refuse(fmt::format("line {}: {}", error.source().begin.line, error.description()));
  }
  session_ = &file_;
  if (const toml::node* list = file_.get("session"); list != nullptr) {
    const toml::array* array = list->as_array();
    if (array == nullptr || array->size() != 1 || !array->get(0)->is_table()) {
      refuse("expected exactly one [[session]]");
    }
    session_ = array->get(0)->as_table();
    for (const auto& [key, value] : file_) {
      if (key != "session" && key != "route") {
        refuse(fmt::format("line {}: only [[session]] and [[route]] belong here, found \"{}\"",
                           line_of_node(value), key.str()));
      }
    }
  }
  params_ = to_json(*session_);
  if (session_ != &file_) add_routes();
  if (params_.contains("secret_file") && params_["secret_file"].is_string()) {
    const std::filesystem::path folder = std::filesystem::absolute(path_).parent_path();
    params_["secret_file"] = (folder / params_["secret_file"].get<std::string>()).lexically_normal().string();
  }
}

void SessionFile::add_routes() {
  const toml::array* routes = file_["route"].as_array();
  if (routes == nullptr) return;
  const std::string name =
      params_.value("name", Json("")).is_string() ? params_.value("name", std::string()) : "";
  for (const toml::node& node : *routes) {
    const toml::table* route = node.as_table();
    const bool ours = route != nullptr && route->size() == 2 &&
                      (*route)["session"].value<std::string>() == name && (*route)["prefix"].is_string();
    if (!ours) {
      throw FileError(fmt::format("{}: line {}: a [[route]] here has a prefix and session = \"{}\"", path_,
                                  line_of_node(node), name));
    }
    params_["routes"].push_back(*(*route)["prefix"].value<std::string>());
  }
}

// The line of a field such as session[0].rekey.grace, or of the table it is missing in; 0: of none.
int SessionFile::line_of(std::string field) const {
  constexpr std::string_view kPrefix = "session[0]";
  if (!field.starts_with(kPrefix)) return 0;
  field.erase(0, kPrefix.size());
  if (session_ != &file_ && field.starts_with(".routes[")) {
    const auto index = static_cast<std::size_t>(std::strtoul(field.c_str() + 8, nullptr, 10));
    const toml::array* routes = file_["route"].as_array();
    if (routes != nullptr && index < routes->size()) return line_of_node(*routes->get(index));
  }
  while (!field.empty()) {
    if (const auto found = toml::at_path(*session_, std::string_view(field).substr(1))) {
      return line_of_node(*found.node());
    }
    field.resize(field.find_last_of(".["));
  }
  return line_of_node(*session_);
}

std::string SessionFile::explain(const Json& error) const {
  if (!error.contains("data") || !error["data"].is_object() || !error["data"].contains("errors")) return "";
  std::string out;
  for (const Json& one : error["data"]["errors"]) {
    const std::string field = one.value("field", std::string());
    const int line = line_of(field);
    out +=
        fmt::format("{}{}: {}: expected {}; {}\n", path_, line > 0 ? fmt::format(":{}", line) : std::string(),
                    field, one.value("expected", std::string()), one.value("advice", std::string()));
  }
  return out;
}

}  // namespace ctl
