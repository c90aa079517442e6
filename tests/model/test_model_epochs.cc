// Two real sessions and a small network, every schedule of a bounded length: sending, rekeying on both sides,
// challenges, losses, reordering, repeats, time and restarts.
//
// In every state reached:
//  1. no (key, nonce) was sealed with twice, by any incarnation of either end;
//  2. an epoch moved only by an own decision or by an authentic packet of a newer one, and never back;
//  3. an authentic packet inside window and grace was delivered, exactly once;
// and after the network healed:
//  4. both ends are in one epoch and data passes both ways;
//  5. every path attempt ended, and one begun now succeeds.
#include <array>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "session/memory_store.h"
#include "session/session.h"
#include "tests/model/explorer.h"
#include "tests/support/session_bench.h"

namespace {

using model::require;
using session::PathState;
using session::Received;
using support::Bytes;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kGraceNs = 1'000 * kMs;
constexpr std::uint64_t kTickNs = 600 * kMs;  // two of them outlast a grace
constexpr std::uint64_t kAttemptNs = 3'000 * kMs;
constexpr std::size_t kUnderWay = 3;  // packets a direction; what exceeds them is lost
constexpr std::uint8_t kPath = 1;
constexpr std::uint16_t kStream = 1;

// Kinds of actions, as bits.
enum Kinds : unsigned {
  kSend = 1 << 0,
  kRekey = 1 << 1,
  kReceive = 1 << 2,
  kReorder = 1 << 3,
  kLose = 1 << 4,
  kRepeat = 1 << 5,
  kChallenge = 1 << 6,
  kRestart = 1 << 7,
  kAll = (1 << 8) - 1,
};

struct Packet {
  Bytes bytes;
  std::uint64_t id = 0;
  bool data = false;
  bool repeated = false;  // one copy was delivered, this one comes again
  std::uint8_t epoch() const { return bytes[session::kOffEpoch]; }
  std::uint16_t stream() const { return session::load_be16(&bytes[session::kOffStream]); }
  std::uint32_t sequence() const { return session::load_be32(&bytes[session::kOffSequence]); }
  std::uint8_t path() const { return bytes[session::kOffPath]; }
};

struct End {
  support::BenchOptions options;
  session::MemoryStore store;
  std::unique_ptr<session::Session> session;
  std::uint8_t epoch = 0;
  std::map<std::uint8_t, std::uint64_t> left_at;         // epochs of this incarnation, when they were left
  std::map<std::uint16_t, std::uint32_t> next, highest;  // by stream: to send next, received highest
  std::deque<Packet> inbox;                              // on its way to this end
  unsigned restarts = 0;
};

class Epochs {
 public:
  static constexpr unsigned kKinds = 8;
  static constexpr unsigned kActions = 2 * kKinds + 1;
  static std::string name(unsigned action) {
    static constexpr const char* kNames[] = {"sends",
                                             "rekeys",
                                             "receives the oldest",
                                             "receives the second",
                                             "loses the oldest",
                                             "receives the oldest, a copy stays",
                                             "challenges",
                                             "restarts"};
    if (action == kActions - 1) return "time passes";
    return std::string(action % 2 == 0 ? "A " : "B ") + kNames[action / 2];
  }

  // `kinds`: bit per kind of action that may be taken.
  Epochs(const crypto::Aead& engine, unsigned kinds)
      : engine_(engine), secret_(support::test_secret(3)), kinds_(kinds) {
    for (unsigned at = 0; at < 2; ++at) {
      support::BenchOptions& o = ends_[at].options;
      o.role = at == 0 ? session::Role::kInitiator : session::Role::kResponder;
      o.id.fill(0x5a);
      o.windows = 4;
      o.keys = 64;
      o.policy.grace_ns = kGraceNs;
      o.policy.sequence_block = 8;
      boot(at);
    }
  }

  bool enabled(unsigned action) const {
    if (action == kActions - 1) return true;
    if ((kinds_ >> (action / 2) & 1) == 0) return false;
    const End& end = ends_[action % 2];
    switch (action / 2) {
      case 2:
      case 4:
        return !end.inbox.empty();
      case 3:
        return end.inbox.size() > 1;
      case 5:
        return !end.inbox.empty() && !end.inbox.front().repeated;
      case 7:
        return end.restarts == 0;
      default:
        return true;
    }
  }

  void run(unsigned action) {
    if (action == kActions - 1) return pass(kTickNs);
    const unsigned at = action % 2;
    std::deque<Packet>& inbox = ends_[at].inbox;
    switch (action / 2) {
      case 0:
        return send(at);
      case 1:
        (void)ends_[at].session->rekey(now_ns_);
        return collect(at);
      case 2:
        return take(at, 0);
      case 3:
        return take(at, 1);
      case 4:
        inbox.pop_front();
        return;
      case 5:
        inbox.front().repeated = true;
        return arrive(at, inbox.front());
      case 6:
        (void)ends_[at].session->begin_path_validation(kPath, challenge(), now_ns_);
        return collect(at);
      default:
        ++ends_[at].restarts;
        ends_[at].session.reset();
        return boot(at);
    }
  }

