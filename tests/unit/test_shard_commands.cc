// What control makes a shard do: handles, idempotence, keys that all come back, the list of what is owed.
#include <array>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/shard_rig.h"

namespace {

using session::DropReason;
using session::EpochBranch;
using session::JumpInit;
using session::KeyRef;
using session::kNone;
using session::LifeState;
using session::RxFields;
using session::SessionHot;
using session::SessionInit;
using support::ShardRig;

RxFields data_of(unsigned epoch, std::uint32_t sequence) {
  return RxFields{sequence, 1, session::kTunnelFlags, static_cast<std::uint8_t>(epoch), 0};
}

EpochBranch branch_of(ShardRig& rig, unsigned epoch, std::uint32_t slot = 0) {
  return rig.shard().pick_key(rig.hot(slot), data_of(epoch, 0x40000000), 0).branch;
}

// A jump to `target` that brings what the shard lacks, as control makes it.
JumpInit make_jump(ShardRig& rig, unsigned target, std::uint32_t slot = 0, std::uint32_t generation = 1) {
  JumpInit jump;
  jump.slot = slot;
  jump.generation = generation;
  jump.by_peer = true;
  jump.current = rig.make_ref(target);
  if (target < 255) jump.next = rig.make_ref(target + 1);
  const SessionHot& hot = rig.hot(slot);
  const unsigned first = hot.current.epoch + (hot.next.valid ? 2U : 1U);
  for (unsigned epoch = target - 1; epoch >= first && jump.skipped_count < session::kOlderEpochs; --epoch) {
    jump.skipped[jump.skipped_count++] = rig.make_ref(epoch, true);
  }
  return jump;
}

class ShardCommandsTest : public ::testing::Test {
 protected:
  session::ShardCommands& commands() { return rig_.commands(); }
  session::Shard& shard() { return rig_.shard(); }
  SessionHot& hot(std::uint32_t slot = 0) { return rig_.hot(slot); }

