// JSON-RPC 2.0 (jsonrpc.org/specification): requests in, answers out, by a table of methods.
//
// Thread: the control core's. Pure: no sockets, no time. What a request may do wrong is answered with an
// error of the standard's codes; nothing a request holds can throw out of here.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "dataplane/snapshot_json.h"  // Json

namespace dataplane {

// What was received. Unlike Json its objects find a key in logarithmic time, however many they have.
using RpcInput = nlohmann::json;

// The standard's codes, then ours in the range it leaves to servers (-32000 to -32099).
enum RpcCode : int {
  kRpcParse = -32700,
  kRpcInvalidRequest = -32600,
  kRpcNoMethod = -32601,
  kRpcInvalidParams = -32602,
  kRpcInternal = -32603,
  kRpcNotFound = -32001,
  kRpcExists = -32002,
  kRpcRefused = -32003,
  kRpcNoRoom = -32004,
  kRpcStore = -32005,
  kRpcNotAllowed = -32010,
  kRpcTooManyClients = -32011,
};

// Deeper nesting is refused before anything recurses over it.
inline constexpr unsigned kRpcMostDepth = 32;

// Thrown by methods; becomes the error of the answer.
struct RpcFailure : std::exception {
  RpcFailure(int number, std::string text, Json more = nullptr)
      : code(number), message(std::move(text)), data(std::move(more)) {}
  [[nodiscard]] const char* what() const noexcept override { return message.c_str(); }

  int code;
  std::string message;
  Json data;  // null: none
};

// Who asks, and what it asked to be told of from now on.
struct RpcCaller {
  std::uint32_t uid = 0;
  std::int32_t pid = 0;
  bool following = false;          // events
  std::uint64_t follow_after = 0;  // the last one it has
};

enum class RpcType : std::uint8_t { kText, kNumber, kFlag, kTexts, kTable };
struct RpcParam {
  std::string name;
  RpcType type = RpcType::kText;
  bool required = false;
  std::string text;
};

// Parameters of a request, by name, checked against the method's list.
class RpcParams {
 public:
  explicit RpcParams(const RpcInput& object) : object_(object) {}
  [[nodiscard]] bool has(const char* name) const { return object_.contains(name); }
  [[nodiscard]] std::string text(const char* name) const;  // "" when left out
  [[nodiscard]] std::uint64_t number(const char* name, std::uint64_t fallback, std::uint64_t least,
                                     std::uint64_t most) const;
  [[nodiscard]] bool flag(const char* name) const;  // false when left out
  [[nodiscard]] const RpcInput& object() const { return object_; }
  // A text that `parse` understands, nothing when left out.
  template <typename Parse>
  auto parsed(const char* name, Parse parse, const char* expected) const -> decltype(parse("")) {
    if (!has(name)) return {};
    const std::string value = text(name);
    auto result = parse(value);
    if (!result) refuse(name, expected, value);
    return result;
  }
  // Throws kRpcInvalidParams.
  [[noreturn]] static void refuse(const std::string& name, const std::string& expected,
                                  const std::string& found);

 private:
  const RpcInput& object_;
};

struct RpcMethod {
  std::string name;
  std::string text;  // what it does, one line
  std::vector<RpcParam> params;
  bool more_params = false;  // takes keys beyond `params`, and checks them itself
  bool changes = false;      // the gateway, so it is logged with who asked
  std::function<Json(const RpcParams&, RpcCaller&)> call;
};

struct RpcCounters {
  std::uint64_t requests = 0;  // notifications too
  std::uint64_t errors = 0;    // error answers, parse errors too
  std::uint64_t oversized = 0;
};

class RpcDispatcher {
 public:
  RpcDispatcher();  // knows `methods`
  RpcDispatcher(const RpcDispatcher&) = delete;
  RpcDispatcher& operator=(const RpcDispatcher&) = delete;

  void add(RpcMethod method);
  // The answer to one request, an element of a batch or a line by itself; nothing for a notification.
  std::optional<Json> answer(const RpcInput& request, RpcCaller& caller);
  // An error that answers no request in particular.
  Json error(int code, const std::string& message);

  RpcCounters& counters() { return counters_; }

 private:
  [[nodiscard]] const RpcMethod& method_of(const RpcInput& request) const;
  Json run(const RpcInput& request, RpcCaller& caller) const;
  [[nodiscard]] Json list_methods() const;

  std::map<std::string, RpcMethod, std::less<>> methods_;
  RpcCounters counters_;
};

// Nothing when it is no JSON, or nested too deep.
std::optional<RpcInput> parse_rpc(std::string_view line);
// As one line, ended; bytes that are no UTF-8 are replaced.
std::string rpc_line(const Json& json);
Json rpc_notification(const char* method, Json params);

}  // namespace dataplane
