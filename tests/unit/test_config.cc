// The configuration file: what a good one says, and the file, line, field and advice of everything bad.
#include <cerrno>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "dataplane/config.h"
#include "dataplane/fib.h"
#include "tests/support/folder_test.h"

namespace dataplane {
namespace {

const std::string kId = "6b8e9c1f4a7d2e5b8c3f6a9d0e1b4c7f2a5d8e0b3c6f9a1d4e7b0c3f6a9d2e58";
const std::string kSecret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

// Line 1 is [gateway], the two ports begin at 4 and 9, the session at 15, the route at 22.
const std::string kGood =
    "[gateway]\n"
    "name = \"a\"\n"
    "state_dir = \"state\"\n"
    "[[port]]\n"
    "name = \"lan\"\n"
    "device = \"net_null0\"\n"
    "role = \"lan\"\n"
    "addresses = [\"10.0.1.1/24\", \"fd00::1/64\"]\n"
    "[[port]]\n"
    "name = \"wan\"\n"
    "device = \"net_null1\"\n"
    "role = \"wan\"\n"
    "addresses = [\"192.0.2.1/24\"]\n"
    "\n"
    "[[session]]\n"
    "name = \"b\"\n"
    "id = \"" +
    kId +
    "\"\n"
    "secret_file = \"b.secret\"\n"
    "role = \"initiator\"\n"
    "local = \"192.0.2.1:4500\"\n"
    "\n"
    "[[route]]\n"
    "prefix = \"10.0.2.0/24\"\n"
    "session = \"b\"\n";

struct Bad {
  const char* what;
  std::string text;
  int line;
  const char* field;
  const char* says;  // somewhere in expectation or advice
};

class Config : public support::FolderTest {
 protected:
  std::optional<GatewayConfig> load(const std::string& text) {
    errors_.clear();
    return load_config(write("gateway.toml", text), errors_);
  }
  // The good file with `from` replaced once.
  static std::string with(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }
  static std::string plus(const std::string& more) { return kGood + more; }
  std::string all() {
    std::string text;
    for (const ConfigError& error : errors_) text += error.text() + "\n";
    return text;
  }

  void expect_each(std::span<const Bad> rows) {
    for (const Bad& row : rows) {
      EXPECT_FALSE(load(row.text)) << row.what;
      ASSERT_EQ(errors_.size(), 1U) << row.what << "\n" << all();
      EXPECT_EQ(errors_[0].line, row.line) << row.what << "\n" << all();
      EXPECT_EQ(errors_[0].field, row.field) << row.what << "\n" << all();
      EXPECT_NE(errors_[0].text().find(row.says), std::string::npos) << row.what << "\n" << all();
      EXPECT_NE(errors_[0].text().find("gateway.toml:" + std::to_string(row.line)), std::string::npos)
          << all();
    }
  }

