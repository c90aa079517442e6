#include "dataplane/rpc.h"

#include <algorithm>
#include <set>

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include "dataplane/config_reader.h"

namespace dataplane {
namespace {

const char* type_name(RpcType type) {
  switch (type) {
    case RpcType::kText:
      return "a text";
    case RpcType::kNumber:
      return "a whole number that is not negative";
    case RpcType::kFlag:
      return "true or false";
    case RpcType::kTexts:
      return "a list of texts";
    case RpcType::kTable:
      return "an object";
  }
  return "a value";
}

bool fits(const RpcInput& value, RpcType type) {
  switch (type) {
    case RpcType::kText:
      return value.is_string();
    case RpcType::kNumber:
      return value.is_number_unsigned();
    case RpcType::kFlag:
      return value.is_boolean();
    case RpcType::kTexts:
      return value.is_array() &&
             std::all_of(value.begin(), value.end(), [](const RpcInput& one) { return one.is_string(); });
    case RpcType::kTable:
      return value.is_object();
  }
  return false;
}

// Of requests and their ids. A Number should have no fraction, says the standard, but may.
bool legal_id(const RpcInput& id) {
  return id.is_string() || id.is_number() || id.is_null();
}

RpcInput id_of(const RpcInput& request) {
  if (!request.is_object() || !request.contains("id") || !legal_id(request["id"])) return nullptr;
  return request["id"];
}

// Throws what makes it no request at all.
void check_request(const RpcInput& request) {
  const auto invalid = [](const char* text) { throw RpcFailure(kRpcInvalidRequest, text); };
  if (!request.is_object()) invalid("Invalid Request: expected an object");
  if (!request.contains("jsonrpc") || request["jsonrpc"] != "2.0") {
    invalid("Invalid Request: expected \"jsonrpc\": \"2.0\"");
  }
  if (!request.contains("method") || !request["method"].is_string()) {
    invalid("Invalid Request: expected \"method\", a text");
  }
  if (request.contains("id") && !legal_id(request["id"])) {
    invalid("Invalid Request: \"id\" is a text, a number or null");
  }
  if (request.contains("params") && !request["params"].is_structured()) {
    invalid("Invalid Request: \"params\" is an object or an array");
  }
}

// Parameters by position get the names of the method's list.
RpcInput by_name(const RpcMethod& method, const RpcInput& list) {
  if (method.more_params) {
    throw RpcFailure(kRpcInvalidParams,
                     "Invalid params: " + method.name + " takes them by name, as an object");
  }
  if (list.size() > method.params.size()) {
    throw RpcFailure(kRpcInvalidParams, fmt::format("Invalid params: {} takes at most {}, found {}",
                                                    method.name, method.params.size(), list.size()));
  }
  RpcInput out = RpcInput::object();
  for (std::size_t i = 0; i < list.size(); ++i) out[method.params[i].name] = list[i];
  return out;
}

void refuse_unknown(const RpcMethod& method, const RpcInput& params) {
  std::set<std::string, std::less<>> known;
  for (const RpcParam& param : method.params) known.insert(param.name);
  for (const auto& item : params.items()) {
    if (known.contains(item.key())) continue;
    std::string list;
    for (const RpcParam& param : method.params) list += (list.empty() ? "" : ", ") + param.name;
    const std::string near = nearest_name(item.key().substr(0, 64), known);
    throw RpcFailure(kRpcInvalidParams, fmt::format("Invalid params: {} has no parameter \"{}\"; {}",
                                                    method.name, item.key().substr(0, 64),
                                                    !near.empty()  ? "did you mean \"" + near + "\"?"
                                                    : list.empty() ? "it takes none"
                                                                   : "it takes: " + list));
  }
}

void check_params(const RpcMethod& method, const RpcInput& params) {
  for (const RpcParam& param : method.params) {
    if (!params.contains(param.name)) {
      if (!param.required) continue;
      throw RpcFailure(kRpcInvalidParams, fmt::format("Invalid params: {}: expected {}, but it is missing",
                                                      param.name, type_name(param.type)));
    }
    if (fits(params[param.name], param.type)) continue;
    throw RpcFailure(kRpcInvalidParams,
                     fmt::format("Invalid params: {}: expected {}, found a value of type {}", param.name,
                                 type_name(param.type), params[param.name].type_name()));
  }
  if (!method.more_params) refuse_unknown(method, params);
}

Json error_object(const RpcFailure& failure) {
  Json error = {{"code", failure.code}, {"message", failure.message}};
  if (!failure.data.is_null()) error["data"] = failure.data;
  return error;
}

Json envelope(const RpcInput& id, const char* key, Json value) {
  Json out = {{"jsonrpc", "2.0"}};
  out[key] = std::move(value);
  out["id"] = id;
  return out;
}

void log_change(const RpcMethod& method, const RpcCaller& caller, const std::string& outcome) {
  if (!method.changes) return;
  spdlog::info("control socket: {} by user {}, process {}: {}", method.name, caller.uid, caller.pid, outcome);
}

bool too_deep(std::string_view text) {
  unsigned depth = 0;
  bool inside = false;  // a string
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside) {
      if (c == '\\') ++i;
      if (c == '"') inside = false;
    } else if (c == '"') {
      inside = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kRpcMostDepth) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::string RpcParams::text(const char* name) const {
  return has(name) ? object_[name].get<std::string>() : std::string();
}

std::uint64_t RpcParams::number(const char* name, std::uint64_t fallback, std::uint64_t least,
                                std::uint64_t most) const {
  if (!has(name)) return fallback;
  const auto value = object_[name].get<std::uint64_t>();
  if (value < least || value > most) {
    refuse(name, fmt::format("a whole number from {} to {}", least, most), std::to_string(value));
  }
  return value;
}

bool RpcParams::flag(const char* name) const {
  return has(name) && object_[name].get<bool>();
}

void RpcParams::refuse(const std::string& name, const std::string& expected, const std::string& found) {
  throw RpcFailure(kRpcInvalidParams,
                   fmt::format("Invalid params: {}: expected {}, found \"{}\"", name, expected, found));
}

RpcDispatcher::RpcDispatcher() {
  add({"methods",
       "lists the methods and their parameters",
       {},
       false,
       false,
       [this](const RpcParams&, RpcCaller&) { return list_methods(); }});
}

void RpcDispatcher::add(RpcMethod method) {
  const std::string name = method.name;
  methods_.insert_or_assign(name, std::move(method));
}

Json RpcDispatcher::list_methods() const {
  Json out = Json::array();
  for (const auto& [name, method] : methods_) {
    Json params = Json::array();
    for (const RpcParam& param : method.params) {
      params.push_back({{"name", param.name},
                        {"type", type_name(param.type)},
                        {"required", param.required},
                        {"text", param.text}});
    }
    out.push_back({{"method", name}, {"text", method.text}, {"params", params}});
  }
  return {{"methods", out}};
}

const RpcMethod& RpcDispatcher::method_of(const RpcInput& request) const {
  const auto& name = request["method"].get_ref<const std::string&>();
  const auto found = methods_.find(name);
  if (found == methods_.end()) {
    throw RpcFailure(kRpcNoMethod,
                     fmt::format("Method not found: \"{}\"; `methods` lists them", name.substr(0, 64)));
  }
  return found->second;
}

Json RpcDispatcher::run(const RpcInput& request, RpcCaller& caller) const {
  const RpcMethod& method = method_of(request);
  try {
    RpcInput params = request.value("params", RpcInput::object());
    if (params.is_array()) params = by_name(method, params);
    check_params(method, params);
    Json result = method.call(RpcParams(params), caller);
    log_change(method, caller, "done");
    return result;
  } catch (const RpcFailure& failure) {
    log_change(method, caller, fmt::format("error {}", failure.code));
    throw;
  } catch (const std::exception& error) {
    spdlog::error("control socket: {}: {}", method.name, error.what());
    throw RpcFailure(kRpcInternal, fmt::format("Internal error: {}", error.what()));
  }
}

std::optional<Json> RpcDispatcher::answer(const RpcInput& request, RpcCaller& caller) {
  ++counters_.requests;
  bool wanted = true;  // no notification
  Json out;
  try {
    check_request(request);
    wanted = request.contains("id");
    out = envelope(id_of(request), "result", run(request, caller));
  } catch (const RpcFailure& failure) {
    ++counters_.errors;
    out = envelope(id_of(request), "error", error_object(failure));
  }
  if (!wanted) return {};
  return out;
}

Json RpcDispatcher::error(int code, const std::string& message) {
  ++counters_.errors;
  return envelope(nullptr, "error", error_object(RpcFailure(code, message)));
}

std::optional<RpcInput> parse_rpc(std::string_view line) {
  if (too_deep(line)) return {};
  RpcInput json = RpcInput::parse(line, nullptr, false);
  if (json.is_discarded()) return {};
  return json;
}

std::string rpc_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json rpc_notification(const char* method, Json params) {
  return {{"jsonrpc", "2.0"}, {"method", method}, {"params", std::move(params)}};
}

}  // namespace dataplane
