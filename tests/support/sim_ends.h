// Ends of a simulated link: a Session with its reliable streams, or the model of an unmodified peer; and an
// application on top that sends patterns and checks what comes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "tests/support/reference_peer.h"
#include "tests/support/session_bench.h"
#include "tests/support/sim.h"

namespace support {

// Byte `at` of what an end sends on a stream.
inline std::uint8_t sim_byte(bool from_initiator, std::uint16_t stream, std::uint64_t at) {
  std::uint64_t x = at / 8 * 0x9e3779b97f4a7c15ULL + stream * 1'000'003ULL + (from_initiator ? 7 : 11);
  x ^= x >> 29;
  return static_cast<std::uint8_t>(x >> (8 * (at % 8)) ^ at);
}

// A session and its streams; every datagram is checked for a (key, nonce) used before, but as the very same
// image.
class SessionEnd : public SimEnd {
 public:
  struct Options {
    bool initiator = true;
    bool unmodified_peer = false;
    session::StreamLimits limits{};
    std::uint32_t window_bits = 8192;
    std::uint64_t rekey_interval_ns = 0;
    std::uint32_t segment_bytes = session::TRANSPORT_MTU;
  };
  SessionEnd(const Options& options, std::uint64_t now_ns);

  void receive(const Bytes& datagram, std::uint64_t now_ns) override;
  void on_timer(std::uint64_t now_ns) override;
  [[nodiscard]] std::uint64_t next_deadline_ns(std::uint64_t now_ns) const override;
  bool next_datagram(Bytes& out, std::uint64_t now_ns) override;

  // ---- the application: `bytes` of the pattern on a stream, then the end
  void offer(std::uint16_t stream, std::uint64_t bytes, bool finish = true);
  void forget(std::uint16_t stream) {
    sending_.erase(stream);
    received.erase(stream);
  }
  // Takes its turn: sends what fits, reads what is there.
  void work(std::uint64_t now_ns);
  struct Received {
    std::uint64_t bytes = 0;
    std::uint64_t wrong = 0;           // bytes that are not the pattern's, in order
    std::vector<std::uint8_t> counts;  // of an unordered stream: how often each 8-byte piece came
    bool ordered = true;
    bool finished = false;
    bool reset = false;
    bool closed = false;
    bool paused = false;  // the application reads nothing
  };
  std::map<std::uint16_t, Received> received;
  [[nodiscard]] bool all_sent() const;
  session::Session& session() { return *session_; }
  session::Streams& streams() { return *session_->streams(); }
  const std::string& trouble() const { return trouble_; }
  bool reads = true;
  std::uint64_t datagrams = 0;
  std::uint64_t bytes_on_wire = 0;

 private:
  struct Sending {
    std::uint64_t bytes = 0;
    std::uint64_t done = 0;
    bool finish = true;
    bool finished = false;
  };
  using Nonce = std::tuple<std::uint8_t, std::uint16_t, std::uint32_t, std::uint8_t>;
  void read(std::uint16_t stream, std::uint64_t now_ns);
  void check_nonce(const Bytes& datagram);

  Options options_;
  crypto::Aead aead_;
  session::MemoryStore store_;
  std::unique_ptr<session::Session> session_;
  std::map<std::uint16_t, Sending> sending_;
  std::set<std::uint16_t> readable_;
  std::map<Nonce, std::size_t> nonces_;  // to a hash of the datagram
  std::string trouble_;
};

// The unmodified peer, as modelled.
class ReferenceEnd : public SimEnd {
 public:
  ReferenceEnd(const ReferencePeer::Config& config, std::uint64_t now_ns);
  void receive(const Bytes& datagram, std::uint64_t now_ns) override { peer.receive(datagram, now_ns); }
  void on_timer(std::uint64_t now_ns) override { peer.on_timer(now_ns); }
  [[nodiscard]] std::uint64_t next_deadline_ns(std::uint64_t /*now_ns*/) const override {
    return peer.next_deadline_ns();
  }
  bool next_datagram(Bytes& out, std::uint64_t /*now_ns*/) override { return peer.next_datagram(out); }
  // Feeds a pattern as its permits allow.
  void offer(std::uint16_t stream, std::uint64_t bytes) { offered_[stream] += bytes; }
  void work();
  [[nodiscard]] bool all_acknowledged() const;
  ReferencePeer peer;

 private:
  bool initiator_;
  std::map<std::uint16_t, std::uint64_t> offered_;
  std::map<std::uint16_t, std::uint64_t> sent_;
};

std::array<std::uint8_t, session::kSessionIdBytes> sim_id();
crypto::TrafficSecret sim_secret();

}  // namespace support
