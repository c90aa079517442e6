// Session, the whole object in one thread: the weaknesses of the reference that it must not share
// (protocol.md 16, by number), rekeys in both directions, the restart rule end to end.
#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "session/session.h"
#include "tests/support/session_bench.h"

namespace {

using session::DropReason;
using session::Received;
using session::Sent;
using support::Bytes;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1'000 * kMs;
const Bytes kText(40, 0x45);

class TwoSessions : public ::testing::Test {
 protected:
  TwoSessions() {
    for (unsigned i = 0; i < 2; ++i) {
      options_[i].role = i == 0 ? session::Role::kInitiator : session::Role::kResponder;
      options_[i].id.fill(0x33);
      boot(i);
    }
  }
  void boot(unsigned i) {
    side_[i].reset();
    side_[i] = support::make_session(options_[i], support::test_secret(1), engine_, store_[i], now_);
  }
  session::Session& a() { return *side_[0]; }
  session::Session& b() { return *side_[1]; }

  Sent send(unsigned from, std::uint16_t stream = 1, std::uint16_t flags = session::kFlagUnreliable,
            const Bytes& text = kText, std::uint8_t path = 0) {
    Sent sent = side_[from]->send(stream, flags, text, path, now_);
    EXPECT_EQ(sent.drop, DropReason::kNone);
    return sent;
  }
  // Carries every control datagram both ways until both are quiet.
  void exchange() {
    for (bool moved = true; moved;) {
      moved = false;
      for (unsigned i = 0; i < 2; ++i) {
        Bytes datagram;
        while (side_[i]->next_datagram(datagram)) {
          (void)side_[1 - i]->receive(datagram, now_);
          moved = true;
        }
      }
    }
  }
  void drop_control() {
    Bytes datagram;
    for (auto& side : side_) {
      while (side->next_datagram(datagram)) {
      }
    }
  }

