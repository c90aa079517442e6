// The worker's whole loop beside raw ipsec-mb calls, in the same run and on the same packets.
//
// Arguments: bytes of the inner IP packet (the plaintext), number of sessions. One sample is 256 packets in
// bursts of 32: built outside the clock, then timed through Worker::poll() of a real gateway on ring ports,
// from rx_burst to tx_burst. Beside it, per sample: `port`, what rx_burst and tx_burst of the same ring ports
// cost with nothing in between, and `raw`, ipsec-mb's GCM over the same buffers and keys with nothing of
// ours. All three are medians of the samples, in time stamp cycles a packet.
//
//   ours  = poll - port          what the gateway costs
//   ratio = ours / raw           the figure that travels between machines
#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <intel-ipsec-mb.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>

#include "tests/support/site.h"

namespace {

using dataplane::Hop;
using dataplane::HopKind;
using support::Bytes;
using support::kLan;
using support::kWan;

constexpr unsigned kSample = 256;
constexpr unsigned kBurst = 32;
constexpr std::uint32_t kMaxSessions = 1024;
constexpr unsigned kPhantomAt = 14 + 20 + 8;

class RawImb {
 public:
  RawImb() : mgr_(alloc_mb_mgr(0)) { init_mb_mgr_auto(mgr_, nullptr); }
  ~RawImb() { free_mb_mgr(mgr_); }
  RawImb(const RawImb&) = delete;
  RawImb& operator=(const RawImb&) = delete;

  void seal(const crypto::KeySlot* key, std::uint8_t* aad, std::uint8_t* text, std::uint32_t bytes) {
    IMB_AES256_GCM_ENC(mgr_, reinterpret_cast<const gcm_key_data*>(key->bytes), &context_, text, text, bytes,
                       nonce_.data(), aad, session::kHeaderBytes, text + bytes, session::kTagBytes);
  }
  void open(const crypto::KeySlot* key, std::uint8_t* aad, std::uint8_t* text, std::uint32_t bytes) {
    std::array<std::uint8_t, session::kTagBytes> tag;
    IMB_AES256_GCM_DEC(mgr_, reinterpret_cast<const gcm_key_data*>(key->bytes), &context_, text, text, bytes,
                       nonce_.data(), aad, session::kHeaderBytes, tag.data(), session::kTagBytes);
    benchmark::DoNotOptimize(tag);
  }

 private:
  IMB_MGR* mgr_;
  gcm_context_data context_{};
  std::array<std::uint8_t, crypto::kNonceBytes> nonce_{};
};

std::string host(unsigned side, std::uint32_t i) {
  return "10." + std::to_string(side) + "." + std::to_string(128 + i / 256) + "." + std::to_string(i % 256);
}

support::SiteOptions site_options(unsigned side) {
  support::SiteOptions o;
  o.side = side;
  o.gateway.sessions = kMaxSessions + 1;
  o.gateway.keys = 5 * (kMaxSessions + 1);
  o.gateway.routes = 2 * kMaxSessions;
  o.gateway.ring_size = 1024;
  return o;
}

// Two gateways with kMaxSessions sessions between them; a run uses the first so many.
class World {
 public:
  World() : one("p", site_options(1)), two("q", site_options(2)) {
    for (support::Site* site : {&one, &two}) {
      const std::string me = std::to_string(site->options.side);
      site->gw.route("10." + me + ".128.0/17", Hop::make(HopKind::kGateway, 0, 1));
      for (std::uint32_t i = 0; i < kMaxSessions; ++i) add(*site, i);
    }
  }

  void add(support::Site& site, std::uint32_t i) {
    support::SessionSpec spec = site.spec;
    spec.flags = session::kSourceCheck;
    spec.inner_mtu = 1500;
    for (std::size_t b = 0; b < spec.id.size(); ++b) spec.id[b] = static_cast<std::uint8_t>(b * 7 + 1);
    session::store_be32(spec.id.data(), i * 2654435761U);  // spread as hash output would be
    const support::Installed s = site.gw.add_session(spec);
    site.gw.route(host(site.other(), i) + "/32", Hop::make(HopKind::kSession, s.shard, s.slot));
  }

