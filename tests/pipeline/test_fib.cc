// Routes that come and go: the Fib answers as a search through all routes does, and never fills up by itself.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/fib.h"
#include "tests/support/fib_model.h"
#include "tests/support/pipeline.h"

namespace {

using dataplane::Fib;
using dataplane::Hop;
using dataplane::HopKind;
using dataplane::IpAddress;
using dataplane::IpPrefix;
using support::FibModel;
using support::FibRoutes;

constexpr std::uint32_t kRoutes = 64;

std::unique_ptr<Fib> make_fib(std::uint32_t routes = kRoutes) {
  static unsigned made = 0;
  support::start_eal();
  return std::make_unique<Fib>(std::string("fib").append(std::to_string(made++)), routes, -1);
}

Hop hop(std::uint32_t n) {
  return Hop::make(HopKind::kSession, n % 64, n);
}

// The n-th of prefixes that share no table but the first level.
IpPrefix unrelated(std::uint8_t family, std::uint8_t length, std::uint32_t n) {
  IpPrefix prefix;
  prefix.address.family = family;
  prefix.length = length;
  auto& bytes = prefix.address.bytes;
  bytes[0] = 0x20;
  bytes[1] = static_cast<std::uint8_t>(n >> 8);
  bytes[2] = static_cast<std::uint8_t>(n);
  bytes[3] = 7;
  if (family == 6) bytes[15] = 9;
  return support::without_host_bits(prefix);
}

// First and last address of a prefix, and what is right before and behind it.
std::vector<IpAddress> edges(const IpPrefix& prefix) {
  IpAddress first = prefix.address;
  IpAddress last = first;
  const unsigned bits = first.family == 4 ? 32 : 128;
  for (unsigned i = prefix.length; i < bits; ++i) {
    last.bytes[i / 8] |= static_cast<std::uint8_t>(1U << (7 - i % 8));
  }
  IpAddress before = first;
  for (unsigned i = bits / 8; i-- > 0 && before.bytes[i]-- == 0;) {
  }
  IpAddress behind = last;
  for (unsigned i = bits / 8; i-- > 0 && ++behind.bytes[i] == 0;) {
  }
  return {first, last, before, behind};
}

void expect_answers(const Fib& fib, const FibModel& model, const std::vector<IpAddress>& at) {
  for (const IpAddress& address : at) {
    ASSERT_EQ(fib.lookup(address).word, model.lookup(address).word)
        << "family " << unsigned{address.family} << ::testing::PrintToString(address.bytes);
  }
}

void expect_all(const Fib& fib, const FibModel& model) {
  for (const FibModel::Route& route : model.routes()) expect_answers(fib, model, edges(route.prefix));
}

// One change of the Fib and the model; a full table refuses new prefixes and nothing else.
IpPrefix change(Fib& fib, FibModel& model, FibRoutes& random) {
  const std::uint8_t family = random.family();
  const unsigned count = model.count(family);
  // Between empty and full, there and back.
  if (count > 0 && random.below(2 * kRoutes) < count) {
    std::vector<IpPrefix> known;
    for (const FibModel::Route& r : model.routes()) {
      if (r.prefix.address.family == family) known.push_back(r.prefix);
    }
    const IpPrefix gone = known[random.below(static_cast<unsigned>(known.size()))];
    EXPECT_TRUE(fib.remove(gone));
    model.remove(gone);
    return gone;
  }
  const IpPrefix prefix = random.prefix(family, 1000);
  const Hop to = random.hop();
  const bool fits = count < kRoutes || model.has(prefix);
  EXPECT_EQ(fib.add(prefix, to), fits) << count << " routes, length " << unsigned{prefix.length};
  if (fits) model.add(prefix, to);
  return prefix;
}

TEST(Fib, AnswersLikeASearchThroughAllRoutes) {
  constexpr unsigned kChanges = 200'000;  // half of them removals
  const auto fib = make_fib();
  FibModel model;
  FibRoutes random(20261123);
  unsigned full = 0;
  for (unsigned i = 0; i < kChanges; ++i) {
    const IpPrefix prefix = change(*fib, model, random);
    std::vector<IpAddress> at = edges(prefix);
    for (unsigned more = 0; more < 4; ++more) at.push_back(random.address(prefix.address.family));
    expect_answers(*fib, model, at);
    if (i % 1000 == 0) expect_all(*fib, model);
    full += model.count(4) == kRoutes || model.count(6) == kRoutes ? 1 : 0;
    if (HasFailure())
      FAIL() << "at change " << i << ": " << ::testing::PrintToString(prefix.address.bytes) << "/"
             << int{prefix.length};
  }
  EXPECT_GT(full, 0U);
  for (const FibModel::Route& route : std::vector(model.routes())) {
    ASSERT_TRUE(fib->remove(route.prefix));
    model.remove(route.prefix);
  }
  for (unsigned i = 0; i < 1000; ++i) expect_answers(*fib, model, {random.address(random.family())});
}

struct Step {
  const char* prefix;
  std::uint32_t hop;  // 0: remove
};

// Each of these left something behind in the library's count of tables: in some versions at every round, in
// others only when what covers a route goes before it.
TEST(Fib, OrdersOfComingAndGoingLeaveNothingBehind) {
  const std::vector<std::vector<Step>> orders = {
      {{"2001:db8:a::/64", 5}, {"2001:db8:a::/64", 0}},
      {{"2001:db8:a::/61", 5}, {"2001:db8:a::/61", 0}},
      {{"2001:db8:a::1/128", 5}, {"2001:db8:a::1/128", 0}},
      {{"2001:db8:a::/64", 5}, {"2001:db8:a::1/128", 6}, {"2001:db8:a::/64", 0}, {"2001:db8:a::1/128", 0}},
      {{"2001:db8:a::1/128", 6}, {"2001:db8:a::/64", 5}, {"2001:db8:a::1/128", 0}, {"2001:db8:a::/64", 0}},
      {{"2001:db8::/32", 5}, {"2001:db8:a::/64", 5}, {"2001:db8:a::/64", 0}, {"2001:db8::/32", 0}},
      {{"fcde::/28", 5},
       {"fcde:0:6000::/48", 6},
       {"fcde:1:6000::/48", 7},
       {"fcde::/28", 0},
       {"fcde:0:6000::/48", 0},
       {"fcde:1:6000::/48", 0}},
      {{"10.0.0.1/32", 5}, {"10.0.0.1/32", 0}},
      {{"10.0.0.0/8", 5}, {"10.0.0.1/32", 5}, {"10.0.0.1/32", 0}, {"10.0.0.0/8", 0}},
      {{"10.0.0.0/8", 5}, {"10.0.0.1/32", 6}, {"10.0.0.1/32", 5}, {"10.0.0.0/8", 0}, {"10.0.0.1/32", 0}},
      {{"10.0.0.0/30", 5}, {"10.0.0.1/32", 6}, {"10.0.0.0/30", 0}, {"10.0.0.1/32", 0}},
  };
  const auto fib = make_fib();
  for (const std::vector<Step>& order : orders) {
    for (unsigned round = 0; round < 2000; ++round) {
      for (const Step& step : order) {
        const IpPrefix prefix = support::prefix(step.prefix);
        ASSERT_TRUE(step.hop != 0 ? fib->add(prefix, hop(step.hop)) : fib->remove(prefix))
            << step.prefix << ", round " << round;
      }
      ASSERT_EQ(fib->lookup(support::prefix(order[0].prefix).address).word, 0U);
    }
  }
}

// The library takes a pair that ends with the address space for the whole of it (fib.cc, change_around()).
TEST(Fib, TwoHalvesOfTheAddressSpaceAreNotAllOfIt) {
  const auto fib = make_fib();
  const auto expect = [&](const char* address, std::uint32_t wanted) {
    EXPECT_EQ(fib->lookup(support::ip(address)).word, wanted == 0 ? 0 : hop(wanted).word) << address;
  };
  for (const auto& [all, low, high, in_low, in_high, one] :
       {std::array{"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "1.2.3.4", "200.1.1.1", "9.9.9.9/32"},
        std::array{"::/0", "::/1", "8000::/1", "2001:db8::1", "fd00::1", "2001:db8::9/128"}}) {
    const std::string one_address = std::string(one).substr(0, std::string(one).find('/'));
    for (const auto& [to, prefix] : {std::pair{1U, low}, {2U, high}, {3U, one}, {4U, all}}) {
      ASSERT_TRUE(fib->add(support::prefix(prefix), hop(to)));
    }
    expect(in_low, 1);
    expect(in_high, 2);
    expect(one_address.c_str(), 3);
    ASSERT_TRUE(fib->remove(support::prefix(high)));
    expect(in_high, 4);
    ASSERT_TRUE(fib->add(support::prefix(high), hop(5)));
    ASSERT_TRUE(fib->remove(support::prefix(all)));
    ASSERT_TRUE(fib->remove(support::prefix(low)));
    expect(in_low, 0);
    expect(in_high, 5);
    expect(one_address.c_str(), 3);
  }
}

// The configured number fits however little the routes have in common, one more of a family does not.
TEST(Fib, TakesTheConfiguredNumberOfEachFamily) {
  const auto fib = make_fib();
  for (unsigned again = 0; again < 3; ++again) {
    for (const auto& [family, length] : {std::pair<std::uint8_t, std::uint8_t>{4, 32}, {6, 128}}) {
      for (std::uint32_t n = 0; n < kRoutes; ++n) {
        ASSERT_TRUE(fib->add(unrelated(family, length, n), hop(n + 1))) << n;
      }
      EXPECT_FALSE(fib->add(unrelated(family, length, kRoutes), hop(1)));
      EXPECT_EQ(fib->lookup(unrelated(family, length, kRoutes).address).word, 0U);
      EXPECT_TRUE(fib->add(unrelated(family, length, 3), hop(99)));  // a next hop is no new route
      for (std::uint32_t n = 0; n < kRoutes; ++n) {
        ASSERT_EQ(fib->lookup(unrelated(family, length, n).address).word, hop(n == 3 ? 99 : n + 1).word);
        ASSERT_TRUE(fib->remove(unrelated(family, length, n)));
      }
    }
  }
}

// With more routes than tables for the worst of them, tables are the bound: those that routes share count
// once.
TEST(Fib, TablesAreCountedOnce) {
  constexpr std::uint32_t kAlone = dataplane::kMaxTables6 / 13;
  const auto fib = make_fib(3 * kAlone);
  for (std::uint32_t n = 0; n < kAlone; ++n) ASSERT_TRUE(fib->add(unrelated(6, 128, n), hop(n + 1))) << n;
  EXPECT_FALSE(fib->add(unrelated(6, 128, kAlone), hop(1)));
  EXPECT_EQ(fib->lookup(unrelated(6, 128, kAlone).address).word, 0U);
  // What was refused holds nothing: writing a single block takes a table for the time of it.
  ASSERT_TRUE(fib->add(unrelated(6, 24, 2 * kAlone), hop(1)));
  ASSERT_TRUE(fib->remove(unrelated(6, 24, 2 * kAlone)));
  for (std::uint32_t n = 0; n < kAlone; ++n) {  // the neighbour of each needs none of its own
    IpPrefix next = unrelated(6, 128, n);
    next.address.bytes[15] = 200;
    ASSERT_TRUE(fib->add(next, hop(n + 7))) << n;
  }
  ASSERT_TRUE(fib->add(support::prefix("2000::/12"), hop(5)));  // around them all, in pieces
  ASSERT_TRUE(fib->remove(unrelated(6, 128, 17)));
  EXPECT_FALSE(fib->add(unrelated(6, 128, kAlone), hop(1)));  // its neighbour still has the tables
  EXPECT_EQ(fib->lookup(unrelated(6, 128, 17).address).word, hop(5).word);
  for (std::uint32_t n = 0; n < kAlone; ++n) {
    if (n != 17) {
      ASSERT_EQ(fib->lookup(unrelated(6, 128, n).address).word, hop(n + 1).word) << n;
    }
  }
}

}  // namespace