  crypto::Aead engine_;
  support::BenchOptions options_[2];
  session::MemoryStore store_[2];
  std::unique_ptr<session::Session> side_[2];
  std::uint64_t now_ = kSecond;
};

TEST_F(TwoSessions, DataFlowsBothWaysAndProbesMakeBothHeard) {
  exchange();
  EXPECT_TRUE(a().control().heard());
  EXPECT_TRUE(b().control().heard());
  for (unsigned i = 0; i < 2; ++i) {
    const Received got = side_[1 - i]->receive(send(i).datagram, now_);
    ASSERT_EQ(got.kind, Received::Kind::kData);
    ASSERT_EQ(got.payloads.size(), 1U);
    EXPECT_TRUE(std::equal(kText.begin(), kText.end(), got.payloads[0].begin()));
  }
  EXPECT_EQ(a().path_state(255), session::PathState::kUnknown);
}

TEST_F(TwoSessions, W01_NoPacketCarriesRekey) {
  drop_control();
  a().set_rekey_threshold(2);
  for (unsigned i = 0; i < 6; ++i) {
    const Sent sent = send(0, 1, session::kFlagReliable | session::kFlagRekey);
    EXPECT_EQ(session::load_be16(&sent.datagram[session::kOffFlags]) & session::kFlagRekey, 0);
  }
  EXPECT_GT(a().epoch(), 0);
}

TEST_F(TwoSessions, W02_UnsealedPacketsTouchNothing) {
  drop_control();
  for (const unsigned flags : {0U, 1U, 2U, 4U, 0x200U, 0x800U}) {
    Bytes datagram(session::kPacketOverhead - session::kTagBytes, 0);
    session::Header header;
    header.session_id = options_[1].id;
    header.stream_id = 9;
    header.flags = static_cast<std::uint16_t>(flags);
    session::encode_header(header, std::span<std::uint8_t, session::kHeaderBytes>(datagram.data(), 45));
    const Received got = b().receive(datagram, now_);
    EXPECT_EQ(got.drop, DropReason::kUnencrypted);
    EXPECT_FALSE(got.ack.has_value());
  }
  EXPECT_EQ(b().unencrypted_dropped_total(), 6U);
  EXPECT_EQ(b().hot().window_count, 0U);
  EXPECT_FALSE(b().control().heard());
}

TEST_F(TwoSessions, W05_EverythingOnStreamZeroSharesOneCounter) {
  std::set<std::tuple<std::uint8_t, std::uint16_t, std::uint32_t, std::uint8_t>> nonces;
  const auto note = [&](const Bytes& d) {
    EXPECT_TRUE(nonces
                    .emplace(d[session::kOffEpoch], session::load_be16(&d[session::kOffStream]),
                             session::load_be32(&d[session::kOffSequence]), d[session::kOffPath])
                    .second);
  };
  Bytes datagram;
  for (unsigned round = 0; round < 4; ++round) {
    ASSERT_TRUE(a().begin_path_validation(5, now_).has_value());
    ASSERT_TRUE(b().begin_path_validation(5, now_).has_value());
    note(send(0, 0, session::kFlagReliable).datagram);
    note(send(0, 0, session::kFlagAck, Bytes(4), 5).datagram);
    std::vector<Bytes> from_b;
    while (b().next_datagram(datagram)) from_b.push_back(datagram);
    for (const Bytes& d : from_b) (void)a().receive(d, now_);
    while (a().next_datagram(datagram)) {
      note(datagram);
      EXPECT_EQ(session::load_be16(&datagram[session::kOffStream]), 0);
    }
  }
  EXPECT_GE(nonces.size(), 12U);
}

TEST_F(TwoSessions, W07_ForgedPacketsDoNotCountAsOpens) {
  Bytes datagram = send(0).datagram;
  datagram[session::kPayloadOffset] ^= 1;
  for (unsigned i = 0; i < 100; ++i) EXPECT_EQ(b().receive(datagram, now_).drop, DropReason::kAuth);
  EXPECT_EQ(b().crypto_state().opens, 0U);
  EXPECT_EQ(b().aead_failed_total(), 100U);
}

TEST_F(TwoSessions, W08_EveryPacketOpensAtItsStampedEpoch) {
  exchange();
  for (unsigned i = 0; i < 100; ++i) {
    if (i % 3 == 0) {
      ASSERT_TRUE(a().rekey(now_));
    }
    const Sent sent = send(0);
    EXPECT_EQ(sent.epoch, a().epoch());
    EXPECT_EQ(sent.datagram[session::kOffEpoch], sent.epoch);
    EXPECT_EQ(b().receive(sent.datagram, now_).kind, Received::Kind::kData);
    EXPECT_EQ(a().receive(send(1).datagram, now_).kind, Received::Kind::kData);
    EXPECT_EQ(a().epoch(), b().epoch());
  }
}

TEST_F(TwoSessions, W09_TheLastEpochEndsTheSessionOnce) {
  support::resume_at(store_[0], options_[0], support::test_secret(1), 255, {}, 255);
  boot(0);
  drop_control();
  a().set_seq_rekey_watermark(4);
  unsigned sent = 0;
  while (a().send(1, 0, kText, 0, now_).drop == DropReason::kNone) ++sent;
  EXPECT_EQ(sent, 4U);
  EXPECT_EQ(a().state(), session::SessionState::Closed);
  EXPECT_EQ(a().epoch(), 255);
  unsigned dead = 0;
  session::SessionEvent event;
  while (a().next_event(event)) dead += event == session::SessionEvent::kDead ? 1U : 0U;
  EXPECT_EQ(dead, 1U);
  for (unsigned i = 0; i < 10; ++i) EXPECT_NE(a().send(1, 0, kText, 0, now_).drop, DropReason::kNone);
  EXPECT_FALSE(a().rekey(now_));
}

TEST_F(TwoSessions, W11_NothingOfThePreviousEpochIsLostInARekeyUnderReordering) {
  exchange();
  std::vector<Bytes> late;
  for (unsigned i = 0; i < 64; ++i) late.push_back(send(0).datagram);
  ASSERT_TRUE(a().rekey(now_));
  EXPECT_EQ(b().receive(send(0).datagram, now_).kind, Received::Kind::kData);
  EXPECT_EQ(b().epoch(), 1);
  std::reverse(late.begin(), late.end());
  for (const Bytes& d : late) EXPECT_EQ(b().receive(d, now_ + 2 * kSecond).kind, Received::Kind::kData);
  EXPECT_EQ(b().hot().grace_accepts, 64U);
}

TEST_F(TwoSessions, W12_OrderOfStreamsAndPacketKindsCausesNoRekey) {
  drop_control();
  for (unsigned i = 0; i < 200; ++i) {
    (void)send(0, static_cast<std::uint16_t>(1 + i % 7),
               i % 2 == 0 ? session::kFlagReliable : session::kFlagUnreliable);
    EXPECT_FALSE(a().send_needs_rekey(static_cast<std::uint16_t>(1 + i % 7)));
  }
  EXPECT_EQ(a().epoch(), 0);
  a().set_seq_rekey_watermark(29);  // stream 1 used 29 numbers
  EXPECT_TRUE(a().send_needs_rekey(1));
  (void)send(0, 1);
  EXPECT_EQ(a().epoch(), 1);
  EXPECT_FALSE(a().send_needs_rekey(1));
}

TEST_F(TwoSessions, W14_SequencesWrapWithoutLosingAPacket) {
  std::array<std::uint32_t, session::kTxStreams> first{};
  first[1] = 0xffffffe0U;
  support::resume_at(store_[0], options_[0], support::test_secret(1), 1, first);
  boot(0);
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_EQ(b().receive(send(0).datagram, now_).kind, Received::Kind::kData) << i;
  }
}

TEST_F(TwoSessions, W16_TheGateConsumesNoSequence) {
  const Bytes gated = send(0, 1, session::kFlagUnreliable, kText, 7).datagram;
  EXPECT_EQ(b().receive(gated, now_).drop, DropReason::kPathNotValidated);
  EXPECT_EQ(b().path_state(7), session::PathState::kUnvalidated);
  const session::PathChallenge value = *b().begin_path_validation(7, now_);
  ASSERT_TRUE(b().complete_path_validation(7, value, now_));
  EXPECT_EQ(b().receive(gated, now_).kind, Received::Kind::kData);
  EXPECT_EQ(b().receive(gated, now_).drop, DropReason::kReplayDuplicate);
}

