// Where a session's packets come from and where they go: known sources, hints of new ones, path sets.
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "session/source_tag.h"
#include "tests/support/shard_rig.h"

namespace {

using session::EpochBranch;
using session::kNone;
using session::kNoPathSet;
using session::kNoPathSlot;
using session::LifeState;
using session::PathPlan;
using session::RxAction;
using session::RxFields;
using session::RxOutcome;
using support::plan_of;

constexpr std::uint32_t kKnown = 100;
constexpr std::uint32_t kStranger = 999;

class ShardPaths : public testing::Test {
 protected:
  session::Shard& shard() { return rig_.shard(); }
  session::ShardCommands& commands() { return rig_.commands(); }
  session::SessionHot& hot(std::uint32_t slot = 0) { return rig_.hot(slot); }

  void set_up(unsigned paths = 1) {
    rig_.add();
    PathPlan plan = plan_of(paths);
    ASSERT_TRUE(commands().set_paths(plan));
    ASSERT_EQ(plan.accepted_count, paths);
  }
  RxOutcome receive(std::uint32_t sequence, std::uint32_t source, std::uint16_t stream = 1,
                    std::uint16_t flags = session::kTunnelFlags, std::uint8_t path = 0,
                    std::uint32_t bytes = 100) {
    return shard().accept(0, RxFields{sequence, stream, flags, 0, path}, EpochBranch::kCurrent, bytes, ++tsc_,
                          source);
  }
  bool hinted(std::uint32_t sequence, std::uint32_t source, std::uint16_t stream = 1) {
    return receive(sequence, source, stream).new_source;
  }

