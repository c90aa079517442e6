// Sessions that know their addresses: migration end to end, and attackers who re-send, guess and flood
// (protocol.md 10.5, 16.6; W-05, W-16, W-17).
#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "session/session.h"
#include "tests/support/path_bench.h"
#include "tests/support/session_bench.h"

namespace {

using session::DropReason;
using session::PathEnds;
using session::PathEvent;
using session::PathManager;
using session::Received;
using session::SessionState;
using support::Bytes;
using support::kMs;
using support::kSecond;
using support::v4;

const session::Endpoint kA = v4(1);
const session::Endpoint kA2 = v4(2);
const session::Endpoint kB = v4(10);
const Bytes kText(40, 0x45);

PathEnds back(const PathEnds& ends) {
  return {ends.remote, ends.local};
}

class Pair : public ::testing::Test {
 protected:
  struct Datagram {
    unsigned from;
    Bytes bytes;
    PathEnds as_sent;
  };

  Pair() {
    for (unsigned i = 0; i < 2; ++i) {
      options_[i].role = i == 0 ? session::Role::kInitiator : session::Role::kResponder;
      options_[i].id.fill(0x33);
    }
    options_[0].paths = {{kA, kB}};
    options_[1].paths = {{kB, kA}};
  }
  void boot() {
    for (unsigned i = 0; i < 2; ++i) {
      side_[i] = support::make_session(options_[i], support::test_secret(1), engine_, store_[i], now_);
    }
    run(100 * kMs);
  }
  // What side 0 sends comes from here, whatever it believes.
  PathEnds seen_by(unsigned to, PathEnds as_sent) const {
    if (to == 1 && outside_.family != 0) as_sent.local = outside_;
    return back(as_sent);
  }
  bool reaches(const Datagram& d) const {
    if (d.from == 0) return d.as_sent.remote == kB;
    const session::Endpoint& at = d.as_sent.remote;
    return outside_.family != 0 ? at == outside_ || (old_lives_ && at == kA) : at == kA || at == kA2;
  }

  void collect() {
    for (unsigned i = 0; i < 2; ++i) {
      Datagram d{i, {}, {}};
      while (side_[i]->next_datagram(d.bytes, d.as_sent)) {
        if (i == 1) bytes_to_[d.as_sent.remote.port] += 28 + d.bytes.size();
        if (reaches(d)) wire_.emplace_back(now_ + 5 * kMs, d);
      }
    }
  }
  Received hand(unsigned to, const Bytes& bytes, const PathEnds& from) {
    if (to == 1) bytes_from_[from.remote.port] += 28 + bytes.size();
    const Received got = side_[to]->receive(bytes, now_, from);
    if (got.kind == Received::Kind::kData) ++data_in_[to];
    collect();
    return got;
  }
  // Sends a data packet and hands it over at once; returns it.
  Datagram data(unsigned from, std::uint16_t stream = 1, bool deliver = true) {
    const auto way = side_[from]->route(stream);
    Datagram d{from, side_[from]->send(stream, session::kFlagUnreliable, kText, way.path_id, now_).datagram,
               way.ends};
    if (deliver && reaches(d)) (void)hand(1 - from, d.bytes, seen_by(1 - from, d.as_sent));
    return d;
  }
  void run(std::uint64_t for_ns) {
    const std::uint64_t end = now_ + for_ns;
    collect();
    while (now_ < end) {
      std::uint64_t next = end;
      for (const auto& [at, d] : wire_) next = std::min(next, at);
      for (const auto& s : side_) next = std::min(next, std::max(s->next_deadline_ns(), now_ + 1));
      now_ = next;
      std::vector<Datagram> due;
      std::erase_if(wire_, [&](const auto& one) {
        if (one.first > now_) return false;
        due.push_back(one.second);
        return true;
      });
      for (const Datagram& d : due) (void)hand(1 - d.from, d.bytes, seen_by(1 - d.from, d.as_sent));
      for (const auto& s : side_) {
        if (s->next_deadline_ns() <= now_) s->on_timer(now_);
      }
      collect();
    }
  }
  session::Session& a() { return *side_[0]; }
  session::Session& b() { return *side_[1]; }
  PathEnds b_sends_to() { return b().route(1).ends; }
  bool told(unsigned of, PathEvent event) {
    session::PathNotice notice;
    while (side_[of]->next_path_notice(notice)) notices_[of].push_back(notice.event);
    return std::count(notices_[of].begin(), notices_[of].end(), event) != 0;
  }

