// The control side of a session: restart rule, durability before use, preparation, jumps, graces, catch-up.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/cold.h"
#include "session/memory_store.h"
#include "tests/support/packets.h"

namespace {

using session::AheadVerdict;
using session::ControlCommand;
using session::SessionControl;
using session::SessionEvent;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1'000 * kMs;

// One session's control side with everything around it; the owner of the shard is the test itself.
class Cold : public ::testing::Test {
 protected:
  explicit Cold(unsigned keys = 64) : slots_(keys), pool_(slots_) {
    identity_.name = "cold";
    for (std::size_t i = 0; i < identity_.id.size(); ++i) identity_.id[i] = static_cast<std::uint8_t>(i + 1);
  }

  void make() {
    crypto::TrafficSecret secret = support::test_secret();
    secret.data()[0] = static_cast<std::uint8_t>(secret.data()[0] ^ number_);
    secret.data()[1] = static_cast<std::uint8_t>(secret.data()[1] ^ (number_ >> 8));
    control_ = std::make_unique<SessionControl>(identity_, std::move(secret), policy_, 3, 9, pool_, aead_);
    control_->set_pace(pace_ns_);
  }
  // A new incarnation over the same store; true when it started and its record is durable.
  bool boot(std::uint64_t now_ns = 0) {
    make();
    const auto error = control_->start(store_.load(fingerprint()), now_ns);
    if (error) error_ = error->message;
    return !error && write();
  }
  session::Fingerprint fingerprint() const { return control_->record().fingerprint; }

  bool write() {
    if (!control_->wants_store()) return true;
    const session::StoreRecord record = control_->record();
    try {
      store_.commit({&record, 1});
    } catch (const std::runtime_error&) {
      return false;
    }
    control_->stored(now_);
    return true;
  }
  std::vector<ControlCommand> drain() {
    std::vector<ControlCommand> out;
    ControlCommand command;
    while (control_->next_command(command)) out.push_back(command);
    return out;
  }
  std::vector<ControlCommand> write_and_drain() {
    EXPECT_TRUE(write());
    return drain();
  }
  template <typename T>
  static std::vector<T> only(const std::vector<ControlCommand>& commands) {
    std::vector<T> out;
    for (const auto& c : commands) {
      if (const T* t = std::get_if<T>(&c)) out.push_back(*t);
    }
    return out;
  }
  bool said(SessionEvent wanted) {
    bool found = false;
    SessionEvent event;
    while (control_->next_event(event)) found = found || event == wanted;
    return found;
  }
  // An authentic packet of the peer, a responder.
  support::Bytes peer_packet(std::uint8_t epoch, std::uint32_t sequence = 1) {
    session::Header header;
    header.session_id = identity_.id;
    header.stream_id = 1;
    header.sequence = sequence;
    header.flags = session::kTunnelFlags;
    header.epoch = epoch;
    const support::Bytes text(20, 0x45);
    return support::seal_packet(aead_, support::test_secret(), false, header, text);
  }

  crypto::Aead aead_;
  std::vector<crypto::KeySlot> slots_;
  session::KeyPool pool_;
  session::MemoryStore store_;
  session::SessionIdentity identity_;
  unsigned number_ = 0;        // makes another secret
  std::uint64_t pace_ns_ = 0;  // set_pace()
  session::SessionPolicy policy_;
  std::unique_ptr<SessionControl> control_;
  std::string error_;
  std::uint64_t now_ = 0;
};

// ---- restart rule

TEST_F(Cold, FreshSessionStartsAtZeroWithNextTaken) {
  ASSERT_TRUE(boot());
  const session::SessionInit init = control_->initial();
  EXPECT_EQ(init.slot, 3U);
  EXPECT_EQ(init.generation, 9U);
  EXPECT_EQ(init.current.epoch, 0);
  EXPECT_TRUE(init.current.valid);
  EXPECT_EQ(init.seq_start[0], 0U);
  EXPECT_EQ(init.seq_limit[31], policy_.sequence_block);
  const auto next = only<session::CmdInstallNext>(drain());
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].next.epoch, 1);
  EXPECT_EQ(store_.load(fingerprint())->taken, 1);
  EXPECT_EQ(store_.load(fingerprint())->incarnations, 1U);
  EXPECT_TRUE(said(SessionEvent::kStarted));
}

TEST_F(Cold, W41_RestartResumesBehindEverythingTakenAndReserved) {
  ASSERT_TRUE(boot());
  control_->on_sequence_low(5, 3'000'000, 1);
  ASSERT_TRUE(write());
  const session::StoreRecord before = *store_.load(fingerprint());
  ASSERT_TRUE(boot());
  const session::SessionInit init = control_->initial();
  EXPECT_EQ(init.current.epoch, before.taken + 1);
  EXPECT_EQ(init.seq_start[5], 3'000'000U + policy_.sequence_block);
  for (unsigned i = 0; i < session::kTxStreams; ++i) {
    EXPECT_EQ(init.seq_start[i], before.seq_limit[i]);
    EXPECT_EQ(init.seq_limit[i], before.seq_limit[i] + policy_.sequence_block);
  }
  EXPECT_EQ(control_->incarnations(), 2U);
  EXPECT_TRUE(said(SessionEvent::kResumed));
}

