// What a tunnel and router owes the packets it carries: bytes, TTL, ECN, MTU, MSS, and who gets which packet.
#include <set>

#include <gtest/gtest.h>

#include "dataplane/checksum.h"
#include "tests/support/site.h"

namespace {

using namespace support;
using dataplane::Hop;
using dataplane::HopKind;
using dataplane::PuntReason;
using session::ConsumedKind;
using session::DropReason;

Bytes packet_of(const Bytes& frame) {
  return Bytes(frame.begin() + 14, frame.end());
}

// The packet as two routers leave it: two hops less.
Bytes two_hops_less(Bytes p) {
  if ((p[0] >> 4) == 6) {
    p[7] = static_cast<std::uint8_t>(p[7] - 2);
    return p;
  }
  p[8] = static_cast<std::uint8_t>(p[8] - 2);
  dataplane::ipv4_checksum_store(p.data(), (p[0] & 15U) * 4);
  return p;
}

struct Pair {
  explicit Pair(bool outer6 = false, std::uint8_t flags = 0, std::uint16_t mtu = 1400,
                crypto::Suite suite = crypto::Suite::kAes256Gcm)
      : one("a", make(1, outer6, flags, mtu, suite)), two("b", make(2, outer6, flags, mtu, suite)) {}
  static SiteOptions make(unsigned side, bool outer6, std::uint8_t flags, std::uint16_t mtu,
                          crypto::Suite suite) {
    SiteOptions o;
    o.side = side;
    o.outer6 = outer6;
    o.flags = flags;
    o.inner_mtu = mtu;
    o.suite = suite;
    return o;
  }
  // From the host of side one to the host of side two.
  std::vector<Bytes> through(const Bytes& packet) {
    one.gw.receive(kLan, one.from_host(packet));
    one.gw.run();
    carry(one.gw, two.gw);
    two.gw.run();
    return two.gw.sent(kLan);
  }
  Site one;
  Site two;
};

Ip between(bool six, std::uint8_t ttl = 64) {
  Ip h;
  h.source = six ? Site::host6(1) : Site::host4(1);
  h.destination = six ? Site::host6(2) : Site::host4(2);
  h.ttl = ttl;
  return h;
}

class RoundTrip : public testing::TestWithParam<std::tuple<bool, bool, crypto::Suite>> {};

TEST_P(RoundTrip, ThereAndBackByteForByte) {
  const auto [inner6, outer6, suite] = GetParam();
  const unsigned before = free_packets();
  {
    Pair pair(outer6, session::kSourceCheck, 1400, suite);
    for (std::size_t size : {0U, 1U, 64U, 512U, 1300U}) {
      const Bytes there = ip_packet(between(inner6), udp(7, 8, pattern(size)));
      const std::vector<Bytes> out = pair.through(there);
      ASSERT_EQ(out.size(), 1U) << size;
      EXPECT_EQ(packet_of(out[0]), two_hops_less(there));
      EXPECT_TRUE(std::equal(out[0].begin(), out[0].begin() + 6, mac(9).begin()));
      Ip back = between(inner6);
      std::swap(back.source, back.destination);
      const Bytes answer = ip_packet(back, udp(8, 7, pattern(size, 5)));
      pair.two.gw.receive(kLan, pair.two.from_host(answer));
      pair.two.gw.run();
      carry(pair.two.gw, pair.one.gw);
      pair.one.gw.run();
      const std::vector<Bytes> home = pair.one.gw.sent(kLan);
      ASSERT_EQ(home.size(), 1U);
      EXPECT_EQ(packet_of(home[0]), two_hops_less(answer));
    }
    EXPECT_EQ(pair.one.gw.all_drops() + pair.two.gw.all_drops(), 0U);
    EXPECT_EQ(pair.one.gw.imbalance(), 0);
    EXPECT_EQ(pair.two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}
INSTANTIATE_TEST_SUITE_P(Families, RoundTrip,
                         testing::Combine(testing::Bool(), testing::Bool(),
                                          testing::Values(crypto::Suite::kAes256Gcm,
                                                          crypto::Suite::kChaCha20Poly1305)));

TEST(Outer, HeadersAreThoseOfTheTemplate) {
  for (const bool six : {false, true}) {
    SiteOptions options;
    options.outer6 = six;
    Site site("a", options);
    const Bytes packet = site.outward(100, 0xb9);
    for (int i = 0; i < 2; ++i) site.gw.receive(kLan, site.from_host(packet));
    site.gw.run();
    const std::vector<Bytes> out = site.gw.sent(kWan);
    ASSERT_EQ(out.size(), 2U);
    const Bytes outer = packet_of(out[0]);
    const std::size_t header = six ? 40 : 20;
    ASSERT_EQ(outer.size(), header + 8 + session::kPacketOverhead + packet.size());
    EXPECT_EQ(session::load_be16(&outer[header]), kPhantomPort);
    EXPECT_EQ(session::load_be16(&outer[header + 4]), outer.size() - header);
    if (six) {
      EXPECT_EQ(session::load_be16(&outer[4]), outer.size() - 40);
      EXPECT_EQ((outer[0] << 4 | outer[1] >> 4) & 0xff, 0xb9);
      const std::uint64_t pseudo = dataplane::partial_sum(&outer[8], 32) + 17 + outer.size() - 40;
      EXPECT_EQ(dataplane::fold_sum(pseudo + dataplane::partial_sum(&outer[40], outer.size() - 40)), 0xffff);
    } else {
      EXPECT_TRUE(dataplane::ipv4_checksum_ok(outer.data(), 20));
      EXPECT_EQ(session::load_be16(&outer[2]), outer.size());
      EXPECT_EQ(outer[1], 0xb9) << "DSCP and ECN are copied";
      EXPECT_EQ(outer[6], 0x40) << "don't fragment";
      EXPECT_NE(session::load_be16(&out[0][18]), session::load_be16(&out[1][18])) << "identification";
    }
    const std::uint8_t* phantom = &outer[header + 8];
    EXPECT_EQ(session::load_be16(phantom + session::kOffFlags), session::kTunnelFlags);
    EXPECT_GE(session::load_be16(phantom + session::kOffStream), 1);
    EXPECT_LE(session::load_be16(phantom + session::kOffStream), 4);
  }
}

TEST(Flows, OneFlowStaysOnOneStreamAndFlowsSpread) {
  Site site("a", {});
  std::set<unsigned> streams;
  for (std::uint16_t port = 1; port <= 64; ++port) {
    for (int i = 0; i < 2; ++i) {
      site.gw.receive(kLan, site.from_host(ip_packet(between(false), udp(port, 9, pattern(40)))));
    }
    site.gw.run();
    const std::vector<Bytes> out = site.gw.sent(kWan);
    ASSERT_EQ(out.size(), 2U);
    const unsigned stream = session::load_be16(&out[0][42 + session::kOffStream]);
    EXPECT_EQ(stream, session::load_be16(&out[1][42 + session::kOffStream]));
    streams.insert(stream);
  }
  EXPECT_EQ(streams, (std::set<unsigned>{1, 2, 3, 4}));
}

struct EcnRow {
  unsigned inner, outer;
  int result;  // -1: dropped
};
// RFC 6040, figure 4.
const EcnRow kEcn[] = {{0, 0, 0}, {0, 1, 0}, {0, 2, 0}, {0, 3, -1}, {2, 0, 2}, {2, 1, 1},
                       {2, 2, 2}, {2, 3, 3}, {1, 0, 1}, {1, 1, 1},  {1, 2, 1}, {1, 3, 3},
                       {3, 0, 3}, {3, 1, 3}, {3, 2, 3}, {3, 3, 3}};

TEST(Ecn, OuterFieldIsJoinedAsTheTableSays) {
  for (const EcnRow& row : kEcn) {
    for (const bool six : {false, true}) {
      Site site("a", {});
      Ip h;
      h.source = six ? Site::host6(2) : Site::host4(2);
      h.destination = six ? Site::host6(1) : Site::host4(1);
      h.traffic_class = static_cast<std::uint8_t>(0x48 | row.inner);
      const Bytes inner = ip_packet(h, udp(1, 2, pattern(30)));
      site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), inner),
                                           static_cast<std::uint8_t>(row.outer)));
      site.gw.run();
      const std::vector<Bytes> out = site.gw.sent(kLan);
      ASSERT_EQ(out.size(), row.result < 0 ? 0U : 1U) << row.inner << " in " << row.outer;
      if (row.result < 0) {
        EXPECT_EQ(site.gw.drops(DropReason::kInnerEcn), 1U);
        continue;
      }
      const Bytes p = packet_of(out[0]);
      EXPECT_EQ((six ? p[0] << 4 | p[1] >> 4 : p[1]) & 0xff, 0x48 | row.result);
      if (!six) {
        EXPECT_TRUE(dataplane::ipv4_checksum_ok(p.data(), 20));
      }
    }
  }
}

