// A model of the unmodified peer: the data pump of release 0.1.1 as the protocol specification describes it,
// with its weaknesses. Simulated tests play one side with it; the real crate is in tests/interop.
//
// What it does as the reference does: window of 1,024 sequences without serial arithmetic; no second
// acknowledgement for a duplicate (W-10); delivery in order of arrival (W-25); credit given once (W-13); one
// retransmission per doubled timeout (W-22); four segments in flight (W-23); a sender that only the 10 ms
// tick or credit wakes (W-38); keys of the old epoch gone at once; rekeys by span without serial arithmetic
// (W-12); FIN neither reliable nor behind the data (W-20); in-flight bytes of unreliable data never given
// back (W-19).
//
// Thread: one; time is the caller's, in nanoseconds.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "session/epoch_chain.h"
#include "tests/support/packets.h"

namespace support {

class ReferencePeer {
 public:
  struct Config {
    std::array<std::uint8_t, session::kSessionIdBytes> id{};
    bool initiator = false;
    crypto::Suite suite = crypto::Suite::kAes256Gcm;
    std::uint64_t rekey_threshold = session::REKEY_SOFT_LIMIT;
    std::uint32_t watermark = session::SEQ_REKEY_WATERMARK;
  };
  ReferencePeer(const Config& config, const crypto::TrafficSecret& secret, std::uint64_t now_ns);

  // Queues what fits the stream's 1,024 permits (the reference would wait for more, W-18) and returns how
  // much.
  std::size_t send(std::uint16_t stream, std::span<const std::uint8_t> bytes);
  void send_unreliable(std::uint16_t stream, std::span<const std::uint8_t> bytes);
  void close(std::uint16_t stream);
  void rekey();
  void receive(std::span<const std::uint8_t> datagram, std::uint64_t now_ns);
  void on_timer(std::uint64_t now_ns);  // the tick
  [[nodiscard]] std::uint64_t next_deadline_ns() const { return next_tick_ns_; }
  bool next_datagram(Bytes& out);

  // Everything delivered on a stream so far, in order of arrival.
  [[nodiscard]] const Bytes& delivered(std::uint16_t stream) const;
  [[nodiscard]] bool finished(std::uint16_t stream) const;  // a FIN came
  [[nodiscard]] std::size_t unacknowledged(std::uint16_t stream) const;
  [[nodiscard]] std::uint8_t epoch() const { return epoch_; }

  struct Counts {
    std::uint64_t segments = 0, again = 0, acks = 0, credits = 0, delivered_bytes = 0;
    std::uint64_t replays = 0, refused = 0, unparsed = 0, path_gate = 0, echoes = 0, rekeys = 0, followed = 0;
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct Window {
    std::uint32_t highest = 0;
    std::vector<bool> seen;  // by distance from the highest
    bool initialised = false;
    bool accept(std::uint32_t sequence);
  };
  struct Segment {
    std::uint32_t sequence = 0;
    Bytes text;
    std::uint64_t sent_ns = 0;
    unsigned sends = 0;
    bool transmitted = false;  // "unsent" after a failed emission
  };
  struct Stream {
    std::uint32_t next = 0;
    std::deque<Segment> buffer;
    std::deque<Segment> unreliable;
    std::uint32_t window = 65'536;
    std::uint32_t staged = 0;    // credit to be sent
    std::uint32_t consumed = 0;  // since the last was staged
    bool open = false;           // has a record: it can be acknowledged and earns credit
    double srtt_ms = 0, rttvar_ms = 0;
    unsigned backoff = 0;
    std::uint8_t span_epoch = 0;
    std::uint32_t span_base = 0;
    bool has_span = false;
    Bytes delivered;
    bool fin = false;
    [[nodiscard]] std::uint64_t rto_ns() const;
  };
  struct Keys {
    crypto::KeySlot send, recv;
    std::array<std::uint8_t, 4> prefix{};
  };

  void derive(std::uint8_t epoch, Keys& out);
  void install(std::uint8_t epoch);
  bool open_packet(std::span<const std::uint8_t> datagram, std::uint32_t payload_bytes);
  bool try_open(std::span<const std::uint8_t> datagram, std::uint32_t payload_bytes, const Keys& keys);
  void act(const session::Header& header, std::uint64_t now_ns);
  void on_ack(Stream& stream, std::uint64_t now_ns);
  void deliver(Stream& stream, std::span<const std::uint8_t> text);
  [[nodiscard]] bool must_rekey(Stream& stream, std::uint32_t sequence);
  // False: the epochs are used up.
  bool emit(std::uint16_t id, std::uint32_t sequence, std::uint16_t flags, std::uint8_t path,
            std::span<const std::uint8_t> text, bool may_rekey = true);
  void pass(std::uint64_t now_ns);
  void drain(std::uint16_t id, Stream& stream, std::uint64_t now_ns);
  Segment* choose(Stream& stream, std::uint32_t budget, std::uint64_t now_ns, bool& again);

  Config config_;
  crypto::Aead aead_;
  session::EpochChain chain_;
  std::uint8_t epoch_ = 0;
  std::uint64_t seals_ = 0;
  Keys keys_;
  std::map<std::uint16_t, Stream> streams_;
  std::map<std::uint16_t, Window> windows_;
  std::uint32_t echo_counter_ = 0;
  std::uint64_t inflight_ = 0;
  std::uint64_t next_tick_ns_;
  Bytes text_;
  std::deque<Bytes> out_;
  Counts counts_;
};

}  // namespace support
