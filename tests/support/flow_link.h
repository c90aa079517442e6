// One direction of a path and a sender that fills it, in virtual time: for tests of what estimates and paces.
//
// FlowLink: a queue with a limit in bytes, a rate, a delay, random loss behind the queue; rate and delay may
// change at any moment. FlowSender: a PathFlow that always has something to send, acknowledged packet by
// packet over a way back without loss; what a later acknowledgement passes by three packets, or the RTO, is
// lost. Everything follows from the seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <random>
#include <vector>

#include "session/path_flow.h"

namespace flow_test {

inline constexpr std::uint64_t kMs = 1'000'000;
inline constexpr std::uint64_t kSecond = 1'000'000'000;
inline constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

struct LinkShape {
  std::uint64_t rate_bps = 12'500'000;  // bytes a second
  std::uint64_t delay_ns = 25 * kMs;    // one way
  std::uint64_t queue_bytes = 1'250'000;
  double loss = 0;
};

class FlowLink {
 public:
  FlowLink(const LinkShape& shape, std::uint64_t seed) : shape_(shape), random_(seed) {}

  // False: the queue was full.
  bool enter(std::uint64_t id, std::uint32_t bytes, std::uint64_t now_ns) {
    if (queued_bytes_ + bytes > shape_.queue_bytes) return false;
    if (waiting_.empty()) free_at_ns_ = std::max(free_at_ns_, now_ns) + serialize_ns(bytes);
    waiting_.push_back({id, bytes});
    queued_bytes_ += bytes;
    return true;
  }
  // Takes effect with the next packet that begins to be sent. Packets never overtake each other.
  void set_rate(std::uint64_t rate_bps) { shape_.rate_bps = rate_bps; }
  void set_delay(std::uint64_t delay_ns) { shape_.delay_ns = delay_ns; }
  [[nodiscard]] const LinkShape& shape() const { return shape_; }
  [[nodiscard]] std::uint64_t queued_bytes() const { return queued_bytes_; }

  [[nodiscard]] std::uint64_t next_event_ns() const {
    return std::min(waiting_.empty() ? kNever : free_at_ns_,
                    flying_.empty() ? kNever : flying_.front().at_ns);
  }
  // Everything that leaves the queue until now; then one packet that arrived, if there is one.
  bool arrived(std::uint64_t now_ns, std::uint64_t& id) {
    while (!waiting_.empty() && free_at_ns_ <= now_ns) leave_queue();
    if (flying_.empty() || flying_.front().at_ns > now_ns) return false;
    id = flying_.front().id;
    flying_.pop_front();
    return true;
  }

 private:
  struct Waiting {
    std::uint64_t id;
    std::uint32_t bytes;
  };
  struct Flying {
    std::uint64_t id;
    std::uint64_t at_ns;
  };
  std::uint64_t serialize_ns(std::uint32_t bytes) const {
    return std::uint64_t{bytes} * kSecond / shape_.rate_bps;
  }
  void leave_queue() {
    const Waiting packet = waiting_.front();
    waiting_.pop_front();
    queued_bytes_ -= packet.bytes;
    if (std::uniform_real_distribution<double>(0, 1)(random_) >= shape_.loss) {
      last_arrival_ns_ = std::max(last_arrival_ns_, free_at_ns_ + shape_.delay_ns);
      flying_.push_back({packet.id, last_arrival_ns_});
    }
    if (!waiting_.empty()) free_at_ns_ += serialize_ns(waiting_.front().bytes);
  }

  LinkShape shape_;
  std::mt19937_64 random_;
  std::deque<Waiting> waiting_;
  std::deque<Flying> flying_;
  std::uint64_t queued_bytes_ = 0;
  std::uint64_t free_at_ns_ = 0;
  std::uint64_t last_arrival_ns_ = 0;
};

class FlowSender {
 public:
  struct Options {
    std::uint32_t packet_bytes = 1'400;
    std::uint64_t tick_ns = 0;       // the pacer is asked again at multiples of it, as by a timer wheel
    std::uint64_t offered_bps = 0;   // bytes a second the application has; 0: always more
    std::uint64_t ack_every_ns = 0;  // acknowledgements come in bunches
  };
  FlowSender(const LinkShape& shape, std::uint64_t seed) : FlowSender(shape, seed, Options{}) {}
  FlowSender(const LinkShape& shape, std::uint64_t seed, const Options& options)
      : link_(shape, seed), flow_(0), options_(options) {}