  crypto::Aead engine_;
  support::BenchOptions options_[2];
  session::MemoryStore store_[2];
  std::unique_ptr<session::Session> side_[2];
  std::vector<std::pair<std::uint64_t, Datagram>> wire_;
  session::Endpoint outside_;
  bool old_lives_ = false;
  std::map<std::uint16_t, std::uint64_t> bytes_to_;    // from side 1, by remote port
  std::map<std::uint16_t, std::uint64_t> bytes_from_;  // to side 1
  std::vector<PathEvent> notices_[2];
  std::uint64_t data_in_[2] = {};
  std::uint64_t now_ = kSecond;
};

TEST_F(Pair, TheSessionFollowsItsPeerAndSaysSo) {
  boot();
  (void)data(0);
  outside_ = v4(77, 7777);
  (void)data(0);
  EXPECT_EQ(b().state(), SessionState::Migrating);
  EXPECT_EQ(b_sends_to().remote, kA) << "until the echo";
  run(20 * kMs);
  EXPECT_EQ(b_sends_to().remote, outside_);
  EXPECT_EQ(b().state(), SessionState::Connected);
  EXPECT_TRUE(told(1, PathEvent::kMigrated));
  run(11 * kSecond);
  EXPECT_EQ(b().control().record().peer, outside_) << "for the next start";
}

TEST_F(Pair, AFailingStoreDoesNotStopMigration) {
  boot();
  (void)data(0);
  store_[1].fail(true);
  EXPECT_FALSE(b().ratchet_to_epoch(static_cast<std::uint8_t>(b().epoch() + 4), now_));
  EXPECT_TRUE(b().control().wants_store());
  outside_ = v4(77, 7777);
  (void)data(0);
  run(20 * kMs);
  EXPECT_EQ(b_sends_to().remote, outside_);
  run(10 * kSecond);
  EXPECT_TRUE(b().control().path_views()[0].up) << "probes go on";
}

TEST_F(Pair, AReplayBehindTheOriginalFromElsewhereIsNotEvenAHint) {
  boot();
  for (unsigned i = 0; i < 50; ++i) {
    const Datagram d = data(0);
    const Received got = hand(1, d.bytes, {kB, v4(99, 9900)});
    EXPECT_EQ(got.drop, DropReason::kReplayDuplicate);
  }
  run(5 * kSecond);
  EXPECT_EQ(bytes_to_[9900], 0U);
  EXPECT_EQ(b().state(), SessionState::Connected);
  EXPECT_EQ(b_sends_to().remote, kA);
}

TEST_F(Pair, AReplayBeforeTheOriginalFromElsewhereMovesNothing) {
  boot();
  for (unsigned i = 0; i < 2000; ++i) {
    const Datagram d = data(0, static_cast<std::uint16_t>(1 + i % 16), false);
    const auto attacker = static_cast<std::uint16_t>(9900 + i % 7);
    EXPECT_EQ(hand(1, d.bytes, {kB, v4(99, attacker)}).kind, Received::Kind::kData);
    EXPECT_EQ(hand(1, d.bytes, {kB, kA}).drop, DropReason::kReplayDuplicate);
    EXPECT_EQ(b_sends_to().remote, kA);
    run(10 * kMs);
  }
  for (std::uint16_t port = 9900; port < 9907; ++port) {
    EXPECT_LT(bytes_to_[port], 3 * bytes_from_[port]);
    EXPECT_LT(bytes_to_[port], 20'000U) << "attempts pause";
  }
  EXPECT_FALSE(told(1, PathEvent::kMigrated));
  EXPECT_TRUE(told(1, PathEvent::kRejected));
}

TEST_F(Pair, AGenuineMoveSucceedsInTheMidstOfReplays) {
  boot();
  outside_ = v4(77, 7777);
  const std::uint64_t start = now_;
  for (unsigned i = 0; b_sends_to().remote != outside_ && now_ < start + 30 * kSecond; ++i) {
    const Datagram d = data(0, static_cast<std::uint16_t>(1 + i % 16), i % 3 == 0);
    if (i % 3 != 0) (void)hand(1, d.bytes, {kB, v4(99, static_cast<std::uint16_t>(9900 + i))});
    run(2 * kMs);
  }
  EXPECT_EQ(b_sends_to().remote, outside_);
  EXPECT_LT(now_ - start, kSecond);
}

TEST_F(Pair, TheChallengeSentBackByItsReceiverIsNoEcho) {
  boot();
  const Datagram d = data(0, 1, false);
  (void)side_[1]->receive(d.bytes, now_, {kB, v4(99, 9900)});
  Datagram out{1, {}, {}};
  bool any = false;
  while (b().next_datagram(out.bytes, out.as_sent)) {
    if (out.as_sent.remote != v4(99, 9900)) continue;
    any = true;
    const Received got = hand(1, out.bytes, {kB, v4(99, 9900)});
    EXPECT_EQ(got.kind, Received::Kind::kDropped);
    EXPECT_EQ(got.drop, DropReason::kAuth);
  }
  EXPECT_TRUE(any);
  EXPECT_EQ(b_sends_to().remote, kA);
}

TEST_F(Pair, GuessedEchoesValidateNothing) {
  boot();
  // The worst that can guess: an authentic peer, on every id, from the very address that is challenged.
  outside_ = v4(77, 7777);
  const Datagram hint = data(0, 1, false);
  const PathEnds from{kB, outside_};
  (void)side_[1]->receive(hint.bytes, now_, from);
  Bytes dropped;
  PathEnds to;
  while (b().next_datagram(dropped, to)) {
  }
  for (unsigned i = 0; i < 3000; ++i) {
    const auto guess = support::value_of(i);
    const Bytes bytes =
        a().send(0, session::kFlagPathValidation, guess, static_cast<std::uint8_t>(i % 256), now_).datagram;
    EXPECT_NE(side_[1]->receive(bytes, now_, from).kind, Received::Kind::kPathValidated);
  }
  EXPECT_EQ(b_sends_to().remote, kA);
}

TEST_F(Pair, AFloodOfChallengesGetsBoundedRepliesAndLeavesNoState) {
  boot();
  const std::uint64_t start = now_;
  unsigned replies = 0;
  for (unsigned i = 0; i < 20'000; ++i) {
    const Bytes bytes = a().send(0, session::kFlagPathValidation, support::value_of(i),
                                 static_cast<std::uint8_t>(i % 251 + 1), now_)
                            .datagram;
    (void)side_[1]->receive(bytes, now_, {kB, v4(99, static_cast<std::uint16_t>(10'000 + i % 40'000))});
    Bytes out;
    PathEnds to;
    while (b().next_datagram(out, to)) ++replies;
    if (i % 10 == 0) {
      now_ += kMs;
      b().on_timer(now_);
    }
  }
  const std::uint64_t seconds = (now_ - start) / kSecond + 1;
  EXPECT_LE(replies,
            options_[1].policy.echo_burst + seconds * (options_[1].policy.echoes_per_second + 8 * 5));
  EXPECT_GT(b().control().path_manager().refused_total(), 15'000U);
  EXPECT_EQ(b_sends_to().remote, kA);
}

TEST_F(Pair, W05_EverythingOnStreamZeroCountsTogether) {
  boot();
  std::set<std::pair<std::uint16_t, std::uint32_t>> used;
  unsigned seen = 0;
  const auto note = [&](const Bytes& bytes) {
    const auto fields = session::load_fields(bytes.data());
    EXPECT_TRUE(used.emplace(fields.stream, fields.sequence).second);
    ++seen;
  };
  for (unsigned i = 0; i < 100; ++i) {
    note(b().send(0, session::kFlagReliable, kText, 0, now_).datagram);
    const Bytes challenge =
        a().send(0, session::kFlagPathValidation, support::value_of(i), 140, now_).datagram;
    (void)side_[1]->receive(challenge, now_, {kB, v4(77, static_cast<std::uint16_t>(7000 + i / 10))});
    now_ += 50 * kMs;
    b().on_timer(now_);
    Bytes out;
    while (b().next_datagram(out)) note(out);
  }
  EXPECT_GT(seen, 200U);
}

TEST_F(Pair, W16_DataOnASlotThatIsNotValidYetIsTakenWhenItIs) {
  options_[0].paths.push_back({kA2, kB});
  options_[1].paths.push_back({kB, kA2});
  for (unsigned i = 0; i < 2; ++i) {
    side_[i] = support::make_session(options_[i], support::test_secret(1), engine_, store_[i], now_);
  }
  const Bytes early = a().send(3, session::kFlagUnreliable, kText, 1, now_).datagram;
  EXPECT_EQ(b().receive(early, now_, {kB, kA2}).drop, DropReason::kPathNotValidated);
  run(100 * kMs);
  EXPECT_EQ(b().receive(early, now_, {kB, kA2}).kind, Received::Kind::kData);
  EXPECT_EQ(b().receive(early, now_, {kB, kA2}).drop, DropReason::kReplayDuplicate);
  EXPECT_EQ(b().route(1).path_id, 0);
}

TEST_F(Pair, AnOperatorsMoveAndARekeyDoNotDisturbEachOther) {
  boot();
  ASSERT_TRUE(a().migrate(0, {kA2, kB}, now_));
  EXPECT_EQ(a().state(), SessionState::Migrating);
  ASSERT_TRUE(a().rekey(now_));
  run(50 * kMs);
  EXPECT_EQ(a().route(1).ends.local, kA2);
  EXPECT_EQ(a().state(), SessionState::Connected);
  (void)data(0);
  EXPECT_EQ(b_sends_to().remote, kA2) << "ready since the challenge";
  EXPECT_EQ(b().epoch(), a().epoch());
  EXPECT_EQ(data_in_[1], 1U);
}

TEST_F(Pair, ARestartBeginsWhereThePeerWasLast) {
  boot();
  outside_ = v4(77, 7777);
  (void)data(0);
  run(12 * kSecond);
  (void)b().rekey(now_);
  run(100 * kMs);
  options_[1].paths = {{kB, {}}};
  side_[1].reset();
  side_[1] = support::make_session(options_[1], support::test_secret(1), engine_, store_[1], now_);
  EXPECT_EQ(b_sends_to().remote, outside_);
}

TEST_F(Pair, AThousandRebindingsLeaveNothingBehind) {
  boot();
  for (std::uint16_t i = 0; i < 1000; ++i) {
    outside_ = v4(77, static_cast<std::uint16_t>(20'000 + i));
    (void)data(0);
    run(150 * kMs);
    ASSERT_EQ(b_sends_to().remote, outside_) << i;
  }
  const auto view = b().control().path_views().at(0);
  EXPECT_EQ(view.migrations, 1000U);
  EXPECT_FALSE(view.candidate.has_value());
  EXPECT_LT(wire_.size(), 10U);
}

}  // namespace
