// Numbers of reliable streams in every interleaving of sending, repeating, rekeys by either cause, lost
// stores, reservations and crashes: no (key, nonce) twice, none beyond what is durable (W-04, W-06, W-12).
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "session/cold.h"
#include "session/memory_store.h"
#include "session/shard.h"
#include "session/shard_commands.h"
#include "tests/support/packets.h"

namespace {

using session::DropReason;
using session::kDynamicFirst;
using session::TxGrant;
using session::TxStream;

constexpr unsigned kDynamic = 3;  // streams with counters of their own; one more has its in SessionHot
constexpr unsigned kOwn = kDynamic;
constexpr std::uint16_t kOwnStream = 2;
constexpr unsigned kKeys = 64;
constexpr std::uint32_t kGeneration = 1;

struct Op {
  std::uint8_t kind;
  std::uint16_t arg;
};
void showValue(const Op& op, std::ostream& os) {
  os << "{" << unsigned{op.kind} << "," << op.arg << "}";
}

session::ShardLimits shard_limits() {
  session::ShardLimits limits;
  limits.sessions = 1;
  limits.keys = kKeys;
  limits.windows = 4;
  limits.window_bits = 1024;
  limits.tombstones = 4;
  limits.older_blocks = 1;
  limits.path_sets = 1;
  return limits;
}

// What lives between a start and a crash.
struct Incarnation {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<crypto::KeySlot> slots = std::vector<crypto::KeySlot>(kKeys);
  session::KeyPool pool{slots};
  std::vector<Line> memory =
      std::vector<Line>(session::Shard::bytes_needed(shard_limits()) / sizeof(Line) + 1);
  session::Shard shard{shard_limits(), slots, std::as_writable_bytes(std::span(memory))};
  session::ShardCommands commands{shard};
  std::unique_ptr<session::SessionControl> control;
  std::array<TxStream, kDynamic> counters{};
  std::map<std::pair<unsigned, std::uint32_t>, unsigned> images;  // (stream, number) -> epoch of the image
};

class World {
 public:
  explicit World(const crypto::Aead& engine) : engine_(engine) {
    identity_.name = "streams";
    identity_.id.fill(0x11);
    policy_.sequence_block = 12;
    policy_.rekey_soft_limit = 40;
    policy_.seq_rekey_watermark = 25;
    boot();
  }

  void run(const Op& op) {
    if (!now_) return;
    switch (op.kind % 12) {
      case 0:
      case 1:
      case 2:
      case 3:
        return send(op.arg % (kDynamic + 1));
      case 4:
      case 5:
      case 6:
        return repeat(op.arg);
      case 7:
        return invent(op.arg);
      case 8:
        return acknowledge(op.arg);
      case 9:
        now_->control->request_rekey(1, ++time_ns_);
        return settle();
      case 10:
        return op.arg % 4 == 0 ? boot() : settle();
      default:
        store_.fail(op.arg % 2 == 0);
        return settle();
    }
  }

 private:
  session::SessionHot& hot() { return now_->shard.hot(0); }

  // A crash, then a start over the same store.
  void boot() {
    now_ = std::make_unique<Incarnation>();
    auto& control = now_->control;
    control = std::make_unique<session::SessionControl>(identity_, support::test_secret(), policy_, 0,
                                                        kGeneration, now_->pool, engine_);
    const auto record = store_.load(control->record().fingerprint);
    if (control->start(record, ++time_ns_) || !write()) {
      now_.reset();  // epochs used up, or the store fails: stays down
      return;
    }
    RC_ASSERT(now_->commands.add(control->initial()));
    for (TxStream& counter : now_->counters) counter.next = now_->shard.dynamic_first(0);
    settle();
  }

  bool write() {
    if (!now_->control->wants_store()) return true;
    const session::StoreRecord record = now_->control->record();
    try {
      store_.commit({&record, 1});
    } catch (const std::runtime_error&) {
      return false;
    }
    now_->control->stored(time_ns_);
    return true;
  }

  // Reports, the store, commands, as an owner does; the peer follows every epoch.
  void settle() {
    for (int round = 0; round < 4; ++round) {
      while (now_->shard.take_dirty() != session::kNone) report();
      (void)write();
      session::ControlCommand command;
      while (now_->control->next_command(command)) carry_out(command);
      for (std::uint32_t key = 0; now_->shard.retired_front(key); now_->shard.retired_pop()) {
        now_->pool.release(key);
      }
    }
  }