TEST_F(Cold, W41_CrashBetweenWriteAndUseCostsOneEpochAndNothingElse) {
  for (unsigned boots = 0; boots < 5; ++boots) {
    ASSERT_TRUE(boot());
    const unsigned expected = boots == 0 ? 0 : boots + 1;  // 0 and its next, then one each
    EXPECT_EQ(control_->initial().current.epoch, expected);
  }
}

TEST_F(Cold, SequencesWrapAcrossARestart) {
  policy_.sequence_block = 16;
  ASSERT_TRUE(boot());
  std::uint64_t now = kSecond;
  for (const std::uint32_t next : {0x70000000U, 0xe0000000U, 0xfffffff8U}) {
    control_->on_sequence_low(1, next, now += 2 * kSecond);
  }
  ASSERT_TRUE(write());
  ASSERT_TRUE(boot());
  const session::SessionInit init = control_->initial();
  EXPECT_EQ(init.seq_start[1], 0xfffffff8U + 16U);
  EXPECT_EQ(init.seq_limit[1], 0xfffffff8U + 32U);
}

TEST_F(Cold, EpochsUsedUpRefusesToStartAndSaysWhatToDo) {
  make();
  session::StoreRecord record = control_->record();
  record.taken = 255;
  store_.commit({&record, 1});
  EXPECT_FALSE(boot());
  EXPECT_NE(error_.find("provide a new secret"), std::string::npos);
  record.taken = 254;
  store_.commit({&record, 1});
  ASSERT_TRUE(boot());
  EXPECT_EQ(control_->initial().current.epoch, 255);
  EXPECT_TRUE(said(SessionEvent::kEpochsLow));
  control_->on_heard(255, 1);
  EXPECT_TRUE(only<session::CmdInstallNext>(write_and_drain()).empty());
}

TEST_F(Cold, NothingLeavesBeforeTheRecordIsDurable) {
  store_.fail(true);
  EXPECT_FALSE(boot());
  EXPECT_EQ(control_->initial().slot, session::kNone);
  EXPECT_TRUE(drain().empty());
  EXPECT_TRUE(control_->wants_store());
  control_->stored(0);  // written, but this is the record of no one: record() was read before the failure
  store_.fail(false);
  EXPECT_TRUE(write());
  EXPECT_EQ(control_->initial().slot, 3U);
  EXPECT_FALSE(drain().empty());
}

TEST_F(Cold, AChangeBetweenReadingTheRecordAndStoredIsNotTakenForDurable) {
  ASSERT_TRUE(boot());
  drain();
  const session::StoreRecord old = control_->record();
  control_->on_advanced(1, kSecond);  // takes 2
  store_.commit({&old, 1});
  control_->stored(kSecond);
  EXPECT_TRUE(control_->wants_store());
  EXPECT_TRUE(drain().empty());
}

TEST_F(Cold, SecondStartIsRefused) {
  ASSERT_TRUE(boot());
  EXPECT_TRUE(control_->start(std::nullopt, 0).has_value());
}

TEST_F(Cold, RestartsTowardsASilentPeerCostOneEpochEach) {
  ASSERT_TRUE(boot());
  for (unsigned i = 0; i < 10; ++i) ASSERT_TRUE(boot());
  EXPECT_EQ(control_->initial().current.epoch, 11);
  EXPECT_TRUE(only<session::CmdInstallNext>(drain()).empty());
}

TEST_F(Cold, ResumedSessionPreparesNextWhenThePeerIsHeard) {
  ASSERT_TRUE(boot());
  ASSERT_TRUE(boot());
  drain();
  control_->on_heard(0, kSecond);
  EXPECT_TRUE(drain().empty()) << "the epoch must be recorded as taken first";
  const auto next = only<session::CmdInstallNext>(write_and_drain());
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].next.epoch, 3);
  EXPECT_EQ(store_.load(fingerprint())->taken, 3);
}

TEST_F(Cold, ResumedSessionThatOnlySendsPreparesNextWhenSequencesRunLow) {
  ASSERT_TRUE(boot());
  ASSERT_TRUE(boot());
  drain();
  control_->on_sequence_low(1, policy_.sequence_block * 3 / 2, kSecond);
  EXPECT_EQ(only<session::CmdInstallNext>(write_and_drain()).size(), 1U);
}

// ---- own rekeys, graces

TEST_F(Cold, AdvanceTakesAndInstallsTheEpochAfter) {
  ASSERT_TRUE(boot());
  drain();
  control_->on_advanced(1, kSecond);
  EXPECT_EQ(control_->current_epoch(), 1);
  EXPECT_TRUE(drain().empty());
  const auto next = only<session::CmdInstallNext>(write_and_drain());
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].next.epoch, 2);
  control_->on_advanced(1, kSecond);  // repeated report
  EXPECT_TRUE(write_and_drain().empty());
}

TEST_F(Cold, EveryPreviousEpochHasItsOwnGrace) {
  ASSERT_TRUE(boot());
  control_->on_heard(2, 0);
  control_->on_advanced(1, 10 * kSecond);
  control_->on_advanced(2, 11 * kSecond);
  write_and_drain();
  control_->on_timer(13 * kSecond - 1);
  EXPECT_TRUE(only<session::CmdRetirePrevious>(drain()).empty());
  control_->on_timer(13 * kSecond);
  auto retired = only<session::CmdRetirePrevious>(drain());
  ASSERT_EQ(retired.size(), 1U);
  EXPECT_EQ(retired[0].epoch, 0);
  control_->on_timer(14 * kSecond);
  retired = only<session::CmdRetirePrevious>(drain());
  ASSERT_EQ(retired.size(), 1U);
  EXPECT_EQ(retired[0].epoch, 1);
}

