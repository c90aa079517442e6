// A million packets each way through two gateways: none lost, no heap allocation, no packet of the pool gone.
//
// The harness moves mbufs between rings itself, without the vectors of the other tests, so that what is
// counted is the workers' alone.
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "dataplane/mailbox.h"
#include "tests/support/alloc_counter.h"
#include "tests/support/paths.h"

namespace {

using namespace support;

constexpr unsigned kBurst = 32;
#if defined(__SANITIZE_ADDRESS__)
constexpr unsigned kRounds = 100'000 / kBurst;  // sanitizers count the same allocations, slowly
#else
constexpr unsigned kRounds = 1'000'000 / kBurst;
#endif

// Gives `n` packets from `from` to the ring `to`, with a new destination MAC. Returns how many there were.
unsigned move(rte_ring* from, rte_ring* to, const dataplane::MacAddress& mac_address) {
  void* packets[kBurst * 2];
  const unsigned n = rte_ring_sc_dequeue_burst(from, packets, kBurst * 2, nullptr);
  for (unsigned i = 0; i < n; ++i) {
    std::copy(mac_address.begin(), mac_address.end(),
              rte_pktmbuf_mtod(static_cast<rte_mbuf*>(packets[i]), std::uint8_t*));
  }
  return rte_ring_sp_enqueue_burst(to, packets, n, nullptr);
}

unsigned discard(rte_ring* from) {
  void* packets[kBurst * 2];
  const unsigned n = rte_ring_sc_dequeue_burst(from, packets, kBurst * 2, nullptr);
  rte_pktmbuf_free_bulk(reinterpret_cast<rte_mbuf**>(packets), n);
  return n;
}

void feed(rte_ring* ring, const Bytes& frame) {
  void* packets[kBurst];
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(packet_pool(), reinterpret_cast<rte_mbuf**>(packets), kBurst), 0);
  for (void* p : packets) {
    std::copy(frame.begin(), frame.end(),
              rte_pktmbuf_append(static_cast<rte_mbuf*>(p), static_cast<std::uint16_t>(frame.size())));
  }
  ASSERT_EQ(rte_ring_sp_enqueue_burst(ring, packets, kBurst, nullptr), kBurst);
}

TEST(Million, TheCounterSeesAllocations) {
  const std::uint64_t before = allocations();
  static void* volatile sink;
  sink = ::operator new(100);
  ::operator delete(sink);
  sink = std::malloc(100);
  std::free(sink);
  EXPECT_EQ(allocations() - before, 2U);
}

TEST(Million, BothWaysWithoutAllocationOrLoss) {
  const unsigned before = free_packets();
  {
    SiteOptions options;
    options.side = 2;
    options.outer6 = true;
    SiteOptions first;
    first.outer6 = true;
    Site one("x", first);
    Site two("y", options);
    const Bytes there = one.from_host(one.outward(64));
    const Bytes back = two.from_host(two.outward(64));
    std::uint64_t arrived_one = 0;
    std::uint64_t arrived_two = 0;
    const std::uint64_t allocated = allocations();
    for (unsigned round = 0; round < kRounds; ++round) {
      feed(one.gw.rx_ring(kLan, 0), there);
      feed(two.gw.rx_ring(kLan, 0), back);
      one.gw.poll(0);
      two.gw.poll(0);
      move(one.gw.tx_ring(kWan, 0), two.gw.rx_ring(kWan, 0), two.gw.port_mac(kWan));
      move(two.gw.tx_ring(kWan, 0), one.gw.rx_ring(kWan, 0), one.gw.port_mac(kWan));
      one.gw.poll(0);
      two.gw.poll(0);
      arrived_one += discard(one.gw.tx_ring(kLan, 0));
      arrived_two += discard(two.gw.tx_ring(kLan, 0));
    }
    EXPECT_EQ(allocations() - allocated, 0U);
    EXPECT_EQ(arrived_one, std::uint64_t{kRounds} * kBurst);
    EXPECT_EQ(arrived_two, std::uint64_t{kRounds} * kBurst);
    EXPECT_EQ(one.gw.all_drops() + two.gw.all_drops(), 0U);
    EXPECT_EQ(one.gw.imbalance(), 0);
    EXPECT_EQ(two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

// Every packet twice, and every message about paths there is.
TEST(Million, CopiesAndHintsAllocateNothing) {
  const unsigned before = free_packets();
  {
    SiteOptions options;
    options.side = 2;
    Site one("x", {});
    Site two("y", options);
    const std::vector<Ends> ends(2, Ends{one.spec.local, one.spec.peer});
    session::PathPlan plan = plan_for(one, ends);
    plan.second.fill(1);
    set_paths(one, plan);
    two.gw.shard().hot(two.session.slot).known_source = {};  // every packet comes from a stranger
    two.gw.shard().hot(two.session.slot).validated_paths[0] = 3;
    const Bytes there = one.from_host(one.outward(64));
    dataplane::Message message;
    std::uint64_t arrived = 0;
    unsigned hints = 0;
    const std::uint64_t allocated = allocations();
    constexpr unsigned kTimes = kRounds / 10;
    for (unsigned round = 0; round < kTimes; ++round) {
      feed(one.gw.rx_ring(kLan, 0), there);
      message.kind = dataplane::MessageKind::kFence;
      one.gw.command(0, message);
      message.kind = dataplane::MessageKind::kListen;
      message.a = 1;
      message.b = static_cast<std::uint16_t>(100 + round % 20);
      message.endpoint = one.spec.peer;
      one.gw.command(0, message);
      one.gw.poll(0);
      move(one.gw.tx_ring(kWan, 0), two.gw.rx_ring(kWan, 0), two.gw.port_mac(kWan));
      while (two.gw.worker(0).poll()) {
      }
      arrived += discard(two.gw.tx_ring(kLan, 0));
      while (dataplane::pop(one.gw.topology().workers[0].to_control, &message, 1) == 1) {
      }
      while (dataplane::pop(two.gw.topology().workers[0].to_control, &message, 1) == 1) {
        hints += message.kind == dataplane::MessageKind::kNewSource ? 1 : 0;
      }
    }
    EXPECT_EQ(allocations() - allocated, 0U);
    EXPECT_EQ(arrived, std::uint64_t{kTimes} * kBurst);
    EXPECT_GT(hints, 0U);
    EXPECT_EQ(one.gw.all_drops(), 0U);
    EXPECT_EQ(two.gw.drops(session::DropReason::kReplayDuplicate), arrived);
    EXPECT_EQ(one.gw.imbalance(), 0);
    EXPECT_EQ(two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

}  // namespace
