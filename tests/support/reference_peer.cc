#include "tests/support/reference_peer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace support {
namespace {

using namespace session;

// protocol.md 2.2, 2.3.
constexpr std::size_t kMtu = 1300;
constexpr std::size_t kPermits = 1024;
constexpr std::uint32_t kWindowCap = 524'288;
constexpr std::uint32_t kCreditStep = 32'768;
constexpr std::uint64_t kTickNs = 10'000'000;
constexpr std::uint64_t kCwnd = 5'600;  // what its estimator always answers (12.5)
constexpr unsigned kMaxBackoff = 6;
constexpr std::size_t kWindowBits = 1024;

}  // namespace

bool ReferencePeer::Window::accept(std::uint32_t sequence) {
  if (!initialised) {
    initialised = true;
    seen.assign(kWindowBits, false);
    highest = sequence;
    seen[0] = true;
    return true;
  }
  if (sequence > highest) {
    const std::size_t shift = sequence - highest;
    std::vector<bool> moved(kWindowBits, false);
    for (std::size_t i = 0; i + shift < kWindowBits; ++i) moved[i + shift] = seen[i];
    seen = std::move(moved);
    seen[0] = true;
    highest = sequence;
    return true;
  }
  const std::size_t offset = highest - sequence;
  if (offset >= kWindowBits || seen[offset]) return false;
  seen[offset] = true;
  return true;
}

