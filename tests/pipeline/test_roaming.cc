// Sessions that move, through two complete gateways: new addresses, ports and families under traffic, spoofed
// sources, floods of them, policies, restarts.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "dataplane/address_text.h"
#include "dataplane/flow_steering.h"
#include "dataplane/session_paths.h"
#include "session/session.h"
#include "tests/support/roaming.h"

namespace {

using namespace support;
using session::Endpoint;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;

bool same_host(const Endpoint& a, const Endpoint& b) {
  return a.family == b.family && a.address == b.address && a.port == b.port;
}

// A network address translator in front of A: what A sends comes from `outside`, and whatever was its address
// once still reaches it, unless `cut`.
class Nat {
 public:
  explicit Nat(Network& net) : net_(net) {
    net.wire = [this](Transit& t) { return translate(t); };
  }
  void rebind(const Endpoint& to) {
    if (cut) known_.clear();
    outside_[to.family] = to;
    known_.insert(key(to));
  }
  // Bytes of IP packets to and from everything that was never rebound to.
  bool cut = false;
  std::function<bool(Transit&)> tap;
  std::map<std::string, std::uint64_t> sent_to;

 private:
  static std::string key(const Endpoint& e) { return dataplane::to_text(e); }
  bool translate(Transit& t) {
    if (tap && !tap(t)) return false;
    if (t.from_a) {
      const auto at = outside_.find(t.from.family);
      if (at != outside_.end()) t.from = at->second;
      return true;
    }
    sent_to[key(t.to)] += t.bytes + (t.to.family == 4 ? 28 : 48);
    const Endpoint ours = net_.a.wan(t.to.family);
    if (same_host(t.to, ours)) return outside_.count(t.to.family) == 0 || !cut;
    if (!known_.contains(key(t.to))) return false;
    t.to = ours;
    return true;
  }
  Network& net_;
  std::map<std::uint8_t, Endpoint> outside_;
  std::set<std::string> known_;
};

struct Counted {
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
};

// `n` packets each way, one a millisecond; a flow whose session has number 0.
struct Traffic {
  Network& net;
  Counted to_b, to_a;
  void run(unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      net.a.send(0);
      net.b.send(0);
      ++to_b.sent;
      ++to_a.sent;
      net.pass(kMs, kMs);
      to_b.arrived += net.b.delivered();
      to_a.arrived += net.a.delivered();
    }
  }
  void expect_no_loss() const {
    EXPECT_EQ(to_b.arrived, to_b.sent);
    EXPECT_EQ(to_a.arrived, to_a.sent);
  }
};

struct Roaming : testing::Test {
  unsigned free_before = free_packets();
  void TearDown() override { EXPECT_EQ(free_packets(), free_before); }
};

TEST_F(Roaming, TenAddressesAndPortsUnderTrafficWithoutLoss) {
  Network net;
  net.add_pair(0);
  net.start();
  Nat nat(net);
  Traffic traffic{net, {}, {}};
  traffic.run(200);
  for (unsigned i = 0; i < 10; ++i) {
    const auto last = static_cast<std::uint16_t>(10 + i / 2);
    const Endpoint outside =
        endpoint("203.0.113." + std::to_string(last), static_cast<std::uint16_t>(1000 + i % 2));
    nat.rebind(outside);
    traffic.run(300);
    const dataplane::SessionView view = net.b.view();
    EXPECT_EQ(view.peer, dataplane::to_text(outside));
    EXPECT_EQ(view.paths.at(0).migrations, i + 1U);
    EXPECT_EQ(view.state, session::LifeState::kConnected);
  }
  traffic.expect_no_loss();
  EXPECT_EQ(net.a.drops() + net.b.drops(), 0U);
  EXPECT_TRUE(net.a.balanced());
  EXPECT_TRUE(net.b.balanced());
}

TEST_F(Roaming, OldAddressCutAtOnceIsFoundByTheNewOne) {
  Network net;
  net.add_pair(0);
  net.start();
  Nat nat(net);
  nat.cut = true;
  Traffic traffic{net, {}, {}};
  traffic.run(200);
  traffic.expect_no_loss();
  for (unsigned i = 0; i < 5; ++i) {
    nat.rebind(endpoint("203.0.113.9", static_cast<std::uint16_t>(2000 + i)));
    const std::uint64_t lost_before = traffic.to_a.sent - traffic.to_a.arrived;
    traffic.run(300);
    EXPECT_LE(traffic.to_a.sent - traffic.to_a.arrived - lost_before, 5U) << "a few round trips of nothing";
  }
  EXPECT_EQ(traffic.to_b.arrived, traffic.to_b.sent);
  EXPECT_TRUE(net.a.balanced());
  EXPECT_TRUE(net.b.balanced());
}

