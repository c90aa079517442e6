// Two PathManagers over a network: migration of either side and of both, several slots, failover, schedulers.
#include <gtest/gtest.h>

#include "tests/support/path_net.h"

namespace {

using session::PathEnds;
using session::PathEvent;
using session::PathPolicy;
using session::PathScheduler;
using support::kMs;
using support::kSecond;
using support::PathNet;
using support::v4;
using support::v6;

const session::Endpoint kA = v4(1);
const session::Endpoint kA2 = v4(2);
const session::Endpoint kB = v4(10);
const session::Endpoint kB2 = v4(11);
const PathEnds kFromA{kA, kB};
const PathEnds kFromB{kB, kA};

PathNet one_path(const PathPolicy& policy = {}) {
  PathNet net(policy, {kFromA}, {kFromB});
  net.data_gap_ns = {2 * kMs, 2 * kMs};
  return net;
}
PathNet two_paths(const PathPolicy& policy) {
  PathNet net(policy, {kFromA, {kA2, kB2}}, {kFromB, {kB2, kA2}});
  net.data_gap_ns = {2 * kMs, 2 * kMs};
  return net;
}
std::uint64_t lost(const PathNet& net, unsigned from) {
  return net.side[from].data_sent - net.side[1 - from].data_in;
}
void drain(PathNet& net) {
  net.data_gap_ns = {0, 0};
  net.run(200 * kMs);
}

TEST(PathNetOne, APeerWhoseOldAddressLivesOnLosesNothing) {
  PathNet net = one_path();
  net.run(2 * kSecond);
  for (std::uint8_t i = 0; i < 10; ++i) {
    net.remap(kA, i % 3 == 2 ? v6(static_cast<std::uint8_t>(50 + i)) : v4(static_cast<std::uint8_t>(50 + i)),
              false);
    net.run(kSecond);
    EXPECT_EQ(net.side[1].pm->primary().remote, net.mapped.at(PathNet::key(kA)));
  }
  EXPECT_EQ(net.side[1].pm->view().at(0).migrations, 10U);
  drain(net);
  EXPECT_EQ(lost(net, 0), 0U);
  EXPECT_EQ(lost(net, 1), 0U);
}

TEST(PathNetOne, AnAddressThatIsCutAtOnceIsReplacedWithinThreeRoundTrips) {
  PathNet net = one_path();
  net.run(2 * kSecond);
  for (std::uint16_t i = 0; i < 10; ++i) {
    net.remap(kA, v4(1, static_cast<std::uint16_t>(5000 + i)));
    const std::uint64_t start = net.now;
    const std::uint64_t came = net.side[0].data_in;
    while (net.side[0].data_in < came + 6 && net.now < start + 5 * kSecond) net.run(kMs);
    EXPECT_LT(net.now - start, 3 * 2 * net.delay_ns + 10 * kMs) << i;
    net.run(500 * kMs);
  }
  EXPECT_EQ(net.side[1].pm->view().at(0).migrations, 10U);
}

TEST(PathNetOne, RebindingsWithLossReorderingAndDuplicatesEndOnTheLiveAddress) {
  PathNet net = one_path();
  net.loss_per_mille = 100;
  net.repeat_per_mille = 100;
  net.jitter_ns = 15 * kMs;
  net.run(2 * kSecond);
  for (std::uint16_t i = 0; i < 30; ++i) {
    net.remap(kA, v4(1, static_cast<std::uint16_t>(5000 + i)));
    net.run(4 * kSecond);
    EXPECT_EQ(net.side[1].pm->primary().remote.port, 5000 + i) << i;
  }
}

TEST(PathNetOne, W17_BothMoveAtOnceAndTheirChallengesCross) {
  PathNet net = one_path();
  net.run(2 * kSecond);
  // An operator on each side, at the same moment; both address pairs work.
  ASSERT_TRUE(net.side[0].pm->migrate(0, {kA2, kB}, net.now));
  ASSERT_TRUE(net.side[1].pm->migrate(0, {kB, kA2}, net.now));
  net.run(kSecond);
  EXPECT_EQ(net.side[0].pm->primary(), (PathEnds{kA2, kB}));
  EXPECT_EQ(net.side[1].pm->primary(), (PathEnds{kB, kA2}));
  EXPECT_FALSE(net.side[0].pm->migrating());
  EXPECT_FALSE(net.side[1].pm->migrating());
  drain(net);
  EXPECT_EQ(lost(net, 0), 0U);
  EXPECT_EQ(lost(net, 1), 0U);
}

TEST(PathNetOne, AnOperatorsMoveTakesThePeerAlong) {
  PathNet net = one_path();
  net.run(2 * kSecond);
  ASSERT_TRUE(net.side[0].pm->migrate(0, {kA2, kB}, net.now));
  net.run(2 * net.delay_ns + kMs);
  EXPECT_EQ(net.side[0].pm->primary(), (PathEnds{kA2, kB})) << "one round trip";
  net.run(net.delay_ns + 4 * kMs);
  EXPECT_EQ(net.side[1].pm->primary(), (PathEnds{kB, kA2})) << "validated beforehand: data moves it at once";
}

TEST(PathNetOne, StaleValuesAreNeverBounced) {
  PathNet net = one_path();
  // Everything that is no data arrives seconds late, and twice.
  net.delay_of = [&](const PathNet::Packet& p) { return p.data ? net.delay_ns : 7 * kSecond; };
  net.repeat_per_mille = 500;
  std::uint64_t challenges = 0;
  net.tap = [&](const PathNet::Packet& p) {
    if (!p.data && net.side[p.from].pm->own_value(p.value)) ++challenges;
  };
  for (std::uint16_t i = 0; i < 10; ++i) {
    net.remap(kA, v4(1, static_cast<std::uint16_t>(5000 + i)), false);
    net.run(5 * kSecond);
  }
  net.data_gap_ns = {0, 0};
  net.run(120 * kSecond);
  EXPECT_LE(net.side[0].echoes_out + net.side[1].echoes_out, 2 * challenges);
  EXPECT_LT(net.in_flight.size(), 12U) << "and it ends";
}

TEST(PathNetOne, WhoMovesBackAndForthLosesNothingWhereBothAddressesLive) {
  PathNet net = one_path();
  net.run(2 * kSecond);
  for (unsigned i = 0; i < 20; ++i) {
    net.remap(kA, i % 2 == 0 ? kA2 : kA, false);
    net.run(400 * kMs);
  }
  EXPECT_EQ(net.side[1].pm->primary().remote, kA);
  drain(net);
  EXPECT_EQ(lost(net, 0), 0U);
  EXPECT_EQ(lost(net, 1), 0U);
}

// ---- several slots

TEST(PathNetTwo, AFurtherSlotIsValidatedByBothSidesOnItsOwnId) {
  PathNet net = two_paths({});
  EXPECT_FALSE(net.side[0].pm->validated(1));
  net.run(100 * kMs);
  for (const auto& side : net.side) {
    EXPECT_TRUE(side.pm->validated(1));
    EXPECT_FALSE(side.pm->validated(2));
    EXPECT_EQ(side.pm->schedule().count, 2U);
    EXPECT_EQ(side.pm->schedule().slot[1].path_id, 1);
  }
  EXPECT_EQ(net.count(0, PathEvent::kValidated), 1U);
}

TEST(PathNetTwo, ASlotWhosePeerIsUnknownLearnsItFromTheChallenge) {
  PathNet net({}, {kFromA, {kA2, kB2}}, {kFromB, {kB2, {}}});
  net.run(kSecond);
  EXPECT_TRUE(net.side[0].pm->validated(1));
  EXPECT_TRUE(net.side[1].pm->validated(1));
  EXPECT_EQ(net.side[1].pm->schedule().slot[1].ends, (PathEnds{kB2, kA2}));
}

TEST(PathNetTwo, LowestLatencyChangesOnlyForAClearAndLastingGain) {
  PathNet net = two_paths({});
  std::uint64_t second_ns = 9 * kMs;
  net.delay_of = [&](const PathNet::Packet& p) {
    return p.as_sent.local == kA2 || p.as_sent.local == kB2 ? second_ns : 10 * kMs;
  };
  net.run(10 * kSecond);
  EXPECT_EQ(net.side[0].pm->schedule().primary[1], 0) << "a tenth is no reason";
  second_ns = 4 * kMs;
  net.run(500 * kMs);
  EXPECT_EQ(net.side[0].pm->schedule().primary[1], 0) << "nor is half a second";
  net.run(20 * kSecond);
  EXPECT_EQ(net.side[0].pm->schedule().primary[1], 1);
  EXPECT_NEAR(net.side[0].pm->view().at(1).srtt_ms, 8, 1);
}

TEST(PathNetTwo, AnUnmodifiedPeerGetsPathZeroAloneAndAnotherAddressOnlyInNeed) {
  PathPolicy policy;
  policy.unmodified_peer = true;
  policy.scheduler = PathScheduler::kDuplicate;
  PathNet net = two_paths(policy);
  net.delay_of = [&](const PathNet::Packet& p) { return p.as_sent.local == kA2 ? kMs : 10 * kMs; };
  net.run(10 * kSecond);
  const session::PathSchedule& plan = net.side[0].pm->schedule();
  EXPECT_EQ(plan.slot[1].path_id, 0);
  EXPECT_EQ(plan.primary[1], 0);
  EXPECT_EQ(plan.second[1], session::kNoPath);
  EXPECT_FALSE(net.side[0].pm->validated(1));
  net.closed.insert(PathNet::key(kA));
  net.run(3 * kSecond);
  EXPECT_EQ(plan.primary[1], 1);
}

class Weighted : public ::testing::TestWithParam<std::pair<std::uint32_t, std::uint32_t>> {};

TEST_P(Weighted, StreamsAreSharedInProportion) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kWeighted;
  policy.weight = {GetParam().first, GetParam().second, 0, 0};
  PathNet net = two_paths(policy);
  net.run(5 * kSecond);
  const session::PathSchedule plan = net.side[0].pm->schedule();
  unsigned on_first = 0;
  for (unsigned i = 1; i <= policy.tx_streams; ++i) on_first += plan.primary[i] == 0;
  const double want = 16.0 * GetParam().first / (GetParam().first + GetParam().second);
  EXPECT_NEAR(on_first, want, 1);
  net.run(20 * kSecond);
  EXPECT_EQ(net.side[0].pm->schedule().primary, plan.primary) << "streams stay where they are";
}
INSTANTIATE_TEST_SUITE_P(Weights, Weighted,
                         ::testing::Values(std::pair{1U, 1U}, std::pair{3U, 1U}, std::pair{1U, 7U},
                                           std::pair{90U, 10U}));

