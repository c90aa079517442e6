// Rules in ports: what is installed and removed when, and that a port that refuses or is slow costs little.
#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "dataplane/flow_steering.h"

namespace dataplane {
namespace {

Flow flow(std::uint8_t last, std::uint8_t family = 4, std::uint8_t port = 1) {
  Flow out;
  out.port = port;
  out.ends.local.family = out.ends.remote.family = family;
  out.ends.local.port = out.ends.remote.port = 4500;
  out.ends.remote.address[3] = last;
  return out;
}

struct FakePort : FlowDriver {
  std::string validate(const Flow& f, unsigned) override {
    ++validated;
    now_ns += cost_ns;
    return no_family == f.ends.remote.family ? "not supported" : "";
  }
  void* install(const Flow& f, unsigned queue, std::string& error) override {
    now_ns += cost_ns;
    log.append("+").append(std::to_string(f.ends.remote.address[3]));
    if (rules.size() >= room) {
      error = "table full";
      return nullptr;
    }
    queues[f.ends.remote.address[3]] = queue;
    return reinterpret_cast<void*>(*rules.insert(++made).first);
  }
  std::string remove(std::uint8_t, void* rule) override {
    now_ns += cost_ns;
    log += "-";
    if (stuck) return "busy";
    rules.erase(reinterpret_cast<std::uintptr_t>(rule));
    return "";
  }

  std::set<std::uintptr_t> rules;
  std::map<unsigned, unsigned> queues;
  std::uintptr_t made = 0;
  unsigned validated = 0;
  std::size_t room = 1000;
  unsigned no_family = 0;
  bool stuck = false;
  std::uint64_t cost_ns = 0;
  std::uint64_t now_ns = 0;
  std::string log;
};

struct FlowSteeringTest : testing::Test {
  FakePort port;
  FlowSteering steering{2, port, [this] { return port.now_ns; }};
  void run() {
    while (steering.service(port.now_ns) != 0) ++port.now_ns;
  }
};

TEST_F(FlowSteeringTest, InstallsReplacesAndRemoves) {
  steering.want(7, 1, {flow(1)});
  EXPECT_FALSE(steering.steered(7)) << "nothing is called before service()";
  run();
  EXPECT_TRUE(steering.steered(7));
  EXPECT_EQ(port.queues[1], 1U);
  steering.want(7, 1, {flow(2)});
  EXPECT_FALSE(steering.steered(7));
  run();
  EXPECT_EQ(port.log, "+1+2-") << "the new rule comes before the old one goes";
  EXPECT_TRUE(steering.steered(7));
  steering.want(7, 1, {});
  run();
  EXPECT_TRUE(port.rules.empty());
  EXPECT_EQ(steering.sessions(), 0U);
  EXPECT_EQ(steering.counters().installed, 2U);
  EXPECT_EQ(steering.counters().removed, 2U);
  EXPECT_EQ(steering.counters().active, 0U);
}

TEST_F(FlowSteeringTest, AsksAPortOncePerFamily) {
  port.no_family = 6;
  for (std::uint64_t session = 0; session < 50; ++session) {
    const auto last = static_cast<std::uint8_t>(session);
    steering.want(session, 0, {flow(last), flow(last, 6)});
  }
  run();
  EXPECT_EQ(port.validated, 2U);
  EXPECT_EQ(port.rules.size(), 50U);
  EXPECT_EQ(steering.counters().unsupported, 50U);
  EXPECT_FALSE(steering.steered(3)) << "one of its ways has no rule";
}

TEST_F(FlowSteeringTest, ARefusalIsCountedAndNotRepeated) {
  port.room = 0;
  steering.want(7, 1, {flow(1)});
  for (unsigned i = 0; i < 100; ++i) {
    steering.want(7, 1, {flow(1)});
    run();
  }
  EXPECT_EQ(steering.counters().refused, 1U);
  EXPECT_FALSE(steering.steered(7));
  port.room = 1;
  steering.want(7, 1, {flow(2)});
  run();
  EXPECT_TRUE(steering.steered(7)) << "another address is another question";
}

TEST_F(FlowSteeringTest, APortThatOnlySaysYesIsLeftAlone) {
  port.room = 0;
  for (std::uint64_t session = 0; session < 200; ++session) {
    steering.want(session, 0, {flow(static_cast<std::uint8_t>(session))});
  }
  run();
  EXPECT_EQ(steering.counters().refused, kRefusalsInRow);
  EXPECT_EQ(steering.counters().unsupported, 200 - kRefusalsInRow);
}

// A table that is full now and then is no reason to give up.
TEST_F(FlowSteeringTest, RefusalsBetweenSuccessesAreForgiven) {
  for (unsigned i = 0; i < 200; ++i) {
    port.room = i % 4 == 0 ? port.rules.size() + 1 : 0;
    steering.want(i, 0, {flow(static_cast<std::uint8_t>(i))});
    run();
  }
  EXPECT_EQ(steering.counters().refused, 150U);
  EXPECT_EQ(steering.counters().unsupported, 0U);
}

TEST_F(FlowSteeringTest, ASlowPortGetsATenthOfTheTime) {
  port.cost_ns = 50'000'000;
  for (std::uint64_t session = 0; session < 200; ++session) {
    steering.want(session, 0, {flow(static_cast<std::uint8_t>(session))});
  }
  std::uint64_t in_calls = 0;
  while (port.now_ns < 10'000'000'000) {
    const std::uint64_t before = port.now_ns;
    steering.service(port.now_ns);
    in_calls += port.now_ns - before;
    port.now_ns += 1'000'000;
  }
  EXPECT_LE(in_calls, port.now_ns / 8);
  EXPECT_GE(in_calls, port.now_ns / 20);
  EXPECT_EQ(steering.counters().slowest_us, 50'000U);
}

TEST_F(FlowSteeringTest, OnlyTheLastOfManyMovesIsCarriedOut) {
  for (unsigned i = 0; i < 1000; ++i) steering.want(7, 1, {flow(static_cast<std::uint8_t>(i))});
  run();
  EXPECT_EQ(port.made, 1U);
}

TEST_F(FlowSteeringTest, RebindingsLeaveOneRule) {
  for (unsigned i = 0; i < 10'000; ++i) {
    steering.want(7, 1, {flow(static_cast<std::uint8_t>(i))});
    run();
  }
  EXPECT_EQ(port.rules.size(), 1U);
  EXPECT_EQ(steering.counters().installed, 10'000U);
  EXPECT_EQ(steering.counters().removed, 9'999U);
}

TEST_F(FlowSteeringTest, ARuleThatStaysIsCounted) {
  steering.want(7, 1, {flow(1)});
  run();
  port.stuck = true;
  steering.want(7, 1, {});
  run();
  EXPECT_EQ(steering.counters().failed_removals, 1U);
  EXPECT_EQ(steering.sessions(), 0U);
}

TEST_F(FlowSteeringTest, ClearLeavesNothing) {
  for (std::uint64_t session = 0; session < 5; ++session) {
    steering.want(session, 0, {flow(static_cast<std::uint8_t>(session))});
  }
  run();
  steering.clear();
  EXPECT_TRUE(port.rules.empty());
  EXPECT_EQ(steering.service(port.now_ns), 0U);
}

TEST(FlowSteering, OneWorkerNeedsNone) {
  FakePort port;
  FlowSteering steering(1, port, [] { return 0; });
  steering.want(7, 0, {flow(1)});
  EXPECT_EQ(steering.service(0), 0U);
  EXPECT_EQ(port.validated, 0U);
}

}  // namespace
}  // namespace dataplane