TEST_F(TwoSessions, W17_CrossingChallengesValidateBothSides) {
  drop_control();
  ASSERT_TRUE(a().begin_path_validation(5, now_).has_value());
  ASSERT_TRUE(b().begin_path_validation(5, now_).has_value());
  exchange();
  EXPECT_EQ(a().path_state(5), session::PathState::kValidated);
  EXPECT_EQ(b().path_state(5), session::PathState::kValidated);
}

TEST_F(TwoSessions, W10_AuthenticDuplicatesAreAcknowledgedAgain) {
  const Bytes datagram = send(0, 3, session::kFlagReliable).datagram;
  for (unsigned i = 0; i < 2; ++i) {
    const Received got = b().receive(datagram, now_);
    ASSERT_TRUE(got.ack.has_value());
    EXPECT_EQ(got.ack->stream, 3);
  }
}

TEST_F(TwoSessions, BothSidesRekeyingAtOnceMeetInOneEpoch) {
  exchange();
  for (unsigned round = 0; round < 20; ++round) {
    const Bytes from_a = send(0).datagram;
    const Bytes from_b = send(1).datagram;
    ASSERT_TRUE(a().rekey(now_));
    ASSERT_TRUE(b().rekey(now_));
    EXPECT_EQ(b().receive(from_a, now_).kind, Received::Kind::kData);
    EXPECT_EQ(a().receive(from_b, now_).kind, Received::Kind::kData);
    EXPECT_EQ(b().receive(send(0).datagram, now_).kind, Received::Kind::kData);
    EXPECT_EQ(a().receive(send(1).datagram, now_).kind, Received::Kind::kData);
    EXPECT_EQ(a().epoch(), b().epoch());
  }
}

TEST_F(TwoSessions, AnIdlePeerFollowsByTheProbe) {
  exchange();
  ASSERT_TRUE(a().ratchet_to_epoch(3, now_));
  EXPECT_EQ(b().epoch(), 0);
  now_ = a().next_deadline_ns();
  a().on_timer(now_);
  exchange();
  EXPECT_EQ(b().epoch(), 3);
  EXPECT_EQ(a().control().peer_epoch(), 3);
}

TEST_F(TwoSessions, W41_ARestartedSessionIsFollowedAndRepeatsNoNonce) {
  std::set<std::pair<std::uint8_t, std::uint32_t>> used;
  for (unsigned life = 0; life < 8; ++life) {
    exchange();
    for (unsigned i = 0; i < 10; ++i) {
      const Sent sent = send(0);
      EXPECT_TRUE(used.emplace(sent.epoch, sent.sequence).second);
      EXPECT_EQ(b().receive(sent.datagram, now_).kind, Received::Kind::kData) << life;
      EXPECT_EQ(a().receive(send(1).datagram, now_).kind, Received::Kind::kData) << life;
    }
    boot(0);
  }
}

TEST_F(TwoSessions, NothingFromBeforeACrashIsAcceptedAfterIt) {
  exchange();
  std::vector<Bytes> before;
  for (unsigned i = 0; i < 20; ++i) {
    before.push_back(send(1).datagram);
    EXPECT_EQ(a().receive(before.back(), now_).kind, Received::Kind::kData);
  }
  boot(0);
  for (const Bytes& d : before) EXPECT_EQ(a().receive(d, now_).drop, DropReason::kEpochBehind);
}

TEST_F(TwoSessions, AFailingStoreHandsOutNothingNew) {
  options_[0].policy.sequence_block = 8;
  boot(0);
  drop_control();
  store_[0].fail(true);
  const std::uint8_t epoch = a().epoch();
  unsigned sent = 0;
  while (a().send(1, 0, kText, 0, now_).drop == DropReason::kNone) ++sent;
  EXPECT_EQ(sent, 8U);
  EXPECT_EQ(a().send(1, 0, kText, 0, now_).drop, DropReason::kSequenceUnreserved);
  EXPECT_FALSE(a().rekey(now_));
  EXPECT_FALSE(a().ratchet_to_epoch(static_cast<std::uint8_t>(epoch + 4), now_));
  EXPECT_EQ(a().epoch(), epoch);
  EXPECT_GT(a().store_failures_total(), 0U);
  EXPECT_THROW(boot(0), std::runtime_error);
  store_[0].fail(false);
  boot(0);
  EXPECT_EQ(send(0).datagram.size(), kText.size() + session::kPacketOverhead);
}

TEST_F(TwoSessions, ExpandedKeysComeBackWhenGracesEnd) {
  exchange();
  const std::uint32_t at_rest = a().free_keys();
  ASSERT_TRUE(a().ratchet_to_epoch(9, now_));
  ASSERT_TRUE(a().rekey(now_));
  EXPECT_LT(a().free_keys(), at_rest);
  now_ += 60 * kSecond;
  for (unsigned i = 0; i < 4; ++i) a().on_timer(now_ += 10 * kSecond);
  EXPECT_EQ(a().free_keys(), at_rest);
}

}  // namespace