TEST(PathNetTwo, WithoutWeightsStreamsFollowTheMeasuredRoundTrips) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kWeighted;
  PathNet net = two_paths(policy);
  net.delay_of = [](const PathNet::Packet& p) {
    return p.as_sent.local == kA2 || p.as_sent.local == kB2 ? 30 * kMs : 10 * kMs;
  };
  net.run(10 * kSecond);
  unsigned on_first = 0;
  for (unsigned i = 1; i <= 16; ++i) on_first += net.side[0].pm->schedule().primary[i] == 0;
  EXPECT_NEAR(on_first, 12, 2);
  const std::uint64_t before = net.side[0].pm->schedule_version();
  net.jitter_ns = 6 * kMs;
  net.run(60 * kSecond);
  EXPECT_LE(net.side[0].pm->schedule_version() - before, 4U) << "small changes move nothing";
}

TEST(PathNetTwo, WithoutWeightsStreamsFollowWhatPathsCarryOnceOneWasFull) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kWeighted;
  PathNet net = two_paths(policy);
  session::PathManager& pm = *net.side[0].pm;
  const auto on_first = [&] {
    unsigned n = 0;
    for (unsigned i = 1; i <= 16; ++i) n += pm.schedule().primary[i] == 0;
    return n;
  };
  net.run(5 * kSecond);
  ASSERT_NEAR(on_first(), 8, 1);
  pm.on_capacity(0, 30'000'000, true, net.now);
  net.run(5 * kSecond);
  EXPECT_NEAR(on_first(), 8, 1) << "the other one's is not known";
  pm.on_capacity(1, 8'000'000, false, net.now);  // and may carry a quarter more
  net.run(kSecond);
  EXPECT_LE(on_first(), 11U) << "not all at once";
  net.run(9 * kSecond);
  EXPECT_NEAR(on_first(), 12, 1);
  const std::uint64_t before = pm.schedule_version();
  for (unsigned i = 0; i < 300; ++i) {
    pm.on_capacity(0, i % 2 == 0 ? 33'000'000 : 27'000'000, true, net.now);
    net.run(100 * kMs);
  }
  EXPECT_LE(pm.schedule_version() - before, 2U) << "estimates move, streams do not";
  net.run(session::PathManager::kCapacityMemoryNs + 10 * kSecond);
  EXPECT_NEAR(on_first(), 8, 2) << "nothing was full for long";
  EXPECT_EQ(pm.migrations(0), 0U);
  EXPECT_EQ(pm.migrations(9), 0U);
  pm.on_capacity(9, 1, true, net.now);
}

