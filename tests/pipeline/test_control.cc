// The control core with its rings read by hand: start, catch-up, store failures, ICMP, routes, books.
#include <thread>

#include <gtest/gtest.h>

#include "dataplane/checksum.h"
#include "dataplane/control.h"
#include "dataplane/ip.h"
#include "dataplane/outer_template.h"
#include "dataplane/session_manager.h"
#include "session/shard_commands.h"
#include "tests/support/control_bench.h"

namespace {

using namespace support;
using dataplane::HopKind;
using dataplane::Message;
using dataplane::MessageKind;
using dataplane::PuntReason;
using session::ConsumedKind;
using session::DropReason;

bool has(const std::vector<Message>& messages, MessageKind kind) {
  return std::any_of(messages.begin(), messages.end(), [&](const Message& m) { return m.kind == kind; });
}

std::string refusal(ControlBench& bench) {
  try {
    bench.start();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

Bytes free_bytes(const Message& message) {
  const Bytes bytes = bytes_of(message.mbuf);
  rte_pktmbuf_free(message.mbuf);
  return bytes;
}

TEST(ControlStart, FillsShardsRoutesAndStore) {
  ControlBench bench;
  bench.add_session(1);
  bench.route("10.2.0.0/16", "s1");
  bench.route("10.9.0.0/16", "", "10.1.0.77");
  bench.start();
  const session::Shard& shard = *bench.topology.workers[0].shard;
  const std::uint32_t slot = shard.find(session_id(1).data());
  ASSERT_NE(slot, session::kNone);
  const session::OuterTemplate& outer = shard.hot(slot).outer;
  EXPECT_EQ(outer.length, 28);
  EXPECT_EQ(outer.inner_mtu, 1500 - 20 - 8 - 69);
  EXPECT_EQ(bench.store.commits(), 1U) << "all records in one transaction";
  const dataplane::Fib& fib = *bench.topology.fib;
  EXPECT_EQ(fib.lookup(ip("10.2.3.4")).word, dataplane::Hop::make(HopKind::kSession, 0, slot).word);
  EXPECT_EQ(fib.lookup(ip("10.1.0.1")).kind(), HopKind::kLocal);
  EXPECT_EQ(fib.lookup(ip("10.1.0.9")).kind(), HopKind::kConnected);
  EXPECT_EQ(fib.lookup(ip("10.9.0.9")).kind(), HopKind::kGateway);
  EXPECT_EQ(fib.lookup(ip("172.16.0.1")).kind(), HopKind::kNone);
  EXPECT_EQ(fib.lookup(ip("2001:db8:f::1")).kind(), HopKind::kLocal);
  EXPECT_EQ(fib.lookup(ip("2001:db8:f::2")).kind(), HopKind::kConnected);
  EXPECT_TRUE(has(bench.messages_of(MessageKind::kInstallNext), MessageKind::kInstallNext));
}

TEST(ControlStart, ARestartNeverGoesBack) {
  ControlBench bench;
  bench.add_session(1);
  for (const unsigned epoch : {0U, 2U, 3U}) {
    bench.start();
    EXPECT_EQ(bench.control->sessions()[0].epoch, epoch);
    bench.control->finish();
    bench.control.reset();
    // A shard of its own for the next life.
    session::ShardCommands(*bench.topology.workers[0].shard).remove(0, 1);
  }
}

TEST(ControlStart, RefusesTwoSessionsOfOneSecret) {
  ControlBench bench;
  bench.add_session(1);
  bench.add_session(2);
  bench.topology.config.sessions[1].secret_file = bench.topology.config.sessions[0].secret_file;
  const std::string text = refusal(bench);
  EXPECT_NE(text.find("\"s1\" and \"s2\" have the same secret"), std::string::npos) << text;
}

TEST(ControlStart, RefusesTwinsOfId) {
  ControlBench bench;
  bench.add_session(1);
  bench.add_session(2).identity.id = session_id(1);
  EXPECT_NE(refusal(bench).find("same id"), std::string::npos);
}

TEST(ControlStart, RefusesTwinsOfName) {
  ControlBench bench;
  bench.add_session(1);
  bench.add_session(2).identity.name = "s1";
  EXPECT_NE(refusal(bench).find("named \"s1\""), std::string::npos);
}

TEST(ControlStart, RefusesAStoreThatFails) {
  ControlBench bench;
  bench.add_session(1);
  bench.store.fail(true);
  EXPECT_NE(refusal(bench), "");
  EXPECT_EQ(bench.topology.workers[0].shard->find(session_id(1).data()), session::kNone);
}

TEST(ControlStart, RefusesAPeerWithoutAWay) {
  ControlBench bench;
  bench.add_session(1, "203.0.113.1");
  bench.topology.ports[kWan].config.gateway4.reset();
  EXPECT_NE(refusal(bench).find("gateway4"), std::string::npos);
}

TEST(ControlStart, RemembersThePeerThatWasHeard) {
  ControlBench bench;
  bench.add_session(1, "203.0.113.1");
  bench.start();
  Message heard;
  heard.kind = MessageKind::kHeard;
  heard.slot = 0;
  heard.generation = 1;
  bench.hint(heard);
  bench.control->poll();
  EXPECT_TRUE(bench.control->sessions()[0].heard);
  bench.control->finish();
  bench.control.reset();
  session::ShardCommands(*bench.topology.workers[0].shard).remove(0, 1);
  bench.topology.config.sessions[0].peer = {};
  bench.start();
  EXPECT_EQ(bench.control->sessions()[0].peer, "203.0.113.1:4500");
}

TEST(OuterTemplate, Ip4HeaderChecksumCompletes) {
  const auto t = dataplane::make_outer(endpoint("192.0.2.1", 4500), endpoint("198.51.100.7", 4501), 3, 1500);
  std::array<std::uint8_t, 28> packet;
  std::copy_n(t.bytes.begin(), packet.size(), packet.begin());
  session::store_be16(&packet[2], 200);
  session::store_be16(&packet[4], 77);
  session::store_be16(&packet[10], dataplane::checksum_of(std::uint64_t{t.ip_partial_sum} + 200 + 77));
  EXPECT_TRUE(dataplane::ipv4_checksum_ok(packet.data(), 20));
  EXPECT_EQ(packet[6], 0x40);
  EXPECT_EQ(packet[8], 64);
  EXPECT_EQ(session::load_be16(&packet[20]), 4500);
  EXPECT_EQ(session::load_be16(&packet[22]), 4501);
  const auto six = dataplane::make_outer(endpoint("2001:db8::1", 1), endpoint("2001:db8::2", 2), 3, 1500);
  EXPECT_EQ(six.length, 48);
  EXPECT_EQ(six.inner_mtu, 1500 - 40 - 8 - 69);
}

// ---- packets ahead

Bytes ahead_packet(std::uint8_t seed, std::uint8_t epoch, std::uint32_t sequence = 0) {
  const crypto::Aead aead;
  session::Header h;
  h.session_id = session_id(seed);
  h.stream_id = 1;
  h.sequence = sequence;
  h.flags = session::kTunnelFlags;
  h.epoch = epoch;
  return seal_packet(aead, test_secret(seed), false, h, pattern(40));
}

rte_mbuf* ahead(ControlBench& bench, const Bytes& bytes) {
  rte_mbuf* m = bench.packet(bytes, PuntReason::kEpochAhead, kWan);
  dataplane::meta(m).slot = 0;
  dataplane::meta(m).generation = 1;
  return m;
}

TEST(ControlAhead, AnAuthenticPacketComesBackBehindItsJump) {
  ControlBench bench;
  bench.add_session(1);
  bench.start();
  bench.messages_of(MessageKind::kJump);
  bench.punt(ahead(bench, ahead_packet(1, 5)));
  bench.control->poll();
  const std::vector<Message> out = bench.messages();
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(out[0].kind, MessageKind::kAheadBudget) << "what follows must not be stopped meanwhile";
  EXPECT_EQ(out[0].c, dataplane::kAheadGrant);
  ASSERT_EQ(out[1].kind, MessageKind::kJump);
  EXPECT_EQ(out[1].jump->current.epoch, 5);
  EXPECT_EQ(out[2].kind, MessageKind::kReturnPacket);
  EXPECT_EQ(free_bytes(out[2]), ahead_packet(1, 5)) << "untouched";
  EXPECT_GE(bench.control->sessions()[0].taken, 5);
  Message done = out[1];
  done.kind = MessageKind::kJumpDone;
  bench.hint(done);
  bench.control->poll();
}

TEST(ControlAhead, AForgeryChangesNothing) {
  ControlBench bench;
  bench.add_session(1);
  bench.start();
  bench.messages_of(MessageKind::kJump);
  const std::uint64_t commits = bench.store.commits();
  Bytes forged = ahead_packet(1, 5);
  forged.back() = 0;
  forged[60] ^= 1;
  bench.punt(ahead(bench, forged));
  rte_mbuf* stale = ahead(bench, forged);
  dataplane::meta(stale).generation = 2;
  bench.punt(stale);
  bench.control->poll();
  EXPECT_TRUE(bench.messages().empty());
  EXPECT_EQ(bench.drops(DropReason::kEpochAheadForged), 1U);
  EXPECT_EQ(bench.drops(DropReason::kStaleHandle), 1U);
  EXPECT_EQ(bench.store.commits(), commits);
  EXPECT_EQ(bench.control->sessions()[0].epoch, 0);
}

TEST(ControlAhead, AFloodSpendsItsBudgetAndNoMore) {
  ControlBench bench;
  bench.add_session(1).policy.trials_per_second = 1;
  bench.start();
  Bytes forged = ahead_packet(1, 5);
  forged[60] ^= 1;
  for (unsigned i = 0; i < 200; ++i) bench.punt(ahead(bench, forged));
  for (unsigned i = 0; i < 4; ++i) bench.control->poll();
  const std::uint64_t tried = bench.drops(DropReason::kEpochAheadForged);
  EXPECT_LE(tried, 66U);
  EXPECT_EQ(tried + bench.drops(DropReason::kEpochAheadBudget), 200U);
}

TEST(ControlStore, NothingLeavesWhileItFailsAndAllAfterwards) {
  ControlBench bench;
  bench.add_session(1);
  bench.start();
  bench.messages_of(MessageKind::kJump);
  bench.store.fail(true);
  constexpr std::uint32_t kSent = dataplane::kHeldPerSession + 36;
  for (std::uint32_t i = 0; i < kSent; ++i) {
    bench.punt(ahead(bench, ahead_packet(1, 5, i)));
    if (i % 32 == 31) bench.control->poll();
  }
  for (unsigned i = 0; i < 4; ++i) bench.control->poll();
  for (const Message& m : bench.messages()) {
    EXPECT_NE(m.kind, MessageKind::kJump);
    EXPECT_NE(m.kind, MessageKind::kReturnPacket);
  }
  EXPECT_TRUE(bench.control->store_health().failing);
  EXPECT_EQ(bench.control->store_health().troubles, 1U);
  EXPECT_EQ(bench.stats.held, dataplane::kHeldPerSession) << "bounded";
  EXPECT_EQ(bench.drops(DropReason::kEpochAheadBudget), 36U);
  bench.store.fail(false);
  std::vector<Message> out;
  for (unsigned i = 0; i < 6000 && bench.stats.held != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until the back-off of the store is over
    bench.control->poll();
    for (const Message& m : bench.messages()) out.push_back(m);
  }
  unsigned returned = 0;
  bool jumped = false;
  for (const Message& m : out) {
    jumped |= m.kind == MessageKind::kJump;
    if (m.kind != MessageKind::kReturnPacket) continue;
    EXPECT_TRUE(jumped) << "behind the jump";
    EXPECT_EQ(session::load_be32(&free_bytes(m)[session::kOffSequence]), returned) << "in order";
    ++returned;
  }
  EXPECT_EQ(returned, dataplane::kHeldPerSession);
  EXPECT_FALSE(bench.control->store_health().failing);
  EXPECT_EQ(bench.stats.held, 0U);
}

TEST(ControlMailbox, AFullOneLosesNothingAndKeepsOrder) {
  ControlBench bench(1, 8);  // seven messages fit
  for (std::uint8_t seed = 1; seed <= 10; ++seed) bench.add_session(seed);
  bench.start();
  std::vector<std::uint32_t> slots;
  for (unsigned round = 0; round < 40; ++round) {
    for (const Message& m : bench.messages()) {
      if (m.kind == MessageKind::kInstallNext) slots.push_back(m.slot);
      if (m.kind == MessageKind::kTransmit) rte_pktmbuf_free(m.mbuf);
    }
    bench.control->poll();
  }
  EXPECT_EQ(slots, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

// ---- ICMP

Bytes echo4(const std::string& from, const std::string& to) {
  Bytes icmp = {8, 0, 0, 0, 0x12, 0x34, 0, 1, 'h', 'e', 'l', 'l', 'o'};
  session::store_be16(&icmp[2], dataplane::checksum_of(dataplane::partial_sum(icmp.data(), icmp.size())));
  Ip h;
  h.source = from;
  h.destination = to;
  h.protocol = 1;
  return ip_packet(h, icmp);
}

TEST(ControlIcmp, EchoFromALinkGoesBackWhereItCameFrom) {
  ControlBench bench;
  bench.start();
  bench.messages_of(MessageKind::kJump);
  bench.punt(ether(mac(0xa1), mac(9), echo4("192.0.2.9", "192.0.2.1")), PuntReason::kLocal, kWan);
  bench.control->poll();
  const auto out = bench.messages_of(MessageKind::kTransmit);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].b, kWan);
  const Bytes frame = free_bytes(out[0]);
  EXPECT_EQ(frame[5], 9);
  EXPECT_EQ(frame[11], 0xa1);
  EXPECT_TRUE(dataplane::ipv4_checksum_ok(&frame[14], 20));
  EXPECT_EQ(frame[34], 0);
  EXPECT_EQ(dataplane::fold_sum(dataplane::partial_sum(&frame[34], frame.size() - 34)), 0xffff);
  EXPECT_EQ(Bytes(frame.begin() + 30, frame.begin() + 34), (Bytes{192, 0, 2, 9}));
  EXPECT_EQ(Bytes(frame.end() - 5, frame.end()), (Bytes{'h', 'e', 'l', 'l', 'o'}));
}

TEST(ControlIcmp, EchoOutOfATunnelIsRouted) {
  ControlBench bench;
  bench.add_session(1);
  bench.start();
  bench.messages_of(MessageKind::kJump);
  rte_mbuf* m = bench.packet(echo4("10.2.0.9", "10.1.0.1"), PuntReason::kLocal);
  dataplane::meta(m).slot = 0;
  bench.punt(m);
  bench.control->poll();
  const auto out = bench.messages_of(MessageKind::kInject);
  ASSERT_EQ(out.size(), 1U);
  const Bytes packet = free_bytes(out[0]);
  EXPECT_EQ(Bytes(packet.begin() + 16, packet.begin() + 20), (Bytes{10, 2, 0, 9}));
}

TEST(ControlIcmp, OtherPacketsToUsEndHere) {
  ControlBench bench;
  bench.start();
  Ip h;
  h.source = "10.1.0.9";
  h.destination = "10.1.0.1";
  bench.punt(ether(mac(0xa0), mac(9), ip_packet(h, udp(1, 2, pattern(10)))), PuntReason::kLocal);
  Bytes broken = echo4("10.1.0.9", "10.1.0.1");
  broken.back() ^= 1;
  bench.punt(ether(mac(0xa0), mac(9), broken), PuntReason::kLocal);
  bench.control->poll();
  EXPECT_EQ(bench.consumed(ConsumedKind::kConsumedOther), 1U);
  EXPECT_EQ(bench.consumed(ConsumedKind::kConsumedIcmp), 1U);
}

// The one error that control makes of a packet, or nothing.
Bytes error_about(ControlBench& bench, const Bytes& packet, PuntReason reason, std::uint16_t mtu = 1300) {
  rte_mbuf* m = bench.packet(packet, reason);
  dataplane::meta(m).mtu = mtu;
  bench.punt(m);
  bench.control->poll();
  const auto out = bench.messages_of(MessageKind::kInject);
  return out.empty() ? Bytes{} : free_bytes(out.at(0));
}

TEST(ControlIcmp, ErrorsOfIp4) {
  ControlBench bench;
  bench.start();
  bench.messages_of(MessageKind::kJump);
  Ip h;
  h.source = "10.1.0.9";
  h.destination = "10.2.0.9";
  const Bytes packet = ip_packet(h, udp(1, 2, pattern(1400)));
  struct Row {
    PuntReason reason;
    std::uint8_t type, code;
    std::uint16_t mtu;
  };
  for (const Row& row : {Row{PuntReason::kTooBig, 3, 4, 1300}, Row{PuntReason::kTtlExceeded, 11, 0, 0},
                         Row{PuntReason::kNoRoute, 3, 0, 0}}) {
    const Bytes error = error_about(bench, packet, row.reason);
    ASSERT_EQ(error.size(), 576U);
    EXPECT_TRUE(dataplane::ipv4_checksum_ok(error.data(), 20));
    EXPECT_EQ(Bytes(error.begin() + 12, error.begin() + 20), (Bytes{10, 1, 0, 1, 10, 1, 0, 9}));
    EXPECT_EQ(error[20], row.type);
    EXPECT_EQ(error[21], row.code);
    EXPECT_EQ(session::load_be16(&error[26]), row.mtu);
    EXPECT_EQ(dataplane::fold_sum(dataplane::partial_sum(&error[20], error.size() - 20)), 0xffff);
    EXPECT_TRUE(std::equal(error.begin() + 28, error.end(), packet.begin()));
  }
  EXPECT_EQ(bench.consumed(ConsumedKind::kConsumedTransformed), 3U);
}

TEST(ControlIcmp, ErrorsOfIp6) {
  ControlBench bench;
  bench.start();
  bench.messages_of(MessageKind::kJump);
  Ip h;
  h.source = "2001:db8:1::9";
  h.destination = "2001:db8:2::9";
  const Bytes packet = ip_packet(h, udp(1, 2, pattern(1400)));
  const Bytes error = error_about(bench, packet, PuntReason::kTooBig);
  ASSERT_EQ(error.size(), 1280U);
  EXPECT_EQ(error[40], 2);
  EXPECT_EQ(session::load_be32(&error[44]), 1300U);
  const std::uint64_t pseudo = dataplane::partial_sum(&error[8], 32) + 58 + error.size() - 40;
  EXPECT_EQ(dataplane::fold_sum(pseudo + dataplane::partial_sum(&error[40], error.size() - 40)), 0xffff);
}

TEST(ControlIcmp, SilentAboutWhatMustNotBeReported) {
  ControlBench bench;
  bench.start();
  bench.messages_of(MessageKind::kJump);
  Ip h;
  h.source = "10.1.0.9";
  h.destination = "10.2.0.9";
  h.protocol = 1;
  const Bytes error = ip_packet(h, Bytes{3, 4, 0, 0, 0, 0, 0, 0});
  h.protocol = 17;
  h.flags_offset = 10;
  const Bytes fragment = ip_packet(h, pattern(40));
  h.flags_offset = 0;
  h.source = "0.0.0.0";
  const Bytes nobody = ip_packet(h, pattern(40));
  h.source = "10.1.0.9";
  h.destination = "224.0.0.5";
  const Bytes group = ip_packet(h, pattern(40));
  h.destination = "10.2.0.9";
  h.source = "172.16.0.1";
  const Bytes unroutable = ip_packet(h, pattern(40));
  for (const Bytes& packet : {error, fragment, nobody, group, unroutable}) {
    EXPECT_TRUE(error_about(bench, packet, PuntReason::kTtlExceeded).empty());
  }
  EXPECT_EQ(bench.drops(DropReason::kInnerTtl), 5U);
}

TEST(ControlIcmp, ErrorsAreRateLimited) {
  ControlBench bench;
  bench.start();
  bench.messages_of(MessageKind::kJump);
  Ip h;
  h.source = "10.1.0.9";
  h.destination = "10.2.0.9";
  const Bytes packet = ip_packet(h, pattern(40));
  for (unsigned i = 0; i < 200; ++i) bench.punt(packet, PuntReason::kNoRoute);
  for (unsigned i = 0; i < 4; ++i) bench.control->poll();
  EXPECT_GE(bench.drops(DropReason::kNoRoute), 60U);
  EXPECT_GE(bench.consumed(ConsumedKind::kConsumedTransformed), 100U);
}

TEST(ControlBooks, EveryPacketIsFreedAndCounted) {
  const unsigned before = free_packets();
  {
    ControlBench bench(2);
    bench.add_session(1);
    bench.start();
    for (unsigned i = 0; i < 50; ++i) {
      bench.punt(echo4("10.1.0.9", "10.1.0.1"), PuntReason::kLocal);  // no frame: malformed
      bench.punt(pattern(60), PuntReason::kArp);
      bench.punt(pattern(60), PuntReason::kNd);
    }
    bench.control->poll();
    bench.control->finish();
    std::uint64_t ended = 0;
    for (const std::uint64_t n : bench.stats.drops) ended += n;
    for (const std::uint64_t n : bench.stats.consumed) ended += n;
    EXPECT_EQ(ended, 150 + bench.stats.originated);
    EXPECT_EQ(bench.stats.held, 0U);
  }
  EXPECT_EQ(free_packets(), before);
}

}  // namespace