  // Numbers are told relative to each other: states that differ by a shift are one.
  std::string key() const {
    std::string out;
    const auto put = [&](std::int64_t value) { out += std::to_string(value) + ','; };
    const int base = std::min(ends_[0].session->epoch(), ends_[1].session->epoch());
    for (unsigned at = 0; at < 2; ++at) {
      const End& end = ends_[at];
      const End& peer = ends_[1 - at];
      const session::SessionHot& hot = end.session->hot();
      put(end.session->epoch() - base);
      put(hot.next.valid);
      put(hot.previous.valid ? hot.previous.epoch - base : -100);
      put(hot.heard);
      put(hot.peer_epoch - base);
      put(static_cast<int>(end.session->path_state(kPath)));
      put(end.restarts);
      for (const auto& [epoch, when] : end.left_at) {
        if (now_ns_ - when < kGraceNs)
          put((epoch - base) * 16 + static_cast<int>((now_ns_ - when) / kTickNs));
      }
      out += '/';
      for (const Packet& packet : end.inbox) {
        put(packet.data);
        put(packet.repeated);
        put(packet.epoch() - base);
        put(packet.stream());
        put(packet.path());
        put(static_cast<std::int32_t>(packet.sequence() - value_of(peer.next, packet.stream())));
      }
      out += '/';
      for (const std::uint16_t stream : {std::uint16_t{0}, kStream}) {
        put(end.highest.count(stream) != 0
                ? static_cast<std::int32_t>(end.highest.at(stream) - value_of(peer.next, stream))
                : -1000);
      }
      out += ';';
    }
    return out;
  }

  void settle() {
    for (unsigned round = 0; round < 40 && !(round > 1 && at_rest()); ++round) {
      pass(300 * kMs);
      deliver_all();
    }
    require(ends_[0].session->epoch() == ends_[1].session->epoch(), "the ends did not meet in one epoch");
    for (unsigned at = 0; at < 2; ++at) {
      require(ends_[at].session->path_state(kPath) != PathState::kValidating, "a path attempt did not end");
      const std::size_t before = delivered_.size();
      send(at);
      deliver_all();
      require(delivered_.size() == before + 1, "data does not pass after the network healed");
    }
    for (unsigned at = 0; at < 2; ++at) {
      if (ends_[at].session->path_state(kPath) == PathState::kValidated) continue;
      const PathState peer = ends_[1 - at].session->path_state(kPath);
      if (peer == PathState::kValidated || peer == PathState::kFailed)
        continue;  // ignores ours: protocol.md 10.3
      require(ends_[at].session->begin_path_validation(kPath, challenge(), now_ns_).has_value(),
              "a failed path cannot be tried again");
      collect(at);
      deliver_all();
      require(ends_[at].session->path_state(kPath) == PathState::kValidated,
              "a healthy path was not validated");
    }
  }

 private:
  static std::uint32_t value_of(const std::map<std::uint16_t, std::uint32_t>& map, std::uint16_t stream) {
    const auto at = map.find(stream);
    return at == map.end() ? 0 : at->second;
  }

  bool at_rest() const {
    return ends_[0].session->epoch() == ends_[1].session->epoch() &&
           ends_[0].session->path_state(kPath) != PathState::kValidating &&
           ends_[1].session->path_state(kPath) != PathState::kValidating;
  }

  session::PathChallenge challenge() {
    session::PathChallenge value{};
    const std::uint64_t id = ++challenges_;
    for (unsigned i = 0; i < 8; ++i) value[i] = static_cast<std::uint8_t>(id >> (8 * i));
    value[31] = 1;
    return value;
  }

  void boot(unsigned at) {
    End& end = ends_[at];
    end.session = support::make_session(end.options, secret_, engine_, end.store, now_ns_);
    end.left_at.clear();
    end.highest.clear();
    end.epoch = end.session->epoch();
    collect(at);
  }

  void emit(unsigned at, Bytes bytes, bool data) {
    Packet packet{std::move(bytes), ++ids_, data, false};
    const auto pair = std::make_tuple(at, packet.epoch(), packet.stream(), packet.sequence(), packet.path());
    require(nonces_.insert(pair).second, "a nonce was used twice");
    ends_[at].next[packet.stream()] = packet.sequence() + 1;
    std::deque<Packet>& inbox = ends_[1 - at].inbox;
    if (inbox.size() < kUnderWay) inbox.push_back(std::move(packet));
  }

  void collect(unsigned at) {
    End& end = ends_[at];
    Bytes bytes;
    while (end.session->next_datagram(bytes)) emit(at, bytes, false);
    require(end.session->epoch() >= end.epoch, "an epoch went back");
    for (unsigned e = end.epoch; e < end.session->epoch(); ++e)
      end.left_at[static_cast<std::uint8_t>(e)] = now_ns_;
    end.epoch = end.session->epoch();
  }

