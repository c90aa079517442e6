// Neighbours: bytes of ARP and ND both ways, the state machine in time, and what a flood can't do.
#include <gtest/gtest.h>

#include "dataplane/neighbour.h"
#include "tests/support/control_bench.h"

namespace {

using namespace support;
using dataplane::ArpMessage;
using dataplane::IpAddress;
using dataplane::MacAddress;
using dataplane::Message;
using dataplane::MessageKind;
using dataplane::NdMessage;
using dataplane::NeighbourState;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;

class NeighbourTest : public testing::Test {
 protected:
  NeighbourTest() : io(bench.topology), table(bench.topology.ports, io) {}

  // What went out since the last call: frames, and states told to worker 0.
  void collect() {
    frames.clear();
    told.clear();
    io.flush();
    for (const Message& m : bench.messages()) {
      if (m.kind == MessageKind::kTransmit) {
        frames.push_back(bytes_of(m.mbuf));
        rte_pktmbuf_free(m.mbuf);
      } else if (m.kind == MessageKind::kNeighbour) {
        told.push_back(m.neighbour);
      }
    }
  }
  void arp_from(bool request, const std::string& sender, const std::string& target, const MacAddress& from,
                std::uint64_t now) {
    table.on_arp(dataplane::arp_frame(request, mac(0xa0), from, ip(sender), MacAddress{}, ip(target)).span(),
                 kLan, now);
  }
  [[nodiscard]] std::string state_of(const std::string& address) const {
    for (const auto& v : table.view()) {
      if (v.address == address) return v.state;
    }
    return "";
  }

  ControlBench bench;
  dataplane::ControlIo io;
  dataplane::Neighbours table;
  std::vector<Bytes> frames;
  std::vector<dataplane::NeighbourUpdate> told;
};

TEST_F(NeighbourTest, AnswersArpForItsAddresses) {
  arp_from(true, "10.1.0.9", "10.1.0.1", mac(9), kS);
  collect();
  ASSERT_EQ(frames.size(), 1U);
  const Bytes expected = {2, 0, 0, 0, 0, 9, 2,    0,  0, 0, 0, 0xa0, 8, 6, 0, 1, 8, 0,  6, 4, 0,
                          2, 2, 0, 0, 0, 0, 0xa0, 10, 1, 0, 1, 2,    0, 0, 0, 0, 9, 10, 1, 0, 9};
  ASSERT_EQ(frames[0].size(), 60U);
  EXPECT_EQ(Bytes(frames[0].begin(), frames[0].begin() + 42), expected);
  ASSERT_EQ(told.size(), 1U) << "who asked is learned";
  EXPECT_EQ(told[0].state, NeighbourState::kReachable);
  EXPECT_EQ(told[0].mac, mac(9));
}

TEST_F(NeighbourTest, IgnoresArpThatIsNotForUsOrLies) {
  arp_from(true, "10.1.0.9", "10.1.0.7", mac(9), kS);    // about another host
  arp_from(true, "172.16.0.9", "10.1.0.1", mac(9), kS);  // sender is not on this link
  arp_from(true, "10.1.0.1", "10.1.0.1", mac(9), kS);    // somebody claims our address
  arp_from(false, "10.1.0.9", "10.1.0.1", mac(9), kS);   // nobody asked
  arp_from(true, "10.1.0.9", "10.1.0.1", dataplane::kBroadcastMac, kS);
  auto bad = dataplane::arp_frame(true, mac(0xa0), mac(9), ip("10.1.0.9"), MacAddress{}, ip("10.1.0.1"));
  bad.bytes[21] = 3;  // opcode
  table.on_arp(bad.span(), kLan, kS);
  bad.bytes[21] = 1;
  table.on_arp(bad.span().first(41), kLan, kS);
  bad.bytes[18] = 8;  // length of a MAC
  table.on_arp(bad.span(), kLan, kS);
  collect();
  EXPECT_TRUE(frames.empty());
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(NeighbourTest, AnswersAProbeForDuplicatesWithoutLearning) {
  arp_from(true, "0.0.0.0", "10.1.0.1", mac(9), kS);
  collect();
  EXPECT_EQ(frames.size(), 1U);
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(NeighbourTest, ResolvesWithGrowingGapsThenFails) {
  table.on_miss(kLan, ip("10.1.0.9"), kS);
  std::vector<std::uint64_t> sent_ms;
  for (std::uint64_t ms = 0; ms <= 4000; ms += 20) {
    table.tick(kS + ms * kMs);
    collect();
    if (!frames.empty()) sent_ms.push_back(ms);
    for (const Bytes& f : frames) EXPECT_EQ(f[0], 0xff) << "broadcast";
  }
  EXPECT_EQ(sent_ms, (std::vector<std::uint64_t>{0, 100, 400, 1400}));
  EXPECT_EQ(state_of("10.1.0.9"), "failed");
  table.on_miss(kLan, ip("10.1.0.9"), 6 * kS);
  collect();
  EXPECT_EQ(frames.size(), 1U) << "packets that come later start anew";
  arp_from(false, "10.1.0.9", "10.1.0.1", mac(9), 6 * kS + 1);
  collect();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].state, NeighbourState::kReachable);
}

TEST_F(NeighbourTest, RefreshesByUnicastAndGivesUpOnWhoIsGone) {
  arp_from(true, "10.1.0.9", "10.1.0.1", mac(9), kS);
  collect();
  table.tick(30 * kS);
  collect();
  EXPECT_TRUE(frames.empty());
  table.tick(32 * kS);
  collect();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0][5], 9) << "to the host alone";
  EXPECT_EQ(state_of("10.1.0.9"), "reachable");
  arp_from(false, "10.1.0.9", "10.1.0.1", mac(9), 32 * kS);
  collect();
  EXPECT_TRUE(told.empty()) << "no news for workers";
  for (std::uint64_t ms = 0; ms < 10000; ms += 20) table.tick(63 * kS + ms * kMs);
  EXPECT_EQ(state_of("10.1.0.9"), "failed");
  table.tick(140 * kS);
  EXPECT_EQ(table.size(), 0U) << "forgotten";
}