// One punt, freed; its reason and bytes are looked at before.
void expect_punt(Site& site, PuntReason reason, const Bytes& bytes) {
  const std::vector<rte_mbuf*> punts = site.gw.punts();
  ASSERT_EQ(punts.size(), 1U);
  EXPECT_EQ(dataplane::meta(punts[0]).punt, reason);
  EXPECT_EQ(bytes_of(punts[0]), bytes);
  rte_pktmbuf_free(punts[0]);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Ttl, ExhaustedGoesToControlUnchanged) {
  for (const bool six : {false, true}) {
    Site site("a", {});
    const Bytes packet = ip_packet(between(six, 1), udp(1, 2, pattern(30)));
    site.gw.receive(kLan, site.from_host(packet));
    site.gw.run();
    EXPECT_TRUE(site.gw.sent(kWan).empty());
    expect_punt(site, PuntReason::kTtlExceeded, packet);
    Ip back = between(six, 1);
    std::swap(back.source, back.destination);
    const Bytes inner = ip_packet(back, udp(1, 2, pattern(30)));
    site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), inner)));
    site.gw.run();
    EXPECT_TRUE(site.gw.sent(kLan).empty());
    expect_punt(site, PuntReason::kTtlExceeded, inner);
  }
}

TEST(Punts, TooBigCarriesTheMtu) {
  Site site("a", {});
  Ip h = between(false);
  h.flags_offset = 0x4000;
  const Bytes packet = ip_packet(h, udp(1, 2, pattern(1400)));
  site.gw.receive(kLan, site.from_host(packet));
  site.gw.run();
  const std::vector<rte_mbuf*> punts = site.gw.punts();
  ASSERT_EQ(punts.size(), 1U);
  EXPECT_EQ(dataplane::meta(punts[0]).punt, PuntReason::kTooBig);
  EXPECT_EQ(dataplane::meta(punts[0]).mtu, 1400);
  rte_pktmbuf_free(punts[0]);
  const Bytes six = ip_packet(between(true), udp(1, 2, pattern(1400)));
  site.gw.receive(kLan, site.from_host(six));
  site.gw.run();
  expect_punt(site, PuntReason::kTooBig, six);
}