  ShardRig rig_;
};

// ---- add and remove

TEST_F(ShardCommandsTest, AddedSessionIsFoundByAllOfItsId) {
  const SessionInit init = rig_.make_init(2, 5, 9);
  ASSERT_TRUE(commands().add(init));
  EXPECT_EQ(shard().find(init.id.data()), 2U);
  auto other = init.id;
  other[31] ^= 1;
  EXPECT_EQ(shard().find(other.data()), kNone);
  EXPECT_EQ(hot(2).state, LifeState::kConnected);
  EXPECT_EQ(hot(2).generation, 5U);
  EXPECT_EQ(hot(2).current.epoch, 9);
}

TEST_F(ShardCommandsTest, AddTwiceIsAddOnce) {
  const SessionInit init = rig_.make_init(0, 1);
  ASSERT_TRUE(commands().add(init));
  ASSERT_EQ(shard().grant(0, 1).sequence, 0U);
  EXPECT_TRUE(commands().add(init));
  EXPECT_EQ(shard().grant(0, 1).sequence, 1U) << "a repeated command must not restart the numbers";
  EXPECT_TRUE(rig_.take_retired().empty());
}

TEST_F(ShardCommandsTest, RefusedAddsGiveTheirKeysBack) {
  rig_.add();
  const std::size_t before = rig_.keys_out();
  SessionInit busy_slot = rig_.make_init(0, 2);
  SessionInit no_slot = rig_.make_init(99, 1);
  SessionInit same_id = rig_.make_init(1, 1);
  same_id.id = hot(0).id;
  SessionInit same_handle = rig_.make_init(0, 1);
  same_handle.id.fill(77);
  for (const SessionInit& init : {busy_slot, no_slot, same_id, same_handle}) {
    EXPECT_FALSE(commands().add(init));
    EXPECT_EQ(rig_.take_retired().size(), 2U);
  }
  EXPECT_EQ(rig_.keys_out(), before);
  EXPECT_EQ(shard().find(hot(0).id.data()), 0U);
  EXPECT_TRUE(commands().add(rig_.make_init(1, 2))) << "the slot of a refused session is free";
}

TEST_F(ShardCommandsTest, RemoveReturnsEveryKeyAndWindow) {
  rig_.add(10);
  rig_.rekey_to(14);
  rig_.install_next();
  const std::array<std::uint8_t, 32> id = hot().id;
  (void)shard().accept(0, data_of(14, 5), EpochBranch::kCurrent, 10, 1);
  ASSERT_TRUE(commands().remove(0, 1));
  EXPECT_EQ(shard().find(id.data()), kNone);
  (void)rig_.take_retired();
  EXPECT_EQ(rig_.keys_out(), 0U);
  EXPECT_EQ(branch_of(rig_, 14), EpochBranch::kReject);
  EXPECT_EQ(shard().grant(0, 1).drop, DropReason::kSessionClosed);
  ASSERT_TRUE(commands().add(rig_.make_init(0, 2)));
  EXPECT_EQ(shard().accept(0, data_of(0, 5), EpochBranch::kCurrent, 10, 1).drop, DropReason::kNone)
      << "the windows are new as well";
}

TEST_F(ShardCommandsTest, RemoveTwiceIsRemoveOnce) {
  rig_.add();
  ASSERT_TRUE(commands().remove(0, 1));
  EXPECT_TRUE(commands().remove(0, 1));
  EXPECT_EQ(rig_.take_retired().size(), 2U);
  ASSERT_TRUE(commands().add(rig_.make_init(0, 2)));
  EXPECT_FALSE(commands().remove(0, 1)) << "not the successor";
  EXPECT_EQ(hot().state, LifeState::kConnected);
}

// A command that waited too long meets another session in its slot.
TEST_F(ShardCommandsTest, StaleGenerationsChangeNothing) {
  ASSERT_TRUE(commands().add(rig_.make_init(0, 7)));
  const SessionHot before = hot();
  for (const std::uint32_t slot : {0U, 1U, 4U, kNone}) {
    EXPECT_FALSE(commands().remove(slot, 6));
    EXPECT_FALSE(commands().retire_previous(slot, 6, 255));
    EXPECT_FALSE(commands().grant_sequences(slot, 6, 1, 2'000'000));
    session::PathPlan plan = support::plan_of(1);
    plan.slot = slot;
    plan.generation = 6;
    EXPECT_FALSE(commands().set_paths(plan));
    EXPECT_EQ(plan.accepted_count, 0U);
    EXPECT_FALSE(commands().set_alias(slot, 6, 5));
    EXPECT_FALSE(commands().set_path_validated(slot, 6, 3, true));
    EXPECT_FALSE(commands().set_state(slot, 6, LifeState::kClosed));
    EXPECT_FALSE(commands().rekey(slot, 6));
    EXPECT_FALSE(commands().install_next(slot, 6, rig_.make_ref(1)));
  }
  EXPECT_FALSE(commands().install_jump(make_jump(rig_, 3, 0, 6)));
  EXPECT_EQ(std::memcmp(&before, &hot(), sizeof(SessionHot)), 0);
  (void)rig_.take_retired();
  EXPECT_EQ(rig_.keys_out(), 2U) << "what a stale command brought goes back";
}

// ---- next

TEST_F(ShardCommandsTest, NextMustFollowCurrent) {
  rig_.add(10);
  for (const unsigned epoch : {9U, 10U, 12U, 255U, 0U}) {
    EXPECT_FALSE(commands().install_next(0, 1, rig_.make_ref(epoch))) << epoch;
    EXPECT_EQ(rig_.take_retired().size(), 2U) << epoch;
  }
  const KeyRef next = rig_.make_ref(11);
  EXPECT_TRUE(commands().install_next(0, 1, next));
  EXPECT_TRUE(commands().install_next(0, 1, next)) << "repeated";
  EXPECT_FALSE(commands().install_next(0, 1, rig_.make_ref(11))) << "another one";
  EXPECT_EQ(rig_.take_retired().size(), 2U);
  EXPECT_EQ(hot().next.recv_key, next.recv_key);
}

TEST_F(ShardCommandsTest, LastEpochHasNoNext) {
  rig_.add(255);
  EXPECT_FALSE(commands().install_next(0, 1, rig_.make_ref(0)));
  EXPECT_FALSE(commands().rekey(0, 1));
}

// Repeated after the shard moved on: the keys are in use and must not be wiped under it.
TEST_F(ShardCommandsTest, RepeatedInstallOfKeysInUseChangesNothing) {
  rig_.add(10);
  const KeyRef next = rig_.make_ref(11);
  ASSERT_TRUE(commands().install_next(0, 1, next));
  for (int moves = 0; moves < 4; ++moves) {
    ASSERT_TRUE(commands().rekey(0, 1));
    (void)rig_.take_retired();
    EXPECT_TRUE(commands().install_next(0, 1, next)) << "after " << moves + 1;
    EXPECT_TRUE(rig_.take_retired().empty()) << "after " << moves + 1;
    rig_.install_next();
  }
  EXPECT_EQ(branch_of(rig_, 11), EpochBranch::kOlder);
}

// ---- jumps

TEST_F(ShardCommandsTest, JumpKeepsWhatItLeavesAndSkips) {
  rig_.add(10);
  rig_.install_next();
  ASSERT_TRUE(commands().install_jump(make_jump(rig_, 15)));
  for (unsigned epoch = 10; epoch < 14; ++epoch)
    EXPECT_EQ(branch_of(rig_, epoch), EpochBranch::kOlder) << epoch;
  EXPECT_EQ(branch_of(rig_, 14), EpochBranch::kPrevious);
  EXPECT_EQ(branch_of(rig_, 15), EpochBranch::kCurrent);
  EXPECT_EQ(branch_of(rig_, 16), EpochBranch::kNext);
  EXPECT_EQ(hot().catch_ups, 1U);
  EXPECT_TRUE(hot().pending & session::kPendingAdvanced);
  EXPECT_EQ(rig_.take_retired().size(), 2U) << "send keys of 10 and 11";
}

TEST_F(ShardCommandsTest, LongestJumpKeepsAllThatMayStillArrive) {
  rig_.add(10);
  ASSERT_TRUE(commands().install_jump(make_jump(rig_, 26)));
  EXPECT_EQ(branch_of(rig_, 10), EpochBranch::kOlder);
  for (unsigned epoch = 10; epoch < 26; ++epoch)
    EXPECT_NE(branch_of(rig_, epoch), EpochBranch::kReject) << epoch;
  ASSERT_TRUE(commands().install_jump(make_jump(rig_, 42)));
  for (unsigned epoch = 26; epoch < 42; ++epoch)
    EXPECT_NE(branch_of(rig_, epoch), EpochBranch::kReject) << epoch;
  EXPECT_EQ(branch_of(rig_, 10), EpochBranch::kReject);
}

TEST(ShardMemory, AnIdleSessionTakesAtMostFourKibibytes) {
  session::ShardLimits few;
  few.sessions = 1U << 10;
  session::ShardLimits many = few;
  many.sessions = 1U << 20;
  const std::uint32_t more = many.sessions - few.sessions;
  many.keys += 2 * more;  // one each way
  const std::size_t bytes = session::Shard::bytes_needed(many) - session::Shard::bytes_needed(few);
  EXPECT_LE(bytes / more + 2 * sizeof(crypto::KeySlot), 4096U);
}

TEST_F(ShardCommandsTest, JumpTwiceIsJumpOnce) {
  rig_.add(10);
  const JumpInit jump = make_jump(rig_, 14);
  ASSERT_TRUE(commands().install_jump(jump));
  (void)rig_.take_retired();
  EXPECT_TRUE(commands().install_jump(jump));
  ASSERT_TRUE(commands().rekey(0, 1));
  (void)rig_.take_retired();
  EXPECT_TRUE(commands().install_jump(jump)) << "repeated when the shard had moved on";
  EXPECT_TRUE(rig_.take_retired().empty());
  EXPECT_EQ(hot().catch_ups, 1U);
  EXPECT_EQ(hot().current.epoch, 15);
}

TEST_F(ShardCommandsTest, JumpIsKnownAgainByWhatIsLeftOfIt) {
  rig_.add(10);
  const JumpInit jump = make_jump(rig_, 14);
  ASSERT_TRUE(commands().install_jump(jump));
  ASSERT_TRUE(commands().rekey(0, 1));
  ASSERT_TRUE(commands().retire_previous(0, 1, 14));
  (void)rig_.take_retired();
  EXPECT_TRUE(commands().install_jump(jump));
  EXPECT_TRUE(rig_.take_retired().empty());
  EXPECT_TRUE(rig_.is_out(hot().current.recv_key));
}

TEST_F(ShardCommandsTest, JumpBackIsRefused) {
  rig_.add(10);
  for (const unsigned target : {3U, 9U, 10U}) {
    JumpInit jump = make_jump(rig_, 30);
    jump.current.epoch = static_cast<std::uint8_t>(target);
    EXPECT_FALSE(commands().install_jump(jump));
  }
  (void)rig_.take_retired();
  EXPECT_EQ(rig_.keys_out(), 2U);
  EXPECT_EQ(hot().current.epoch, 10);
}

// With all blocks taken, or the policy of keeping one, a jump still works; what does not fit goes back.
TEST_F(ShardCommandsTest, JumpWithoutRoomForOlderEpochs) {
  session::ShardLimits limits = support::small_shard();
  limits.older_blocks = 0;
  ShardRig rig(limits);
  rig.add(10);
  ASSERT_TRUE(rig.commands().install_jump(make_jump(rig, 14)));
  EXPECT_EQ(branch_of(rig, 13), EpochBranch::kPrevious);
  for (unsigned epoch = 10; epoch < 13; ++epoch) EXPECT_EQ(branch_of(rig, epoch), EpochBranch::kReject);
  EXPECT_TRUE(rig.hot().pending & session::kPendingPrevious);
  (void)rig.take_retired();
  EXPECT_EQ(rig.keys_out(), 5U) << "current, next, previous";
}

TEST_F(ShardCommandsTest, RetiredEpochsOpenNothing) {
  rig_.add(10);
  rig_.rekey_to(15);
  ASSERT_TRUE(commands().retire_previous(0, 1, 12));
  for (unsigned epoch = 10; epoch <= 12; ++epoch) EXPECT_EQ(branch_of(rig_, epoch), EpochBranch::kReject);
  EXPECT_EQ(branch_of(rig_, 13), EpochBranch::kOlder);
  EXPECT_EQ(branch_of(rig_, 14), EpochBranch::kPrevious);
  EXPECT_TRUE(commands().retire_previous(0, 1, 12));
  ASSERT_TRUE(commands().retire_previous(0, 1, 255));
  EXPECT_EQ(branch_of(rig_, 14), EpochBranch::kReject);
  EXPECT_EQ(branch_of(rig_, 15), EpochBranch::kCurrent);
  (void)rig_.take_retired();
  EXPECT_EQ(rig_.keys_out(), 2U);
}

// ---- numbers, paths, states

TEST_F(ShardCommandsTest, GrantsOnlyEverRaiseTheLimit) {
  rig_.add();
  for (const std::uint32_t stale : {1'000'000U, 999'999U, 0U, 0x90000000U}) {
    EXPECT_TRUE(commands().grant_sequences(0, 1, 1, stale)) << stale;
    EXPECT_EQ(hot().tx[1].limit, 1'000'000U) << stale;
  }
  EXPECT_TRUE(commands().grant_sequences(0, 1, 1, 1'000'001));
  EXPECT_EQ(hot().tx[1].limit, 1'000'001U);
  EXPECT_FALSE(commands().grant_sequences(0, 1, session::kTxStreams, 5));
}

TEST_F(ShardCommandsTest, PathsAreSetOneByOne) {
  rig_.add();
  for (unsigned path = 1; path < 256; ++path) {
    const auto id = static_cast<std::uint8_t>(path);
    const RxFields f{path, 1, session::kTunnelFlags, 0, id};
    EXPECT_EQ(shard().accept(0, f, EpochBranch::kCurrent, 1, 1).drop, DropReason::kPathNotValidated);
    ASSERT_TRUE(commands().set_path_validated(0, 1, id, true));
    EXPECT_EQ(shard().accept(0, f, EpochBranch::kCurrent, 1, 1).drop, DropReason::kNone);
    ASSERT_TRUE(commands().set_path_validated(0, 1, id, false));
  }
  EXPECT_EQ(hot().validated_paths, (std::array<std::uint64_t, 4>{1, 0, 0, 0}));
}

TEST_F(ShardCommandsTest, DeadStaysDead) {
  rig_.add();
  EXPECT_FALSE(commands().set_state(0, 1, LifeState::kFree)) << "only remove frees a slot";
  ASSERT_TRUE(commands().set_state(0, 1, LifeState::kClosing));
  ASSERT_TRUE(commands().set_state(0, 1, LifeState::kDead));
  EXPECT_FALSE(commands().set_state(0, 1, LifeState::kConnected));
  EXPECT_EQ(hot().state, LifeState::kDead);
  EXPECT_TRUE(commands().set_state(0, 1, LifeState::kDead));
  EXPECT_TRUE(commands().set_state(0, 1, LifeState::kClosed));
}

// ---- what is owed to control

class Owed : public ShardCommandsTest {
 protected:
  Owed() {
    for (std::uint32_t slot = 0; slot < 4; ++slot) EXPECT_TRUE(commands().add(rig_.make_init(slot, 1)));
  }
  std::vector<std::uint32_t> take_all() {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t slot = shard().take_dirty(); slot != kNone; slot = shard().take_dirty()) {
      slots.push_back(slot);
    }
    return slots;
  }
};

TEST_F(Owed, FirstInFirstOutAndEachOnce) {
  EXPECT_TRUE(take_all().empty());
  for (const std::uint32_t slot : {2U, 0U, 2U, 3U, 0U}) shard().mark_pending(slot, session::kPendingHeard);
  shard().mark_pending(2, session::kPendingAdvanced);
  EXPECT_EQ(take_all(), (std::vector<std::uint32_t>{2, 0, 3}));
  EXPECT_EQ(hot(2).pending, session::kPendingHeard | session::kPendingAdvanced);
}

TEST_F(Owed, WhatWasNotReportedComesAgainBehindTheOthers) {
  shard().mark_pending(1, session::kPendingHeard | session::kPendingDead);
  shard().mark_pending(2, session::kPendingHeard);
  ASSERT_EQ(shard().take_dirty(), 1U);
  shard().settle(1, session::kPendingHeard);
  ASSERT_EQ(shard().take_dirty(), 2U);
  shard().settle(2, session::kPendingHeard);
  ASSERT_EQ(shard().take_dirty(), 1U);
  EXPECT_EQ(hot(1).pending, session::kPendingDead);
  shard().settle(1, session::kPendingDead);
  EXPECT_EQ(shard().take_dirty(), kNone);
}

// The slot stays linked: taking it out of the middle would need a second link in every session.
TEST_F(Owed, RemovedWhileListedThenAddedAgain) {
  for (const std::uint32_t slot : {0U, 1U, 2U}) shard().mark_pending(slot, session::kPendingHeard);
  ASSERT_TRUE(commands().remove(1, 1));
  EXPECT_EQ(hot(1).pending, 0);
  ASSERT_TRUE(commands().add(rig_.make_init(1, 2)));
  EXPECT_EQ(hot(1).pending, 0) << "nothing of its predecessor is reported as its own";
  shard().mark_pending(1, session::kPendingAdvanced);
  shard().mark_pending(3, session::kPendingHeard);
  EXPECT_EQ(take_all(), (std::vector<std::uint32_t>{0, 1, 2, 3}));
  shard().mark_pending(1, session::kPendingAdvanced);
  EXPECT_EQ(take_all(), std::vector<std::uint32_t>{1});
}

TEST_F(Owed, RemovedWhileLastOfTheListThenAddedAgain) {
  shard().mark_pending(0, session::kPendingHeard);
  shard().mark_pending(3, session::kPendingHeard);
  ASSERT_TRUE(commands().remove(3, 1));
  ASSERT_TRUE(commands().add(rig_.make_init(3, 2)));
  shard().mark_pending(1, session::kPendingHeard);
  EXPECT_EQ(take_all(), (std::vector<std::uint32_t>{0, 3, 1}));
}

// ---- keys, under any script

// Plays control badly: repeats commands, sends stale ones, wrong epochs, jumps at random.
class KeyScript {
 public:
  explicit KeyScript(unsigned seed) : random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      step();
      // Control may be slow to take keys back, never so slow that it has none to hand in.
      if (below(4) == 0 || rig_.keys_free() < 100) (void)rig_.take_retired();
      check_in_use();
    }
    for (std::uint32_t slot = 0; slot < 4; ++slot) rig_.commands().remove(slot, generation_[slot]);
    (void)rig_.take_retired();
    EXPECT_EQ(rig_.keys_out(), 0U) << "keys that never came back";
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  std::uint32_t generation(std::uint32_t slot) { return generation_[slot] - (below(8) == 0 ? 1 : 0); }