TEST_F(NeighbourTest, NextHopsOfOurOwnAreTriedAgainForGood) {
  const std::uint32_t id = table.pin(kWan, ip("192.0.2.254"), kS);
  EXPECT_EQ(table.pin(kWan, ip("192.0.2.254"), kS), id);
  for (std::uint64_t ms = 0; ms < 4000; ms += 20) table.tick(kS + ms * kMs);
  EXPECT_EQ(state_of("192.0.2.254"), "failed");
  collect();
  table.tick(9 * kS);
  collect();
  EXPECT_EQ(frames.size(), 1U);
}

TEST_F(NeighbourTest, FloodOfAddressesStaysBoundedAndSparesNextHops) {
  bench.topology.ports[kLan].config.addresses[0] = prefix("10.1.0.1/8");
  const std::uint32_t id = table.pin(kLan, ip("10.200.0.1"), kS);
  for (unsigned i = 0; i < 3 * dataplane::kMaxNeighbours; ++i) {
    IpAddress a = ip("10.50.0.0");
    a.bytes[2] = static_cast<std::uint8_t>(i >> 8);
    a.bytes[3] = static_cast<std::uint8_t>(i | 1);
    a.bytes[1] = static_cast<std::uint8_t>(50 + (i & 1));
    table.on_miss(kLan, a, kS + i);
    if (i % 16 == 0) collect();
  }
  EXPECT_LE(table.size(), dataplane::kMaxNeighbours);
  EXPECT_EQ(table.pin(kLan, ip("10.200.0.1"), 2 * kS), id);
  table.on_miss(kLan, ip("172.16.0.1"), kS);
  table.on_miss(kLan, ip("10.255.255.255"), kS);
  EXPECT_EQ(state_of("172.16.0.1"), "") << "not on the link";
  EXPECT_EQ(state_of("10.255.255.255"), "") << "broadcast";
}

TEST_F(NeighbourTest, StaticOnesAreToldAndNeverAsked) {
  bench.topology.ports[kLan].config.neighbours = {{ip("10.1.0.9"), mac(9)}};
  table.start(kS);
  arp_from(true, "10.1.0.9", "10.1.0.1", mac(66), kS);
  collect();
  EXPECT_EQ(state_of("10.1.0.9"), "static");
  for (const auto& update : told) EXPECT_EQ(update.mac, mac(9)) << "nobody talks it over";
  table.tick(100 * kS);
  collect();
  EXPECT_TRUE(frames.empty());
}

TEST_F(NeighbourTest, AnnouncesItsAddressesAtStart) {
  table.start(kS);
  collect();
  ASSERT_EQ(frames.size(), 4U);
  EXPECT_EQ(frames[0][0], 0xff);
  EXPECT_EQ(Bytes(frames[0].begin() + 28, frames[0].begin() + 32),
            Bytes(frames[0].begin() + 38, frames[0].begin() + 42))
      << "gratuitous: sender is target";
  EXPECT_EQ(frames[1][14 + 40], 136);
  EXPECT_EQ(frames[1][0], 0x33);
}

