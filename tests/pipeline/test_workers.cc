// Workers among each other and with control: hand-off, neighbours, messages, rekeys under load, full rings,
// draining.
#include <atomic>

#include <gtest/gtest.h>

#include "dataplane/mailbox.h"
#include "tests/support/site.h"

namespace {

using namespace support;
using dataplane::Message;
using dataplane::MessageKind;
using dataplane::NeighbourState;
using session::DropReason;

unsigned count(const std::vector<Message>& messages, MessageKind kind) {
  unsigned n = 0;
  for (const Message& m : messages) n += m.kind == kind ? 1 : 0;
  return n;
}

TEST(HandOff, PhantomPacketsReachTheOwnerInOrder) {
  const unsigned before = free_packets();
  {
    Site site("h", two_workers());
    ASSERT_EQ(site.session.shard, 1U);
    for (unsigned i = 0; i < 100; ++i) {
      const Bytes phantom = site.peer_packet(site.next_header(), site.inward(10 + i));
      site.gw.receive(kWan, site.from_peer(phantom), 0);
    }
    site.gw.run();
    const std::vector<Bytes> out = site.gw.sent(kLan);
    ASSERT_EQ(out.size(), 100U);
    for (unsigned i = 0; i < 100; ++i) EXPECT_EQ(out[i].size(), 14U + 28 + 10 + i);
    EXPECT_EQ(site.gw.stats(0).handed_off, 100U);
    EXPECT_EQ(site.gw.stats(1).taken_over, 100U);
    EXPECT_EQ(site.gw.stats(1).opened_pkts, 100U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(HandOff, LanPacketsAreSealedByTheOwner) {
  Site site("h", two_workers());
  for (unsigned i = 0; i < 40; ++i) site.gw.receive(kLan, site.from_host(site.outward(10 + i)), 0);
  site.gw.run();
  EXPECT_EQ(site.gw.sent(kWan).size(), 40U);
  EXPECT_EQ(site.gw.stats(0).sealed_pkts, 0U);
  EXPECT_EQ(site.gw.stats(1).sealed_pkts, 40U);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(HandOff, AFullRingIsACountedDrop) {
  const unsigned before = free_packets();
  {
    SiteOptions options = two_workers();
    options.gateway.ring_size = 64;
    Site site("h", options);
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 50; ++i) site.gw.receive(kLan, site.from_host(site.outward()), 0);
      for (int i = 0; i < 3; ++i) site.gw.poll(0);
    }
    EXPECT_EQ(site.gw.drops(DropReason::kHandoffRing), 100U - 63);
    EXPECT_EQ(site.gw.imbalance(), 0);
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kWan).size(), 63U);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Neighbours, PacketsWaitAndGoOnInOrder) {
  const unsigned before = free_packets();
  {
    Site site("n", {});
    Ip h;
    h.source = Site::host4(2);
    h.destination = "10.1.0.77";
    for (std::size_t i = 0; i < 5; ++i) {
      const Bytes inner = ip_packet(h, udp(1, 2, pattern(10 + i)));
      site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), inner)));
    }
    site.gw.run();
    EXPECT_TRUE(site.gw.sent(kLan).empty());
    EXPECT_EQ(site.gw.stats().held, 5U);
    EXPECT_EQ(site.gw.imbalance(), 0);
    const std::vector<Message> messages = site.gw.messages();
    ASSERT_EQ(count(messages, MessageKind::kNeighbourMiss), 1U) << "asked once";
    for (const Message& m : messages) {
      if (m.kind != MessageKind::kNeighbourMiss) continue;
      EXPECT_EQ(m.neighbour.address, ip("10.1.0.77"));
      EXPECT_EQ(m.neighbour.port, kLan);
    }
    site.gw.neighbour(40, kLan, "10.1.0.77", mac(0), NeighbourState::kPending);
    EXPECT_EQ(site.gw.stats().held, 5U);
    site.gw.neighbour(40, kLan, "10.1.0.77", mac(0x77));
    const std::vector<Bytes> out = site.gw.sent(kLan);
    ASSERT_EQ(out.size(), 5U);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(out[i].size(), 14 + 28 + 10 + i);
    EXPECT_EQ(out[0][5], 0x77);
    EXPECT_EQ(site.gw.stats().held, 0U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Neighbours, TheQueueIsBoundedAndFailureCounts) {
  const unsigned before = free_packets();
  {
    Site site("n", {});
    site.gw.neighbour(kPeerAdjacency, kWan, Site::wan4(2), mac(0), NeighbourState::kPending);
    for (int i = 0; i < 50; ++i) site.gw.receive(kLan, site.from_host(site.outward()));
    site.gw.run();
    EXPECT_EQ(site.gw.stats().held, 16U);
    EXPECT_EQ(site.gw.drops(DropReason::kNeighbourQueue), 34U);
    EXPECT_EQ(site.gw.imbalance(), 0);
    site.gw.neighbour(kPeerAdjacency, kWan, Site::wan4(2), mac(0), NeighbourState::kFailed);
    EXPECT_EQ(site.gw.drops(DropReason::kNeighbourTimeout), 16U);
    EXPECT_EQ(site.gw.stats().held, 0U);
    site.gw.receive(kLan, site.from_host(site.outward()));
    site.gw.run();
    EXPECT_EQ(site.gw.stats().held, 1U) << "a failed neighbour is tried again";
    site.gw.neighbour(kPeerAdjacency, kWan, Site::wan4(2), mac(0x33));
    EXPECT_EQ(site.gw.sent(kWan).size(), 1U);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Neighbours, ManyUnknownAddressesAreBounded) {
  const unsigned before = free_packets();
  {
    Site site("n", {});
    for (unsigned i = 10; i < 250; ++i) {
      Ip h;
      h.source = Site::host4(2);
      h.destination = "10.1.0." + std::to_string(i);
      site.gw.receive(kWan,
                      site.from_peer(site.peer_packet(site.next_header(), ip_packet(h, udp(1, 2, {1})))));
    }
    site.gw.run();
    EXPECT_EQ(site.gw.stats().held, 128U);
    EXPECT_EQ(site.gw.drops(DropReason::kNeighbourQueue), 240U - 128);
    EXPECT_EQ(site.gw.imbalance(), 0);
    std::atomic<bool> stop = true;
    site.gw.worker(0).run(stop);
    EXPECT_EQ(site.gw.drops(DropReason::kDraining), 128U);
    EXPECT_EQ(site.gw.stats().held, 0U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Sending, WhatHasNowhereToGoIsCountedBeforeANumberIsSpent) {
  SiteOptions options;
  Site site("s", options);
  session::PathPlan nowhere;
  nowhere.slot = site.session.slot;
  nowhere.generation = site.session.generation;
  nowhere.count = 1;
  Message m = command(MessageKind::kSetPaths, site.session);
  m.plan = &nowhere;
  site.gw.command(0, m);
  site.gw.receive(kLan, site.from_host(site.outward()));
  site.gw.run();
  site.gw.receive(kLan, site.from_host(site.outward()));
  site.gw.run();
  EXPECT_GE(site.gw.drops(DropReason::kNoEndpoint), 1U);
  EXPECT_EQ(count(site.gw.messages(), MessageKind::kPathsDone), 1U);
  std::uint32_t spent = 0;
  for (const session::TxStream& s : site.gw.shard().hot(site.session.slot).tx) spent += s.next;
  EXPECT_EQ(spent, site.gw.stats().sealed_pkts);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Sending, UsedUpReservationFailsClosed) {
  Site site("s", {});
  session::SessionHot& hot = site.gw.shard().hot(site.session.slot);
  for (session::TxStream& stream : hot.tx) stream.limit = 3;
  for (int i = 0; i < 10; ++i) site.gw.receive(kLan, site.from_host(site.outward()));
  site.gw.run();
  EXPECT_EQ(site.gw.sent(kWan).size(), 3U);
  EXPECT_EQ(site.gw.drops(DropReason::kSequenceUnreserved), 7U);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Sending, WhatTheDeviceDoesNotTakeIsHeldAndSentLater) {
  const unsigned before = free_packets();
  {
    SiteOptions options;
    options.gateway.ring_size = 64;
    Site site("s", options);
    unsigned sent_in = 0;
    for (int round = 0; round < 20; ++round) {
      for (int i = 0; i < 32; ++i, ++sent_in) site.gw.receive(kLan, site.from_host(site.outward()));
      site.gw.run();
    }
    EXPECT_EQ(site.gw.stats().held, 512U);
    EXPECT_EQ(site.gw.drops(DropReason::kTxRing), sent_in - 512 - 63);
    EXPECT_EQ(site.gw.imbalance(), 0);
    std::size_t out = 0;
    for (int i = 0; i < 20; ++i) {
      out += site.gw.sent(kWan).size();
      site.gw.run();
    }
    EXPECT_EQ(out, 512U + 63);
    EXPECT_EQ(site.gw.stats().held, 0U);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Commands, PathValidationIsSealedOnStreamZero) {
  Site one("x", {});
  SiteOptions second;
  second.side = 2;
  Site two("y", second);
  Message m = command(MessageKind::kSendPathValidation, one.session);
  m.a = 5;
  const Bytes value = pattern(32);
  std::copy(value.begin(), value.end(), m.bytes.begin());
  one.gw.command(0, m);
  one.gw.run();
  EXPECT_EQ(one.gw.stats().originated, 1U);
  EXPECT_EQ(one.gw.imbalance(), 0);
  EXPECT_EQ(carry(one.gw, two.gw), 1U);
  two.gw.run();
  const std::vector<Message> got = two.gw.messages();
  ASSERT_EQ(count(got, MessageKind::kPathValidation), 1U);
  for (const Message& v : got) {
    if (v.kind != MessageKind::kPathValidation) continue;
    EXPECT_EQ(v.a, 5);
    EXPECT_TRUE(std::equal(value.begin(), value.end(), v.bytes.begin()));
  }
  m.generation = 9;
  one.gw.command(0, m);
  one.gw.run();
  EXPECT_TRUE(one.gw.sent(kWan).empty()) << "a stale handle does nothing";
}

TEST(Commands, PacketsFromControl) {
  const unsigned before = free_packets();
  {
    Site site("x", {});
    Message m;
    m.kind = MessageKind::kTransmit;
    m.b = kLan;
    m.mbuf = make_packet(pattern(60));
    site.gw.command(0, m);
    m.kind = MessageKind::kInject;
    m.mbuf = make_packet(site.outward());
    site.gw.command(0, m);
    site.gw.run();
    const std::vector<Bytes> lan = site.gw.sent(kLan);
    ASSERT_EQ(lan.size(), 1U);
    EXPECT_EQ(lan[0], pattern(60));
    EXPECT_EQ(site.gw.sent(kWan).size(), 1U);
    m.kind = MessageKind::kReturnPacket;
    m.mbuf = make_packet(site.peer_packet(site.next_header(), site.inward()));
    site.gw.command(0, m);
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), 1U);
    EXPECT_EQ(site.gw.imbalance(), -3) << "control counts what it originates";
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Commands, AnswersAreNeverLost) {
  Site site("x", {});
  session::PathPlan plan;
  plan.slot = site.session.slot;
  plan.generation = site.session.generation;
  plan.count = 1;
  plan.outer[0] = site.gw.shard().hot(site.session.slot).outer;
  unsigned answered = 0;
  unsigned asked = 0;
  rte_ring* ring = site.gw.topology().workers[0].to_control;
  while (rte_ring_free_count(ring) > 10) {
    Message filler;
    ASSERT_TRUE(dataplane::push(ring, filler));
  }
  for (; asked < 100; ++asked) {
    Message m = command(MessageKind::kSetPaths, site.session);
    m.plan = &plan;
    site.gw.command(0, m);
  }
  site.gw.poll(0);
  site.gw.poll(0);
  EXPECT_EQ(rte_ring_free_count(ring), 0U);
  for (int i = 0; i < 10; ++i) {
    answered += count(site.gw.messages(), MessageKind::kPathsDone);
    site.gw.poll(0);
  }
  EXPECT_EQ(answered, asked);
}

// Plays control's part of rekeying: a new next for every epoch entered, the previous one retired later, keys
// taken back.
struct Rekeyer {
  explicit Rekeyer(Site& s) : site(s) {}
  void serve() {
    for (const Message& m : site.gw.messages(site.session.shard)) {
      if (m.kind == MessageKind::kKeyRetired) {
        site.gw.topology().workers[site.session.shard].keys->release(m.c);
        ++returned;
      }
      if (m.kind != MessageKind::kAdvanced || m.a <= epoch) continue;
      epoch = m.a;
      Message next = command(MessageKind::kInstallNext, site.session);
      next.key = site.gw.keys(site.spec, site.session.shard, static_cast<std::uint8_t>(epoch + 1));
      site.gw.command(site.session.shard, next);
    }
  }
  Site& site;
  unsigned epoch = 0;
  unsigned returned = 0;
};

TEST(Rekey, SwapsInTheMiddleOfBurstsLoseNothing) {
  const unsigned before = free_packets();
  {
    SiteOptions first;
    first.soft_limit = 150;
    SiteOptions second;
    second.side = 2;
    second.soft_limit = 190;
    Site one("x", first);
    Site two("y", second);
    Rekeyer control_one(one);
    Rekeyer control_two(two);
    std::size_t delivered_one = 0;
    std::size_t delivered_two = 0;
    constexpr std::size_t kRounds = 600;
    constexpr std::size_t kBurst = 32;
    for (std::size_t round = 0; round < kRounds; ++round) {
      for (std::size_t i = 0; i < kBurst; ++i) {
        one.gw.receive(kLan, one.from_host(one.outward(20 + i)));
        two.gw.receive(kLan, two.from_host(two.outward(20 + i)));
      }
      one.gw.run();
      two.gw.run();
      carry(one.gw, two.gw);
      carry(two.gw, one.gw);
      one.gw.run();
      two.gw.run();
      delivered_one += one.gw.sent(kLan).size();
      delivered_two += two.gw.sent(kLan).size();
      control_one.serve();
      control_two.serve();
    }
    EXPECT_EQ(delivered_one, kRounds * kBurst);
    EXPECT_EQ(delivered_two, kRounds * kBurst);
    EXPECT_EQ(one.gw.all_drops() + two.gw.all_drops(), 0U);
    EXPECT_GE(control_one.epoch, 100U);
    EXPECT_NEAR(control_one.epoch, control_two.epoch, 1);
    EXPECT_GT(control_one.returned, 100U) << "keys come back";
    EXPECT_EQ(one.gw.imbalance(), 0);
    EXPECT_EQ(two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Removal, ARemovedSessionIsUnknownAndStale) {
  Site site("x", {});
  site.gw.command(0, command(MessageKind::kRemoveSession, site.session));
  site.gw.run();
  EXPECT_EQ(count(site.gw.messages(), MessageKind::kSessionRemoved), 1U);
  site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
  site.gw.receive(kLan, site.from_host(site.outward()));
  site.gw.run();
  EXPECT_EQ(site.gw.drops(DropReason::kUnknownSession), 1U);
  EXPECT_EQ(site.gw.drops(DropReason::kStaleHandle), 1U);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

}  // namespace
