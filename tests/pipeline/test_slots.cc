// Slots of sessions that come and go while others are under load, and the fences that make it safe.
#include <gtest/gtest.h>

#include "dataplane/mailbox.h"
#include "tests/support/paths.h"

namespace {

using namespace support;
using dataplane::Hop;
using dataplane::HopKind;
using dataplane::Message;
using dataplane::MessageKind;
using session::DropReason;

Message fence(std::uint32_t number) {
  Message m;
  m.kind = MessageKind::kFence;
  m.c = number;
  return m;
}

void feed_lan(Site& site, unsigned n, unsigned worker) {
  for (unsigned i = 0; i < n; ++i) site.gw.receive(kLan, site.from_host(flow(site, i)), worker);
}

// ---- fences

TEST(Fences, WithoutSiblingsTheAnswerComesInTheSameLoop) {
  Site site("f", {});
  for (std::uint32_t i = 0; i < 20; ++i) site.gw.command(0, fence(i));
  site.gw.poll(0);
  const std::vector<Message> done = only(site.gw.messages(), MessageKind::kFenceDone);
  ASSERT_EQ(done.size(), 20U);
  for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(done[i].c, i) << "in order";
}

TEST(Fences, WaitForWhatSiblingsHandedOverBeforeAndForNothingLater) {
  Site site("f", two_workers());
  const unsigned burst = site.gw.topology().config.cores.burst;
  feed_lan(site, 5 * burst, 0);
  for (unsigned i = 0; i < 5; ++i) site.gw.poll(0);
  ASSERT_EQ(rte_ring_count(site.gw.topology().workers[1].handoff_in[0]), 5 * burst);
  site.gw.command(1, fence(7));
  std::size_t sealed = 0;
  // A worker takes a burst before it reads messages, so five are left when it sees the fence.
  for (unsigned loop = 1; loop <= 6; ++loop) {
    feed_lan(site, burst, 0);
    site.gw.poll(0);
    site.gw.poll(1);
    sealed += site.gw.sent(kWan).size();
    const std::size_t done = only(site.gw.messages(1), MessageKind::kFenceDone).size();
    EXPECT_EQ(done, loop == 6 ? 1U : 0U) << loop;
    EXPECT_EQ(sealed, loop * burst) << "worked off when it answers";
  }
  EXPECT_GT(rte_ring_count(site.gw.topology().workers[1].handoff_in[0]), 0U) << "later ones don't delay it";
  site.gw.run();
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Fences, WhatThisWorkerHandedOverIsInTheRingWhenItAnswers) {
  Site site("f", two_workers());
  feed_lan(site, 10, 0);
  site.gw.command(0, fence(1));
  site.gw.poll(0);
  EXPECT_EQ(only(site.gw.messages(0), MessageKind::kFenceDone).size(), 1U);
  EXPECT_EQ(rte_ring_count(site.gw.topology().workers[1].handoff_in[0]), 10U);
}

TEST(Fences, MoreThanAreKeptTrackOfAreAllAnswered) {
  Site site("f", two_workers());
  feed_lan(site, 400, 0);
  for (unsigned i = 0; i < 20; ++i) site.gw.poll(0);
  for (std::uint32_t i = 0; i < 200; ++i) site.gw.command(1, fence(i));
  std::uint32_t next = 0;
  for (unsigned loop = 0; loop < 40; ++loop) {
    site.gw.poll(1);
    for (const Message& m : only(site.gw.messages(1), MessageKind::kFenceDone)) EXPECT_EQ(m.c, next++);
  }
  EXPECT_EQ(next, 200U);
}

TEST(Fences, AFullRingToControlOnlyDelaysTheAnswer) {
  Site site("f", {});
  rte_ring* ring = site.gw.topology().workers[0].to_control;
  site.gw.command(0, fence(3));
  Message filler;
  while (rte_ring_free_count(ring) > 1) ASSERT_TRUE(dataplane::push(ring, filler));
  site.gw.poll(0);
  (void)site.gw.messages();
  while (rte_ring_free_count(ring) > 0) ASSERT_TRUE(dataplane::push(ring, filler));
  site.gw.command(0, fence(4));
  site.gw.poll(0);
  EXPECT_TRUE(only(site.gw.messages(), MessageKind::kFenceDone).empty());
  site.gw.poll(0);
  EXPECT_EQ(only(site.gw.messages(), MessageKind::kFenceDone).size(), 1U);
}

// ---- slots

struct Other {
  SessionSpec spec;
  Installed session;
  session::SessionInit init;
};

// Another session for a slot, as control would build it.
Other make_other(Site& site, std::uint8_t seed, std::uint32_t slot, std::uint32_t generation) {
  Other o;
  o.spec = site.spec;
  o.spec.seed = seed;
  o.session.id = session_id(seed);
  o.session.slot = o.init.slot = slot;
  o.session.generation = o.init.generation = generation;
  o.init.id = o.session.id;
  o.init.current = site.gw.keys(o.spec, 0, 0);
  o.init.tx_streams = 4;
  o.init.seq_limit.fill(1'000'000);
  o.init.outer = outer_template(o.spec);
  return o;
}

void give_keys_back(Site& site, const std::vector<Message>& messages) {
  for (const Message& m : only(messages, MessageKind::kKeyRetired)) {
    site.gw.topology().workers[0].keys->release(m.c);
  }
}

// Packets that wait to be sealed name a slot alone.
TEST(Slots, APacketOfTheLastOwnerIsNotSealedForTheNext) {
  Site site("s", {});
  Other next = make_other(site, 99, site.session.slot, 2);
  for (unsigned i = 0; i < 5; ++i) site.gw.receive(kLan, site.from_host(flow(site, i)));
  site.gw.command(0, command(MessageKind::kRemoveSession, site.session));
  Message add = command(MessageKind::kAddSession, next.session);
  add.init = &next.init;
  site.gw.command(0, add);
  site.gw.poll(0);
  const std::vector<Bytes> sent = site.gw.sent(kWan);
  ASSERT_EQ(sent.size(), 5U);
  for (const Bytes& frame : sent) EXPECT_EQ(read_sent(frame).id, site.session.id);
  site.gw.receive(kLan, site.from_host(flow(site, 0)));
  site.gw.run();
  const std::vector<Bytes> later = site.gw.sent(kWan);
  ASSERT_EQ(later.size(), 1U);
  EXPECT_EQ(read_sent(later[0]).id, next.session.id);
  EXPECT_EQ(read_sent(later[0]).sequence, 0U);
}

// One slot changes hands under load, with one path and with several; the neighbour in the next slot loses
// nothing, and everything is at its start size in the end.
TEST(Slots, SessionsComeAndGoWhileOthersLoseNothing) {
  const unsigned before = free_packets();
  {
    Site site("s", {});
    const std::uint32_t slot = site.session.slot + 1;
    site.gw.route("10.9.0.0/16", Hop::make(HopKind::kSession, 0, slot));
    Ip h;
    h.source = Site::host4(1);
    h.destination = "10.9.0.1";
    const Bytes theirs = site.from_host(ip_packet(h, udp(1, 2, pattern(40))));
    session::SessionHot& hot = site.gw.shard().hot(slot);
    const std::uint32_t sets = site.gw.shard().free_path_sets();
    const std::uint32_t keys = site.gw.topology().workers[0].keys->free_count();
    std::size_t sent = 0;
    std::size_t delivered = 0;
    constexpr std::uint32_t kRounds = 2000;
    for (std::uint32_t round = 1; round <= kRounds; ++round) {
      Other other = make_other(site, static_cast<std::uint8_t>(100 + round % 100), slot, round);
      Message add = command(MessageKind::kAddSession, other.session);
      add.init = &other.init;
      session::PathPlan plan =
          plan_for(site, std::vector<Ends>(1 + round % 3, Ends{site.spec.local, site.spec.peer}));
      plan.slot = slot;
      plan.generation = round;
      Message paths = command(MessageKind::kSetPaths, other.session);
      paths.plan = &plan;
      const auto traffic = [&] {
        feed_lan(site, 4, 0);
        site.gw.receive(kLan, theirs);
        site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
        site.gw.poll(0);
        for (const Bytes& frame : site.gw.sent(kWan)) {
          const auto id = read_sent(frame).id;
          ASSERT_TRUE(id == site.session.id || id == other.session.id);
          sent += id == site.session.id ? 1 : 0;
        }
        delivered += site.gw.sent(kLan).size();
      };
      traffic();
      site.gw.command(0, add);
      site.gw.command(0, paths);
      traffic();
      EXPECT_EQ(hot.generation, round);
      traffic();
      Message remove = command(MessageKind::kRemoveSession, other.session);
      if (round % 2 == 0) {
        remove.generation = round - 1;
        site.gw.command(0, remove);  // stale: nothing happens
        traffic();
        EXPECT_EQ(hot.state, session::LifeState::kConnected);
        remove.generation = round;
      } else {
        traffic();
      }
      site.gw.command(0, remove);
      traffic();
      site.gw.run();
      give_keys_back(site, site.gw.messages());
      ASSERT_EQ(site.gw.shard().free_path_sets(), sets);
    }
    EXPECT_EQ(sent, std::size_t{kRounds} * 5 * 4);
    EXPECT_EQ(delivered, std::size_t{kRounds} * 5);
    EXPECT_EQ(site.gw.all_drops(), site.gw.drops(DropReason::kStaleHandle)) << "none of the neighbour's";
    EXPECT_EQ(site.gw.topology().workers[0].keys->free_count(), keys);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

}  // namespace
