// Attacks on paths through two complete gateways: authentic peers that flood challenges, guesses of echoes,
// captured packets sent again from elsewhere (protocol.md 10; W-05, W-16, W-17).
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include <gtest/gtest.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include "dataplane/address_text.h"
#include "dataplane/session_paths.h"
#include "session/session.h"
#include "tests/support/roaming.h"

namespace {

using namespace support;
using session::DropReason;
using session::Endpoint;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;
constexpr unsigned kChallengeBytes = 101;  // of UDP payload
constexpr std::uint8_t kFirstId = session::PathManager::kFirstChallengeId;
constexpr std::uint8_t kLastId = session::PathManager::kLastChallengeId;

std::uint64_t ip_bytes(const Endpoint& at, std::size_t udp_payload) {
  return udp_payload + (at.family == 4 ? 28 : 48);
}

session::PathChallenge value_of(std::uint64_t n) {
  session::PathChallenge value{};
  std::memcpy(value.data(), &n, sizeof n);
  value[31] = 0x5a;
  return value;
}

// What a PATH_VALIDATION packet of B says.
struct Asked {
  std::uint8_t id = 0;
  session::PathChallenge value{};
};

// The other end of a session of B, in the hands of somebody who has its keys and no manners: it seals what it
// likes and sends it from wherever it likes.
class HostilePeer {
 public:
  HostilePeer(Network& net, unsigned number)
      : net_(net),
        session_(config(number), crypto::TrafficSecret::from(roaming_secret(number)), aead_, store_,
                 net.now_ns) {}
  Bytes challenge(const Asked& what) {
    return session_.send(0, session::kFlagPathValidation, what.value, what.id, net_.now_ns).datagram;
  }
  // The shortest packet that carries anything.
  Bytes data() { return session_.send(1, session::kFlagUnreliable, Bytes(1), 0, net_.now_ns).datagram; }
  // What B asks, if it is a question. Whether it is answered is for the caller to say, with challenge().
  std::optional<Asked> read(const Transit& t) {
    const auto got = session_.receive({t.payload, t.bytes}, net_.now_ns);
    Bytes unwanted;
    while (session_.next_datagram(unwanted)) {
    }
    if (got.kind != session::Received::Kind::kPathEcho) return std::nullopt;
    Asked asked{got.path, {}};
    std::copy(got.payloads[0].begin(), got.payloads[0].end(), asked.value.begin());
    return asked;
  }

 private:
  static session::SessionConfig config(unsigned number) {
    session::SessionConfig c;
    c.identity.name = "hostile";
    c.identity.id = roaming_id(number);
    c.identity.role = session::Role::kInitiator;
    c.policy.echo_burst = c.policy.echoes_per_second = 1U << 20;  // it reads everything
    return c;
  }
  Network& net_;
  crypto::Aead aead_;
  session::MemoryStore store_;
  session::Session session_;
};

// A session between A and B that has nothing to do with it all; A sits behind an address translator.
struct Bystander {
  Network& net;
  unsigned number;
  Endpoint outside = net.a.wan();
  std::uint64_t sent = 0;
  std::uint64_t at_a = 0;
  std::uint64_t at_b = 0;

  // True: this datagram is its business.
  bool carry(Transit& t) {
    if (t.from_a) {
      t.from = outside;
      return true;
    }
    // The translator forgets no port: what was an address once still leads there.
    if (!(t.to == net.a.wan()) && t.to.address != outside.address) return false;
    t.to = net.a.wan();
    return true;
  }
  // A millisecond with a packet each way.
  void speak() {
    net.a.send(number);
    net.b.send(number);
    ++sent;
    net.pass(kMs, kMs);
    at_a += net.a.delivered();
    at_b += net.b.delivered();
  }
  void expect_no_loss() const {
    EXPECT_EQ(at_a, sent);
    EXPECT_EQ(at_b, sent);
  }
};

std::uint64_t heap_bytes() {
  return mallinfo2().uordblks;
}

struct PathAttacks : testing::Test {
  unsigned free_before = free_packets();
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
  void TearDown() override { EXPECT_EQ(free_packets(), free_before); }