TEST_F(NeighbourTest, GoesWithItsLastPin) {
  const std::uint32_t id = table.pin(kWan, ip("192.0.2.9"), kS);
  EXPECT_EQ(table.pin(kWan, ip("192.0.2.9"), kS), id);
  table.unpin(kWan, ip("192.0.2.9"));
  EXPECT_EQ(table.size(), 1U);
  collect();
  table.unpin(kWan, ip("192.0.2.9"));
  EXPECT_EQ(table.size(), 0U);
  collect();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].state, NeighbourState::kFree);
  EXPECT_EQ(told[0].adjacency, id);
  table.unpin(kWan, ip("192.0.2.9"));
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(NeighbourTest, KeepsWhomOthersAskedFor) {
  table.on_miss(kWan, ip("192.0.2.9"), kS);
  table.pin(kWan, ip("192.0.2.9"), kS);
  table.unpin(kWan, ip("192.0.2.9"));
  EXPECT_EQ(table.size(), 1U);
}

// A peer on our link that takes a new address again and again.
TEST_F(NeighbourTest, AMillionPinsLeaveNothing) {
  std::uint32_t highest = 0;
  for (unsigned i = 0; i < 1'000'000; ++i) {
    IpAddress to = ip("192.0.2.0");
    to.bytes[3] = static_cast<std::uint8_t>(2 + i % 250);
    const std::uint32_t id = table.pin(kWan, to, kS + i);
    ASSERT_NE(id, session::kNone);
    highest = std::max(highest, id);
    table.unpin(kWan, to);
    if (i % 64 == 0) collect();
  }
  EXPECT_EQ(table.size(), 0U);
  EXPECT_LT(highest, 4U) << "places are used again";
}

// ---- IPv6

dataplane::DiscoveryFrame solicit(const std::string& from, const std::string& target) {
  return dataplane::solicitation_frame(mac(9), ip(from), ip(target), nullptr);
}

TEST_F(NeighbourTest, AnswersSolicitations) {
  table.on_nd(solicit("2001:db8:1::9", "2001:db8:1::1").span(), kLan, kS);
  collect();
  ASSERT_EQ(frames.size(), 1U);
  NdMessage nd;
  ASSERT_TRUE(dataplane::parse_nd(frames[0], nd)) << "checksum and form";
  EXPECT_FALSE(nd.solicitation);
  EXPECT_TRUE(nd.solicited);
  EXPECT_EQ(nd.target, ip("2001:db8:1::1"));
  EXPECT_EQ(nd.mac, mac(0xa0));
  EXPECT_EQ(frames[0][5], 9);
  EXPECT_EQ(state_of("2001:db8:1::9"), "reachable");
}

TEST_F(NeighbourTest, IgnoresForgedDiscovery) {
  for (const unsigned at :
       {14U + 7, 14U + 42, 14U + 41, 14U + 40 + 24 + 1}) {  // hop limit, sum, code, option
    auto f = solicit("2001:db8:1::9", "2001:db8:1::1");
    f.bytes[at] ^= 1;
    table.on_nd(f.span(), kLan, kS);
  }
  table.on_nd(solicit("2001:db8:77::9", "2001:db8:1::1").span(), kLan, kS);  // not on this link
  table.on_nd(solicit("2001:db8:1::9", "2001:db8:1::5").span(), kLan, kS);   // not ours
  const auto f = solicit("2001:db8:1::9", "2001:db8:1::1");
  for (unsigned bytes = 0; bytes < f.size; ++bytes) table.on_nd(f.span().first(bytes), kLan, kS);
  collect();
  EXPECT_TRUE(frames.empty());
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(NeighbourTest, ResolvesIp6ByItsGroup) {
  table.on_miss(kLan, ip("2001:db8:1::12:3456"), kS);
  collect();
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(Bytes(frames[0].begin(), frames[0].begin() + 6), (Bytes{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}));
  NdMessage nd;
  ASSERT_TRUE(dataplane::parse_nd(frames[0], nd));
  EXPECT_EQ(nd.target, ip("2001:db8:1::12:3456"));
  EXPECT_EQ(nd.source, ip("2001:db8:1::1"));
  const auto answer =
      dataplane::advertisement_frame(mac(0xa0), ip("2001:db8:1::1"), mac(7), ip("2001:db8:1::12:3456"));
  table.on_nd(answer.span(), kLan, kS);
  collect();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].mac, mac(7));
}

}  // namespace