TEST_F(Cold, W11_GraceIsProlongedWhileThePeerMaySendInTheOldEpoch) {
  ASSERT_TRUE(boot());
  control_->on_heard(0, 0);
  control_->on_advanced(1, 10 * kSecond);
  write_and_drain();
  control_->on_timer(13 * kSecond);
  EXPECT_TRUE(only<session::CmdRetirePrevious>(drain()).empty());
  control_->on_heard(1, 14 * kSecond);
  control_->on_timer(16 * kSecond);
  EXPECT_EQ(only<session::CmdRetirePrevious>(write_and_drain()).size(), 1U);
}

TEST_F(Cold, GraceStartsWhenAJumpIsHandedOutNotWhenItIsDecided) {
  ASSERT_TRUE(boot());
  drain();
  store_.fail(true);
  ASSERT_EQ(control_->on_ahead_packet(peer_packet(5), kSecond), AheadVerdict::kCatchUp);
  EXPECT_FALSE(write());
  control_->on_timer(10 * kSecond);
  store_.fail(false);
  now_ = 10 * kSecond;
  EXPECT_TRUE(only<session::CmdRetirePrevious>(write_and_drain()).empty());
  control_->on_timer(13 * kSecond - 1);
  EXPECT_TRUE(only<session::CmdRetirePrevious>(drain()).empty());
  control_->on_timer(13 * kSecond);
  EXPECT_EQ(only<session::CmdRetirePrevious>(drain()).at(0).epoch, 4);
}

TEST_F(Cold, GraceEndsAtTheLatestAfterEight) {
  ASSERT_TRUE(boot());
  control_->on_heard(0, 0);
  control_->on_advanced(1, 10 * kSecond);
  write_and_drain();
  for (unsigned i = 1; i < 8; ++i) control_->on_timer(10 * kSecond + i * policy_.grace_ns);
  EXPECT_TRUE(only<session::CmdRetirePrevious>(drain()).empty());
  control_->on_timer(10 * kSecond + 8 * policy_.grace_ns);
  EXPECT_EQ(only<session::CmdRetirePrevious>(drain()).size(), 1U);
}

TEST_F(Cold, RequestedRekeysAreCarriedOutOneAfterTheOther) {
  ASSERT_TRUE(boot());
  drain();
  control_->request_rekey(1, kSecond);
  control_->request_rekey(1, kSecond);
  EXPECT_EQ(only<session::CmdRekey>(drain()).size(), 1U);
  control_->on_advanced(1, kSecond);
  const auto commands = write_and_drain();
  ASSERT_EQ(only<session::CmdInstallNext>(commands).size(), 1U);
  EXPECT_EQ(only<session::CmdRekey>(commands).size(), 1U);
  EXPECT_TRUE(std::holds_alternative<session::CmdRekey>(commands.back())) << "behind its next";
}

TEST_F(Cold, LocalJumpBringsCurrentNextAndWhatWasSkipped) {
  ASSERT_TRUE(boot());
  drain();  // next, epoch 1, is with the owner
  control_->request_rekey(4, kSecond);
  EXPECT_TRUE(drain().empty());
  const auto jumps = only<session::CmdJump>(write_and_drain());
  ASSERT_EQ(jumps.size(), 1U);
  const session::JumpInit& jump = *jumps[0].jump;
  EXPECT_EQ(jump.current.epoch, 4);
  EXPECT_NE(jump.current.send_key, session::kNone);
  EXPECT_EQ(jump.next.epoch, 5);
  ASSERT_EQ(jump.skipped_count, 2U);  // 1 is the owner's next already
  EXPECT_EQ(jump.skipped[0].epoch, 3);
  EXPECT_EQ(jump.skipped[1].epoch, 2);
  EXPECT_EQ(jump.skipped[0].send_key, session::kNone);
  EXPECT_FALSE(jump.by_peer);
  EXPECT_EQ(store_.load(fingerprint())->taken, 5);
  EXPECT_EQ(control_->current_epoch(), 4);
}

TEST_F(Cold, OwnEpochsStopBelowThePeersReachAndRestartsUseTheRest) {
  ASSERT_TRUE(boot());
  constexpr std::uint8_t kOwn = session::MAX_REKEY_CATCHUP - session::kRestartReserve;
  EXPECT_EQ(control_->furthest_epoch(), kOwn);
  for (std::uint8_t e = 1; e <= kOwn; ++e) control_->on_advanced(e, e * kSecond);
  EXPECT_EQ(only<session::CmdInstallNext>(write_and_drain()).back().next.epoch, kOwn);
  EXPECT_TRUE(said(SessionEvent::kPeerOutOfReach));
  control_->request_rekey(1, 20 * kSecond);
  control_->request_rekey(2, 20 * kSecond);
  EXPECT_EQ(control_->taken_epoch(), kOwn);
  for (std::uint8_t crash = 1; crash <= session::kRestartReserve; ++crash) {
    ASSERT_TRUE(boot(30 * kSecond));
    EXPECT_EQ(control_->current_epoch(), kOwn + crash);
    EXPECT_FALSE(said(SessionEvent::kPeerOutOfReach)) << "crash " << int{crash};
    control_->request_rekey(1, 31 * kSecond);
    EXPECT_EQ(only<session::CmdInstallNext>(write_and_drain()).size(), 0U);
  }
  ASSERT_TRUE(boot(40 * kSecond));
  EXPECT_TRUE(said(SessionEvent::kPeerOutOfReach));
}

