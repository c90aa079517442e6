// Arbitrary bytes from a client of the control socket, in arbitrary pieces, over every method.
//
// First byte: size of the pieces. Holds throughout: every line of an answer is JSON-RPC 2.0 with either a
// result or an error, buffers stay within their bounds, and the connection ends when the client does.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <spdlog/spdlog.h>

#include "dataplane/rpc_connection.h"
#include "dataplane/rpc_methods.h"
#include "tests/support/fake_operator.h"

namespace {

using dataplane::RpcInput;

constexpr unsigned kMostSteps = 100'000;  // more requests than an input has bytes

void check(bool holds) {
  if (!holds) std::abort();
}

void check_answer(const RpcInput& answer) {
  check(answer.is_object() && answer["jsonrpc"] == "2.0" && answer.contains("id"));
  check(answer.contains("result") != answer.contains("error"));
  check(answer["id"].is_null() || answer["id"].is_string() || answer["id"].is_number());
  if (answer.contains("error")) check(answer["error"]["code"].get<int>() <= -32000);
}

void check_line(std::string_view line) {
  const RpcInput answer = RpcInput::parse(line, nullptr, false);
  check(!answer.is_discarded());
  if (!answer.is_array()) return check_answer(answer);
  check(!answer.empty());
  for (const RpcInput& one : answer) check_answer(one);
}

const dataplane::GatewayConfig& config() {
  static const dataplane::GatewayConfig one = [] {
    spdlog::set_level(spdlog::level::off);
    dataplane::GatewayConfig c;
    c.file = "/none/gateway.toml";
    dataplane::PortConfig port;
    port.name = "wan";
    port.device = "net_null0";
    port.lan = port.wan = true;
    port.addresses = {*dataplane::parse_prefix("192.0.2.1/24")};
    c.ports = {port};
    return c;
  }();
  return one;
}

void talk(dataplane::RpcConnection& connection) {
  for (unsigned i = 0; connection.step(); ++i) check(i < kMostSteps);
  std::string_view out = connection.unsent();
  while (!out.empty()) {
    const std::size_t end = out.find('\n');
    check(end != std::string_view::npos);
    check_line(out.substr(0, end));
    out.remove_prefix(end + 1);
  }
  connection.sent(connection.unsent().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const dataplane::GatewayConfig& surroundings = config();
  support::FakeOperator gateway;
  gateway.add_view("office");
  gateway.log.add("office", "added", "x", "trace");
  dataplane::RpcDispatcher dispatcher;
  dataplane::add_operator_methods(dispatcher, gateway, surroundings,
                                  [] { return dataplane::Json::object(); });
  dataplane::RpcConnection connection(dispatcher, dataplane::RpcCaller{});
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = data[0] == 0 ? rest.size() + 1 : data[0];
  while (!rest.empty() && connection.wants_input()) {
    const std::string_view now = rest.substr(0, piece);
    connection.receive(now);
    rest.remove_prefix(now.size());
    talk(connection);
  }
  connection.end_input();
  talk(connection);
  check(connection.finished());
  return 0;
}
