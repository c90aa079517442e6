// Two sessions over a network that delays, reorders, repeats, drops, reflects and forges, with both sides
// rekeying at once, jumping, crashing and resuming, and stores that fail: what holds in every interleaving.
//
//  1. No (key, nonce) is used twice, by any incarnation. A pair is (direction, epoch, stream, sequence,
//  path).
//  2. No packet carries an epoch or a sequence that its store does not hold as taken.
//  3. An epoch moves only by an authentic newer packet or an own decision, and never back.
//  4. An authentic packet inside window and grace is delivered, once; no packet is ever delivered twice.
//  5. What is forged, reflected or damaged is never delivered.
//  6. When the network heals, both sides meet in one epoch, data flows, and no expanded key has leaked.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "session/session.h"
#include "tests/support/session_bench.h"

namespace {

using session::Received;
using session::Session;
using support::Bytes;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kGraceNs = 1'000 * kMs;
constexpr std::uint32_t kWindowBits = 1024;
constexpr unsigned kKeys = 128;
constexpr unsigned kStreams = 3;

struct Op {
  std::uint8_t kind;
  std::uint8_t side;
  std::uint16_t arg;
};
void showValue(const Op& op, std::ostream& os) {
  os << "{" << unsigned{op.kind} << "," << unsigned{op.side} << "," << op.arg << "}";
}

// One datagram that an endpoint sealed; `id` is unique and also its plaintext.
struct Packet {
  Bytes bytes;
  std::uint64_t id = 0;
  unsigned from = 0;
  bool data = false;
  std::uint8_t epoch() const { return bytes[session::kOffEpoch]; }
  std::uint16_t stream() const { return session::load_be16(&bytes[session::kOffStream]); }
  std::uint32_t sequence() const { return session::load_be32(&bytes[session::kOffSequence]); }
};

struct Side {
  support::BenchOptions options;
  session::MemoryStore store;
  bool store_fails = false;
  std::unique_ptr<Session> session;
  std::uint8_t first_epoch = 0;                    // of this incarnation
  std::uint8_t epoch = 0;                          // as seen last
  std::map<std::uint8_t, std::uint64_t> left_at;   // when an older epoch was left
  std::map<std::uint16_t, std::uint32_t> highest;  // per stream, of authentic packets of this incarnation
};

class World {
 public:
  explicit World(const crypto::Aead& engine) : engine_(engine), secret_(support::test_secret(3)) {
    for (unsigned i = 0; i < 2; ++i) {
      Side& side = sides_[i];
      side.options.role = i == 0 ? session::Role::kInitiator : session::Role::kResponder;
      side.options.id.fill(0x5a);
      side.options.keys = kKeys;
      side.options.window_bits = kWindowBits;
      side.options.policy.grace_ns = kGraceNs;
      side.options.policy.sequence_block = 16;
      side.options.policy.trial_burst = 1U << 20;
      side.options.policy.echo_burst = 1U << 20;
      boot(i);
    }
  }

  void run(const Op& op) {
    const unsigned at = op.side % 2;
    switch (op.kind % 32) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
        return send(at, op.arg);
      case 8:
      case 9:
      case 10:
      case 11:
      case 12:
      case 13:
      case 14:
        return deliver(at, op.arg, true);
      case 15:
      case 16:
        return deliver(at, op.arg, false);  // stays under way: a duplicate will come
      case 17:
        return lose(at, op.arg);
      case 18:
      case 19:
        return replay(at, op.arg);
      case 20:
      case 21:
        return flip_bit(at, op.arg);
      case 22:
      case 23:
        return forge_epoch(at, op.arg);
      case 24:
        return reflect(at, op.arg);
      case 25:
      case 26:
        return rekey(at, 1);
      case 27:
        return rekey(at, 2 + op.arg % 15);
      case 28:
      case 29:
        return pass_time(static_cast<std::uint64_t>(op.arg % 700) * kMs);
      case 30:
        return fail_store(at, op.arg % 2 == 0);
      default:
        return op.arg % 3 == 0 ? crash(at) : send_until_rekey(at);
    }
  }

  // The network heals: everything sent arrives, in order, until both sides rest.
  void heal() {
    for (unsigned i = 0; i < 2; ++i) {
      fail_store(i, false);
      if (!sides_[i].session) boot(i);
      under_way_[i].clear();
    }
    if (!sides_[0].session || !sides_[1].session) return;  // epochs used up: refused to start
    for (unsigned round = 0; round < 300; ++round) {
      pass_time(100 * kMs);
      for (unsigned i = 0; i < 2; ++i) {
        while (!under_way_[i].empty()) deliver(i, 0, true);
      }
    }
    const int gap = int{sides_[0].session->epoch()} - int{sides_[1].session->epoch()};
    if (gap > 16 || gap < -16 || dead()) return;  // restarts alone can bring that about
    RC_ASSERT(gap == 0);
    for (unsigned i = 0; i < 2; ++i) {
      RC_ASSERT(sides_[i].session->free_keys() + 4 >= kKeys);
      const std::uint64_t before = delivered_.size();
      send(i, 0);
      deliver(1 - i, static_cast<std::uint16_t>(under_way_[1 - i].size() - 1), true);
      RC_ASSERT(delivered_.size() == before + 1);
    }
  }

