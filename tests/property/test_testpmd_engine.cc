// What the harness sends and how it judges what arrives: the frame, the window over numbers, the schedule,
// the mix of sizes.
#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "dataplane/ip.h"
#include "tools/testpmd/packet.h"
#include "tools/testpmd/plan.h"
#include "tools/testpmd/schedule.h"
#include "tools/testpmd/tracker.h"

namespace {

using namespace testpmd;

constexpr std::uint32_t kSessions = 100'000;

struct Frame {
  std::vector<std::uint8_t> bytes;
  Stamp stamp;
};

Frame any_frame(unsigned size) {
  const Stamp stamp{*rc::gen::inRange<std::uint32_t>(0, kSessions), *rc::gen::element(Way::kUp, Way::kDown),
                    *rc::gen::arbitrary<std::uint32_t>(), *rc::gen::arbitrary<std::uint64_t>(),
                    *rc::gen::arbitrary<std::uint16_t>()};
  Frame frame{std::vector<std::uint8_t>(size - kFcsBytes), stamp};
  const FrameMaker maker(stamp.way, AddressPlan{}, {2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2});
  maker.write(frame.bytes.data(), size, kFirstSourcePort, stamp);
  return frame;
}

Found look_at(const std::vector<std::uint8_t>& bytes, Stamp& stamp, unsigned& size) {
  return inspect(bytes.data(), static_cast<unsigned>(bytes.size()), AddressPlan{}, kSessions, stamp, size);
}

TEST(TestpmdFrame, IsReadAsItWasWritten) {
  EXPECT_TRUE(rc::check([]() {
    const auto size = *rc::gen::inRange<unsigned>(kLeastFrame, 1519);
    Frame frame = any_frame(size);
    Stamp stamp;
    unsigned seen = 0;
    RC_ASSERT(look_at(frame.bytes, stamp, seen) == Found::kOurs);
    RC_ASSERT(seen == size);
    RC_ASSERT(stamp.session == frame.stamp.session && stamp.way == frame.stamp.way);
    RC_ASSERT(stamp.sequence == frame.stamp.sequence && stamp.tsc == frame.stamp.tsc &&
              stamp.run == frame.stamp.run);
    dataplane::IpInfo ip{};
    RC_ASSERT(dataplane::check_ip(frame.bytes.data() + kEtherBytes, size - kFcsBytes - kEtherBytes, false,
                                  ip) == dataplane::IpCheck::kOk);
    RC_ASSERT(ip.bytes == size - kFcsBytes - kEtherBytes);
    frame.bytes.resize(frame.bytes.size() + 7);  // padding of a link
    RC_ASSERT(look_at(frame.bytes, stamp, seen) == Found::kOurs && seen == size);
  }));
}

// A changed byte behind the UDP header is damage, or changes the run; it never passes for what was sent.
TEST(TestpmdFrame, DamageIsSeen) {
  EXPECT_TRUE(rc::check([]() {
    const auto size = *rc::gen::inRange<unsigned>(kLeastFrame, 400);
    Frame frame = any_frame(size);
    const auto at = *rc::gen::inRange<std::size_t>(kStampAt, frame.bytes.size());
    frame.bytes[at] ^= *rc::gen::inRange<std::uint8_t>(1, 255);
    Stamp stamp;
    unsigned seen = 0;
    const Found found = look_at(frame.bytes, stamp, seen);
    RC_ASSERT(found == Found::kDamaged || stamp.run != frame.stamp.run);
  }));
}

TEST(TestpmdFrame, AnyBytesAreLookedAtWithinTheirBounds) {
  EXPECT_TRUE(rc::check([](const std::vector<std::uint8_t>& bytes) {
    Stamp stamp;
    unsigned seen = 0;
    RC_ASSERT(look_at(bytes, stamp, seen) != Found::kOurs);
  }));
}

TEST(TestpmdFrame, FlowsCoverStreams) {
  constexpr unsigned kFlows = 16;
  const AddressPlan plan;
  const std::vector<std::uint16_t> ports = spread_ports(Way::kDown, plan, 50, kFlows, kFlows);
  const FrameMaker maker(Way::kDown, plan, {}, {});
  std::vector<std::uint8_t> frame(kLeastFrame);
  for (std::uint32_t s = 0; s < 50; ++s) {
    std::set<std::uint64_t> streams;
    for (unsigned f = 0; f < kFlows; ++f) {
      maker.write(frame.data(), kLeastFrame, ports[s * kFlows + f], Stamp{s, Way::kDown, 0, 0, 0});
      const std::uint64_t hash = dataplane::flow_hash(frame.data() + kEtherBytes, 4, 46);
      streams.insert((hash * kFlows) >> 32);
    }
    EXPECT_EQ(streams.size(), kFlows) << "session " << s;
  }
}

// Against a set of everything that was seen.
TEST(TestpmdTracker, AgreesWithASet) {
  EXPECT_TRUE(rc::check([]() {
    const auto flows = *rc::gen::inRange<unsigned>(1, 9);
    const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-300, 40));
    Tracker tracker;
    std::set<std::int64_t> seen;
    std::int64_t high = -1;
    std::uint32_t received = 0, duplicates = 0, late = 0;
    for (const int step : steps) {
      const std::int64_t number = std::max<std::int64_t>(0, high + step);
      const Arrival arrival = tracker.arrive(static_cast<std::uint32_t>(number), flows);
      if (number <= high && high + 1 - number > Tracker::kWindow) {
        RC_ASSERT(arrival == Arrival::kTooOld);
        continue;
      }
      const bool fresh = seen.insert(number).second;
      const bool later = std::any_of(seen.upper_bound(number), seen.end(), [&](std::int64_t other) {
        return (other - number) % flows == 0 && high + 1 - other <= Tracker::kWindow;
      });
      const Arrival wanted = !fresh ? Arrival::kDuplicate : later ? Arrival::kLate : Arrival::kInOrder;
      RC_ASSERT(arrival == wanted);
      received += fresh ? 1 : 0;
      duplicates += fresh ? 0 : 1;
      late += wanted == Arrival::kLate ? 1 : 0;
      high = std::max(high, number);
    }
    RC_ASSERT(tracker.received() == received && tracker.duplicates() == duplicates &&
              tracker.out_of_order() == late);
  }));
}

