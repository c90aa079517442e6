// JSON-RPC 2.0 as the standard says: framing, requests, ids, batches, errors. The examples of its section 7
// among them.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/rpc_connection.h"

namespace dataplane {
namespace {

class Rpc : public ::testing::Test {
 protected:
  Rpc() {
    dispatcher_.add({"subtract",
                     "",
                     {{"minuend", RpcType::kNumber, true, ""}, {"subtrahend", RpcType::kNumber, false, ""}},
                     false,
                     false,
                     [this](const RpcParams& p, RpcCaller&) -> Json {
                       ++calls_;
                       return static_cast<std::int64_t>(p.number("minuend", 0, 0, 1000)) -
                              static_cast<std::int64_t>(p.number("subtrahend", 0, 0, 1000));
                     }});
    dispatcher_.add({"fail", "", {}, false, true, [](const RpcParams&, RpcCaller&) -> Json {
                       throw std::runtime_error("broke");
                     }});
    dispatcher_.add({"types",
                     "",
                     {{"text", RpcType::kText, false, ""},
                      {"flag", RpcType::kFlag, false, ""},
                      {"texts", RpcType::kTexts, false, ""},
                      {"table", RpcType::kTable, false, ""}},
                     false,
                     false,
                     [](const RpcParams&, RpcCaller&) -> Json { return "ok"; }});
    dispatcher_.add({"large", "", {}, false, false, [](const RpcParams&, RpcCaller&) -> Json {
                       return std::string(1 << 20, 'x');
                     }});
  }

  // Everything that is answered to these bytes.
  std::string talk(const std::string& bytes) {
    connection_.receive(bytes);
    while (connection_.step()) {
    }
    return taken();
  }
  std::string taken() {
    std::string out(connection_.unsent());
    connection_.sent(out.size());
    return out;
  }
  RpcInput ask(const std::string& request) {
    const std::string answer = talk(request + "\n");
    EXPECT_TRUE(answer.ends_with('\n')) << answer;
    return RpcInput::parse(answer, nullptr, false);
  }
  void expect_error(const std::string& request, int code, const RpcInput& id = nullptr) {
    const RpcInput answer = ask(request);
    ASSERT_TRUE(answer.is_object()) << request;
    EXPECT_EQ(answer["jsonrpc"], "2.0");
    ASSERT_TRUE(answer.contains("error")) << request;
    EXPECT_EQ(answer["error"]["code"], code) << request << answer;
    EXPECT_TRUE(answer["error"]["message"].is_string());
    EXPECT_FALSE(answer.contains("result"));
    EXPECT_EQ(answer["id"], id) << request;
  }