  support::ShardRig rig_;
  std::uint64_t tsc_ = 0;
};

// ---- sources

TEST_F(ShardPaths, TheKnownSourceIsRememberedAndNeverAHint) {
  set_up();
  EXPECT_FALSE(hinted(1, kKnown));
  EXPECT_EQ(hot().last_source, kKnown);
  EXPECT_FALSE(hinted(2, kKnown));
  EXPECT_FALSE(hinted(3, 0)) << "a packet without addresses says nothing";
  EXPECT_EQ(hot().last_source, kKnown);
  EXPECT_EQ(hot().rx_pkts, 3U);
}

TEST_F(ShardPaths, ANewerPacketFromElsewhereIsAHintEveryTime) {
  set_up();
  EXPECT_FALSE(hinted(1, kKnown));
  EXPECT_TRUE(hinted(2, kStranger));
  EXPECT_TRUE(hinted(3, kStranger)) << "the shard does not take a stranger for the peer";
  EXPECT_FALSE(hinted(4, kKnown)) << "and the peer is still where it was";
  EXPECT_TRUE(hinted(9, kStranger, 2)) << "the first packet of a stream is its newest";
}

TEST_F(ShardPaths, ReorderedOldPacketsFromElsewhereAreNoHint) {
  set_up();
  ASSERT_FALSE(hinted(100, kKnown));
  for (std::uint32_t sequence = 99; sequence > 0; --sequence) {
    const RxOutcome outcome = receive(sequence, kStranger);
    EXPECT_EQ(outcome.action, RxAction::kDeliver);
    EXPECT_FALSE(outcome.new_source) << sequence;
  }
  EXPECT_TRUE(hinted(101, kStranger));
}

TEST_F(ShardPaths, TheWrapOfSequencesIsNoStepBack) {
  set_up();
  ASSERT_FALSE(hinted(0xfffffffe, kKnown));
  EXPECT_TRUE(hinted(1, kStranger));
  EXPECT_FALSE(hinted(0xffffffff, kStranger));
}

// A captured packet sent again from elsewhere, behind or in front of the original.
TEST_F(ShardPaths, AReplayFromElsewhere) {
  set_up();
  ASSERT_FALSE(hinted(1, kKnown));
  const RxOutcome after = receive(1, kStranger);
  EXPECT_EQ(after.action, RxAction::kDrop);
  EXPECT_FALSE(after.new_source) << "a replay says nothing about the peer";
  EXPECT_TRUE(hinted(2, kStranger)) << "in front it is the newest: a hint, no more";
  const RxOutcome original = receive(2, kKnown);
  EXPECT_EQ(original.drop, session::DropReason::kReplayDuplicate);
  EXPECT_NE(hot().last_source, kStranger);
  EXPECT_FALSE(hinted(3, kKnown)) << "nothing moved";
}

TEST_F(ShardPaths, ChallengesAndWhatIsDroppedRaiseNoHint) {
  set_up();
  const auto challenge = static_cast<std::uint16_t>(session::kFlagEncrypted | session::kFlagPathValidation);
  const auto ack = static_cast<std::uint16_t>(session::kFlagEncrypted | session::kFlagAck);
  const RxOutcome asked = receive(5, kStranger, 0, challenge, 77, 32);
  EXPECT_EQ(asked.action, RxAction::kPathValidation);
  EXPECT_FALSE(asked.new_source);
  EXPECT_FALSE(receive(6, kStranger, 1, ack, 0, 5).new_source) << "wrong length";
  EXPECT_TRUE(receive(7, kStranger, 1, ack, 0, 4).new_source);
  const RxOutcome gated = receive(8, kStranger, 1, session::kTunnelFlags, 9);
  EXPECT_EQ(gated.drop, session::DropReason::kPathNotValidated);
  EXPECT_FALSE(gated.new_source) << "it is not recorded, so anyone could repeat it";
}

TEST_F(ShardPaths, ASessionThatKnowsNoPeerTakesAnyNewestPacketAsAHint) {
  rig_.add();
  EXPECT_EQ(hot().known_source[0], 0U);
  EXPECT_TRUE(hinted(1, kStranger));
}

TEST_F(ShardPaths, AddKnowsTheSourceOfItsTemplate) {
  session::Endpoint ours{{192, 0, 2, 1}, 4500, 4, 0};
  session::Endpoint theirs{{198, 51, 100, 7}, 1234, 4, 0};
  session::SessionInit init = rig_.make_init(0, 1);
  std::uint8_t* p = init.outer.bytes.data();
  std::memcpy(p + 12, ours.address.data(), 4);
  std::memcpy(p + 16, theirs.address.data(), 4);
  session::store_be16(p + 20, ours.port);
  session::store_be16(p + 22, theirs.port);
  init.outer.length = 28;
  ASSERT_TRUE(commands().add(init));
  EXPECT_EQ(hot().known_source[0], session::source_tag(theirs, ours));
  init.slot = 1;
  init.id.fill(9);
  init.outer = session::OuterTemplate{};
  ours = {{0x20, 1, 0xd, 0xb8, 1}, 4500, 6, 0};
  theirs = {{0x20, 1, 0xd, 0xb8, 2}, 99, 6, 0};
  p = init.outer.bytes.data();
  std::memcpy(p + 8, ours.address.data(), 16);
  std::memcpy(p + 24, theirs.address.data(), 16);
  session::store_be16(p + 40, ours.port);
  session::store_be16(p + 42, theirs.port);
  init.outer.length = 48;
  ASSERT_TRUE(commands().add(init));
  EXPECT_EQ(hot(1).known_source[0], session::source_tag(theirs, ours));
}

// ---- counts for receiver reports

constexpr auto kProbe = static_cast<std::uint16_t>(session::kFlagEncrypted | session::kFlagPathValidation);
constexpr std::uint64_t kOver = session::kPacketOverheadBytes;

TEST_F(ShardPaths, CountsOfOnePathLeaveOutWhatIsNoTraffic) {
  set_up();
  for (std::uint32_t sequence = 1; sequence <= 5; ++sequence) receive(sequence, kKnown);
  receive(5, kKnown);  // a copy that was opened
  EXPECT_EQ(receive(10, kKnown, 0, kProbe, 255, 32).action, RxAction::kPathValidation);
  EXPECT_EQ(receive(11, kKnown, 0, session::kReportFlags, 0, 40).action, RxAction::kReport);
  EXPECT_EQ(receive(11, kKnown, 0, session::kReportFlags, 0, 40).drop, session::DropReason::kReplayDuplicate);
  EXPECT_EQ(receive(12, kKnown, 0, session::kReportFlags, 0, 41).drop, session::DropReason::kReportMalformed);
  for (std::uint32_t i = 0; i < 70; ++i) (void)shard().take_receiver_report(0, 1000);
  for (std::uint32_t i = 0; i < 70; ++i) (void)shard().take_path_report(0, 1000);
  session::PathCounts counts = shard().path_counts(0, 0);
  EXPECT_EQ(counts.received_pkts, 6U);
  EXPECT_EQ(counts.received_bytes, 5 * (100 + kOver));
  EXPECT_EQ(counts.received_tsc, hot().last_rx_tsc);

  const auto send = [&](std::uint8_t path, std::uint16_t flags, std::uint32_t bytes) {
    shard().note_sent(0, path, 0, flags, bytes);
    ++hot().tx_pkts;
    hot().tx_bytes += bytes;
  };
  for (unsigned i = 0; i < 3; ++i) send(0, session::kTunnelFlags, 200);
  send(255, kProbe, 32);
  send(130, kProbe, 32);
  send(0, kProbe, 32);
  send(0, session::kReportFlags, 40);
  counts = shard().path_counts(0, 0);
  EXPECT_EQ(counts.sent_pkts, 3U);
  EXPECT_EQ(counts.sent_bytes, 3 * (200 + kOver));
  EXPECT_EQ(shard().path_counts(0, 1).sent_pkts, 0U);
  commands().remove(0, 1);
  ASSERT_TRUE(commands().add(rig_.make_init(0, 2)));
  EXPECT_EQ(shard().path_counts(0, 0).sent_pkts, 0U) << "the slot's next session begins anew";
  EXPECT_EQ(shard().path_counts(0, 0).received_pkts, 0U);
}

TEST_F(ShardPaths, CountsOfSeveralPathsAreThoseOfTheHeaderAndOfCopiesToo) {
  set_up(2);
  hot().validated_paths[0] = 3;
  for (std::uint32_t sequence = 1; sequence <= 4; ++sequence) {
    receive(sequence, kKnown, 1, session::kTunnelFlags, 0);
    const RxFields copy{sequence, 1, session::kTunnelFlags, 0, 1};
    EXPECT_EQ(shard().pick_key(hot(), copy, 0).drop, session::DropReason::kNone) << "it is opened";
    EXPECT_EQ(receive(sequence, kKnown + 1, 1, session::kTunnelFlags, 1).drop,
              session::DropReason::kReplayDuplicate);
  }
  receive(8, kKnown + 1, 0, kProbe, 1, 32);
  receive(9, kKnown, 0, kProbe, 255, 32);
  receive(10, kKnown, 0, session::kReportFlags, 1, 40);
  EXPECT_EQ(shard().path_counts(0, 0).received_pkts, 4U);
  EXPECT_EQ(shard().path_counts(0, 1).received_pkts, 4U);
  EXPECT_EQ(shard().path_counts(0, 1).received_bytes, 4 * (100 + kOver));
  EXPECT_EQ(shard().path_counts(0, 1).received_tsc, 8U);
  EXPECT_EQ(shard().path_counts(0, 255).received_pkts, 0U);
  shard().note_sent(0, 1, 1, session::kTunnelFlags, 50);
  shard().note_sent(0, 1, 0, session::kReportFlags, 40);
  shard().note_sent(0, 254, 0, kProbe, 32);
  shard().note_sent(0, 1, 0, kProbe, 32);
  EXPECT_EQ(shard().path_counts(0, 1).sent_pkts, 1U);
  EXPECT_EQ(shard().path_counts(0, 1).sent_bytes, 50 + kOver);
  EXPECT_NE(shard().path_counts(0, 1).origin, kNoPathSet);
}

TEST_F(ShardPaths, WithOnePathAReplayIsNotOpened) {
  set_up();
  receive(1, kKnown);
  const RxFields again{1, 1, session::kTunnelFlags, 0, 0};
  EXPECT_EQ(shard().pick_key(hot(), again, 0).drop, session::DropReason::kReplayDuplicate);
}

TEST_F(ShardPaths, MovingTrafficIsToldOnceUntilItIsUnwatched) {
  set_up();
  hot().pending = 0;
  receive(1, kKnown, 0, kProbe, 255, 32);
  receive(2, kKnown, 0, session::kReportFlags, 0, 40);
  shard().note_sent(0, 255, 0, kProbe, 32);
  EXPECT_EQ(hot().pending & session::kPendingMoved, 0) << "neither is traffic";
  receive(1, kKnown);
  EXPECT_NE(hot().pending & session::kPendingMoved, 0);
  hot().pending = 0;
  receive(2, kKnown);
  shard().note_sent(0, 0, 1, session::kTunnelFlags, 10);
  EXPECT_EQ(hot().pending & session::kPendingMoved, 0);
  EXPECT_FALSE(commands().unwatch(0, 7)) << "another session's";
  ASSERT_TRUE(commands().unwatch(0, 1));
  shard().note_sent(0, 0, 1, session::kTunnelFlags, 10);
  EXPECT_NE(hot().pending & session::kPendingMoved, 0);
}

// ---- hints

TEST_F(ShardPaths, HintsOfOneSourceKeepTheirDistance) {
  set_up();
  EXPECT_TRUE(shard().take_source_hint(0, kStranger, 1000));
  for (std::uint32_t now = 1000; now < 1005; ++now) EXPECT_FALSE(shard().take_source_hint(0, kStranger, now));
  EXPECT_TRUE(shard().take_source_hint(0, kStranger + 1, 1004)) << "another one need not wait for it";
  EXPECT_TRUE(shard().take_source_hint(0, kStranger, 1005));
}

TEST_F(ShardPaths, AnAttackerWithManyAddressesGetsAtMost64HintsASecond) {
  set_up();
  for (const std::uint32_t start : {0U, 5'000U, 0x7fffff00U, 0xfffffe00U}) {
    std::vector<std::uint32_t> when;
    for (std::uint32_t i = 0; i < 5000; ++i) {
      for (std::uint32_t k = 0; k < 20; ++k) {
        if (shard().take_source_hint(0, i * 20 + k, start + i)) when.push_back(i);
      }
    }
    EXPECT_GT(when.size(), 200U) << "about 48 a second";
    for (std::size_t n = 64; n < when.size(); ++n) EXPECT_GE(when[n] - when[n - 64], 1000U) << start;
  }
  EXPECT_TRUE(shard().take_source_hint(0, 1, 0x90000000)) << "after a long silence at once";
}

// ---- plans

TEST_F(ShardPaths, OnePathIsTheTemplateAndItsIpIdGoesOn) {
  set_up();
  hot().outer.ip_id = 4711;
  PathPlan plan = plan_of(1);
  plan.outer[0].adjacency = 9;
  plan.source_tag[0] = 555;
  plan.validated_paths = {1, 2, 3, 4};
  ASSERT_FALSE(hinted(1, kKnown));
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(hot().outer.ip_id, 4711);
  EXPECT_EQ(hot().outer.adjacency, 9);
  EXPECT_EQ(hot().validated_paths, plan.validated_paths);
  EXPECT_EQ(hot().path_set, kNoPathSet);
  EXPECT_TRUE(hinted(2, kKnown)) << "what was left is a stranger now";
  EXPECT_FALSE(hinted(3, 555));
}

TEST_F(ShardPaths, SeveralPathsTakeASetAndCountWhatTheyReceive) {
  set_up(3);
  const session::PathSet* set = shard().path_set(hot());
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->owner, 0U);
  EXPECT_EQ(set->count, 3U);
  for (std::uint32_t i = 0; i < 30; ++i) EXPECT_FALSE(hinted(i, 100 + i % 3));
  EXPECT_TRUE(hinted(30, kStranger));
  EXPECT_TRUE(hinted(31, 103)) << "beyond the count there is no path";
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(set->traffic[i].rx_pkts, 10U);
    EXPECT_EQ(set->traffic[i].rx_bytes, 1000U);
  }
  EXPECT_EQ(hot().rx_pkts, 32U);
}