 private:
  bool dead() const {
    return std::any_of(std::begin(sides_), std::end(sides_),
                       [](const Side& s) { return s.session->state() != session::SessionState::Connected; });
  }

  // An own decision that waits for the store may be carried out with whatever settles next.
  static bool decision_held(const Side& side) {
    return side.session->control().wants_store() ||
           side.session->control().current_epoch() != side.session->epoch();
  }

  void boot(unsigned at) {
    Side& side = sides_[at];
    try {
      side.session = support::make_session(side.options, secret_, engine_, side.store, now_ns_);
    } catch (const std::runtime_error&) {
      return;  // the store fails, or the epochs are used up: stays down
    }
    side.epoch = side.first_epoch = side.session->epoch();
    side.left_at.clear();
    side.highest.clear();
    collect(at);
  }

  void crash(unsigned at) {
    sides_[at].session.reset();
    boot(at);
  }

  void fail_store(unsigned at, bool on) {
    sides_[at].store_fails = on;
    sides_[at].store.fail(on);
  }

  // Properties 1 and 2, and onto the wire.
  void emit(unsigned at, Bytes bytes, bool data) {
    Packet packet{std::move(bytes), next_id_++, at, data};
    const auto pair = std::make_tuple(at, packet.epoch(), packet.stream(), packet.sequence(),
                                      packet.bytes[session::kOffPath]);
    RC_ASSERT(used_.insert(pair).second);
    session::Fingerprint name{};
    crypto::secret_fingerprint(secret_, at == 0, name);
    const auto record = sides_[at].store.load(name);
    RC_ASSERT(record.has_value());
    RC_ASSERT(packet.epoch() <= record->taken);
    RC_ASSERT(static_cast<std::int32_t>(record->seq_limit[packet.stream()] - packet.sequence()) > 0);
    history_.push_back(packet);
    under_way_[1 - at].push_back(std::move(packet));
  }

  void collect(unsigned at) {
    Bytes bytes;
    while (sides_[at].session && sides_[at].session->next_datagram(bytes)) emit(at, bytes, false);
    note_epoch(at);
  }

  void note_epoch(unsigned at) {
    Side& side = sides_[at];
    const std::uint8_t epoch = side.session->epoch();
    RC_ASSERT(epoch >= side.epoch);
    for (unsigned e = side.epoch; e < epoch; ++e) side.left_at[static_cast<std::uint8_t>(e)] = now_ns_;
    side.epoch = epoch;
  }

  void send(unsigned at, std::uint16_t arg) {
    Side& side = sides_[at];
    if (!side.session) return;
    const std::uint8_t before = side.session->epoch();
    const bool may_rotate =
        decision_held(side) || side.session->send_needs_rekey(static_cast<std::uint16_t>(1 + arg % kStreams));
    Bytes text(8);
    for (unsigned i = 0; i < 8; ++i) text[i] = static_cast<std::uint8_t>(next_id_ >> (8 * i));
    const session::Sent sent = side.session->send(static_cast<std::uint16_t>(1 + arg % kStreams),
                                                  session::kFlagUnreliable, text, 0, now_ns_);
    RC_ASSERT(side.session->epoch() == before || may_rotate);
    if (sent.drop == session::DropReason::kNone) emit(at, sent.datagram, true);
    collect(at);
  }

  // An own decision by the soft limit: the send after it rotates.
  void send_until_rekey(unsigned at) {
    if (!sides_[at].session) return;
    sides_[at].session->set_rekey_threshold(1);
    send(at, 0);
    send(at, 1);
    if (sides_[at].session) sides_[at].session->set_rekey_threshold(session::REKEY_SOFT_LIMIT);
  }

  void rekey(unsigned at, unsigned steps) {
    Side& side = sides_[at];
    if (!side.session) return;
    const unsigned target = std::min(side.session->epoch() + steps, 255U);
    if (steps == 1) {
      (void)side.session->rekey(now_ns_);
    } else {
      (void)side.session->ratchet_to_epoch(static_cast<std::uint8_t>(target), now_ns_);
    }
    collect(at);
  }

  void pass_time(std::uint64_t ns) {
    now_ns_ += ns;
    for (unsigned i = 0; i < 2; ++i) {
      if (!sides_[i].session) continue;
      const std::uint8_t before = sides_[i].session->epoch();
      const bool held = decision_held(sides_[i]);
      sides_[i].session->on_timer(now_ns_);
      RC_ASSERT(sides_[i].session->epoch() == before || held);
      collect(i);
    }
  }

  // ---- what the network does to packets for `at`

