// Receiver reports between whole gateways: what they find out about shaped paths, that they stay silent on
// idle ones, and that what is no report, or not from a hardened peer, is none.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "session/receiver_report.h"
#include "tests/support/impairment.h"
#include "tests/support/paths.h"
#include "tests/support/roaming.h"

namespace {

using dataplane::Message;
using dataplane::MessageKind;
using dataplane::SessionView;
using session::ConsumedKind;
using session::DropReason;
using session::ReceiverReport;
using support::Bytes;
using support::ImpairmentSettings;
using support::Network;
using support::Site;
using support::SiteOptions;
using support::Transit;

constexpr std::uint64_t kMs = 1'000'000;
constexpr double kMegabit = 125'000;  // bytes
constexpr std::uint64_t kDelayNs = 20 * kMs;

// ---- two gateways, and a network that shapes

ImpairmentSettings shape(double megabits, std::uint64_t delay_ns = kDelayNs) {
  ImpairmentSettings s;
  s.delay_ns = delay_ns;
  s.rate_bits_per_s = static_cast<std::uint64_t>(megabits * 1e6);
  s.queue_bytes = 100'000;
  return s;
}

// Every family of addresses is a path of its own, each way.
class Shaped {
 public:
  explicit Shaped(const std::function<void(dataplane::SessionEntry&)>& change = {}) {
    net.add_pair(0, change);
    for (const std::uint8_t family : std::array<std::uint8_t, 2>{4, 6}) {
      for (const bool from_a : {true, false}) link(from_a, family).set(shape(1000, kDelayNs), net.now_ns);
    }
    net.wire = [this](Transit& t) { return enter(t); };
    net.start();
    run_ms(500);
  }
  ~Shaped() {
    EXPECT_TRUE(net.a.balanced());
    EXPECT_TRUE(net.b.balanced());
  }

  void set(std::uint8_t family, const ImpairmentSettings& settings) {
    link(true, family).set(settings, net.now_ns);
    ImpairmentSettings back = settings;
    back.rate_bits_per_s = 0;
    back.loss = 0;
    link(false, family).set(back, net.now_ns);
  }
  // From A's host to B's, that many bytes of UDP payload on the wire a second, over several flows.
  void offer(double megabits, unsigned ms) {
    constexpr double kWire = kInner + 28 + session::kPacketOverheadBytes;
    for (unsigned i = 0; i < ms; ++i) {
      owed_ += megabits * kMegabit / 1000;
      for (; owed_ >= kWire; owed_ -= kWire) send_one();
      run_ms(1);
    }
  }
  void run_ms(unsigned ms) {
    for (unsigned i = 0; i < ms; ++i) {
      net.pass(kMs, kMs);
      for (auto& [key, one] : links_) deliver(one);
      net.settle();
      delivered += net.b.delivered();
    }
  }
  [[nodiscard]] SessionView a() const { return net.a.view(0); }
  [[nodiscard]] dataplane::BandwidthView path(std::size_t i = 0) const {
    const auto view = a().path_bandwidth.at(i);
    return view.value_or(dataplane::BandwidthView{});
  }
  [[nodiscard]] double bandwidth(std::size_t i = 0) const {
    return static_cast<double>(path(i).snapshot.bottleneck_bw_bps) / kMegabit;
  }

  Network net;
  std::uint64_t delivered = 0;
  std::array<std::uint64_t, 2> reports{};  // from B, from A

 private:
  static constexpr std::size_t kInner = 1200;
  struct Datagram {
    Bytes bytes;
    session::Endpoint from;
    session::Endpoint to;
    bool to_a = false;
  };
  using Link = support::ImpairedLink<std::shared_ptr<Datagram>>;

  Link& link(bool from_a, std::uint8_t family) {
    return links_.try_emplace({from_a, family}, from_a ? 1 : 2).first->second;
  }
  bool enter(Transit& t) {
    if (session::load_be16(t.payload + session::kOffFlags) == session::kReportFlags) ++reports.at(t.from_a);
    auto datagram =
        std::make_shared<Datagram>(Datagram{Bytes(t.payload, t.payload + t.bytes), t.from, t.to, !t.from_a});
    link(t.from_a, t.from.family).offer(datagram, static_cast<std::uint32_t>(t.bytes), net.now_ns, [&] {
      return datagram;
    });
    return false;
  }
  void deliver(Link& one) {
    one.release(net.now_ns, 100'000, [&](const std::shared_ptr<Datagram>& d, std::uint32_t) {
      net.inject(d->to_a, d->bytes, d->from, d->to);
    });
  }
  void send_one() {
    const support::Ip header{"10.1.0.9", "10.128.0.9", 17, 64, 0, 1, 0, {}};
    const auto port = static_cast<std::uint16_t>(1000 + flow_++ % 256);
    net.a.gw->receive(support::kLan,
                      support::ether(net.a.gw->port_mac(support::kLan), support::mac(9),
                                     support::ip_packet(header, support::udp(port, 2000, kPayload))));
  }

