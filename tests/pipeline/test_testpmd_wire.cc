// What the harness does on the wire: attacks against a real worker, which counts each forged packet under its
// reason and loses nothing else; captures as the bytes of the file; the relay between two ports.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_cycles.h>

#include "tests/support/alloc_counter.h"
#include "tests/support/folder_test.h"
#include "tests/support/site.h"
#include "tools/testpmd/attack_frame.h"
#include "tools/testpmd/attacker.h"
#include "tools/testpmd/capture.h"
#include "tools/testpmd/impairment.h"
#include "tools/testpmd/relay_lane.h"

namespace {

using namespace support;
using session::DropReason;

constexpr std::uint64_t kMs = 1'000'000;

// ---- attacks

struct Attack {
  const char* name;
  std::vector<DropReason> reasons;
  bool six = false;
};

void PrintTo(const Attack& attack, std::ostream* os) {
  *os << attack.name << (attack.six ? " over IPv6" : " over IPv4");
}

std::vector<Attack> all_attacks() {
  const std::vector<Attack> four{
      {"replay", {DropReason::kReplayDuplicate}},
      {"forge-epoch", {DropReason::kEpochAheadForged, DropReason::kEpochAheadBudget}},
      {"stripped-flag", {DropReason::kUnencrypted}},
      {"truncation", {DropReason::kTruncated}},
      {"wrong-tag", {DropReason::kAuth}},
      {"off-path-challenge", {DropReason::kAuth}},
      {"spoofed-source", {DropReason::kReplayDuplicate}},
      {"unknown-session", {DropReason::kUnknownSession}},
  };
  std::vector<Attack> all = four;
  for (Attack attack : four) {
    attack.six = true;
    all.push_back(attack);
  }
  return all;
}

class AttackTest : public testing::TestWithParam<Attack> {
 protected:
  static constexpr unsigned kOwn = 400;  // packets of the session
  static constexpr unsigned kCount = 150;