  void step() {
    const std::uint32_t slot = below(4);
    const SessionHot& hot = rig_.hot(slot);
    const bool alive = hot.state != LifeState::kFree;
    switch (below(alive ? 12 : 1)) {
      case 0:
        return add_or_remove(slot);
      case 1:
      case 2:
      case 3:
        return install(slot);
      case 4:
        if (hot.current.epoch < 230) rig_.commands().install_jump(jump_of(slot));
        return;
      case 5:
        rig_.commands().retire_previous(slot, generation(slot), static_cast<std::uint8_t>(below(256)));
        return;
      case 6:
      case 7:
        rig_.commands().rekey(slot, generation(slot));
        return;
      default:
        return receive(slot);
    }
  }
  void add_or_remove(std::uint32_t slot) {
    if (rig_.hot(slot).state != LifeState::kFree && below(3) != 0) return;
    if (rig_.commands().remove(slot, generation(slot))) return void(below(2) == 0 ? add(slot) : void());
    add(slot);
  }
  // Into a free slot, or refused by a busy one; sometimes with an id that is in use.
  void add(std::uint32_t slot) {
    const bool free = rig_.hot(slot).state == LifeState::kFree;
    SessionInit init = rig_.make_init(slot, generation_[slot] + 1, below(200));
    if (below(3) == 0) init.session_flags = session::kKeepPreviousOnly;
    if (below(10) == 0) init.id = rig_.hot(below(4)).id;
    const bool added = rig_.commands().add(init);
    if (added) ++generation_[slot];
    if (added && below(2) == 0) {
      EXPECT_TRUE(rig_.commands().add(init)) << "repeated";
    }
    EXPECT_TRUE(free || !added);
  }
  void install(std::uint32_t slot) {
    const unsigned epoch = rig_.hot(slot).current.epoch + (below(6) == 0 ? below(4) : 1U);
    const KeyRef next = rig_.make_ref(epoch & 0xff);
    const std::uint32_t handle = generation(slot);
    // Only what was carried out may be repeated: a refused reference is control's again.
    if (rig_.commands().install_next(slot, handle, next) && below(3) == 0) {
      EXPECT_TRUE(rig_.commands().install_next(slot, handle, next));
      if (rig_.commands().rekey(slot, handle) && below(2) == 0) {
        EXPECT_TRUE(rig_.commands().install_next(slot, handle, next));
      }
    }
  }
  JumpInit jump_of(std::uint32_t slot) {
    return make_jump(rig_, rig_.hot(slot).current.epoch + 1U + below(16), slot, generation(slot));
  }
  void receive(std::uint32_t slot) {
    SessionHot& hot = rig_.hot(slot);
    const unsigned epoch = hot.current.epoch + (below(3) == 0 ? 1U : 0U) - (below(3) == 0 ? 1U : 0U);
    const RxFields f = data_of(epoch & 0xff, sequence_++);
    const auto picked = rig_.shard().pick_key(hot, f, 0);
    if (picked.key != kNone) (void)rig_.shard().accept(slot, f, picked.branch, 10, 1);
  }
  // Whatever a packet could be opened or sealed with now must not have gone back to control.
  void check_in_use() {
    for (std::uint32_t slot = 0; slot < 4; ++slot) {
      SessionHot& hot = rig_.hot(slot);
      if (hot.state == LifeState::kFree) continue;
      ASSERT_TRUE(rig_.is_out(hot.current.send_key));
      std::set<std::uint32_t> used;
      for (unsigned epoch = 0; epoch < 256; ++epoch) {
        const auto picked = rig_.shard().pick_key(hot, data_of(epoch, 0x70000000), 0);
        if (picked.key == kNone) continue;
        ASSERT_TRUE(rig_.is_out(picked.key)) << "epoch " << epoch << " opens with a key that was given back";
        ASSERT_TRUE(used.insert(picked.key).second) << "one key, two epochs";
      }
    }
  }

  ShardRig rig_;
  std::mt19937 random_;
  std::array<std::uint32_t, 4> generation_{};
  std::uint32_t sequence_ = 0;
};

TEST(ShardKeys, EveryKeyComesBackExactlyOnce) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    KeyScript(seed).run(1500);
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
