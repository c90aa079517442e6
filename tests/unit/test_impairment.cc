// The impairment core: what it does to packets, that it is repeatable, and that every packet is accounted
// for.
#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/impairment.h"

namespace support {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1'000'000'000;

struct Arrival {
  std::uint64_t number;
  std::uint64_t at_ns;
};

// A link whose packets are numbers, driven by a clock that only the test moves.
class Wire {
 public:
  explicit Wire(const ImpairmentSettings& settings, std::uint64_t seed = 1) : link_(seed) {
    link_.set(settings, 0);
  }
  bool offer(std::uint32_t bytes) {
    const std::uint64_t number = next_++;
    return link_.offer(number, bytes, now_ns_, [=] { return number; });
  }
  void run(std::uint64_t until_ns) {
    while (link_.next_due_ns() <= until_ns) {
      now_ns_ = std::max(now_ns_, link_.next_due_ns());
      link_.release(now_ns_, 1, [this](std::uint64_t number, std::uint32_t) {
        arrivals.push_back({number, now_ns_});
      });
    }
    now_ns_ = std::max(now_ns_, until_ns);
  }
  // `count` packets, `gap_ns` apart, then everything that is still held.
  void stream(unsigned count, std::uint64_t gap_ns, std::uint32_t bytes) {
    for (unsigned i = 0; i < count; ++i) {
      offer(bytes);
      run(now_ns_ + gap_ns);
    }
    run(kNever - 1);
  }
  void expect_balance() {
    const ImpairmentCounters& c = link_.counters();
    EXPECT_EQ(c.in_pkts + c.duplicated_pkts,
              c.out_pkts + c.lost_pkts + c.cut_pkts + c.queue_drops_pkts + link_.held_pkts());
  }
  ImpairedLink<std::uint64_t>& link() { return link_; }
  [[nodiscard]] std::uint64_t now_ns() const { return now_ns_; }

  std::vector<Arrival> arrivals;