  void report() {
    const std::uint8_t bits = hot().pending;
    if ((bits & session::kPendingAdvanced) != 0) {
      now_->control->on_advanced(hot().current.epoch, ++time_ns_);
      now_->control->on_heard(hot().current.epoch, time_ns_);
    }
    for (unsigned i = 0; i < session::kTxStreams; ++i) {
      if ((hot().seq_low_streams >> i & 1U) != 0) {
        now_->control->on_sequence_low(static_cast<std::uint16_t>(i), hot().tx[i].next, ++time_ns_);
      }
    }
    hot().seq_low_streams = 0;
    now_->shard.settle(0, bits);
  }

  void carry_out(const session::ControlCommand& command) {
    if (const auto* next = std::get_if<session::CmdInstallNext>(&command)) {
      (void)now_->commands.install_next(0, kGeneration, next->next);
    } else if (const auto* grant = std::get_if<session::CmdGrantSequences>(&command)) {
      (void)now_->commands.grant_sequences(0, kGeneration, grant->stream, grant->limit);
    } else if (std::holds_alternative<session::CmdRekey>(command)) {
      (void)now_->commands.rekey(0, kGeneration);
    } else if (const auto* old = std::get_if<session::CmdRetirePrevious>(&command)) {
      (void)now_->commands.retire_previous(0, kGeneration, old->epoch);
    }
  }

  // The properties.
  void sealed(unsigned stream, const TxGrant& grant) {
    RC_ASSERT(used_.insert({grant.epoch, stream, grant.sequence}).second);
    RC_ASSERT(grant.epoch == hot().current.epoch);
    const auto record = store_.load(now_->control->record().fingerprint);
    RC_ASSERT(record.has_value());
    RC_ASSERT(grant.epoch <= record->taken);
    const std::uint32_t limit = record->seq_limit[stream == kOwn ? kOwnStream : kDynamicFirst];
    RC_ASSERT(static_cast<std::int32_t>(limit - grant.sequence) > 0);
    now_->images[{stream, grant.sequence}] = grant.epoch;
  }

  TxGrant regrant(unsigned stream, std::uint32_t sequence, unsigned image_epoch) {
    return stream == kOwn ? now_->shard.regrant(0, kOwnStream, sequence, image_epoch)
                          : now_->shard.regrant(0, now_->counters[stream], sequence, image_epoch);
  }

  void send(unsigned stream) {
    const TxGrant grant =
        stream == kOwn ? now_->shard.grant(0, kOwnStream) : now_->shard.grant(0, now_->counters[stream]);
    if (grant.drop == DropReason::kNone) sealed(stream, grant);
  }

  // Honest, whatever the epoch: an image of this one must be refused, another must be sealed.
  void repeat(std::uint16_t arg) {
    if (now_->images.empty()) return;
    auto image = now_->images.begin();
    std::advance(image, arg % now_->images.size());
    const auto [stream, sequence] = image->first;
    const bool kept = image->second == hot().current.epoch;
    const TxGrant grant = regrant(stream, sequence, image->second);
    if (kept) {
      RC_ASSERT(grant.drop == DropReason::kResealRefused);
    } else if (grant.drop == DropReason::kNone) {
      RC_ASSERT(grant.sequence == sequence);
      sealed(stream, grant);
    } else {
      RC_ASSERT(grant.drop != DropReason::kResealRefused);
    }
  }

  // Numbers that were not granted are refused, whatever is said of their image.
  void invent(std::uint16_t arg) {
    const unsigned stream = arg % (kDynamic + 1);
    const TxStream& counter = stream == kOwn ? hot().tx[kOwnStream] : now_->counters[stream];
    RC_ASSERT(regrant(stream, counter.next + arg / 8, session::kNeverSealed).drop ==
              DropReason::kResealRefused);
  }

  void acknowledge(std::uint16_t arg) {
    if (now_->images.empty()) return;
    auto image = now_->images.begin();
    std::advance(image, arg % now_->images.size());
    now_->images.erase(image);
  }

  const crypto::Aead& engine_;
  session::SessionIdentity identity_;
  session::SessionPolicy policy_;
  session::MemoryStore store_;
  std::unique_ptr<Incarnation> now_;
  std::set<std::tuple<unsigned, unsigned, std::uint32_t>> used_;
  std::uint64_t time_ns_ = 1;
};

rc::Gen<Op> gen_op() {
  return rc::gen::construct<Op>(rc::gen::inRange<std::uint8_t>(0, 12), rc::gen::arbitrary<std::uint16_t>());
}

TEST(PropertyStreams, NoNumberIsSealedTwiceInAnEpoch) {
  const crypto::Aead engine;
  EXPECT_TRUE(rc::check("numbers of reliable streams", [&] {
    const auto ops = *rc::gen::scale(6.0, rc::gen::container<std::vector<Op>>(gen_op()));
    World world(engine);
    for (const Op& op : ops) world.run(op);
  }));
}

}  // namespace