  static GatewayOptions options() {
    GatewayOptions o;
    o.ring_size = 4096;
    return o;
  }
};

// ---- floods of challenges

// 20 packets a millisecond: challenges from the peer's own address, on ids that nobody knows and on those
// that B uses; challenges and the shortest data, each from an address that says nothing else and never
// answers.
class ChallengeFlood {
 public:
  static constexpr unsigned kPerMs = 20;
  static constexpr unsigned kAddresses = 100'000;  // enough for each to send one packet

  ChallengeFlood() : net(PathAttacks::options()), peer(net, 0), other{net, 1} {
    net.b.add_session(0, home);
    net.add_pair(1);
    net.start();
    net.wire = [this](Transit& t) {
      if (other.carry(t)) return true;
      take(t);
      return false;
    };
  }
  void run_ms() {
    for (unsigned i = 0; i < kPerMs; ++i) send();
    other.speak();
    for (const Asked& asked : asked_at_home) give(peer.challenge(asked), home);
    asked_at_home.clear();
  }
  // The largest of all strangers' bytes out for bytes in.
  [[nodiscard]] double amplification() const {
    double worst = 0;
    for (unsigned i = 0; i < kAddresses; ++i) {
      if (out[i] == 0) continue;
      worst = std::max(worst, in[i] == 0 ? 1e9 : static_cast<double>(out[i]) / static_cast<double>(in[i]));
    }
    return worst;
  }

  Network net;
  Endpoint home = endpoint("203.0.113.1", 1000);
  HostilePeer peer;
  Bystander other;
  std::uint64_t challenges = 0;
  std::uint64_t packets_home = 0;
  std::uint64_t packets_elsewhere = 0;
  std::uint64_t unexpected = 0;

 private:
  static Endpoint stranger(unsigned i) {
    Endpoint e;
    e.family = 4;
    e.address = {198, 18, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)};
    e.port = static_cast<std::uint16_t>(1 + (i >> 16));
    return e;
  }
  void give(const Bytes& packet, const Endpoint& from) { net.inject(false, packet, from, net.b.wan()); }
  void send() {
    const std::uint64_t n = count++;
    const unsigned address = static_cast<unsigned>((n / 4 * 2 + n % 2) % kAddresses);
    const auto any = static_cast<std::uint8_t>(n * 7);
    constexpr std::uint8_t kOurs[] = {0, 255, 1, kFirstId, kLastId};
    switch (n % 4) {
      case 0:
        return flood(Asked{any, value_of(n)}, home);
      case 1:
        return flood(Asked{kOurs[n / 4 % 5], value_of(n % 100)}, home);
      case 2:
        in[address] += ip_bytes(home, kChallengeBytes);
        return flood(Asked{any, value_of(n)}, stranger(address));
      default: {
        const Bytes packet = peer.data();
        in[address] += ip_bytes(home, packet.size());
        give(packet, stranger(address));
      }
    }
  }
  void flood(const Asked& what, const Endpoint& from) {
    ++challenges;
    give(peer.challenge(what), from);
  }
  void take(const Transit& t) {
    const unsigned address = (t.to.port - 1U) << 16 | unsigned{t.to.address[2]} << 8 | t.to.address[3];
    if (t.to == home) {
      ++packets_home;
      const auto asked = peer.read(t);
      if (asked && asked->id == 255) asked_at_home.push_back(*asked);  // its life is no question
    } else if (address < kAddresses && t.to == stranger(address)) {
      out[address] += ip_bytes(t.to, t.bytes);
      ++packets_elsewhere;
    } else {
      ++unexpected;
    }
  }

  std::vector<std::uint64_t> in = std::vector<std::uint64_t>(kAddresses);
  std::vector<std::uint64_t> out = std::vector<std::uint64_t>(kAddresses);
  std::vector<Asked> asked_at_home;
  std::uint64_t count = 0;
};