TEST_F(Cold, PacketsFromBeforeARestartAreAHintUntilThePeerIsHeard) {
  ASSERT_TRUE(boot());
  EXPECT_FALSE(control_->initial().session_flags & session::kResumed);
  control_->on_heard(1, kSecond);  // written with the next step
  control_->on_advanced(1, kSecond);
  control_->on_advanced(2, kSecond);
  ASSERT_TRUE(write());
  ASSERT_EQ(store_.load(fingerprint())->peer_epoch, 1);
  ASSERT_TRUE(boot(10 * kSecond));
  ASSERT_EQ(control_->current_epoch(), 4);
  EXPECT_TRUE(control_->initial().session_flags & session::kResumed);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(0), 11 * kSecond), AheadVerdict::kForged) << "long left";
  for (const unsigned epoch : {1U, 2U, 3U, 1U}) {
    const auto packet = peer_packet(static_cast<std::uint8_t>(epoch));
    EXPECT_EQ(control_->on_ahead_packet(packet, 11 * kSecond), AheadVerdict::kBehind);
  }
  support::Bytes forged = peer_packet(2);
  forged.back() ^= 1;
  forged[forged.size() - session::kLengthBytes - 1] ^= 1;
  EXPECT_NE(control_->on_ahead_packet(forged, 11 * kSecond), AheadVerdict::kBehind);
  EXPECT_FALSE(control_->heard());
  EXPECT_EQ(control_->current_epoch(), 4);
  EXPECT_EQ(control_->peer_epoch(), 1) << "a replay proves nothing";
  const std::uint64_t derivations = control_->derivations();
  for (unsigned i = 0; i < 20; ++i) (void)control_->on_ahead_packet(peer_packet(2), 11 * kSecond);
  EXPECT_EQ(control_->derivations(), derivations);
  control_->on_heard(4, 12 * kSecond);
  EXPECT_NE(control_->on_ahead_packet(peer_packet(2), 12 * kSecond), AheadVerdict::kBehind);
}

TEST_F(Cold, NeverFurtherThanThePeerCouldFollow) {
  policy_.restart_reserve = 0;
  ASSERT_TRUE(boot());
  for (std::uint8_t e = 1; e <= 16; ++e) control_->on_advanced(e, e * kSecond);
  auto next = only<session::CmdInstallNext>(write_and_drain());
  EXPECT_EQ(next.back().next.epoch, 16);
  EXPECT_TRUE(said(SessionEvent::kPeerOutOfReach));
  control_->request_rekey(1, 20 * kSecond);
  control_->request_rekey(3, 20 * kSecond);
  EXPECT_EQ(control_->taken_epoch(), 16);
  control_->on_heard(3, 21 * kSecond);
  next = only<session::CmdInstallNext>(write_and_drain());
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].next.epoch, 17);
}

TEST_F(Cold, IntervalRekeysOnlyWithThePeerAndTraffic) {
  policy_.rekey_interval_ns = kSecond;
  ASSERT_TRUE(boot());
  drain();
  control_->on_timer(2 * kSecond);
  EXPECT_TRUE(only<session::CmdRekey>(drain()).empty()) << "peer not heard";
  control_->on_heard(0, 2 * kSecond);
  control_->on_traffic(3, 3);
  control_->on_timer(4 * kSecond);
  EXPECT_TRUE(only<session::CmdRekey>(drain()).empty()) << "too little traffic";
  control_->on_traffic(30, 30);
  control_->on_timer(5 * kSecond);
  EXPECT_EQ(only<session::CmdRekey>(drain()).size(), 1U);
  control_->on_advanced(1, 5 * kSecond);
  control_->on_heard(1, 5 * kSecond);
  write_and_drain();
  control_->on_timer(6 * kSecond);
  EXPECT_TRUE(only<session::CmdRekey>(drain()).empty()) << "no traffic in this epoch";
  EXPECT_GT(control_->next_deadline_ns(), 6 * kSecond) << "no busy loop";
}

TEST_F(Cold, W09_DeadSessionStopsAndSaysSoOnce) {
  ASSERT_TRUE(boot());
  drain();
  control_->on_dead(kSecond);
  control_->on_dead(kSecond);
  const auto commands = drain();
  ASSERT_EQ(only<session::CmdSetState>(commands).size(), 1U);
  EXPECT_EQ(control_->state(), session::LifeState::kDead);
  EXPECT_TRUE(said(SessionEvent::kDead));
  EXPECT_FALSE(said(SessionEvent::kDead));
  control_->request_rekey(1, kSecond);
  control_->on_timer(100 * kSecond);
  EXPECT_TRUE(drain().empty());
}

// ---- sequences

TEST_F(Cold, ReservationIsDurableBeforeItIsGranted) {
  ASSERT_TRUE(boot());
  drain();
  control_->on_sequence_low(2, 100, kSecond);
  EXPECT_TRUE(drain().empty() || !control_->wants_store());
  const auto grants = only<session::CmdGrantSequences>(write_and_drain());
  ASSERT_EQ(grants.size(), 1U);
  EXPECT_EQ(grants[0].stream, 2);
  EXPECT_EQ(grants[0].limit, 100 + policy_.sequence_block);
  EXPECT_EQ(store_.load(fingerprint())->seq_limit[2], grants[0].limit);
}

