// One session read by itself, as for a request at run time, and the [control] section of the file.
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "dataplane/address_text.h"
#include "dataplane/config.h"
#include "tests/support/folder_test.h"

namespace dataplane {
namespace {

const std::string kPorts =
    "[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\nrole = \"lan\"\naddresses = [\"10.0.1.1/24\"]\n"
    "[[port]]\nname = \"wan\"\ndevice = \"net_null1\"\nrole = \"wan\"\naddresses = [\"192.0.2.1/24\"]\n";

class SessionTextTest : public support::FolderTest {
 protected:
  void SetUp() override {
    write("branch.secret", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
  }

  std::optional<GatewayConfig> load(const std::string& head) {
    errors_.clear();
    return load_config(write("gateway.toml", head + kPorts), errors_);
  }
  std::optional<SessionText> read(const std::string& text) {
    const auto config = load("[gateway]\nstate_dir = \"s\"\n");
    EXPECT_TRUE(config) << all();
    return load_session_text(text, *config, errors_);
  }
  static std::string keys(const std::string& more = "") {
    return "name = \"c\"\nid = \"" + std::string(64, 'a') +
           "\"\nsecret_file = \"branch.secret\"\nrole = \"initiator\"\nlocal = \"192.0.2.1:4500\"\n" + more;
  }
  // The one error there is says all of that.
  void expect_error(const std::string& text, const std::string& field, const std::string& says) {
    EXPECT_FALSE(read(text));
    ASSERT_EQ(errors_.size(), 1U) << all();
    EXPECT_EQ(errors_[0].field, field);
    EXPECT_NE(errors_[0].text().find(says), std::string::npos) << all();
  }
  std::string all() {
    std::string text;
    for (const ConfigError& error : errors_) text += error.text() + "\n";
    return text;
  }

  std::vector<ConfigError> errors_;
};

TEST_F(SessionTextTest, AWholeSessionWithRoutes) {
  const auto got =
      read(keys("peer = \"192.0.2.2:4500\"\nroutes = [\"10.0.2.0/24\", \"fd00:2::/64\"]\nstreams = 3\n"));
  ASSERT_TRUE(got) << all();
  EXPECT_EQ(got->entry.identity.name, "c");
  EXPECT_EQ(got->entry.secret_file, (folder_ / "branch.secret").string());
  EXPECT_EQ(to_text(got->entry.peer), "192.0.2.2:4500");
  EXPECT_EQ(got->entry.policy.tx_streams, 3);
  ASSERT_EQ(got->routes.size(), 2U);
  EXPECT_EQ(to_text(got->routes[1].prefix), "fd00:2::/64");
  EXPECT_EQ(got->routes[1].session, "c");
}

TEST_F(SessionTextTest, ErrorsNameTheField) {
  expect_error(keys("rekey = { intervall = \"1s\" }\n"), "session[0].rekey.intervall",
               "did you mean \"interval\"?");
  expect_error(keys("secret = \"x\"\n"), "session[0].secret", "known key");
  expect_error(keys("streams = 32\n"), "session[0].streams", "found 32");
  expect_error(keys("peer = \"192.0.2.1:4500\"\n"), "session[0].peer", "found our own");
  expect_error(keys("peer = \"[2001:db8::2]:4500\"\n"), "session[0].peer", "same address family");
  expect_error("name = [\n", "", "expected TOML");
  std::string elsewhere = keys();
  elsewhere.replace(elsewhere.find("192.0.2.1"), 9, "192.0.2.7");
  expect_error(elsewhere, "session[0].local", "on no port");
}

TEST_F(SessionTextTest, ErrorsNameTheRoute) {
  expect_error(keys("routes = [\"10.0.2.0/24\", \"10.0.3.1/24\"]\n"), "session[0].routes[1]",
               "write 10.0.3.0/24");
  expect_error(keys("routes = [\"10.0.1.0/24\"]\n"), "session[0].routes[0]", "connected to port \"lan\"");
  expect_error(keys("routes = [\"10.0.2.0/24\", \"10.0.2.0/24\"]\n"), "session[0].routes[1]", "of its own");
  expect_error(keys("routes = \"10.0.2.0/24\"\n"), "session[0].routes", "a list");
}

TEST_F(SessionTextTest, TheSecretMustBeReadable) {
  std::filesystem::remove(folder_ / "branch.secret");
  expect_error(keys(), "session[0].secret_file", "No such file");
  write("branch.secret", "short");
  expect_error(keys(), "session[0].secret_file", "found 5 bytes");
}

TEST_F(SessionTextTest, ControlSection) {
  auto config = load("[gateway]\nstate_dir = \"s\"\n");
  ASSERT_TRUE(config) << all();
  EXPECT_EQ(config->control.socket, "");
  config = load("[gateway]\nstate_dir = \"s\"\n[control]\nsocket = \"c.sock\"\nallow_uids = [0, 1000]\n");
  ASSERT_TRUE(config) << all();
  EXPECT_EQ(config->control.socket, (folder_ / "c.sock").string());
  EXPECT_EQ(config->control.allow_uids, (std::vector<std::uint32_t>{0, 1000}));
  config = load("[gateway]\nstate_dir = \"s\"\nrun_dir = \"/run/x\"\n[control]\nsocket = \"c.sock\"\n");
  ASSERT_TRUE(config) << all();
  EXPECT_EQ(config->control.socket, "/run/x/c.sock");
}

TEST_F(SessionTextTest, BadControlSection) {
  EXPECT_FALSE(load("[gateway]\nstate_dir = \"s\"\n[control]\nsocket = \"" + std::string(120, 'x') + "\"\n"));
  EXPECT_NE(all().find(":4: control.socket: expected a path of at most 107 characters"), std::string::npos)
      << all();
  for (const char* bad : {"[-1]", "[4294967295]", "[\"root\"]", "0"}) {
    EXPECT_FALSE(load(std::string("[gateway]\nstate_dir = \"s\"\n[control]\nallow_uids = ") + bad + "\n"))
        << bad;
    EXPECT_NE(all().find(":4: control.allow_uids: expected a list of whole numbers"), std::string::npos)
        << all();
  }
}

}  // namespace
}  // namespace dataplane