TEST(PathNetTwo, WhenOnePathDiesAllStreamsLeaveItWithinAFewHundredMilliseconds) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kWeighted;
  policy.weight = {1, 1, 0, 0};
  PathNet net = two_paths(policy);
  net.streams = 16;
  net.run(3 * kSecond);
  net.closed.insert(PathNet::key(kA2));
  const std::uint64_t start = net.now;
  const auto used = [&](unsigned side) {
    const auto& primary = net.side[side].pm->schedule().primary;
    return std::find(primary.begin(), primary.end(), 1) != primary.end();
  };
  while ((used(0) || used(1)) && net.now < start + 5 * kSecond) net.run(kMs);
  EXPECT_LT(net.now - start, 700 * kMs);
  EXPECT_EQ(net.count(0, PathEvent::kDown), 1U);
  net.closed.erase(PathNet::key(kA2));
  net.run(8 * kSecond);
  EXPECT_TRUE(used(0) && used(1)) << "and they come back with it";
  EXPECT_EQ(net.count(0, PathEvent::kUp), 1U);
}

TEST(PathNetTwo, DuplicateModeLosesNothingWhenEitherPathDies) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kDuplicate;
  for (const session::Endpoint& dies : {kA, kA2}) {
    PathNet net = two_paths(policy);
    net.run(3 * kSecond);
    net.closed.insert(PathNet::key(dies));
    net.run(3 * kSecond);
    drain(net);
    EXPECT_EQ(lost(net, 0), 0U);
    EXPECT_EQ(lost(net, 1), 0U);
    EXPECT_GT(net.side[1].duplicates, 100U);
  }
}

