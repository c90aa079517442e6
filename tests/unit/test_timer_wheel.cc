// The timer wheel: never early, at most a tick late, in place, and silent while nothing is due (W-35).
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "session/timer_wheel.h"

namespace {

using session::Timer;
using session::TimerWheel;

constexpr std::uint64_t kTick = TimerWheel::kTickNs;

TEST(TimerWheel, ExpiresAtItsTimeOrATickLaterOnEveryLevel) {
  const std::uint64_t start = 12'345'678'901;
  for (const std::uint64_t ticks :
       {1ULL, 2ULL, 255ULL, 256ULL, 257ULL, 65'535ULL, 65'536ULL, 65'537ULL, 16'777'215ULL, 16'777'216ULL,
        16'777'217ULL, 4'294'967'295ULL, 4'294'967'296ULL, 10'000'000'000ULL}) {
    TimerWheel wheel(start);
    Timer timer;
    const std::uint64_t at = start + ticks * kTick + 17;
    wheel.arm(timer, at);
    EXPECT_LE(wheel.next_deadline_ns(), at + kTick);
    EXPECT_EQ(wheel.next_expired(at - 1), nullptr) << ticks;
    EXPECT_EQ(wheel.next_expired(at + kTick), &timer) << ticks;
    EXPECT_FALSE(timer.armed());
    EXPECT_EQ(wheel.armed(), 0U);
    EXPECT_EQ(wheel.next_deadline_ns(), UINT64_MAX);
  }
}

TEST(TimerWheel, WhatIsPastIsDueAtOnce) {
  TimerWheel wheel(50 * kTick);
  Timer timer;
  wheel.arm(timer, 3 * kTick);
  EXPECT_LE(wheel.next_deadline_ns(), 50 * kTick);
  EXPECT_EQ(wheel.next_expired(50 * kTick), &timer);
}

TEST(TimerWheel, MovingAndCancellingAlsoWhatIsAlreadyDue) {
  TimerWheel wheel(0);
  Timer a, b, c;
  wheel.arm(a, 5 * kTick);
  wheel.arm(b, 5 * kTick);
  wheel.arm(c, 5 * kTick);
  wheel.arm(a, 900 * kTick);
  EXPECT_EQ(wheel.armed(), 3U);
  EXPECT_EQ(wheel.next_expired(6 * kTick), &b);
  wheel.cancel(c);  // due, not yet fetched
  wheel.cancel(c);
  EXPECT_EQ(wheel.next_expired(899 * kTick), nullptr);
  EXPECT_EQ(wheel.next_expired(900 * kTick), &a);
}

TEST(TimerWheel, ArmedWhileOthersExpireIsSeenInTheSameRun) {
  TimerWheel wheel(0);
  Timer first, second;
  wheel.arm(first, kTick);
  ASSERT_EQ(wheel.next_expired(10 * kTick), &first);
  wheel.arm(second, 4 * kTick);
  EXPECT_EQ(wheel.next_expired(10 * kTick), &second);
}

TEST(TimerWheel, SilentWhileNothingIsDue) {
  TimerWheel wheel(0);
  std::vector<Timer> timers(100'000);
  std::mt19937_64 random(7);
  for (Timer& timer : timers) wheel.arm(timer, 60'000'000'000 + random() % 3'000'000'000'000);
  EXPECT_GE(wheel.next_deadline_ns(), 59'000'000'000U);
  EXPECT_EQ(wheel.next_expired(59'000'000'000), nullptr);
  for (Timer& timer : timers) wheel.cancel(timer);
  EXPECT_EQ(wheel.next_deadline_ns(), UINT64_MAX);
  EXPECT_EQ(wheel.armed(), 0U);
}

TEST(TimerWheel, FollowingItsDeadlinesFindsEveryTimerInFewSteps) {
  TimerWheel wheel(0);
  std::array<Timer, 500> timers;
  std::mt19937_64 random(11);
  for (Timer& timer : timers) wheel.arm(timer, random() % 400'000'000'000);
  unsigned steps = 0, found = 0;
  while (wheel.armed() != 0 && steps < 100'000) {
    ++steps;
    const std::uint64_t now = wheel.next_deadline_ns();
    while (const Timer* timer = wheel.next_expired(now)) {
      EXPECT_GE(now, timer->at_ns);
      EXPECT_LT(now - timer->at_ns, kTick);
      ++found;
    }
  }
  EXPECT_EQ(found, timers.size());
  EXPECT_LT(steps, 2500U);  // a timer, and the slots it fell through
}

}  // namespace