TEST(Punts, OverTheRateTheyAreCountedUnderTheirCause) {
  Site site("a", {});
  const Bytes frame = site.from_host(ip_packet(between(false, 1), udp(1, 2, pattern(30))));
  std::size_t punted = 0;
  for (int i = 0; i < 400; ++i) {
    site.gw.receive(kLan, frame);
    site.gw.run();
    for (rte_mbuf* m : site.gw.punts()) {
      rte_pktmbuf_free(m);
      ++punted;
    }
  }
  EXPECT_GE(punted, 100U);
  EXPECT_EQ(punted + site.gw.drops(DropReason::kInnerTtl), 400U);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Punts, WhatIsMeantForUs) {
  Site site("a", {});
  Bytes arp = ether({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac(9), pattern(28));
  session::store_be16(&arp[12], 0x0806);
  site.gw.receive(kLan, arp);
  site.gw.run();
  expect_punt(site, PuntReason::kArp, arp);
  Ip nd;
  nd.source = "fe80::9";
  nd.destination = "ff02::1:ff00:1";
  nd.protocol = 58;
  nd.ttl = 255;
  Bytes solicit = ether({0x33, 0x33, 0xff, 0, 0, 1}, mac(9), ip_packet(nd, {135, 0, 0, 0, 0, 0, 0, 0}));
  site.gw.receive(kLan, solicit);
  site.gw.run();
  expect_punt(site, PuntReason::kNd, solicit);
  Ip local;
  local.source = Site::host4(1);
  local.destination = "10.1.0.1";
  local.protocol = 1;
  const Bytes echo = site.from_host(ip_packet(local, {8, 0, 0, 0, 0, 1, 0, 1}));
  site.gw.receive(kLan, echo);
  site.gw.run();
  expect_punt(site, PuntReason::kLocal, echo);
  local.source = Site::wan4(2);
  local.destination = Site::wan4(1);
  const Bytes wan_echo = ether(site.gw.port_mac(kWan), mac(0x22), ip_packet(local, {8, 0, 0, 0, 0, 1, 0, 1}));
  site.gw.receive(kWan, wan_echo);
  site.gw.run();
  expect_punt(site, PuntReason::kLocal, wan_echo);
}

TEST(Punts, LocalOutOfATunnelCarriesItsSession) {
  Site site("a", {});
  Ip local;
  local.source = Site::host4(2);
  local.destination = "10.1.0.1";
  local.protocol = 1;
  const Bytes echo = ip_packet(local, {8, 0, 0, 0, 0, 1, 0, 1});
  site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), echo)));
  site.gw.run();
  const std::vector<rte_mbuf*> punts = site.gw.punts();
  ASSERT_EQ(punts.size(), 1U);
  EXPECT_EQ(dataplane::meta(punts[0]).slot, site.session.slot);
  EXPECT_EQ(bytes_of(punts[0]), echo);
  rte_pktmbuf_free(punts[0]);
}

