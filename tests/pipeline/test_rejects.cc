// Every kind of bad packet: one row = description, frame, the counter it must end in. Nothing else may move:
// no session state, no answer, no packet of the pool, and the books stay balanced.
#include <functional>
#include <ostream>

#include <gtest/gtest.h>

#include "tests/support/site.h"

namespace {

using namespace support;
using session::DropReason;
using session::Header;

struct Row {
  const char* what;
  DropReason reason;
  std::function<Bytes(Site&)> frame;
  std::uint8_t flags = 0;
  bool lan = false;  // on the LAN port instead
};

void PrintTo(const Row& row, std::ostream* os) {
  *os << row.what;
}

Bytes changed(Bytes bytes, std::size_t at, std::uint8_t to) {
  bytes.at(at) = to;
  return bytes;
}
Bytes cut(Bytes bytes, std::size_t to) {
  bytes.resize(to);
  return bytes;
}
constexpr std::size_t kOuter = 14 + 20 + 8;  // of a frame over IPv4

Bytes good(Site& s) {
  return s.from_peer(s.peer_packet(s.next_header(), s.inward()));
}
// A tunnel packet with one thing different in its Phantom header, sealed like that.
Bytes sealed(Site& s, const std::function<void(Header&)>& change, const Bytes& text) {
  Header h = s.next_header();
  change(h);
  return s.from_peer(s.peer_packet(h, text));
}
// A good packet with one byte of the Phantom packet changed after sealing.
Bytes forged(Site& s, std::size_t at, std::uint8_t to) {
  return s.from_peer(changed(s.peer_packet(s.next_header(), s.inward()), at, to));
}
Bytes refresh4(Bytes frame) {
  frame[24] = frame[25] = 0;
  std::uint32_t sum = 0;
  const std::size_t header = (frame[14] & 15U) * 4;
  for (std::size_t i = 14; i < 14 + header; i += 2) sum += session::load_be16(&frame[i]);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  session::store_be16(&frame[24], static_cast<std::uint16_t>(~sum));
  return frame;
}
Bytes vlan(Bytes frame) {
  const std::uint8_t tag[4] = {0x81, 0, 0, 5};
  frame.insert(frame.begin() + 12, tag, tag + 4);
  return frame;
}
Bytes inner(Site& s, const Bytes& text) {
  return s.from_peer(s.peer_packet(s.next_header(), text));
}

const Row kRows[] = {
    {"shorter than an Ethernet header", DropReason::kEthTruncated, [](Site& s) { return cut(good(s), 13); }},
    {"VLAN tag", DropReason::kVlanTagged, [](Site& s) { return vlan(good(s)); }},
    {"other destination MAC", DropReason::kNotForUs, [](Site& s) { return changed(good(s), 5, 0x77); }},
    {"unknown EtherType", DropReason::kEtherType, [](Site& s) { return changed(good(s), 13, 0x55); }},
    {"IP version 5", DropReason::kIpHeader, [](Site& s) { return changed(good(s), 14, 0x55); }},
    {"IPv4 header length below 20", DropReason::kIpHeader,
     [](Site& s) { return changed(good(s), 14, 0x44); }},
    {"IPv4 cut inside its header", DropReason::kIpHeader, [](Site& s) { return cut(good(s), 30); }},
    {"IPv4 total length beyond the frame", DropReason::kIpHeader,
     [](Site& s) { return refresh4(changed(good(s), 16, 0x20)); }},
    {"IPv4 total length below its header", DropReason::kIpHeader,
     [](Site& s) { return refresh4(changed(changed(good(s), 16, 0), 17, 19)); }},
    {"IPv4 header checksum", DropReason::kIpChecksum, [](Site& s) { return changed(good(s), 24, 0x5a); }},
    {"fragment, first", DropReason::kOuterFragment,
     [](Site& s) { return refresh4(changed(good(s), 20, 0x20)); }},
    {"fragment, later", DropReason::kOuterFragment,
     [](Site& s) { return refresh4(changed(good(s), 21, 0x04)); }},
    {"UDP length beyond the packet", DropReason::kIpHeader,
     [](Site& s) { return changed(good(s), 38, 0x20); }},
    {"UDP length below 8", DropReason::kIpHeader,
     [](Site& s) { return changed(changed(good(s), 38, 0), 39, 7); }},
    {"UDP to another port of ours", DropReason::kNotPhantom,
     [](Site& s) { return changed(good(s), 37, 0x01); }},
    {"not to our address", DropReason::kNotForUs,
     [](Site& s) { return refresh4(changed(good(s), 33, 0x63)); }},
    {"Phantom packet cut in its header", DropReason::kTruncated,
     [](Site& s) { return s.from_peer(cut(s.peer_packet(s.next_header(), s.inward()), 44)); }},
    {"empty UDP payload", DropReason::kTruncated, [](Site& s) { return s.from_peer({}); }},
    {"payload length beyond the datagram", DropReason::kTruncated,
     [](Site& s) { return forged(s, 47, 0x20); }},
    {"payload length of 4 GiB", DropReason::kTruncated, [](Site& s) { return forged(s, 45, 0xff); }},
    {"extension length beyond the datagram", DropReason::kTruncated,
     [](Site& s) {
       Bytes p = s.peer_packet(s.next_header(), s.inward());
       p.back() = 1;
       return s.from_peer(p);
     }},
    {"wire version 3", DropReason::kVersion, [](Site& s) { return forged(s, 0, 3); }},
    {"unknown session", DropReason::kUnknownSession, [](Site& s) { return forged(s, 32, 0xee); }},
    {"ENCRYPTED stripped", DropReason::kUnencrypted, [](Site& s) { return forged(s, 40, 0x08); }},
    {"ENCRYPTED stripped, empty payload", DropReason::kUnencrypted,
     [](Site& s) {
       Bytes p = cut(s.peer_packet(s.next_header(), s.inward()), session::kPayloadOffset + 4);
       session::store_be32(&p[session::kHeaderBytes], 0);
       session::store_be32(&p[session::kPayloadOffset], 0);
       return s.from_peer(changed(p, 40, 0x08));
     }},
    {"payload shorter than a tag", DropReason::kAuth,
     [](Site& s) {
       Bytes p = s.peer_packet(s.next_header(), s.inward());
       session::store_be32(&p[session::kHeaderBytes], 15);
       session::store_be32(&p[session::kPayloadOffset + 15], 0);
       return s.from_peer(p);
     }},
    {"wrong tag", DropReason::kAuth,
     [](Site& s) {
       Bytes p = s.peer_packet(s.next_header(), s.inward());
       p[p.size() - 5] ^= 1;
       return s.from_peer(p);
     }},
    {"changed ciphertext", DropReason::kAuth, [](Site& s) { return forged(s, 60, 0x5a); }},
    {"changed path in the header", DropReason::kAuth, [](Site& s) { return forged(s, 44, 9); }},
    {"forged next epoch", DropReason::kAuth, [](Site& s) { return forged(s, 43, 1); }},
    {"epoch 17 ahead", DropReason::kEpochTooFar,
     [](Site& s) {
       return sealed(
           s, [](Header& h) { h.epoch = 17; }, s.inward());
     }},
    {"data on a path that is not validated", DropReason::kPathNotValidated,
     [](Site& s) {
       return sealed(
           s, [](Header& h) { h.path_id = 3; }, s.inward());
     }},
    {"ACK of 3 bytes", DropReason::kAckLength,
     [](Site& s) {
       return sealed(s, [](Header& h) { h.flags = 0x22; }, {1, 2, 3});
     }},
    {"WINDOW_UPDATE of 5 bytes", DropReason::kWindowUpdateLength,
     [](Site& s) {
       return sealed(s, [](Header& h) { h.flags = 0x820; }, {1, 2, 3, 4, 5});
     }},
    {"PATH_VALIDATION of 31 bytes", DropReason::kPathValidationLength,
     [](Site& s) {
       return sealed(
           s, [](Header& h) { h.flags = 0x220; }, pattern(31));
     }},
    {"bundle of one byte", DropReason::kCoalescedHeader,
     [](Site& s) { return sealed(s, [](Header& h) { h.flags = 0x428; }, {0}); }},
    {"bundle with a part missing", DropReason::kCoalescedPart,
     [](Site& s) {
       return sealed(s, [](Header& h) { h.flags = 0x428; }, {0, 2, 0, 1, 9});
     }},
    {"bundle with a part cut short", DropReason::kCoalescedPart,
     [](Site& s) {
       return sealed(s, [](Header& h) { h.flags = 0x428; }, {0, 1, 0, 9, 1});
     }},
    {"inner packet is no IP", DropReason::kInnerHeader, [](Site& s) { return inner(s, pattern(60, 9)); }},
    {"inner packet shorter than it says", DropReason::kInnerHeader,
     [](Site& s) { return inner(s, cut(s.inward(), 40)); }},
    {"inner IPv4 checksum", DropReason::kInnerHeader,
     [](Site& s) { return inner(s, changed(s.inward(), 10, 0x5a)); }},
    {"inner source outside the session", DropReason::kInnerSource,
     [](Site& s) {
       Ip h;
       h.source = "10.9.0.1";
       h.destination = Site::host4(1);
       return inner(s, ip_packet(h, udp(1, 2, pattern(20))));
     },
     session::kSourceCheck},
    {"outer CE on a packet that is not ECN capable", DropReason::kInnerEcn,
     [](Site& s) { return s.from_peer(s.peer_packet(s.next_header(), s.inward()), 3); }},
    {"inner multicast", DropReason::kMartian,
     [](Site& s) {
       Ip h;
       h.source = Site::host4(2);
       h.destination = "224.0.0.5";
       return inner(s, ip_packet(h, udp(1, 2, pattern(20))));
     }},
    {"inner loopback source", DropReason::kMartian,
     [](Site& s) {
       Ip h;
       h.source = "127.0.0.1";
       h.destination = Site::host4(1);
       return inner(s, ip_packet(h, udp(1, 2, pattern(20))));
     }},
    {"LAN broadcast", DropReason::kMartian,
     [](Site&) {
       Ip h;
       h.source = Site::host4(1);
       h.destination = "255.255.255.255";
       return ether({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac(9), ip_packet(h, udp(68, 67, pattern(20))));
     },
     0, true},
    {"LAN unicast in a broadcast frame", DropReason::kNotForUs,
     [](Site& s) {
       return ether({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac(9), s.outward());
     },
     0, true},
    {"LAN packet with VLAN tag", DropReason::kVlanTagged,
     [](Site& s) { return vlan(s.from_host(s.outward())); }, 0, true},
    {"LAN packet with a wrong checksum", DropReason::kIpChecksum,
     [](Site& s) { return s.from_host(changed(s.outward(), 11, 0x5a)); }, 0, true},
};

class Rejects : public testing::TestWithParam<Row> {};

TEST_P(Rejects, EndsInItsCounterAndNothingMoves) {
  const Row& row = GetParam();
  const unsigned before = free_packets();
  {
    SiteOptions options;
    options.flags = row.flags;
    Site site("r", options);
    site.gw.receive(row.lan ? kLan : kWan, row.frame(site));
    site.gw.run();
    EXPECT_EQ(site.gw.drops(row.reason), 1U) << row.what;
    EXPECT_EQ(site.gw.all_drops(), 1U) << row.what;
    EXPECT_TRUE(site.gw.sent(kLan).empty());
    EXPECT_TRUE(site.gw.sent(kWan).empty());
    EXPECT_TRUE(site.gw.punts().empty());
    EXPECT_EQ(site.gw.imbalance(), 0);
    EXPECT_EQ(site.gw.shard().hot(site.session.slot).current.epoch, 0);
    site.gw.receive(kWan, good(site));
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), 1U) << "an ordinary packet still passes";
  }
  EXPECT_EQ(free_packets(), before);
}

std::string row_name(const testing::TestParamInfo<Row>& info) {
  std::string name = info.param.what;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}
INSTANTIATE_TEST_SUITE_P(Rows, Rejects, testing::ValuesIn(kRows), row_name);

TEST(Rejects, ReplayAndTooOld) {
  const unsigned before = free_packets();
  {
    Site site("r", {});
    const Bytes first = good(site);
    for (int i = 0; i < 2; ++i) site.gw.receive(kWan, first);
    site.gw.run();
    EXPECT_EQ(site.gw.drops(DropReason::kReplayDuplicate), 1U) << "a twin inside one burst";
    site.gw.receive(kWan, first);
    site.gw.receive(kWan, sealed(
                              site, [](Header& h) { h.sequence = 5000; }, site.inward()));
    site.gw.run();
    EXPECT_EQ(site.gw.drops(DropReason::kReplayDuplicate), 2U);
    site.gw.receive(kWan, sealed(
                              site, [](Header& h) { h.sequence = 5000 - 1024; }, site.inward()));
    site.gw.run();
    EXPECT_EQ(site.gw.drops(DropReason::kReplayTooOld), 1U);
    EXPECT_EQ(site.gw.sent(kLan).size(), 2U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Rejects, UdpChecksumOverIpv6) {
  const unsigned before = free_packets();
  {
    SiteOptions options;
    options.outer6 = true;
    Site site("r", options);
    constexpr std::size_t kField = 14 + 40 + 6;
    Bytes frame = good(site);
    frame[kField] ^= 0x11;
    site.gw.receive(kWan, frame);
    site.gw.run();
    EXPECT_EQ(site.gw.drops(DropReason::kUdpChecksum), 1U);
    EXPECT_TRUE(site.gw.sent(kLan).empty());
    frame[kField] = frame[kField + 1] = 0;
    site.gw.receive(kWan, frame);
    site.gw.receive(kWan, good(site));
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), 2U) << "none at all is accepted for our endpoint";
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Rejects, MultiSegmentIsJoinedOrCounted) {
  const unsigned before = free_packets();
  {
    Site site("r", {});
    const Bytes frame = good(site);
    rte_mbuf* head = make_packet(Bytes(frame.begin(), frame.begin() + 50));
    ASSERT_EQ(rte_pktmbuf_chain(head, make_packet(Bytes(frame.begin() + 50, frame.end()))), 0);
    site.gw.receive(kWan, head);
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), 1U);
    rte_mbuf* big = make_packet(pattern(2000));
    ASSERT_EQ(rte_pktmbuf_chain(big, make_packet(pattern(2000))), 0);
    site.gw.receive(kWan, big);
    site.gw.run();
    EXPECT_EQ(site.gw.drops(DropReason::kMultiSegment), 1U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Accepts, WhatIsLegal) {
  const unsigned before = free_packets();
  {
    Site site("r", {});
    // Bytes behind the packet, inside the UDP payload.
    Bytes trailing = site.peer_packet(site.next_header(), site.inward());
    trailing.insert(trailing.end(), {1, 2, 3, 4, 5});
    site.gw.receive(kWan, site.from_peer(trailing));
    // Extensions.
    Bytes extended = site.peer_packet(site.next_header(), site.inward());
    extended.back() = 3;
    extended.insert(extended.end(), {7, 8, 9});
    site.gw.receive(kWan, site.from_peer(extended));
    // Ethernet padding behind the IP packet.
    Bytes padded = good(site);
    padded.insert(padded.end(), 20, 0);
    site.gw.receive(kWan, padded);
    // IPv4 options in the outer header.
    Ip h;
    h.source = Site::wan4(2);
    h.destination = Site::wan4(1);
    h.options = {1, 1, 1, 1};
    site.gw.receive(
        kWan, ether(site.gw.port_mac(kWan), mac(0x22),
                    ip_packet(h, udp(4500, 4500, site.peer_packet(site.next_header(), site.inward())))));
    site.gw.run();
    const std::vector<Bytes> out = site.gw.sent(kLan);
    EXPECT_EQ(out.size(), 4U);
    EXPECT_EQ(site.gw.all_drops(), 0U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Punts, EpochAheadGoesToControlAsItCame) {
  Site site("r", {});
  Header h = site.next_header();
  h.epoch = 16;
  const Bytes phantom = site.peer_packet(h, site.inward());
  site.gw.receive(kWan, site.from_peer(phantom));
  site.gw.run();
  const std::vector<rte_mbuf*> punts = site.gw.punts();
  ASSERT_EQ(punts.size(), 1U);
  EXPECT_EQ(dataplane::meta(punts[0]).punt, dataplane::PuntReason::kEpochAhead);
  EXPECT_EQ(dataplane::meta(punts[0]).slot, site.session.slot);
  EXPECT_EQ(dataplane::meta(punts[0]).generation, site.session.generation);
  EXPECT_EQ(bytes_of(punts[0]), phantom);
  rte_pktmbuf_free(punts[0]);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Punts, ForgedEpochsSpendTheSessionsBudgetOnly) {
  Site site("r", {});
  Header h = site.next_header();
  h.epoch = 5;
  const Bytes frame = site.from_peer(site.peer_packet(h, site.inward()));
  unsigned punted = 0;
  for (int i = 0; i < 200; ++i) {
    site.gw.receive(kWan, frame);
    site.gw.run();
    for (rte_mbuf* m : site.gw.punts()) {
      rte_pktmbuf_free(m);
      ++punted;
    }
  }
  EXPECT_GE(punted, 1U);
  EXPECT_EQ(punted + site.gw.drops(DropReason::kEpochAheadBudget), 200U);
  EXPECT_GT(site.gw.drops(DropReason::kEpochAheadBudget), 0U);
  site.gw.receive(kWan, good(site));
  site.gw.run();
  EXPECT_EQ(site.gw.sent(kLan).size(), 1U);
}

}  // namespace