TEST_F(Roaming, FromOneFamilyToTheOtherAndBack) {
  Network net;
  net.add_pair(0);
  net.start();
  Traffic traffic{net, {}, {}};
  traffic.run(200);
  for (const std::uint8_t family : std::initializer_list<std::uint8_t>{6, 4, 6}) {
    ASSERT_EQ(net.a.control->path_migrate("s0", 0, net.a.wan(family), net.b.wan(family)), "");
    traffic.run(400);
    EXPECT_EQ(net.a.view().peer, dataplane::to_text(net.b.wan(family)));
    EXPECT_EQ(net.b.view().peer, dataplane::to_text(net.a.wan(family)));
  }
  traffic.expect_no_loss();
  EXPECT_TRUE(net.a.balanced());
  EXPECT_TRUE(net.b.balanced());
}

// The family of our end follows that of the peer's when only the peer's is named.
TEST_F(Roaming, OperatorNamesOneEnd) {
  Network net;
  net.add_pair(0);
  net.start();
  Traffic traffic{net, {}, {}};
  traffic.run(50);
  ASSERT_EQ(net.a.control->path_migrate("s0", 0, {}, net.b.wan(6)), "");
  traffic.run(300);
  EXPECT_EQ(net.a.view().peer, dataplane::to_text(net.b.wan(6)));
  ASSERT_EQ(net.a.control->path_migrate("s0", 0, net.a.wan(6, 5555), {}), "");
  traffic.run(300);
  EXPECT_EQ(net.b.view().peer, dataplane::to_text(net.a.wan(6, 5555)));
  EXPECT_EQ(net.a.control->path_probe("s0", 0), "");
  traffic.run(50);
  traffic.expect_no_loss();
}

TEST_F(Roaming, OperatorIsToldWhatCannotBe) {
  Network net;
  net.add_pair(0);
  net.start();
  dataplane::Control& c = *net.a.control;
  const auto says = [](const std::string& message, const char* part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  says(c.path_migrate("s9", 0, {}, net.b.wan()), "no session is named \"s9\"");
  says(c.path_migrate("s0", 1, {}, net.b.wan()), "has 1 path(s)");
  says(c.path_migrate("s0", 0, {}, {}), "name local, peer or both");
  says(c.path_migrate("s0", 0, endpoint("192.0.2.77", 4500), {}), "not an address of a WAN port");
  says(c.path_migrate("s0", 0, endpoint("10.1.0.1", 4500), {}), "not an address of a WAN port");
  says(c.path_migrate("s0", 0, {}, endpoint("224.0.0.1", 4500)), "not the address of another host");
  says(c.path_migrate("s0", 0, {}, net.a.wan()), "not the address of another host");
  says(c.path_migrate("s0", 0, net.a.wan(6), net.b.wan(4)), "no way from");
  says(c.path_migrate("s0", 0, net.a.wan(), net.b.wan()), "is there already");
  says(c.path_probe("s0", 3), "has 1 path(s)");
}

struct Captured {
  Bytes payload;
  Endpoint to;
};

// A packet of A that somebody sends again from elsewhere: after the original it is a replay, before it the
// original is one. Neither moves traffic.
TEST_F(Roaming, SpoofedSourcesMoveNothing) {
  Network net;
  net.add_pair(0);
  net.start();
  Nat nat(net);
  Traffic traffic{net, {}, {}};
  traffic.run(200);
  const Endpoint attacker = endpoint("203.0.113.66", 666);
  bool before = false;
  std::uint64_t spoofed_bytes = 0;
  std::vector<Captured> copies;
  nat.tap = [&](Transit& t) {
    if (!t.from_a || t.bytes == 101) return true;
    copies.push_back({Bytes(t.payload, t.payload + t.bytes), t.to});
    spoofed_bytes += t.bytes + 28;
    return !before;
  };
  for (const bool first : {false, true}) {
    before = first;
    for (unsigned i = 0; i < 300; ++i) {
      copies.clear();
      traffic.run(1);
      for (const Captured& c : copies) net.inject(false, c.payload, attacker, c.to);
      net.settle();
    }
  }
  nat.tap = {};
  traffic.run(300);
  const dataplane::SessionView view = net.b.view();
  EXPECT_EQ(view.peer, dataplane::to_text(net.a.wan()));
  EXPECT_EQ(view.paths.at(0).migrations, 0U);
  EXPECT_EQ(traffic.to_a.arrived, traffic.to_a.sent) << "towards A nothing ever changed";
  EXPECT_LT(nat.sent_to[dataplane::to_text(attacker)], 3 * spoofed_bytes);
  EXPECT_TRUE(net.b.balanced());
}

// Every packet comes first from an address of its own that nobody answers at.
TEST_F(Roaming, AFloodOfSourcesIsBounded) {
  Network net;
  net.add_pair(0);
  net.start();
  Nat nat(net);
  Traffic traffic{net, {}, {}};
  traffic.run(100);
  const std::size_t neighbours = net.b.control->neighbours().size();
  const std::uint64_t probes = net.b.control->path_counters().probes;
  std::vector<Captured> stolen;
  nat.tap = [&](Transit& t) {
    if (!t.from_a || t.bytes == 101) return true;
    stolen.push_back({Bytes(t.payload, t.payload + t.bytes), t.to});
    return false;
  };
  std::uint64_t spoofed_bytes = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    stolen.clear();
    traffic.run(1);
    for (const Captured& c : stolen) {
      Endpoint from = endpoint("203.0.113.0", static_cast<std::uint16_t>(1 + i));
      from.address[3] = static_cast<std::uint8_t>(i % 250);
      net.inject(false, c.payload, from, c.to);
      spoofed_bytes += c.payload.size() + 28;
    }
    net.settle();
  }
  EXPECT_EQ(net.b.view().paths.at(0).migrations, 0U);
  EXPECT_LE(net.b.control->path_counters().probes - probes, 3U * 70 + 10) << "hints are limited a second";
  std::uint64_t answered = 0;
  for (const auto& [to, bytes] : nat.sent_to) {
    if (to.starts_with("203.0.113.")) answered += bytes;
  }
  EXPECT_LT(answered, 3 * spoofed_bytes);
  nat.tap = {};
  net.pass(5 * kS, 100 * kMs);
  EXPECT_LE(net.b.control->neighbours().size(), neighbours);
  traffic.run(100);
  EXPECT_EQ(traffic.to_a.arrived, traffic.to_a.sent);
  EXPECT_TRUE(net.b.balanced());
}