  std::vector<ConfigError> errors_;
};

TEST_F(Config, GoodFileIsRead) {
  const auto c = load(kGood);
  ASSERT_TRUE(c) << all();
  EXPECT_EQ(c->name, "a");
  EXPECT_EQ(c->state_dir, (folder_ / "state").string());
  ASSERT_EQ(c->ports.size(), 2U);
  EXPECT_TRUE(c->ports[0].lan);
  EXPECT_FALSE(c->ports[0].wan);
  EXPECT_TRUE(c->ports[1].wan);
  EXPECT_EQ(to_text(c->ports[0].addresses.at(1)), "fd00::1/64");
  ASSERT_EQ(c->sessions.size(), 1U);
  EXPECT_EQ(c->sessions[0].identity.role, session::Role::kInitiator);
  EXPECT_EQ(c->sessions[0].identity.id[0], 0x6b);
  EXPECT_EQ(c->sessions[0].secret_file, (folder_ / "b.secret").string());
  EXPECT_EQ(to_text(c->sessions[0].local), "192.0.2.1:4500");
  EXPECT_EQ(c->sessions[0].peer.family, 0);
  EXPECT_EQ(c->sessions[0].line, 15);
  ASSERT_EQ(c->routes.size(), 1U);
  EXPECT_EQ(c->routes[0].session, "b");
}

TEST_F(Config, EveryKeyArrives) {
  std::string text =
      with("state_dir = \"state\"\n",
           "state_dir = \"/s\"\nrun_dir = \"r\"\nlog_level = \"debug\"\nstats_period = \"5s\"\n"
           "icmp_errors = false\n[cores]\nworkers = 2\nidle_backoff = true\nidle_sleep_us = 70\n"
           "burst = 64\n[pools]\npackets = 9000\ndata_room_bytes = 4096\nhandoff_ring = 2048\n"
           "punt_ring = 256\nmailbox_ring = 128\nneighbour_packets = 3\n[limits]\nsessions = 5\n"
           "keys = 100\nwindows = 50\nwindow_bits = 2048\nstreams_per_session = 20\n"
           "older_blocks = 2\nprevious_pkts = 7\nahead_tokens = 8\nahead_per_second = 9\n"
           "[eal]\nargs = [\"--no-huge\", \"-m\", \"64\"]\n");
  text += "[[route]]\nprefix = \"fd00:9::/64\"\nlan_gateway = \"fd00::9\"\n";
  text.replace(text.find("local ="), 0,
               "suite = \"chacha20-poly1305\"\nkdf = \"fips\"\npeer = \"192.0.2.2:4501\"\nstreams = 4\n"
               "mss_clamp = true\nsource_check = false\nunmodified_peer = true\nsequence_block = 4096\n"
               "rekey = { soft_limit = 1000, watermark = 500, interval = \"1s\", grace = \"1500ms\" }\n"
               "migration = \"off\"\nscheduler = \"duplicate\"\nprobe_interval = \"250ms\"\n"
               "fallback = \"7s\"\nprefer_stored_peer = true\nweight = 3\n");
  text.replace(text.find("role = \"lan\""), 0,
               "mtu = 1400\ngateway4 = \"10.0.1.254\"\ngateway6 = \"fd00::ff\"\npromiscuous = true\n"
               "rx_descriptors = 512\ntx_descriptors = 256\n"
               "neighbours = [{ address = \"10.0.1.2\", mac = \"02:00:00:00:00:0a\" }]\n");
  const auto c = load(text);
  ASSERT_TRUE(c) << all();
  EXPECT_EQ(c->run_dir, "r");
  EXPECT_EQ(c->log_level, "debug");
  EXPECT_EQ(c->stats_period_s, 5U);
  EXPECT_FALSE(c->icmp_errors);
  EXPECT_EQ(c->cores.workers, 2);
  EXPECT_TRUE(c->cores.idle_backoff);
  EXPECT_EQ(c->cores.idle_sleep_us, 70U);
  EXPECT_EQ(c->cores.burst, 64);
  EXPECT_EQ(c->pools.packets, 9000U);
  EXPECT_EQ(c->pools.data_room_bytes, 4096);
  EXPECT_EQ(c->pools.handoff_ring, 2048);
  EXPECT_EQ(c->pools.punt_ring, 256);
  EXPECT_EQ(c->pools.mailbox_ring, 128);
  EXPECT_EQ(c->pools.neighbour_packets, 3);
  EXPECT_EQ(c->limits.sessions, 5U);
  EXPECT_EQ(c->limits.keys, 100U);
  EXPECT_EQ(c->limits.windows, 50U);
  EXPECT_EQ(c->limits.window_bits, 2048U);
  EXPECT_EQ(c->limits.streams_per_session, 20U);
  EXPECT_EQ(c->limits.older_blocks, 2U);
  EXPECT_EQ(c->limits.previous_pkts, 7U);
  EXPECT_EQ(c->limits.ahead_tokens, 8U);
  EXPECT_EQ(c->limits.ahead_per_second, 9U);
  EXPECT_EQ(c->eal_args, (std::vector<std::string>{"--no-huge", "-m", "64"}));
  const PortConfig& lan = c->ports.at(0);
  EXPECT_EQ(lan.mtu, 1400);
  EXPECT_EQ(to_text(lan.gateway4.value()), "10.0.1.254");
  EXPECT_EQ(to_text(lan.gateway6.value()), "fd00::ff");
  EXPECT_TRUE(lan.promiscuous);
  EXPECT_EQ(lan.rx_descriptors, 512);
  EXPECT_EQ(lan.tx_descriptors, 256);
  EXPECT_EQ(to_text(lan.neighbours.at(0).mac), "02:00:00:00:00:0a");
  const SessionEntry& s = c->sessions.at(0);
  EXPECT_EQ(s.identity.suite, crypto::Suite::kChaCha20Poly1305);
  EXPECT_EQ(s.identity.variant, crypto::KdfVariant::kFips);
  EXPECT_EQ(to_text(s.peer), "192.0.2.2:4501");
  EXPECT_EQ(s.policy.tx_streams, 4);
  EXPECT_TRUE(s.mss_clamp);
  EXPECT_FALSE(s.source_check);
  EXPECT_TRUE(s.policy.unmodified_peer);
  EXPECT_EQ(s.policy.sequence_block, 4096U);
  EXPECT_EQ(s.policy.rekey_soft_limit, 1000U);
  EXPECT_EQ(s.policy.seq_rekey_watermark, 500U);
  EXPECT_EQ(s.policy.rekey_interval_ns, 1'000'000'000U);
  EXPECT_EQ(s.policy.grace_ns, 1'500'000'000U);
  EXPECT_EQ(s.paths.migration, session::MigrationPolicy::kOff);
  EXPECT_EQ(s.paths.scheduler, session::PathScheduler::kDuplicate);
  EXPECT_EQ(s.paths.probe_interval_ns, 250'000'000U);
  EXPECT_EQ(s.paths.fallback_ns, 7'000'000'000U);
  EXPECT_EQ(s.paths.weight[0], 3U);
  EXPECT_TRUE(s.paths.unmodified_peer);
  EXPECT_EQ(s.paths.tx_streams, 4U);
  EXPECT_TRUE(s.prefer_stored_peer);
  EXPECT_EQ(to_text(c->routes.at(1).lan_gateway.value()), "fd00::9");
}

// A further way of the session: line 22 is its header.
std::string with_path(const std::string& keys) {
  std::string text = kGood;
  return text.insert(text.find("[[route]]"), "[[session.path]]\n" + keys + "\n");
}

TEST_F(Config, FurtherWaysArrive) {
  const auto c =
      load(with_path("local = \"192.0.2.1:4501\"\npeer = \"198.51.100.2:4500\"\nweight = 20\n"
                     "[[session.path]]\nlocal = \"192.0.2.1:4502\""));
  ASSERT_TRUE(c) << all();
  const SessionEntry& s = c->sessions.at(0);
  ASSERT_EQ(s.more_paths.size(), 2U);
  EXPECT_EQ(to_text(s.more_paths[0].local), "192.0.2.1:4501");
  EXPECT_EQ(to_text(s.more_paths[0].remote), "198.51.100.2:4500");
  EXPECT_EQ(s.more_paths[1].remote.family, 0);
  EXPECT_EQ(s.paths.weight, (std::array<std::uint32_t, session::kTxPaths>{0, 20, 0, 0}));
  EXPECT_EQ(s.paths.scheduler, session::PathScheduler::kLowestLatency);
  EXPECT_EQ(s.paths.migration, session::MigrationPolicy::kValidated);
}

TEST_F(Config, WaysThatCannotBeAreNamed) {
  const std::string more = "[[session.path]]\nlocal = \"192.0.2.1:450";
  const Bad rows[] = {
      {"no local", with_path("peer = \"192.0.2.9:1\""), 22, "session[0].path[0].local", "key is missing"},
      {"local on LAN", with_path("local = \"10.0.1.1:1\""), 23, "session[0].path[0].local",
       "LAN port \"lan\""},
      {"local nowhere", with_path("local = \"10.9.1.1:1\""), 23, "session[0].path[0].local", "on no port"},
      {"family", with_path("local = \"192.0.2.1:1\"\npeer = \"[fd00::1]:1\""), 24, "session[0].path[0].peer",
       "same address family"},
      {"peer is ours", with_path("local = \"192.0.2.1:1\"\npeer = \"192.0.2.1:1\""), 24,
       "session[0].path[0].peer", "found our own"},
      {"unknown key", with_path("local = \"192.0.2.1:1\"\nwieght = 1"), 24, "session[0].path[0].wieght",
       "did you mean \"weight\"?"},
      {"weight", with_path("local = \"192.0.2.1:1\"\nweight = 0"), 24, "session[0].path[0].weight",
       "from 1 to 1000000"},
      {"twice", with_path("local = \"192.0.2.1:4500\""), 22, "session[0].path[0]", "another way"},
      {"too many", with_path("local = \"192.0.2.1:1\"\n" + more + "1\"\n" + more + "2\"\n" + more + "3\""),
       28, "session[0].path[3]", "at most 3"},
      {"unmodified peer",
       with_path("local = \"192.0.2.1:1\"")
           .replace(kGood.find("role = \"init"), 0, "unmodified_peer = true\n"),
       23, "session[0].path[0]", "path 0 alone"},
      {"migration", with("role = \"initiator\"", "migration = \"on\"\nrole = \"initiator\""), 19,
       "session[0].migration", "\"validated\" or \"off\""},
      {"scheduler", with("role = \"initiator\"", "scheduler = \"fast\"\nrole = \"initiator\""), 19,
       "session[0].scheduler", "\"lowest-latency\""},
      {"probe interval", with("role = \"initiator\"", "probe_interval = \"9ms\"\nrole = \"initiator\""), 19,
       "session[0].probe_interval", "at least 10 ms"},
      {"fallback", with("role = \"initiator\"", "fallback = \"1ms\"\nrole = \"initiator\""), 19,
       "session[0].fallback", "at least 100 ms"},
  };
  expect_each(rows);
}

TEST_F(Config, ExamplesAreGood) {
  for (const char* name : {"site-a.toml", "site-b.toml"}) {
    errors_.clear();
    EXPECT_TRUE(load_config(std::string(PHANTOM_EXAMPLES_DIR) + "/" + name, errors_)) << all();
  }
}

TEST_F(Config, EachMistakeHasItsLineFieldAndAdvice) {
  const std::string route = "[[route]]\nprefix = ";
  const Bad rows[] = {
      {"unknown key", with("name = \"lan\"", "nmae = \"x\"\nname = \"lan\""), 5, "port[0].nmae",
       "did you mean \"name\"?"},
      {"unknown section", plus("[core]\nworkers = 1\n"), 25, "core", "did you mean \"cores\"?"},
      {"nothing near", plus("[zzzzzzzz]\n"), 25, "zzzzzzzz", "known here: control, cores, eal"},
      {"wrong type", with("name = \"a\"", "name = 7"), 2, "gateway.name", "found a value of type integer"},
      {"bad name", with("name = \"a\"", "name = \"a b\""), 2, "gateway.name", "letters, digits"},
      {"missing key", with("role = \"lan\"\n", ""), 4, "port[0].role", "the key is missing"},
      {"no state", with("state_dir = \"state\"", ""), 1, "gateway.state_dir", "local disk"},
      {"choice", with("role = \"lan\"", "role = \"lna\""), 7, "port[0].role",
       "\"lan\" or \"wan\" or \"both\""},
      {"address", with("10.0.1.1/24", "10.0.1.1"), 8, "port[0].addresses[0]", "found \"10.0.1.1\""},
      {"prefix length", with("10.0.1.1/24", "10.0.1.1/33"), 8, "port[0].addresses[0]", "10.0.1.1/33"},
      {"network address", with("10.0.1.1/24", "10.0.1.0/24"), 8, "port[0].addresses[0]", "host can have"},
      {"second address", with("fd00::1/64", "fd00::/129"), 8, "port[0].addresses[1]", "fd00::/129"},
      {"endpoint", with("192.0.2.1:4500", "192.0.2.1"), 20, "session[0].local", "192.0.2.1:4500"},
      {"endpoint port", with("192.0.2.1:4500", "192.0.2.1:0"), 20, "session[0].local", "192.0.2.1:0"},
      {"local on LAN", with("192.0.2.1:4500", "10.0.1.1:4500"), 20, "session[0].local",
       "on the LAN port \"lan\""},
      {"local nowhere", with("192.0.2.1:4500", "10.0.7.1:4500"), 20, "session[0].local", "on no port"},
      {"id", with(kId, "abc"), 17, "session[0].id", "openssl rand -hex 32"},
      {"session of a route", with("session = \"b\"", "session = \"bb\""), 24, "route[0].session",
       "did you mean \"b\"?"},
      {"host bits", with("10.0.2.0/24", "10.0.2.7/24"), 23, "route[0].prefix", "write 10.0.2.0/24"},
      {"connected", with("10.0.2.0/24", "10.0.1.0/24"), 23, "route[0].prefix", "connected to port \"lan\""},
      {"route twice", plus(route + "\"10.0.2.0/24\"\nsession = \"b\"\n"), 26, "route[1].prefix",
       "route[0].prefix (line 23)"},
      {"no target", plus(route + "\"10.0.3.0/24\"\n"), 25, "route[1]", "either session or lan_gateway"},
      {"gateway off link", plus(route + "\"10.0.3.0/24\"\nlan_gateway = \"10.0.9.1\"\n"), 27,
       "route[1].lan_gateway", "LAN port"},
      {"gateway is ours", plus(route + "\"10.0.3.0/24\"\nlan_gateway = \"10.0.1.1\"\n"), 27,
       "route[1].lan_gateway", "LAN port"},
      {"gateway4 off link", with("role = \"lan\"", "role = \"lan\"\ngateway4 = \"10.9.9.9\""), 8,
       "port[0].gateway4", "must lie in the prefix"},
      {"overlap", with("192.0.2.1/24", "192.0.2.1/24\", \"10.0.1.9/16"), 13, "port[1].addresses[1]",
       "overlaps 10.0.1.1/24"},
      {"address twice", with("192.0.2.1/24", "192.0.2.1/24\", \"10.0.1.1/24"), 13, "port[1].addresses[1]",
       "equals 10.0.1.1/24"},
      {"device twice", with("net_null1", "net_null0,x=1"), 11, "port[1].device", "port[0].device (line 6)"},
      {"name twice", with("name = \"wan\"", "name = \"lan\""), 10, "port[1].name", "port[0].name (line 5)"},
      {"mtu", with("role = \"lan\"", "mtu = 4000\nrole = \"lan\""), 7, "port[0].mtu", "data_room_bytes"},
      {"range", plus("[cores]\nburst = 65\n"), 26, "cores.burst", "from 1 to 64, found 65"},
      {"negative", plus("[cores]\nburst = -1\n"), 26, "cores.burst", "found -1"},
      {"power of two", plus("[limits]\nwindow_bits = 3000\n"), 26, "limits.window_bits", "use 2048 or 4096"},
      {"more sessions than a route can name", plus("[limits]\nsessions = 4194305\n"), 26, "limits.sessions",
       "from 1 to 4194304"},
      {"memory", plus("[limits]\nsessions = 4000000\nwindows = 200000000\nwindow_bits = 65536\n"), 25,
       "limits", "this machine's"},
      {"too few keys",
       plus("[limits]\nkeys = 8\n[[session]]\nname = \"c\"\nid = \"" + std::string(64, 'a') +
            "\"\nsecret_file = \"c\"\nrole = \"initiator\"\nlocal = \"192.0.2.1:4500\"\n"),
       26, "limits.keys", "at least 12"},
      {"duration", with("role = \"initiator\"", "rekey = { interval = \"1\" }\nrole = \"initiator\""), 19,
       "session[0].rekey.interval", "units are"},
      {"rekey key", with("role = \"initiator\"", "rekey = { intervall = \"1s\" }\nrole = \"initiator\""), 19,
       "session[0].rekey.intervall", "did you mean \"interval\"?"},
      {"streams", with("role = \"initiator\"", "streams = 32\nrole = \"initiator\""), 19,
       "session[0].streams", "from 1 to 31"},
      {"peer family", with("role = \"initiator\"", "peer = \"[2001:db8::2]:1\"\nrole = \"initiator\""), 19,
       "session[0].peer", "same address family"},
      {"syntax", with("name = \"a\"", "name = "), 2, "", "TOML"},
  };
  expect_each(rows);
}

// The greatest number of sessions that a file may ask for.
TEST_F(Config, ARouteNamesTheLastOfTheMostSessions) {
  constexpr std::uint32_t kMost = 4'194'304;
  const auto hop = dataplane::Hop::make(dataplane::HopKind::kSession, 63, kMost - 1);
  EXPECT_EQ(hop.value(), kMost - 1);
  EXPECT_EQ(hop.shard(), 63U);
  EXPECT_EQ(hop.kind(), dataplane::HopKind::kSession);
  load(plus("[limits]\nsessions = 4194304\n"));  // this machine's memory may be too small for it
  EXPECT_EQ(all().find("limits.sessions:"), std::string::npos) << all();
}

TEST_F(Config, AllMistakesAreReportedAtOnce) {
  std::string text = with("name = \"a\"", "nam = \"a\"");
  text.replace(text.find("10.0.2.0/24"), 11, "10.0.2.0/99");
  text.replace(text.find("role = \"initiator\""), 18, "role = \"boss\"");
  text += "[cores]\nworkers = 0\n";
  EXPECT_FALSE(load(text));
  EXPECT_EQ(errors_.size(), 4U) << all();
}

TEST_F(Config, MissingFileIsNamed) {
  EXPECT_FALSE(load_config((folder_ / "none.toml").string(), errors_));
  ASSERT_EQ(errors_.size(), 1U);
  EXPECT_NE(errors_[0].text().find("none.toml"), std::string::npos);
}

TEST_F(Config, EmptyFileLacksEverything) {
  EXPECT_FALSE(load(""));
  EXPECT_GE(errors_.size(), 2U) << all();
}

class Secret : public Config {
 protected:
  std::optional<ConfigError> read(const std::string& path) {
    SessionEntry entry;
    entry.secret_file = path;
    return load_secret(entry, secret_);
  }
  crypto::TrafficSecret secret_;
};

TEST_F(Secret, HexAndRawAreRead) {
  for (const char* end : {"", "\n", "\r\n"}) {
    ASSERT_FALSE(read(write("s", kSecret + end)));
    EXPECT_EQ(secret_.data()[31], 0xff);
    EXPECT_EQ(secret_.data()[1], 0x11);
  }
  ASSERT_FALSE(read(write("s", "0123456789abcdef0123456789abcdef", 0400)));
  EXPECT_EQ(secret_.data()[0], '0');
}

TEST_F(Secret, ReadableByOthersIsRefused) {
  for (const mode_t mode : {0640, 0604, 0660, 0601}) {
    const auto error = read(write("s", kSecret, mode));
    ASSERT_TRUE(error);
    EXPECT_NE(error->text().find("chmod 600"), std::string::npos);
  }
}

TEST_F(Secret, WrongContentsAreRefused) {
  for (const std::string& text :
       {std::string(), std::string(31, 'a'), std::string(63, 'a'), kSecret + "00", kSecret + "\n\n\n",
        std::string(63, 'a') + "g", std::string(10'000, 'a'), std::string(64, '0'), std::string(32, '\0')}) {
    EXPECT_TRUE(read(write("s", text))) << text.size();
  }
}

TEST_F(Secret, OnlyRegularFiles) {
  const std::string target = write("target", kSecret);
  const std::string link = (folder_ / "link").string();
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  const auto error = read(link);
  ASSERT_TRUE(error);
  EXPECT_NE(error->text().find("symbolic link"), std::string::npos);
  EXPECT_TRUE(read(folder_.string()));
  EXPECT_TRUE(read((folder_ / "none").string()));
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(read(pipe));
}

TEST_F(Secret, ForeignOwnerIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::string path = write("s", kSecret);
  ASSERT_EQ(chown(path.c_str(), 12345, 0), 0);
  const auto error = read(path);
  ASSERT_TRUE(error);
  EXPECT_NE(error->text().find("12345"), std::string::npos);
}

TEST_F(Secret, TwiceInOneRoleIsRefused) {
  const std::string second = "[[session]]\nname = \"c\"\nid = \"" + std::string(64, 'a') +
                             "\"\nsecret_file = \"c.secret\"\nlocal = \"192.0.2.1:4500\"\nrole = ";
  write("b.secret", kSecret);
  write("c.secret", kSecret + "\n");
  auto c = load(plus(second + "\"initiator\"\n"));
  ASSERT_TRUE(c) << all();
  check_secrets(*c, errors_);
  ASSERT_EQ(errors_.size(), 1U);
  EXPECT_EQ(errors_[0].line, 25);
  EXPECT_EQ(errors_[0].field, "session[1].secret_file");
  EXPECT_NE(errors_[0].text().find("session \"b\" has the same secret"), std::string::npos);
  c = load(plus(second + "\"responder\"\n"));
  ASSERT_TRUE(c) << all();
  check_secrets(*c, errors_);
  EXPECT_TRUE(errors_.empty()) << all();
}

TEST_F(Secret, AllBadFilesAreReportedWithTheirLine) {
  const auto c = load(kGood);
  ASSERT_TRUE(c) << all();
  check_secrets(*c, errors_);
  ASSERT_EQ(errors_.size(), 1U);
  EXPECT_EQ(errors_[0].line, 15);
  EXPECT_NE(errors_[0].text().find("gateway.toml:15: session[0].secret_file"), std::string::npos) << all();
}

TEST(AddressText, EveryFormComesBack) {
  EXPECT_EQ(to_text(parse_prefix("fd00::1/64").value()), "fd00::1/64");
  EXPECT_EQ(to_text(network_of(parse_prefix("10.1.2.3/9").value())), "10.0.0.0/9");
  EXPECT_EQ(to_text(network_of(parse_prefix("10.1.2.3/0").value())), "0.0.0.0/0");
  EXPECT_EQ(to_text(network_of(parse_prefix("fd00:1:2:3::1/57").value())), "fd00:1:2::/57");
  EXPECT_EQ(to_text(parse_endpoint("[2001:db8::1]:4500").value()), "[2001:db8::1]:4500");
  EXPECT_EQ(to_text(parse_mac("0A:bc:00:01:02:ff").value()), "0a:bc:00:01:02:ff");
  for (const char* text :
       {"", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/+1", "10.0.0/8", "::/129", "10.0.0.1/08x"}) {
    EXPECT_FALSE(parse_prefix(text)) << text;
  }
  for (const char* text :
       {"", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "2001:db8::1:5", "[1.2.3.4]:5", "[::1]"}) {
    EXPECT_FALSE(parse_endpoint(text)) << text;
  }
  EXPECT_EQ(parse_duration_ns("1500us").value(), 1'500'000U);
  EXPECT_EQ(parse_duration_ns("24h").value(), 86'400'000'000'000U);
  for (const char* text : {"", "s", "5", "5 s", "-1s", "25h", "1.5s", "99999999999999999999s", "5sec"}) {
    EXPECT_FALSE(parse_duration_ns(text)) << text;
  }
}

TEST(AddressText, OverlapIsContainmentEitherWay) {
  const auto p = [](const char* text) { return parse_prefix(text).value(); };
  EXPECT_TRUE(overlap(p("10.0.0.0/8"), p("10.1.2.3/24")));
  EXPECT_TRUE(overlap(p("10.1.2.3/24"), p("10.0.0.0/8")));
  EXPECT_FALSE(overlap(p("10.1.2.0/24"), p("10.1.3.0/24")));
  EXPECT_FALSE(overlap(p("0.0.0.0/0"), p("::/0")));
}

TEST_F(Config, LivesOfSessionsAreRead) {
  const auto defaults = load(kGood);
  ASSERT_TRUE(defaults) << all();
  EXPECT_EQ(defaults->sessions[0].policy.idle_timeout_ns, 0U) << "never";
  EXPECT_EQ(defaults->sessions[0].on_idle, OnIdle::kClose);
  EXPECT_EQ(defaults->sessions[0].policy.budget_warning_ns, 24ULL * 3600 * 1'000'000'000);
  EXPECT_EQ(defaults->replace_timeout_ns, 600ULL * 1'000'000'000);
  const std::string role = "role = \"initiator\"\n";
  std::string text =
      with(role, role + "idle_timeout = \"1s\"\non_idle = \"remove\"\nbudget_warning = \"0s\"\n");
  text.insert(text.find("[[port]]"), "replace_timeout = \"100ms\"\n");
  const auto c = load(text);
  ASSERT_TRUE(c) << all();
  EXPECT_EQ(c->sessions[0].policy.idle_timeout_ns, 1'000'000'000U);
  EXPECT_EQ(c->sessions[0].on_idle, OnIdle::kRemove);
  EXPECT_EQ(c->sessions[0].policy.budget_warning_ns, 0U);
  EXPECT_EQ(c->replace_timeout_ns, 100'000'000U);
  EXPECT_TRUE(load(with(role, role + "idle_timeout = \"0s\"\non_idle = \"close\"\n"))) << all();
}

TEST_F(Config, BadLivesOfSessionsAreNamed) {
  const std::string role = "role = \"initiator\"\n";
  const auto life = [&](const std::string& line) { return with(role, role + line + "\n"); };
  const auto gateway = [](const std::string& line) {
    return with("state_dir = \"state\"\n", "state_dir = \"state\"\n" + line + "\n");
  };
  const std::vector<Bad> rows = {
      {"idle too short", life("idle_timeout = \"999ms\""), 20, "session[0].idle_timeout", "at least 1 s"},
      {"idle too long", life("idle_timeout = \"25h\""), 20, "session[0].idle_timeout", "at most a day"},
      {"idle without unit", life("idle_timeout = \"30\""), 20, "session[0].idle_timeout", "units are"},
      {"idle a number", life("idle_timeout = 30"), 20, "session[0].idle_timeout", "a time with unit"},
      {"idle below zero", life("idle_timeout = \"-1s\""), 20, "session[0].idle_timeout", "a time with unit"},
      {"what on idle", life("on_idle = \"drop\""), 20, "session[0].on_idle", "remove"},
      {"on idle no text", life("on_idle = true"), 20, "session[0].on_idle", "close"},
      {"warning no time", life("budget_warning = \"soon\""), 20, "session[0].budget_warning", "units are"},
      {"warning a number", life("budget_warning = 5"), 20, "session[0].budget_warning", "a time with unit"},
      {"replace too short", gateway("replace_timeout = \"99ms\""), 4, "gateway.replace_timeout",
       "at least 100 ms"},
      {"replace too long", gateway("replace_timeout = \"2000h\""), 4, "gateway.replace_timeout",
       "at most a day"},
      {"replace a list", gateway("replace_timeout = [1]"), 4, "gateway.replace_timeout", "a time with unit"},
      {"misspelt", life("idle_timeot = \"5s\""), 20, "session[0].idle_timeot", "idle_timeout"},
  };
  expect_each(rows);
}

}  // namespace
}  // namespace dataplane
