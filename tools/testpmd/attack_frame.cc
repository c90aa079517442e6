#include "tools/testpmd/attack_frame.h"

#include <cstring>

#include "dataplane/checksum.h"
#include "dataplane/ip.h"
#include "session/wire.h"

namespace testpmd {
namespace {

using session::load_be16;
using session::load_be32;
using session::store_be16;
using session::store_be32;

constexpr std::size_t kEther = 14;
constexpr std::uint32_t kSequencesAhead = 1U << 20;  // new to every window, and never sent by the session
constexpr std::uint32_t kChallengeSequence = 0x30000000;  // far ahead of what stream 0 has used
constexpr std::uint16_t kOtherPort = 0x2000;  // exclusive-or: another port, the same for every packet

void fill(std::uint8_t* p, std::size_t bytes, AttackRandom& random) {
  for (std::size_t i = 0; i < bytes; ++i) p[i] = static_cast<std::uint8_t>(random());
}

std::size_t unchanged_size(std::uint8_t* frame, const FrameParts& parts) {
  seal_lengths(frame, parts, parts.end);
  return parts.end;
}

}  // namespace

std::optional<FrameParts> frame_parts(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEther + dataplane::kIp4Bytes) return std::nullopt;
  FrameParts parts;
  const std::uint16_t type = load_be16(frame.data() + 12);
  if (type != 0x0800 && type != 0x86dd) return std::nullopt;
  parts.ip = kEther;
  parts.six = type == 0x86dd;
  const std::uint8_t* ip = frame.data() + kEther;
  const std::size_t header = parts.six ? dataplane::kIp6Bytes : dataplane::kIp4Bytes;
  if (!parts.six && dataplane::header_bytes4(ip) != header) return std::nullopt;
  parts.udp = kEther + header;
  parts.phantom = parts.udp + dataplane::kUdpBytes;
  if (frame.size() < parts.phantom + session::kPacketOverhead) return std::nullopt;
  if (ip[parts.six ? 6 : 9] != dataplane::kProtoUdp) return std::nullopt;
  const std::uint16_t udp_bytes = load_be16(frame.data() + parts.udp + 4);
  parts.end = parts.udp + udp_bytes;
  if (parts.end > frame.size() || parts.end < parts.phantom + session::kPacketOverhead) return std::nullopt;
  if (frame[parts.phantom] != session::kWireVersion) return std::nullopt;
  return parts;
}

bool is_tunnel_packet(std::span<const std::uint8_t> frame, const FrameParts& parts) {
  return load_be16(frame.data() + parts.phantom + session::kOffFlags) == session::kTunnelFlags;
}

void seal_lengths(std::uint8_t* frame, const FrameParts& parts, std::size_t end) {
  std::uint8_t* ip = frame + parts.ip;
  std::uint8_t* udp = frame + parts.udp;
  const auto udp_bytes = static_cast<std::uint16_t>(end - parts.udp);
  store_be16(udp + 4, udp_bytes);
  store_be16(udp + 6, 0);
  if (!parts.six) {
    store_be16(ip + 2, static_cast<std::uint16_t>(end - parts.ip));
    dataplane::ipv4_checksum_store(ip, dataplane::kIp4Bytes);
    return;
  }
  store_be16(ip + 4, udp_bytes);
  const std::uint64_t pseudo = dataplane::partial_sum(ip + 8, 32) + dataplane::kProtoUdp;
  store_be16(udp + 6, dataplane::udp_checksum(pseudo, udp, udp_bytes));
}

std::size_t make_forged_epoch(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random) {
  std::uint8_t& epoch = frame[parts.phantom + session::kOffEpoch];
  epoch = static_cast<std::uint8_t>(epoch + 2 + random() % (session::MAX_REKEY_CATCHUP - 1));
  return unchanged_size(frame, parts);
}

std::size_t make_stripped_flag(std::uint8_t* frame, const FrameParts& parts) {
  std::uint8_t* flags = frame + parts.phantom + session::kOffFlags;
  store_be16(flags, static_cast<std::uint16_t>(load_be16(flags) & ~session::kFlagEncrypted));
  return unchanged_size(frame, parts);
}

std::size_t make_truncated(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random) {
  const std::size_t least = parts.phantom + session::kHeaderBytes;
  const std::size_t end = least + random() % (parts.end - least);
  seal_lengths(frame, parts, end);
  return end;
}

std::size_t make_wrong_tag(std::uint8_t* frame, const FrameParts& parts, std::uint32_t number) {
  std::uint8_t* p = frame + parts.phantom;
  store_be32(p + session::kOffSequence, load_be32(p + session::kOffSequence) + kSequencesAhead + number);
  frame[parts.end - session::kLengthBytes - 1] ^= 1;
  return unchanged_size(frame, parts);
}

std::size_t make_off_path_challenge(std::uint8_t* frame, const FrameParts& parts, std::uint32_t number,
                                    AttackRandom& random) {
  std::uint8_t* p = frame + parts.phantom;
  constexpr std::size_t kPayload = session::kPathChallengeBytes + session::kTagBytes;
  store_be16(p + session::kOffStream, 0);
  store_be32(p + session::kOffSequence, kChallengeSequence + number);
  store_be16(p + session::kOffFlags, session::kFlagEncrypted | session::kFlagPathValidation);
  store_be32(p + session::kHeaderBytes, kPayload);
  fill(p + session::kPayloadOffset, kPayload, random);
  store_be32(p + session::kPayloadOffset + kPayload, 0);
  const std::size_t end = parts.phantom + session::kPayloadOffset + kPayload + session::kLengthBytes;
  store_be16(frame + parts.udp, static_cast<std::uint16_t>(1024 + random() % 60'000));
  seal_lengths(frame, parts, end);
  return end;
}

std::size_t make_unknown_session(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random) {
  fill(frame + parts.phantom + session::kOffSessionId, session::kSessionIdBytes, random);
  return unchanged_size(frame, parts);
}

std::size_t make_spoofed_source(std::uint8_t* frame, const FrameParts& parts) {
  std::uint8_t* port = frame + parts.udp;
  store_be16(port, static_cast<std::uint16_t>(load_be16(port) ^ kOtherPort));
  return unchanged_size(frame, parts);
}

}  // namespace testpmd