std::uint64_t ReferencePeer::Stream::rto_ns() const {
  const double base = srtt_ms == 0 ? 1000.0 : srtt_ms + std::max(1.0, 4 * rttvar_ms);
  const double ms = std::clamp(base * static_cast<double>(1U << backoff), 200.0, 60'000.0);
  return static_cast<std::uint64_t>(ms * 1e6);
}

ReferencePeer::ReferencePeer(const Config& config, const crypto::TrafficSecret& secret, std::uint64_t now_ns)
    : config_(config),
      chain_(secret.clone(), config.suite, crypto::KdfVariant::kDefault, config.initiator),
      next_tick_ns_(now_ns + kTickNs) {
  derive(0, keys_);
}

void ReferencePeer::derive(std::uint8_t epoch, Keys& out) {
  DirectionKeys raw;
  chain_.keys(epoch, raw);
  aead_.expand_key(config_.suite, raw.send.span(), out.send);
  aead_.expand_key(config_.suite, raw.recv.span(), out.recv);
  out.prefix = raw.nonce_prefix;
}

// The keys of the epoch before are gone at once.
void ReferencePeer::install(std::uint8_t epoch) {
  derive(epoch, keys_);
  chain_.advance_to(epoch);
  epoch_ = epoch;
  seals_ = 0;
}

void ReferencePeer::rekey() {
  if (epoch_ == kMaxEpoch) return;
  ++counts_.rekeys;
  install(static_cast<std::uint8_t>(epoch_ + 1));
}

// ---- sending

std::size_t ReferencePeer::send(std::uint16_t id, std::span<const std::uint8_t> bytes) {
  Stream& stream = streams_[id];
  stream.open = true;
  std::size_t taken = 0;
  while (taken < bytes.size() && stream.buffer.size() < kPermits) {
    const std::size_t n = std::min(kMtu, bytes.size() - taken);
    Segment segment;
    segment.sequence = stream.next++;
    segment.text.assign(bytes.begin() + static_cast<std::ptrdiff_t>(taken),
                        bytes.begin() + static_cast<std::ptrdiff_t>(taken + n));
    stream.buffer.push_back(std::move(segment));
    taken += n;
  }
  return taken;
}

void ReferencePeer::send_unreliable(std::uint16_t id, std::span<const std::uint8_t> bytes) {
  Stream& stream = streams_[id];
  for (std::size_t at = 0; at < bytes.size(); at += kMtu) {
    Segment segment;
    segment.sequence = stream.next++;
    const std::size_t n = std::min(kMtu, bytes.size() - at);
    segment.text.assign(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                        bytes.begin() + static_cast<std::ptrdiff_t>(at + n));
    stream.unreliable.push_back(std::move(segment));
  }
}

// What is queued or unacknowledged is dropped, its bytes stay in flight (W-20).
void ReferencePeer::close(std::uint16_t id) {
  Stream& stream = streams_[id];
  emit(id, stream.next++, kFlagEncrypted | kFlagFin, 0, {});
  stream.buffer.clear();
  stream.unreliable.clear();
  stream.open = false;
}

bool ReferencePeer::must_rekey(Stream& stream, std::uint32_t sequence) {
  if (epoch_ < kMaxEpoch && seals_ >= config_.rekey_threshold) return true;
  if (!stream.has_span || stream.span_epoch != epoch_) {
    stream.has_span = true;
    stream.span_epoch = epoch_;
    stream.span_base = sequence;
    return false;
  }
  return sequence - stream.span_base >= config_.watermark;
}

bool ReferencePeer::emit(std::uint16_t id, std::uint32_t sequence, std::uint16_t flags, std::uint8_t path,
                         std::span<const std::uint8_t> text, bool may_rekey) {
  if (may_rekey && must_rekey(streams_[id], sequence)) {
    if (epoch_ == kMaxEpoch) return false;
    rekey();
    flags |= kFlagRekey;
  }
  ++seals_;
  Bytes packet(kPacketOverhead + text.size());
  Header header;
  header.session_id = config_.id;
  header.stream_id = id;
  header.sequence = sequence;
  header.flags = flags;
  header.epoch = epoch_;
  header.path_id = path;
  encode_header(header, std::span<std::uint8_t, kHeaderBytes>(packet.data(), kHeaderBytes));
  store_be32(packet.data() + kHeaderBytes, static_cast<std::uint32_t>(text.size() + kTagBytes));
  std::copy(text.begin(), text.end(), packet.begin() + kPayloadOffset);
  crypto::AeadJob job{};
  job.key = &keys_.send;
  job.aad = packet.data();
  job.text = packet.data() + kPayloadOffset;
  job.text_bytes = static_cast<std::uint32_t>(text.size());
  job.aad_bytes = kHeaderBytes;
  job.suite = config_.suite;
  build_nonce(job.nonce.data(), keys_.prefix.data(), epoch_, id, sequence, path);
  aead_.seal_batch(&job, 1);
  out_.push_back(std::move(packet));
  return true;
}

// protocol.md 6.3. Null: nothing of this stream now.
ReferencePeer::Segment* ReferencePeer::choose(Stream& stream, std::uint32_t budget, std::uint64_t now_ns,
                                              bool& again) {
  const std::uint64_t rto_ns = stream.rto_ns();
  for (Segment& segment : stream.buffer) {
    if (!segment.transmitted || now_ns - segment.sent_ns < rto_ns) continue;
    stream.backoff = std::min(stream.backoff + 1, kMaxBackoff);
    again = true;
    return &segment;
  }
  const auto fresh = std::find_if(stream.buffer.begin(), stream.buffer.end(),
                                  [](const Segment& s) { return !s.transmitted; });
  if (fresh == stream.buffer.end()) return nullptr;
  const auto n = static_cast<std::uint32_t>(fresh->text.size());
  if (n > budget || n > stream.window) return nullptr;
  stream.window -= n;
  return &*fresh;
}

void ReferencePeer::drain(std::uint16_t id, Stream& stream, std::uint64_t now_ns) {
  while (!stream.unreliable.empty()) {
    Segment segment = std::move(stream.unreliable.front());
    stream.unreliable.pop_front();
    if (!emit(id, segment.sequence, kFlagEncrypted | kFlagUnreliable, 0, segment.text)) return;
    inflight_ += segment.text.size();
  }
  for (;;) {
    bool again = false;
    const auto budget = static_cast<std::uint32_t>(kCwnd > inflight_ ? kCwnd - inflight_ : 0);
    Segment* segment = choose(stream, budget, now_ns, again);
    if (segment == nullptr) return;
    segment->sent_ns = now_ns;
    ++segment->sends;
    segment->transmitted = true;
    const std::uint64_t n = segment->text.size();
    if (again) inflight_ -= std::min<std::uint64_t>(inflight_, n);
    if (!emit(id, segment->sequence, kFlagEncrypted | kFlagReliable, 0, segment->text)) {
      segment->transmitted = false;
      return;
    }
    ++(again ? counts_.again : counts_.segments);
    inflight_ += n;
  }
}

// One run of the send loop (6.2).
void ReferencePeer::pass(std::uint64_t now_ns) {
  for (auto& [id, stream] : streams_) {
    if (stream.staged == 0) continue;
    std::array<std::uint8_t, 4> credit{};
    store_be32(credit.data(), stream.staged);
    if (!emit(id, stream.next++, kFlagEncrypted | kFlagWindowUpdate, 0, credit)) continue;
    stream.staged = 0;
    ++counts_.credits;
  }
  for (auto& [id, stream] : streams_) drain(id, stream, now_ns);
}

void ReferencePeer::on_timer(std::uint64_t now_ns) {
  if (now_ns < next_tick_ns_) return;
  next_tick_ns_ = now_ns + kTickNs;
  pass(now_ns);
}

bool ReferencePeer::next_datagram(Bytes& out) {
  if (out_.empty()) return false;
  out = std::move(out_.front());
  out_.pop_front();
  return true;
}

// ---- receiving

bool ReferencePeer::try_open(std::span<const std::uint8_t> datagram, std::uint32_t payload_bytes,
                             const Keys& keys) {
  if (payload_bytes < kTagBytes) return false;
  const std::uint8_t* payload = datagram.data() + kPayloadOffset;
  text_.assign(payload, payload + payload_bytes);
  crypto::AeadJob job{};
  job.key = &keys.recv;
  job.aad = datagram.data();
  job.text = text_.data();
  job.text_bytes = payload_bytes - static_cast<std::uint32_t>(kTagBytes);
  job.aad_bytes = kHeaderBytes;
  job.suite = config_.suite;
  build_nonce(job.nonce.data(), keys.prefix.data(), datagram[kOffEpoch], load_be16(&datagram[kOffStream]),
              load_be32(&datagram[kOffSequence]), datagram[kOffPath]);
  if ((aead_.open_batch(&job, 1) & 1U) == 0) return false;
  text_.resize(job.text_bytes);
  return true;
}

bool ReferencePeer::open_packet(std::span<const std::uint8_t> datagram, std::uint32_t payload_bytes) {
  const std::uint8_t epoch = datagram[kOffEpoch];
  if (epoch == epoch_) return try_open(datagram, payload_bytes, keys_);
  if (epoch < epoch_ || unsigned{epoch} > unsigned{epoch_} + MAX_REKEY_CATCHUP) return false;
  Keys ahead;
  derive(epoch, ahead);
  if (!try_open(datagram, payload_bytes, ahead)) return false;
  install(epoch);
  ++counts_.followed;
  return true;
}

void ReferencePeer::receive(std::span<const std::uint8_t> datagram, std::uint64_t now_ns) {
  Frame frame{};
  const bool ours = parse_frame(datagram, frame) && datagram[kOffVersion] == kWireVersion &&
                    std::memcmp(&datagram[kOffSessionId], config_.id.data(), kSessionIdBytes) == 0;
  if (!ours) {
    ++counts_.unparsed;
    return;
  }
  const Header header =
      decode_header(std::span<const std::uint8_t, kHeaderBytes>(datagram.data(), kHeaderBytes));
  if ((header.flags & kFlagEncrypted) == 0) {
    if (frame.payload_bytes != 0) {
      ++counts_.refused;
      return;
    }
    text_.clear();  // W-02
  } else if (!open_packet(datagram, frame.payload_bytes)) {
    ++counts_.refused;
    return;
  } else if (!windows_[header.stream_id].accept(header.sequence)) {
    ++counts_.replays;
    return;
  }
  act(header, now_ns);
}

void ReferencePeer::act(const Header& header, std::uint64_t now_ns) {
  const auto known = streams_.find(header.stream_id);
  if ((header.flags & kFlagAck) != 0) {
    if (text_.size() == 4 && known != streams_.end()) on_ack(known->second, now_ns);
    return;
  }
  if ((header.flags & kFlagWindowUpdate) != 0) {
    if (text_.size() != 4 || known == streams_.end()) return;
    const std::uint64_t sum = std::uint64_t{known->second.window} + load_be32(text_.data());
    known->second.window = static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, kWindowCap));
    return pass(now_ns);
  }
  if ((header.flags & kFlagPathValidation) != 0) {
    if (text_.size() != kPathChallengeBytes || header.path_id == 0) return;
    ++counts_.echoes;
    emit(0, echo_counter_++, kFlagEncrypted | kFlagPathValidation, header.path_id, Bytes(text_), false);
    return;
  }
  if (header.path_id != 0) {
    ++counts_.path_gate;
    return;
  }
  Stream& stream = streams_[header.stream_id];
  if ((header.flags & kFlagReliable) != 0) {
    stream.open = true;
    std::array<std::uint8_t, 4> sequence{};
    store_be32(sequence.data(), header.sequence);
    const Bytes text = text_;
    if (!emit(header.stream_id, stream.next++, kFlagEncrypted | kFlagAck, header.path_id, sequence)) return;
    ++counts_.acks;
    deliver(stream, text);
  } else {
    deliver(stream, Bytes(text_));
  }
  if ((header.flags & kFlagFin) != 0) stream.fin = true;
}