TEST_F(PathAttacks, AFloodOfChallengesByAnAuthenticPeerIsBoundedAndHarmsNobodyElse) {
  ChallengeFlood f;
  Network& net = f.net;
  constexpr unsigned kWarmUpMs = 3000;
  constexpr unsigned kSeconds = 10;
  for (unsigned ms = 0; ms < 200; ++ms) f.other.speak();
  const std::size_t neighbours = net.b.control->neighbours().size();
  const std::uint32_t keys = net.b.gw->topology().workers[0].keys->free_count();
  const std::uint32_t sets = net.b.gw->shard().free_path_sets();
  std::size_t heap = 0;
  for (unsigned ms = 0; ms < kSeconds * 1000; ++ms) {
    if (ms == kWarmUpMs) heap = heap_bytes();  // logs and rings are full by now
    if (ms == 6000) f.other.outside = endpoint("203.0.113.77", 4711);
    f.run_ms();
    if (ms == 6100) {
      EXPECT_EQ(net.b.view(1).peer, "203.0.113.77:4711") << "others still move";
    }
  }
  EXPECT_LT(heap_bytes(), heap + (512U << 10)) << "memory is constant";
  f.other.expect_no_loss();
  // Echoes: 32 and 64 a second. Newcomers: 8 and 8 a second, of at most five challenges each.
  // Probes of the peer's own address, which seems dead because its answers drown in its flood: one for each
  // newcomer, each of four retries a second, and ten a second for signs of life.
  // And a receiver report every 100 ms, for data comes among the challenges.
  constexpr unsigned kProbes = 8 + (8 + 4 + 10 + 10) * kSeconds;
  EXPECT_LE(f.packets_home, 32 + 64 * kSeconds + kProbes);
  EXPECT_LE(f.packets_home + f.packets_elsewhere, 32 + 64 * kSeconds + 5 * (8 + 8 * kSeconds) + kProbes);
  EXPECT_GT(f.packets_elsewhere, 30U) << "or nothing was measured";
  EXPECT_EQ(f.unexpected, 0U);
  EXPECT_LT(f.amplification(), 3.0);
  RecordProperty("amplification", std::to_string(f.amplification()));
  const dataplane::SessionView view = net.b.view(0);
  EXPECT_EQ(view.paths.at(0).migrations, 0U);
  EXPECT_EQ(view.peer, "203.0.113.1:1000");
  // All by name: what the worker let pass to control, what it did not, and what control had no budget for.
  const std::uint64_t passed = net.b.gw->consumed(session::ConsumedKind::kConsumedPathValidation);
  const std::uint64_t held_back = net.b.gw->drops(DropReason::kPathRate);
  EXPECT_GE(passed + held_back, f.challenges);
  EXPECT_LE(passed, 64 + 200 * (kSeconds + 1) + 10 * kSeconds) << "and ten a second of the bystander's";
  EXPECT_GT(held_back, f.challenges * 3 / 4);
  EXPECT_GT(view.path_refused, 500U);
  EXPECT_EQ(net.b.gw->stats().hints_dropped, 0U);
  net.pass(5 * kS, 100 * kMs);
  EXPECT_EQ(net.b.control->neighbours().size(), neighbours);
  EXPECT_EQ(net.b.gw->topology().workers[0].keys->free_count(), keys);
  EXPECT_EQ(net.b.gw->shard().free_path_sets(), sets);
  EXPECT_TRUE(net.b.balanced());
}

// ---- guesses

// Sixteen sessions whose packets also come from an address that does not answer itself, so that there is an
// attempt to guess at nearly all the time.
class Guessing {
 public:
  static constexpr unsigned kPeers = 16;

  Guessing() : net(PathAttacks::options()) {
    for (unsigned i = 0; i < kPeers; ++i) {
      net.b.add_session(i, home(i));
      peers.push_back(std::make_unique<One>(net, i));
    }
    net.b.start([this] { return net.now_ns; });
    net.wire = [this](Transit& t) {
      take(t);
      return false;
    };
    net.settle();
  }

