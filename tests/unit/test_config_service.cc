// [[service]] in the configuration file: what a good one says, and the field and advice of everything bad.
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "dataplane/config.h"
#include "tests/support/folder_test.h"

namespace dataplane {
namespace {

const std::string kId = "6b8e9c1f4a7d2e5b8c3f6a9d0e1b4c7f2a5d8e0b3c6f9a1d4e7b0c3f6a9d2e5";

std::string session(const std::string& name, char last, const std::string& more = "") {
  return "[[session]]\nname = \"" + name + "\"\nid = \"" + kId + last + "\"\nsecret_file = \"" + name +
         ".secret\"\nrole = \"initiator\"\nlocal = \"192.0.2.1:4500\"\n" + more;
}

const std::string kFront =
    "[gateway]\nstate_dir = \"state\"\n"
    "[[port]]\nname = \"wan\"\ndevice = \"net_null1\"\nrole = \"both\"\naddresses = [\"192.0.2.1/24\"]\n";

class ConfigService : public support::FolderTest {
 protected:
  std::optional<GatewayConfig> load(const std::string& services, const std::string& more = "") {
    errors_.clear();
    const std::string text = kFront + session("a", '0') + session("b", '1', "group = \"edge\"\n") +
                             session("c", '2', "group = \"edge\"\n") + more + services;
    return load_config(write("gateway.toml", text), errors_);
  }
  void expect_error(const std::string& services, const std::string& field, const std::string& says,
                    const std::string& more = "") {
    EXPECT_FALSE(load(services, more)) << services;
    ASSERT_FALSE(errors_.empty()) << services;
    EXPECT_EQ(errors_[0].field, field) << services;
    EXPECT_NE(errors_[0].text().find(says), std::string::npos) << errors_[0].text();
  }
  std::vector<ConfigError> errors_;
};

std::string service(const std::string& keys, const std::string& name = "web") {
  return "[[service]]\nname = \"" + name + "\"\n" + keys;
}

TEST_F(ConfigService, AllKeys) {
  const auto c =
      load(service("session = \"a\"\nstreams = \"2-100\"\ntarget = \"tcp:127.0.0.1:80\"\nconnections = 7\n"
                   "connect_timeout = \"2s\"\nidle_timeout = \"5m\"\n") +
           service("group = \"edge\"\ntarget = \"unix:/run/x.sock\"\n", "local") +
           service("session = \"a\"\nstreams = \"101\"\ntarget = \"forward\"\n"
                   "allow = [\"10.0.0.0/24:80\", \"[2001:db8::]/32:*\"]\n",
                   "out") +
           service("session = \"a\"\ntarget = \"udp:[::1]:53\"\n", "dns"));
  ASSERT_TRUE(c) << errors_[0].text();
  ASSERT_EQ(c->services.size(), 4U);
  const ServiceConfig& web = c->services[0];
  EXPECT_EQ(web.first_stream, 2);
  EXPECT_EQ(web.last_stream, 100);
  EXPECT_EQ(to_text(web.endpoint), "127.0.0.1:80");
  EXPECT_EQ(web.connections, 7U);
  EXPECT_EQ(web.connect_timeout_ns, 2'000'000'000U);
  EXPECT_EQ(web.idle_timeout_ns, 300'000'000'000U);
  EXPECT_EQ(c->services[1].target, ServiceTarget::kUnix);
  EXPECT_EQ(c->services[1].path, "/run/x.sock");
  ASSERT_EQ(c->services[2].allow.size(), 2U);
  EXPECT_EQ(c->services[2].allow[0].port, 80);
  EXPECT_EQ(c->services[2].allow[1].port, 0);
  EXPECT_EQ(to_text(c->services[2].allow[1].prefix), "2001:db8::/32");
  EXPECT_EQ(to_text(c->services[3].endpoint), "[::1]:53");
  EXPECT_EQ(services_of(*c, c->sessions[0]), (std::vector<std::uint16_t>{0, 2, 3}));
  EXPECT_EQ(services_of(*c, c->sessions[2]), (std::vector<std::uint16_t>{1}));
}

TEST_F(ConfigService, MistakesNameTheirField) {
  const std::string tcp = "target = \"tcp:127.0.0.1:80\"\n";
  expect_error("[[service]]\nsession = \"a\"\n" + tcp, "service[0].name", "a name");
  expect_error(service("session = \"a\"\n"), "service[0].target", "tcp:HOST:PORT");
  expect_error(service(tcp), "service[0]", "either session or group");
  expect_error(service("session = \"a\"\ngroup = \"edge\"\n" + tcp), "service[0]", "either session or group");
  expect_error(service("session = \"nobody\"\n" + tcp), "service[0].session", "nobody");
  expect_error(service("session = \"a\"\ntarget = \"http://x\"\n"), "service[0].target", "http://x");
  expect_error(service("session = \"a\"\ntarget = \"tcp:127.0.0.1:0\"\n"), "service[0].target",
               "127.0.0.1:0");
  expect_error(service("session = \"a\"\ntarget = \"tcp:no-such-host.invalid:80\"\n"), "service[0].target",
               "resolves");
  expect_error(service("session = \"a\"\ntarget = \"unix:" + std::string(200, 'x') + "\"\n"),
               "service[0].target", "107");
  for (const char* streams : {"0", "9-2", "2-70000", "x", "1-", ""}) {
    expect_error(service("session = \"a\"\nstreams = \"" + std::string(streams) + "\"\n" + tcp),
                 "service[0].streams", "2-100");
  }
  expect_error(service("session = \"a\"\ntarget = \"forward\"\n"), "service[0].allow", "allow");
  expect_error(service("session = \"a\"\nallow = [\"10.0.0.0/8:1\"]\n" + tcp), "service[0].allow", "forward");
  expect_error(service("session = \"a\"\ntarget = \"forward\"\nallow = [\"10.0.0.0/8\"]\n"),
               "service[0].allow[0]", "10.0.0.0/24:80");
  expect_error(service("session = \"a\"\nconnections = 0\n" + tcp), "service[0].connections", "1");
  expect_error(service("session = \"a\"\ntarget_port = 3\n" + tcp), "service[0].target_port", "known key");
}

TEST_F(ConfigService, TwoServicesShareNoStreamOfASession) {
  const std::string tcp = "target = \"tcp:127.0.0.1:80\"\n";
  expect_error(service("session = \"a\"\nstreams = \"2-9\"\n" + tcp) +
                   service("session = \"a\"\nstreams = \"9-12\"\n" + tcp, "other"),
               "service[1].streams", "service[0]");
  expect_error(service("group = \"edge\"\n" + tcp) + service("session = \"b\"\n" + tcp, "other"),
               "service[1].streams", "service[0]");
  expect_error(service("session = \"a\"\n" + tcp) + service("group = \"edge\"\n" + tcp), "service[1].name",
               "of its own");
  EXPECT_TRUE(load(service("session = \"a\"\n" + tcp) + service("session = \"b\"\n" + tcp, "other")));
}

TEST_F(ConfigService, ASessionHasEitherRoutesOrServices) {
  expect_error(service("session = \"a\"\ntarget = \"tcp:127.0.0.1:80\"\n"), "service[0]", "routes",
               "[[route]]\nprefix = \"10.0.2.0/24\"\nsession = \"a\"\n");
}

TEST_F(ConfigService, ASocketThatIsNotThereIsAnErrorBeforeTheStart) {
  const std::string path = (folder_ / "backend.sock").string();
  const auto c = load(service("session = \"a\"\ntarget = \"unix:" + path + "\"\n"));
  ASSERT_TRUE(c);
  std::vector<ConfigError> errors;
  check_service_targets(*c, errors);
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0].field, "service[0].target");
  EXPECT_NE(errors[0].text().find(path), std::string::npos);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof(at.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  errors.clear();
  check_service_targets(*c, errors);
  EXPECT_TRUE(errors.empty());
  close(fd);
}

}  // namespace
}  // namespace dataplane
