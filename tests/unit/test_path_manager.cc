// PathManager: validation, migration, the fallback, and what keeps a stranger from moving traffic
// (protocol.md 10, 10.5, 16.6; W-17).
#include <cstdio>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/path_bench.h"

namespace {

using session::PathEnds;
using session::PathEvent;
using session::PathManager;
using session::PathPolicy;
using session::PathSend;
using session::PathState;
using session::PathVerdict;
using support::kMs;
using support::kSecond;
using support::PathBench;
using support::to;
using support::value_of;

const PathEnds kHome = to(10);
const PathEnds kAway = to(20);
const PathEnds kThird = to(30);

bool is_challenge(const PathSend& send) {
  return send.path_id >= PathManager::kFirstChallengeId && send.path_id <= PathManager::kLastChallengeId;
}

class PathManagerOne : public ::testing::Test {
 protected:
  // The first challenge to `ends` among what is sent now.
  PathSend challenge_to(const PathEnds& ends) {
    PathSend found{};
    for (const PathSend& send : b_.sent()) {
      if (send.ends == ends && is_challenge(send) && found.path_id == 0) found = send;
    }
    EXPECT_NE(found.path_id, 0) << "no challenge was sent";
    return found;
  }
  void move_to(const PathEnds& ends) {
    b_.source(ends);
    EXPECT_EQ(b_.echo(challenge_to(ends)), PathVerdict::kValidated);
    EXPECT_EQ(b_.at(), ends);
  }
  // Probes of the fallback and of everything else that is asked for are answered for a while.
  void settle(std::uint64_t for_ns = 300 * kMs) {
    b_.run(for_ns, [](const PathSend&) { return true; });
  }

  PathPolicy policy_;
  PathBench b_{policy_, {kHome}};
};

TEST_F(PathManagerOne, SlotZeroIsValidFromTheStart) {
  EXPECT_EQ(b_.at(), kHome);
  EXPECT_TRUE(b_.pm.validated(0));
  EXPECT_FALSE(b_.pm.validated(1));
  EXPECT_EQ(b_.pm.view().at(0).state, PathState::kValidated);
  EXPECT_EQ(b_.pm.schedule().count, 1U);
}

TEST_F(PathManagerOne, AHintIsChallengedAndOnlyTheEchoFromThereMoves) {
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
  EXPECT_EQ(b_.at(), kHome);
  const PathSend challenge = challenge_to(kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, challenge.value, kThird), PathVerdict::kIgnored);
  EXPECT_EQ(b_.comes(challenge.path_id, challenge.value, kHome), PathVerdict::kIgnored);
  PathSend wrong = challenge;
  wrong.path_id = static_cast<std::uint8_t>(challenge.path_id + 1);
  EXPECT_EQ(b_.echo(wrong), PathVerdict::kIgnored);
  EXPECT_EQ(b_.at(), kHome);
  const std::uint64_t before = b_.pm.schedule_version();
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_EQ(b_.pm.primary(), kAway);
  EXPECT_GT(b_.pm.schedule_version(), before);
  EXPECT_FALSE(b_.pm.migrating());
  const auto events = b_.events();
  EXPECT_TRUE(PathBench::has(events, PathEvent::kCandidate));
  EXPECT_TRUE(PathBench::has(events, PathEvent::kMigrated));
  EXPECT_EQ(b_.pm.view().at(0).migrations, 1U);
  EXPECT_EQ(b_.pm.view().at(0).fallback, kHome);
}

// A session among very many is probed at their pace, unless it has another address to turn to.
TEST_F(PathManagerOne, ALoneAddressIsProbedAtThePaceThatIsSet) {
  const auto probes = [&](const PathEnds& ends) {
    return std::count_if(b_.log.begin(), b_.log.end(),
                         [&](const auto& one) { return one.send.ends == ends && !is_challenge(one.send); });
  };
  b_.pm.set_lone_interval(30 * kSecond);
  for (int i = 0; i < 100; ++i) {
    b_.pm.on_traffic(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i), b_.now);
    b_.run(kSecond, [](const PathSend&) { return true; });
  }
  EXPECT_GE(probes(kHome), 2);
  EXPECT_LE(probes(kHome), 5);
  b_.log.clear();
  move_to(kAway);  // and has a way back for 30 s
  settle(10 * kSecond);
  EXPECT_GE(probes(kAway), 8) << "an alternative is worth being noticed soon";
}