TEST(Punts, NoRoute) {
  Site site("a", {});
  Ip h = between(false);
  h.destination = "172.16.0.1";
  const Bytes packet = ip_packet(h, udp(1, 2, pattern(30)));
  site.gw.receive(kLan, site.from_host(packet));
  site.gw.run();
  expect_punt(site, PuntReason::kNoRoute, packet);
}

// Puts fragments together again: payload by offset.
Bytes joined(const std::vector<Bytes>& frames) {
  Bytes payload;
  for (const Bytes& frame : frames) {
    const Bytes p = packet_of(frame);
    const std::size_t header = (p[0] & 15U) * 4;
    EXPECT_TRUE(dataplane::ipv4_checksum_ok(p.data(), header));
    const std::size_t at = (session::load_be16(&p[6]) & 0x1fffU) * 8;
    if (payload.size() < at + p.size() - header) payload.resize(at + p.size() - header);
    std::copy(p.begin() + static_cast<std::ptrdiff_t>(header), p.end(),
              payload.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return payload;
}

TEST(Fragments, LargePacketsAreCutBeforeTheTunnel) {
  const unsigned before = free_packets();
  {
    Pair pair(false, 0, 600);
    const Bytes payload = udp(1, 2, pattern(1400));
    Ip h = between(false);
    h.options = {0x83, 4, 5, 6, 1, 1, 1, 1};  // copied into every fragment, and padding that is not
    const std::vector<Bytes> out = pair.through(ip_packet(h, payload));
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(joined(out), payload);
    for (std::size_t i = 0; i < out.size(); ++i) {
      EXPECT_LE(out[i].size() - 14, 600U);
      EXPECT_EQ((session::load_be16(&out[i][20]) & 0x2000) != 0, i + 1 < out.size());
      EXPECT_EQ(out[i][14] & 15, i == 0 ? 7 : 6) << "options by their copy bit";
    }
    EXPECT_EQ(pair.one.gw.consumed(ConsumedKind::kConsumedTransformed), 1U);
    EXPECT_EQ(pair.one.gw.imbalance(), 0);
    EXPECT_EQ(pair.two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Fragments, AFragmentIsCutAgain) {
  Pair pair(false, 0, 600);
  const Bytes payload = pattern(1208);
  Ip h = between(false);
  h.flags_offset = 0x2000 | 50;
  const std::vector<Bytes> out = pair.through(ip_packet(h, payload));
  ASSERT_EQ(out.size(), 3U);
  Bytes all = joined(out);
  ASSERT_EQ(all.size(), 400 + payload.size());
  EXPECT_EQ(Bytes(all.begin() + 400, all.end()), payload);
  for (const Bytes& frame : out) EXPECT_NE(session::load_be16(&frame[20]) & 0x2000, 0) << "more follow";
}

TEST(Fragments, LanMtuOnTheWayOut) {
  SiteOptions options;
  options.gateway.lan_mtu = 700;
  Site site("a", options);
  Ip h;
  h.source = Site::host4(2);
  h.destination = Site::host4(1);
  const Bytes payload = udp(1, 2, pattern(1200));
  site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), ip_packet(h, payload))));
  site.gw.run();
  const std::vector<Bytes> out = site.gw.sent(kLan);
  EXPECT_EQ(out.size(), 2U);
  EXPECT_EQ(joined(out), payload);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

std::uint16_t tcp_sum(const Bytes& p) {
  const bool six = (p[0] >> 4) == 6;
  const std::size_t header = six ? 40 : 20;
  const std::uint64_t addresses = dataplane::partial_sum(&p[six ? 8 : 12], six ? 32 : 8);
  const std::size_t bytes = p.size() - header;
  return dataplane::fold_sum(addresses + 6 + bytes + dataplane::partial_sum(&p[header], bytes));
}

TEST(Mss, SynIsClampedBothWaysAndItsChecksumStaysRight) {
  for (const bool six : {false, true}) {
    for (const bool inward : {false, true}) {
      SiteOptions options;
      options.flags = session::kMssClamp;
      options.inner_mtu = 1300;
      Site site("c", options);
      Ip h = between(six);
      h.protocol = 6;
      if (inward) std::swap(h.source, h.destination);
      const std::size_t header = six ? 40 : 20;
      Bytes packet = ip_packet(h, tcp_syn(1460));
      session::store_be16(&packet[header + 16], 0);
      session::store_be16(&packet[header + 16], static_cast<std::uint16_t>(~tcp_sum(packet)));
      ASSERT_EQ(tcp_sum(packet), 0xffff);
      Bytes out;
      if (inward) {
        site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), packet)));
        site.gw.run();
        const std::vector<Bytes> sent = site.gw.sent(kLan);
        ASSERT_EQ(sent.size(), 1U);
        out = packet_of(sent[0]);
      } else {
        Pair pair(false, session::kMssClamp, 1300);
        const std::vector<Bytes> sent = pair.through(packet);
        ASSERT_EQ(sent.size(), 1U);
        out = packet_of(sent[0]);
      }
      EXPECT_EQ(session::load_be16(&out[header + 22]), 1300 - header - 20);
      EXPECT_EQ(tcp_sum(out), 0xffff);
    }
  }
}

