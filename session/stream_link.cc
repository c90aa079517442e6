#include "session/stream_link.h"

namespace session {

bool is_stream_data(std::uint16_t flags) {
  constexpr std::uint16_t kNotData = kFlagAck | kFlagWindowUpdate | kFlagPathValidation | kFlagCoalesced;
  return (flags & kFlagReliable) != 0 && (flags & kNotData) == 0;
}

bool StreamLink::has_room(const RxFields& fields, std::uint32_t text_bytes) const {
  if (!is_stream_data(fields.flags)) return true;
  return streams_.has_room(fields.stream, fields.sequence, fields.flags, fields.ack_delay, text_bytes);
}

void StreamLink::take_data(const RxFields& fields, std::span<const std::uint8_t> text, std::uint64_t now_ns) {
  const bool reliable = is_stream_data(fields.flags);
  const bool fin = (fields.flags & kFlagFin) != 0 && (fields.flags & kFlagCoalesced) == 0;
  if (!reliable && !fin) return streams_.on_control(fields.stream, fields.sequence, now_ns);
  streams_.on_data(fields.stream, fields.sequence, fields.flags, fields.ack_delay, fields.path,
                   reliable ? text : std::span<const std::uint8_t>(), now_ns);
}

void StreamLink::take(const RxOutcome& outcome, const RxFields& fields, std::span<const std::uint8_t> text,
                      std::uint64_t now_ns) {
  switch (outcome.action) {
    case RxAction::kDrop:
      if (outcome.duplicate_reliable) {
        streams_.on_duplicate(fields.stream, fields.sequence, fields.path, now_ns);
      } else if (outcome.old_reliable) {
        streams_.on_old(fields.stream, fields.sequence, fields.path, now_ns);
      }
      return;
    case RxAction::kAck:
      streams_.on_ack(fields.stream, load_be32(text.data()), fields.ack_delay, (fields.flags & kFlagFin) != 0,
                      now_ns);
      return streams_.on_control(fields.stream, fields.sequence, now_ns);
    case RxAction::kWindowUpdate:
      streams_.on_credit(fields.stream, load_be32(text.data()), fields.ack_delay, now_ns);
      return streams_.on_control(fields.stream, fields.sequence, now_ns);
    case RxAction::kDeliver:
    case RxAction::kDeliverBundle:
      return take_data(fields, text, now_ns);
    default:
      return streams_.on_control(fields.stream, fields.sequence, now_ns);
  }
}

bool StreamLink::follow(std::uint8_t path, std::uint32_t segment_bytes, bool hold, std::uint64_t now_ns) {
  const SessionHot& hot = shard_.hot(slot_);
  streams_.set_epoch(hot.current.epoch);
  streams_.set_dynamic_limit(shard_.dynamic_first(slot_), hot.tx[kDynamicFirst].limit);
  streams_.set_path(path, segment_bytes);
  const bool rest = streams_.at_rest(now_ns);
  shard_.set_under_way(slot_, !rest);
  streams_.set_hold(hold || shard_.rekey_waits(slot_));
  return rest;
}

TxGrant StreamLink::grant(std::uint16_t stream) {
  TxStream* counter = streams_.counter(stream);
  return counter != nullptr ? shard_.grant(slot_, *counter) : shard_.grant(slot_, stream);
}

TxGrant StreamLink::grant(StreamPacket& packet) {
  if (packet.kind == StreamPacket::Kind::kReseal) {
    TxStream* counter = streams_.counter(packet.stream);
    return counter != nullptr ? shard_.regrant(slot_, *counter, packet.sequence, packet.image_epoch)
                              : shard_.regrant(slot_, packet.stream, packet.sequence, packet.image_epoch);
  }
  const TxGrant granted = grant(packet.stream);
  if (granted.drop == DropReason::kNone) streams_.numbered(packet, granted.sequence);
  return granted;
}

}  // namespace session
