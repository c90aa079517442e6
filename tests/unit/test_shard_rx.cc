// A shard's receive half: which key opens a packet, and what an opened packet changes (the protocol
// specification, sections 3.3, 7, 8 and 16).
#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/shard_rig.h"

namespace {

using session::DropReason;
using session::EpochBranch;
using session::kNone;
using session::LifeState;
using session::RxAction;
using session::RxFields;
using session::RxOutcome;
using session::RxPick;
using session::SessionHot;

constexpr std::uint16_t kSealed = session::kFlagEncrypted;
constexpr std::uint16_t kReliable = session::kFlagEncrypted | session::kFlagReliable;

RxFields fields(unsigned epoch, std::uint32_t sequence, std::uint16_t flags = session::kTunnelFlags,
                std::uint16_t stream = 1, std::uint8_t path = 0) {
  return RxFields{sequence, stream, flags, static_cast<std::uint8_t>(epoch), path};
}

class ShardRx : public ::testing::Test {
 protected:
  RxPick pick(const RxFields& f, std::uint32_t now_ms = 0) {
    return rig_.shard().pick_key(rig_.hot(), f, now_ms);
  }
  RxOutcome accept(const RxFields& f, std::uint32_t bytes = 100) {
    return rig_.shard().accept(0, f, EpochBranch::kCurrent, bytes, ++tsc_);
  }
  // The whole way of a packet whose tag verifies.
  RxOutcome receive(const RxFields& f, std::uint32_t bytes = 100) {
    const RxPick picked = pick(f);
    if (picked.branch != EpochBranch::kReject && picked.branch != EpochBranch::kAhead)
      return accept(f, bytes);
    RxOutcome dropped;
    dropped.drop = picked.drop;
    return dropped;
  }
  SessionHot& hot() { return rig_.hot(); }