 private:
  ImpairedLink<std::uint64_t> link_;
  std::uint64_t now_ns_ = 0;
  std::uint64_t next_ = 0;
};

bool in_order(const std::vector<Arrival>& arrivals) {
  for (std::size_t i = 1; i < arrivals.size(); ++i) {
    if (arrivals[i].number < arrivals[i - 1].number) return false;
  }
  return true;
}

TEST(Impairment, PassesEverythingAtOnceByDefault) {
  Wire wire({});
  wire.stream(100, 10, 1500);
  ASSERT_EQ(wire.arrivals.size(), 100U);
  EXPECT_EQ(wire.arrivals[42].at_ns, 420U);
  EXPECT_EQ(wire.link().counters().delayed_pkts, 0U);
  EXPECT_EQ(wire.link().counters().out_bytes, 150'000U);
  wire.expect_balance();
}

TEST(Impairment, DelaysEveryPacketByTheDelay) {
  Wire wire({.delay_ns = 20 * kMs});
  wire.stream(50, kMs, 100);
  ASSERT_EQ(wire.arrivals.size(), 50U);
  for (const Arrival& one : wire.arrivals) EXPECT_EQ(one.at_ns, one.number * kMs + 20 * kMs);
  EXPECT_EQ(wire.link().counters().delayed_pkts, 50U);
}

TEST(Impairment, JitterSpreadsDelaysAndKeepsOrder) {
  Wire wire({.delay_ns = 20 * kMs, .jitter_ns = 5 * kMs});
  wire.stream(1000, 20 * kMs, 100);  // too far apart to wait for each other
  ASSERT_EQ(wire.arrivals.size(), 1000U);
  double sum = 0;
  std::uint64_t least = kNever;
  std::uint64_t most = 0;
  for (const Arrival& one : wire.arrivals) {
    const std::uint64_t delay = one.at_ns - one.number * 20 * kMs;
    least = std::min(least, delay);
    most = std::max(most, delay);
    sum += static_cast<double>(delay);
  }
  EXPECT_GE(least, 15 * kMs);
  EXPECT_LE(most, 25 * kMs);
  EXPECT_LT(least, 16 * kMs);
  EXPECT_GT(most, 24 * kMs);
  EXPECT_NEAR(sum / 1000, 20.0 * kMs, 0.5 * kMs);

  Wire dense({.delay_ns = 20 * kMs, .jitter_ns = 20 * kMs});
  dense.stream(1000, 10'000, 100);
  EXPECT_TRUE(in_order(dense.arrivals));
}

TEST(Impairment, RateHoldsAndItsQueueIsBounded) {
  // 8 Mbit/s: a packet of 1,000 bytes takes 1 ms. Twice that comes for a second.
  Wire wire({.rate_bits_per_s = 8'000'000, .burst_bytes = 1000, .queue_bytes = 10'000});
  for (unsigned i = 0; i < 2000; ++i) {
    wire.offer(1000);
    wire.run(wire.now_ns() + kMs / 2);
    EXPECT_LE(wire.link().held_pkts(), 10U);
  }
  wire.run(2 * kSecond);
  EXPECT_NEAR(static_cast<double>(wire.arrivals.size()), 1000 + 10, 3);
  EXPECT_EQ(wire.link().counters().queue_drops_pkts, 2000 - wire.arrivals.size());
  EXPECT_TRUE(in_order(wire.arrivals));
  wire.expect_balance();
}

TEST(Impairment, BucketLetsABurstThroughAtOnce) {
  Wire wire({.rate_bits_per_s = 8'000'000, .burst_bytes = 5000, .queue_bytes = 100'000});
  wire.run(kSecond);
  for (unsigned i = 0; i < 8; ++i) wire.offer(1000);
  wire.run(kSecond);
  EXPECT_EQ(wire.arrivals.size(), 5U);
  wire.run(kSecond + 3 * kMs);
  EXPECT_EQ(wire.arrivals.size(), 8U);
}

TEST(Impairment, AFasterRateClearsTheQueueFaster) {
  ImpairmentSettings settings{.rate_bits_per_s = 8'000, .burst_bytes = 1000, .queue_bytes = 100'000};
  Wire wire(settings);
  for (unsigned i = 0; i < 11; ++i) wire.offer(1000);  // ten wait, a second each
  settings.rate_bits_per_s = 8'000'000;
  wire.link().set(settings, wire.now_ns());
  EXPECT_TRUE(wire.offer(1000));
  wire.run(kNever - 1);
  EXPECT_EQ(wire.arrivals.size(), 12U);
  EXPECT_TRUE(in_order(wire.arrivals));
}

TEST(Impairment, LosesDuplicatesAndReordersTheirShare) {
  Wire wire({.delay_ns = kMs, .loss = 0.1, .duplicate = 0.05, .reorder = 0.2, .reorder_ns = 3 * kMs});
  constexpr unsigned kCount = 20'000;
  wire.stream(kCount, kMs / 2, 100);
  const ImpairmentCounters& c = wire.link().counters();
  EXPECT_NEAR(static_cast<double>(c.lost_pkts), kCount * 0.1, 4 * std::sqrt(kCount * 0.1));
  EXPECT_NEAR(static_cast<double>(c.duplicated_pkts), kCount * 0.9 * 0.05, 4 * std::sqrt(kCount * 0.045));
  EXPECT_NEAR(static_cast<double>(c.reordered_pkts), kCount * 0.9 * 0.2, 4 * std::sqrt(kCount * 0.18));
  EXPECT_FALSE(in_order(wire.arrivals));
  std::set<std::uint64_t> distinct;
  for (const Arrival& one : wire.arrivals) distinct.insert(one.number);
  EXPECT_EQ(distinct.size(), kCount - c.lost_pkts);
  EXPECT_EQ(wire.arrivals.size() - distinct.size(), c.duplicated_pkts);
  wire.expect_balance();
}

TEST(Impairment, ReorderedPacketsAreOvertakenByTheirSuccessors) {
  Wire wire({.delay_ns = kMs, .reorder = 1, .reorder_ns = 2 * kMs});
  wire.offer(100);
  ImpairmentSettings plain{.delay_ns = kMs};
  wire.link().set(plain, 0);
  wire.offer(100);
  wire.run(kNever - 1);
  ASSERT_EQ(wire.arrivals.size(), 2U);
  EXPECT_EQ(wire.arrivals[0].number, 1U);
  EXPECT_EQ(wire.arrivals[1].number, 0U);
  EXPECT_EQ(wire.arrivals[1].at_ns, 3 * kMs);
}

TEST(Impairment, ACutStopsWhatComesAndAHardOneWhatIsUnderWay) {
  Wire wire({.delay_ns = 10 * kMs});
  wire.offer(100);
  wire.link().cut();
  EXPECT_FALSE(wire.offer(100));
  wire.run(20 * kMs);
  EXPECT_EQ(wire.arrivals.size(), 1U);

  wire.link().restore();
  wire.offer(100);
  wire.offer(100);
  unsigned given_back = 0;
  wire.link().lose_held([&](std::uint64_t) { ++given_back; });
  EXPECT_EQ(given_back, 2U);
  wire.run(kSecond);
  EXPECT_EQ(wire.arrivals.size(), 1U);
  EXPECT_EQ(wire.link().counters().cut_pkts, 3U);
  wire.expect_balance();
}

TEST(Impairment, HoldsABoundedNumber) {
  ImpairedLink<int> link(1, 8);
  link.set({.delay_ns = kSecond, .duplicate = 1}, 0);
  unsigned taken = 0;
  for (int i = 0; i < 20; ++i) taken += link.offer(i, 100, 0, [=] { return i; });
  EXPECT_EQ(taken, 4U);  // and a copy of each
  EXPECT_EQ(link.held_pkts(), 8U);
  EXPECT_EQ(link.counters().queue_drops_pkts, 16U);
}

std::string story(std::uint64_t seed, const ImpairmentSettings& settings) {
  Wire wire(settings, seed);
  wire.stream(2000, kMs / 10, 700);
  std::string text;
  for (const Arrival& one : wire.arrivals) {
    text += std::to_string(one.number) + "@" + std::to_string(one.at_ns) + " ";
  }
  return text;
}

TEST(Impairment, TheSameSeedTellsTheSameStory) {
  const ImpairmentSettings bad{.delay_ns = 5 * kMs,
                               .jitter_ns = 2 * kMs,
                               .rate_bits_per_s = 50'000'000,
                               .loss = 0.02,
                               .duplicate = 0.02,
                               .reorder = 0.05};
  EXPECT_EQ(story(7, bad), story(7, bad));
  EXPECT_NE(story(7, bad), story(8, bad));
}

TEST(Impairment, OneSettingLeavesTheChoicesOfTheOthers) {
  std::set<std::uint64_t> arrived[2];
  for (unsigned i = 0; i < 2; ++i) {
    Wire wire({.jitter_ns = i * kMs, .loss = 0.1, .duplicate = 0.1 * i, .reorder = 0.1 * i}, 3);
    wire.stream(1000, kMs, 100);
    for (const Arrival& one : wire.arrivals) arrived[i].insert(one.number);
  }
  EXPECT_EQ(arrived[0], arrived[1]);
}

TEST(Impairment, CorruptionIsOneBitAndLeavesOtherFatesAlone) {
  const ImpairmentSettings lossy{.loss = 0.1, .reorder = 0.1};
  ImpairmentSettings damaging = lossy;
  damaging.corrupt = 0.25;
  Impairment plain(9);
  Impairment corrupt(9);
  plain.set(lossy, 0);
  corrupt.set(damaging, 0);
  unsigned corrupted = 0;
  for (unsigned i = 0; i < 4000; ++i) {
    const Impairment::Fate a = plain.decide(100, i);
    const Impairment::Fate b = corrupt.decide(100, i);
    ASSERT_EQ(a.forwarded, b.forwarded);
    ASSERT_EQ(a.due_ns, b.due_ns);
    ASSERT_FALSE(a.corrupted);
    if (!b.corrupted) continue;
    ++corrupted;
    std::array<std::uint8_t, 100> bytes{};
    testpmd::flip_bit(bytes.data(), bytes.size(), b.damage);
    unsigned bits = 0;
    for (const std::uint8_t byte : bytes) bits += static_cast<unsigned>(__builtin_popcount(byte));
    ASSERT_EQ(bits, 1U);
  }
  EXPECT_EQ(corrupt.counters.corrupted_pkts, corrupted);
  EXPECT_NEAR(corrupted, 900, 120);  // a quarter of what was not lost
}

}  // namespace
}  // namespace support