  static SiteOptions options() {
    SiteOptions o;
    o.outer6 = GetParam().six;
    return o;
  }
  // As a lane does: what is held back comes out of make(), what is made goes behind what passes.
  static void pass_one(Site& site, testpmd::Attacker& attacker) {
    rte_mbuf* own = make_packet(site.from_peer(site.peer_packet(site.next_header(), site.inward())));
    const bool active = attacker.active();
    if (!active || attacker.seen(own)) site.gw.receive(kWan, own);
    if (active) {
      std::array<rte_mbuf*, 16> forged;
      const unsigned n = attacker.make(forged.data(), forged.size(), rte_rdtsc());
      for (unsigned i = 0; i < n; ++i) site.gw.receive(kWan, forged[i]);
    }
    site.gw.run();
  }
  // Packets that went to control, where a forged epoch is tried.
  static std::uint64_t take_punts(Site& site) {
    std::uint64_t n = 0;
    for (rte_mbuf* m : site.gw.punts()) {
      rte_pktmbuf_free(m);
      ++n;
    }
    return n;
  }
};

TEST_P(AttackTest, EndsUnderItsReasonAndNothingElseIsLost) {
  const unsigned free_before = free_packets();
  {
    Site site("ta", options());
    testpmd::Attacker attacker(packet_pool(), 1);
    ASSERT_EQ(attacker.set_up(GetParam().name, 0, kCount), "");
    std::uint64_t delivered = 0;
    std::uint64_t tried = 0;
    for (unsigned i = 0; i < kOwn; ++i) {
      pass_one(site, attacker);
      delivered += site.gw.sent(kLan).size();
      tried += take_punts(site);
    }
    EXPECT_EQ(attacker.left(), 0U);
    EXPECT_FALSE(attacker.active());
    std::uint64_t named = 0;
    for (const DropReason reason : GetParam().reasons) named += site.gw.drops(reason);
    EXPECT_EQ(site.gw.all_drops(), named);
    EXPECT_EQ(named + tried, kCount);
    EXPECT_TRUE(tried == 0 || GetParam().reasons.size() == 2) << tried << " went to control";
    EXPECT_EQ(delivered, kOwn);
    EXPECT_EQ(site.gw.imbalance(), 0);
  }
  EXPECT_EQ(free_packets(), free_before);
}

INSTANTIATE_TEST_SUITE_P(Wire, AttackTest, testing::ValuesIn(all_attacks()));

// The table that the prompt prints and tests count by is the one tested above.
TEST(Attacks, NameTheReasonsTheyEndAs) {
  const std::vector<Attack> expected = all_attacks();
  ASSERT_EQ(testpmd::attacks().size() * 2, expected.size());
  for (std::size_t i = 0; i < testpmd::attacks().size(); ++i) {
    std::string reasons;
    for (const DropReason reason : expected[i].reasons) {
      reasons += reasons.empty() ? "" : "|";
      reasons += session::kDropReasonNames[static_cast<std::size_t>(reason)];
    }
    EXPECT_EQ(testpmd::attacks()[i].name, expected[i].name);
    EXPECT_EQ(testpmd::attacks()[i].reason, reasons);
  }
}

TEST(Attacks, KeepTheirRateAndStop) {
  const unsigned free_before = free_packets();
  Site site("tr", {});
  testpmd::Attacker attacker(packet_pool(), 1);
  EXPECT_FALSE(attacker.active());
  ASSERT_EQ(attacker.set_up("replay", 1000, 150), "");
  rte_mbuf* own = make_packet(site.from_peer(site.peer_packet(site.next_header(), site.inward())));
  EXPECT_TRUE(attacker.seen(own));
  rte_pktmbuf_free(own);
  std::array<rte_mbuf*, 64> out;
  const auto made_at = [&](std::uint64_t tsc) {
    const unsigned n = attacker.make(out.data(), out.size(), tsc);
    rte_pktmbuf_free_bulk(out.data(), n);
    return n;
  };
  const std::uint64_t start = rte_rdtsc();
  const std::uint64_t ms = rte_get_tsc_hz() / 1000;
  EXPECT_EQ(made_at(start), 0U);
  EXPECT_NEAR(made_at(start + 30 * ms), 30, 1);
  EXPECT_NEAR(made_at(start + 60 * ms), 30, 1);
  EXPECT_EQ(made_at(start + 1000 * ms), 64U);  // no more than there is room for
  EXPECT_NEAR(made_at(start + 1000 * ms), 26, 2);
  EXPECT_EQ(attacker.left(), 0U);
  EXPECT_EQ(attacker.sent(0), 150U);
  ASSERT_EQ(attacker.set_up("wrong-tag", 0, 10), "");
  attacker.stop();
  EXPECT_EQ(made_at(start + 2000 * ms), 0U);
  EXPECT_EQ(free_packets(), free_before);
}

TEST(Attacks, RefuseWhatCannotBe) {
  start_eal();
  testpmd::Attacker attacker(packet_pool(), 1);
  EXPECT_NE(attacker.set_up("repaly", 0, 1).find("replay"), std::string::npos);
  EXPECT_NE(attacker.set_up("replay", 0, 0), "");
  EXPECT_NE(attacker.set_up("replay", -1, 1), "");
  EXPECT_EQ(attacker.left(), 0U);
  EXPECT_EQ(attacker.set_up("replay", 0, 5), "");
  EXPECT_NE(attacker.set_up("wrong-tag", 0, 1).find("stop"), std::string::npos);
  EXPECT_EQ(attacker.left(), 5U);
}

TEST(Attacks, SpoofASourceBeforeThePacketItself) {
  const unsigned free_before = free_packets();
  Site site("ts", {});
  testpmd::Attacker attacker(packet_pool(), 1);
  ASSERT_EQ(attacker.set_up("spoofed-source", 0, 1), "");
  Bytes frame = site.from_peer(site.peer_packet(site.next_header(), site.inward()));
  EXPECT_FALSE(attacker.seen(make_packet(frame)));
  std::array<rte_mbuf*, 4> out;
  ASSERT_EQ(attacker.make(out.data(), out.size(), rte_rdtsc()), 2U);
  const Bytes spoofed = bytes_of(out[0]);
  EXPECT_EQ(bytes_of(out[1]), frame);
  const auto port = [](const Bytes& f) { return session::load_be16(&f[14 + 20]); };
  EXPECT_NE(port(spoofed), port(frame));
  session::store_be16(&frame[14 + 20], port(spoofed));
  EXPECT_EQ(spoofed, frame);  // but for the port it is the same
  rte_pktmbuf_free_bulk(out.data(), 2);
  EXPECT_EQ(free_packets(), free_before);
}

// ---- captures

struct PcapBlock {
  std::uint32_t type = 0;
  Bytes body;  // between the two lengths