TEST_F(ShardPaths, CountersOutliveAPlanAndNotTheSet) {
  set_up(2);
  EXPECT_FALSE(hinted(1, 101));
  PathPlan plan = plan_of(3);
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(shard().path_set(hot())->traffic[1].rx_pkts, 1U);
  plan = plan_of(1);
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(shard().path_set(hot()), nullptr);
  plan = plan_of(2);
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(shard().path_set(hot())->traffic[1].rx_pkts, 0U);
}

TEST_F(ShardPaths, WithoutASetSlotZeroCarriesEverythingAndTheAnswerSaysSo) {
  for (std::uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_TRUE(commands().add(rig_.make_init(slot, 1)));
    PathPlan plan = plan_of(3);
    plan.slot = slot;
    ASSERT_TRUE(commands().set_paths(plan));
    EXPECT_EQ(plan.accepted_count, slot < 2 ? 3U : 1U);
  }
  EXPECT_EQ(shard().free_path_sets(), 0U);
  EXPECT_EQ(shard().path_set(hot(2)), nullptr);
  EXPECT_EQ(hot(2).known_source[2], 102U) << "the peer may still send over all of them";
  ASSERT_TRUE(commands().remove(0, 1));
  PathPlan plan = plan_of(2);
  plan.slot = 2;
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(plan.accepted_count, 2U);
}

