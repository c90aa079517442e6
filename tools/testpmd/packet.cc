#include "tools/testpmd/packet.h"

#include <algorithm>

#include "dataplane/ip.h"

namespace testpmd {
namespace {

constexpr std::uint16_t kTypeIp4 = 0x0800;
constexpr std::uint8_t kTtl = 64;
// Ports that are tried for a flow before any is taken: with 31 streams one in 1e9 flows needs more.
constexpr unsigned kTries = 640;

std::array<std::uint8_t, kMostFrame> make_pattern() {
  std::array<std::uint8_t, kMostFrame> bytes{};
  std::uint32_t state = 0x2545f491;  // xorshift32 (Marsaglia, 2003), any seed
  for (std::uint8_t& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return bytes;
}

const std::array<std::uint8_t, kMostFrame> kPattern = make_pattern();

unsigned stream_of(std::uint8_t* ip, std::uint16_t port, unsigned streams) {
  session::store_be16(ip + kIpBytes, port);
  const std::uint64_t hash = dataplane::flow_hash(ip, 4, kIpBytes + kUdpBytes);
  return static_cast<unsigned>((hash * streams) >> 32);
}

// The next port from `at` on whose stream is `wanted`.
std::uint16_t port_on(std::uint8_t* ip, std::uint16_t at, unsigned wanted, unsigned streams) {
  for (unsigned i = 0; i < kTries; ++i) {
    const auto port = static_cast<std::uint16_t>(at + i);
    if (stream_of(ip, port, streams) == wanted) return port;
  }
  return at;
}

}  // namespace

const std::uint8_t* pattern() {
  return kPattern.data();
}

FrameMaker::FrameMaker(Way way, const AddressPlan& plan, const dataplane::MacAddress& to,
                       const dataplane::MacAddress& from)
    : plan_(plan), way_(way) {
  std::uint8_t* p = head_.data();
  std::copy(to.begin(), to.end(), p);
  std::copy(from.begin(), from.end(), p + 6);
  session::store_be16(p + 12, kTypeIp4);
  p[14] = 0x45;
  p[20] = 0x40;  // don't fragment
  p[22] = kTtl;
  p[23] = dataplane::kProtoUdp;
  session::store_be16(p + 36, kOurPort);
  sum_ = dataplane::partial_sum(p + kEtherBytes, kIpBytes);
}

Found inspect(const std::uint8_t* p, unsigned bytes, const AddressPlan& plan, std::uint32_t sessions,
              Stamp& out, unsigned& frame_bytes) {
  if (bytes < kStampAt || session::load_be16(p + 12) != kTypeIp4 || p[14] != 0x45) return Found::kOther;
  if (p[23] != dataplane::kProtoUdp || session::load_be16(p + 36) != kOurPort) return Found::kOther;
  const unsigned ip_bytes = session::load_be16(p + 16);
  if (ip_bytes + kEtherBytes > bytes || ip_bytes + kEtherBytes < kPatternAt) return Found::kDamaged;
  frame_bytes = ip_bytes + kEtherBytes + kFcsBytes;
  out = read_stamp(p + kStampAt);
  if (out.session >= sessions) return Found::kDamaged;
  if (session::load_be32(p + 26) != plan.source(out.way, out.session)) return Found::kDamaged;
  if (session::load_be32(p + 30) != plan.destination(out.way, out.session)) return Found::kDamaged;
  const std::size_t behind = ip_bytes + kEtherBytes - kPatternAt;
  return std::memcmp(p + kPatternAt, pattern(), behind) == 0 ? Found::kOurs : Found::kDamaged;
}

std::vector<std::uint16_t> spread_ports(Way way, const AddressPlan& plan, std::uint32_t sessions,
                                        unsigned flows, unsigned streams) {
  std::vector<std::uint16_t> ports(std::size_t{sessions} * flows, kFirstSourcePort);
  if (flows == 1) return ports;
  const FrameMaker maker(way, plan, {}, {});
  std::array<std::uint8_t, 64> frame{};
  for (std::uint32_t s = 0; s < sessions; ++s) {
    maker.write(frame.data(), 64, kFirstSourcePort, Stamp{s, way, 0, 0, 0});
    std::uint16_t next = kFirstSourcePort;
    for (unsigned f = 0; f < flows; ++f) {
      const std::uint16_t port = port_on(frame.data() + kEtherBytes, next, f % streams, streams);
      ports[std::size_t{s} * flows + f] = port;
      next = static_cast<std::uint16_t>(port + 1);
    }
  }
  return ports;
}

}  // namespace testpmd
