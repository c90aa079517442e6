// Every method of the control socket over a gateway that remembers what it was asked.
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "dataplane/rpc_connection.h"
#include "dataplane/rpc_methods.h"
#include "tests/support/fake_operator.h"
#include "tests/support/folder_test.h"

namespace dataplane {
namespace {

class RpcMethods : public support::FolderTest {
 protected:
  void SetUp() override {
    write("branch.secret", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
    const std::string file = write("gateway.toml",
                                   "[gateway]\nname = \"here\"\nstate_dir = \"s\"\n"
                                   "[[port]]\nname = \"wan\"\ndevice = \"net_null1\"\nrole = "
                                   "\"both\"\naddresses = [\"192.0.2.1/24\"]\n");
    std::vector<ConfigError> errors;
    auto config = load_config(file, errors);
    ASSERT_TRUE(config);
    config_ = *config;
    add_operator_methods(dispatcher_, gateway_, config_, [] { return Json{{"accepted", 7}}; });
  }

  RpcInput ask(const std::string& method, const RpcInput& params) {
    const RpcInput request = {{"jsonrpc", "2.0"}, {"method", method}, {"params", params}, {"id", 1}};
    const auto answer = dispatcher_.answer(RpcInput::parse(request.dump()), caller_);
    EXPECT_TRUE(answer);
    return RpcInput::parse(answer->dump());
  }
  // It is carried out, and the gateway was asked exactly this.
  void expect_call(const std::string& method, const RpcInput& params, const std::string& call) {
    gateway_.calls.clear();
    const RpcInput answer = ask(method, params);
    EXPECT_EQ(answer["result"]["ok"], true) << method << answer;
    EXPECT_EQ(gateway_.calls, std::vector<std::string>{call});
  }
  void expect_error(const std::string& method, const RpcInput& params, int code, const std::string& says) {
    gateway_.calls.clear();
    const RpcInput answer = ask(method, params);
    ASSERT_TRUE(answer.contains("error")) << method << params << answer;
    EXPECT_EQ(answer["error"]["code"], code) << answer;
    EXPECT_NE(answer["error"]["message"].get<std::string>().find(says), std::string::npos) << answer;
    EXPECT_TRUE(gateway_.calls.empty());
  }
  static RpcInput session(const RpcInput& more = RpcInput::object()) {
    RpcInput out = {{"name", "c"},
                    {"id", std::string(64, 'a')},
                    {"secret_file", "branch.secret"},
                    {"role", "initiator"},
                    {"local", "192.0.2.1:4500"}};
    out.update(more);
    return out;
  }

  GatewayConfig config_;
  support::FakeOperator gateway_;
  RpcDispatcher dispatcher_;
  RpcCaller caller_;
};

TEST_F(RpcMethods, Sessions) {
  expect_call("session.add", session({{"routes", {"10.0.2.0/24", "fd00:2::/64"}}, {"streams", 2}}),
              "add c routes 2");
  expect_call("session.add", session({{"rekey", {{"interval", "5s"}}}}), "add c routes 0");
  expect_call("session.remove", {{"name", "c"}}, "remove c 5000ms");
  expect_call("session.remove", {{"name", "c"}, {"drain", "0s"}}, "remove c 0ms");
  expect_call("session.remove", {"c", "250ms"}, "remove c 250ms");
  expect_call("session.replace", {{"old", "b"}, {"session", session()}, {"drain", "1s"}},
              "replace b by c 1000ms");
  expect_call("session.rekey", {{"name", "c"}}, "rekey c 1");
  expect_call("session.rekey", {{"name", "c"}, {"steps", 16}}, "rekey c 16");
}

TEST_F(RpcMethods, SessionMistakesNameTheFieldOfTheFile) {
  const int invalid = kRpcInvalidParams;
  expect_error("session.add", RpcInput::object(), invalid, "session[0].name");
  expect_error("session.add", session({{"streems", 2}}), invalid,
               "session[0].streems: expected a known key; did you mean \"streams\"?");
  expect_error("session.add", session({{"streams", 99}}), invalid, "session[0].streams");
  expect_error("session.add", session({{"streams", 2.5}}), invalid, "session[0].streams");
  expect_error("session.add", session({{"streams", nullptr}}), invalid, "session[0].streams");
  expect_error("session.add", session({{"streams", ~std::uint64_t{0}}}), invalid, "session[0].streams");
  expect_error("session.add", session({{"rekey", {{"grace", {1}}}}}), invalid, "session[0].rekey.grace");
  expect_error("session.add", session({{"routes", {"10.0.2.1/24"}}}), invalid, "session[0].routes[0]");
  expect_error("session.add", session({{"routes", "10.0.2.0/24"}}), invalid, "routes");
  expect_error("session.add", session({{"secret_file", "none"}}), invalid, "session[0].secret_file");
  expect_error("session.add", session({{"local", "192.0.2.9:4500"}}), invalid, "session[0].local");
  expect_error("session.add", {"c"}, invalid, "by name");
  expect_error("session.replace", {{"old", "b"}, {"session", session({{"routes", {"10.0.2.0/24"}}})}},
               invalid, "route.add");
  const RpcInput answer = ask("session.add", {{"name", "c"}});
  EXPECT_GE(answer["error"]["data"]["errors"].size(), 4U);
  EXPECT_EQ(answer["error"]["data"]["errors"][0]["field"], "session[0].id");
}

TEST_F(RpcMethods, ASessionIsBoundedInSize) {
  RpcInput routes = RpcInput::array();
  for (unsigned i = 0; i < 2000; ++i) routes.push_back("10.0.2.0/24");
  expect_error("session.add", session({{"routes", routes}}), kRpcInvalidParams, "more than 1024 values");
}

TEST_F(RpcMethods, SecretsAreNeverShown) {
  const std::string secret = "00112233445566778899aabbccddeeff";
  gateway_.add_view("c");
  for (const char* method : {"session.show", "path.show", "stats", "route.show", "version", "events.since"}) {
    EXPECT_EQ(ask(method, RpcInput::object()).dump().find(secret), std::string::npos) << method;
  }
  const RpcInput inline_secret = ask("session.add", session({{"secret", secret}}));
  EXPECT_EQ(inline_secret.dump().find(secret), std::string::npos);
}

TEST_F(RpcMethods, PathsAndRoutes) {
  expect_call("path.migrate", {{"session", "c"}, {"local", "192.0.2.3:4500"}},
              "migrate c 0 192.0.2.3:4500 -");
  expect_call("path.migrate", {{"session", "c"}, {"path", 3}, {"peer", "[2001:db8::1]:9"}},
              "migrate c 3 - [2001:db8::1]:9");
  expect_call("path.probe", {{"session", "c"}, {"path", 1}}, "probe c 1");
  expect_call("route.add", {{"prefix", "10.0.2.0/24"}, {"session", "c"}}, "route 10.0.2.0/24 c");
  expect_call("route.add", {{"prefix", "10.0.3.0/24"}, {"lan_gateway", "192.0.2.9"}},
              "route 10.0.3.0/24 192.0.2.9");
  expect_call("route.remove", {{"prefix", "fd00::/64"}}, "unroute fd00::/64");
}

TEST_F(RpcMethods, OtherMistakes) {
  const int invalid = kRpcInvalidParams;
  expect_error("session.remove", RpcInput::object(), invalid, "name: expected a text, but it is missing");
  expect_error("session.remove", {{"name", "c"}, {"drain", "fast"}}, invalid, "drain: expected a time");
  expect_error("session.rekey", {{"name", "c"}, {"steps", 17}}, invalid, "steps");
  expect_error("session.rekey", {{"name", "c"}, {"steps", 0}}, invalid, "steps");
  expect_error("path.migrate", {{"session", "c"}}, invalid, "local, peer or both");
  expect_error("path.migrate", {{"session", "c"}, {"local", "192.0.2.1"}}, invalid,
               "local: expected an endpoint");
  expect_error("path.probe", {{"session", "c"}, {"path", session::kTxPaths}}, invalid, "path");
  expect_error("route.add", {{"prefix", "10.0.2.0/24"}}, invalid, "either session or lan_gateway");
  expect_error("route.add", {{"prefix", "10.0.2.1/24"}, {"session", "c"}}, invalid, "10.0.2.0/24");
  expect_error("route.remove", {{"prefix", "10.0.2.0"}}, invalid, "prefix: expected a prefix");
  expect_error("stats", {{"all", true}}, invalid, "it takes none");
  expect_error("session.show", {{"name", "c"}}, kRpcNotFound, "no session \"c\"");
}

TEST_F(RpcMethods, EveryStatusHasItsCode) {
  using Row = std::pair<OperatorStatus, int>;
  for (const auto& [status, code] :
       {Row{OperatorStatus::kNotFound, kRpcNotFound}, Row{OperatorStatus::kExists, kRpcExists},
        Row{OperatorStatus::kInvalid, kRpcInvalidParams}, Row{OperatorStatus::kRefused, kRpcRefused},
        Row{OperatorStatus::kNoRoom, kRpcNoRoom}, Row{OperatorStatus::kStore, kRpcStore}}) {
    gateway_.next = {status, "says why"};
    const RpcInput answer = ask("session.rekey", {{"name", "c"}});
    EXPECT_EQ(answer["error"]["code"], code);
    EXPECT_EQ(answer["error"]["message"], "says why");
  }
}

TEST_F(RpcMethods, ShowsSessionsAndPaths) {
  gateway_.add_view("a");
  gateway_.add_view("b");
  const RpcInput all = ask("session.show", RpcInput::object())["result"];
  ASSERT_EQ(all["sessions"].size(), 2U);
  EXPECT_EQ(all["sessions"][1]["name"], "b");
  EXPECT_EQ(all["sessions"][1]["state"], "connected");
  EXPECT_FALSE(all.contains("next"));
  EXPECT_EQ(ask("session.show", {{"name", "b"}})["result"]["sessions"].size(), 1U);
  const RpcInput paths = ask("path.show", {{"session", "a"}})["result"]["paths"];
  ASSERT_EQ(paths.size(), 1U);
  EXPECT_EQ(paths[0]["session"], "a");
  EXPECT_EQ(paths[0]["peer"], "192.0.2.2:4500");
  EXPECT_EQ(paths[0]["state"], "validated");
  EXPECT_EQ(paths[0]["rx_bytes"], 4);
  EXPECT_EQ(paths[0]["fallback"]["local"], "192.0.2.1:4500");
}

TEST_F(RpcMethods, ManySessionsComeInPages) {
  for (unsigned i = 0; i < 600; ++i) gateway_.add_view(std::to_string(i));
  std::set<std::string> seen;
  RpcInput from = 0;
  unsigned pages = 0;
  for (; !from.is_null(); ++pages) {
    const RpcInput page = ask("session.show", {{"from", from}})["result"];
    EXPECT_EQ(page["sessions_total"], 600);
    for (const RpcInput& one : page["sessions"]) seen.insert(one["name"].get<std::string>());
    from = page.value("next", RpcInput());
  }
  EXPECT_EQ(pages, 3U);
  EXPECT_EQ(seen.size(), 600U);
  EXPECT_TRUE(ask("session.show", {{"from", 4'000'000'000U}})["result"]["sessions"].empty());
}

TEST_F(RpcMethods, ShowsTheGateway) {
  gateway_.route_views = {{*parse_prefix("10.0.2.0/24"), "c", {}, ""},
                          {*parse_prefix("10.0.3.0/24"), "", *parse_address("10.0.1.9"), ""},
                          {*parse_prefix("10.0.1.0/24"), "", {}, "lan"}};
  const RpcInput routes = ask("route.show", RpcInput::object())["result"]["routes"];
  EXPECT_EQ(routes[0]["session"], "c");
  EXPECT_EQ(routes[1]["lan_gateway"], "10.0.1.9");
  EXPECT_EQ(routes[2]["port"], "lan");
  gateway_.snapshot.name = "here";
  const RpcInput stats = ask("stats", RpcInput::object())["result"];
  EXPECT_EQ(stats["gateway"], "here");
  EXPECT_TRUE(stats["books"]["balanced"].get<bool>());
  EXPECT_EQ(stats["control_socket"]["accepted"], 7);
  EXPECT_EQ(ask("version", RpcInput::object())["result"]["gateway"], "here");
}

TEST_F(RpcMethods, Events) {
  for (std::size_t i = 0; i < kEventsKept + 10; ++i) gateway_.log.add("c", "rekeyed", "x", "trace");
  RpcInput got = ask("events.since", RpcInput::object())["result"];
  EXPECT_EQ(got["missed"], 10);
  EXPECT_EQ(got["last"], kEventsKept + 10);
  EXPECT_EQ(got["events"].size(), kRpcEventsPerAnswer);
  EXPECT_EQ(got["events"][0]["number"], 11);
  got = ask("events.since", {{"after", kEventsKept + 8}, {"most", 1}})["result"];
  EXPECT_EQ(got["missed"], 0);
  EXPECT_EQ(got["events"].size(), 1U);
  got = ask("events.since", {{"after", ~std::uint64_t{0}}})["result"];
  EXPECT_EQ(got["missed"], 0);
  EXPECT_TRUE(got["events"].empty());
  EXPECT_EQ(ask("events.follow", RpcInput::object())["result"]["after"], kEventsKept + 10);
  EXPECT_TRUE(caller_.following);
  EXPECT_EQ(caller_.follow_after, kEventsKept + 10);
}

}  // namespace
}  // namespace dataplane