TEST_F(ShardPaths, SetsComeBackHoweverOftenSessionsComeAndGo) {
  for (std::uint32_t round = 1; round < 1000; ++round) {
    ASSERT_TRUE(commands().add(rig_.make_init(0, round)));
    EXPECT_EQ(hot().path_set, kNoPathSet);
    PathPlan plan = plan_of(1 + round % 4);
    plan.generation = round;
    ASSERT_TRUE(commands().set_paths(plan));
    EXPECT_EQ(plan.accepted_count, 1 + round % 4);
    if (round % 3 == 0) {
      plan = plan_of(1);
      plan.generation = round;
      ASSERT_TRUE(commands().set_paths(plan));
    }
    ASSERT_TRUE(commands().remove(0, round));
    ASSERT_EQ(shard().free_path_sets(), 2U);
    rig_.take_retired();
  }
}

TEST_F(ShardPaths, TheMtuIsTheSmallestOfTheSlotsInUse) {
  rig_.add();
  PathPlan plan = plan_of(3);
  plan.outer[0].inner_mtu = 1300;
  plan.outer[1].inner_mtu = 1400;
  plan.outer[2].inner_mtu = 1200;
  plan.primary.fill(1);
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(hot().outer.inner_mtu, 1400);
  plan.second[3] = 0;
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(hot().outer.inner_mtu, 1300);
  plan.primary[16] = 2;
  ASSERT_TRUE(commands().set_paths(plan));
  EXPECT_EQ(hot().outer.inner_mtu, 1200);
}