  [[nodiscard]] std::uint32_t word(std::size_t at) const {
    std::uint32_t v = 0;
    std::memcpy(&v, body.data() + at, sizeof v);
    return v;
  }
  // By code, from where options begin.
  [[nodiscard]] std::map<std::uint16_t, std::string> options(std::size_t at) const {
    std::map<std::uint16_t, std::string> found;
    while (at + 4 <= body.size()) {
      const auto code = static_cast<std::uint16_t>(word(at));
      const std::uint32_t bytes = word(at) >> 16;
      if (code == 0 || at + 4 + bytes > body.size()) break;
      found[code].assign(reinterpret_cast<const char*>(body.data()) + at + 4, bytes);
      at += 4 + (bytes + 3) / 4 * 4;
    }
    return found;
  }
};

// Every block whose two lengths agree, up to the end of the file or the first that is wrong.
std::vector<PcapBlock> blocks_of(const std::string& path, bool& whole) {
  std::ifstream file(path, std::ios::binary);
  const Bytes all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<PcapBlock> blocks;
  std::size_t at = 0;
  while (at + 12 <= all.size()) {
    std::array<std::uint32_t, 2> head;
    std::memcpy(head.data(), &all[at], sizeof head);
    std::uint32_t again = 0;
    if (head[1] < 12 || head[1] % 4 != 0 || at + head[1] > all.size()) break;
    std::memcpy(&again, &all[at + head[1] - 4], sizeof again);
    if (again != head[1]) break;
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(at);
    blocks.push_back({head[0], Bytes(from + 8, from + head[1] - 4)});
    at += head[1];
  }
  whole = at == all.size() && at != 0;
  return blocks;
}

class CaptureTest : public FolderTest {
 protected:
  CaptureTest() { start_eal(); }
  [[nodiscard]] std::string file() const { return (folder_ / "wire.pcapng").string(); }
  // Of the file as it is, the packets among its blocks.
  std::vector<PcapBlock> packets() {
    bool whole = false;
    std::vector<PcapBlock> blocks = blocks_of(file(), whole);
    EXPECT_TRUE(whole);
    std::erase_if(blocks, [](const PcapBlock& b) { return b.type != 6; });
    return blocks;
  }
};

Bytes tunnel_frame(std::size_t payload = 64) {
  Site site("tc", {});
  session::Header h = site.next_header();
  h.stream_id = 3;
  h.sequence = 77;
  h.path_id = 2;
  return site.from_peer(site.peer_packet(h, site.inward(payload)));
}

TEST_F(CaptureTest, HasInterfacesAndFramesWithWhatTheySay) {
  testpmd::Capture capture({"lan", "wan"}, 2);
  EXPECT_FALSE(capture.active());
  ASSERT_EQ(capture.open(file(), 0), "");
  EXPECT_TRUE(capture.active());
  const Bytes frame = tunnel_frame(65);  // no multiple of four
  const std::uint64_t before = static_cast<std::uint64_t>(time(nullptr)) * 1'000'000'000;
  capture.take(0, 1, true, frame, nullptr);
  capture.take(1, 0, false, Bytes(60, 0xff), "ether_type");
  EXPECT_EQ(capture.write(), "");
  EXPECT_EQ(capture.close(), "");
  EXPECT_EQ(capture.written(), 2U);
  bool whole = false;
  const std::vector<PcapBlock> blocks = blocks_of(file(), whole);
  ASSERT_TRUE(whole);
  ASSERT_EQ(blocks.size(), 5U);
  EXPECT_EQ(blocks[0].type, 0x0a0d0d0aU);
  EXPECT_EQ(blocks[0].word(0), 0x1a2b3c4dU);
  const auto section = blocks[0].options(16);
  EXPECT_EQ(section.size(), 1U);  // the program, and nothing of the machine
  EXPECT_EQ(section.at(4), "phantom-testpmd");
  EXPECT_EQ(blocks[1].options(8).at(2), "lan");
  EXPECT_EQ(blocks[2].options(8).at(2), "wan");
  EXPECT_EQ(blocks[2].options(8).at(9), std::string(1, '\x09'));
  const PcapBlock& own = blocks[3];
  EXPECT_EQ(own.word(0), 1U);
  EXPECT_GE((std::uint64_t{own.word(4)} << 32) + own.word(8), before);
  EXPECT_EQ(own.word(12), frame.size());
  EXPECT_EQ(own.word(16), frame.size());
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), own.body.begin() + 20));
  const auto said = own.options(20 + (frame.size() + 3) / 4 * 4);
  EXPECT_EQ(said.at(1), "epoch 0 stream 3 sequence 77 path 2 flags UNRELIABLE|ENCRYPTED");
  EXPECT_EQ(said.at(2), std::string("\x02\0\0\0", 4));
  const auto other = blocks[4].options(20 + 60);
  EXPECT_EQ(other.at(1), "not Phantom dropped: ether_type");
  EXPECT_EQ(other.at(2), std::string("\x01\0\0\0", 4));
}

