// Session and its reliable streams: packets that opened go in, packets to be sealed come out.
#include <algorithm>
#include <cstring>

#include "session/session.h"

namespace session {
namespace {

// One session's share: as many segments and blocks as its streams may hold at a time, within reason.
constexpr std::uint32_t kMostSegments = 16'384;

std::uint32_t pieces(std::uint64_t bytes, std::uint64_t piece) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes / piece + 1, kMostSegments));
}

bool is_reliable_data(std::uint16_t flags) {
  constexpr std::uint16_t kNotData = kFlagAck | kFlagWindowUpdate | kFlagPathValidation | kFlagCoalesced;
  return (flags & kFlagReliable) != 0 && (flags & kNotData) == 0;
}

}  // namespace

void Session::make_streams(std::uint64_t now_ns) {
  const StreamLimits& limits = *config_.streams;
  StreamMemory::Config memory;
  memory.streams = limits.streams;
  memory.segments = pieces(std::uint64_t{limits.streams} * limits.send_bytes, TRANSPORT_MTU);
  memory.blocks = pieces(std::uint64_t{limits.streams} * limits.receive_bytes, TRANSPORT_MTU) + limits.acks;
  wheel_ = std::make_unique<TimerWheel>(now_ns);
  stream_memory_ = std::make_unique<StreamMemory>(memory);
  Streams::Config config;
  config.limits = limits;
  config.initiator = config_.identity.role == Role::kInitiator;
  config.unmodified_peer = config_.policy.unmodified_peer;
  config.segment_bytes = config_.segment_bytes;
  if (!config.unmodified_peer) config.span = std::min(config_.window_bits, kHardenedSpan * 2) / 2;
  streams_ = std::make_unique<Streams>(config, *stream_memory_, *wheel_, now_ns);
  follow_epoch_and_path(now_ns);
}

// What moved without the streams: epoch, reservation, path; and back what a rekey must wait for.
void Session::follow_epoch_and_path(std::uint64_t now_ns) {
  const SessionHot& hot = shard_->hot(kSlot);
  streams_->set_epoch(hot.current.epoch);
  streams_->set_dynamic_limit(shard_->dynamic_first(kSlot), hot.tx[kDynamicFirst].limit);
  streams_->set_path(schedule_ ? route(1).path_id : std::uint8_t{0}, config_.segment_bytes);
  const bool rest = streams_->at_rest(now_ns);
  shard_->set_under_way(kSlot, !rest);
  control_->set_at_rest(rest, now_ns);
  streams_->set_hold(shard_->rekey_waits(kSlot) || control_->rekey_waits());
}

bool Session::has_room(const RxFields& fields) const {
  if (!streams_ || !is_reliable_data(fields.flags)) return true;
  return streams_->has_room(fields.stream, fields.sequence, fields.flags, fields.ack_delay,
                            static_cast<std::uint32_t>(text_.size()));
}

// Of what is not RELIABLE the streams take the number, and the end that a FIN says; its bytes are the
// caller's.
void Session::data_to_streams(Received& out, const RxFields& fields, std::uint64_t now_ns) {
  const bool reliable = is_reliable_data(fields.flags);
  const bool fin = (fields.flags & kFlagFin) != 0 && (fields.flags & kFlagCoalesced) == 0;
  if (!reliable && !fin) return streams_->on_control(fields.stream, fields.sequence, now_ns);
  out.ack.reset();
  const std::span<const std::uint8_t> text =
      reliable ? std::span<const std::uint8_t>(text_) : std::span<const std::uint8_t>();
  streams_->on_data(fields.stream, fields.sequence, fields.flags, fields.ack_delay, fields.path, text,
                    now_ns);
}