  RpcDispatcher dispatcher_;
  RpcConnection connection_{dispatcher_, RpcCaller{}};
  unsigned calls_ = 0;
};

TEST_F(Rpc, PositionalAndNamedParameters) {
  EXPECT_EQ(ask(R"({"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1})")["result"], 19);
  EXPECT_EQ(ask(R"({"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2})")["result"], -19);
  const RpcInput answer =
      ask(R"({"jsonrpc":"2.0","method":"subtract","params":{"subtrahend":23,"minuend":42},"id":3})");
  EXPECT_EQ(answer, RpcInput::parse(R"({"jsonrpc": "2.0", "result": 19, "id": 3})"));
}

TEST_F(Rpc, NotificationsAreCarriedOutAndNotAnswered) {
  EXPECT_EQ(talk(R"({"jsonrpc": "2.0", "method": "subtract", "params": [1]})"
                 "\n"),
            "");
  EXPECT_EQ(calls_, 1U);
  EXPECT_EQ(talk(R"({"jsonrpc": "2.0", "method": "foobar"})"
                 "\n"),
            "");
  EXPECT_EQ(talk(R"({"jsonrpc": "2.0", "method": "fail"})"
                 "\n"),
            "");
  EXPECT_EQ(talk("\n  \r\n\t\n"), "");
}

TEST_F(Rpc, EveryLegalIdComesBack) {
  for (const char* id :
       {"0", "-7", "18446744073709551615", "1.5", "null", "\"\"", "\"a \\u00e9 \\\"\"", "1e3"}) {
    const RpcInput answer =
        ask(R"({"jsonrpc":"2.0","method":"subtract","params":[5,3],"id":)" + std::string(id) + "}");
    EXPECT_EQ(answer["result"], 2) << id;
    EXPECT_TRUE(answer.contains("id"));
    EXPECT_EQ(answer["id"], RpcInput::parse(id)) << id;
  }
  for (const char* id : {"[1]", "{}", "true"}) {
    expect_error(R"({"jsonrpc":"2.0","method":"subtract","params":[5,3],"id":)" + std::string(id) + "}",
                 kRpcInvalidRequest);
  }
  EXPECT_EQ(calls_, 8U);
}

TEST_F(Rpc, MalformedLinesAreAnsweredAndTheConnectionGoesOn) {
  expect_error(R"({"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz])", kRpcParse);
  expect_error("nonsense", kRpcParse);
  expect_error("{} {}", kRpcParse);
  expect_error("[1,2", kRpcParse);
  expect_error("\"\xff\xfe\"", kRpcParse);
  expect_error(std::string("\0", 1), kRpcParse);
  expect_error("1e999", kRpcParse);
  expect_error(std::string(kRpcMostDepth + 1, '[') + std::string(kRpcMostDepth + 1, ']'), kRpcParse);
  expect_error(std::string(900'000, '['), kRpcParse);
  EXPECT_EQ(ask(R"({"jsonrpc":"2.0","method":"subtract","params":[3,2],"id":1})")["result"], 1);
}

TEST_F(Rpc, BracketsInsideOfTextsAreNoNesting) {
  const std::string deep = std::string(100, '[') + "\\\"{" + std::string(100, '{');
  expect_error(R"({"jsonrpc":"2.0","method":")" + deep + R"(","id":4})", kRpcNoMethod, 4);
}

TEST_F(Rpc, InvalidRequests) {
  expect_error(R"({"jsonrpc": "2.0", "method": 1, "params": "bar"})", kRpcInvalidRequest);
  expect_error("1", kRpcInvalidRequest);
  expect_error("null", kRpcInvalidRequest);
  expect_error("{}", kRpcInvalidRequest);
  expect_error(R"({"method": "subtract", "id": 7})", kRpcInvalidRequest, 7);
  expect_error(R"({"jsonrpc": "1.0", "method": "subtract", "id": 7})", kRpcInvalidRequest, 7);
  expect_error(R"({"jsonrpc": 2.0, "method": "subtract", "id": 7})", kRpcInvalidRequest, 7);
  expect_error(R"({"jsonrpc": "2.0", "id": 7})", kRpcInvalidRequest, 7);
  expect_error(R"({"jsonrpc": "2.0", "method": "subtract", "params": null, "id": "x"})", kRpcInvalidRequest,
               "x");
}

TEST_F(Rpc, MethodsAndParameters) {
  const auto call = [](const std::string& method, const std::string& params) {
    return R"({"jsonrpc":"2.0","id":9,"method":")" + method + R"(","params":)" + params + "}";
  };
  expect_error(call("foobar", "{}"), kRpcNoMethod, 9);
  expect_error(call("rpc.any", "{}"), kRpcNoMethod, 9);
  expect_error(call("subtract", "{}"), kRpcInvalidParams, 9);
  expect_error(call("subtract", "[1,2,3]"), kRpcInvalidParams, 9);
  expect_error(call("subtract", "[-1]"), kRpcInvalidParams, 9);
  expect_error(call("subtract", "[1.0]"), kRpcInvalidParams, 9);
  expect_error(call("subtract", "[1001]"), kRpcInvalidParams, 9);
  expect_error(call("subtract", R"(["1"])"), kRpcInvalidParams, 9);
  expect_error(call("types", R"({"text":1})"), kRpcInvalidParams, 9);
  expect_error(call("types", R"({"flag":0})"), kRpcInvalidParams, 9);
  expect_error(call("types", R"({"texts":["a",1]})"), kRpcInvalidParams, 9);
  expect_error(call("types", R"({"table":[]})"), kRpcInvalidParams, 9);
  expect_error(call("fail", "{}"), kRpcInternal, 9);
  EXPECT_EQ(ask(call("types", R"({"text":"a","flag":true,"texts":["a"],"table":{}})"))["result"], "ok");
  const RpcInput unknown = ask(call("subtract", R"({"minuend":1,"subtrahent":1})"));
  EXPECT_EQ(unknown["error"]["code"], kRpcInvalidParams);
  EXPECT_NE(unknown["error"]["message"].get<std::string>().find("did you mean \"subtrahend\"?"),
            std::string::npos);
}

TEST_F(Rpc, Batches) {
  const RpcInput answer =
      ask(R"([{"jsonrpc":"2.0","method":"subtract","params":[1,2],"id":"1"},)"
          R"({"jsonrpc":"2.0","method":"subtract","params":[7]},)"
          R"({"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":"2"},{"foo":"boo"},1,)"
          R"({"jsonrpc":"2.0","method":"foo.get","params":{"name":"myself"},"id":"5"}])");
  ASSERT_TRUE(answer.is_array());
  ASSERT_EQ(answer.size(), 5U);
  EXPECT_EQ(answer[0]["result"], -1);
  EXPECT_EQ(answer[1]["result"], 19);
  EXPECT_EQ(answer[2]["error"]["code"], kRpcInvalidRequest);
  EXPECT_EQ(answer[2]["id"], nullptr);
  EXPECT_EQ(answer[3]["error"]["code"], kRpcInvalidRequest);
  EXPECT_EQ(answer[4]["error"]["code"], kRpcNoMethod);
  EXPECT_EQ(answer[4]["id"], "5");
  EXPECT_EQ(calls_, 3U);
}

TEST_F(Rpc, OddBatches) {
  expect_error("[]", kRpcInvalidRequest);
  const RpcInput one = ask("[1]");
  ASSERT_TRUE(one.is_array());
  EXPECT_EQ(one[0]["error"]["code"], kRpcInvalidRequest);
  EXPECT_EQ(ask("[[],2,3]").size(), 3U);
  EXPECT_EQ(talk(R"([{"jsonrpc":"2.0","method":"subtract","params":[1]}])"
                 "\n"),
            "");
}

TEST_F(Rpc, ABatchIsWorkedOffOneRequestAStep) {
  std::string batch = "[";
  for (unsigned i = 0; i < 500; ++i)
    batch += R"({"jsonrpc":"2.0","method":"subtract","params":[5,4],"id":1},)";
  batch.back() = ']';
  connection_.receive(batch + "\n");
  for (unsigned steps = 1; steps <= 100; ++steps) ASSERT_TRUE(connection_.step());
  EXPECT_LE(calls_, 100U);
  EXPECT_GE(calls_, 99U);
  EXPECT_FALSE(connection_.finished());
  EXPECT_TRUE(connection_.unsent().empty());
  while (connection_.step()) {
  }
  EXPECT_EQ(calls_, 500U);
  EXPECT_EQ(RpcInput::parse(taken()).size(), 500U);
}

TEST_F(Rpc, ByteByByte) {
  const std::string two =
      "{\"jsonrpc\":\"2.0\",\"method\":\"subtract\",\"params\":[9,4],\"id\":\"\xc3\xa9\"}\r\n"
      "{\"jsonrpc\":\"2.0\",\"method\":\"subtract\",\"params\":[9,5],\"id\":2}\n";
  std::string answers;
  for (const char c : two) {
    connection_.receive(std::string_view(&c, 1));
    connection_.step();
    std::string part(connection_.unsent().substr(0, 1));  // a slow reader as well
    connection_.sent(part.size());
    answers += part;
  }
  answers += taken();
  EXPECT_EQ(answers,
            "{\"jsonrpc\":\"2.0\",\"result\":5,\"id\":\"\xc3\xa9\"}\n{\"jsonrpc\":\"2.0\",\"result\":4,"
            "\"id\":2}\n");
}

TEST_F(Rpc, TheLastLineNeedsNoEnd) {
  connection_.receive(R"({"jsonrpc":"2.0","method":"subtract","params":[9,4],"id":1})");
  EXPECT_FALSE(connection_.step());
  connection_.end_input();
  EXPECT_FALSE(connection_.finished());
  EXPECT_TRUE(connection_.step());
  EXPECT_FALSE(connection_.step());
  EXPECT_TRUE(connection_.finished());
  EXPECT_EQ(RpcInput::parse(taken())["result"], 5);
}

TEST_F(Rpc, ALineOfTheLargestSizeIsTakenAndALongerOneEndsTheConnection) {
  const std::string head = R"({"jsonrpc":"2.0","method":"subtract","params":[9,4],"id":")";
  const std::string largest = head + std::string(kRpcMostLineBytes - head.size() - 2, 'i') + "\"}";
  ASSERT_EQ(largest.size(), kRpcMostLineBytes);
  EXPECT_EQ(ask(largest)["result"], 5);
  expect_error(largest + " ", kRpcInvalidRequest);
  EXPECT_TRUE(connection_.finished());
  EXPECT_FALSE(connection_.wants_input());
  EXPECT_EQ(talk("{}\n"), "");
  EXPECT_EQ(dispatcher_.counters().oversized, 1U);
}

TEST_F(Rpc, AnEndlessLineIsRefusedBeforeItEnds) {
  std::size_t received = 0;
  while (connection_.wants_input() && received < 4 * kRpcMostLineBytes) {
    connection_.receive(std::string(1 << 16, 'x'));
    received += 1 << 16;
    connection_.step();
  }
  EXPECT_LE(received, kRpcMostLineBytes + (1 << 16));
  EXPECT_EQ(RpcInput::parse(taken())["error"]["code"], kRpcInvalidRequest);
  EXPECT_TRUE(connection_.finished());
}

TEST_F(Rpc, UnsentAnswersAreBounded) {
  const std::string large = R"({"jsonrpc":"2.0","method":"large","id":1})";
  for (unsigned i = 0; i < 3; ++i) connection_.receive(large + "\n");
  while (connection_.step()) {
  }
  EXPECT_FALSE(connection_.overflowed());
  connection_.receive(large + "\n");
  EXPECT_TRUE(connection_.step());
  EXPECT_TRUE(connection_.overflowed());
  taken();
  EXPECT_FALSE(connection_.overflowed());
  // What a batch has gathered counts as well.
  connection_.receive("[" + large + "," + large + "," + large + "," + large + "," + large + "]\n");
  for (unsigned i = 0; i < 5; ++i) EXPECT_TRUE(connection_.step());
  EXPECT_TRUE(connection_.unsent().empty());
  EXPECT_TRUE(connection_.overflowed());
}

TEST_F(Rpc, CountsRequestsAndErrors) {
  talk(
      "{\n{}\n{\"jsonrpc\":\"2.0\",\"method\":\"types\",\"id\":1}\n{\"jsonrpc\":\"2.0\",\"method\":\"none\"}"
      "\n");
  EXPECT_EQ(dispatcher_.counters().requests, 3U);
  EXPECT_EQ(dispatcher_.counters().errors, 3U);
}

TEST_F(Rpc, MethodsListsThemselvesWithParameters) {
  const RpcInput list = ask(R"({"jsonrpc":"2.0","method":"methods","id":1})")["result"]["methods"];
  ASSERT_EQ(list.size(), 5U);
  EXPECT_EQ(list[2]["method"], "methods");
  EXPECT_EQ(list[3]["method"], "subtract");
  EXPECT_EQ(list[3]["params"][0]["name"], "minuend");
  EXPECT_EQ(list[3]["params"][0]["required"], true);
}

}  // namespace
}  // namespace dataplane