TEST_F(CaptureTest, CutsFramesAndTellsTheirLength) {
  testpmd::Capture capture({"wan"}, 1);
  ASSERT_EQ(capture.open(file(), 0), "");
  capture.take(0, 0, false, Bytes(9000, 1), nullptr);
  EXPECT_EQ(capture.close(), "");
  const auto all = packets();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].word(12), testpmd::kCaptureBytes);
  EXPECT_EQ(all[0].word(16), 9000U);
}

TEST_F(CaptureTest, CountsWhatItMissedAndEndsAtItsCount) {
  testpmd::Capture capture({"wan"}, 1);
  const Bytes frame = tunnel_frame();
  ASSERT_EQ(capture.open(file(), 0), "");
  EXPECT_NE(capture.open(file(), 0), "");
  for (unsigned i = 0; i < 1500; ++i) capture.take(0, 0, true, frame, nullptr);
  EXPECT_EQ(capture.close(), "");
  EXPECT_GT(capture.missed(), 0U);
  EXPECT_EQ(capture.written() + capture.missed(), 1500U);
  EXPECT_EQ(packets().size(), capture.written());
  ASSERT_EQ(capture.open(file(), 3), "");
  EXPECT_EQ(capture.missed(), 0U);
  for (unsigned i = 0; i < 5; ++i) capture.take(0, 0, true, frame, nullptr);
  EXPECT_EQ(capture.write(), "");
  EXPECT_FALSE(capture.active());
  EXPECT_EQ(packets().size(), 3U);
  EXPECT_NE(capture.open((folder_ / "none" / "wire.pcapng").string(), 0).find("none"), std::string::npos);
}