  support::ShardRig rig_;
  std::uint64_t tsc_ = 1000;
};

// ---- choosing a key

struct BranchCase {
  unsigned epoch;
  EpochBranch branch;
  DropReason drop;
};

TEST_F(ShardRx, EveryEpochBranch) {
  rig_.add(97);
  rig_.rekey_to(100);
  rig_.install_next();
  const BranchCase cases[] = {
      {0, EpochBranch::kReject, DropReason::kEpochBehind},
      {96, EpochBranch::kReject, DropReason::kEpochBehind},
      {97, EpochBranch::kOlder, DropReason::kNone},
      {98, EpochBranch::kOlder, DropReason::kNone},
      {99, EpochBranch::kPrevious, DropReason::kNone},
      {100, EpochBranch::kCurrent, DropReason::kNone},
      {101, EpochBranch::kNext, DropReason::kNone},
      {102, EpochBranch::kAhead, DropReason::kNone},
      {116, EpochBranch::kAhead, DropReason::kNone},
      {117, EpochBranch::kReject, DropReason::kEpochTooFar},
      {255, EpochBranch::kReject, DropReason::kEpochTooFar},
  };
  for (const BranchCase& c : cases) {
    const RxPick picked = pick(fields(c.epoch, 5));
    EXPECT_EQ(picked.branch, c.branch) << c.epoch;
    EXPECT_EQ(picked.drop, c.drop) << c.epoch;
    const bool opens = c.branch != EpochBranch::kReject && c.branch != EpochBranch::kAhead;
    EXPECT_EQ(picked.key != kNone, opens) << c.epoch;
    if (opens) {
      EXPECT_EQ(picked.nonce_prefix[0], c.epoch) << "the prefix of another epoch";
    }
  }
  EXPECT_EQ(pick(fields(100, 5)).key, hot().current.recv_key);
  EXPECT_EQ(pick(fields(101, 5)).key, hot().next.recv_key);
  EXPECT_EQ(pick(fields(99, 5)).key, hot().previous.recv_key);
}

TEST_F(ShardRx, WithoutNextTheNextEpochIsAhead) {
  rig_.add(7);
  EXPECT_EQ(pick(fields(8, 1)).branch, EpochBranch::kAhead);
  EXPECT_EQ(pick(fields(6, 1)).drop, DropReason::kEpochBehind);
  rig_.install_next();
  EXPECT_EQ(pick(fields(8, 1)).branch, EpochBranch::kNext);
}

TEST_F(ShardRx, AfterARestartOlderEpochsGoToControlUntilThePeerIsHeard) {
  rig_.add(100);
  EXPECT_EQ(pick(fields(99, 1)).drop, DropReason::kEpochBehind) << "not resumed";
  hot().session_flags |= session::kResumed;
  for (const unsigned epoch : {99U, 84U}) {
    const RxPick picked = pick(fields(epoch, 1));
    EXPECT_EQ(picked.branch, EpochBranch::kAhead);
    EXPECT_EQ(picked.drop, DropReason::kNone);
  }
  EXPECT_EQ(pick(fields(83, 1)).drop, DropReason::kEpochBehind);
  while (pick(fields(99, 1)).drop == DropReason::kNone) continue;
  EXPECT_EQ(pick(fields(99, 1)).drop, DropReason::kEpochBehind) << "the budget is spent";
  EXPECT_EQ(receive(fields(100, 1)).drop, DropReason::kNone);
  EXPECT_EQ(pick(fields(99, 1), 5000).drop, DropReason::kEpochBehind) << "heard";
}

TEST_F(ShardRx, LastEpochHasNothingAheadOfIt) {
  rig_.add(250);
  EXPECT_EQ(pick(fields(255, 1)).branch, EpochBranch::kAhead);
  rig_.rekey_to(255);
  for (unsigned epoch = 0; epoch < 249; ++epoch) {
    ASSERT_EQ(pick(fields(epoch, 1)).drop, DropReason::kEpochBehind);
  }
  EXPECT_EQ(pick(fields(255, 1)).branch, EpochBranch::kCurrent);
}

// W-02: nothing unsealed gets further, empty or not, whatever else its flags say.
TEST_F(ShardRx, UnencryptedIsRefusedFirst) {
  rig_.add();
  for (const unsigned epoch : {0U, 1U, 5U, 200U}) {
    for (unsigned flags = 0; flags < 0x1000; ++flags) {
      if ((flags & session::kFlagEncrypted) != 0) continue;
      ASSERT_EQ(pick(fields(epoch, 0, static_cast<std::uint16_t>(flags))).drop, DropReason::kUnencrypted);
    }
  }
  EXPECT_EQ(hot().ahead_tokens, rig_.shard().limits().ahead_tokens);
}

TEST_F(ShardRx, OnlyALiveSessionReceives) {
  rig_.add();
  const std::pair<LifeState, bool> cases[] = {{LifeState::kFree, false},     {LifeState::kConnected, true},
                                              {LifeState::kMigrating, true}, {LifeState::kClosing, true},
                                              {LifeState::kClosed, false},   {LifeState::kDead, false}};
  for (const auto& [state, receives] : cases) {
    hot().state = state;
    EXPECT_EQ(pick(fields(0, 1)).drop, receives ? DropReason::kNone : DropReason::kSessionClosed);
  }
}

// W-07, W-32: whatever arrives, nothing but the catch-up budget moves before a tag verified.
TEST_F(ShardRx, GarbageChangesNothingButTheBudget) {
  rig_.add(20);
  rig_.rekey_to(23);
  rig_.install_next();
  ASSERT_EQ(receive(fields(23, 5000)).action, RxAction::kDeliver);
  SessionHot before = hot();
  std::mt19937 random(7);
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    const auto r = static_cast<std::uint32_t>(random());
    (void)pick(fields(r & 0xff, static_cast<std::uint32_t>(random()), static_cast<std::uint16_t>(r >> 8),
                      static_cast<std::uint16_t>(random()), static_cast<std::uint8_t>(r >> 24)),
               i / 100);
  }
  before.ahead_tokens = hot().ahead_tokens;
  before.ahead_refill_ms = hot().ahead_refill_ms;
  EXPECT_EQ(std::memcmp(&before, &hot(), sizeof(SessionHot)), 0);
  EXPECT_EQ(hot().opens_in_epoch, 1U);
}

