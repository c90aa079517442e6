#include "tools/testpmd/relay_lane.h"

#include <array>
#include <atomic>
#include <vector>

#include <fmt/format.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "tools/testpmd/impairment.h"
#include "tools/testpmd/impairment_text.h"

namespace testpmd {
namespace {

constexpr unsigned kBurst = 64;
constexpr std::size_t kMostHeld =
    65'536;  // of one direction; the heap's memory is taken before the lane runs
constexpr std::uint64_t kSeedOfB = 0x5851f42d4c957f2d;

using Link = ImpairedLink<rte_mbuf*>;

// What leaves by a port, and what the port did not take yet: it is offered again, in order.
struct Outlet {
  RelayLane::End end;
  std::array<rte_mbuf*, kBurst> waiting{};
  unsigned count = 0;
  std::uint64_t refused = 0;  // times the port had no room

  unsigned flush() {
    if (count == 0) return 0;
    const unsigned sent =
        rte_eth_tx_burst(end.ethdev, end.queue, waiting.data(), static_cast<std::uint16_t>(count));
    count -= sent;
    for (unsigned i = 0; i < count; ++i) waiting[i] = waiting[i + sent];
    refused += count != 0 ? 1 : 0;
    return sent;
  }
};

struct Direction {
  Direction(RelayLane::End from_end, RelayLane::End to_end, std::uint64_t seed)
      : from(from_end), link(seed, kMostHeld) {
    to.end = to_end;
    link.reserve();
  }
  RelayLane::End from;
  Outlet to;
  Link link;
  std::atomic<std::uint64_t> held{0};
  std::uint64_t no_buffer = 0;  // duplicates that were not made
  // Settings on their way to the lane; those before stay until the lane rests for good.
  std::atomic<const ImpairmentSettings*> next{nullptr};
  const ImpairmentSettings* used = nullptr;
  ImpairmentSettings wanted;  // as the main lcore knows them
  std::vector<std::unique_ptr<ImpairmentSettings>> kept;
};

std::string text_of(const char* name, const Direction& d) {
  const ImpairmentSettings& s = d.wanted;
  const ImpairmentCounters c = d.link.counters();
  return fmt::format(
      "{}: delay={}us jitter={}us rate={}bit queue={} loss={:.4g}% duplicate={:.4g}% reorder={:.4g}% "
      "corrupt={:.4g}%\n"
      "    in {} out {} lost {} queue_drops {} duplicated {} reordered {} corrupted {} held {}\n",
      name, s.delay_ns / 1000, s.jitter_ns / 1000, s.rate_bits_per_s, s.queue_bytes, 100 * s.loss,
      100 * s.duplicate, 100 * s.reorder, 100 * s.corrupt, c.in_pkts, c.out_pkts, c.lost_pkts,
      c.queue_drops_pkts, c.duplicated_pkts, c.reordered_pkts, c.corrupted_pkts,
      d.held.load(std::memory_order_relaxed));
}

}  // namespace

struct RelayLane::Impl {
  Impl(End a, End b, rte_mempool* packets, std::uint64_t seed)
      : ab(a, b, seed), ba(b, a, seed ^ kSeedOfB), pool(packets) {}

  unsigned run(Direction& d, std::uint64_t now_ns);
  void take(Direction& d, rte_mbuf* m, std::uint64_t now_ns);

  Direction ab;
  Direction ba;
  rte_mempool* pool;
};

RelayLane::RelayLane(End a, End b, rte_mempool* pool, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(a, b, pool, seed)) {}

RelayLane::~RelayLane() {
  discard();
}

void RelayLane::Impl::take(Direction& d, rte_mbuf* m, std::uint64_t now_ns) {
  const auto copy = [&] {
    rte_mbuf* made = rte_pktmbuf_copy(m, pool, 0, UINT32_MAX);
    if (made == nullptr) ++d.no_buffer;
    return made;
  };
  const auto damage = [&](std::uint64_t random) {
    flip_bit(rte_pktmbuf_mtod(m, std::uint8_t*), rte_pktmbuf_data_len(m), random);
  };
  if (!d.link.offer(m, rte_pktmbuf_pkt_len(m), now_ns, copy, damage)) rte_pktmbuf_free(m);
}

unsigned RelayLane::Impl::run(Direction& d, std::uint64_t now_ns) {
  const ImpairmentSettings* wanted = d.next.load(std::memory_order_acquire);
  if (wanted != d.used) {
    d.used = wanted;
    d.link.set(*wanted, now_ns);
  }
  std::array<rte_mbuf*, kBurst> burst;
  const unsigned n = rte_eth_rx_burst(d.from.ethdev, d.from.queue, burst.data(), kBurst);
  for (unsigned i = 0; i < n; ++i) take(d, burst[i], now_ns);
  const unsigned room = kBurst - d.to.count;
  d.link.release(now_ns, room, [&d](rte_mbuf* m, std::uint32_t) {
    if (m != nullptr) d.to.waiting[d.to.count++] = m;  // null: a duplicate there was no buffer for
  });
  const unsigned sent = d.to.flush();
  d.held.store(d.link.held_pkts() + d.to.count, std::memory_order_relaxed);
  return n + sent;
}

unsigned RelayLane::poll(std::uint64_t now_ns) {
  return impl_->run(impl_->ab, now_ns) + impl_->run(impl_->ba, now_ns);
}

void RelayLane::discard() {
  for (Direction* d : {&impl_->ab, &impl_->ba}) {
    d->link.lose_held([](rte_mbuf* m) { rte_pktmbuf_free(m); });
    for (; d->to.count != 0; --d->to.count) rte_pktmbuf_free(d->to.waiting[d->to.count - 1]);
    d->held.store(0, std::memory_order_relaxed);
  }
}

std::string RelayLane::set(const std::string& direction, const std::vector<std::string>& words) {
  if (direction != "ab" && direction != "ba" && direction != "both") {
    return fmt::format("\"{}\": expected ab, ba or both", direction);
  }
  std::array<Direction*, 2> both{&impl_->ab, &impl_->ba};
  std::array<ImpairmentSettings, 2> wanted{both[0]->wanted, both[1]->wanted};
  const std::array<bool, 2> meant{direction != "ba", direction != "ab"};
  for (unsigned i = 0; i < 2; ++i) {
    for (const std::string& word : words) {
      if (!meant[i]) continue;
      if (std::string wrong = apply_setting(wanted[i], word); !wrong.empty()) return wrong;
    }
  }
  for (unsigned i = 0; i < 2; ++i) {  // only when every word is good
    if (!meant[i]) continue;
    both[i]->wanted = wanted[i];
    both[i]->kept.push_back(std::make_unique<ImpairmentSettings>(wanted[i]));
    both[i]->next.store(both[i]->kept.back().get(), std::memory_order_release);
  }
  return "";
}

std::string RelayLane::text() const {
  return text_of("ab", impl_->ab) + text_of("ba", impl_->ba);
}

std::uint64_t RelayLane::held() const {
  return impl_->ab.held.load(std::memory_order_relaxed) + impl_->ba.held.load(std::memory_order_relaxed);
}

}  // namespace testpmd