TEST_F(Cold, ReservationGrowsWhenAskedOftenAndNeverShrinks) {
  policy_.sequence_block = 1U << 24;
  ASSERT_TRUE(boot());
  std::uint32_t next = 0xff000000U;
  std::uint32_t limit = 0;
  for (unsigned i = 0; i < 6; ++i) {
    next += 1U << 24;
    control_->on_sequence_low(1, next, kSecond + i * kMs);
    limit = only<session::CmdGrantSequences>(write_and_drain()).at(0).limit;
  }
  EXPECT_EQ(limit - next, 1U << 26);
  control_->on_sequence_low(1, next - 5, 60 * kSecond);  // a late report
  EXPECT_EQ(only<session::CmdGrantSequences>(write_and_drain()).at(0).limit, limit);
  control_->on_sequence_low(32, 0, 60 * kSecond);
  EXPECT_TRUE(only<session::CmdGrantSequences>(write_and_drain()).empty());
}

// ---- packets ahead

TEST_F(Cold, CatchUpIsTakenBeforeTheOwnerMoves) {
  ASSERT_TRUE(boot());
  drain();
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(5), kSecond), AheadVerdict::kCatchUp);
  EXPECT_TRUE(drain().empty());
  const auto jumps = only<session::CmdJump>(write_and_drain());
  ASSERT_EQ(jumps.size(), 1U);
  EXPECT_TRUE(jumps[0].jump->by_peer);
  EXPECT_EQ(jumps[0].jump->current.epoch, 5);
  EXPECT_EQ(jumps[0].jump->skipped_count, 3U);
  EXPECT_EQ(store_.load(fingerprint())->taken, 6);
  EXPECT_TRUE(said(SessionEvent::kCaughtUp));
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(5), kSecond), AheadVerdict::kNotAhead);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(6), kSecond), AheadVerdict::kNotAhead);
}

TEST_F(Cold, PacketsBehindAPendingJumpFollowItAndAHigherOneExtendsIt) {
  ASSERT_TRUE(boot());
  drain();
  store_.fail(true);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(5), kSecond), AheadVerdict::kCatchUp);
  EXPECT_FALSE(write());
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(5, 2), kSecond), AheadVerdict::kCatchUp);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(3, 3), kSecond), AheadVerdict::kCatchUp);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(9, 4), kSecond), AheadVerdict::kCatchUp);
  support::Bytes forged = peer_packet(4);
  forged.back() ^= 0;
  forged[session::kPayloadOffset] ^= 1;
  EXPECT_EQ(control_->on_ahead_packet(forged, kSecond), AheadVerdict::kForged);
  EXPECT_TRUE(drain().empty());
  store_.fail(false);
  const auto jumps = only<session::CmdJump>(write_and_drain());
  ASSERT_EQ(jumps.size(), 2U);
  EXPECT_EQ(jumps[1].jump->current.epoch, 9);
  ASSERT_EQ(jumps[1].jump->skipped_count, 2U);  // 6 came as next of the first
  EXPECT_EQ(jumps[1].jump->skipped[1].epoch, 7);
}

TEST_F(Cold, EveryExpandedKeyOfAnEpochExistsOnce) {
  ASSERT_TRUE(boot());
  std::set<std::uint32_t> keys;
  std::multiset<std::uint8_t> send_epochs;
  const auto note = [&](const session::KeyRef& ref) {
    if (!ref.valid) return;
    EXPECT_TRUE(keys.insert(ref.recv_key).second);
    if (ref.send_key == session::kNone) return;
    EXPECT_TRUE(keys.insert(ref.send_key).second);
    send_epochs.insert(ref.epoch);
  };
  note(control_->initial().current);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(2), kSecond), AheadVerdict::kCatchUp);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(9), kSecond), AheadVerdict::kCatchUp);
  control_->request_rekey(3, kSecond);
  for (const auto& command : write_and_drain()) {
    if (const auto* c = std::get_if<session::CmdInstallNext>(&command)) note(c->next);
    const auto* j = std::get_if<session::CmdJump>(&command);
    if (j == nullptr) continue;
    note(j->jump->current);
    note(j->jump->next);
    for (unsigned i = 0; i < j->jump->skipped_count; ++i) note(j->jump->skipped[i]);
  }
  EXPECT_EQ(std::set<std::uint8_t>(send_epochs.begin(), send_epochs.end()).size(), send_epochs.size());
  EXPECT_EQ(keys.size() + pool_.free_count(), pool_.size());
}

TEST_F(Cold, W32_ForgedEpochsChangeNothingAndAreDerivedOnce) {
  policy_.trial_burst = 1000;
  ASSERT_TRUE(boot());
  drain();
  support::Bytes forged = peer_packet(16);
  forged[session::kPayloadOffset] ^= 1;
  EXPECT_EQ(control_->on_ahead_packet(forged, kSecond), AheadVerdict::kForged);
  const std::uint64_t derivations = control_->derivations();
  const std::uint32_t free_keys = pool_.free_count();
  for (unsigned i = 0; i < 500; ++i) {
    EXPECT_EQ(control_->on_ahead_packet(forged, kSecond), AheadVerdict::kForged);
  }
  EXPECT_EQ(control_->derivations(), derivations);
  EXPECT_EQ(pool_.free_count(), free_keys);
  EXPECT_EQ(control_->current_epoch(), 0);
  EXPECT_EQ(control_->taken_epoch(), 1);
  EXPECT_FALSE(control_->wants_store());
  EXPECT_FALSE(control_->heard());
}

