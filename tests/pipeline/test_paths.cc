// Several paths and moving peers, as workers see them: sources and hints, plans, copies, probes, aliases.
#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "session/source_tag.h"
#include "tests/support/paths.h"

namespace {

using namespace support;
using dataplane::Hop;
using dataplane::HopKind;
using dataplane::Message;
using dataplane::MessageKind;
using session::DropReason;
using session::PathPlan;

// ---- where packets come from

// A peer's tunnel packet over other addresses.
Bytes moved(Site& site, const session::Endpoint& from, const session::Endpoint& to) {
  return frame_from(site, from, to, site.peer_packet(site.next_header(), site.inward()));
}

TEST(Sources, ThePeerWhereItIsExpectedIsNoHint) {
  for (const bool outer6 : {false, true}) {
    SiteOptions options;
    options.outer6 = outer6;
    Site site("p", options);
    for (int i = 0; i < 50; ++i) {
      site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
    }
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), 50U);
    EXPECT_TRUE(only(site.gw.messages(), MessageKind::kNewSource).empty());
    const session::SessionHot& hot = site.gw.shard().hot(site.session.slot);
    EXPECT_EQ(hot.last_source, session::source_tag(site.spec.peer, site.spec.local));
  }
}

TEST(Sources, ANewOneIsToldWithItsAddressAndBytes) {
  Site site("p", {});
  const session::Endpoint ours6 = endpoint(Site::wan6(1), kPhantomPort);
  const std::pair<session::Endpoint, session::Endpoint> moves[] = {
      {endpoint("198.51.100.7", 1234), site.spec.local},
      {endpoint(Site::wan4(2), 4501), site.spec.local},  // a NAT that gave it another port
      {endpoint("2001:db8:77::7", 999), ours6},
  };
  for (const auto& [from, to] : moves) {
    site.gw.receive(kWan, moved(site, from, to));
    site.gw.run();
    const std::vector<Message> hints = only(site.gw.messages(), MessageKind::kNewSource);
    ASSERT_EQ(hints.size(), 1U);
    EXPECT_EQ(hints[0].slot, site.session.slot);
    EXPECT_EQ(hints[0].generation, site.session.generation);
    EXPECT_EQ(hints[0].a, 0);
    EXPECT_EQ(origin_of(site.gw, hints[0]), std::make_pair(from, to));
    std::uint32_t bytes = 0;
    std::memcpy(&bytes, hints[0].origin.value.data(), sizeof(bytes));
    EXPECT_EQ(bytes, site.inward().size() + session::kPacketOverhead);
  }
  EXPECT_EQ(site.gw.sent(kLan).size(), 3U) << "authentic packets are delivered wherever they come from";
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Sources, HintsAreFewHoweverManyPacketsCome) {
  Site site("p", {});
  for (unsigned i = 0; i < 200; ++i) {
    site.gw.receive(kWan, moved(site, endpoint("198.51.100.7", 1234), site.spec.local));
  }
  site.gw.run();
  const std::size_t hints = only(site.gw.messages(), MessageKind::kNewSource).size();
  EXPECT_GE(hints, 1U);
  EXPECT_LE(hints, 16U);
  for (unsigned i = 0; i < 200; ++i) {
    const auto port = static_cast<std::uint16_t>(2000 + i);
    site.gw.receive(kWan, moved(site, endpoint("198.51.100.7", port), site.spec.local));
  }
  site.gw.run();
  EXPECT_LE(only(site.gw.messages(), MessageKind::kNewSource).size(), 64U);
  EXPECT_EQ(site.gw.sent(kLan).size(), 400U);
}

