#include "tests/support/sim_ends.h"

#include <algorithm>
#include <functional>
#include <string_view>

namespace support {
namespace {

constexpr std::size_t kChunk = 16'384;

std::size_t hash_of(const Bytes& bytes) {
  return std::hash<std::string_view>()(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

std::array<std::uint8_t, session::kSessionIdBytes> sim_id() {
  std::array<std::uint8_t, session::kSessionIdBytes> id{};
  for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(i * 5 + 3);
  return id;
}

crypto::TrafficSecret sim_secret() {
  return test_secret(42);
}

SessionEnd::SessionEnd(const Options& options, std::uint64_t now_ns) : options_(options) {
  session::SessionConfig config;
  config.identity.name = options.initiator ? "initiator" : "responder";
  config.identity.id = sim_id();
  config.identity.role = options.initiator ? session::Role::kInitiator : session::Role::kResponder;
  config.policy.unmodified_peer = options.unmodified_peer;
  config.policy.rekey_interval_ns = options.rekey_interval_ns;
  config.window_bits = options.window_bits;
  config.windows = 2 * options.limits.streams + 32;
  config.streams = options.limits;
  config.segment_bytes = options.segment_bytes;
  session_ = std::make_unique<session::Session>(std::move(config), sim_secret(), aead_, store_, now_ns);
}

void SessionEnd::receive(const Bytes& datagram, std::uint64_t now_ns) {
  (void)session_->receive(datagram, now_ns);
}

void SessionEnd::on_timer(std::uint64_t now_ns) {
  session_->on_timer(now_ns);
}

std::uint64_t SessionEnd::next_deadline_ns(std::uint64_t /*now_ns*/) const {
  return session_->next_deadline_ns();
}

// Sealed twice with one number is the end of all secrecy; the same image again is a repetition.
void SessionEnd::check_nonce(const Bytes& datagram) {
  const Nonce nonce{datagram[session::kOffEpoch], session::load_be16(&datagram[session::kOffStream]),
                    session::load_be32(&datagram[session::kOffSequence]), datagram[session::kOffPath]};
  const auto [at, fresh] = nonces_.emplace(nonce, hash_of(datagram));
  if (!fresh && at->second != hash_of(datagram)) trouble_ = "a nonce was used for two packets";
}

bool SessionEnd::next_datagram(Bytes& out, std::uint64_t now_ns) {
  session::PathEnds to;
  if (!session_->next_datagram(out, to, now_ns)) return false;
  ++datagrams;
  bytes_on_wire += out.size();
  check_nonce(out);
  return true;
}

void SessionEnd::offer(std::uint16_t stream, std::uint64_t bytes, bool finish) {
  Sending& sending = sending_[stream];
  sending.bytes += bytes;
  sending.finish = finish;
}

void SessionEnd::read(std::uint16_t stream, std::uint64_t now_ns) {
  Received& to = received[stream];
  for (auto bytes = streams().readable(stream); !bytes.empty(); bytes = streams().readable(stream)) {
    for (const std::uint8_t byte : bytes) {
      if (to.ordered && byte != sim_byte(!options_.initiator, stream, to.bytes)) ++to.wrong;
      ++to.bytes;
    }
    streams().consume(stream, bytes.size(), now_ns);
  }
}

void SessionEnd::work(std::uint64_t now_ns) {
  session::StreamEvent event;
  while (streams().next_event(event)) {
    Received& at = received[event.stream];
    if (event.news == session::StreamNews::kReadable) readable_.insert(event.stream);
    if (event.news == session::StreamNews::kFinished) at.finished = true;
    if (event.news == session::StreamNews::kReset) at.reset = true;
    if (event.news == session::StreamNews::kClosed) at.closed = true;
  }
  for (auto& [stream, sending] : sending_) {
    Bytes chunk;
    while (sending.done < sending.bytes) {
      chunk.resize(std::min<std::uint64_t>(kChunk, sending.bytes - sending.done));
      for (std::size_t i = 0; i < chunk.size(); ++i) {
        chunk[i] = sim_byte(options_.initiator, stream, sending.done + i);
      }
      session::StreamError error{};
      const std::size_t taken = streams().send(stream, chunk, error);
      sending.done += taken;
      if (error == session::StreamError::kUnknown && sending.done == 0) break;  // the peer opens it
      if (error != session::StreamError::kOk) sending.done = sending.bytes;
      if (taken < chunk.size()) break;
    }
    if (sending.done == sending.bytes && sending.finish && !sending.finished) {
      sending.finished = streams().finish(stream) == session::StreamError::kOk;
    }
  }
  if (!reads) return;
  for (auto at = readable_.begin(); at != readable_.end();) {
    if (received[*at].paused) {
      ++at;
      continue;
    }
    read(*at, now_ns);
    at = readable_.erase(at);
  }
}

bool SessionEnd::all_sent() const {
  return std::all_of(sending_.begin(), sending_.end(), [](const auto& s) {
    return s.second.done == s.second.bytes && (s.second.finished || !s.second.finish);
  });
}

ReferenceEnd::ReferenceEnd(const ReferencePeer::Config& config, std::uint64_t now_ns)
    : peer(
          [&] {
            ReferencePeer::Config with_id = config;
            with_id.id = sim_id();
            return with_id;
          }(),
          sim_secret(), now_ns),
      initiator_(config.initiator) {}

void ReferenceEnd::work() {
  for (const auto& [stream, bytes] : offered_) {
    std::uint64_t& sent = sent_[stream];
    while (sent < bytes) {
      Bytes chunk(std::min<std::uint64_t>(kChunk / 1300 * 1300, bytes - sent));
      for (std::size_t i = 0; i < chunk.size(); ++i) chunk[i] = sim_byte(initiator_, stream, sent + i);
      const std::size_t taken = peer.send(stream, chunk);
      sent += taken;
      if (taken < chunk.size()) break;
    }
  }
}

bool ReferenceEnd::all_acknowledged() const {
  return std::all_of(offered_.begin(), offered_.end(), [this](const auto& o) {
    const auto sent = sent_.find(o.first);
    return sent != sent_.end() && sent->second == o.second && peer.unacknowledged(o.first) == 0;
  });
}

}  // namespace support
