#include "dataplane/fragment.h"

#include <cstring>

#include "dataplane/ip.h"

namespace dataplane {
namespace {

using session::DropReason;
using session::load_be16;
using session::store_be16;

constexpr std::uint16_t kMoreFragments = 0x2000;
constexpr std::uint16_t kOffsetMask = 0x1fff;
constexpr unsigned kUnit = 8;  // offsets count eight bytes

// Header of all fragments but the first: only options with the copy bit, padded to four bytes.
unsigned later_header(const std::uint8_t* p, std::uint8_t* out) {
  const unsigned header = header_bytes4(p);
  std::memcpy(out, p, kIp4Bytes);
  unsigned at = kIp4Bytes;
  for (unsigned i = kIp4Bytes; i < header && p[i] != 0;) {
    const bool single = p[i] == 1;
    const unsigned bytes = single ? 1 : (i + 1 < header ? p[i + 1] : 0);
    if (bytes == 0 || (!single && bytes < 2) || i + bytes > header) break;
    if ((p[i] & 0x80) != 0) {
      std::memcpy(out + at, p + i, bytes);
      at += bytes;
    }
    i += bytes;
  }
  while (at % 4 != 0) out[at++] = 0;
  out[0] = static_cast<std::uint8_t>(0x40 | (at / 4));
  return at;
}

// One fragment: header, then payload[from, from + bytes).
rte_mbuf* make(Core& core, rte_mbuf* m, const std::uint8_t* header, unsigned header_bytes,
               const std::uint8_t* payload, unsigned bytes, std::uint16_t flags_offset) {
  rte_mbuf* piece = core.originate();
  if (piece == nullptr) return nullptr;
  auto* p = reinterpret_cast<std::uint8_t*>(
      rte_pktmbuf_append(piece, static_cast<std::uint16_t>(header_bytes + bytes)));
  if (p == nullptr) {
    core.drop(piece, DropReason::kNoBuffer);
    return nullptr;
  }
  std::memcpy(p, header, header_bytes);
  std::memcpy(p + header_bytes, payload, bytes);
  store_be16(p + 2, static_cast<std::uint16_t>(header_bytes + bytes));
  store_be16(p + 6, flags_offset);
  ipv4_checksum_store(p, header_bytes);
  meta(piece) = meta(m);
  meta(piece).l3_bytes = static_cast<std::uint16_t>(header_bytes + bytes);
  return piece;
}

void give_up(Core& core, rte_mbuf* m, Packets& out, DropReason reason) {
  for (rte_mbuf* piece : out) core.drop(piece, reason);
  out.count = 0;
  core.drop(m, reason);
}

}  // namespace

void fragment4(Core& core, rte_mbuf* m, unsigned mtu, Packets& out) {
  const std::uint8_t* p = data_of(m);
  const unsigned header = header_bytes4(p);
  const std::uint16_t word = load_be16(p + 6);
  std::uint8_t later[60];
  const unsigned later_bytes = later_header(p, later);
  const unsigned total = load_be16(p + 2) - header;
  unsigned done = 0;
  while (done < total) {
    const std::uint8_t* head = done == 0 ? p : later;
    const unsigned head_bytes = done == 0 ? header : later_bytes;
    if (mtu < head_bytes + kUnit || out.full()) return give_up(core, m, out, DropReason::kInnerTooBig);
    const unsigned room = (mtu - head_bytes) / kUnit * kUnit;
    const bool last = total - done <= mtu - head_bytes;
    const unsigned bytes = last ? total - done : room;
    const unsigned offset = (word & kOffsetMask) + done / kUnit;
    const bool more = !last || (word & kMoreFragments) != 0;
    rte_mbuf* piece = make(core, m, head, head_bytes, p + header + done, bytes,
                           static_cast<std::uint16_t>(offset | (more ? kMoreFragments : 0)));
    if (piece == nullptr) return give_up(core, m, out, DropReason::kNoBuffer);
    out.push(piece);
    done += bytes;
  }
  core.consume(m, session::ConsumedKind::kConsumedTransformed);
}

}  // namespace dataplane