void ReferencePeer::on_ack(Stream& stream, std::uint64_t now_ns) {
  const std::uint32_t acked = load_be32(text_.data());
  const auto at = std::find_if(stream.buffer.begin(), stream.buffer.end(),
                               [&](const Segment& s) { return s.sequence == acked; });
  if (at == stream.buffer.end()) return;
  if (at->transmitted) inflight_ -= std::min<std::uint64_t>(inflight_, at->text.size());
  if (at->sends == 1) {
    const double r = static_cast<double>(now_ns - at->sent_ns) / 1e6;
    stream.rttvar_ms =
        stream.srtt_ms == 0 ? r / 2 : (3 * stream.rttvar_ms + std::fabs(stream.srtt_ms - r)) / 4;
    stream.srtt_ms = stream.srtt_ms == 0 ? r : (7 * stream.srtt_ms + r) / 8;
    stream.backoff = 0;
  }
  stream.buffer.erase(at);
}

// Its application takes everything at once, in order of arrival.
void ReferencePeer::deliver(Stream& stream, std::span<const std::uint8_t> text) {
  stream.delivered.insert(stream.delivered.end(), text.begin(), text.end());
  counts_.delivered_bytes += text.size();
  if (!stream.open) return;
  stream.consumed += static_cast<std::uint32_t>(text.size());
  if (stream.consumed < kCreditStep) return;
  stream.staged += stream.consumed;
  stream.consumed = 0;
}

const Bytes& ReferencePeer::delivered(std::uint16_t id) const {
  static const Bytes kNothing;
  const auto at = streams_.find(id);
  return at == streams_.end() ? kNothing : at->second.delivered;
}

bool ReferencePeer::finished(std::uint16_t id) const {
  const auto at = streams_.find(id);
  return at != streams_.end() && at->second.fin;
}

std::size_t ReferencePeer::unacknowledged(std::uint16_t id) const {
  const auto at = streams_.find(id);
  return at == streams_.end() ? 0 : at->second.buffer.size();
}

}  // namespace support