  support::Site one;
  support::Site two;
  RawImb raw;
};

World& world() {
  static World w;
  return w;
}

double median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Packets from the hosts behind `site`, one a session in shuffled order, in the receive ring of its LAN port.
class Feed {
 public:
  Feed(support::Site& site, std::size_t bytes, std::uint32_t sessions) : site_(site), order_(sessions) {
    for (std::uint32_t i = 0; i < sessions; ++i) {
      order_[i] = i;
      support::Ip h;
      h.source = host(site.options.side, i);
      h.destination = host(site.other(), i);
      frames_.push_back(
          site.from_host(support::ip_packet(h, support::udp(1, 2, support::pattern(bytes - 28)))));
    }
    std::shuffle(order_.begin(), order_.end(), std::mt19937(7));
  }
  // Session of the packet that will come next.
  std::uint32_t next() {
    const std::uint32_t i = order_[at_];
    if (++at_ == order_.size()) at_ = 0;
    return i;
  }
  rte_mbuf* make() { return support::make_packet(frames_[next()]); }
  void fill() {
    for (unsigned i = 0; i < kSample; ++i) site_.gw.receive(kLan, make());
  }

 private:
  support::Site& site_;
  std::vector<std::uint32_t> order_;
  std::vector<Bytes> frames_;
  std::size_t at_ = 0;
};

void free_all(rte_ring* ring) {
  void* packets[kBurst];
  while (const unsigned n = rte_ring_dequeue_burst(ring, packets, kBurst, nullptr)) {
    rte_pktmbuf_free_bulk(reinterpret_cast<rte_mbuf**>(packets), n);
  }
}

double poll_sample(support::Site& site) {
  const std::uint64_t begin = rte_rdtsc_precise();
  for (unsigned i = 0; i < kSample / kBurst; ++i) site.gw.poll(0);
  return static_cast<double>(rte_rdtsc_precise() - begin) / kSample;
}

// The ring ports alone: what is in `in`'s ring goes out of `out`, and the other receive queue is asked too,
// as poll() does.
double port_sample(support::Site& site, unsigned in, unsigned out) {
  const std::vector<dataplane::Port>& ports = site.gw.topology().ports;
  const std::uint64_t begin = rte_rdtsc_precise();
  for (unsigned i = 0; i < kSample / kBurst; ++i) {
    rte_mbuf* packets[kBurst];
    const std::uint16_t n = rte_eth_rx_burst(ports[in].ethdev, 0, packets, kBurst);
    rte_mbuf* none[kBurst];
    rte_eth_rx_burst(ports[out].ethdev, 0, none, kBurst);
    rte_eth_tx_burst(ports[out].ethdev, 0, packets, n);
  }
  return static_cast<double>(rte_rdtsc_precise() - begin) / kSample;
}

// Session of a packet by its place in the sample, for the raw baseline.
const crypto::KeySlot* send_key(support::Site& site, std::uint32_t session) {
  session::Shard& shard = site.gw.shard();
  return shard.key(shard.hot(session + 1).current.send_key);  // slot 0 is the site's own
}
const crypto::KeySlot* receive_key(support::Site& site, const std::uint8_t* phantom) {
  session::Shard& shard = site.gw.shard();
  return shard.key(shard.hot(shard.find(phantom + session::kOffSessionId)).current.recv_key);
}

struct RawJob {
  const crypto::KeySlot* key;
  std::uint8_t* aad;
  std::uint8_t* text;
  std::uint32_t bytes;
};

template <bool kSeal>
double raw_sample(const std::vector<RawJob>& jobs) {
  RawImb& raw = world().raw;
  const std::uint64_t begin = rte_rdtsc_precise();
  for (const RawJob& job : jobs) {
    if (kSeal) {
      raw.seal(job.key, job.aad, job.text, job.bytes);
    } else {
      raw.open(job.key, job.aad, job.text, job.bytes);
    }
  }
  return static_cast<double>(rte_rdtsc_precise() - begin) / kSample;
}

double raw_seal(support::Site& site, Feed& feed) {
  std::vector<RawJob> jobs;
  std::vector<rte_mbuf*> packets;
  for (unsigned i = 0; i < kSample; ++i) {
    const std::uint32_t session = feed.next();
    rte_mbuf* m = feed.make();
    std::uint8_t* text = rte_pktmbuf_mtod_offset(m, std::uint8_t*, 14);
    jobs.push_back({send_key(site, session), text - session::kPayloadOffset, text, m->data_len - 14U});
    packets.push_back(m);
  }
  const double cycles = raw_sample<true>(jobs);
  rte_pktmbuf_free_bulk(packets.data(), kSample);
  return cycles;
}

double raw_open(support::Site& site) {
  std::vector<RawJob> jobs;
  std::vector<rte_mbuf*> packets(kSample);
  rte_ring* ring = site.gw.rx_ring(kWan, 0);
  rte_ring_dequeue_bulk(ring, reinterpret_cast<void**>(packets.data()), kSample, nullptr);
  for (rte_mbuf* m : packets) {
    std::uint8_t* phantom = rte_pktmbuf_mtod_offset(m, std::uint8_t*, kPhantomAt);
    jobs.push_back({receive_key(site, phantom), phantom, phantom + session::kPayloadOffset,
                    session::load_be32(phantom + session::kHeaderBytes) - 16});
  }
  const double cycles = raw_sample<false>(jobs);
  rte_pktmbuf_free_bulk(packets.data(), kSample);
  return cycles;
}

struct Samples {
  std::vector<double> poll, port, raw;

