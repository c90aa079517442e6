// The packets that the harness sends and looks for: Ethernet, IPv4, UDP, a stamp and a fixed pattern.
//
//   stamp, 18 bytes behind UDP, host order (x86-64), so that the least Ethernet frame holds it:
//     0  uint32  session, highest bit: way down
//     4  uint32  sequence, counts from 0 in each run, by session and way
//     8  uint64  TSC when it was made
//    16  uint16  number of the run, exclusive-or a checksum (CRC-32C, folded) of the 16 bytes above
//
// Sizes are those of RFC 2544: Ethernet frames with FCS, which no buffer holds.
//
// Thread: any; everything is a value or constant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <nmmintrin.h>

#include "dataplane/address.h"
#include "dataplane/checksum.h"
#include "tools/testpmd/counters.h"

namespace testpmd {

inline constexpr unsigned kEtherBytes = 14;
inline constexpr unsigned kFcsBytes = 4;
inline constexpr unsigned kIpBytes = 20;
inline constexpr unsigned kUdpBytes = 8;
inline constexpr unsigned kStampBytes = 18;
inline constexpr unsigned kStampAt = kEtherBytes + kIpBytes + kUdpBytes;
inline constexpr unsigned kPatternAt = kStampAt + kStampBytes;
// The largest frame a port of ours carries, without FCS: 9600 bytes of IP (dataplane/config.cc, kMostMtu).
inline constexpr unsigned kMostFrame = 9600 + kEtherBytes;
// UDP destination of all packets of ours: not registered with IANA, "PT" in ASCII.
inline constexpr std::uint16_t kOurPort = 0x5054;
// First UDP source port; flows take theirs from here on.
inline constexpr std::uint16_t kFirstSourcePort = 0x8000;

struct Stamp {
  std::uint32_t session = 0;
  Way way = Way::kUp;
  std::uint32_t sequence = 0;
  std::uint64_t tsc = 0;
  std::uint16_t run = 0;
};

inline std::uint16_t stamp_check(const std::uint8_t* p) {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::memcpy(&first, p, 8);
  std::memcpy(&second, p + 8, 8);
  const std::uint64_t crc = _mm_crc32_u64(_mm_crc32_u64(0, first), second);
  return static_cast<std::uint16_t>(crc ^ (crc >> 16));
}

inline void write_stamp(std::uint8_t* p, const Stamp& stamp) {
  const std::uint32_t word = stamp.session | (stamp.way == Way::kDown ? 1U << 31 : 0U);
  std::memcpy(p, &word, 4);
  std::memcpy(p + 4, &stamp.sequence, 4);
  std::memcpy(p + 8, &stamp.tsc, 8);
  const std::uint16_t tag = stamp.run ^ stamp_check(p);
  std::memcpy(p + 16, &tag, 2);
}

inline Stamp read_stamp(const std::uint8_t* p) {
  Stamp stamp;
  std::uint32_t word = 0;
  std::uint16_t tag = 0;
  std::memcpy(&word, p, 4);
  std::memcpy(&stamp.sequence, p + 4, 4);
  std::memcpy(&stamp.tsc, p + 8, 8);
  std::memcpy(&tag, p + 16, 2);
  stamp.session = word & 0x7fffffffU;
  stamp.way = (word >> 31) != 0 ? Way::kDown : Way::kUp;
  stamp.run = tag ^ stamp_check(p);
  return stamp;
}

// Near is the gateway's side of a session (the harness as a host of its LAN), far the Phantom end's.
// Session i has the i-th address of each network.
struct AddressPlan {
  std::uint32_t near = 0x0a800000;  // 10.128.0.0, as harness.near says
  std::uint32_t far = 0x64400000;   // 100.64.0.0, as harness.far says
  [[nodiscard]] std::uint32_t source(Way way, std::uint32_t session) const {
    return (way == Way::kUp ? near : far) + session;
  }
  [[nodiscard]] std::uint32_t destination(Way way, std::uint32_t session) const {
    return (way == Way::kUp ? far : near) + session;
  }
};

// What is behind the stamp: any bytes, but always the same.
const std::uint8_t* pattern();

// Makes frames of one way between two MAC addresses.
class FrameMaker {
 public:
  FrameMaker() = default;
  FrameMaker(Way way, const AddressPlan& plan, const dataplane::MacAddress& to,
             const dataplane::MacAddress& from);

  // Writes `bytes` - kFcsBytes bytes at `p`. `bytes` is at least kLeastFrame.
  void write(std::uint8_t* p, unsigned bytes, std::uint16_t source_port, const Stamp& stamp) const {
    const unsigned ip_bytes = bytes - kFcsBytes - kEtherBytes;
    const std::uint32_t from = plan_.source(way_, stamp.session);
    const std::uint32_t to = plan_.destination(way_, stamp.session);
    std::memcpy(p, head_.data(), kStampAt);
    session::store_be16(p + 16, static_cast<std::uint16_t>(ip_bytes));
    session::store_be32(p + 26, from);
    session::store_be32(p + 30, to);
    session::store_be16(p + 24, dataplane::checksum_of(sum_ + ip_bytes + from + to));
    session::store_be16(p + 34, source_port);
    session::store_be16(p + 38, static_cast<std::uint16_t>(ip_bytes - kIpBytes));
    write_stamp(p + kStampAt, stamp);
    std::memcpy(p + kPatternAt, pattern(), ip_bytes - (kPatternAt - kEtherBytes));
  }

 private:
  std::array<std::uint8_t, kStampAt> head_{};
  std::uint64_t sum_ = 0;  // of the header's words that don't change
  AddressPlan plan_;
  Way way_ = Way::kUp;
};

enum class Found : std::uint8_t {
  kOurs,     // stamp, addresses and pattern are right; the run is the caller's to judge
  kDamaged,  // addressed as one of ours, but not what was sent
  kOther,    // not addressed as one of ours
};

// Looks at an Ethernet frame without FCS. `frame_bytes`: its size with FCS as it was sent (padding not
// counted). Sessions from `sessions` on are damage.
Found inspect(const std::uint8_t* p, unsigned bytes, const AddressPlan& plan, std::uint32_t sessions,
              Stamp& out, unsigned& frame_bytes);

// UDP source ports for `flows` inner flows of each of `sessions`, on as many different streams of `streams`
// as there are flows (data plane: dataplane/ip.h, flow_hash); the port of flow f of session s is at
// s * flows + f.
std::vector<std::uint16_t> spread_ports(Way way, const AddressPlan& plan, std::uint32_t sessions,
                                        unsigned flows, unsigned streams);

}  // namespace testpmd