TEST_F(PathManagerOne, APortAloneAndAnotherFamilyAreAddressesToo) {
  move_to(to(10, 4001));
  settle();
  move_to({support::v6(1), support::v6(9)});
}

TEST_F(PathManagerOne, ASilentCandidateIsRejectedAfterItsSendsAndTriedAgainOnlyAfterAPause) {
  const auto home_lives = [](const PathSend& send) { return send.ends == kHome; };
  b_.source(kAway, 0, 1400);
  b_.run(policy_.attempt_timeout_ns - kMs, home_lives);
  unsigned sends = 0;
  std::set<session::PathChallenge> values;
  for (const auto& one : b_.log) {
    if (!is_challenge(one.send)) continue;
    ++sends;
    values.insert(one.send.value);
  }
  EXPECT_EQ(sends, PathManager::kAttemptSends);
  EXPECT_EQ(values.size(), sends) << "every send has its own value";
  EXPECT_TRUE(b_.pm.migrating());
  b_.run(2 * kMs, home_lives);
  EXPECT_FALSE(b_.pm.migrating());
  EXPECT_TRUE(PathBench::has(b_.events(), PathEvent::kRejected));
  EXPECT_EQ(b_.at(), kHome);
  b_.source(kAway);  // in the pause
  b_.run(policy_.attempt_pause_ns / 2, home_lives);
  EXPECT_FALSE(b_.pm.migrating());
  b_.run(policy_.attempt_pause_ns, home_lives);
  EXPECT_FALSE(b_.pm.migrating()) << "only a new packet starts another attempt";
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
  // The second pause is twice as long.
  b_.run(policy_.attempt_timeout_ns + policy_.attempt_pause_ns + 10 * kMs, home_lives);
  b_.source(kAway);
  EXPECT_FALSE(b_.pm.migrating());
  b_.run(policy_.attempt_pause_ns, home_lives);
  b_.source(kAway);
  EXPECT_TRUE(b_.pm.migrating());
}

TEST_F(PathManagerOne, AnyOfTheSendsMayBeTheOneThatComesThrough) {
  b_.source(kAway, 0, 1400);
  b_.run(400 * kMs);
  std::vector<PathSend> challenges;
  for (const auto& one : b_.log) {
    if (is_challenge(one.send)) challenges.push_back(one.send);
  }
  ASSERT_GE(challenges.size(), 3U);
  EXPECT_EQ(b_.echo(challenges[1]), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
}

TEST_F(PathManagerOne, AnEchoThatComesAfterItsAttemptIsNeitherTakenNorSentBack) {
  b_.source(kAway);
  const PathSend old = challenge_to(kAway);
  b_.run(policy_.attempt_timeout_ns + 60 * kSecond);
  (void)b_.sent();
  EXPECT_EQ(b_.echo(old), PathVerdict::kIgnored);
  EXPECT_EQ(b_.comes(77, old.value, kAway), PathVerdict::kIgnored);
  for (const PathSend& send : b_.sent()) EXPECT_NE(send.value, old.value);
  EXPECT_EQ(b_.at(), kHome);
}

TEST_F(PathManagerOne, W17_AForeignValueOnAnIdOfOursIsEchoedOnce) {
  b_.source(kAway);
  const PathSend challenge = challenge_to(kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, value_of(5), kAway), PathVerdict::kEcho);
  const auto echoes = b_.sent();
  ASSERT_GE(echoes.size(), 1U);
  EXPECT_EQ(echoes[0].value, value_of(5));
  EXPECT_EQ(echoes[0].path_id, challenge.path_id);
  EXPECT_EQ(echoes[0].ends, kAway);
  EXPECT_EQ(b_.comes(challenge.path_id, value_of(5), kAway), PathVerdict::kIgnored);
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated) << "the attempt went on";
}