  inline static const Bytes kPayload = support::pattern(kInner);
  std::map<std::pair<bool, std::uint8_t>, Link> links_;
  double owed_ = 0;
  unsigned flow_ = 0;
};

TEST(Reports, TheEstimateOfAShapedPathIsItsRate) {
  Shaped f;
  f.set(4, shape(20));
  f.offer(5, 2000);
  EXPECT_NEAR(f.bandwidth(), 5, 0.75) << "what is offered: a lower bound";
  EXPECT_FALSE(f.path().full);
  EXPECT_NEAR(static_cast<double>(f.path().snapshot.min_rtt_ns) / kMs, 40, 3);
  f.offer(30, 3000);
  EXPECT_NEAR(f.bandwidth(), 20, 1);
  EXPECT_TRUE(f.path().full);
  EXPECT_NEAR(f.path().loss, 1.0 / 3, 0.05) << "a third finds no room";
  EXPECT_EQ(f.a().bandwidth->snapshot.bottleneck_bw_bps, f.path().snapshot.bottleneck_bw_bps);
  EXPECT_FALSE(f.net.b.view(0).bandwidth.has_value() && f.net.b.view(0).bandwidth->full)
      << "the way back is another path";
  f.set(4, shape(8));
  f.offer(15, 6000);
  EXPECT_NEAR(f.bandwidth(), 8, 0.8) << "a step down";
  f.set(4, shape(40));
  f.offer(50, 6000);
  EXPECT_NEAR(f.bandwidth(), 40, 3) << "a step up";
  EXPECT_EQ(f.path().reports_refused, 0U);
}

TEST(Reports, LossIsWhatThePathLosesAndNoVerdictOnItsRate) {
  Shaped f;
  ImpairmentSettings lossy = shape(20);
  lossy.loss = 0.02;
  f.set(4, lossy);
  f.offer(10, 8000);
  EXPECT_NEAR(f.path().loss, 0.02, 0.012);
  EXPECT_NEAR(f.bandwidth(), 10, 1.2);
}

