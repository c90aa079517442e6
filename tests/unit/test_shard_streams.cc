// A shard's send half for reliable streams: counters that are the caller's and share one reservation, old
// numbers sealed again in a new epoch, and rest before a rekey (W-04, W-06, W-12; the protocol specification,
// section 1.4).
#include <array>
#include <cstdint>

#include <gtest/gtest.h>

#include "tests/support/shard_rig.h"

namespace {

using session::DropReason;
using session::kDynamicFirst;
using session::kNeverSealed;
using session::SEQ_REKEY_WATERMARK;
using session::SessionHot;
using session::TxGrant;
using session::TxStream;

class ShardStreams : public ::testing::Test {
 protected:
  void start(std::uint32_t first, std::uint32_t limit, std::uint32_t watermark = SEQ_REKEY_WATERMARK,
             std::uint64_t soft_limit = session::REKEY_SOFT_LIMIT, unsigned flags = 0) {
    session::SessionInit init = rig_.make_init(0, 1, 3);
    init.seq_start.fill(first);
    init.seq_limit.fill(limit);
    init.seq_rekey_watermark = watermark;
    init.rekey_soft_limit = soft_limit;
    init.session_flags = static_cast<std::uint8_t>(flags);
    ASSERT_TRUE(rig_.commands().add(init));
  }
  static TxStream counter_at(std::uint32_t next) {
    TxStream counter;
    counter.next = next;
    return counter;
  }
  TxGrant grant(TxStream& counter) { return rig_.shard().grant(0, counter); }
  TxGrant regrant(TxStream& counter, std::uint32_t sequence, unsigned epoch) {
    return rig_.shard().regrant(0, counter, sequence, epoch);
  }
  void rekey() {
    rig_.install_next();
    ASSERT_TRUE(rig_.commands().rekey(0, 1));
  }
  SessionHot& hot() { return rig_.hot(); }