TEST(Hairpin, BetweenTwoSessionsOfOneGateway) {
  Site site("a", {});
  SessionSpec other = site.spec;
  other.seed = 99;
  const Installed second = site.gw.add_session(other);
  site.gw.route("10.3.0.0/16", Hop::make(HopKind::kSession, second.shard, second.slot));
  Ip h;
  h.source = Site::host4(2);
  h.destination = "10.3.0.7";
  site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), ip_packet(h, udp(1, 2, {1})))));
  site.gw.run();
  const std::vector<Bytes> out = site.gw.sent(kWan);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_TRUE(std::equal(second.id.begin(), second.id.end(), out[0].begin() + 42 + 1));
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Bundles, PartsGoOnInOrder) {
  const unsigned before = free_packets();
  {
    Site site("a", {});
    Bytes bundle = {0, 3};
    for (std::size_t size : {40U, 0U, 90U}) {
      const Bytes part = size == 0 ? Bytes{} : site.inward(size);
      bundle.push_back(static_cast<std::uint8_t>(part.size() >> 8));
      bundle.push_back(static_cast<std::uint8_t>(part.size()));
      bundle.insert(bundle.end(), part.begin(), part.end());
    }
    session::Header h = site.next_header();
    h.flags = 0x0428;
    site.gw.receive(kWan, site.from_peer(site.peer_packet(h, bundle)));
    site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward(10))));
    site.gw.run();
    const std::vector<Bytes> out = site.gw.sent(kLan);
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(out[0].size(), 14U + 28 + 40);
    EXPECT_EQ(out[1].size(), 14U + 28 + 90);
    EXPECT_EQ(out[2].size(), 14U + 28 + 10);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Control, PacketKindsThatEndHere) {
  Site site("a", {});
  const auto send = [&](std::uint16_t flags, const Bytes& text, std::uint16_t stream) {
    session::Header h = site.next_header();
    h.flags = flags;
    h.stream_id = stream;
    site.gw.receive(kWan, site.from_peer(site.peer_packet(h, text)));
    site.gw.run();
  };
  send(0x0022, {0, 0, 0, 1}, 1);
  send(0x0820, {0, 0, 1, 0}, 1);
  send(0x0024, {}, 1);
  send(0x0220, pattern(32), 0);
  EXPECT_EQ(site.gw.consumed(ConsumedKind::kConsumedAck), 1U);
  EXPECT_EQ(site.gw.consumed(ConsumedKind::kConsumedWindowUpdate), 1U);
  EXPECT_EQ(site.gw.consumed(ConsumedKind::kConsumedEmpty), 1U);
  EXPECT_EQ(site.gw.consumed(ConsumedKind::kConsumedPathValidation), 1U);
  EXPECT_EQ(site.gw.all_drops(), 0U);
  bool reported = false;
  for (const dataplane::Message& m : site.gw.messages()) {
    if (m.kind != dataplane::MessageKind::kPathValidation) continue;
    reported = true;
    EXPECT_TRUE(std::equal(m.bytes.begin(), m.bytes.end(), pattern(32).begin()));
  }
  EXPECT_TRUE(reported);
  EXPECT_TRUE(site.gw.sent(kWan).empty());
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Reliable, IsAcknowledgedOnItsStreamAndAgainWhenRepeated) {
  Pair pair;
  session::Header h = pair.two.next_header();
  h.flags = session::kFlagEncrypted | session::kFlagReliable;
  h.sequence = 77;
  const Bytes frame = pair.one.from_peer(pair.one.peer_packet(h, pair.one.inward()));
  for (int i = 0; i < 2; ++i) {
    pair.one.gw.receive(kWan, frame);
    pair.one.gw.run();
  }
  EXPECT_EQ(pair.one.gw.sent(kLan).size(), 1U);
  EXPECT_EQ(pair.one.gw.drops(DropReason::kReplayDuplicate), 1U);
  EXPECT_EQ(carry(pair.one.gw, pair.two.gw), 2U);
  pair.two.gw.run();
  EXPECT_EQ(pair.two.gw.consumed(ConsumedKind::kConsumedAck), 2U) << "4 bytes that open and are no replay";
  EXPECT_EQ(pair.one.gw.imbalance(), 0);
}

}  // namespace