TEST_F(CaptureTest, TakesWithoutAllocating) {
  testpmd::Capture capture({"wan"}, 1);
  const Bytes frame = tunnel_frame();
  ASSERT_EQ(capture.open(file(), 0), "");
  const std::uint64_t before = allocations();
  for (unsigned i = 0; i < 100; ++i) capture.take(0, 0, true, frame, nullptr);
  EXPECT_EQ(allocations(), before);
}

// ---- the relay

// Two ring ports with nothing but a relay between them.
class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    GatewayOptions o;
    o.ring_size = 8192;
    ports = std::make_unique<Gateway>("ty", o);
    fresh(1);
  }
  void fresh(std::uint64_t seed) {
    const auto end = [this](unsigned port) {
      return testpmd::RelayLane::End{ports->topology().ports[port].ethdev, 0};
    };
    relay = std::make_unique<testpmd::RelayLane>(end(kLan), end(kWan), packet_pool(), seed);
  }
  void poll_all(std::uint64_t now_ns) {
    while (relay->poll(now_ns) != 0) {
    }
  }
  // Frames that say their number, all at once; those that came out at `now_ns`.
  std::vector<Bytes> through(unsigned count, std::size_t bytes, std::uint64_t now_ns) {
    for (unsigned i = 0; i < count; ++i) {
      Bytes frame(bytes);
      session::store_be32(frame.data(), i);
      ports->receive(kLan, frame);
    }
    poll_all(now_ns);
    return ports->sent(kWan);
  }

  unsigned free_before = (start_eal(), free_packets());
  std::unique_ptr<Gateway> ports;
  std::unique_ptr<testpmd::RelayLane> relay;
};

TEST_F(RelayTest, PassesEverythingInOrderBothWays) {
  const std::vector<Bytes> out = through(300, 100, 0);
  ASSERT_EQ(out.size(), 300U);
  for (unsigned i = 0; i < out.size(); ++i) EXPECT_EQ(session::load_be32(out[i].data()), i);
  ports->receive(kWan, Bytes(70, 5));
  poll_all(1);
  const std::vector<Bytes> back = ports->sent(kLan);
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0], Bytes(70, 5));
}

TEST_F(RelayTest, DelaysOneDirectionOnly) {
  ASSERT_EQ(relay->set("ab", {"delay=5ms"}), "");
  EXPECT_TRUE(through(10, 100, kMs).empty());
  EXPECT_EQ(relay->held(), 10U);
  ports->receive(kWan, Bytes(70, 5));
  poll_all(2 * kMs);
  EXPECT_EQ(ports->sent(kLan).size(), 1U);
  poll_all(6 * kMs - 1);
  EXPECT_TRUE(ports->sent(kWan).empty());
  poll_all(6 * kMs);
  EXPECT_EQ(ports->sent(kWan).size(), 10U);
  EXPECT_EQ(relay->held(), 0U);
}

TEST_F(RelayTest, LosesAndCopiesTheShareThatIsSetTheSameForEachSeed) {
  const auto fates = [this](std::uint64_t seed) {
    fresh(seed);
    EXPECT_EQ(relay->set("both", {"loss=10%", "duplicate=5%"}), "");
    std::vector<std::uint32_t> numbers;
    for (const Bytes& frame : through(4000, 64, 0)) numbers.push_back(session::load_be32(frame.data()));
    return numbers;
  };
  const auto first = fates(7);
  EXPECT_NEAR(static_cast<double>(first.size()), 4000 * 0.9 * 1.05, 80);
  std::vector<std::uint32_t> once = first;
  once.erase(std::unique(once.begin(), once.end()), once.end());
  EXPECT_NEAR(static_cast<double>(once.size()), 4000 * 0.9, 60);
  EXPECT_NE(relay->text().find("lost " + std::to_string(4000 - once.size())), std::string::npos)
      << relay->text();
  EXPECT_EQ(fates(7), first);
  EXPECT_NE(fates(8), first);
}

