// Workers look routes up while control changes them: an answer was right at some time during its look-up.
//
// All changes are known beforehand, so the right answers after each of them are, too. The writer says which
// change it began and which it ended; a reader asks before and after a look-up and takes no answer but those
// of the changes between. TSan sees Fib's own words here; the library's tables are read and written in its
// code.
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <pthread.h>
#include <rte_eal.h>

#include "dataplane/fib.h"
#include "session/wire.h"
#include "tests/support/fib_model.h"

namespace {

using dataplane::Fib;
using dataplane::Hop;
using dataplane::HopKind;
using dataplane::IpAddress;
using dataplane::IpPrefix;
using support::FibModel;
using support::FibRoutes;

constexpr unsigned kBurst = 64;  // of each family
constexpr unsigned kChanges = 30'000;
constexpr unsigned kToggles = 8'000;
constexpr unsigned kRoutes = 40;
constexpr unsigned kReaders = 2;

struct Change {
  IpPrefix prefix;
  Hop hop;  // none: remove
};
using Answers = std::array<std::uint32_t, 2 * kBurst>;  // IPv4, then IPv6

struct History {
  std::array<IpAddress, 2 * kBurst> asked;
  std::vector<Change> changes;
  std::vector<Answers> answers;  // [n]: behind n changes
};

// Every route has a next hop of its own, so that a wrong table shows; some have that of the one before.
Hop hop_of(FibRoutes& random, unsigned n) {
  return Hop::make(HopKind::kSession, n % 64, random.below(8) == 0 ? 1 : n + 1);
}

Change next_change(const FibModel& model, FibRoutes& random, unsigned n) {
  const auto known = static_cast<unsigned>(model.routes().size());
  if (known > 0 && random.below(2 * kRoutes) < known) {
    return {model.routes()[random.below(known)].prefix, {}};
  }
  const IpPrefix prefix = random.prefix(random.family(), 200);
  return {prefix, hop_of(random, n)};
}

void append(History& history, FibModel& model, const Change& change) {
  change.hop.word != 0 ? model.add(change.prefix, change.hop) : model.remove(change.prefix);
  history.changes.push_back(change);
  Answers now = history.answers.back();
  for (unsigned i = 0; i < 2 * kBurst; ++i) {
    if (support::inside(history.asked[i], change.prefix)) now[i] = model.lookup(history.asked[i]).word;
  }
  history.answers.push_back(now);
}

std::unique_ptr<History> random_history(std::uint64_t seed) {
  auto history = std::make_unique<History>();
  FibRoutes random(seed);
  FibModel model;
  for (unsigned i = 0; i < 2 * kBurst; ++i) history->asked[i] = random.address(i < kBurst ? 4 : 6);
  history->answers.emplace_back().fill(0);
  for (unsigned n = 0; n < kChanges; ++n) append(*history, model, next_change(model, random, n));
  return history;
}

// The n-th address of a family: two in each of 32 blocks of 24 bits.
IpAddress in_block(std::uint8_t family, unsigned n) {
  IpAddress address;
  address.family = family;
  address.bytes[0] = 10;
  address.bytes[2] = static_cast<std::uint8_t>(n / 2 * 3);
  address.bytes[family == 4 ? 3 : 9] = static_cast<std::uint8_t>(n % 2);
  return address;
}

// Tables that become equal and are given back, again and again: two nested prefixes take turns in having the
// next hop of the long routes inside them. One of them is written outside a section, behind guards.
std::unique_ptr<History> toggling_history() {
  auto history = std::make_unique<History>();
  FibModel model;
  const Hop inner = Hop::make(HopKind::kSession, 1, 1);
  history->answers.emplace_back().fill(0);
  for (unsigned i = 0; i < 2 * kBurst; ++i) history->asked[i] = in_block(i < kBurst ? 4 : 6, i % kBurst);
  for (unsigned i = 0; i < 2 * kBurst; i += 2) {
    const std::uint8_t family = i < kBurst ? 4 : 6;
    append(*history, model, {{history->asked[i], static_cast<std::uint8_t>(family == 4 ? 32 : 80)}, inner});
  }
  for (unsigned n = 0; history->changes.size() < kToggles; ++n) {
    const std::uint8_t family = n % 2 == 0 ? 4 : 6;
    const auto length = static_cast<std::uint8_t>(n / 2 % 2 == 0 ? 11 : 9);
    const IpPrefix prefix = support::without_host_bits({in_block(family, 0), length});
    append(*history, model, {prefix, n / 4 % 2 == 0 ? inner : Hop::make(HopKind::kSession, 2, n + 2)});
  }
  return history;
}

struct Shared {
  const History& history;
  const Fib& fib;
  std::atomic<unsigned> begun{0};
  std::atomic<unsigned> ended{0};
  std::atomic<unsigned> looked_up{0};  // bursts
  std::atomic<unsigned> wrong{0};
};

void look_up(const Shared& shared, Answers& found) {
  std::uint32_t four[kBurst];
  std::uint8_t six[kBurst][16];
  for (unsigned i = 0; i < kBurst; ++i) {
    four[i] = session::load_be32(shared.history.asked[i].bytes.data());
    std::memcpy(six[i], shared.history.asked[kBurst + i].bytes.data(), 16);
  }
  Hop hops[2 * kBurst];
  shared.fib.lookup4(four, kBurst, hops);
  shared.fib.lookup6(six, kBurst, hops + kBurst);
  for (unsigned i = 0; i < 2 * kBurst; ++i) found[i] = hops[i].word;
}

bool was_right(const History& history, unsigned from, unsigned to, unsigned i, std::uint32_t answer) {
  for (unsigned n = from; n <= to; ++n) {
    if (history.answers[n][i] == answer) return true;
  }
  return false;
}

void read(Shared& shared) {
  while (shared.ended.load(std::memory_order_acquire) < shared.history.changes.size()) {
    const unsigned from = shared.ended.load(std::memory_order_acquire);
    Answers found;
    look_up(shared, found);
    const unsigned to = shared.begun.load(std::memory_order_acquire);
    for (unsigned i = 0; i < 2 * kBurst; ++i) {
      if (!was_right(shared.history, from, to, i, found[i])) shared.wrong.fetch_add(1);
    }
    shared.looked_up.fetch_add(1, std::memory_order_relaxed);
  }
}

void write(Shared& shared, Fib& fib) {
  for (unsigned n = 0; n < shared.history.changes.size(); ++n) {
    const Change& change = shared.history.changes[n];
    shared.begun.store(n + 1, std::memory_order_seq_cst);
    const bool done = change.hop.word != 0 ? fib.add(change.prefix, change.hop) : fib.remove(change.prefix);
    ASSERT_TRUE(done) << "change " << n;
    shared.ended.store(n + 1, std::memory_order_release);
  }
}

// EAL binds the calling thread to one core, and so would those be that it starts: that is undone.
void start_eal() {
  cpu_set_t before;
  ASSERT_EQ(pthread_getaffinity_np(pthread_self(), sizeof(before), &before), 0);
  const char* args[] = {"test", "--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m",
                        "512",  "-l",        "0",        "--log-level",    "error"};
  ASSERT_GE(rte_eal_init(static_cast<int>(std::size(args)), const_cast<char**>(args)), 0);
  ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof(before), &before), 0);
}

void read_beside_writer(const History& history) {
  static const bool started = [] {
    start_eal();
    return true;
  }();
  ASSERT_TRUE(started);
  Fib fib("readers", 2 * kBurst + 4, -1);
  Shared shared{history, fib};
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kReaders; ++i) readers.emplace_back([&] { read(shared); });
  while (shared.looked_up.load() < kReaders) std::this_thread::yield();
  write(shared, fib);
  shared.ended.store(static_cast<unsigned>(history.changes.size()),
                     std::memory_order_release);  // if a change failed
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(shared.wrong.load(), 0U);
  EXPECT_GT(shared.looked_up.load(), 100U);
  Answers last;
  look_up(shared, last);
  EXPECT_EQ(last, history.answers.back());
  std::printf("[          ] %u bursts, %lu sections\n", shared.looked_up.load(), fib.sections());
}

TEST(FibReaders, GetWhatWasRightDuringTheLookUp) {
  read_beside_writer(*random_history(4));
}

TEST(FibReaders, NeverSeeATableThatIsGivenBack) {
  read_beside_writer(*toggling_history());
}

}  // namespace
