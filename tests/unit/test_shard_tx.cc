// A shard's send half: sequence numbers, the rekey decision and where it ends (the protocol specification,
// section 6.5; W-04, W-08, W-09, W-12).
#include <array>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/shard_rig.h"

namespace {

using session::DropReason;
using session::kNone;
using session::LifeState;
using session::SessionHot;
using session::TxGrant;

class ShardTx : public ::testing::Test {
 protected:
  void start(unsigned epoch, std::uint32_t first, std::uint32_t limit, std::uint32_t watermark,
             std::uint64_t soft_limit = session::REKEY_SOFT_LIMIT) {
    session::SessionInit init = rig_.make_init(0, 1, epoch);
    init.seq_start.fill(first);
    init.seq_limit.fill(limit);
    init.seq_rekey_watermark = watermark;
    init.rekey_soft_limit = soft_limit;
    ASSERT_TRUE(rig_.commands().add(init));
  }
  TxGrant grant(std::uint16_t stream = 1) { return rig_.shard().grant(0, stream); }
  SessionHot& hot() { return rig_.hot(); }
  bool owes(std::uint8_t bit) { return (hot().pending & bit) != 0; }

  support::ShardRig rig_;
};

TEST_F(ShardTx, EveryStreamCountsForItself) {
  rig_.add();
  for (std::uint32_t i = 0; i < 5; ++i) {
    for (std::uint16_t stream = 0; stream < session::kTxStreams; ++stream) {
      const TxGrant got = grant(stream);
      ASSERT_EQ(got.drop, DropReason::kNone);
      ASSERT_EQ(got.sequence, i);
    }
  }
  EXPECT_EQ(hot().seals_in_epoch, 5U * session::kTxStreams);
  EXPECT_EQ(grant(session::kTxStreams).drop, DropReason::kNoSendKey);
  EXPECT_EQ(grant(65535).drop, DropReason::kNoSendKey);
}

// W-08: key, prefix and epoch of a grant belong together, also of those granted around a swap.
TEST_F(ShardTx, GrantsAreOfOneEpoch) {
  start(7, 0, 1000, session::SEQ_REKEY_WATERMARK, 4);
  rig_.install_next();
  const session::KeyRef before = hot().current;
  const session::KeyRef after = hot().next;
  for (unsigned i = 0; i < 8; ++i) {
    const session::KeyRef& expected = i < 4 ? before : after;
    const TxGrant got = grant();
    EXPECT_EQ(got.epoch, expected.epoch) << i;
    EXPECT_EQ(got.key, expected.send_key) << i;
    EXPECT_EQ(got.nonce_prefix, expected.nonce_prefix) << i;
    EXPECT_EQ(got.sequence, i) << "sequences go on across epochs";
  }
}

TEST_F(ShardTx, OnlyALiveSessionSends) {
  rig_.add();
  const std::pair<LifeState, bool> cases[] = {{LifeState::kFree, false},     {LifeState::kConnected, true},
                                              {LifeState::kMigrating, true}, {LifeState::kClosing, true},
                                              {LifeState::kClosed, false},   {LifeState::kDead, false}};
  for (const auto& [state, sends] : cases) {
    hot().state = state;
    EXPECT_EQ(grant().drop, sends ? DropReason::kNone : DropReason::kSessionClosed);
  }
}

TEST_F(ShardTx, NoSendKeyNoGrant) {
  session::SessionInit init = rig_.make_init(0, 1);
  init.current = rig_.make_ref(0, true);
  ASSERT_TRUE(rig_.commands().add(init));
  EXPECT_EQ(grant().drop, DropReason::kNoSendKey);
  EXPECT_EQ(hot().tx[1].next, 0U);
}

// ---- reservations

TEST_F(ShardTx, ReservationEndsClosedAndOpensWithTheNextGrant) {
  start(0, 100, 110, session::SEQ_REKEY_WATERMARK);
  for (std::uint32_t i = 100; i < 110; ++i) ASSERT_EQ(grant().sequence, i);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(grant().drop, DropReason::kSequenceUnreserved);
  EXPECT_EQ(hot().seals_in_epoch, 10U);
  EXPECT_EQ(grant(2).sequence, 100U) << "another stream has its own reservation";
  ASSERT_TRUE(rig_.commands().grant_sequences(0, 1, 1, 112));
  EXPECT_EQ(grant().sequence, 110U);
  EXPECT_EQ(grant().sequence, 111U);
  EXPECT_EQ(grant().drop, DropReason::kSequenceUnreserved);
}

TEST_F(ShardTx, ReservationAcrossTheWrap) {
  start(0, 0xfffffff8U, 8, session::SEQ_REKEY_WATERMARK);
  for (std::uint32_t i = 0; i < 16; ++i) ASSERT_EQ(grant().sequence, 0xfffffff8U + i);
  EXPECT_EQ(grant().drop, DropReason::kSequenceUnreserved);
  EXPECT_EQ(hot().current.epoch, 0) << "a wrap is no reason to rekey";
}

TEST_F(ShardTx, LowReservationIsReportedOnceAGrant) {
  start(0, 0, 1024, session::SEQ_REKEY_WATERMARK);
  for (const std::uint32_t end : {1024U, 2048U}) {
    std::uint32_t told_at = 0;
    unsigned reports = 0;
    while (grant(3).drop == DropReason::kNone) {
      if (!owes(session::kPendingSeqLow)) continue;
      ++reports;
      told_at = end - hot().tx[3].next;
      EXPECT_EQ(hot().seq_low_streams, 1U << 3);
      hot().seq_low_streams = 0;
      rig_.shard().settle(0, session::kPendingSeqLow);
    }
    EXPECT_EQ(reports, 1U);
    EXPECT_GE(told_at, 1024U / 4);
    EXPECT_LE(told_at, 1024U / 2);
    ASSERT_TRUE(rig_.commands().grant_sequences(0, 1, 3, end + 1024));
  }
}

// However small a reservation is, control hears of it before or with its last number.
TEST_F(ShardTx, SmallReservationsAreReportedToo) {
  for (std::uint32_t size = 1; size < 40; ++size) {
    support::ShardRig rig;
    session::SessionInit init = rig.make_init(0, 1);
    init.seq_limit.fill(size);
    ASSERT_TRUE(rig.commands().add(init));
    for (std::uint32_t i = 0; i < size; ++i) ASSERT_EQ(rig.shard().grant(0, 1).drop, DropReason::kNone);
    EXPECT_TRUE(rig.hot().pending & session::kPendingSeqLow) << size;
    EXPECT_EQ(rig.hot().seq_low_streams, 2U) << size;
  }
}

// ---- when to rekey

TEST_F(ShardTx, SoftLimitSwapsWhenNextIsThere) {
  start(0, 0, 1000, session::SEQ_REKEY_WATERMARK, 10);
  for (int i = 0; i < 25; ++i) ASSERT_EQ(grant().epoch, 0) << "without a next the hard limits decide";
  EXPECT_EQ(hot().rekeys, 0U);
  rig_.install_next();
  EXPECT_EQ(grant().epoch, 1);
  EXPECT_EQ(hot().rekeys, 1U);
  EXPECT_EQ(hot().followed, 0U);
  EXPECT_EQ(hot().seals_in_epoch, 1U);
  EXPECT_TRUE(owes(session::kPendingAdvanced));
  rig_.install_next();
  for (int i = 0; i < 9; ++i) ASSERT_EQ(grant().epoch, 1);
  EXPECT_EQ(grant().epoch, 2);
}

TEST_F(ShardTx, WatermarkIsTheSpanOfOneStreamInOneEpoch) {
  start(0, 5'000, 1'000'000, 10);
  rig_.install_next();
  for (std::uint16_t stream = 1; stream <= 20; ++stream) {
    for (int i = 0; i < 10; ++i) ASSERT_EQ(grant(stream).epoch, 0) << "the sum over streams does not count";
  }
  EXPECT_EQ(grant(4).epoch, 1);
  rig_.install_next();
  for (std::uint16_t stream = 1; stream <= 20; ++stream) {
    for (int i = 0; i < 9; ++i)
      ASSERT_EQ(grant(stream).epoch, 1) << "numbers of the epoch before do not count";
  }
}

// W-12: whatever a stream's number is, below or far above those of others, it is no span.
TEST_F(ShardTx, NumbersOfOtherStreamsAreNoSpan) {
  session::SessionInit init = rig_.make_init(0, 1);
  for (std::uint32_t i = 0; i < session::kTxStreams; ++i) {
    init.seq_start[i] = i % 2 == 0 ? 0xfffffffeU - i : i;
    init.seq_limit[i] = init.seq_start[i] + 100'000;
  }
  init.seq_rekey_watermark = 1'000;
  ASSERT_TRUE(rig_.commands().add(init));
  rig_.install_next();
  for (int i = 0; i < 1'000; ++i) {
    for (std::uint16_t stream = 0; stream < session::kTxStreams; ++stream) ASSERT_EQ(grant(stream).epoch, 0);
  }
  EXPECT_EQ(hot().rekeys, 0U);
}

// A stream that rests for an epoch starts its span anew, even when an epoch number would look the same.
TEST_F(ShardTx, AStreamThatRestedHasNoSpan) {
  start(0, 0, 1'000'000, 100);
  for (int i = 0; i < 99; ++i) ASSERT_EQ(grant(2).epoch, 0);
  rig_.rekey_to(3);
  rig_.install_next();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(grant(2).epoch, 3);
  EXPECT_EQ(grant(2).epoch, 4);
}

// ---- where it ends

TEST_F(ShardTx, HardLimitsHoldWhenThereIsNoNext) {
  rig_.add(3);
  (void)grant();
  hot().seals_in_epoch = session::kAeadMaxInvocations;
  EXPECT_EQ(grant().drop, DropReason::kAeadLimit);
  EXPECT_EQ(hot().state, LifeState::kConnected) << "a next epoch ends it";
  rig_.install_next();
  EXPECT_EQ(grant().epoch, 4);
}

TEST_F(ShardTx, SpanOfTwoToTheThirtyOneIsNeverExceeded) {
  start(3, 7, 7 + 0x80000010U, session::SEQ_REKEY_WATERMARK);
  (void)grant();
  hot().tx[1].next = 7 + 0x7fffffffU;
  EXPECT_EQ(grant().sequence, 7 + 0x7fffffffU) << "the 2^31st of the epoch";
  EXPECT_EQ(grant().drop, DropReason::kAeadLimit);
  EXPECT_EQ(grant(2).drop, DropReason::kNone);
  rig_.install_next();
  EXPECT_EQ(grant().epoch, 4);
}

// A soft limit above the hard one must still rekey, not run into it.
TEST_F(ShardTx, SoftLimitIsNeverAboveTheHardOne) {
  start(3, 0, 1000, session::SEQ_REKEY_WATERMARK, ~std::uint64_t{0});
  rig_.install_next();
  hot().seals_in_epoch = session::kAeadMaxInvocations;
  EXPECT_EQ(grant().epoch, 4);
}

// W-09: the end of epoch 255 is one error and silence.
TEST_F(ShardTx, EndOfTheLastEpochIsSaidOnce) {
  start(255, 0, 1000, 5);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(grant().epoch, 255);
  EXPECT_FALSE(owes(session::kPendingDead));
  EXPECT_EQ(grant().drop, DropReason::kEpochExhausted);
  EXPECT_EQ(hot().state, LifeState::kDead);
  EXPECT_TRUE(owes(session::kPendingDead));
  rig_.shard().settle(0, 0xff);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(grant(static_cast<std::uint16_t>(i % 32)).drop, DropReason::kSessionClosed);
  }
  EXPECT_EQ(hot().pending, 0) << "said once";
  EXPECT_EQ(hot().seals_in_epoch, 5U);
  const session::RxFields f{1, 1, session::kTunnelFlags, 255, 0};
  EXPECT_EQ(rig_.shard().pick_key(hot(), f, 0).drop, DropReason::kSessionClosed);
}

TEST_F(ShardTx, LastEpochIgnoresTheSoftLimitButNotTheHardOne) {
  start(255, 0, 1000, session::SEQ_REKEY_WATERMARK, 5);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(grant().epoch, 255);
  hot().seals_in_epoch = session::kAeadMaxInvocations;
  EXPECT_EQ(grant().drop, DropReason::kEpochExhausted) << "no next will ever come";
  EXPECT_EQ(hot().state, LifeState::kDead);
  EXPECT_TRUE(owes(session::kPendingDead));
}

// ---- frames

TEST_F(ShardTx, FrameAroundAGrant) {
  rig_.add(9);
  const TxGrant got = grant(5);
  constexpr std::uint32_t kText = 11;
  std::vector<std::uint8_t> packet(session::kPacketOverhead + kText, 0xee);
  session::write_packet_frame(packet.data(), hot(), got, 5, session::kTunnelFlags, 3, kText);
  session::Frame frame{};
  ASSERT_TRUE(session::parse_frame(packet, frame));
  EXPECT_EQ(frame.payload_bytes, kText + session::kTagBytes);
  EXPECT_EQ(frame.ext_bytes, 0U);
  const session::Header header =
      session::decode_header(std::span<const std::uint8_t, session::kHeaderBytes>(packet.data(), 45));
  session::Header expected;
  expected.session_id = hot().id;
  expected.stream_id = 5;
  expected.sequence = got.sequence;
  expected.flags = session::kTunnelFlags;
  expected.epoch = 9;
  expected.path_id = 3;
  EXPECT_EQ(header, expected);
  for (std::uint32_t i = 0; i < kText + session::kTagBytes; ++i) {
    ASSERT_EQ(packet[session::kPayloadOffset + i], 0xee) << "plaintext and tag belong to the caller";
  }
}

}  // namespace