TEST_F(PathManagerOne, EchoesOfOneSecondAreBounded) {
  for (unsigned i = 0; i < 10'000; ++i) (void)b_.comes(9, value_of(i), kHome);
  EXPECT_LE(b_.sent().size(), policy_.echo_burst);
  EXPECT_GE(b_.pm.refused_total(), 10'000U - policy_.echo_burst);
  b_.now += kSecond;
  for (unsigned i = 0; i < 10'000; ++i) (void)b_.comes(9, value_of(i), kHome);
  EXPECT_LE(b_.sent().size(), policy_.echo_burst);
}

// ---- what goes to an address nobody has proven

TEST_F(PathManagerOne, AnAddressGetsLessThanThreeTimesWhatCameFromIt) {
  for (unsigned i = 0; i < 400; ++i) {  // one packet from each: the shortest there is, or a challenge
    b_.source(to(20, static_cast<std::uint16_t>(5000 + i)), 0, 69);
    b_.comes(static_cast<std::uint8_t>(140 + i % 100), value_of(i),
             to(20, static_cast<std::uint16_t>(6000 + i)));
    b_.run(30 * kMs);
  }
  for (unsigned i = 0; i < 400; ++i) {  // and several
    b_.source(to(20, static_cast<std::uint16_t>(7000 + i % 40)), 0, 69);
    b_.comes(static_cast<std::uint8_t>(140 + i % 100), value_of(500 + i),
             to(20, static_cast<std::uint16_t>(8000 + i % 40)));
    b_.run(30 * kMs);
  }
  b_.run(20 * kSecond);
  const auto home = PathBench::key(kHome);
  for (const auto& [address, wire] : b_.wire) {
    if (address == home) continue;
    EXPECT_LT(wire.out, 3 * wire.in) << address.first;
  }
}

TEST_F(PathManagerOne, TheShortestPacketBuysTwoChallengesAndMorePacketsBuyMore) {
  b_.source(kAway, 0, 69);
  b_.run(kSecond);
  const auto challenges = [&] {
    return std::count_if(b_.log.begin(), b_.log.end(),
                         [](const auto& one) { return is_challenge(one.send); });
  };
  EXPECT_EQ(challenges(), 2);
  b_.source(kAway, 0, 69);
  b_.run(kSecond);
  EXPECT_GT(challenges(), 2);
}

TEST_F(PathManagerOne, AnOperatorsAddressNeedsNoAllowance) {
  EXPECT_FALSE(b_.pm.migrate(1, kAway, b_.now)) << "no such slot";
  EXPECT_FALSE(b_.pm.migrate(0, kHome, b_.now)) << "there already";
  ASSERT_TRUE(b_.pm.migrate(0, kAway, b_.now));
  EXPECT_TRUE(b_.pm.migrating());
  EXPECT_EQ(b_.echo(challenge_to(kAway)), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
  b_.now += kSecond;
  ASSERT_TRUE(b_.pm.migrate(0, kThird, b_.now));
  b_.run(policy_.attempt_timeout_ns + kMs);
  EXPECT_TRUE(PathBench::has(b_.events(), PathEvent::kRejected));
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_FALSE(b_.pm.view().at(0).candidate.has_value());
}

// ---- a table that strangers cannot fill

TEST_F(PathManagerOne, ManySourcesHoldNoStateBeyondTheTableAndCannotStopAMigration) {
  // An attacker is first with half of the packets, each from another address; none of them answers.
  unsigned forged = 0;
  std::uint64_t took_ns = 0;
  const std::uint64_t start = b_.now;
  while (b_.at() == kHome && b_.now < start + 60 * kSecond) {
    for (unsigned i = 0; i < 5; ++i) {
      b_.source(to(99, static_cast<std::uint16_t>(10'000 + forged++ % 50'000)));
    }
    b_.source(kAway);
    b_.run(10 * kMs, [](const PathSend& send) { return send.ends == kAway || send.ends == kHome; });
    took_ns = b_.now - start;
  }
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_LT(took_ns, 5 * kSecond);
  unsigned strangers = 0;
  for (const auto& one : b_.log)
    strangers += one.send.ends.remote == support::v4(99) || one.send.ends.remote.port >= 10'000;
  EXPECT_LT(strangers, 200U) << "newcomers are paced";
  EXPECT_GT(b_.pm.refused_total(), 0U);
}

TEST_F(PathManagerOne, AFloodThatWasThereBeforeCannotStopAMigrationEither) {
  unsigned forged = 0;
  const auto flood = [&] {
    for (unsigned i = 0; i < 5; ++i)
      b_.source(to(99, static_cast<std::uint16_t>(10'000 + forged++ % 50'000)));
  };
  for (unsigned i = 0; i < 200; ++i) {
    flood();
    b_.run(10 * kMs);
  }
  const std::uint64_t start = b_.now;
  while (b_.at() == kHome && b_.now < start + 60 * kSecond) {
    flood();
    b_.source(kAway);
    b_.run(10 * kMs, [](const PathSend& send) { return send.ends == kAway; });
  }
  EXPECT_LT(b_.now - start, kSecond);
}

TEST_F(PathManagerOne, ACandidateThatMakesProgressKeepsItsPlace) {
  b_.source(kAway);
  const PathSend challenge = challenge_to(kAway);
  // Its echo takes long; meanwhile a flood from elsewhere, and one packet in three is its own.
  for (unsigned i = 0; i < 300; ++i) {
    b_.source(to(99, static_cast<std::uint16_t>(10'000 + i)));
    b_.source(to(98, static_cast<std::uint16_t>(10'000 + i)));
    b_.source(kAway);
    b_.run(5 * kMs, [](const PathSend& send) { return send.ends == kHome; });  // or it would be in a hurry
  }
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
}

TEST_F(PathManagerOne, AFreshCandidateHasTimeToAnswerWhoeverSendsMore) {
  b_.source(kAway);
  const PathSend challenge = challenge_to(kAway);
  for (unsigned i = 0; i < 2000; ++i) {
    b_.source(to(99, static_cast<std::uint16_t>(10'000 + i / 20 % 12)));
    if (i % 20 == 0) b_.run(2 * kMs);
  }
  EXPECT_EQ(b_.echo(challenge), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway);
}

// The peer moves `moves` times, `dwell_ns` at each address, to where nothing reaches it, and then to kAway,
// where it is reached; its own address is gone from the first move on. `spoofers` addresses send as often as
// it does. How long until traffic goes to kAway.
std::uint64_t dark_ns(unsigned moves, std::uint64_t dwell_ns, unsigned spoofers) {
  PathBench b(PathPolicy{}, {kHome});
  b.traffic = true;
  b.run(2 * kSecond, [](const PathSend&) { return true; });
  const auto speak = [&](const PathEnds& from, const PathEnds& lives) {
    for (unsigned i = 0; i < spoofers; ++i) b.source(to(99, static_cast<std::uint16_t>(10'000 + i)));
    b.source(from);
    b.run(10 * kMs, [&](const PathSend& send) { return send.ends == lives; });
  };
  for (unsigned i = 0; i < moves; ++i) {
    const PathEnds dead = to(40, static_cast<std::uint16_t>(5000 + i));
    for (std::uint64_t t = 0; t < dwell_ns; t += 10 * kMs) speak(dead, {});
  }
  const std::uint64_t start = b.now;
  while (b.at() != kAway && b.now < start + 120 * kSecond) speak(kAway, kAway);
  return b.now - start;
}

TEST_F(PathManagerOne, AfterManyDeadAddressesALiveOneIsFoundSoon) {
  struct Case {
    unsigned spoofers;
    std::uint64_t most_ns;
  };
  for (const Case c : {Case{0, 500 * kMs}, Case{8, 2 * kSecond}}) {
    std::uint64_t worst = 0;
    for (const unsigned moves : {1U, 3U, 4U, 10U, 30U}) {
      for (const std::uint64_t dwell : {30 * kMs, 100 * kMs, 300 * kMs, 1000 * kMs, 4000 * kMs}) {
        worst = std::max(worst, dark_ns(moves, dwell, c.spoofers));
      }
    }
    std::printf("  %u spoofers: %.0f ms at worst\n", c.spoofers, static_cast<double>(worst) / kMs);
    EXPECT_LT(worst, c.most_ns) << c.spoofers;
  }
}

// Nothing reaches the peer for a while, wherever it is; what comes from it still comes.
TEST_F(PathManagerOne, AnAddressThatFailedOftenIsFoundSoonWhenItLivesAndNothingElseDoes) {
  std::uint64_t worst = 0;
  for (std::uint64_t outage = 5 * kSecond; outage < 100 * kSecond; outage += 3 * kSecond) {
    PathBench b(PathPolicy{}, {kHome});
    b.traffic = true;
    b.run(2 * kSecond, [](const PathSend&) { return true; });
    const std::uint64_t heals = b.now + outage;
    while (b.at() != kAway && b.now < heals + 120 * kSecond) {
      b.source(kAway);
      b.run(10 * kMs, [&](const PathSend& send) { return b.now >= heals && send.ends == kAway; });
    }
    worst = std::max(worst, b.now - heals);
  }
  std::printf("  %.0f ms at worst\n", static_cast<double>(worst) / kMs);
  EXPECT_LT(worst, 2500 * kMs);
}

// Attempts that are shorter while nothing lives must not miss a peer that became slow.
TEST_F(PathManagerOne, ASlowAddressIsFoundToo) {
  b_.traffic = true;
  settle(2 * kSecond);
  const std::uint64_t start = b_.now;
  while (b_.at() == kHome && b_.now < start + 60 * kSecond) {
    b_.source(kAway);
    b_.run(
        10 * kMs, [](const PathSend& send) { return send.ends == kAway; }, 1'400 * kMs);
  }
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_LT(b_.now - start, 6 * kSecond);
}

TEST_F(PathManagerOne, WithThePolicyOffNothingMovesAndEchoesStillGo) {
  PathPolicy off;
  off.migration = session::MigrationPolicy::kOff;
  PathBench b(off, {kHome});
  b.source(kAway);
  EXPECT_TRUE(b.sent().empty());
  EXPECT_EQ(b.comes(200, value_of(1), kAway), PathVerdict::kEcho);
  const auto echoes = b.sent();
  ASSERT_EQ(echoes.size(), 1U);
  EXPECT_EQ(echoes[0].ends, kAway);
  b.run(10 * kSecond);
  EXPECT_EQ(b.at(), kHome);
  EXPECT_TRUE(b.pm.migrate(0, kAway, b.now)) << "an operator may";
}

// ---- the way back

TEST_F(PathManagerOne, TheFallbackIsReturnedToWithoutAChallengeOnceItsProbeWasAnswered) {
  move_to(kAway);
  settle();
  (void)b_.events();
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kHome) << "at once";
  EXPECT_TRUE(PathBench::has(b_.events(), PathEvent::kReturned));
}

TEST_F(PathManagerOne, AFallbackThatWasNotHeardSinceMustAnswerAChallenge) {
  move_to(kAway);
  b_.run(300 * kMs, [](const PathSend& send) { return send.ends == kAway; });
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_EQ(b_.echo(challenge_to(kHome)), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kHome);
}

TEST_F(PathManagerOne, StragglersOfTheAddressThatWasLeftMoveNothing) {
  move_to(kAway);
  for (unsigned i = 0; i < 9; ++i) {
    settle(10 * kMs);
    b_.source(kHome);
    EXPECT_EQ(b_.at(), kAway) << i;
  }
  settle(20 * kMs);
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kHome);
}

TEST_F(PathManagerOne, StragglersAreWaitedForTwoRoundTrips) {
  b_.source(kAway, 0, 1400);
  const PathSend challenge = challenge_to(kAway);
  b_.now += 250 * kMs;
  ASSERT_EQ(b_.echo(challenge), PathVerdict::kValidated);
  b_.run(
      300 * kMs, [](const PathSend&) { return true; }, 250 * kMs);
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kAway) << "its last packets may be on their way for so long";
  b_.run(
      250 * kMs, [](const PathSend&) { return true; }, 250 * kMs);
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kHome);
}

TEST_F(PathManagerOne, ASlotMovesOnceInAHundredMillisecondsHoweverManyAddressesAnswer) {
  b_.source(kAway);
  const PathSend first = challenge_to(kAway);
  b_.source(kThird);
  const PathSend second = challenge_to(kThird);
  ASSERT_EQ(b_.echo(first), PathVerdict::kValidated);
  ASSERT_EQ(b_.echo(second), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kAway) << "where it came from before is not where it goes next";
  b_.source(kThird);
  EXPECT_EQ(b_.at(), kAway) << "too soon";
  settle(PathManager::kMoveGapNs - kMs);
  EXPECT_EQ(b_.at(), kAway);
  settle(2 * kMs);
  EXPECT_EQ(b_.at(), kThird) << "its time came, no further packet was needed";
}

TEST_F(PathManagerOne, WhereThePeerWasBeforeItMovedOnIsNotReturnedToByALateEcho) {
  b_.source(kAway);
  const PathSend late = challenge_to(kAway);
  b_.source(kThird);
  ASSERT_EQ(b_.echo(challenge_to(kThird)), PathVerdict::kValidated);
  b_.run(2 * PathManager::kMoveGapNs, [](const PathSend& send) { return send.ends != kAway; });
  ASSERT_EQ(b_.echo(late), PathVerdict::kValidated);
  settle(2 * PathManager::kMoveGapNs);
  EXPECT_EQ(b_.at(), kThird);
}

TEST_F(PathManagerOne, FlappingIsBounded) {
  move_to(kAway);
  const std::uint64_t start = b_.now;
  for (unsigned i = 0; i < 2000; ++i) {
    b_.source(i % 2 == 0 ? kHome : kAway);
    settle(kMs);
  }
  const std::uint64_t most = (b_.now - start) / PathManager::kMoveGapNs + 2;
  EXPECT_LE(b_.pm.view().at(0).migrations, most);
  EXPECT_GE(b_.pm.view().at(0).migrations, 3U);
}

TEST_F(PathManagerOne, TheFallbackIsForgottenAfterItsTime) {
  move_to(kAway);
  settle(policy_.fallback_ns + kSecond);
  EXPECT_FALSE(b_.pm.view().at(0).fallback.has_value());
  b_.source(kHome);
  EXPECT_EQ(b_.at(), kAway);
  EXPECT_EQ(b_.echo(challenge_to(kHome)), PathVerdict::kValidated);
}

TEST_F(PathManagerOne, WhenTheNewAddressDiesTheFallbackThatAnswersIsTaken) {
  move_to(kAway);
  b_.traffic = true;
  settle(2 * kSecond);
  const std::uint64_t start = b_.now;
  while (b_.at() == kAway && b_.now < start + 10 * kSecond) {
    b_.run(10 * kMs, [](const PathSend& send) { return send.ends == kHome; });
  }
  EXPECT_EQ(b_.at(), kHome);
  EXPECT_LT(b_.now - start, 800 * kMs) << "a few hundred milliseconds";
  EXPECT_TRUE(PathBench::has(b_.events(), PathEvent::kDown));
}

TEST_F(PathManagerOne, AnAddressThatOnlyAChallengeNamedIsReadyButNotMovedTo) {
  EXPECT_EQ(b_.comes(200, value_of(1), kAway), PathVerdict::kEcho);
  auto sends = b_.sent();
  ASSERT_EQ(sends.size(), 2U) << "the echo, and our own challenge at once";
  EXPECT_EQ(sends[0].value, value_of(1));
  EXPECT_EQ(b_.echo(sends[1]), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kHome);
  b_.run(kSecond);
  EXPECT_EQ(b_.at(), kHome);
  b_.source(kAway);
  EXPECT_EQ(b_.at(), kAway) << "data from there: no further round trip";
}

// After a restart nobody reads the peer's older packets, and probes may be all that still arrives of it.
TEST_F(PathManagerOne, AProbeFromBeforeARestartTellsWhereThePeerMayBe) {
  b_.source(kAway, PathManager::kTopProbeId, PathManager::kChallengeBytes);
  EXPECT_EQ(b_.echo(challenge_to(kAway)), PathVerdict::kValidated);
  EXPECT_EQ(b_.at(), kHome) << "as after a challenge: ready, and no more";
  b_.traffic = true;
  b_.rx_grows = 0;
  b_.run(8 * kSecond, [](const PathSend& send) { return send.ends == kAway; });
  EXPECT_EQ(b_.at(), kAway) << "nothing answers at home";
}

// Without a round trip a probe is waited for a second, and the fastest probing would forget it before.
TEST_F(PathManagerOne, AnAddressThatNeverAnsweredGoesDownHoweverFastItIsProbed) {
  b_.traffic = true;
  b_.rx_grows = 0;
  for (unsigned i = 0; i < 40; ++i) {  // somebody's hints ask for a probe each
    b_.source(to(static_cast<std::uint8_t>(100 + i)));
    b_.run(100 * kMs);
  }
  EXPECT_FALSE(b_.pm.view().at(0).up);
}

TEST_F(PathManagerOne, AnIdleSessionWithOneAddressIsNotProbed) {
  b_.run(600 * kSecond);
  EXPECT_TRUE(b_.log.empty());
  b_.traffic = true;
  b_.run(60 * kSecond, [](const PathSend&) { return true; });
  EXPECT_GE(b_.log.size(), 20U);
  EXPECT_NEAR(b_.pm.view().at(0).srtt_ms, 20, 1);
  b_.traffic = false;
  b_.log.clear();
  b_.run(600 * kSecond, [](const PathSend&) { return true; });
  EXPECT_LE(b_.log.size(), 2U) << "probes are no traffic";
}

TEST_F(PathManagerOne, TrafficFromThePeerIsLifeEnough) {
  b_.traffic = true;
  b_.run(60 * kSecond);  // probes are never answered, packets come
  EXPECT_TRUE(b_.pm.view().at(0).up);
  b_.rx_grows = 0;
  b_.run(20 * kSecond);
  EXPECT_FALSE(b_.pm.view().at(0).up);
  b_.run(20 * kSecond, [](const PathSend&) { return true; });
  EXPECT_TRUE(b_.pm.view().at(0).up);
  const auto events = b_.events();
  EXPECT_TRUE(PathBench::has(events, PathEvent::kDown));
  EXPECT_TRUE(PathBench::has(events, PathEvent::kUp));
}

}  // namespace
