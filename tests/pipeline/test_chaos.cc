// Everything at once, from a seed: two complete gateways among losses, reordering, repeats, rebindings,
// spoofed and broken packets, rekeys, migrations, failing stores and crashes.
//
//   PHANTOM_CHAOS_ROUNDS   how many (kRounds)
//   PHANTOM_CHAOS_SEED     of the first round (1); round n has the seed plus n
//   PHANTOM_CHAOS_STEPS    milliseconds of trouble in a round (3000), a quiet phase after each thousand
//   PHANTOM_CHAOS_ROUND    number of the first round (0): seed and round of a failure repeat it
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "tests/support/chaos.h"

namespace {

using support::Chaos;
using support::ChaosCounts;

// About a minute of a release build.
#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kRounds = 4;
#else
constexpr std::uint64_t kRounds = 230;
#endif
constexpr std::uint64_t kStepsToQuiet = 1000;

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
  std::printf("  replacements %llu, added %llu, removed %llu, routes %llu, quiet phases %llu, seals %llu\n",
              n(c.replacements), n(c.added), n(c.removed), n(c.routes), n(c.quiet), n(c.seals));
}

void add(ChaosCounts& sum, const ChaosCounts& c) {
  sum.sent += c.sent, sum.delivered += c.delivered, sum.datagrams += c.datagrams, sum.lost += c.lost;
  sum.delayed += c.delayed, sum.repeated += c.repeated, sum.unreachable += c.unreachable;
  sum.rebinds += c.rebinds, sum.spoofed += c.spoofed, sum.garbage += c.garbage, sum.rekeys += c.rekeys;
  sum.rekeys_refused += c.rekeys_refused, sum.migrations += c.migrations, sum.probes += c.probes;
  sum.store_failures += c.store_failures, sum.restarts += c.restarts;
  sum.restarts_left_out += c.restarts_left_out, sum.replacements += c.replacements, sum.added += c.added;
  sum.removed += c.removed, sum.routes += c.routes, sum.quiet += c.quiet, sum.seals += c.seals;
}

struct Verdict {
  std::string trouble;  // empty: all is well
  std::uint64_t digest = 0;
};

Verdict run_round(std::uint64_t seed, unsigned round, std::uint64_t steps, ChaosCounts& counts) {
  const unsigned free_before = support::free_packets();
  Verdict out;
  {
    Chaos chaos(seed, round);
    for (std::uint64_t i = 1; i <= steps && chaos.trouble().empty(); ++i) {
      chaos.step();
      if (i % kStepsToQuiet == 0 && i != steps && chaos.trouble().empty()) chaos.settle_down();
    }
    if (chaos.trouble().empty()) chaos.heal();
    out = {chaos.trouble(), chaos.digest()};
    add(counts, chaos.counts());
  }
  if (out.trouble.empty() && support::free_packets() != free_before)
    out.trouble = "packet buffers are missing";
  return out;
}

class ChaosTest : public ::testing::Test {
 protected:
  ChaosTest() {
    support::start_eal();
    (void)support::packet_pool();
    spdlog::set_level(spdlog::level::off);
  }
  ~ChaosTest() override { spdlog::set_level(spdlog::level::info); }
};

TEST_F(ChaosTest, ASeedRepeatsToTheByte) {
  ChaosCounts counts;
  const Verdict first = run_round(4711, 1, 600, counts);
  const Verdict again = run_round(4711, 1, 600, counts);
  const Verdict other = run_round(4712, 1, 600, counts);
  EXPECT_EQ(first.trouble, "");
  EXPECT_EQ(again.trouble, "");
  EXPECT_EQ(first.digest, again.digest);
  EXPECT_NE(first.digest, other.digest);
}

TEST_F(ChaosTest, Soak) {
  const std::uint64_t rounds = from_environment("PHANTOM_CHAOS_ROUNDS", kRounds);
  const std::uint64_t seed = from_environment("PHANTOM_CHAOS_SEED", 1);
  const std::uint64_t steps = from_environment("PHANTOM_CHAOS_STEPS", 3000);
  const auto first = static_cast<unsigned>(from_environment("PHANTOM_CHAOS_ROUND", 0));
  // Numbers of routes end at 16,384.
  const auto end = static_cast<unsigned>(std::min<std::uint64_t>(first + rounds, 16384 / Chaos::kNumbers));
  ChaosCounts counts;
  for (unsigned round = first; round < end; ++round) {
    const std::uint64_t seed_of_round = seed + (round - first);
    const Verdict verdict = run_round(seed_of_round, round, steps, counts);
    ASSERT_EQ(verdict.trouble, "") << "repeat it with PHANTOM_CHAOS_ROUNDS=1 PHANTOM_CHAOS_SEED="
                                   << seed_of_round << " PHANTOM_CHAOS_ROUND=" << round
                                   << " PHANTOM_CHAOS_STEPS=" << steps;
  }
  std::printf("chaos: seed %llu, %u rounds\n", static_cast<unsigned long long>(seed), end - first);
  print(counts);
  EXPECT_GT(counts.delivered, counts.sent / 4) << "chaos that lets nothing pass proves nothing";
  EXPECT_GT(counts.rekeys, 0U);
  EXPECT_GT(counts.rebinds, 0U);
}

}  // namespace