TEST_F(Cold, W32_TrialsHaveABudget) {
  policy_.trial_burst = 8;
  policy_.trials_per_second = 10;
  ASSERT_TRUE(boot());
  support::Bytes forged = peer_packet(16);
  forged[session::kPayloadOffset] ^= 1;
  unsigned tried = 0;
  for (unsigned i = 0; i < 100; ++i) {
    tried += control_->on_ahead_packet(forged, kSecond) == AheadVerdict::kForged ? 1U : 0U;
  }
  EXPECT_EQ(tried, 8U);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(16), kSecond), AheadVerdict::kBudget);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(16), kSecond + 100 * kMs), AheadVerdict::kCatchUp);
}

TEST_F(Cold, W32_TrialKeysAreWipedAfterAWhile) {
  ASSERT_TRUE(boot());
  drain();
  support::Bytes forged = peer_packet(3);
  forged[session::kPayloadOffset] ^= 1;
  EXPECT_EQ(control_->on_ahead_packet(forged, kSecond), AheadVerdict::kForged);
  const std::uint64_t derivations = control_->derivations();
  control_->on_timer(6 * kSecond);
  EXPECT_EQ(control_->on_ahead_packet(forged, 6 * kSecond), AheadVerdict::kForged);
  EXPECT_GT(control_->derivations(), derivations);
}

TEST_F(Cold, AheadPacketsThatCannotBeOneAreForged) {
  ASSERT_TRUE(boot());
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(17), kSecond), AheadVerdict::kForged);
  EXPECT_EQ(control_->on_ahead_packet({}, kSecond), AheadVerdict::kForged);
  support::Bytes packet = peer_packet(3);
  packet.resize(packet.size() - 5);
  EXPECT_EQ(control_->on_ahead_packet(packet, kSecond), AheadVerdict::kForged);
  packet = peer_packet(3);
  packet[5] ^= 1;
  EXPECT_EQ(control_->on_ahead_packet(packet, kSecond), AheadVerdict::kForged);
}

TEST_F(Cold, ResumedSessionFollowsAPeerOneAheadByATrial) {
  ASSERT_TRUE(boot());
  ASSERT_TRUE(boot());  // at 2, no next
  drain();
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(3), kSecond), AheadVerdict::kCatchUp);
  const auto jumps = only<session::CmdJump>(write_and_drain());
  ASSERT_EQ(jumps.size(), 1U);
  EXPECT_EQ(jumps[0].jump->current.epoch, 3);
  EXPECT_EQ(jumps[0].jump->skipped_count, 0U);
  EXPECT_TRUE(control_->heard());
}

TEST_F(Cold, KeepPreviousOnlyBringsTheNewestSkippedEpochAlone) {
  policy_.keep_previous_only = true;
  ASSERT_TRUE(boot());
  drain();
  ASSERT_EQ(control_->on_ahead_packet(peer_packet(10), kSecond), AheadVerdict::kCatchUp);
  const auto jumps = only<session::CmdJump>(write_and_drain());
  ASSERT_EQ(jumps.at(0).jump->skipped_count, 1U);
  EXPECT_EQ(jumps[0].jump->skipped[0].epoch, 9);
}

// ---- too few keys

class ColdFewKeys : public Cold {
 protected:
  ColdFewKeys() : Cold(5) {}
};

TEST_F(ColdFewKeys, AJumpThatFindsTooFewKeysTakesNone) {
  ASSERT_TRUE(boot());
  drain();
  ASSERT_EQ(pool_.free_count(), 1U);
  EXPECT_EQ(control_->on_ahead_packet(peer_packet(9), kSecond), AheadVerdict::kBudget);
  EXPECT_EQ(pool_.free_count(), 1U);
  EXPECT_EQ(control_->current_epoch(), 0);
  EXPECT_EQ(control_->taken_epoch(), 1);
}

TEST_F(ColdFewKeys, NextIsPreparedLaterWhenKeysAreShort) {
  ASSERT_TRUE(boot());
  const session::KeyRef first = control_->initial().current;
  drain();
  control_->on_advanced(1, kSecond);
  EXPECT_TRUE(only<session::CmdInstallNext>(write_and_drain()).empty());
  EXPECT_EQ(pool_.free_count(), 1U);
  pool_.release(first.send_key);
  EXPECT_LE(control_->next_deadline_ns(), kSecond + 100 * kMs);
  control_->on_timer(kSecond + 100 * kMs);
  EXPECT_EQ(only<session::CmdInstallNext>(write_and_drain()).size(), 1U);
}

TEST_F(ColdFewKeys, KeysThatWereNeverHandedOutComeBack) {
  store_.fail(true);
  EXPECT_FALSE(boot());
  EXPECT_EQ(pool_.free_count(), 1U);
  control_.reset();
  EXPECT_EQ(pool_.free_count(), 5U);
}

// ---- announcement and paths