TEST_F(Roaming, PolicyOffStaysWhereItIs) {
  Network net;
  net.add_pair(0, [](dataplane::SessionEntry& e) { e.paths.migration = session::MigrationPolicy::kOff; });
  net.start();
  Nat nat(net);
  Traffic traffic{net, {}, {}};
  traffic.run(100);
  nat.rebind(endpoint("203.0.113.5", 1000));
  traffic.run(500);
  EXPECT_EQ(net.b.view().peer, dataplane::to_text(net.a.wan()));
  EXPECT_EQ(net.b.view().paths.at(0).migrations, 0U);
  EXPECT_EQ(nat.sent_to.count("203.0.113.5:1000"), 0U) << "not even a challenge";
  EXPECT_EQ(traffic.to_b.arrived, traffic.to_b.sent) << "authentic packets are taken from anywhere";
}

TEST_F(Roaming, UnknownPeerIsLearnt) {
  Network net;
  net.a.add_session(0, net.b.wan());
  net.b.add_session(0, Endpoint{});
  net.start();
  Traffic traffic{net, {}, {}};
  traffic.run(300);
  EXPECT_EQ(net.b.view().peer, dataplane::to_text(net.a.wan()));
  EXPECT_EQ(traffic.to_b.arrived, traffic.to_b.sent);
  const Counted before = traffic.to_a;
  traffic.run(100);
  EXPECT_EQ(traffic.to_a.arrived - before.arrived, 100U);
}

// B forgets everything but its store, where A's last validated address is.
TEST_F(Roaming, ARestartAfterARoamFindsThePeerAgain) {
  for (const bool prefer_stored : {false, true}) {
    Network net;
    net.add_pair(0, [&](dataplane::SessionEntry& e) { e.prefer_stored_peer = prefer_stored; });
    net.start();
    Nat nat(net);
    Traffic traffic{net, {}, {}};
    traffic.run(100);
    nat.cut = true;
    nat.rebind(endpoint("203.0.113.5", 1000));
    traffic.run(500);
    net.pass(120 * kS, kS);
    ASSERT_EQ(net.b.view().peer, "203.0.113.5:1000");
    net.b.restart([&net] { return net.now_ns; });
    net.settle();
    if (prefer_stored) {
      EXPECT_EQ(net.b.view().peer, "203.0.113.5:1000");
    }
    // A is silent: B must find it.
    net.pass(10 * kS, 50 * kMs);
    EXPECT_EQ(net.b.view().peer, "203.0.113.5:1000") << prefer_stored;
    EXPECT_TRUE(net.b.view().heard);
  }
}

TEST_F(Roaming, TwoWorkersHandOverWhatComesToTheWrongOne) {
  GatewayOptions options;
  options.workers = 2;
  Network net(options);
  net.add_pair(0);
  net.start();
  const unsigned owner = net.b.view().worker;
  Nat nat(net);
  nat.tap = [&](Transit& t) {
    t.queue = t.from_a ? 1 - owner : 0;
    return true;
  };
  Traffic traffic{net, {}, {}};
  nat.rebind(endpoint("203.0.113.5", 1000));
  traffic.run(500);
  traffic.expect_no_loss();
  EXPECT_EQ(net.b.view().peer, "203.0.113.5:1000");
  EXPECT_GE(net.b.view().handed_over, 500U);
  EXPECT_FALSE(net.b.view().steered);
  EXPECT_GT(net.b.control->steering().unsupported, 0U) << "ring ports take no rules";
  EXPECT_TRUE(net.b.balanced());
}

