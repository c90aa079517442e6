// What the benchmarks of the pipeline run on: one gateway on ring ports with any number of sessions, hosts
// behind it and a peer that makes packets for it.
//
// Thread: one. All sessions come from one secret, with ids of their own and expanded keys of their own, so
// the gateway's memory is what it would be, while the peer seals with a single key: making packets touches
// nothing of the gateway's sessions, which come as cold into a sample as their turn makes them.
//
//   host i behind us   10.64.0.0 + i, through adjacency 1 of the LAN
//   host i behind it   10.128.0.0 + i, routed into session i, which is slot i + 1
// The site's own session is taken away, so that there are as many sessions as were installed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/samples.h"
#include "tests/support/site.h"

namespace bench {

inline constexpr unsigned kBurst = 32;
inline constexpr unsigned kSample = 256;                  // packets between two looks at the clock
inline constexpr std::size_t kInnerHeaders = 28;          // IPv4 and UDP: the smallest packet
inline constexpr std::uint32_t kMostSessions = 1U << 20;  // addresses of hosts
// Ethernet, IPv4 and UDP of a packet from the peer: where its Phantom header begins.
inline constexpr unsigned kPhantomAt = 14 + 20 + 8;

// Which session has the next packet.
class Order {
 public:
  enum class Kind : std::uint8_t {
    kUniform,  // all in turn, shuffled: the longest time between two packets of one
    kZipf,     // the k-th busiest has a share of 1/k; a million draws, over and over
  };
  explicit Order(std::uint32_t sessions, Kind kind = Kind::kUniform);
  std::uint32_t next() {
    const std::uint32_t session = turns_[at_];
    if (++at_ == turns_.size()) at_ = 0;
    return session;
  }
  [[nodiscard]] std::uint32_t sessions() const { return sessions_; }

 private:
  std::uint32_t sessions_;
  std::vector<std::uint32_t> turns_;
  std::size_t at_ = 0;
};

// Both directions of one epoch, as the gateway names them.
struct EpochKeys {
  crypto::KeySlot send;
  crypto::KeySlot recv;
  std::array<std::uint8_t, 4> nonce_prefix{};
  std::uint8_t epoch = 0;
};

class Bed {
 public:
  // Room for sessions 0 .. room - 1; none is there yet.
  Bed(const std::string& name, std::uint32_t room);

  // Bytes of memory that a bed with so much room takes.
  static std::size_t bytes_needed(std::uint32_t room);
  // Of EAL's own memory beside that: packets and tables of routes.
  static unsigned eal_megabytes(std::uint32_t room) { return 300 + room * 3 / 4000; }

  // Sessions 0 .. n - 1 are there afterwards, with keys for two epochs and a route each.
  void install(std::uint32_t n);
  // One session by hand. `soft_limit`: seals after which it rekeys of its own accord.
  void add(std::uint32_t i, std::uint64_t soft_limit = session::REKEY_SOFT_LIMIT);
  void remove(std::uint32_t i);
  [[nodiscard]] std::uint32_t room() const { return room_; }
  [[nodiscard]] std::uint32_t generation(std::uint32_t i) const { return generation_[i]; }
  static std::uint32_t slot(std::uint32_t i) { return i + 1; }
  // One packet of each session up to n each way: windows are made and control has heard of them.
  void warm(std::uint32_t n);

  [[nodiscard]] std::unique_ptr<EpochKeys> epoch_keys(std::uint8_t epoch) const;
  // A copy in the gateway's pool, to be handed to a session.
  session::KeyRef take_keys(const EpochKeys& keys);
  // Control's part: takes the worker's messages and gives back keys. Epochs entered are counted.
  void control();
  [[nodiscard]] std::uint64_t advances() const { return advances_; }

  // ---- packets; `bytes` is the length of the inner IP packet
  // From the host behind us to the one behind session i.
  rte_mbuf* plain(std::uint32_t i, std::size_t bytes);
  // From the peer, of the next sequence; not sealed before seal().
  rte_mbuf* sealed(std::uint32_t i, std::size_t bytes);
  rte_mbuf* sealed(std::uint32_t i, std::size_t bytes, std::uint32_t sequence, const EpochKeys& keys);
  void seal();
  // Sequence of the peer's next packet.
  [[nodiscard]] std::uint32_t& next_sequence(std::uint32_t i) { return next_sequence_[i]; }
  // n packets into the receive ring of the LAN, or the WAN.
  void feed_plain(Order& order, std::size_t bytes, unsigned n = kSample);
  void feed_sealed(Order& order, std::size_t bytes, unsigned n = kSample);

  support::Site site;

 private:
  void route(std::uint32_t i);
  void give_back_keys();
  session::SessionInit init_of(std::uint32_t i, std::uint64_t soft_limit);
  std::uint8_t* outer(std::uint8_t* frame, std::size_t udp_payload) const;

  std::uint32_t room_;
  std::uint32_t installed_ = 0;
  std::uint32_t warmed_ = 0;
  std::vector<std::uint32_t> generation_;
  std::vector<std::uint32_t> next_sequence_;
  std::uint64_t advances_ = 0;
  crypto::Aead aead_;
  std::unique_ptr<EpochKeys> first_;
  std::unique_ptr<EpochKeys> second_;
  std::vector<crypto::AeadJob> to_seal_;
};

// ---- samples, in time stamp cycles a packet
// The worker's whole loop over what was fed, in bursts of kBurst, from rx_burst to tx_burst.
double poll_sample(support::Gateway& gw, unsigned packets = kSample);
// The ring ports alone: what is in `in`'s ring goes out of `out`, and the other receive queue is asked too,
// as poll() does.
double port_sample(support::Gateway& gw, unsigned in, unsigned out);
// Frees what was sent on a port; returns how many packets.
unsigned discard_sent(support::Gateway& gw, unsigned port);

}  // namespace bench
