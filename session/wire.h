// Packet format of wire version 2: constants, header and framing over plain bytes (protocol.md 2, 3, 4.3).
//
// Pure functions on memory the caller owns; any thread; no allocation, no state. Bounds are checked by
// `parse_packet` once; the `load_*` accessors then trust their caller (a parsed header of kHeaderBytes
// bytes).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace session {

inline constexpr std::uint8_t kWireVersion = 2;  // protocol.md 2.1
inline constexpr std::size_t kSessionIdBytes = 32;
inline constexpr std::size_t kHeaderBytes = 45;  // also the AAD
inline constexpr std::size_t kLengthBytes = 4;   // before payload and before extensions
inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::size_t kPayloadOffset = kHeaderBytes + kLengthBytes;
inline constexpr std::size_t kPacketOverhead = 69;  // 45 + 4 + 16 + 4
inline constexpr std::size_t kPathChallengeBytes = 32;
inline constexpr std::uint64_t kAeadMaxInvocations = 1ULL << 48;  // hard ceiling per direction and epoch
inline constexpr std::uint64_t REKEY_SOFT_LIMIT = 1ULL << 47;     // names of the reference kept on purpose
inline constexpr std::uint32_t SEQ_REKEY_WATERMARK = 1U << 31;
inline constexpr unsigned MAX_REKEY_CATCHUP = 16;
inline constexpr std::uint8_t kMaxEpoch = 255;

// Header field offsets, protocol.md 3.2.
inline constexpr std::size_t kOffVersion = 0;
inline constexpr std::size_t kOffSessionId = 1;
inline constexpr std::size_t kOffStream = 33;
inline constexpr std::size_t kOffSequence = 35;
inline constexpr std::size_t kOffFlags = 39;
inline constexpr std::size_t kOffAckDelay = 41;
inline constexpr std::size_t kOffEpoch = 43;
inline constexpr std::size_t kOffPath = 44;

// Flags, protocol.md 3.3.
enum Flags : std::uint16_t {
  kFlagReliable = 0x0001,
  kFlagAck = 0x0002,
  kFlagFin = 0x0004,
  kFlagUnreliable = 0x0008,
  kFlagPriority = 0x0010,
  kFlagEncrypted = 0x0020,
  kFlagCompressed = 0x0040,
  kFlagControl = 0x0080,
  kFlagRekey = 0x0100,
  kFlagPathValidation = 0x0200,
  kFlagCoalesced = 0x0400,
  kFlagWindowUpdate = 0x0800,
};
// Flags of a tunnelled IP packet (design: IP tunnel profile).
inline constexpr std::uint16_t kTunnelFlags = kFlagEncrypted | kFlagUnreliable;

inline std::uint16_t load_be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>((std::uint16_t{p[0]} << 8) | p[1]);
}
inline std::uint32_t load_be32(const std::uint8_t* p) {
  std::uint32_t v;
  std::memcpy(&v, p, 4);
  return __builtin_bswap32(v);
}
inline void store_be16(std::uint8_t* p, std::uint16_t v) {
  v = __builtin_bswap16(v);
  std::memcpy(p, &v, 2);
}
inline void store_be32(std::uint8_t* p, std::uint32_t v) {
  v = __builtin_bswap32(v);
  std::memcpy(p, &v, 4);
}

inline void store_be64(std::uint8_t* p, std::uint64_t v) {
  v = __builtin_bswap64(v);
  std::memcpy(p, &v, 8);
}

// The fields behind the session id, as three wide stores.
inline void store_fields(std::uint8_t* header, std::uint16_t stream, std::uint32_t sequence,
                         std::uint16_t flags, std::uint16_t ack_delay, std::uint8_t epoch,
                         std::uint8_t path) {
  static_assert(kOffSequence == kOffStream + 2 && kOffFlags == kOffStream + 6);
  static_assert(kOffAckDelay == kOffStream + 8 && kOffEpoch == kOffStream + 10 &&
                kOffPath == kOffStream + 11);
  store_be64(header + kOffStream, std::uint64_t{stream} << 48 | std::uint64_t{sequence} << 16 | flags);
  store_be32(header + kOffAckDelay, std::uint32_t{ack_delay} << 16 | std::uint32_t{epoch} << 8 | path);
}

// A header in host form, for control code and tests. The fast path reads fields in place.
struct Header {
  std::uint8_t version = kWireVersion;
  std::array<std::uint8_t, kSessionIdBytes> session_id{};
  std::uint16_t stream_id = 0;
  std::uint32_t sequence = 0;
  std::uint16_t flags = 0;
  std::uint16_t ack_delay_us = 0;
  std::uint8_t epoch = 0;
  std::uint8_t path_id = 0;
  friend bool operator==(const Header&, const Header&) = default;
};

void encode_header(const Header& header, std::span<std::uint8_t, kHeaderBytes> out);
Header decode_header(std::span<const std::uint8_t, kHeaderBytes> in);

// Where the parts of one packet lie inside a datagram. Trailing bytes are legal and ignored.
struct Frame {
  std::uint32_t payload_bytes;  // ciphertext and tag when ENCRYPTED is set
  std::uint32_t ext_bytes;
};

// Checks framing without overflow: 45 bytes of header, both length fields and the bytes they announce inside
// `datagram`. False: the packet is malformed. Version and session id are the caller's next checks.
inline bool parse_frame(std::span<const std::uint8_t> datagram, Frame& out) {
  const std::size_t size = datagram.size();
  if (size < kPayloadOffset + kLengthBytes) return false;
  const std::size_t payload = load_be32(datagram.data() + kHeaderBytes);
  if (payload > size - kPayloadOffset - kLengthBytes) return false;
  const std::size_t ext = load_be32(datagram.data() + kPayloadOffset + payload);
  if (ext > size - kPayloadOffset - kLengthBytes - payload) return false;
  out = Frame{static_cast<std::uint32_t>(payload), static_cast<std::uint32_t>(ext)};
  return true;
}

// Nonce of a packet, protocol.md 4.3: prefix(4) | epoch | stream(2) | sequence(4) | path.
inline void build_nonce(std::uint8_t* out12, const std::uint8_t* prefix4, std::uint8_t epoch,
                        std::uint16_t stream, std::uint32_t sequence, std::uint8_t path) {
  std::memcpy(out12, prefix4, 4);
  store_be64(out12 + 4,
             std::uint64_t{epoch} << 56 | std::uint64_t{stream} << 40 | std::uint64_t{sequence} << 8 | path);
}

}  // namespace session