  void run_until(std::uint64_t end_ns) {
    while (true) {
      send_all();
      const std::uint64_t next_ns = std::max(next_event_ns(), now_ns_ + 1);
      if (next_ns > end_ns) break;
      now_ns_ = next_ns;
      arrivals();
      acknowledgements();
      timeout();
    }
    now_ns_ = end_ns;
  }
  // From now on the application has so much a second.
  void set_offered(std::uint64_t bps) {
    options_.offered_bps = bps;
    offered_from_ns_ = now_ns_;
    offered_from_packets_ = sent_packets();
  }
  FlowLink& link() { return link_; }
  session::PathFlow& flow() { return flow_; }
  [[nodiscard]] std::uint64_t now_ns() const { return now_ns_; }
  [[nodiscard]] std::uint64_t acked_bytes() const { return acked_bytes_; }
  [[nodiscard]] std::uint64_t lost_packets() const { return lost_packets_; }
  [[nodiscard]] std::uint64_t sent_packets() const { return first_ + flight_.size(); }
  // Bytes that no verdict has reached, counted apart from the flow.
  [[nodiscard]] std::uint64_t open_bytes() const {
    std::uint64_t bytes = 0;
    for (const Packet& packet : flight_) bytes += packet.done ? 0 : options_.packet_bytes;
    return bytes;
  }
  void give_up_all() {
    for (Packet& packet : flight_) {
      if (!packet.done) flow_.forget(packet.mark);
      packet.done = true;
    }
  }

 private:
  struct Packet {
    session::FlowMark mark;
    bool done = false;
  };
  struct Ack {
    std::uint64_t id;
    std::uint64_t at_ns;
  };

  [[nodiscard]] bool has_data() const {
    if (options_.offered_bps == 0) return true;
    const std::uint64_t due = (now_ns_ - offered_from_ns_) / 1'000 * options_.offered_bps / 1'000'000;
    return (sent_packets() - offered_from_packets_ + 1) * options_.packet_bytes <= due;
  }
  void send_all() {
    while (has_data() && flow_.may_send(options_.packet_bytes, now_ns_)) {
      const std::uint64_t id = sent_packets();
      flight_.emplace_back();
      flow_.on_sent(flight_.back().mark, options_.packet_bytes, now_ns_);
      link_.enter(id, options_.packet_bytes, now_ns_);
    }
    if (!has_data()) flow_.on_app_limited();
  }
  [[nodiscard]] std::uint64_t next_event_ns() const {
    std::uint64_t at_ns = std::min(link_.next_event_ns(), acks_.empty() ? kNever : acks_.front().at_ns);
    if (!flight_.empty()) at_ns = std::min(at_ns, rto_at_ns());
    if (has_data()) at_ns = std::min(at_ns, tick_after(flow_.wait_until_ns(options_.packet_bytes, now_ns_)));
    if (options_.offered_bps != 0) at_ns = std::min(at_ns, now_ns_ + kMs / 10);
    return at_ns;
  }
  [[nodiscard]] std::uint64_t tick_after(std::uint64_t at_ns) const {
    if (options_.tick_ns == 0 || at_ns == kNever) return at_ns;
    return (at_ns / options_.tick_ns + 1) * options_.tick_ns;
  }
  [[nodiscard]] std::uint64_t rto_at_ns() const {
    return std::max(flight_.back().mark.sent_ns, last_ack_ns_) + flow_.rto_ns();
  }
  void arrivals() {
    for (std::uint64_t id = 0; link_.arrived(now_ns_, id);) {
      std::uint64_t at_ns = now_ns_ + link_.shape().delay_ns;
      if (options_.ack_every_ns != 0) at_ns = (at_ns / options_.ack_every_ns + 1) * options_.ack_every_ns;
      acks_.push_back({id, std::max(at_ns, acks_.empty() ? 0 : acks_.back().at_ns)});
    }
  }
  void acknowledgements() {
    while (!acks_.empty() && acks_.front().at_ns <= now_ns_) {
      acknowledge(acks_.front().id);
      acks_.pop_front();
    }
  }
  void acknowledge(std::uint64_t id) {
    last_ack_ns_ = now_ns_;
    if (id < first_ || flight_[id - first_].done) return;
    Packet& packet = flight_[id - first_];
    packet.done = true;
    flow_.on_acked(packet.mark, 0, true, now_ns_);
    acked_bytes_ += options_.packet_bytes;
    for (std::uint64_t i = first_; i + 3 <= id; ++i) lose(flight_[i - first_]);
    while (!flight_.empty() && flight_.front().done) {
      flight_.pop_front();
      ++first_;
    }
  }
  void lose(Packet& packet) {
    if (packet.done) return;
    packet.done = true;
    ++lost_packets_;
    flow_.on_lost(packet.mark, now_ns_);
  }
  void timeout() {
    if (flight_.empty() || now_ns_ < rto_at_ns()) return;
    for (Packet& packet : flight_) lose(packet);
    first_ += flight_.size();
    flight_.clear();
  }

  FlowLink link_;
  session::PathFlow flow_;
  Options options_;
  std::uint64_t now_ns_ = 0;
  std::uint64_t offered_from_ns_ = 0;
  std::uint64_t offered_from_packets_ = 0;
  std::deque<Packet> flight_;  // from first_ on
  std::uint64_t first_ = 0;
  std::deque<Ack> acks_;
  std::uint64_t last_ack_ns_ = 0;
  std::uint64_t acked_bytes_ = 0;
  std::uint64_t lost_packets_ = 0;
};

}  // namespace flow_test
