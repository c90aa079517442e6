// Session look-up: ours, one id at a time and in bursts, beside std::unordered_map in the same run.
//
// Arguments: sessions; permille of look-ups that name no session. A hit ends with the session's first line in
// the cache in every row, as the receive path needs it at once. cycles_per_packet is the time stamp counter
// over the look-ups of a run; the ratio of two rows with the same arguments is the figure that travels
// between machines.
#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include "session/table.h"

namespace {

using session::kNone;
using session::SessionHot;
using Id = std::array<std::uint8_t, session::kSessionIdBytes>;

constexpr unsigned kBurst = 32;
constexpr std::size_t kLookups = 1 << 14;

// Ids are hash outputs: their first bytes are as good a hash as any, for both tables.
struct FirstBytes {
  std::size_t operator()(const Id& id) const {
    std::size_t h;
    std::memcpy(&h, id.data(), sizeof(h));
    return h;
  }
};

struct HashedText {
  std::size_t operator()(const Id& id) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(id.data()), id.size()});
  }
};

class Sessions {
 public:
  Sessions(std::size_t count, std::int64_t misses_permille) : hot_(count), wanted_(kLookups) {
    for (SessionHot& hot : hot_) hot.id = random_id();
    for (Id& id : wanted_) {
      const bool miss = static_cast<std::int64_t>(random_() % 1000) < misses_permille;
      id = miss ? random_id() : hot_[random_() % count].id;
    }
  }
  std::vector<SessionHot>& hot() { return hot_; }
  const std::vector<Id>& wanted() const { return wanted_; }

 private:
  Id random_id() {
    Id id;
    for (std::size_t i = 0; i < id.size(); i += 8) {
      const std::uint64_t word = random_();
      std::memcpy(id.data() + i, &word, 8);
    }
    return id;
  }
  std::mt19937_64 random_{1};
  std::vector<SessionHot> hot_;
  std::vector<Id> wanted_;
};

class Ours {
 public:
  explicit Ours(std::vector<SessionHot>& hot)
      : memory_(session::SessionTable::bytes_needed(static_cast<std::uint32_t>(hot.size())) / 8) {
    table_.init(std::as_writable_bytes(std::span(memory_)), static_cast<std::uint32_t>(hot.size()),
                hot.data());
    for (std::uint32_t i = 0; i < hot.size(); ++i) table_.insert(hot[i].id.data(), i);
  }
  void find(const Id* ids, unsigned n, std::uint32_t* slots) const {
    for (unsigned i = 0; i < n; ++i) slots[i] = table_.find(ids[i].data());
  }

 protected:
  std::vector<std::uint64_t> memory_;
  session::SessionTable table_;
};

class OursBatch : public Ours {
 public:
  using Ours::Ours;
  void find(const Id* ids, unsigned n, std::uint32_t* slots) const {
    const std::uint8_t* pointers[kBurst];
    for (unsigned i = 0; i < n; ++i) pointers[i] = ids[i].data();
    table_.find_batch(pointers, n, slots);
  }
};

template <class Hash>
class UnorderedMap {
 public:
  explicit UnorderedMap(std::vector<SessionHot>& hot) {
    map_.reserve(hot.size());
    for (std::uint32_t i = 0; i < hot.size(); ++i) map_.emplace(hot[i].id, i);
  }
  void find(const Id* ids, unsigned n, std::uint32_t* slots) const {
    for (unsigned i = 0; i < n; ++i) {
      const auto at = map_.find(ids[i]);
      slots[i] = at == map_.end() ? kNone : at->second;
    }
  }

 private:
  std::unordered_map<Id, std::uint32_t, Hash> map_;
};

template <class Table>
void look_up(benchmark::State& state) {
  Sessions sessions(static_cast<std::size_t>(state.range(0)), state.range(1));
  const Table table(sessions.hot());
  const std::vector<Id>& wanted = sessions.wanted();
  std::uint32_t slots[kBurst];
  std::size_t at = 0;
  std::uint64_t wrong = 0;
  std::uint64_t rounds = 0;
  const std::uint64_t start = __rdtsc();
  for (auto _ : state) {
    table.find(&wanted[at], kBurst, slots);
    for (unsigned i = 0; i < kBurst; ++i) {
      if (slots[i] != kNone) wrong += sessions.hot()[slots[i]].id[0] != wanted[at + i][0];
    }
    at = (at + kBurst) % kLookups;
    ++rounds;
  }
  const std::uint64_t cycles = __rdtsc() - start;
  if (wrong != 0) state.SkipWithError("a look-up found another session");
  state.counters["cycles_per_packet"] = static_cast<double>(cycles) / static_cast<double>(rounds * kBurst);
  state.SetItemsProcessed(static_cast<std::int64_t>(rounds * kBurst));
}

void loads(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"sessions", "misses"});
  bench->ArgsProduct({{64, 4096, 131072}, {0, 1000}});
}

BENCHMARK_TEMPLATE(look_up, Ours)->Name("table/ours")->Apply(loads);
BENCHMARK_TEMPLATE(look_up, OursBatch)->Name("table/ours_burst_32")->Apply(loads);
BENCHMARK_TEMPLATE(look_up, UnorderedMap<FirstBytes>)->Name("table/unordered_map_first_bytes")->Apply(loads);
BENCHMARK_TEMPLATE(look_up, UnorderedMap<HashedText>)->Name("table/unordered_map_std_hash")->Apply(loads);

}  // namespace

BENCHMARK_MAIN();