  void send(unsigned at) {
    End& end = ends_[at];
    const std::uint8_t before = end.session->epoch();
    const Bytes text(8, 0x42);
    session::Sent sent = end.session->send(kStream, session::kFlagUnreliable, text, 0, now_ns_);
    require(sent.drop == session::DropReason::kNone, "a packet could not be sent");
    require(end.session->epoch() == before, "sending moved the epoch far below its limits");
    emit(at, std::move(sent.datagram), true);
    collect(at);
  }

  void pass(std::uint64_t ns) {
    now_ns_ += ns;
    for (unsigned at = 0; at < 2; ++at) {
      ends_[at].session->on_timer(now_ns_);
      require(ends_[at].session->epoch() == ends_[at].epoch, "time alone moved an epoch");
      collect(at);
    }
  }

  void take(unsigned at, std::size_t index) {
    std::deque<Packet>& inbox = ends_[at].inbox;
    const Packet packet = inbox[index];
    inbox.erase(inbox.begin() + static_cast<std::ptrdiff_t>(index));
    arrive(at, packet);
  }

  void deliver_all() {
    for (unsigned budget = 0; budget < 100; ++budget) {
      if (ends_[0].inbox.empty() && ends_[1].inbox.empty()) return;
      for (unsigned at = 0; at < 2; ++at) {
        if (!ends_[at].inbox.empty()) take(at, 0);
      }
    }
    throw model::Violation("the ends never stop answering each other");
  }

  // Before its delivery: does the specification oblige this end to take it?
  bool must_arrive(const End& end, const Packet& packet) const {
    if (packet.epoch() >= end.session->epoch()) return true;
    const auto left = end.left_at.find(packet.epoch());
    return left != end.left_at.end() && now_ns_ - left->second < kGraceNs;
  }

  void arrive(unsigned at, const Packet& packet) {
    End& end = ends_[at];
    const bool seen = !arrived_.insert(std::make_pair(at, packet.id)).second;
    const bool must = !seen && must_arrive(end, packet);
    const std::uint8_t before = end.session->epoch();
    const Received got = end.session->receive(packet.bytes, now_ns_);
    const std::uint8_t after = end.session->epoch();
    const bool taken = got.kind != Received::Kind::kDropped;
    require(after == before || (taken && after == packet.epoch() && after > before),
            "an epoch moved without an authentic packet of a newer one");
    require(!must || taken, "an authentic packet inside window and grace was lost");
    require(!seen || !taken || !accepted_.count({at, packet.id}), "a packet was taken twice");
    if (taken) note(at, packet, got);
    collect(at);
  }

  void note(unsigned at, const Packet& packet, const Received& got) {
    accepted_.insert({at, packet.id});
    const auto [it, fresh] = ends_[at].highest.emplace(packet.stream(), packet.sequence());
    if (!fresh && static_cast<std::int32_t>(packet.sequence() - it->second) > 0)
      it->second = packet.sequence();
    if (!packet.data) return;
    require(got.kind == Received::Kind::kData, "data was taken for something else");
    require(delivered_.insert(packet.id).second, "data was delivered twice");
  }

  const crypto::Aead& engine_;
  crypto::TrafficSecret secret_;
  unsigned kinds_;
  std::array<End, 2> ends_;
  std::set<std::tuple<unsigned, unsigned, unsigned, unsigned, unsigned>> nonces_;
  std::set<std::pair<unsigned, std::uint64_t>> arrived_, accepted_;
  std::set<std::uint64_t> delivered_;
  std::uint64_t ids_ = 0;
  std::uint64_t challenges_ = 0;
  std::uint64_t now_ns_ = 1'000 * kMs;
};

void explore(const char* what, unsigned kinds, unsigned depth) {
  const crypto::Aead engine;
  depth = model::adjusted(depth);
  model::Explorer<Epochs> explorer([&] { return std::make_unique<Epochs>(engine, kinds); });
  const model::Explored result = explorer.explore(depth);
  model::print(what, depth, result);
  EXPECT_EQ(result.violation, "");
  EXPECT_GT(result.states, 100U);
}

TEST(ModelEpochs, AllActions) {
  explore("all actions", kAll, 3);
}

// Deeper, with the actions that matter to epochs ...
TEST(ModelEpochs, RekeysOnBothSides) {
  explore("rekeys on both sides", kSend | kRekey | kReceive | kReorder | kLose, 5);
}

// ... to restarts ...
TEST(ModelEpochs, RestartsAmongRekeys) {
  explore("restarts among rekeys", kSend | kRekey | kReceive | kRestart, 5);
}

// ... and to path attempts.
TEST(ModelEpochs, CrossingChallenges) {
  explore("crossing challenges", kReceive | kReorder | kLose | kRepeat | kChallenge, 5);
}

}  // namespace