  // Guess number n, of a kind that n says. True: it was made.
  bool guess(std::uint64_t n) {
    const auto i = static_cast<unsigned>(n % kPeers);
    One& p = *peers[i];
    if (!p.open) return false;
    Asked a = *p.open;
    Endpoint from = p.away;
    switch (n / kPeers % 7) {
      case 0:
        a.value = value_of(n);
        break;
      case 1:
        from.port = static_cast<std::uint16_t>(from.port + 1);
        break;
      case 2:
        from = home(i);
        break;
      case 3:
        a.id = a.id == kLastId ? kFirstId : static_cast<std::uint8_t>(a.id + 1);
        break;
      case 4:
        if (!p.expired) return false;
        a = Asked{n % 2 == 0 ? a.id : p.expired->id, p.expired->value};
        break;
      case 5:
        if (!peers[(i + 1) % kPeers]->open) return false;
        a = Asked{a.id, peers[(i + 1) % kPeers]->open->value};
        break;
      default:
        a.value[n / 64 % 32] ^= static_cast<std::uint8_t>(1U << n % 8);
    }
    give(p.peer.challenge(a), from);
    ++authentic;
    return true;
  }
  // The right echo with one bit changed after it was sealed, from the right address.
  bool forge(std::uint64_t n) {
    One& p = *peers[n % kPeers];
    if (!p.open) return false;
    Bytes packet = p.peer.challenge(*p.open);
    packet[n / kPeers % packet.size()] ^= static_cast<std::uint8_t>(1U << n / 7 % 8);
    give(packet, p.away);
    ++forged;
    return true;
  }
  void tick() {
    net.pass(kMs, kMs);
    for (unsigned i = 0; i < kPeers; ++i) {
      One& p = *peers[i];
      for (const Asked& asked : p.asked_at_home) give(p.peer.challenge(asked), home(i));
      p.asked_at_home.clear();
      const std::uint64_t ms = net.now_ns / kMs;
      if (ms % 50 == i) give(p.peer.data(), home(i));
      if (ms % 50 == i + 20) give(p.peer.data(), p.away);
      if (ms % 4000 == 7 * i) {  // that attempt is over: another address
        p.expired = p.open;
        p.open.reset();
        p.away.port = static_cast<std::uint16_t>(2000 + ms / 2000 % 10'000);
      }
    }
  }
  [[nodiscard]] std::uint64_t migrations() const {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < kPeers; ++i) n += net.b.view(i).paths.at(0).migrations;
    return n;
  }
  [[nodiscard]] unsigned peers_elsewhere() const {
    unsigned n = 0;
    for (unsigned i = 0; i < kPeers; ++i) n += net.b.view(i).peer != dataplane::to_text(home(i));
    return n;
  }

  static Endpoint home(unsigned i) {
    Endpoint e = endpoint("203.0.113.1", 1000);
    e.address[3] = static_cast<std::uint8_t>(10 + i);
    return e;
  }
  void give(const Bytes& packet, const Endpoint& from) { net.inject(false, packet, from, net.b.wan()); }

  struct One {
    One(Network& net, unsigned number) : peer(net, number), away(home(number)) { away.port = 1999; }
    HostilePeer peer;
    Endpoint away;
    std::optional<Asked> open;     // what B wants back from `away`
    std::optional<Asked> expired;  // the same of an attempt that is over
    std::vector<Asked> asked_at_home;
  };
  Network net;
  std::vector<std::unique_ptr<One>> peers;
  std::uint64_t authentic = 0;
  std::uint64_t forged = 0;

 private:
  void take(const Transit& t) {
    const unsigned i = t.to.address[3] - 10U;
    if (i >= kPeers) return;
    One& p = *peers[i];
    const auto asked = p.peer.read(t);
    if (!asked) return;
    if (t.to == home(i)) p.asked_at_home.push_back(*asked);
    if (t.to == p.away && asked->id >= kFirstId && asked->id <= kLastId) p.open = asked;
  }
};