TEST(PathNetTwo, WithNothingUpTheLastSlotIsKept) {
  PathNet net = two_paths({});
  net.run(3 * kSecond);
  net.cut = [](const PathNet::Packet&) { return true; };
  net.run(10 * kSecond);
  const std::uint8_t last = net.side[0].pm->schedule().primary[1];
  EXPECT_LT(last, 2);
  EXPECT_FALSE(net.side[0].pm->view().at(0).up);
  EXPECT_FALSE(net.side[0].pm->view().at(1).up);
  net.cut = nullptr;
  net.run(10 * kSecond);
  EXPECT_TRUE(net.side[0].pm->view().at(0).up);
  EXPECT_TRUE(net.side[0].pm->view().at(1).up);
}

TEST(PathNetTwo, ASlotThatNeverAnswersIsTriedInAttemptsThatEnd) {
  PathNet net({}, {kFromA, {kA2, kB2}}, {kFromB, {kB2, kA2}});
  net.closed.insert(PathNet::key(kB2));
  unsigned sends = 0;
  net.tap = [&](const PathNet::Packet& p) { sends += !p.data && p.from == 0 && p.path_id == 1; };
  net.run(300 * kSecond);
  EXPECT_LE(sends, 5U * 12);
  EXPECT_GE(sends, 5U * 6);
  EXPECT_EQ(net.count(0, PathEvent::kRejected), 1U);
  EXPECT_FALSE(net.side[0].pm->validated(1));
  net.closed.clear();
  net.run(70 * kSecond);
  EXPECT_TRUE(net.side[0].pm->validated(1));
}

TEST(PathNetTwo, ASlotThatThePeerDoesNotHaveIsNotTakenForAPath) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kDuplicate;
  PathNet net(policy, {kFromA, {kA2, kB2}}, {kFromB});
  net.data_gap_ns = {2 * kMs, 2 * kMs};
  net.run(20 * kSecond);
  EXPECT_FALSE(net.side[0].pm->validated(1));
  EXPECT_EQ(net.side[0].pm->schedule().second[1], session::kNoPath);
  drain(net);
  EXPECT_EQ(lost(net, 0), 0U);
}

TEST(PathNetTwo, ASlotOfSeveralRoamsOnItsOwn) {
  PathPolicy policy;
  policy.scheduler = PathScheduler::kDuplicate;
  PathNet net = two_paths(policy);
  net.run(2 * kSecond);
  net.remap(kA2, v4(2, 7777));
  net.run(2 * kSecond);
  EXPECT_EQ(net.side[1].pm->schedule().slot[1].ends, (PathEnds{kB2, v4(2, 7777)}));
  EXPECT_EQ(net.side[1].pm->schedule().slot[0].ends, kFromB);
  drain(net);
  EXPECT_EQ(lost(net, 0), 0U);
  EXPECT_EQ(lost(net, 1), 0U);
}

}  // namespace