TEST(Reports, SilenceOnAnIdlePathAndAtMostTenASecondOnABusyOne) {
  Shaped f;
  f.run_ms(5000);
  EXPECT_EQ(f.reports[0] + f.reports[1], 0U) << "probes are no traffic";
  f.offer(2, 5000);
  EXPECT_NEAR(static_cast<double>(f.reports[0]), 45, 6);
  EXPECT_NEAR(static_cast<double>(f.reports[1]), 45, 6);
  f.run_ms(300);
  const auto last = f.reports;
  f.run_ms(20'000);
  EXPECT_EQ(f.reports, last) << "a report is no reason for a report";
  EXPECT_GT(f.bandwidth(), 1.5) << "what was found out is not forgotten";
  f.offer(2, 500);
  EXPECT_GT(f.reports[1], last[1]) << "and it goes on when traffic does";
}

TEST(Reports, AnUnmodifiedPeerGetsNone) {
  Shaped f([](dataplane::SessionEntry& entry) {
    entry.policy.unmodified_peer = true;
    entry.paths.unmodified_peer = true;
  });
  f.offer(10, 2000);
  EXPECT_GT(f.delivered, 1000U);
  EXPECT_EQ(f.reports[0] + f.reports[1], 0U);
  EXPECT_FALSE(f.a().bandwidth.has_value());
}

// Path 0 over IPv4, path 1 over IPv6.
void over_two_paths(dataplane::SessionEntry& entry) {
  const bool initiator = entry.identity.role == session::Role::kInitiator;
  const auto a = support::endpoint("2001:db8:a::1", support::kPhantomPort);
  const auto b = support::endpoint("2001:db8:b::2", support::kPhantomPort);
  entry.more_paths = {initiator ? session::PathEnds{a, b} : session::PathEnds{b, a}};
}

TEST(Reports, ValidatingAPathIsNoTraffic) {
  Shaped f(over_two_paths);
  f.run_ms(5000);
  EXPECT_EQ(f.reports[0] + f.reports[1], 0U);
}

TEST(Reports, WeightedPathsCarryWhatTheyCan) {
  Shaped f([](dataplane::SessionEntry& entry) {
    over_two_paths(entry);
    entry.paths.scheduler = session::PathScheduler::kWeighted;
  });
  f.set(4, shape(24, 40 * kMs));
  f.set(6, shape(8, 10 * kMs));
  f.run_ms(3000);
  f.offer(36, 12'000);
  EXPECT_NEAR(f.bandwidth(0), 24, 2.5);
  EXPECT_NEAR(f.bandwidth(1), 8, 1);
  const auto before = f.a().path_counters;
  const std::uint64_t had = f.delivered;
  f.offer(30, 4000);
  const auto after = f.a().path_counters;
  const auto sent = [&](std::size_t i) { return static_cast<double>(after[i].tx_pkts - before[i].tx_pkts); };
  EXPECT_NEAR(sent(0) / (sent(0) + sent(1)), 0.75, 0.08) << "by round trips it would be less than half";
  EXPECT_GT(static_cast<double>(f.delivered - had), 0.93 * (sent(0) + sent(1)));
}

TEST(Reports, CopiesOverTwoPathsAreNoLossOfTheSlowerOne) {
  Shaped f([](dataplane::SessionEntry& entry) {
    over_two_paths(entry);
    entry.paths.scheduler = session::PathScheduler::kDuplicate;
  });
  f.set(4, shape(50));
  f.set(6, shape(50, 35 * kMs));
  f.run_ms(3000);
  f.offer(10, 4000);
  EXPECT_NEAR(f.bandwidth(0), 10, 1.5);
  EXPECT_NEAR(f.bandwidth(1), 10, 1.5);
  EXPECT_LT(f.path(0).loss, 0.01);
  EXPECT_LT(f.path(1).loss, 0.01);
  EXPECT_NEAR(static_cast<double>(f.path(1).snapshot.min_rtt_ns) / kMs, 70, 4);
}

// ---- one worker, and the test in place of its peer

constexpr ReceiverReport kGood{.path = 0,
                               .number = 5,
                               .echo_number = 3,
                               .echo_delay_us = 1000,
                               .received_packets = 70,
                               .interval_bytes = 9000,
                               .interval_packets = 9,
                               .interval_us = 50'000};

Bytes text_of(const ReceiverReport& report) {
  Bytes text(session::kReportBytes);
  session::encode_report(report, std::span<std::uint8_t, session::kReportBytes>(text));
  return text;
}

class ReportsAtAWorker : public testing::Test {
 protected:
  void give(Site& site, const Bytes& text, std::uint8_t path = 0) {
    session::Header header;
    header.stream_id = session::kReportStream;
    header.sequence = sequence_++;
    header.flags = session::kReportFlags;
    header.path_id = path;
    site.gw.receive(support::kWan, site.from_peer(site.peer_packet(header, text)));
    site.gw.run();
  }
  std::uint32_t sequence_ = 1;
};

TEST_F(ReportsAtAWorker, AGoodOneGoesToControlWithWhatArrivedBeforeIt) {
  Site site("reports1", {});
  for (unsigned i = 0; i < 3; ++i) {
    site.gw.receive(support::kWan, site.from_peer(site.peer_packet(site.next_header(), site.inward())));
  }
  give(site, text_of(kGood));
  const auto heard = support::only(site.gw.messages(), MessageKind::kReport);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_EQ(heard[0].a, 0U);
  EXPECT_EQ(heard[0].c, 3U) << "reports are not counted in what they report";
  EXPECT_EQ(heard[0].heard.received_bytes, 3 * (site.inward().size() + session::kPacketOverheadBytes));
  EXPECT_EQ(heard[0].heard.number, kGood.number);
  EXPECT_EQ(heard[0].heard.echo_number, kGood.echo_number);
  EXPECT_EQ(heard[0].heard.echo_delay_us, kGood.echo_delay_us);
  EXPECT_EQ(heard[0].heard.received_packets, kGood.received_packets);
  EXPECT_EQ(heard[0].heard.interval_bytes, kGood.interval_bytes);
  EXPECT_EQ(heard[0].heard.interval_packets, kGood.interval_packets);
  EXPECT_EQ(heard[0].heard.interval_us, kGood.interval_us);
  EXPECT_EQ(site.gw.consumed(ConsumedKind::kConsumedReport), 1U);
  EXPECT_EQ(site.gw.sent(support::kWan).size(), 0U) << "nothing answers it";
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST_F(ReportsAtAWorker, MalformedOnesAreDroppedByName) {
  Site site("reports2", {});
  Bytes text = text_of(kGood);
  unsigned bad = 0;
  for (const std::size_t size : {0, 1, 39, 41, 400}) {
    text.resize(size);
    give(site, text);
    EXPECT_EQ(site.gw.drops(DropReason::kReportMalformed), ++bad) << size;
  }
  for (const std::size_t at : {0, 1, 3}) {
    text = text_of(kGood);
    text[at] ^= 2;
    give(site, text);
    EXPECT_EQ(site.gw.drops(DropReason::kReportMalformed), ++bad) << at;
  }
  ReceiverReport other = kGood;
  other.path = 1;
  give(site, text_of(other));
  EXPECT_EQ(site.gw.drops(DropReason::kReportMalformed), ++bad) << "about another path than it came over";
  other = kGood;
  other.number = 0;
  give(site, text_of(other));
  EXPECT_EQ(site.gw.drops(DropReason::kReportMalformed), ++bad);
  give(site, text_of(kGood), 9);
  EXPECT_EQ(site.gw.drops(DropReason::kPathNotValidated), 1U);
  EXPECT_TRUE(support::only(site.gw.messages(), MessageKind::kReport).empty());
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST_F(ReportsAtAWorker, AFloodIsBounded) {
  Site site("reports3", {});
  for (unsigned i = 0; i < 300; ++i) give(site, text_of(kGood));
  const std::size_t heard = support::only(site.gw.messages(), MessageKind::kReport).size();
  EXPECT_GE(heard, 64U);
  EXPECT_LE(heard, 64U + 40);
  EXPECT_EQ(site.gw.drops(DropReason::kReportRate), 300 - heard);
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST_F(ReportsAtAWorker, ToAnUnmodifiedSessionItIsDataAndNoneIsSentThere) {
  SiteOptions options;
  options.flags = session::kUnmodifiedPeer;
  Site site("reports4", options);
  give(site, text_of(kGood));
  EXPECT_EQ(site.gw.drops(DropReason::kInnerHeader), 1U);
  Message order = support::command(MessageKind::kSendReport, site.session);
  session::encode_report(kGood, order.report);
  site.gw.command(0, order);
  site.gw.command(0, support::command(MessageKind::kUnwatch, site.session));
  site.gw.receive(support::kLan, site.from_host(site.outward()));
  site.gw.run();
  EXPECT_EQ(site.gw.sent(support::kWan).size(), 1U);
  for (const Message& m : site.gw.messages()) {
    EXPECT_NE(m.kind, MessageKind::kReport);
    EXPECT_NE(m.kind, MessageKind::kReportSent);
    EXPECT_NE(m.kind, MessageKind::kMoved);
  }
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST_F(ReportsAtAWorker, OneIsSealedBehindWhatItCounts) {
  Site site("reports5", {});
  for (unsigned i = 0; i < 4; ++i) site.gw.receive(support::kLan, site.from_host(site.outward()));
  site.gw.run();
  ASSERT_EQ(support::only(site.gw.messages(), MessageKind::kMoved).size(), 1U) << "told once";
  Message order = support::command(MessageKind::kSendReport, site.session);
  order.c = kGood.number;
  session::encode_report(kGood, order.report);
  site.gw.command(0, order);
  site.gw.run();
  const auto sealed = support::only(site.gw.messages(), MessageKind::kReportSent);
  ASSERT_EQ(sealed.size(), 1U);
  EXPECT_EQ(sealed[0].c, kGood.number);
  EXPECT_EQ(sealed[0].sealed.sent_pkts, 4U);
  EXPECT_EQ(sealed[0].sealed.sent_bytes, 4 * (site.outward().size() + session::kPacketOverheadBytes));
  EXPECT_NE(sealed[0].sealed.sent_tsc, 0U);
  const auto sent = site.gw.sent(support::kWan);
  ASSERT_EQ(sent.size(), 5U);
  const support::SentPacket report = support::read_sent(sent.back());
  EXPECT_EQ(report.flags, session::kReportFlags);
  EXPECT_EQ(report.stream, session::kReportStream);
  EXPECT_EQ(site.gw.shard().path_counts(site.session.slot, 0).sent_pkts, 4U) << "nor is it counted";
  EXPECT_EQ(site.gw.imbalance(), 0);
}

TEST_F(ReportsAtAWorker, TrafficIsToldAgainAfterItWasUnwatched) {
  Site site("reports6", {});
  const auto moved = [&] {
    site.gw.receive(support::kLan, site.from_host(site.outward()));
    site.gw.run();
    return support::only(site.gw.messages(), MessageKind::kMoved).size();
  };
  EXPECT_EQ(moved(), 1U);
  EXPECT_EQ(moved(), 0U);
  site.gw.command(0, support::command(MessageKind::kUnwatch, site.session));
  EXPECT_EQ(moved(), 1U);
  give(site, text_of(kGood));
  EXPECT_TRUE(support::only(site.gw.messages(), MessageKind::kMoved).empty());
  site.gw.command(0, support::command(MessageKind::kUnwatch, site.session));
  give(site, text_of(kGood));
  EXPECT_TRUE(support::only(site.gw.messages(), MessageKind::kMoved).empty()) << "a report is no traffic";
}

}  // namespace