  void deliver(unsigned at, std::uint16_t arg, bool remove) {
    auto& queue = under_way_[at];
    if (queue.empty()) return;
    const std::size_t i = arg % queue.size();
    const Packet packet = queue[i];
    if (remove) queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(i));
    arrive(at, packet);
  }

  void lose(unsigned at, std::uint16_t arg) {
    auto& queue = under_way_[at];
    if (!queue.empty()) queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(arg % queue.size()));
  }

  void replay(unsigned at, std::uint16_t arg) {
    if (history_.empty()) return;
    const Packet packet = history_[arg % history_.size()];
    if (packet.from != at) arrive(at, packet);
  }

  void flip_bit(unsigned at, std::uint16_t arg) {
    if (history_.empty()) return;
    Packet packet = history_[arg % history_.size()];
    const std::size_t bit = (std::size_t{arg} * 2654435761U >> 4) % (packet.bytes.size() * 8);
    packet.bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    arrive_forged(at, packet.bytes);
  }

  void forge_epoch(unsigned at, std::uint16_t arg) {
    if (history_.empty()) return;
    Packet packet = history_[arg % history_.size()];
    const auto epoch = static_cast<std::uint8_t>(packet.epoch() + 1 + arg % 20);
    packet.bytes[session::kOffEpoch] = epoch;
    arrive_forged(at, packet.bytes);
  }

  void reflect(unsigned at, std::uint16_t arg) {
    if (history_.empty()) return;
    const Packet& packet = history_[arg % history_.size()];
    if (packet.from == at) arrive_forged(at, packet.bytes);
  }

  // Property 4, the half that says "must": judged before the packet goes in.
  bool must_arrive(const Side& side, const Packet& packet) const {
    if (!packet.data || delivered_.count(packet.id) != 0) return false;
    if (side.session->state() != session::SessionState::Connected) return false;
    const std::uint8_t current = side.session->epoch();
    const std::uint8_t epoch = packet.epoch();
    if (epoch > current && (side.store_fails || epoch - current > 16)) return false;
    // Steps that waited for the store come with this packet; of what they leave, 16 epochs stay receivable.
    if (int{side.session->control().current_epoch()} - epoch > 16) return false;
    if (epoch < current) {
      const auto left = side.left_at.find(epoch);
      if (left == side.left_at.end() || now_ns_ - left->second >= kGraceNs || current - epoch > 16) {
        return false;
      }
    }
    const auto highest = side.highest.find(packet.stream());
    if (highest == side.highest.end()) return true;
    const auto behind = static_cast<std::int32_t>(highest->second - packet.sequence());
    return behind < static_cast<std::int32_t>(kWindowBits);
  }

  void arrive(unsigned at, const Packet& packet) {
    Side& side = sides_[at];
    if (!side.session) return;
    const bool must = must_arrive(side, packet);
    const bool held = decision_held(side);
    const std::uint8_t before = side.session->epoch();
    const Received got = side.session->receive(packet.bytes, now_ns_);
    const std::uint8_t after = side.session->epoch();
    RC_ASSERT(after == before || (after == packet.epoch() && packet.epoch() > before) || held);
    const bool accepted = got.kind != Received::Kind::kDropped;
    if (must) RC_ASSERT(accepted);
    if (accepted) note_accepted(side, packet);
    if (accepted && packet.data) {
      RC_ASSERT(got.kind == Received::Kind::kData);
      RC_ASSERT(delivered_.insert(packet.id).second);
    }
    collect(at);
  }

  static void note_accepted(Side& side, const Packet& packet) {
    const auto [it, fresh] = side.highest.emplace(packet.stream(), packet.sequence());
    if (!fresh && static_cast<std::int32_t>(packet.sequence() - it->second) > 0)
      it->second = packet.sequence();
  }

  void arrive_forged(unsigned at, const Bytes& bytes) {
    Side& side = sides_[at];
    if (!side.session) return;
    const std::uint8_t before = side.session->epoch();
    const bool held = decision_held(side);
    const std::uint64_t opens = side.session->crypto_state().opens;
    const Received got = side.session->receive(bytes, now_ns_);
    RC_ASSERT(got.kind == Received::Kind::kDropped);
    RC_ASSERT(!got.ack.has_value());
    RC_ASSERT(held || (side.session->epoch() == before && side.session->crypto_state().opens == opens));
    collect(at);
  }

  const crypto::Aead& engine_;
  crypto::TrafficSecret secret_;
  std::array<Side, 2> sides_;
  std::array<std::vector<Packet>, 2> under_way_;  // by receiver
  std::vector<Packet> history_;
  std::set<std::tuple<unsigned, unsigned, unsigned, unsigned, unsigned>> used_;
  std::set<std::uint64_t> delivered_;
  std::uint64_t next_id_ = 1;
  std::uint64_t now_ns_ = 1'000 * kMs;
};

rc::Gen<Op> gen_op() {
  return rc::gen::construct<Op>(rc::gen::inRange<std::uint8_t>(0, 32), rc::gen::inRange<std::uint8_t>(0, 2),
                                rc::gen::arbitrary<std::uint16_t>());
}

TEST(PropertySessions, AnyInterleavingOfTwoSessions) {
  const crypto::Aead engine;
  EXPECT_TRUE(rc::check("two sessions over an adversarial network", [&] {
    const auto ops = *rc::gen::scale(4.0, rc::gen::container<std::vector<Op>>(gen_op()));
    World world(engine);
    for (const Op& op : ops) world.run(op);
    world.heal();
  }));
}

}  // namespace