TEST(Sources, ReplaysAndForgeriesFromElsewhereSayNothing) {
  Site site("p", {});
  const Bytes captured = site.peer_packet(site.next_header(), site.inward());
  Bytes forged = site.peer_packet(site.next_header(), site.inward());
  forged[session::kPayloadOffset] ^= 1;
  site.gw.receive(kWan, site.from_peer(captured));
  for (const Bytes& packet : {captured, forged}) {
    site.gw.receive(kWan, frame_from(site, endpoint("203.0.113.5", 7), site.spec.local, packet));
  }
  site.gw.run();
  EXPECT_TRUE(only(site.gw.messages(), MessageKind::kNewSource).empty());
  EXPECT_EQ(site.gw.drops(DropReason::kReplayDuplicate), 1U);
  EXPECT_EQ(site.gw.drops(DropReason::kAuth), 1U);
}

session::Header challenge_header(std::uint32_t sequence, std::uint8_t path, std::uint8_t epoch = 0) {
  session::Header h;
  h.flags = session::kFlagEncrypted | session::kFlagPathValidation;
  h.sequence = sequence;
  h.path_id = path;
  h.epoch = epoch;
  return h;
}

TEST(Sources, ChallengesCarryWhereTheyCameFrom) {
  Site site("p", {});
  const std::pair<session::Endpoint, session::Endpoint> ends[] = {
      {endpoint("198.51.100.7", 1234), site.spec.local},
      {endpoint("2001:db8:77::7", 999), endpoint(Site::wan6(1), kPhantomPort)}};
  std::uint32_t sequence = 0;
  for (const auto& [from, to] : ends) {
    const Bytes packet = site.peer_packet(challenge_header(sequence++, 5), pattern(32));
    site.gw.receive(kWan, frame_from(site, from, to, packet));
    site.gw.run();
    const std::vector<Message> got = site.gw.messages();
    EXPECT_TRUE(only(got, MessageKind::kNewSource).empty());
    const std::vector<Message> challenges = only(got, MessageKind::kPathValidation);
    ASSERT_EQ(challenges.size(), 1U);
    EXPECT_EQ(challenges[0].a, 5);
    EXPECT_EQ(origin_of(site.gw, challenges[0]), std::make_pair(from, to));
    const Bytes value(challenges[0].origin.value.begin(), challenges[0].origin.value.end());
    EXPECT_EQ(value, pattern(32));
  }
}

// The outer header travels with the packet: to the owner, and to control and back.
TEST(Sources, TheOriginSurvivesHandOffAndControl) {
  SiteOptions options;
  options.gateway.workers = 2;
  while (session::shard_of(session_id(options.seed).data(), 2) != 1) ++options.seed;
  Site site("p", options);
  const session::Endpoint from = endpoint("198.51.100.7", 1234);
  const Bytes ahead = site.peer_packet(challenge_header(9, 5, 2), pattern(32));
  site.gw.receive(kWan, frame_from(site, from, site.spec.local, ahead), 0);
  site.gw.receive(kWan, moved(site, from, site.spec.local), 0);
  site.gw.run();
  const std::vector<Message> hints = only(site.gw.messages(1), MessageKind::kNewSource);
  ASSERT_EQ(hints.size(), 1U);
  EXPECT_EQ(origin_of(site.gw, hints[0]), std::make_pair(from, site.spec.local));
  EXPECT_EQ(site.gw.shard(1).hot(site.session.slot).handed_over, 1U);
  const std::vector<rte_mbuf*> punted = site.gw.punts(1);
  ASSERT_EQ(punted.size(), 1U) << "two epochs ahead";
  Message next = command(MessageKind::kInstallNext, site.session);
  site.gw.command(1, command(MessageKind::kRekey, site.session));
  next.key = site.gw.keys(site.spec, 1, 2);
  site.gw.command(1, next);
  site.gw.run();
  Message back;
  back.kind = MessageKind::kReturnPacket;
  back.mbuf = punted[0];
  site.gw.command(0, back);
  site.gw.run();
  const std::vector<Message> challenges = only(site.gw.messages(1), MessageKind::kPathValidation);
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(origin_of(site.gw, challenges[0]), std::make_pair(from, site.spec.local));
}

// ---- where they go

