// Topology over null and ring ports: what is built, what is refused with which advice, and leaks at the end.
#include <iterator>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "dataplane/address_text.h"
#include "dataplane/message.h"
#include "dataplane/pkt_meta.h"
#include "dataplane/snapshot.h"
#include "dataplane/topology.h"

namespace dataplane {
namespace {

// Control and two workers, on whatever CPU there is.
void start_eal() {
  static const bool started = [] {
    const char* args[] = {"test",
                          "--no-huge",
                          "--no-pci",
                          "--no-telemetry",
                          "--no-shconf",
                          "-m",
                          "1024",
                          "--lcores=0@0,1@0,2@0",
                          "--log-level=*:critical"};
    return rte_eal_init(static_cast<int>(std::size(args)), const_cast<char**>(args)) >= 0;
  }();
  ASSERT_TRUE(started);
}

class TopologyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    start_eal();
    ASSERT_EQ(rte_vdev_init("net_null0", "size=64,copy=1"), 0);
    ASSERT_EQ(rte_vdev_init("net_null1", "size=64,copy=1"), 0);
    config_.pools.packets = 8191;
    config_.limits.sessions = 16;
    config_.limits.keys = 128;
    config_.limits.windows = 64;
    config_.ports.push_back(port("lan", "net_null0", "10.0.1.1/24"));
    config_.ports.push_back(port("wan", "net_null1", "192.0.2.1/24"));
  }
  void TearDown() override {
    rte_vdev_uninit("net_null0");
    rte_vdev_uninit("net_null1");
  }
  static PortConfig port(const std::string& name, const std::string& device, const std::string& address) {
    PortConfig c;
    c.name = name;
    c.device = device;
    c.lan = name == "lan";
    c.wan = name == "wan";
    c.addresses.push_back(parse_prefix(address).value());
    c.rx_descriptors = 512;
    return c;
  }
  // What building this configuration is refused with; "" when it is not.
  std::string refusal() {
    try {
      const auto topology = build_topology(config_);
      tear_down(*topology);
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  void expect_refusal(std::initializer_list<const char*> parts) {
    const std::string text = refusal();
    for (const char* part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
  }

  GatewayConfig config_;
};

TEST_F(TopologyTest, EveryPartIsThere) {
  config_.cores.workers = 2;
  const auto t = build_topology(config_);
  ASSERT_EQ(t->workers.size(), 2U);
  ASSERT_EQ(t->ports.size(), 2U);
  EXPECT_EQ(t->ports[1].index, 1);
  EXPECT_NE(t->ports[0].mac, MacAddress{});
  EXPECT_EQ(rte_eth_dev_socket_id(t->ports[0].ethdev), t->ports[0].socket);
  EXPECT_NE(t->workers[0].lcore, t->workers[1].lcore);
  EXPECT_GE(rte_pktmbuf_priv_size(t->packets), sizeof(PktMeta));
  for (const WorkerParts& worker : t->workers) {
    EXPECT_NE(worker.shard, nullptr);
    EXPECT_EQ(worker.keys->size(), 128U);
    EXPECT_EQ(rte_ring_get_size(worker.to_worker), config_.pools.mailbox_ring);
    EXPECT_TRUE(rte_ring_is_prod_single(worker.punt) == 1 && rte_ring_is_cons_single(worker.punt) == 1);
    ASSERT_EQ(worker.handoff_in.size(), 2U);
    EXPECT_EQ(worker.handoff_in[worker.index], nullptr);
    EXPECT_NE(worker.handoff_in[1 - worker.index], nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(worker.stats) % 128, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(worker.shard_memory->data()) % 64, 0U);
  }
  EXPECT_NE(t->control_stats, nullptr);
  EXPECT_NE(t->fib, nullptr);
  rte_eth_dev_info info{};
  ASSERT_EQ(rte_eth_dev_info_get(t->ports[0].ethdev, &info), 0);
  EXPECT_EQ(info.nb_rx_queues, 2);
  EXPECT_EQ(info.nb_tx_queues, 2);
  EXPECT_TRUE(tear_down(*t));
}

TEST_F(TopologyTest, OneGatewayAfterTheOther) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(refusal(), "");
    TearDown();
    ASSERT_EQ(rte_vdev_init("net_null0", "size=64"), 0);
    ASSERT_EQ(rte_vdev_init("net_null1", "size=64"), 0);
  }
}

TEST_F(TopologyTest, WhatIsLeftInRingsIsNoLeak) {
  config_.cores.workers = 2;
  const auto t = build_topology(config_);
  WorkerParts& worker = t->workers[0];
  ASSERT_EQ(rte_ring_sp_enqueue(worker.punt, rte_pktmbuf_alloc(t->packets)), 0);
  ASSERT_EQ(rte_ring_sp_enqueue(worker.handoff_in[1], rte_pktmbuf_alloc(t->packets)), 0);
  Message message;
  message.kind = MessageKind::kInject;
  message.mbuf = rte_pktmbuf_alloc(t->packets);
  ASSERT_TRUE(push(worker.to_worker, message));
  EXPECT_EQ(take_counters(*t, 1).books.held, 2U);
  EXPECT_TRUE(tear_down(*t));
}

TEST_F(TopologyTest, ALeakIsReported) {
  const auto t = build_topology(config_);
  rte_mbuf* lost = rte_pktmbuf_alloc(t->packets);
  ASSERT_NE(lost, nullptr);
  EXPECT_FALSE(tear_down(*t));
}

TEST_F(TopologyTest, PacketsLeftInTheDeviceAreNoLeak) {
  rte_ring* ring = rte_ring_create("loop", 256, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  ASSERT_NE(ring, nullptr);
  ASSERT_GE(rte_eth_from_rings("loop", &ring, 1, &ring, 1, 0), 0);
  config_.ports[0].device = "net_ring_loop";
  const auto t = build_topology(config_);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(rte_ring_sp_enqueue(ring, rte_pktmbuf_alloc(t->packets)), 0);
  EXPECT_TRUE(tear_down(*t));
  rte_ring_free(ring);
}

TEST_F(TopologyTest, TooFewQueues) {
  rte_ring* ring = rte_ring_create("single", 64, SOCKET_ID_ANY, 0);
  ASSERT_GE(rte_eth_from_rings("single", &ring, 1, &ring, 1, 0), 0);
  config_.ports[0].device = "net_ring_single";
  config_.cores.workers = 2;
  expect_refusal({"port \"lan\" (net_ring_single)", "2 worker(s) need one receive queue each",
                  "net_ring offers 1", "set cores.workers to 1"});
  rte_ring_free(ring);
}

TEST_F(TopologyTest, MissingDevice) {
  config_.ports[1].device = "0000:ff:1f.7";
  expect_refusal({"port \"wan\" (0000:ff:1f.7)", "available: net_null0, net_null1", "vfio-pci"});
}

TEST_F(TopologyTest, DeviceThatItsDriverRefused) {
  config_.ports[1].device = "net_af_packet9,iface=none";
  expect_refusal({"EAL's messages above", "PACKET_FANOUT"});
}

TEST_F(TopologyTest, TooFewCores) {
  config_.cores.workers = 3;
  expect_refusal({"cores.workers = 3 needs 4 lcores", "EAL was given 3", "--lcores"});
}

TEST_F(TopologyTest, BuffersThatAreTooSmallOrTooFew) {
  config_.ports[0].mtu = 3000;
  expect_refusal({"mtu = 3000", "pools.data_room_bytes to at least 3142"});
  config_.ports[0].mtu = 1500;
  config_.pools.packets = 1000;
  expect_refusal({"pools.packets = 1000 is too small", "raise it to"});
  config_.pools.packets = 8'000'000;
  expect_refusal({"no memory for 8000000 packets", "hugepages of 2 MiB", "--no-huge -m"});
}

TEST_F(TopologyTest, RingsMustBePowersOfTwo) {
  config_.pools.punt_ring = 100;
  expect_refusal({"punt", "powers of two"});
}

TEST_F(TopologyTest, CountersBecomeTableAndJson) {
  const auto t = build_topology(config_);
  CoreStats& worker = *t->workers[0].stats;
  worker.port[0].rx_pkts = 1000;
  worker.port[0].rx_bytes = 64'000;
  worker.port[1].tx_pkts = 990;
  worker.drops[static_cast<std::size_t>(session::DropReason::kNoRoute)] = 7;
  worker.consumed[static_cast<std::size_t>(session::ConsumedKind::kConsumedArp)] = 2;
  worker.held = 1;
  worker.busy_tsc = 500'000;
  worker.burst_fill = {10, 0, 0, 0, 0, 40, 0, 0};
  worker.stalls.note_message(static_cast<std::size_t>(MessageKind::kJump), 2500);
  worker.stalls.note_message(static_cast<std::size_t>(MessageKind::kRekey), 900);
  worker.stalls.note_loop(3400);
  worker.stalls.note_loop(10'001);
  t->control_stats->originated = 3;
  t->control_stats->drops[static_cast<std::size_t>(session::DropReason::kDraining)] = 3;
  Snapshot s = take_counters(*t, 2);
  EXPECT_TRUE(s.books.balanced());
  EXPECT_EQ(s.books.rx, 1000U);
  EXPECT_DOUBLE_EQ(s.workers.at(0).cycles_per_pkt, 500);
  EXPECT_DOUBLE_EQ(s.workers.at(0).burst_pkts, 25);
  s.pools_full = true;
  const std::string table = table_text(s);
  for (const char* part : {"no_route", "no route for the destination", "draining", "arp", "pools: full",
                           "took a loop 10.0 us at most, above 10 us 1 times; longest of all: jump, 2.5 us",
                           "rx 1000 + originated 3 = tx 990 + drops 10 + consumed 2 + held 1: balanced"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << " is not in\n" << table;
  }
  EXPECT_EQ(table.find("martian"), std::string::npos);
  const auto json = nlohmann::json::parse(json_text(s));
  EXPECT_EQ(json["drops"], (nlohmann::json{{"no_route", 7}, {"draining", 3}}));
  EXPECT_EQ(json["books"]["held"], 1);
  const auto& stalls = json["workers"][0]["stalls"];
  EXPECT_EQ(stalls["loops"], (std::vector<int>{0, 0, 1, 0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(stalls["messages"]["jump"], (nlohmann::json{{"messages", 1}, {"worst_ns", 2500}}));
  EXPECT_EQ(json["ports"][0]["rx_bytes"], 64'000);
  ++worker.port[0].rx_pkts;
  const Snapshot later = take_counters(*t, 4);
  EXPECT_FALSE(later.books.balanced());
  EXPECT_NE(table_text(later).find("off by 1"), std::string::npos);
  EXPECT_NE(rates_text(s, later).find("lan rx 0.0 kpps"), std::string::npos);
  EXPECT_TRUE(tear_down(*t));
}

}  // namespace
}  // namespace dataplane