// A session object without any idea of addresses: it answers challenges on whatever path id they come, and
// knows path 0 alone.
struct UnmodifiedPeer {
  Network& net;
  Endpoint at;
  crypto::Aead aead;
  session::MemoryStore store;
  session::Session session;
  std::uint64_t data = 0;
  std::set<unsigned> data_paths;

  static session::SessionConfig config() {
    session::SessionConfig c;
    c.identity.name = "peer";
    c.identity.id = roaming_id(0);
    c.identity.role = session::Role::kInitiator;
    return c;
  }
  UnmodifiedPeer(Network& network, const Endpoint& from)
      : net(network),
        at(from),
        session(config(), crypto::TrafficSecret::from(roaming_secret(0)), aead, store, network.now_ns) {
    net.wire = [this](Transit& t) {
      if (t.to == at) receive(t);
      return false;
    };
  }
  void receive(const Transit& t) {
    const auto got = session.receive({t.payload, t.bytes}, net.now_ns);
    if (got.kind == session::Received::Kind::kData && !got.payloads.empty()) {
      ++data;
      data_paths.insert(got.path);
    }
  }
  void speak() {
    const Bytes inner = ip_packet({"10.64.0.9", "10.128.0.9", 17, 64, 0, 1, 0, {}}, udp(1, 2, pattern(64)));
    const auto out =
        session.send(1, session::kFlagEncrypted | session::kFlagUnreliable, inner, 0, net.now_ns);
    net.inject(false, out.datagram, at, net.b.wan());
    flush();
  }
  void flush() {
    net.settle();
    std::vector<std::uint8_t> more;
    while (session.next_datagram(more)) {
      net.inject(false, more, at, net.b.wan());
      net.settle();
    }
  }
};

TEST_F(Roaming, AnUnmodifiedPeerIsFollowedOnPath0) {
  Network net;
  dataplane::SessionEntry& entry = net.b.add_session(0, endpoint("203.0.113.1", 1000));
  entry.policy.unmodified_peer = true;
  entry.paths.unmodified_peer = true;
  net.b.start([&net] { return net.now_ns; });
  net.settle();
  UnmodifiedPeer peer(net, endpoint("203.0.113.1", 1000));
  std::uint64_t spoken = 0;
  std::uint64_t arrived = 0;
  std::uint64_t sent = 0;
  for (unsigned move = 0; move < 5; ++move) {
    peer.at.port = static_cast<std::uint16_t>(1000 + move);
    for (unsigned i = 0; i < 300; ++i) {
      peer.speak();
      ++spoken;
      net.now_ns += kMs;
      net.b.poll();
      peer.flush();
      if (i < 150) continue;  // it has moved by then
      net.b.send(0);
      ++sent;
      peer.flush();
    }
    arrived += net.b.delivered();
    EXPECT_EQ(net.b.view().peer, dataplane::to_text(peer.at));
  }
  EXPECT_EQ(arrived, spoken);
  EXPECT_EQ(peer.data, sent);
  EXPECT_EQ(peer.data_paths, std::set<unsigned>{0});
  EXPECT_EQ(net.b.view().paths.at(0).migrations, 4U);
  EXPECT_TRUE(net.b.balanced());
}

TEST_F(Roaming, TwoWaysCarryTrafficTwice) {
  Network net;
  for (End* end : {&net.a, &net.b}) {
    End& other = end == &net.a ? net.b : net.a;
    dataplane::SessionEntry& entry = end->add_session(0, other.wan());
    entry.more_paths = {{end->wan(6), other.wan(6)}};
    entry.paths.scheduler = session::PathScheduler::kDuplicate;
  }
  net.start();
  net.pass(2 * kS);
  Traffic traffic{net, {}, {}};
  traffic.run(100);
  bool dead = true;
  net.wire = [&](Transit& t) { return !(dead && t.from.family == 4); };
  traffic.run(400);
  traffic.expect_no_loss();
  const dataplane::SessionView view = net.b.view();
  ASSERT_EQ(view.paths.size(), 2U);
  EXPECT_EQ(view.path_counters.size(), 2U);
  EXPECT_GE(view.path_counters[1].rx_pkts, 400U);
  dead = false;
  traffic.run(3000);
  traffic.expect_no_loss();
  EXPECT_TRUE(net.a.balanced());
  EXPECT_TRUE(net.b.balanced());
}

}  // namespace