TEST(Plans, OnePathMovesEverything) {
  Site site("p", {});
  PathPlan plan = plan_for(site, {{site.spec.local, endpoint("198.51.100.7", 1234)}});
  plan.outer[0].path_id = 3;
  set_paths(site, plan);
  for (unsigned i = 0; i < 20; ++i) site.gw.receive(kLan, site.from_host(flow(site, i)));
  site.gw.run();
  const std::vector<Bytes> sent = site.gw.sent(kWan);
  ASSERT_EQ(sent.size(), 20U);
  for (const Bytes& frame : sent) {
    const SentPacket s = read_sent(frame);
    EXPECT_EQ(s.to, endpoint("198.51.100.7", 1234));
    EXPECT_EQ(s.path, 3);
  }
  site.gw.receive(kWan, moved(site, endpoint("198.51.100.7", 1234), site.spec.local));
  site.gw.run();
  EXPECT_TRUE(only(site.gw.messages(), MessageKind::kNewSource).empty()) << "the new pair is the known one";
}

// Two sites with three ways between them: two UDP ports of IPv4 and one of IPv6.
struct ThreeWays {
  ThreeWays() : one("x", {}), two("y", second()) {
    const session::Endpoint more = endpoint(Site::wan4(2), 4501);
    listen(two.gw, 9, more, true);
    a = {{one.spec.local, two.spec.local},
         {one.spec.local, more},
         {endpoint(Site::wan6(1), kPhantomPort), endpoint(Site::wan6(2), kPhantomPort)}};
    for (const auto& [local, remote] : a) b.emplace_back(remote, local);
  }
  static SiteOptions second() {
    SiteOptions o;
    o.side = 2;
    return o;
  }
  // Streams s of side 1 go over slot s % count, copies over the next one.
  void set(unsigned count, bool duplicate) {
    PathPlan there = plan_for(one, std::vector<Ends>(a.begin(), a.begin() + count));
    PathPlan back = plan_for(two, std::vector<Ends>(b.begin(), b.begin() + count));
    for (unsigned s = 0; s < session::kTxStreams; ++s) {
      there.primary[s] = static_cast<std::uint8_t>(s % count);
      if (duplicate) there.second[s] = static_cast<std::uint8_t>((s + 1) % count);
    }
    there.validated_paths[0] = back.validated_paths[0] = (1U << count) - 1;
    set_paths(one, there);
    set_paths(two, back);
  }
  const session::PathSet& set_of(Site& site) {
    return *site.gw.shard().path_set(site.gw.shard().hot(site.session.slot));
  }
  Site one;
  Site two;
  std::vector<Ends> a;
  std::vector<Ends> b;
};