TEST(TestpmdTracker, GoesOnWhereNumbersWrap) {
  Tracker tracker;
  tracker.arrive(0x7fffffff, 1);
  tracker.arrive(0xfffffff0, 1);
  for (std::uint32_t i = 1; i < 64; ++i) EXPECT_EQ(tracker.arrive(0xfffffff0U + i, 1), Arrival::kInOrder);
  EXPECT_EQ(tracker.arrive(3, 1), Arrival::kDuplicate);
}

TEST(TestpmdSchedule, IntendsTheRateWhateverItIsChangedTo) {
  EXPECT_TRUE(rc::check([]() {
    Schedule schedule;
    double wanted = 0;
    std::uint64_t now = 1000;
    const auto parts = *rc::gen::inRange(1, 6);
    for (int i = 0; i < parts; ++i) {
      const double rate = *rc::gen::inRange(1, 1000) / 100'000.0;
      const auto length = *rc::gen::inRange<std::uint64_t>(1, 10'000'000);
      schedule.set(rate, now, 0);
      wanted += rate * static_cast<double>(length);
      now += length;
      const auto intended = static_cast<double>(schedule.intended(now));
      RC_ASSERT(intended <= wanted + 1e-3 && intended > wanted - parts - 1);
    }
    schedule.set(1, now, now + 100);
    RC_ASSERT(!schedule.over(now + 99) && schedule.over(now + 100));
    RC_ASSERT(schedule.intended(now + 5000) == schedule.intended(now + 100));
  }));
}

TEST(TestpmdSizes, TurnsKeepTheShares) {
  EXPECT_TRUE(rc::check([]() {
    std::vector<SizeShare> sizes;
    const auto kinds = *rc::gen::inRange(1, 6);
    for (int i = 0; i < kinds; ++i) {
      sizes.push_back({static_cast<std::uint32_t>(64 + i), *rc::gen::inRange<std::uint32_t>(1, 50)});
    }
    std::map<std::uint32_t, double> had;
    double weights = 0;
    for (const SizeShare& share : sizes) weights += share.weight;
    const std::vector<std::uint16_t> turns = turns_of(sizes);
    RC_ASSERT(!turns.empty() && turns.size() <= kMostTurns + sizes.size());
    for (const std::uint16_t size : turns) ++had[size];
    for (const SizeShare& share : sizes) {
      const double wanted = share.weight / weights * static_cast<double>(turns.size());
      RC_ASSERT(had[share.bytes] > wanted - 1.01 && had[share.bytes] < wanted + 1.01);
    }
  }));
}

TEST(TestpmdSizes, ImixIsMixed) {
  const std::vector<std::uint16_t> turns = turns_of(imix());
  EXPECT_EQ(turns.size(), 12U);
  EXPECT_EQ(std::count(turns.begin(), turns.end(), 64), 7);
  EXPECT_EQ(std::count(turns.begin(), turns.end(), 570), 4);
  EXPECT_EQ(std::count(turns.begin(), turns.end(), 1518), 1);
}

}  // namespace