TEST_F(ShardRx, PlainReplaysAreNotOpenedButReliableOnesAre) {
  rig_.add();
  ASSERT_EQ(receive(fields(0, 5000)).action, RxAction::kDeliver);
  EXPECT_EQ(pick(fields(0, 5000)).drop, DropReason::kReplayDuplicate);
  EXPECT_EQ(pick(fields(0, 5000 - 1024)).drop, DropReason::kReplayTooOld);
  EXPECT_EQ(pick(fields(0, 5000, kReliable)).branch, EpochBranch::kCurrent) << "may have to be acknowledged";
  EXPECT_EQ(pick(fields(0, 4999)).branch, EpochBranch::kCurrent);
}

// ---- the catch-up budget

TEST_F(ShardRx, CatchUpBudgetEndsAndComesBack) {
  rig_.add(10);
  const auto& limits = rig_.shard().limits();
  const std::uint32_t start = 0xfffffff0U;  // the clock wraps on the way
  (void)pick(fields(10, 1), start);
  for (std::uint32_t i = 0; i < limits.ahead_tokens; ++i) {
    ASSERT_EQ(pick(fields(13, 1), start).drop, DropReason::kNone) << i;
  }
  const RxPick spent = pick(fields(13, 1), start);
  EXPECT_EQ(spent.branch, EpochBranch::kAhead);
  EXPECT_EQ(spent.drop, DropReason::kEpochAheadBudget);
  EXPECT_EQ(pick(fields(13, 1), start + 1000 / limits.ahead_per_second).drop, DropReason::kEpochAheadBudget);
  EXPECT_EQ(pick(fields(13, 1), start + 1000 / limits.ahead_per_second + 1).drop, DropReason::kNone);
  EXPECT_EQ(pick(fields(13, 1), start + 1000 / limits.ahead_per_second + 1).drop,
            DropReason::kEpochAheadBudget);
  unsigned burst = 0;
  while (pick(fields(13, 1), start + 60'000).drop == DropReason::kNone) ++burst;
  EXPECT_EQ(burst, limits.ahead_tokens) << "idle time must not pile up beyond the burst";
}

// However the packets fall on the clock's ticks, the rate is the one of the limits.
TEST_F(ShardRx, CatchUpBudgetRefillsAtItsRate) {
  for (const std::uint32_t interval_ms : {1U, 3U, 7U, 13U}) {
    support::ShardRig rig;
    rig.add(10);
    auto& limits = rig.shard().limits();
    constexpr std::uint32_t kRunMs = 20'000;
    std::uint32_t passed = 0;
    for (std::uint32_t now = 1; now <= kRunMs; now += interval_ms) {
      while (rig.shard().pick_key(rig.hot(), fields(13, 1), now).drop == DropReason::kNone) ++passed;
    }
    const std::uint32_t expected = limits.ahead_tokens + kRunMs / 1000 * limits.ahead_per_second;
    EXPECT_LE(passed, expected) << "every " << interval_ms << " ms";
    EXPECT_GE(passed, expected * 95 / 100) << "every " << interval_ms << " ms";
  }
}

// ---- epochs

TEST_F(ShardRx, AuthenticPacketOfNextAdvancesTheEpoch) {
  rig_.add(4);
  rig_.install_next();
  const session::KeyRef left = hot().current;
  const session::KeyRef entered = hot().next;
  hot().seals_in_epoch = 55;
  ASSERT_EQ(receive(fields(5, 9)).action, RxAction::kDeliver);
  EXPECT_EQ(hot().current.epoch, 5);
  EXPECT_EQ(hot().current.send_key, entered.send_key);
  EXPECT_FALSE(hot().next.valid);
  EXPECT_EQ(hot().previous.recv_key, left.recv_key);
  EXPECT_EQ(hot().previous.send_key, kNone) << "nothing is sealed in a previous epoch";
  EXPECT_EQ(hot().seals_in_epoch, 0U);
  EXPECT_EQ(hot().opens_in_epoch, 1U);
  EXPECT_EQ(hot().followed, 1U);
  EXPECT_EQ(hot().rekeys, 0U);
  EXPECT_TRUE(hot().pending & session::kPendingAdvanced);
  EXPECT_EQ(rig_.take_retired(), std::vector<std::uint32_t>{left.send_key});
}

// Picked in one pass, opened in the next, accepted in the third: the second packet moves the epoch under the
// third and fourth.
TEST_F(ShardRx, SwapInTheMiddleOfABatch) {
  rig_.add(4);
  rig_.install_next();
  const RxFields batch[] = {fields(4, 1), fields(5, 3), fields(4, 2), fields(5, 4), fields(4, 0)};
  const EpochBranch branches[] = {EpochBranch::kCurrent, EpochBranch::kNext, EpochBranch::kCurrent,
                                  EpochBranch::kNext, EpochBranch::kCurrent};
  RxPick picks[5];
  for (unsigned i = 0; i < 5; ++i) {
    picks[i] = pick(batch[i]);
    ASSERT_EQ(picks[i].branch, branches[i]);
  }
  for (unsigned i = 0; i < 5; ++i) {
    EXPECT_EQ(rig_.shard().accept(0, batch[i], picks[i].branch, 10, 1).action, RxAction::kDeliver) << i;
  }
  EXPECT_EQ(hot().current.epoch, 5);
  EXPECT_EQ(hot().followed, 1U) << "one step, however many packets of next were in the batch";
  EXPECT_EQ(hot().grace_accepts, 2U);
  EXPECT_EQ(hot().opens_in_epoch, 2U);
  EXPECT_EQ(hot().rx_pkts, 5U);
}

TEST_F(ShardRx, TwinsInOneBatchAreDeliveredOnce) {
  rig_.add();
  const RxFields twin = fields(0, 42);
  ASSERT_EQ(pick(twin).branch, EpochBranch::kCurrent);
  ASSERT_EQ(pick(twin).branch, EpochBranch::kCurrent);
  EXPECT_EQ(accept(twin).action, RxAction::kDeliver);
  const RxOutcome second = accept(twin);
  EXPECT_EQ(second.action, RxAction::kDrop);
  EXPECT_EQ(second.drop, DropReason::kReplayDuplicate);
  EXPECT_EQ(hot().rx_pkts, 1U);
  EXPECT_EQ(hot().rx_replayed, 1U);
}

TEST_F(ShardRx, GraceIsBoundedInPackets) {
  session::ShardLimits limits = support::small_shard();
  limits.previous_pkts = 3;
  support::ShardRig rig(limits);
  rig.add(4);
  rig.rekey_to(6);
  auto& shard = rig.shard();
  for (std::uint32_t i = 0; i < 3; ++i) {
    const RxFields late = fields(i == 1 ? 4 : 5, i);
    ASSERT_NE(shard.pick_key(rig.hot(), late, 0).branch, EpochBranch::kReject);
    ASSERT_EQ(shard.accept(0, late, EpochBranch::kPrevious, 10, 1).action, RxAction::kDeliver);
  }
  EXPECT_EQ(shard.pick_key(rig.hot(), fields(5, 9), 0).drop, DropReason::kEpochBehind);
  EXPECT_EQ(shard.pick_key(rig.hot(), fields(4, 9), 0).drop, DropReason::kEpochBehind);
  EXPECT_EQ(shard.pick_key(rig.hot(), fields(6, 9), 0).branch, EpochBranch::kCurrent);
  rig.rekey_to(7);
  EXPECT_EQ(shard.pick_key(rig.hot(), fields(6, 9), 0).branch, EpochBranch::kPrevious)
      << "a grace of its own";
  EXPECT_EQ(rig.hot().grace_accepts, 3U);
}

TEST_F(ShardRx, ReplaysSpendNoGraceAndAreNoSignOfLife) {
  session::ShardLimits limits = support::small_shard();
  limits.previous_pkts = 3;
  support::ShardRig rig(limits);
  rig.add(4);
  auto& shard = rig.shard();
  ASSERT_EQ(shard.accept(0, fields(4, 1, kReliable), EpochBranch::kCurrent, 10, 1).action,
            RxAction::kDeliver);
  rig.rekey_to(5);
  for (std::uint64_t tsc = 2; tsc < 10; ++tsc) {
    ASSERT_EQ(shard.pick_key(rig.hot(), fields(4, 1, kReliable), 0).branch, EpochBranch::kPrevious);
    ASSERT_TRUE(shard.accept(0, fields(4, 1, kReliable), EpochBranch::kPrevious, 10, tsc).duplicate_reliable);
  }
  EXPECT_EQ(rig.hot().previous_pkts_left, 3U);
  EXPECT_EQ(rig.hot().grace_accepts, 0U);
  EXPECT_EQ(rig.hot().last_rx_tsc, 1U);
}

TEST_F(ShardRx, PeerIsReportedAsHeardOnceAnEpoch) {
  rig_.add(4);
  const auto heard = [&] {
    const bool is = (hot().pending & session::kPendingHeard) != 0;
    rig_.shard().settle(0, 0xff);
    return is;
  };
  (void)receive(fields(4, 1));
  EXPECT_TRUE(heard());
  (void)receive(fields(4, 2));
  EXPECT_FALSE(heard());
  rig_.rekey_to(5);
  (void)receive(fields(4, 3));
  EXPECT_FALSE(heard());
  (void)receive(fields(5, 4));
  EXPECT_TRUE(heard());
  EXPECT_EQ(hot().peer_epoch, 5);
}

// ---- window and path

// W-14: the sequence passes 2^32 within a session.
TEST_F(ShardRx, SequencesWrap) {
  rig_.add();
  for (const std::uint32_t sequence : {0xfffffffeU, 0U, 0xffffffffU, 1U}) {
    EXPECT_EQ(receive(fields(0, sequence)).action, RxAction::kDeliver) << sequence;
  }
  for (const std::uint32_t sequence : {0xfffffffeU, 0xffffffffU, 0U}) {
    EXPECT_EQ(receive(fields(0, sequence)).drop, DropReason::kReplayDuplicate) << sequence;
  }
}

TEST_F(ShardRx, WindowIsKeptAcrossEpochs) {
  rig_.add(4);
  ASSERT_EQ(receive(fields(4, 10)).action, RxAction::kDeliver);
  rig_.rekey_to(5);
  EXPECT_EQ(receive(fields(5, 10, kReliable)).drop, DropReason::kReplayDuplicate);
  EXPECT_EQ(receive(fields(5, 11)).action, RxAction::kDeliver);
}

// W-16: data on a path that is not validated leaves its sequence free for another path.
TEST_F(ShardRx, PathGateComesBeforeRecording) {
  rig_.add();
  EXPECT_EQ(receive(fields(0, 5, kReliable, 1, 200)).drop, DropReason::kPathNotValidated);
  EXPECT_EQ(receive(fields(0, 5, kReliable, 1, 200)).drop, DropReason::kPathNotValidated);
  EXPECT_EQ(receive(fields(0, 5, kReliable, 1, 0)).action, RxAction::kDeliver);
  const RxOutcome late = receive(fields(0, 5, kReliable, 1, 200));
  EXPECT_EQ(late.drop, DropReason::kReplayDuplicate) << "a duplicate is one on every path";
  EXPECT_FALSE(late.duplicate_reliable) << "and nothing is acknowledged over a path that is not validated";
  EXPECT_EQ(hot().rx_other_drops, 2U);
  ASSERT_TRUE(rig_.commands().set_path_validated(0, 1, 200, true));
  EXPECT_EQ(receive(fields(0, 6, kReliable, 1, 200)).action, RxAction::kDeliver);
}

TEST_F(ShardRx, ControlPacketsActOnAnyPath) {
  rig_.add();
  EXPECT_EQ(receive(fields(0, 1, kSealed | session::kFlagAck, 1, 9), 4).action, RxAction::kAck);
  EXPECT_EQ(receive(fields(0, 2, kSealed | session::kFlagWindowUpdate, 1, 9), 4).action,
            RxAction::kWindowUpdate);
  EXPECT_EQ(receive(fields(0, 3, kSealed | session::kFlagPathValidation, 1, 9), 32).action,
            RxAction::kPathValidation);
}

// W-10.
TEST_F(ShardRx, DuplicateOfReliableDataIsToBeAcknowledgedAgain) {
  rig_.add();
  ASSERT_EQ(receive(fields(0, 3000, kReliable)).action, RxAction::kDeliver);
  EXPECT_TRUE(receive(fields(0, 3000, kReliable)).duplicate_reliable);
  EXPECT_FALSE(receive(fields(0, 1, kReliable)).duplicate_reliable) << "too old: it may never have arrived";
  EXPECT_TRUE(receive(fields(0, 1, kReliable)).old_reliable);
  EXPECT_FALSE(receive(fields(0, 3000, kReliable)).old_reliable);
  const std::uint16_t never[] = {session::kTunnelFlags,
                                 static_cast<std::uint16_t>(kReliable | session::kFlagCoalesced),
                                 static_cast<std::uint16_t>(kReliable | session::kFlagAck)};
  for (const std::uint16_t flags : never) EXPECT_FALSE(accept(fields(0, 3000, flags), 4).duplicate_reliable);
}

TEST_F(ShardRx, MoreStreamsThanTheLimit) {
  rig_.add();
  for (std::uint16_t stream = 0; stream < 8; ++stream) {
    ASSERT_EQ(receive(fields(0, 1, kReliable, stream)).action, RxAction::kDeliver);
  }
  EXPECT_EQ(receive(fields(0, 1, kReliable, 1000)).drop, DropReason::kStreamLimit);
  EXPECT_EQ(hot().rx_other_drops, 1U);
  EXPECT_EQ(receive(fields(0, 2, kReliable, 0)).action, RxAction::kDeliver);
}

// ---- kinds of packets

struct KindCase {
  unsigned flags;
  std::uint32_t bytes;
  RxAction action;
  DropReason drop;
};

TEST_F(ShardRx, PrecedenceOfFlagsAndLengths) {
  using namespace session;  // a table of flags
  const KindCase cases[] = {
      {kFlagUnreliable, 0, RxAction::kDeliver, DropReason::kNone},
      {kFlagUnreliable, 1400, RxAction::kDeliver, DropReason::kNone},
      {kFlagFin | kFlagPriority | kFlagRekey | kFlagControl, 0, RxAction::kDeliver, DropReason::kNone},
      {kFlagCoalesced, 1, RxAction::kDeliverBundle, DropReason::kNone},
      {kFlagCoalesced | kFlagReliable, 30, RxAction::kDeliverBundle, DropReason::kNone},
      {kFlagAck, 4, RxAction::kAck, DropReason::kNone},
      {kFlagAck, 3, RxAction::kDrop, DropReason::kAckLength},
      {kFlagAck, 0, RxAction::kDrop, DropReason::kAckLength},
      {kFlagAck | kFlagWindowUpdate | kFlagPathValidation | kFlagCoalesced, 4, RxAction::kAck,
       DropReason::kNone},
      {kFlagAck | kFlagPathValidation, 32, RxAction::kDrop, DropReason::kAckLength},
      {kFlagWindowUpdate, 4, RxAction::kWindowUpdate, DropReason::kNone},
      {kFlagWindowUpdate, 5, RxAction::kDrop, DropReason::kWindowUpdateLength},
      {kFlagWindowUpdate | kFlagPathValidation, 4, RxAction::kWindowUpdate, DropReason::kNone},
      {kFlagPathValidation, 32, RxAction::kPathValidation, DropReason::kNone},
      {kFlagPathValidation, 31, RxAction::kDrop, DropReason::kPathValidationLength},
      {kFlagPathValidation | kFlagCoalesced, 33, RxAction::kDrop, DropReason::kPathValidationLength},
  };
  rig_.add();
  std::uint32_t sequence = 0;
  for (const KindCase& c : cases) {
    const RxOutcome got =
        receive(fields(0, sequence++, static_cast<std::uint16_t>(kFlagEncrypted | c.flags)), c.bytes);
    EXPECT_EQ(got.action, c.action) << "case " << sequence;
    EXPECT_EQ(got.drop, c.drop) << "case " << sequence;
    EXPECT_EQ(accept(fields(0, sequence - 1), c.bytes).drop, DropReason::kReplayDuplicate)
        << "a malformed control packet has used its sequence all the same";
  }
}

TEST_F(ShardRx, CountersCountWhatWasDelivered) {
  rig_.add();
  (void)receive(fields(0, 1), 100);
  (void)receive(fields(0, 2), 50);
  (void)accept(fields(0, 2), 50);
  (void)receive(fields(0, 3, kSealed | session::kFlagAck), 7);
  EXPECT_EQ(hot().rx_pkts, 2U);
  EXPECT_EQ(hot().rx_bytes, 150U);
  EXPECT_EQ(hot().rx_replayed, 1U);
  EXPECT_EQ(hot().rx_other_drops, 1U);
  EXPECT_EQ(hot().opens_in_epoch, 4U);
  EXPECT_EQ(hot().last_rx_tsc, tsc_);
}

// ---- room of a stream

RxOutcome accept_without_room(support::ShardRig& rig, const RxFields& f) {
  return rig.shard().accept(0, f, EpochBranch::kCurrent, 100, 1, 0, false);
}

// What a stream has no room for must look as if it was lost: its repetition is new, and acknowledged then.
TEST_F(ShardRx, DataWithoutRoomIsNotRecorded) {
  rig_.add();
  const std::uint64_t heard = hot().last_rx_tsc;
  for (int i = 0; i < 3; ++i) {
    const RxOutcome full = accept_without_room(rig_, fields(0, 7, kReliable, 40));
    EXPECT_EQ(full.action, RxAction::kDrop);
    EXPECT_EQ(full.drop, DropReason::kStreamNoRoom);
    EXPECT_FALSE(full.duplicate_reliable);
  }
  EXPECT_EQ(hot().window_count, 0U);
  EXPECT_EQ(hot().rx_pkts, 0U);
  EXPECT_EQ(hot().rx_other_drops, 3U);
  EXPECT_EQ(hot().last_rx_tsc, heard) << "it may be a replay: no sign of life";
  EXPECT_EQ(accept(fields(0, 7, kReliable, 40)).action, RxAction::kDeliver);
}

TEST_F(ShardRx, DuplicatesAreAcknowledgedAlsoWithoutRoom) {
  rig_.add();
  ASSERT_EQ(accept(fields(0, 7, kReliable)).action, RxAction::kDeliver);
  const RxOutcome again = accept_without_room(rig_, fields(0, 7, kReliable));
  EXPECT_EQ(again.drop, DropReason::kReplayDuplicate);
  EXPECT_TRUE(again.duplicate_reliable);
}

TEST_F(ShardRx, OnlyReliableDataNeedsRoom) {
  rig_.add();
  EXPECT_EQ(accept_without_room(rig_, fields(0, 1)).action, RxAction::kDeliver);
  const auto ack = RxFields{2, 1, kReliable | session::kFlagAck, 0, 0};
  EXPECT_EQ(rig_.shard().accept(0, ack, EpochBranch::kCurrent, 4, 1, 0, false).action, RxAction::kAck);
  const auto unvalidated = fields(0, 3, kReliable, 1, 9);
  EXPECT_EQ(accept_without_room(rig_, unvalidated).drop, DropReason::kPathNotValidated);
}

TEST(RxFieldsLoad, EveryField) {
  session::Header header;
  header.stream_id = 0x1234;
  header.sequence = 0x56789abc;
  header.flags = 0x0aa1;
  header.ack_delay_us = 0xfedc;
  header.epoch = 77;
  header.path_id = 9;
  std::array<std::uint8_t, session::kHeaderBytes> bytes{};
  session::encode_header(header, bytes);
  const RxFields f = session::load_fields(bytes.data());
  EXPECT_EQ(f.stream, 0x1234);
  EXPECT_EQ(f.sequence, 0x56789abcU);
  EXPECT_EQ(f.flags, 0x0aa1);
  EXPECT_EQ(f.ack_delay, 0xfedc);
  EXPECT_EQ(f.epoch, 77);
  EXPECT_EQ(f.path, 9);
}

}  // namespace
