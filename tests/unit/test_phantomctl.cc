// What phantomctl makes of files and answers: parameters, lines of errors, tables.
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/folder_test.h"
#include "tools/ctl/session_file.h"
#include "tools/ctl/table.h"

namespace ctl {
namespace {

const std::string kSession =
    "[[session]]\nname = \"c\"\nsecret_file = \"c.secret\"\nstreams = 4\nrekey = { interval = \"5s\" }\n";

class SessionFileTest : public support::FolderTest {
 protected:
  std::string write(const std::string& text) { return FolderTest::write("s.toml", text); }
  void expect_refused(const std::string& text, const std::string& says) {
    try {
      const SessionFile file(write(text));
      FAIL() << "taken: " << text;
    } catch (const FileError& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  }
  static Json error_at(const std::string& field) {
    return {{"code", -32602},
            {"data", {{"errors", {{{"field", field}, {"expected", "x"}, {"advice", "y"}}}}}}};
  }
};

TEST_F(SessionFileTest, ASessionWithItsRoutes) {
  const SessionFile file(write(kSession + "[[route]]\nprefix = \"10.0.2.0/24\"\nsession = \"c\"\n"));
  const Json& p = file.params();
  EXPECT_EQ(p["name"], "c");
  EXPECT_EQ(p["streams"], 4);
  EXPECT_EQ(p["rekey"]["interval"], "5s");
  EXPECT_EQ(p["routes"], Json({"10.0.2.0/24"}));
  EXPECT_EQ(p["secret_file"], (folder_ / "c.secret").string());
}

TEST_F(SessionFileTest, KeysAlone) {
  const SessionFile file(
      write("name = \"c\"\nsecret_file = \"/etc/c.secret\"\nroutes = [\"10.0.2.0/24\"]\nmss_clamp = true\n"));
  EXPECT_EQ(file.params()["secret_file"], "/etc/c.secret");
  EXPECT_EQ(file.params()["mss_clamp"], true);
  EXPECT_EQ(file.params()["routes"].size(), 1U);
}

TEST_F(SessionFileTest, OtherShapesAreRefused) {
  expect_refused("[[session]\n", "line 1");
  expect_refused(kSession + kSession, "exactly one [[session]]");
  expect_refused("session = 1\n", "exactly one [[session]]");
  expect_refused(kSession + "[[port]]\nname = \"lan\"\n", "found \"port\"");
  expect_refused(kSession + "[[route]]\nprefix = \"10.0.2.0/24\"\nsession = \"d\"\n", "line 6");
  expect_refused(kSession + "[[route]]\nprefix = 7\nsession = \"c\"\n", "line 6");
  try {
    const SessionFile file("/none.toml");
    FAIL();
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("/none.toml"), std::string::npos);
  }
}

TEST_F(SessionFileTest, ErrorsGetTheirLine) {
  const SessionFile file(write(kSession + "[[route]]\nprefix = \"10.0.2.0/24\"\nsession = \"c\"\n"));
  const std::string path = (folder_ / "s.toml").string();
  EXPECT_EQ(file.explain(error_at("session[0].streams")), path + ":4: session[0].streams: expected x; y\n");
  EXPECT_TRUE(file.explain(error_at("session[0].rekey.interval")).starts_with(path + ":5: "));
  EXPECT_TRUE(file.explain(error_at("session[0].rekey.none")).starts_with(path + ":5: "));
  EXPECT_TRUE(file.explain(error_at("session[0].role")).starts_with(path + ":1: "));
  EXPECT_TRUE(file.explain(error_at("session[0].routes[0]")).starts_with(path + ":6: "));
  EXPECT_TRUE(file.explain(error_at("elsewhere")).starts_with(path + ": elsewhere"));
  EXPECT_EQ(file.explain({{"code", -32001}}), "");
}

TEST_F(SessionFileTest, TheExampleIsOne) {
  const SessionFile file(std::string(PHANTOM_EXAMPLES_DIR) + "/branch.toml");
  EXPECT_EQ(file.params()["name"], "branch-9");
  EXPECT_EQ(file.params()["routes"].size(), 1U);
}

// Where each line's n-th column begins is where the header's does.
TEST(Table, ColumnsAreAligned) {
  const Json paths = Json::parse(R"([
      {"session":"a","path":0,"local":"192.0.2.1:4500","peer":"192.0.2.2:4500","state":"validated","up":true,
       "in_use":true,"srtt_ms":1.25,"loss":0.5,"migrations":3,"rx_pkts":10,"tx_pkts":123456789012},
      {"session":"long-name","path":1,"local":"[2001:db8::1]:4500","peer":"","state":"failed","up":false,
       "in_use":false,"srtt_ms":-1,"loss":null}])");
  std::istringstream text(paths_table(paths, true));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3U);
  const std::size_t local = lines[0].find("LOCAL");
  EXPECT_EQ(lines[1].find("192.0.2.1:4500"), local);
  EXPECT_EQ(lines[2].find("[2001:db8::1]:4500"), local);
  EXPECT_NE(lines[1].find("1.25"), std::string::npos);
  EXPECT_NE(lines[1].find("50.0%"), std::string::npos);
  EXPECT_NE(lines[2].find(" - "), std::string::npos);
}

TEST(Table, BandwidthIsAtLeastWhatWasSeenUntilThePathWasFull) {
  Json session =
      Json::parse(R"({"name":"x","bandwidth":{"bottleneck_bw_bytes_per_s":2500000,"full":true,"loss":0.25,
      "min_rtt_ms":40.5},"paths":[{"path":0,"bandwidth":{"bottleneck_bw_bytes_per_s":1250000,"full":false}}]})");
  const std::string text = session_text(session);
  EXPECT_NE(text.find("  20.0 Mbit/s\n"), std::string::npos) << text;
  EXPECT_NE(text.find(">=10.0 Mbit/s"), std::string::npos) << text;
  EXPECT_NE(text.find("25.0%"), std::string::npos) << text;
  EXPECT_NE(text.find("bandwidth.min_rtt_ms"), std::string::npos) << text;
  for (const Json& odd :
       {Json(3), Json(), Json::object(), Json{{"bottleneck_bw_bytes_per_s", "x"}, {"full", 1}}}) {
    session["bandwidth"] = odd;
    session["paths"][0]["bandwidth"] = odd;
    EXPECT_TRUE(session_text(session).ends_with('\n'));
  }
}

TEST(Table, ToleratesGatewaysThatSayLess) {
  const Json empty = Json::array({Json::object()});
  for (const std::string& table : {sessions_table(empty), paths_table(empty, false), routes_table(empty),
                                   methods_table(empty), sessions_table(Json::array())}) {
    EXPECT_TRUE(table.ends_with('\n'));
  }
  EXPECT_NE(stats_table(Json::object()).find("gateway -"), std::string::npos);
  EXPECT_NE(session_text({{"name", "x"}, {"idle_seconds", 7200.0}}).find("2h"), std::string::npos);
}

TEST(Table, EventsHaveNumberTimeSessionAndText) {
  EXPECT_EQ(event_line({{"number", 7},
                        {"unix_ms", 1'700'000'000'250U},
                        {"session", "office"},
                        {"kind", "rekeyed"},
                        {"text", "epoch 3"}}),
            "     7  2023-11-14T22:13:20.250Z  office            rekeyed         epoch 3\n");
}

}  // namespace
}  // namespace ctl