TEST(Plans, StreamsGoOverTheirSlotsAndBothSidesCount) {
  const unsigned before = free_packets();
  {
    ThreeWays t;
    t.set(3, false);
    std::size_t delivered = 0;
    std::array<std::uint64_t, 3> seen{};
    for (unsigned round = 0; round < 10; ++round) {
      for (unsigned i = 0; i < 40; ++i) t.one.gw.receive(kLan, t.one.from_host(flow(t.one, i)));
      t.one.gw.run();
      const std::vector<rte_mbuf*> packets = t.one.gw.take_sent(kWan);
      for (rte_mbuf* m : packets) {
        const SentPacket s = read_sent(bytes_of(m));
        EXPECT_EQ(s.path, s.stream % 3);
        EXPECT_EQ(s.to, t.a[s.path].second);
        EXPECT_EQ(s.from, t.a[s.path].first);
        ++seen[s.path];
        bring(m, t.two.gw);
      }
      t.two.gw.run();
      delivered += t.two.gw.sent(kLan).size();
    }
    EXPECT_EQ(delivered, 400U);
    for (unsigned i = 0; i < 3; ++i) {
      EXPECT_GT(seen[i], 0U);
      EXPECT_EQ(t.set_of(t.one).traffic[i].tx_pkts, seen[i]);
      EXPECT_EQ(t.set_of(t.two).traffic[i].rx_pkts, seen[i]);
      EXPECT_EQ(t.set_of(t.one).traffic[i].tx_bytes, t.set_of(t.two).traffic[i].rx_bytes);
    }
    EXPECT_TRUE(only(t.two.gw.messages(), MessageKind::kNewSource).empty());
    EXPECT_EQ(t.one.gw.all_drops() + t.two.gw.all_drops(), 0U);
    EXPECT_EQ(t.one.gw.imbalance(), 0);
    EXPECT_EQ(t.two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Plans, TheMtuIsTheSmallestInUse) {
  ThreeWays t;
  PathPlan plan = plan_for(t.one, t.a);
  plan.outer[2].inner_mtu = 600;
  set_paths(t.one, plan);
  const auto send = [&] {
    t.one.gw.receive(kLan, t.one.from_host(t.one.outward(700)));
    t.one.gw.run();
    return t.one.gw.sent(kWan).size();
  };
  EXPECT_EQ(send(), 1U);
  plan.second[4] = 2;
  set_paths(t.one, plan);
  EXPECT_EQ(send(), 2U) << "cut";
}

// A further path may be known when the first is not.
TEST(Plans, ASlotWithoutAddressKeepsNoOneElseFromSending) {
  ThreeWays t;
  PathPlan plan = plan_for(t.one, t.a);
  plan.outer[0] = session::OuterTemplate{};
  plan.primary.fill(1);
  plan.second.fill(0);
  set_paths(t.one, plan);
  t.one.gw.receive(kLan, t.one.from_host(t.one.outward()));
  t.one.gw.run();
  const std::vector<Bytes> sent = t.one.gw.sent(kWan);
  ASSERT_EQ(sent.size(), 1U) << "and no copy to nowhere";
  EXPECT_EQ(read_sent(sent[0]).to, t.a[1].second);
  plan.primary.fill(0);
  set_paths(t.one, plan);
  t.one.gw.receive(kLan, t.one.from_host(t.one.outward()));
  t.one.gw.run();
  EXPECT_EQ(t.one.gw.drops(DropReason::kNoEndpoint), 1U);
  EXPECT_EQ(t.one.gw.imbalance(), 0);
}

// ---- copies

using Nonce = std::tuple<unsigned, unsigned, unsigned, unsigned>;

TEST(Copies, EveryPacketTakesTwoPathsUnderTwoNonces) {
  const unsigned before = free_packets();
  {
    ThreeWays t;
    t.set(3, true);
    std::set<Nonce> nonces;
    std::map<std::pair<unsigned, unsigned>, unsigned> numbers;
    std::size_t delivered = 0;
    constexpr unsigned kRounds = 40;
    constexpr unsigned kEach = 64;  // a full batch becomes two
    for (unsigned round = 0; round < kRounds; ++round) {
      for (unsigned i = 0; i < kEach; ++i) t.one.gw.receive(kLan, t.one.from_host(flow(t.one, i)));
      t.one.gw.run();
      for (rte_mbuf* m : t.one.gw.take_sent(kWan)) {
        const SentPacket s = read_sent(bytes_of(m));
        EXPECT_TRUE(nonces.emplace(s.epoch, s.stream, s.sequence, s.path).second);
        ++numbers[{s.stream, s.sequence}];
        EXPECT_EQ(s.to, t.a[s.path].second);
        bring(m, t.two.gw);
      }
      t.two.gw.run();
      delivered += t.two.gw.sent(kLan).size();
    }
    const std::uint64_t pkts = kRounds * kEach;
    for (const auto& [number, times] : numbers) EXPECT_EQ(times, 2U);
    EXPECT_EQ(numbers.size(), pkts);
    EXPECT_EQ(delivered, pkts);
    EXPECT_EQ(t.two.gw.drops(DropReason::kReplayDuplicate), pkts);
    const session::SessionHot& hot = t.one.gw.shard().hot(t.one.session.slot);
    EXPECT_EQ(hot.tx_pkts, pkts) << "the session sent each once";
    EXPECT_EQ(hot.seals_in_epoch, 2 * pkts);
    EXPECT_EQ(t.one.gw.stats().originated, pkts);
    EXPECT_EQ(t.one.gw.stats().sealed_pkts, 2 * pkts);
    std::uint64_t over = 0;
    for (unsigned i = 0; i < 3; ++i) over += t.set_of(t.one).traffic[i].tx_pkts;
    EXPECT_EQ(over, 2 * pkts);
    EXPECT_EQ(t.one.gw.imbalance(), 0);
    EXPECT_EQ(t.two.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), before);
}

TEST(Copies, RekeysInTheMiddleOfBurstsKeepThePairsTogether) {
  ThreeWays t;
  t.set(2, true);
  session::SessionHot& hot = t.one.gw.shard().hot(t.one.session.slot);
  hot.rekey_soft_limit = 50;
  for (unsigned i = 0; i < 64; ++i) t.one.gw.receive(kLan, t.one.from_host(flow(t.one, i)));
  t.one.gw.run();
  EXPECT_EQ(hot.current.epoch, 1);
  std::set<Nonce> nonces;
  std::map<std::pair<unsigned, unsigned>, std::set<unsigned>> epochs;
  for (rte_mbuf* m : t.one.gw.take_sent(kWan)) {
    const SentPacket s = read_sent(bytes_of(m));
    EXPECT_TRUE(nonces.emplace(s.epoch, s.stream, s.sequence, s.path).second);
    epochs[{s.stream, s.sequence}].insert(s.epoch);
    bring(m, t.two.gw);
  }
  for (const auto& [number, in] : epochs) EXPECT_EQ(in.size(), 1U);
  t.two.gw.run();
  EXPECT_EQ(t.two.gw.sent(kLan).size(), 64U);
  EXPECT_EQ(t.two.gw.drops(DropReason::kAuth), 0U);
}

TEST(Copies, WithoutABufferOnlyTheCopyIsMissing) {
  ThreeWays t;
  t.set(2, true);
  for (unsigned i = 0; i < 32; ++i) t.one.gw.receive(kLan, t.one.from_host(flow(t.one, i)));
  std::vector<rte_mbuf*> all;
  while (rte_mbuf* m = rte_pktmbuf_alloc(packet_pool())) all.push_back(m);
  t.one.gw.run();
  for (rte_mbuf* m : all) rte_pktmbuf_free(m);
  const std::size_t copies = t.one.gw.stats().originated - t.one.gw.drops(DropReason::kNoBuffer);
  EXPECT_EQ(t.one.gw.drops(DropReason::kNoBuffer), 32U);
  EXPECT_EQ(t.one.gw.sent(kWan).size(), 32U + copies);
  EXPECT_EQ(t.one.gw.imbalance(), 0);
}

// ---- packets that belong to a path

TEST(Answers, AnAcknowledgementGoesBackOverThePathOfItsData) {
  ThreeWays t;
  t.set(3, false);
  for (const unsigned path : {0U, 1U, 2U}) {
    session::Header h = t.one.next_header();
    h.flags = session::kFlagEncrypted | session::kFlagReliable;
    h.path_id = static_cast<std::uint8_t>(path);
    const Bytes packet = t.one.peer_packet(h, t.one.inward());
    t.one.gw.receive(kWan, frame_from(t.one, t.a[path].second, t.a[path].first, packet));
    t.one.gw.run();
    const std::vector<Bytes> sent = t.one.gw.sent(kWan);
    ASSERT_EQ(sent.size(), 1U);
    const SentPacket s = read_sent(sent[0]);
    EXPECT_EQ(s.flags, session::kFlagEncrypted | session::kFlagAck);
    EXPECT_EQ(s.path, path);
    EXPECT_EQ(s.to, t.a[path].second);
  }
}

TEST(Answers, AChallengeGoesOverItsPathElseWhereItsStreamGoes) {
  ThreeWays t;
  t.set(3, false);
  for (const unsigned path : {0U, 1U, 2U, 77U}) {
    Message m = command(MessageKind::kSendPathValidation, t.one.session);
    m.a = static_cast<std::uint8_t>(path);
    t.one.gw.command(0, m);
    t.one.gw.run();
    const std::vector<Bytes> sent = t.one.gw.sent(kWan);
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(read_sent(sent[0]).path, path);
    EXPECT_EQ(read_sent(sent[0]).to, t.a[path < 3 ? path : 0].second);
  }
}

// ---- probes

TEST(Probes, GoToTheirOwnAddressAndComeBackToControl) {
  ThreeWays t;
  for (const auto& [local, remote] : t.a) {
    dataplane::ProbeInit probe;
    probe.outer = template_for(t.one, {local, remote});
    probe.outer.path_id = 200;
    const Bytes value = pattern(32, 5);
    std::copy(value.begin(), value.end(), probe.value.begin());
    Message m = command(MessageKind::kSendProbe, t.one.session);
    m.probe = &probe;
    t.one.gw.command(0, m);
    t.one.gw.run();
    const std::vector<Message> done = only(t.one.gw.messages(), MessageKind::kProbeDone);
    ASSERT_EQ(done.size(), 1U);
    EXPECT_EQ(done[0].probe, &probe);
    EXPECT_EQ(carry(t.one.gw, t.two.gw), 1U);
    t.two.gw.run();
    const std::vector<Message> got = only(t.two.gw.messages(), MessageKind::kPathValidation);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].a, 200);
    EXPECT_EQ(origin_of(t.two.gw, got[0]).first, local);
    EXPECT_TRUE(std::equal(value.begin(), value.end(), got[0].origin.value.begin()));
  }
  EXPECT_EQ(t.one.gw.imbalance(), 0);
}