// A copy has the number of its original, so only the path id keeps the nonces apart.
TEST_F(ShardPaths, NoCopyUnderTheSamePathId) {
  rig_.add();
  PathPlan plan = plan_of(3);
  plan.outer[2].path_id = plan.outer[1].path_id;
  plan.primary.fill(1);
  plan.second.fill(2);
  plan.second[5] = 0;
  plan.second[6] = 1;
  plan.second[7] = 3;
  plan.primary[8] = 7;
  ASSERT_TRUE(commands().set_paths(plan));
  const session::PathSet& set = *shard().path_set(hot());
  for (unsigned s = 0; s < session::kTxStreams; ++s) {
    if (s == 5 || s == 8) continue;
    EXPECT_EQ(set.primary[s], 1);
    EXPECT_EQ(set.second[s], kNoPathSlot) << s;
  }
  EXPECT_EQ(set.second[5], 0);
  EXPECT_EQ(set.primary[8], 0) << "a slot that is not there";
  EXPECT_EQ(set.second[8], 2);
}

TEST_F(ShardPaths, SenselessPlansChangeNothing) {
  set_up(2);
  const session::SessionHot before = hot();
  for (const std::uint32_t count : {0U, session::kTxPaths + 1, 0xffffffffU}) {
    PathPlan plan = plan_of(1);
    plan.count = count;
    EXPECT_FALSE(commands().set_paths(plan));
    EXPECT_EQ(plan.accepted_count, 0U);
  }
  EXPECT_EQ(std::memcmp(&before, &hot(), sizeof(before)), 0);
}

TEST_F(ShardPaths, ACopyIsASealOfItsEpochAndEndsWithIt) {
  set_up(2);
  ASSERT_EQ(shard().grant(0, 1).drop, session::DropReason::kNone);
  EXPECT_TRUE(shard().grant_copy(0));
  EXPECT_EQ(hot().seals_in_epoch, 2U);
  EXPECT_EQ(hot().tx[1].next, 1U);
  hot().seals_in_epoch = session::kAeadMaxInvocations;
  EXPECT_FALSE(shard().grant_copy(0));
  EXPECT_EQ(hot().seals_in_epoch, session::kAeadMaxInvocations);
}

TEST_F(ShardPaths, TheAliasIsTheSessionsOwn) {
  set_up();
  ASSERT_TRUE(commands().set_alias(0, 1, 77));
  EXPECT_EQ(hot().source_alias, 77U);
  ASSERT_TRUE(commands().remove(0, 1));
  ASSERT_TRUE(commands().add(rig_.make_init(0, 2)));
  EXPECT_EQ(hot().source_alias, 0U);
}

}  // namespace