TEST_F(PathAttacks, AHundredThousandGuessesOfEchoesValidateNothing) {
  Guessing g;
  std::uint64_t n = 0;
  for (unsigned ms = 0; ms < 100'000 && g.authentic + g.forged < 150'000; ++ms) {
    for (unsigned i = 0; i < 2; ++i, ++n) (void)g.guess(n);
    for (unsigned i = 0; i < 2; ++i) (void)g.forge(n + i);
    g.tick();
  }
  EXPECT_GE(g.authentic, 50'000U);
  EXPECT_GE(g.forged, 50'000U);
  EXPECT_EQ(g.migrations(), 0U);
  EXPECT_EQ(g.peers_elsewhere(), 0U);
  EXPECT_EQ(g.net.b.gw->drops(DropReason::kPathRate), 0U) << "every guess was looked at";
  EXPECT_GE(g.net.b.gw->consumed(session::ConsumedKind::kConsumedPathValidation), g.authentic);
  const std::uint64_t inner = g.net.b.gw->drops(DropReason::kInnerHeader);  // the peers' data of one byte
  EXPECT_EQ(g.net.b.drops() - inner, g.forged);
  EXPECT_GT(g.net.b.gw->drops(DropReason::kAuth), g.forged / 2);
  // And the right value from the right place does it, so they were guesses at something.
  Guessing::One& p = *g.peers[0];
  for (unsigned ms = 0; ms < 20'000 && g.migrations() == 0; ++ms) {
    if (p.open) g.give(p.peer.challenge(*p.open), p.away);
    g.tick();
  }
  EXPECT_EQ(g.migrations(), 1U);
  EXPECT_EQ(g.net.b.view(0).peer, dataplane::to_text(p.away));
  EXPECT_TRUE(g.net.b.balanced());
}

// ---- captured packets

// The peer moves while somebody sends all that it seals, challenges and echoes too, again from elsewhere:
// after the original, or before it, so that the original is the replay.
class Capturing {
 public:
  Capturing() : other{net, 0} {
    net.add_pair(0);
    net.start();
    net.wire = [this](Transit& t) { return carry(t); };
  }
  void run(unsigned ms) {
    for (unsigned i = 0; i < ms; ++i) {
      other.speak();
      while (!copies.empty()) {
        const std::vector<Bytes> now = std::exchange(copies, {});
        for (const Bytes& copy : now) net.inject(false, copy, attacker, net.b.wan());
        net.settle();
      }
      other.at_a += net.a.delivered();
      other.at_b += net.b.delivered();
    }
  }
  Network net;
  Bystander other;
  Endpoint attacker = endpoint("203.0.113.66", 666);
  bool challenges = true;  // also those
  bool data = true;
  bool before = false;  // the copy comes first
  bool active = false;
  std::uint64_t bytes_from = 0;
  std::uint64_t bytes_to = 0;
  std::uint64_t copied = 0;

 private:
  bool carry(Transit& t) {
    if (!t.from_a && t.to == attacker) {
      bytes_to += ip_bytes(t.to, t.bytes);
      return false;
    }
    if (!other.carry(t)) return false;
    if (!active || !t.from_a || !(t.bytes == kChallengeBytes ? challenges : data)) return true;
    copies.emplace_back(t.payload, t.payload + t.bytes);
    bytes_from += ip_bytes(attacker, t.bytes);
    ++copied;
    if (!before) return true;
    // The original comes as well, right behind the copy.
    net.inject(false, copies.back(), attacker, net.b.wan());
    copies.pop_back();
    return true;
  }
  std::vector<Bytes> copies;
};

TEST_F(PathAttacks, CapturedPacketsFromElsewhereNeverTakeTheTrafficWhileThePeerMoves) {
  for (const bool before : {false, true}) {
    for (const bool data : {false, true}) {
      Capturing c;
      c.before = before;
      c.data = data;
      c.run(200);
      c.active = true;
      for (unsigned move = 0; move < 5; ++move) {
        c.other.outside = endpoint("203.0.113.9", static_cast<std::uint16_t>(2000 + move));
        c.run(400);
        EXPECT_NE(c.net.b.view().peer, dataplane::to_text(c.attacker));
      }
      c.active = false;
      c.run(3000);
      EXPECT_EQ(c.net.b.view().peer, dataplane::to_text(c.other.outside)) << before << data;
      EXPECT_EQ(c.net.a.view().peer, dataplane::to_text(c.net.b.wan()));
      EXPECT_GE(c.copied, 10U);
      EXPECT_LT(c.bytes_to, 3 * c.bytes_from + 1);
      EXPECT_GE(c.net.b.gw->drops(DropReason::kReplayDuplicate), c.copied) << "one of each pair";
      EXPECT_EQ(c.other.at_a, c.other.sent);
      EXPECT_EQ(c.other.at_b, c.other.sent);
      EXPECT_TRUE(c.net.b.balanced());
    }
  }
}

}  // namespace
