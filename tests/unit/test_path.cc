// Path registry: states, echoes, crossing challenges (protocol.md 10, W-17).
#include <gtest/gtest.h>

#include "session/path.h"

namespace {

using session::PathChallenge;
using session::PathState;
using session::PathTable;
using session::PathVerdict;

constexpr std::uint64_t kSecond = 1'000'000'000;

PathChallenge value(std::uint8_t fill) {
  PathChallenge v;
  v.fill(fill);
  return v;
}

TEST(Path, PathZeroIsValidatedAndNeverEchoes) {
  PathTable table;
  EXPECT_EQ(table.state(0), PathState::kValidated);
  EXPECT_EQ(table.receive(0, value(1), 0), PathVerdict::kIgnored);
  EXPECT_FALSE(table.challenge(0, value(2), 0).has_value());
}

TEST(Path, UnknownPathIsEchoedEveryTimeAndStaysUnknown) {
  PathTable table;
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(table.receive(9, value(1), 0), PathVerdict::kEcho);
  EXPECT_EQ(table.state(9), PathState::kUnknown);
}

TEST(Path, DataRegistersAPathAsUnvalidated) {
  PathTable table;
  table.note_data(7);
  EXPECT_EQ(table.state(7), PathState::kUnvalidated);
  EXPECT_EQ(table.receive(7, value(1), 0), PathVerdict::kEcho);
  EXPECT_EQ(table.state(7), PathState::kUnvalidated);
  table.note_data(0);
  EXPECT_EQ(table.state(0), PathState::kValidated);
}

TEST(Path, EchoOfOurChallengeValidatesOnce) {
  PathTable table;
  ASSERT_EQ(table.challenge(5, value(3), 0), value(3));
  EXPECT_EQ(table.state(5), PathState::kValidating);
  EXPECT_EQ(table.receive(5, value(3), 1), PathVerdict::kValidated);
  EXPECT_EQ(table.state(5), PathState::kValidated);
  EXPECT_EQ(table.receive(5, value(3), 2), PathVerdict::kIgnored);
  EXPECT_FALSE(table.challenge(5, value(4), 3).has_value());
}

TEST(Path, RepeatedIssueGivesTheSameBytes) {
  PathTable table;
  ASSERT_EQ(table.challenge(5, value(3), 0), value(3));
  EXPECT_EQ(table.challenge(5, value(4), 1), value(3));
}

TEST(Path, W17_CrossingChallengeIsEchoedOnceAndDoesNotFailThePath) {
  PathTable table;
  ASSERT_TRUE(table.challenge(5, value(3), 0).has_value());
  EXPECT_EQ(table.receive(5, value(8), 1), PathVerdict::kEcho);
  EXPECT_EQ(table.receive(5, value(8), 1), PathVerdict::kIgnored);
  EXPECT_EQ(table.state(5), PathState::kValidating);
  EXPECT_EQ(table.receive(5, value(3), 2), PathVerdict::kValidated);
}

TEST(Path, W17_TwoEndpointsWithStaleValuesStopBouncing) {
  PathTable a;
  PathTable b;
  ASSERT_TRUE(a.challenge(5, value(1), 0).has_value());
  ASSERT_TRUE(b.challenge(5, value(2), 0).has_value());
  unsigned bounces = 0;
  for (bool at_a = true; bounces < 100; at_a = !at_a, ++bounces) {
    if ((at_a ? a : b).receive(5, value(77), 1) != PathVerdict::kEcho) break;
  }
  EXPECT_LE(bounces, 2U);
}

TEST(Path, W17_OwnOldValueIsNeverEchoed) {
  PathTable table;
  ASSERT_TRUE(table.challenge(5, value(3), 0).has_value());
  table.expire(4 * kSecond, 3 * kSecond);
  EXPECT_EQ(table.state(5), PathState::kFailed);
  EXPECT_EQ(table.receive(5, value(3), 4 * kSecond), PathVerdict::kIgnored);
  ASSERT_EQ(table.challenge(5, value(4), 5 * kSecond), value(4));
  EXPECT_EQ(table.receive(5, value(3), 6 * kSecond), PathVerdict::kIgnored);
  EXPECT_EQ(table.receive(5, value(4), 6 * kSecond), PathVerdict::kValidated);
}

TEST(Path, AttemptsExpireOnlyAfterTheTimeout) {
  PathTable table;
  ASSERT_TRUE(table.challenge(5, value(3), kSecond).has_value());
  table.expire(3 * kSecond, 3 * kSecond);
  EXPECT_EQ(table.state(5), PathState::kValidating);
  table.expire(4 * kSecond, 3 * kSecond);
  EXPECT_EQ(table.state(5), PathState::kFailed);
}

TEST(Path, TheTableIsBounded) {
  PathTable table;
  for (unsigned id = 1; id < 256; ++id) table.note_data(static_cast<std::uint8_t>(id));
  EXPECT_EQ(table.state(15), PathState::kUnvalidated);
  EXPECT_EQ(table.state(16), PathState::kUnknown);
  EXPECT_FALSE(table.challenge(200, value(1), 0).has_value());
  EXPECT_EQ(table.receive(200, value(1), 0), PathVerdict::kEcho);
}

}  // namespace
