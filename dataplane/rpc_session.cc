// A session described in JSON goes through the reader of the configuration file.
#include <limits>

#include <fmt/core.h>

#include "dataplane/config_session.h"
#include "dataplane/rpc_methods.h"

namespace dataplane {
namespace {

class ToToml {
 public:
  toml::table table(const RpcInput& object, const std::string& path) {
    toml::table out;
    for (const auto& item : object.items()) {
      put(item.value(), path.empty() ? item.key() : path + "." + item.key(),
          [&](auto&& value) { out.insert_or_assign(item.key(), std::forward<decltype(value)>(value)); });
    }
    return out;
  }

 private:
  toml::array array(const RpcInput& list, const std::string& path) {
    toml::array out;
    for (std::size_t i = 0; i < list.size(); ++i) {
      put(list[i], fmt::format("{}[{}]", path, i),
          [&](auto&& value) { out.push_back(std::forward<decltype(value)>(value)); });
    }
    return out;
  }

  template <typename Use>
  void put(const RpcInput& value, const std::string& path, Use use) {
    if (++values_ > kRpcMostSessionValues) {
      throw RpcFailure(
          kRpcInvalidParams,
          fmt::format("Invalid params: a session of more than {} values; add further routes with "
                      "route.add",
                      kRpcMostSessionValues));
    }
    if (value.is_string()) return use(value.get<std::string>());
    if (value.is_boolean()) return use(value.get<bool>());
    if (value.is_number_float()) return use(value.get<double>());
    if (value.is_object()) return use(table(value, path));
    if (value.is_array()) return use(array(value, path));
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() &&
         value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
      RpcParams::refuse(path.substr(0, 64), "a text, a number of 63 bits, true, false, a list or an object",
                        value.dump());
    }
    use(value.get<std::int64_t>());
  }

  unsigned values_ = 0;
};

RpcFailure failure_of(const std::vector<ConfigError>& errors) {
  Json list = Json::array();
  for (const ConfigError& error : errors) {
    list.push_back({{"field", error.field}, {"expected", error.expected}, {"advice", error.advice}});
  }
  const ConfigError& first = errors.front();
  std::string text = fmt::format("{}: expected {}; {}", first.field, first.expected, first.advice);
  if (errors.size() > 1) text += fmt::format(" (and {} more)", errors.size() - 1);
  return RpcFailure(kRpcInvalidParams, "Invalid params: " + text, {{"errors", list}});
}

}  // namespace

SessionText session_of(const RpcInput& object, const GatewayConfig& config) {
  const toml::table table = ToToml().table(object, "session[0]");
  std::vector<ConfigError> errors;
  const auto session = load_session(table, config, errors);
  if (!session) throw failure_of(errors);
  return *session;
}

}  // namespace dataplane