TEST(Probes, WithoutAnAddressTheyTakeTheSessionsPath) {
  Site site("p", {});
  dataplane::ProbeInit probe;
  probe.outer.path_id = 254;
  Message m = command(MessageKind::kSendProbe, site.session);
  m.probe = &probe;
  site.gw.command(0, m);
  site.gw.run();
  const std::vector<Bytes> sent = site.gw.sent(kWan);
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(read_sent(sent[0]).path, 254);
  EXPECT_EQ(read_sent(sent[0]).to, site.spec.peer);
}

TEST(Probes, OfAStaleHandleAreAnsweredAndNotSent) {
  Site site("p", {});
  dataplane::ProbeInit probe;
  probe.outer = template_for(site, {site.spec.local, site.spec.peer});
  for (const std::uint32_t slot : {site.session.slot, 5U, 100'000U}) {
    Message m = command(MessageKind::kSendProbe, site.session);
    m.slot = slot;
    m.generation = slot == site.session.slot ? 9 : 1;
    m.probe = &probe;
    site.gw.command(0, m);
  }
  site.gw.run();
  EXPECT_EQ(only(site.gw.messages(), MessageKind::kProbeDone).size(), 3U);
  EXPECT_TRUE(site.gw.sent(kWan).empty());
  EXPECT_EQ(site.gw.stats().originated, 0U);
}

// ---- what else control may say

TEST(Listen, EndpointsComeAndGo) {
  Site site("p", {});
  const session::Endpoint more = endpoint("192.0.2.33", 7000);
  const auto arrives = [&] {
    site.gw.receive(kWan, moved(site, site.spec.peer, more));
    site.gw.run();
    return site.gw.sent(kLan).size();
  };
  EXPECT_EQ(arrives(), 0U);
  listen(site.gw, 200, more, true);
  EXPECT_EQ(arrives(), 1U);
  const std::vector<Message> hints = only(site.gw.messages(), MessageKind::kNewSource);
  ASSERT_EQ(hints.size(), 1U);
  EXPECT_EQ(hints[0].c >> 8, 200U);
  listen(site.gw, 200, more, false);
  EXPECT_EQ(arrives(), 0U);
  listen(site.gw, 60'000, more, true);
  EXPECT_EQ(arrives(), 0U) << "no such index";
  site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
  site.gw.run();
  EXPECT_EQ(site.gw.sent(kLan).size(), 1U) << "the others are still there";
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST(Listen, AFullTableFindsEveryoneAndForgetsTheRemoved) {
  dataplane::LocalEndpoints endpoints;
  const auto at = [](unsigned i) {
    return endpoint("192.0." + std::to_string(i / 64) + "." + std::to_string(i % 64),
                    static_cast<std::uint16_t>(4500 + i % 3));
  };
  const auto find = [&](const session::Endpoint& e) {
    return endpoints.find(e.family, e.address.data(), e.port);
  };
  for (std::uint16_t i = 0; i < dataplane::kMaxLocalEndpoints; ++i) endpoints.add(i, at(i));
  for (unsigned i = 0; i < dataplane::kMaxLocalEndpoints; ++i) EXPECT_EQ(find(at(i)), i);
  for (std::uint16_t i = 0; i < dataplane::kMaxLocalEndpoints; i = static_cast<std::uint16_t>(i + 2)) {
    endpoints.remove(i);
  }
  for (unsigned i = 0; i < dataplane::kMaxLocalEndpoints; ++i) {
    EXPECT_EQ(find(at(i)), i % 2 == 0 ? dataplane::kNoEndpointIndex : i);
  }
  endpoints.add(1, at(2));
  EXPECT_EQ(find(at(2)), 1U);
  EXPECT_EQ(find(at(1)), dataplane::kNoEndpointIndex) << "its place was taken";
  EXPECT_TRUE(endpoints.has_address(4, at(3).address.data()));
  EXPECT_FALSE(endpoints.has_address(4, at(4).address.data()));
}

TEST(Alias, SourcesOfTheSuccessorPassTheCheck) {
  SiteOptions options;
  options.flags = session::kSourceCheck;
  Site site("p", options);
  const Hop successor = Hop::make(HopKind::kSession, 0, 44);
  site.gw.route("10.2.0.0/16", successor);
  const auto delivered = [&] {
    site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
    site.gw.run();
    return site.gw.sent(kLan).size();
  };
  EXPECT_EQ(delivered(), 0U);
  EXPECT_EQ(site.gw.drops(DropReason::kInnerSource), 1U);
  Message m = command(MessageKind::kSetAlias, site.session);
  m.c = successor.word;
  site.gw.command(0, m);
  site.gw.run();
  EXPECT_EQ(delivered(), 1U);
  m.c = Hop::make(HopKind::kSession, 0, 45).word;
  site.gw.command(0, m);
  site.gw.run();
  EXPECT_EQ(delivered(), 0U);
}

TEST(States, AClosingSessionGoesOnAndAClosedOneDoesNot) {
  Site site("p", {});
  const std::pair<session::LifeState, std::size_t> states[] = {{session::LifeState::kMigrating, 1},
                                                               {session::LifeState::kClosing, 1},
                                                               {session::LifeState::kClosed, 0}};
  for (const auto& [state, moves] : states) {
    Message m = command(MessageKind::kSetState, site.session);
    m.a = static_cast<std::uint8_t>(state);
    site.gw.command(0, m);
    site.gw.run();
    site.gw.receive(kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
    site.gw.receive(kLan, site.from_host(site.outward()));
    site.gw.run();
    EXPECT_EQ(site.gw.sent(kLan).size(), moves);
    EXPECT_EQ(site.gw.sent(kWan).size(), moves);
  }
  EXPECT_EQ(site.gw.drops(DropReason::kSessionClosed), 2U);
}

}  // namespace