TEST_F(Cold, AnnouncesItselfPacedUntilThePeerIsHeard) {
  ASSERT_TRUE(boot());
  auto probes = only<session::CmdSendPathValidation>(drain());
  ASSERT_EQ(probes.size(), 1U);
  EXPECT_EQ(probes[0].path, 255);
  unsigned sent = 0;
  std::uint64_t last_gap = 0;
  std::uint64_t last = 0;
  for (std::uint64_t now = 0; now < 100 * kSecond; now += 10 * kMs) {
    control_->on_timer(now);
    if (only<session::CmdSendPathValidation>(drain()).empty()) continue;
    ++sent;
    last_gap = now - last;
    last = now;
  }
  EXPECT_GE(sent, 10U);
  EXPECT_LE(sent, 16U);
  EXPECT_EQ(last_gap, policy_.probe_max_ns);
  control_->on_heard(0, 100 * kSecond);
  write_and_drain();
  control_->on_timer(200 * kSecond);
  EXPECT_TRUE(only<session::CmdSendPathValidation>(drain()).empty());
}

TEST_F(Cold, AmongVeryManyItAnnouncesItselfAtTheirPace) {
  ASSERT_TRUE(boot());
  control_->set_pace(30 * kSecond);
  EXPECT_EQ(only<session::CmdSendPathValidation>(drain()).size(), 1U) << "the first one waits for nothing";
  std::vector<std::uint64_t> sent;
  for (std::uint64_t now = 0; now <= 200 * kSecond; now += 100 * kMs) {
    control_->on_timer(now);
    if (!only<session::CmdSendPathValidation>(drain()).empty()) sent.push_back(now);
  }
  ASSERT_GE(sent.size(), 6U) << "it does go on";
  for (std::size_t i = 2; i < sent.size(); ++i) EXPECT_EQ(sent[i] - sent[i - 1], 30 * kSecond);
}

// A hundred thousand sessions that start at once: their first words are spread over the pace.
TEST_F(Cold, AmongVeryManyTheFirstAnnouncementWaitsForItsTurn) {
  pace_ns_ = 10 * kSecond;
  std::vector<std::uint64_t> tenths(10);
  for (number_ = 0; number_ < 400; ++number_) {
    ASSERT_TRUE(boot());
    std::uint64_t at = 0;
    while (only<session::CmdSendPathValidation>(write_and_drain()).empty()) {
      at = control_->next_deadline_ns();
      ASSERT_LE(at, pace_ns_);
      control_->on_timer(at);
    }
    ++tenths[std::min<std::uint64_t>(at * 10 / pace_ns_, 9)];
  }
  for (const std::uint64_t n : tenths) EXPECT_GE(n, 15U) << "of 40 on average";
}

TEST_F(Cold, TellsThePeerOfAnEpochOfOurMaking) {
  ASSERT_TRUE(boot());
  control_->on_heard(0, 0);
  write_and_drain();
  control_->on_advanced(1, kSecond);
  write_and_drain();
  control_->on_timer(kSecond + policy_.probe_initial_ns);
  EXPECT_EQ(only<session::CmdSendPathValidation>(drain()).size(), 1U);
  control_->on_heard(1, 2 * kSecond);
  control_->on_timer(9 * kSecond);
  EXPECT_TRUE(only<session::CmdSendPathValidation>(write_and_drain()).empty());
}

TEST_F(Cold, AProbesEchoOpensNoPath) {
  ASSERT_TRUE(boot());
  const auto probe = only<session::CmdSendPathValidation>(drain()).at(0);
  EXPECT_EQ(control_->on_path_validation(probe.path, probe.value, kSecond), session::PathVerdict::kIgnored);
  EXPECT_EQ(control_->paths().state(probe.path), session::PathState::kUnknown);
  EXPECT_TRUE(drain().empty());
}

TEST_F(Cold, W17_CrossingProbesAreBothEchoed) {
  ASSERT_TRUE(boot());
  drain();
  session::PathChallenge foreign;
  foreign.fill(0x77);
  EXPECT_EQ(control_->on_path_validation(255, foreign, kSecond), session::PathVerdict::kEcho);
  const auto echoes = only<session::CmdSendPathValidation>(drain());
  ASSERT_EQ(echoes.size(), 1U);
  EXPECT_EQ(echoes[0].value, foreign);
  EXPECT_EQ(echoes[0].path, 255);
}

TEST_F(Cold, W17_EchoesAreRateLimited) {
  ASSERT_TRUE(boot());
  drain();
  session::PathChallenge foreign{};
  for (unsigned i = 0; i < 1000; ++i) {
    foreign[0] = static_cast<std::uint8_t>(i);
    (void)control_->on_path_validation(9, foreign, kSecond);
  }
  EXPECT_EQ(only<session::CmdSendPathValidation>(drain()).size(), policy_.echo_burst);
}

TEST_F(Cold, ValidatedPathIsToldToTheOwner) {
  ASSERT_TRUE(boot());
  drain();
  session::PathChallenge value;
  value.fill(5);
  ASSERT_EQ(control_->begin_path_validation(4, value, kSecond), value);
  EXPECT_EQ(only<session::CmdSendPathValidation>(drain()).at(0).value, value);
  EXPECT_EQ(control_->on_path_validation(4, value, kSecond), session::PathVerdict::kValidated);
  const auto told = only<session::CmdPathValidated>(drain());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].validated);
  EXPECT_FALSE(control_->begin_path_validation(4, value, kSecond).has_value());
  ASSERT_TRUE(control_->begin_path_validation(5, value, kSecond).has_value());
  control_->on_timer(4 * kSecond);
  EXPECT_EQ(control_->paths().state(5), session::PathState::kFailed);
}