void Session::to_streams(Received& out, const RxOutcome& outcome, const RxFields& fields,
                         std::uint64_t now_ns) {
  switch (out.kind) {
    case Received::Kind::kDropped:
      if (outcome.duplicate_reliable) {
        streams_->on_duplicate(fields.stream, fields.sequence, fields.path, now_ns);
        out.ack.reset();
      }
      return;
    case Received::Kind::kAck:
      streams_->on_ack(fields.stream, out.acked_sequence, fields.ack_delay, out.fin, now_ns);
      return streams_->on_control(fields.stream, fields.sequence, now_ns);
    case Received::Kind::kWindowUpdate:
      streams_->on_credit(fields.stream, out.credit, fields.ack_delay, now_ns);
      return streams_->on_control(fields.stream, fields.sequence, now_ns);
    case Received::Kind::kData:
      return data_to_streams(out, fields, now_ns);
    default:
      return streams_->on_control(fields.stream, fields.sequence, now_ns);
  }
}

// A number for a packet, or the permission to seal an old one again.
TxGrant Session::grant_for(StreamPacket& packet) {
  TxStream* counter = streams_->counter(packet.stream);
  if (packet.kind == StreamPacket::Kind::kReseal) {
    return counter != nullptr ? shard_->regrant(kSlot, *counter, packet.sequence, packet.image_epoch)
                              : shard_->regrant(kSlot, packet.stream, packet.sequence, packet.image_epoch);
  }
  const TxGrant grant =
      counter != nullptr ? shard_->grant(kSlot, *counter) : shard_->grant(kSlot, packet.stream);
  if (grant.drop == DropReason::kNone) streams_->numbered(packet, grant.sequence);
  return grant;
}

// False: nothing was sealed; the streams ask again.
bool Session::seal_stream(StreamPacket& packet, std::vector<std::uint8_t>& out, std::uint64_t now_ns) {
  const TxGrant grant = grant_for(packet);
  if (grant.drop != DropReason::kNone) {
    streams_->not_sent(packet, now_ns);
    return false;
  }
  SessionHot& hot = shard_->hot(kSlot);
  ++hot.tx_pkts;
  const auto text_bytes = static_cast<std::uint32_t>(packet.text.size());
  out.resize(kPacketOverhead + text_bytes);
  std::uint8_t* p = out.data();
  std::copy(packet.text.begin(), packet.text.end(), p + kPayloadOffset);
  write_packet_frame(p, hot, grant, packet.stream, packet.flags, packet.path, text_bytes, packet.ack_delay);
  crypto::AeadJob job{};
  job.key = shard_->key(grant.key);
  job.aad = p;
  job.text = p + kPayloadOffset;
  job.text_bytes = text_bytes;
  job.aad_bytes = kHeaderBytes;
  job.suite = config_.identity.suite;
  build_nonce(job.nonce.data(), grant.nonce_prefix.data(), grant.epoch, packet.stream, grant.sequence,
              packet.path);
  engine_.seal_batch(&job, 1);
  if (packet.kind != StreamPacket::Kind::kPlain) std::memcpy(packet.image.data(), p, out.size());
  streams_->sealed(packet, grant.epoch, grant.sequence, static_cast<std::uint32_t>(out.size()), now_ns);
  return true;
}

bool Session::next_datagram(std::vector<std::uint8_t>& out, PathEnds& to, std::uint64_t now_ns) {
  if (next_datagram(out, to)) return true;
  if (!streams_) return false;
  if (schedule_ && route(1).ends.remote.family == 0) return false;  // nobody knows where the peer is yet
  follow_epoch_and_path(now_ns);
  StreamPacket packet;
  if (!streams_->next_packet(packet, now_ns)) return false;
  to = route(1).ends;
  if (packet.kind == StreamPacket::Kind::kAgain) {
    out.assign(packet.image.begin(), packet.image.end());
    streams_->sealed(packet, out[kOffEpoch], packet.sequence, static_cast<std::uint32_t>(out.size()), now_ns);
    return true;
  }
  const bool done = seal_stream(packet, out, now_ns);
  settle(now_ns);
  return done;
}

BandwidthSnapshot Session::bandwidth() const {
  return streams_ ? streams_->bandwidth(schedule_ ? route(1).path_id : std::uint8_t{0}) : BandwidthSnapshot{};
}

}  // namespace session