  support::ShardRig rig_;
};

TEST_F(ShardStreams, EveryCounterCountsForItself) {
  start(100, 1000);
  std::array<TxStream, 5> counters;
  counters.fill(counter_at(100));
  for (std::uint32_t i = 0; i < 10; ++i) {
    for (TxStream& counter : counters) {
      const TxGrant got = grant(counter);
      ASSERT_EQ(got.drop, DropReason::kNone);
      EXPECT_EQ(got.sequence, 100 + i);
      EXPECT_EQ(got.epoch, 3);
      EXPECT_EQ(got.key, hot().current.send_key);
    }
  }
  EXPECT_EQ(hot().seals_in_epoch, 50U);
  EXPECT_EQ(hot().tx[kDynamicFirst].next, 110U) << "the highest of any";
  EXPECT_EQ(rig_.shard().dynamic_first(0), 100U);
}

TEST_F(ShardStreams, TheSharedReservationEndsClosedForAll) {
  start(0xfffffffeU, 4);
  TxStream a = counter_at(0xfffffffeU);
  TxStream b = a;
  for (unsigned i = 0; i < 6; ++i) ASSERT_EQ(grant(a).sequence, 0xfffffffeU + i);
  EXPECT_EQ(grant(a).drop, DropReason::kSequenceUnreserved);
  for (unsigned i = 0; i < 6; ++i) ASSERT_EQ(grant(b).sequence, 0xfffffffeU + i);
  EXPECT_EQ(grant(b).drop, DropReason::kSequenceUnreserved);
  ASSERT_TRUE(rig_.commands().grant_sequences(0, 1, kDynamicFirst, 6));
  EXPECT_EQ(grant(a).sequence, 4U);
  EXPECT_EQ(grant(a).sequence, 5U);
  EXPECT_EQ(grant(a).drop, DropReason::kSequenceUnreserved);
}

TEST_F(ShardStreams, NumbersOutsideTheReservationAreRefused) {
  start(100, 200);
  for (const std::uint32_t next : {0U, 99U, 200U, 201U, 0x80000000U, 0xffffffffU}) {
    TxStream counter = counter_at(next);
    EXPECT_EQ(grant(counter).drop, DropReason::kSequenceUnreserved) << next;
    EXPECT_EQ(counter.next, next);
  }
}

TEST_F(ShardStreams, NoMoreThanHalfTheNumbersInOneIncarnation) {
  start(100, 200);
  for (std::uint32_t limit = 200; limit - 100 < 0xc0000000U; limit += 0x40000000U) {
    ASSERT_TRUE(rig_.commands().grant_sequences(0, 1, kDynamicFirst, limit));
  }
  TxStream last = counter_at(100 + session::kDynamicNumbers - 1);
  EXPECT_EQ(grant(last).drop, DropReason::kNone);
  EXPECT_EQ(grant(last).drop, DropReason::kSequenceUnreserved);
}

TEST_F(ShardStreams, LowReservationIsReportedForTheSharedEntry) {
  start(0, 1024);
  TxStream slow = counter_at(0);
  TxStream fast = counter_at(0);
  (void)grant(slow);
  std::uint32_t told_at = 0;
  for (std::uint32_t i = 1; i <= 1024 && told_at == 0; ++i) {
    ASSERT_EQ(grant(fast).drop, DropReason::kNone);
    if ((hot().pending & session::kPendingSeqLow) != 0) told_at = i;
  }
  EXPECT_GE(told_at, 512U);
  EXPECT_LE(told_at, 520U);
  EXPECT_EQ(hot().seq_low_streams, 1U << kDynamicFirst);
  EXPECT_EQ(hot().tx[kDynamicFirst].next, told_at) << "what control reckons from";
}

// One entry, one use: the numbers of a tunnel stream of that id and of a reliable one would be the same.
TEST_F(ShardStreams, TheEntryIsTheTunnelsOrTheStreams) {
  start(0, 100);
  TxStream counter = counter_at(0);
  ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  EXPECT_EQ(rig_.shard().grant(0, kDynamicFirst).drop, DropReason::kNoSendKey);
  EXPECT_EQ(rig_.shard().regrant(0, kDynamicFirst, 0, kNeverSealed).drop, DropReason::kNoSendKey);
  EXPECT_EQ(rig_.shard().grant(0, kDynamicFirst - 1).drop, DropReason::kNone);
}

TEST_F(ShardStreams, AnEntryThatTheTunnelUsesStaysItsOwn) {
  start(0, 100);
  ASSERT_EQ(rig_.shard().grant(0, kDynamicFirst).sequence, 0U);
  TxStream counter = counter_at(0);
  EXPECT_EQ(grant(counter).drop, DropReason::kNoSendKey);
  EXPECT_EQ(rig_.shard().grant(0, kDynamicFirst).sequence, 1U);
}

TEST_F(ShardStreams, ATunnelOf31StreamsLeavesNoEntry) {
  session::SessionInit init = rig_.make_init(0, 1);
  init.tx_streams = 31;
  ASSERT_TRUE(rig_.commands().add(init));
  TxStream counter = counter_at(0);
  EXPECT_EQ(grant(counter).drop, DropReason::kNoSendKey);
}

TEST_F(ShardStreams, SpansAreOfEachCounter) {
  start(0, 1000, 10);
  TxStream a = counter_at(0);
  TxStream b = counter_at(0);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(grant(a).epoch, 3);
  for (int i = 0; i < 9; ++i) ASSERT_EQ(grant(b).epoch, 3);
  rig_.install_next();
  EXPECT_EQ(grant(b).epoch, 3) << "9 of 10 so far";
  EXPECT_EQ(hot().tx[kDynamicFirst].next - hot().tx[kDynamicFirst].epoch_first, 10U) << "the longest span";
  const TxGrant moved = grant(a);
  EXPECT_EQ(moved.epoch, 4);
  EXPECT_EQ(moved.sequence, 10U);
  rig_.install_next();
  EXPECT_EQ(grant(b).epoch, 4) << "a new epoch, a new span";
}

// ---- old numbers once more

TEST_F(ShardStreams, AnOldNumberIsSealedOnceMoreInANewEpoch) {
  start(50, 1000);
  TxStream counter = counter_at(50);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  EXPECT_EQ(regrant(counter, 52, 3).drop, DropReason::kResealRefused) << "its image is of this epoch";
  rekey();
  const std::uint64_t seals = hot().seals_in_epoch;
  const TxGrant again = regrant(counter, 52, 3);
  ASSERT_EQ(again.drop, DropReason::kNone);
  EXPECT_EQ(again.sequence, 52U);
  EXPECT_EQ(again.epoch, 4);
  EXPECT_EQ(again.key, hot().current.send_key);
  EXPECT_EQ(again.nonce_prefix, hot().current.nonce_prefix);
  EXPECT_EQ(hot().seals_in_epoch, seals + 1);
  EXPECT_EQ(counter.next, 55U) << "nothing new was taken";
  EXPECT_EQ(regrant(counter, 52, 4).drop, DropReason::kResealRefused) << "once an epoch";
  EXPECT_EQ(regrant(counter, 52, 5).drop, DropReason::kResealRefused) << "an epoch that was not yet";
}

TEST_F(ShardStreams, OnlyGrantedNumbersAreSealedAgain) {
  start(50, 1000);
  TxStream counter = counter_at(50);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  rekey();
  for (const std::uint32_t sequence : {0U, 49U, 55U, 56U, 999U, 0x80000037U, 0xffffffffU}) {
    EXPECT_EQ(regrant(counter, sequence, 3).drop, DropReason::kResealRefused) << sequence;
    EXPECT_EQ(regrant(counter, sequence, kNeverSealed).drop, DropReason::kResealRefused) << sequence;
  }
  TxStream invented = counter_at(2000);
  EXPECT_EQ(regrant(invented, 1500, 3).drop, DropReason::kResealRefused);
}

TEST_F(ShardStreams, StreamsOfTheSessionItselfReseal) {
  start(50, 1000);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(rig_.shard().grant(0, 2).drop, DropReason::kNone);
  EXPECT_EQ(rig_.shard().regrant(0, 2, 51, 3).drop, DropReason::kResealRefused);
  rekey();
  EXPECT_EQ(rig_.shard().regrant(0, 2, 51, 3).sequence, 51U);
  EXPECT_EQ(rig_.shard().regrant(0, 2, 55, 3).drop, DropReason::kResealRefused);
  EXPECT_EQ(rig_.shard().regrant(0, 999, 51, 3).drop, DropReason::kNoSendKey);
}

// A number whose grant came to nothing is sealed later, also in the epoch it was granted in.
TEST_F(ShardStreams, ANumberThatWasNeverSealedMayBeSealedNow) {
  start(0, 100);
  TxStream counter = counter_at(0);
  const TxGrant lost = grant(counter);
  const TxGrant later = regrant(counter, lost.sequence, kNeverSealed);
  EXPECT_EQ(later.drop, DropReason::kNone);
  EXPECT_EQ(later.sequence, lost.sequence);
  EXPECT_EQ(later.epoch, lost.epoch);
}

// W-12: the base is the lowest number of the epoch, not its first.
TEST_F(ShardStreams, AnOldNumberLowersTheBaseOfTheSpan) {
  start(0, 10'000, 200);
  TxStream counter = counter_at(0);
  for (int i = 0; i < 150; ++i) ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  rekey();
  ASSERT_EQ(grant(counter).epoch, 4);
  ASSERT_EQ(regrant(counter, 100, 3).epoch, 4);
  EXPECT_EQ(counter.next - counter.epoch_first, 51U);
  ASSERT_EQ(regrant(counter, 120, 3).epoch, 4);
  EXPECT_EQ(counter.next - counter.epoch_first, 51U) << "a higher one leaves it";
  EXPECT_EQ(hot().tx[kDynamicFirst].next - hot().tx[kDynamicFirst].epoch_first, 51U);
  rig_.install_next();
  for (int i = 0; i < 149; ++i) ASSERT_EQ(grant(counter).epoch, 4) << i;
  EXPECT_EQ(grant(counter).epoch, 5) << "200 numbers, from 100 on";
}

// W-12: retransmissions after a rekey must not cost a further epoch, whatever the watermark.
TEST_F(ShardStreams, OldNumbersCauseNoRekeyByTheirSpan) {
  start(0, 10'000, 10);
  TxStream counter = counter_at(0);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  rekey();
  rig_.install_next();
  for (std::uint32_t i = 0; i < 100; ++i) ASSERT_EQ(regrant(counter, 99 - i, 3).epoch, 4);
  EXPECT_EQ(hot().current.epoch, 4);
}

TEST_F(ShardStreams, OldNumbersCountAsSeals) {
  start(0, 10'000, SEQ_REKEY_WATERMARK, 10);
  TxStream counter = counter_at(0);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(grant(counter).drop, DropReason::kNone);
  rekey();
  rig_.install_next();
  for (std::uint32_t i = 0; i < 10; ++i) ASSERT_EQ(regrant(counter, i, 3).epoch, 4);
  EXPECT_EQ(regrant(counter, 0, 4).drop, DropReason::kResealRefused);
  EXPECT_EQ(grant(counter).epoch, 5);
}

// ---- rest before a rekey

TEST_F(ShardStreams, TowardsAnUnmodifiedPeerARekeyByLimitsWaitsForRest) {
  start(0, 1000, SEQ_REKEY_WATERMARK, 5, session::kUnmodifiedPeer);
  rig_.install_next();
  rig_.shard().set_under_way(0, true);
  EXPECT_FALSE(rig_.shard().rekey_waits(0));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(rig_.shard().grant(0, 2).epoch, 3);
  EXPECT_TRUE(rig_.shard().rekey_waits(0));
  rig_.shard().set_under_way(0, false);
  EXPECT_FALSE(rig_.shard().rekey_waits(0));
  EXPECT_EQ(rig_.shard().grant(0, 2).epoch, 4);
}

TEST_F(ShardStreams, ASpanWaitsForRestToo) {
  start(0, 1000, 10, session::REKEY_SOFT_LIMIT, session::kUnmodifiedPeer);
  rig_.install_next();
  rig_.shard().set_under_way(0, true);
  TxStream counter = counter_at(0);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(grant(counter).epoch, 3);
  EXPECT_TRUE(rig_.shard().rekey_waits(0));
}

TEST_F(ShardStreams, HardLimitsWinOverRest) {
  start(0, 1000, SEQ_REKEY_WATERMARK, 5, session::kUnmodifiedPeer);
  rig_.install_next();
  rig_.shard().set_under_way(0, true);
  hot().seals_in_epoch = session::kAeadMaxInvocations - 1;
  EXPECT_EQ(rig_.shard().grant(0, 2).epoch, 3);
  EXPECT_EQ(rig_.shard().grant(0, 2).epoch, 4);
  rig_.install_next();
  hot().tx[2].epoch_first = hot().tx[2].next - SEQ_REKEY_WATERMARK;
  EXPECT_EQ(rig_.shard().grant(0, 2).epoch, 5);
}

TEST_F(ShardStreams, AHardenedPeerNeedsNoRest) {
  start(0, 1000, SEQ_REKEY_WATERMARK, 5);
  rig_.install_next();
  rig_.shard().set_under_way(0, true);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(rig_.shard().grant(0, 2).epoch, 3);
  EXPECT_FALSE(rig_.shard().rekey_waits(0));
  EXPECT_EQ(rig_.shard().grant(0, 2).epoch, 4);
}

TEST_F(ShardStreams, WhatTheWorkerKnowsOfASlotEndsWithIt) {
  start(0, 1000, SEQ_REKEY_WATERMARK, 5, session::kUnmodifiedPeer | session::kUnderWay);
  EXPECT_EQ(hot().session_flags, session::kUnmodifiedPeer | session::kWatched) << "its traffic tells nothing";
}

TEST_F(ShardStreams, TheFrameCarriesTheDelayField) {
  start(0, 1000);
  std::array<std::uint8_t, 200> packet{};
  const TxGrant got = rig_.shard().grant(0, 1);
  session::write_packet_frame(packet.data(), hot(), got, 1, session::kFlagEncrypted, 0, 10, 0xabcd);
  EXPECT_EQ(session::load_be16(&packet[session::kOffAckDelay]), 0xabcd);
  session::write_packet_frame(packet.data(), hot(), got, 1, session::kFlagEncrypted, 0, 10);
  EXPECT_EQ(session::load_be16(&packet[session::kOffAckDelay]), 0);
}

}  // namespace
