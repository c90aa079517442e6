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
  config.receive_window = config_.window_bits;
  config.credit_hint = config_.credit_hint;
  if (!config.unmodified_peer) config.span = hardened_span(config_.window_bits);
  streams_ = std::make_unique<Streams>(config, *stream_memory_, *wheel_, now_ns);
  link_ = std::make_unique<StreamLink>(*streams_, *shard_, kSlot);
  follow_epoch_and_path(now_ns);
}

// A rekey that waited for rest happens here, then what moved without the streams: epoch, reservation, path.
void Session::follow_epoch_and_path(std::uint64_t now_ns) {
  const bool rest = streams_->at_rest(now_ns);
  const bool waited = control_->rekey_waits();
  control_->set_at_rest(rest, now_ns);
  if (waited && rest) settle(now_ns);
  const std::uint8_t path = schedule_ ? route(1).path_id : std::uint8_t{0};
  (void)link_->follow(path, config_.segment_bytes, control_->rekey_waits(), now_ns);
}

// False: nothing was sealed; the streams ask again.
bool Session::seal_stream(StreamPacket& packet, std::vector<std::uint8_t>& out, std::uint64_t now_ns) {
  const TxGrant grant = link_->grant(packet);
  if (grant.drop != DropReason::kNone) {
    streams_->not_sent(packet, now_ns);
    return false;
  }
  seal_as(out, grant, packet);
  if (packet.kind != StreamPacket::Kind::kPlain) std::memcpy(packet.image.data(), out.data(), out.size());
  streams_->sealed(packet, grant.epoch, grant.sequence, static_cast<std::uint32_t>(out.size()), now_ns);
  return true;
}

bool Session::next_datagram(std::vector<std::uint8_t>& out, PathEnds& to, std::uint64_t now_ns) {
  const bool nowhere = schedule_ && route(1).ends.remote.family == 0;  // where the peer is nobody knows yet
  if (streams_ && !nowhere) follow_epoch_and_path(now_ns);
  if (next_datagram(out, to)) return true;
  if (!streams_ || nowhere) return false;
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