  void report(benchmark::State& state, const support::Gateway& gw, std::uint64_t drops_before) {
    const double poll_cycles = median(poll);
    const double port_cycles = median(port);
    const double raw_cycles = median(raw);
    state.counters["poll"] = poll_cycles;
    state.counters["port"] = port_cycles;
    state.counters["raw"] = raw_cycles;
    state.counters["ours"] = poll_cycles - port_cycles;
    state.counters["ratio"] = (poll_cycles - port_cycles) / raw_cycles;
    state.SetItemsProcessed(static_cast<std::int64_t>(poll.size()) * kSample);
    if (gw.all_drops() != drops_before) state.SkipWithError("packets were dropped");
  }
};

void time_sample(benchmark::State& state, double cycles) {
  state.SetIterationTime(cycles * kSample / static_cast<double>(rte_get_tsc_hz()));
}

void seal(benchmark::State& state) {
  support::Site& site = world().one;
  Feed feed(site, static_cast<std::size_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1)));
  const std::uint64_t drops = site.gw.all_drops();
  Samples samples;
  for (auto _ : state) {
    feed.fill();
    samples.poll.push_back(poll_sample(site));
    free_all(site.gw.tx_ring(kWan, 0));
    feed.fill();
    samples.port.push_back(port_sample(site, kLan, kWan));
    free_all(site.gw.tx_ring(kWan, 0));
    samples.raw.push_back(raw_seal(site, feed));
    time_sample(state, samples.poll.back());
  }
  samples.report(state, site.gw, drops);
}

// Fresh packets from the other gateway in the WAN receive ring of `site`.
void sealed_by_peer(Feed& feed, support::Site& peer, support::Site& site) {
  feed.fill();
  peer.gw.run();
  support::carry(peer.gw, site.gw);
}

void open(benchmark::State& state) {
  support::Site& site = world().one;
  support::Site& peer = world().two;
  Feed feed(peer, static_cast<std::size_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1)));
  const std::uint64_t drops = site.gw.all_drops();
  Samples samples;
  for (auto _ : state) {
    sealed_by_peer(feed, peer, site);
    samples.poll.push_back(poll_sample(site));
    free_all(site.gw.tx_ring(kLan, 0));
    sealed_by_peer(feed, peer, site);
    samples.port.push_back(port_sample(site, kWan, kLan));
    free_all(site.gw.tx_ring(kLan, 0));
    sealed_by_peer(feed, peer, site);
    samples.raw.push_back(raw_open(site));
    time_sample(state, samples.poll.back());
  }
  samples.report(state, site.gw, drops);
}

const std::vector<std::vector<std::int64_t>> kArguments = {{64, 512, 1400}, {1, kMaxSessions}};
BENCHMARK(seal)->ArgsProduct(kArguments)->ArgNames({"bytes", "sessions"})->UseManualTime();
BENCHMARK(open)->ArgsProduct(kArguments)->ArgNames({"bytes", "sessions"})->UseManualTime();

}  // namespace

BENCHMARK_MAIN();