TEST_F(Cold, ForecastFollowsTheRateOfEpochs) {
  ASSERT_TRUE(boot());
  EXPECT_LT(control_->epochs_left_seconds(kSecond), 0.0);
  control_->on_heard(2, 0);
  control_->on_advanced(1, 10 * kSecond);
  control_->on_advanced(2, 20 * kSecond);
  EXPECT_NEAR(control_->epochs_left_seconds(20 * kSecond), 252 * 10.0, 0.1);
}

TEST_F(Cold, ValidatedPeerIsKeptInTheRecord) {
  ASSERT_TRUE(boot());
  session::Endpoint peer;
  peer.family = 4;
  peer.port = 4500;
  control_->note_validated_peer(peer);
  EXPECT_TRUE(control_->wants_store());
  ASSERT_TRUE(write());
  ASSERT_TRUE(boot());
  EXPECT_EQ(control_->record().peer, peer);
  control_->note_validated_peer(peer);
  EXPECT_FALSE(control_->wants_store());
}

// ---- rest before a rekey, towards an unmodified peer (the protocol specification, section 1.4 rule 7)

class ColdRest : public Cold {
 protected:
  void begin(bool unmodified) {
    policy_.unmodified_peer = unmodified;
    policy_.rekey_interval_ns = kSecond;
    ASSERT_TRUE(boot());
    (void)control_->initial();
    control_->on_heard(0, 0);
    (void)write_and_drain();
  }
  std::size_t rekeys() { return only<session::CmdRekey>(write_and_drain()).size(); }
};

TEST_F(ColdRest, ARequestWaitsForRest) {
  begin(true);
  control_->set_at_rest(false, kMs);
  control_->request_rekey(1, 2 * kMs);
  EXPECT_EQ(rekeys(), 0U);
  EXPECT_TRUE(control_->rekey_waits());
  control_->set_at_rest(true, 3 * kMs);
  EXPECT_EQ(rekeys(), 1U);
  EXPECT_FALSE(control_->rekey_waits());
  control_->on_advanced(1, 4 * kMs);
  EXPECT_FALSE(said(SessionEvent::kRekeyForced));
}

TEST_F(ColdRest, AJumpThatWaitsIsMadeStepByStep) {
  begin(true);
  control_->set_at_rest(false, kMs);
  control_->request_rekey(3, 2 * kMs);
  EXPECT_TRUE(only<session::CmdJump>(write_and_drain()).empty());
  control_->set_at_rest(true, 3 * kMs);
  for (std::uint8_t epoch = 1; epoch <= 3; ++epoch) {
    ASSERT_EQ(rekeys(), 1U) << unsigned{epoch};
    control_->on_advanced(epoch, 4 * kMs);
  }
  EXPECT_EQ(rekeys(), 0U);
  EXPECT_EQ(control_->current_epoch(), 3);
}

TEST_F(ColdRest, StepsStopWhenDataIsUnderWayAgain) {
  begin(true);
  control_->set_at_rest(false, kMs);
  control_->request_rekey(2, kMs);
  control_->set_at_rest(true, 2 * kMs);
  ASSERT_EQ(rekeys(), 1U);
  control_->set_at_rest(false, 3 * kMs);
  control_->on_advanced(1, 4 * kMs);
  EXPECT_FALSE(said(SessionEvent::kRekeyForced)) << "it was asked for";
  EXPECT_EQ(rekeys(), 0U);
  control_->set_at_rest(true, 5 * kMs);
  EXPECT_EQ(rekeys(), 1U);
}

TEST_F(ColdRest, TheIntervalWaitsForRestAndAsksOnce) {
  begin(true);
  control_->set_at_rest(false, kMs);
  for (std::uint64_t at = kSecond; at < 20 * kSecond; at += kSecond / 8) {
    control_->on_timer(at);
    ASSERT_EQ(rekeys(), 0U) << at;
  }
  EXPECT_TRUE(control_->rekey_waits());
  control_->set_at_rest(true, 20 * kSecond);
  EXPECT_EQ(rekeys(), 1U);
  control_->on_advanced(1, 20 * kSecond);
  EXPECT_EQ(rekeys(), 0U) << "what waited was one rekey";
}

TEST_F(ColdRest, AHardLimitDoesNotWaitAndIsTold) {
  begin(true);
  control_->set_at_rest(false, kMs);
  control_->on_advanced(1, 2 * kMs);
  EXPECT_TRUE(said(SessionEvent::kRekeyForced));
  control_->on_heard(2, 3 * kMs);
  control_->on_advanced(2, 3 * kMs);
  EXPECT_FALSE(said(SessionEvent::kRekeyForced)) << "the peer's epoch is followed at once";
}

TEST_F(ColdRest, AHardenedPeerNeedsNoRest) {
  begin(false);
  control_->set_at_rest(false, kMs);
  control_->request_rekey(1, 2 * kMs);
  EXPECT_EQ(rekeys(), 1U);
  EXPECT_FALSE(control_->rekey_waits());
}

}  // namespace
