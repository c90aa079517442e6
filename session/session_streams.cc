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
  if (!config.unmodified_peer) config.span = std::min(config_.window_bits, kHardenedSpan * 2) / 2;
  streams_ = std::make_unique<Streams>(config, *stream_memory_, *wheel_, now_ns);
  link_ = std::make_unique<StreamLink>(*streams_, *shard_, kSlot);
  follow_epoch_and_path(now_ns);
}

// What moved without the streams: epoch, reservation, path; and back what a rekey must wait for.
void Session::follow_epoch_and_path(std::uint64_t now_ns) {
  const std::uint8_t path = schedule_ ? route(1).path_id : std::uint8_t{0};
  const bool rest = link_->follow(path, config_.segment_bytes, control_->rekey_waits(), now_ns);
  control_->set_at_rest(rest, now_ns);
}

// False: nothing was sealed; the streams ask again.
bool Session::seal_stream(StreamPacket& packet, std::vector<std::uint8_t>& out, std::uint64_t now_ns) {
  const TxGrant grant = link_->grant(packet);
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