TEST_F(RelayTest, HasTheRateThatIsSet) {
  ASSERT_EQ(relay->set("ab", {"rate=8mbit"}), "");  // a frame of 1000 bytes each millisecond
  std::size_t out = through(60, 1000, kMs).size();
  const std::size_t burst = out;
  EXPECT_LE(burst, 4U);
  poll_all(21 * kMs);
  out += ports->sent(kWan).size();
  EXPECT_NEAR(static_cast<double>(out - burst), 20, 1);
  poll_all(100 * kMs);
  EXPECT_EQ(out + ports->sent(kWan).size(), 60U);
}

TEST_F(RelayTest, FlipsOneBitOfEveryPacketThatIsToBeCorrupted) {
  ASSERT_EQ(relay->set("ab", {"corrupt=100%"}), "");
  const std::vector<Bytes> out = through(200, 64, 0);
  ASSERT_EQ(out.size(), 200U);
  for (unsigned i = 0; i < out.size(); ++i) {
    Bytes before(64);
    session::store_be32(before.data(), i);
    int bits = 0;
    for (std::size_t b = 0; b < 64; ++b) bits += std::popcount(static_cast<unsigned>(out[i][b] ^ before[b]));
    EXPECT_EQ(bits, 1) << i;
  }
  EXPECT_NE(relay->text().find("corrupted 200"), std::string::npos) << relay->text();
}

TEST_F(RelayTest, TakesAllSettingsOrNone) {
  EXPECT_NE(relay->set("there", {"loss=1%"}).find("ab, ba or both"), std::string::npos);
  EXPECT_NE(relay->set("both", {"loss=100%", "delay=soon"}), "");
  EXPECT_NE(relay->set("both", {"corrupt=150%"}), "");
  EXPECT_NE(relay->set("both", {"colour=red"}), "");
  EXPECT_EQ(through(50, 64, 0).size(), 50U);  // nothing of it is in force
}

TEST_F(RelayTest, AllocatesNothingAndGivesBackWhatItHolds) {
  ASSERT_EQ(relay->set("both", {"delay=1s", "duplicate=50%"}), "");
  for (unsigned i = 0; i < 500; ++i) ports->receive(kLan, Bytes(64, 1));
  const std::uint64_t before = allocations();
  poll_all(0);
  EXPECT_EQ(allocations(), before);
  EXPECT_GT(relay->held(), 500U);
  relay->discard();
  EXPECT_EQ(relay->held(), 0U);
  EXPECT_EQ(free_packets(), free_before);
}

// Turning corruption on leaves every other choice alone.
TEST(Corruption, IsAChanceOfItsOwn) {
  testpmd::ImpairmentSettings settings;
  settings.loss = 0.1;
  settings.duplicate = 0.1;
  settings.reorder = 0.1;
  settings.jitter_ns = settings.delay_ns = kMs;
  testpmd::Impairment clean(3);
  clean.set(settings, 0);
  settings.corrupt = 0.25;
  testpmd::Impairment dirty(3), again(3);
  dirty.set(settings, 0);
  again.set(settings, 0);
  unsigned corrupted = 0, forwarded = 0;
  for (std::uint64_t now_ns = 0; now_ns < 10'000'000; now_ns += 1000) {
    const auto a = clean.decide(100, now_ns);
    const auto b = dirty.decide(100, now_ns);
    const auto c = again.decide(100, now_ns);
    ASSERT_EQ(a.forwarded, b.forwarded);
    ASSERT_EQ(a.duplicated, b.duplicated);
    ASSERT_EQ(a.due_ns, b.due_ns);
    ASSERT_FALSE(a.corrupted);
    ASSERT_TRUE(b.corrupted == c.corrupted && b.damage == c.damage);
    corrupted += b.corrupted ? 1 : 0;
    forwarded += b.forwarded ? 1 : 0;
  }
  EXPECT_NEAR(corrupted, 0.25 * forwarded, 150);
  EXPECT_EQ(dirty.counters.corrupted_pkts, corrupted);
}

}  // namespace
