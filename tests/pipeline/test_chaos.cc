// Everything at once, from a seed: two complete gateways among losses, reordering, repeats, rebindings,
// spoofed and broken packets, rekeys, migrations, failing stores and crashes.
//
//   PHANTOM_CHAOS_SECONDS  how long (60)
//   PHANTOM_CHAOS_SEED     of the first round (1); round n has the seed plus n
//   PHANTOM_CHAOS_STEPS    milliseconds of trouble in a round (3000)
//   PHANTOM_CHAOS_ROUND    number of the first round (0): seed and round of a failure repeat it
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/support/chaos.h"

namespace {

using support::Chaos;
using support::ChaosCounts;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void print(const ChaosCounts& c) {
  const auto n = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
  std::printf(
      "  packets %llu, delivered %llu; datagrams %llu: lost %llu, delayed %llu, repeated %llu, unreachable "
      "%llu\n",
      n(c.sent), n(c.delivered), n(c.datagrams), n(c.lost), n(c.delayed), n(c.repeated), n(c.unreachable));
  std::printf(
      "  rebinds %llu, spoofed %llu, garbage %llu, rekeys %llu (%llu refused), migrations %llu, probes %llu, "
      "store failures %llu, restarts %llu (%llu left out)\n",
      n(c.rebinds), n(c.spoofed), n(c.garbage), n(c.rekeys), n(c.rekeys_refused), n(c.migrations),
      n(c.probes), n(c.store_failures), n(c.restarts), n(c.restarts_left_out));
}

void add(ChaosCounts& sum, const ChaosCounts& c) {
  sum.sent += c.sent, sum.delivered += c.delivered, sum.datagrams += c.datagrams, sum.lost += c.lost;
  sum.delayed += c.delayed, sum.repeated += c.repeated, sum.unreachable += c.unreachable;
  sum.rebinds += c.rebinds, sum.spoofed += c.spoofed, sum.garbage += c.garbage, sum.rekeys += c.rekeys;
  sum.rekeys_refused += c.rekeys_refused, sum.migrations += c.migrations, sum.probes += c.probes;
  sum.store_failures += c.store_failures, sum.restarts += c.restarts;
  sum.restarts_left_out += c.restarts_left_out;
}

// One round; empty: all is well.
std::string run_round(std::uint64_t seed, unsigned round, ChaosCounts& counts) {
  const unsigned free_before = support::free_packets();
  const std::uint64_t steps = from_environment("PHANTOM_CHAOS_STEPS", 3000);
  std::string trouble;
  {
    Chaos chaos(seed, round);
    for (std::uint64_t i = 0; i < steps && chaos.trouble().empty(); ++i) chaos.step();
    if (chaos.trouble().empty()) chaos.heal();
    trouble = chaos.trouble();
    add(counts, chaos.counts());
  }
  if (trouble.empty() && support::free_packets() != free_before) trouble = "packet buffers are missing";
  return trouble;
}

TEST(Chaos, Soak) {
  support::start_eal();
  (void)support::packet_pool();
  const std::uint64_t seconds = from_environment("PHANTOM_CHAOS_SECONDS", 60);
  const std::uint64_t seed = from_environment("PHANTOM_CHAOS_SEED", 1);
  const auto first = static_cast<unsigned>(from_environment("PHANTOM_CHAOS_ROUND", 0));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  ChaosCounts counts;
  // Numbers of sessions, hence secrets, end at 16,384.
  constexpr unsigned kRounds = 16384 / Chaos::kSessions;
  unsigned round = first;
  for (; round < kRounds && (round == first || std::chrono::steady_clock::now() < end); ++round) {
    const std::uint64_t seed_of_round = seed + (round - first);
    const std::string trouble = run_round(seed_of_round, round, counts);
    ASSERT_EQ(trouble, "") << "repeat it with PHANTOM_CHAOS_SECONDS=0 PHANTOM_CHAOS_SEED=" << seed_of_round
                           << " PHANTOM_CHAOS_ROUND=" << round;
  }
  std::printf("chaos: seed %llu, %u rounds\n", static_cast<unsigned long long>(seed), round - first);
  print(counts);
  EXPECT_GT(counts.delivered, counts.sent / 2) << "chaos that lets nothing pass proves nothing";
  EXPECT_GT(counts.rekeys, 0U);
  EXPECT_GT(counts.rebinds, 0U);
}

}  // namespace
