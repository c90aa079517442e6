#include "tools/testpmd/lan_host.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/ip.h"

namespace testpmd {
namespace {

constexpr unsigned kEther = 14;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kTypeIp4 = 0x0800;
constexpr std::uint16_t kTypeIp6 = 0x86dd;

std::uint64_t packed(const dataplane::MacAddress& mac) {
  std::uint64_t value = 0;
  std::memcpy(&value, mac.data(), mac.size());
  return value;
}

void put(rte_mbuf* m, const dataplane::DiscoveryFrame& frame) {
  rte_pktmbuf_reset(m);
  std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(frame.size)), frame.bytes.data(), frame.size);
}

std::span<const std::uint8_t> bytes_of(const rte_mbuf* m) {
  return {rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len};
}

void exchange(std::uint8_t* a, std::uint8_t* b, std::size_t bytes) {
  std::swap_ranges(a, a + bytes, b);
}

}  // namespace

LanHost::LanHost(const dataplane::Port& port) : mac_(port.mac), gateway_(port.config.gateway4) {
  for (const dataplane::IpPrefix& prefix : port.config.addresses) addresses_.push_back(prefix.address);
  for (const dataplane::StaticNeighbour& neighbour : port.config.neighbours) {
    if (!gateway_ || neighbour.address != *gateway_) continue;
    gateway_mac_.store(packed(neighbour.mac));
    fixed_ = true;
  }
}

bool LanHost::ours(const dataplane::IpAddress& address) const {
  return std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end();
}

void LanHost::learn(const dataplane::IpAddress& sender, const dataplane::MacAddress& mac) {
  if (!fixed_ && gateway_ && sender == *gateway_) gateway_mac_.store(packed(mac), std::memory_order_relaxed);
}

dataplane::MacAddress LanHost::gateway_mac() const {
  dataplane::MacAddress mac{};
  const std::uint64_t value = gateway_mac_.load(std::memory_order_relaxed);
  std::memcpy(mac.data(), &value, mac.size());
  return mac;
}

bool LanHost::answer_arp(rte_mbuf* m) {
  dataplane::ArpMessage arp;
  if (!dataplane::parse_arp(bytes_of(m), arp)) return false;
  learn(arp.sender, arp.sender_mac);
  if (!arp.request || !ours(arp.target)) return false;
  put(m, dataplane::arp_frame(false, arp.sender_mac, mac_, arp.target, arp.sender_mac, arp.sender));
  return true;
}

bool LanHost::answer_nd(rte_mbuf* m) {
  dataplane::NdMessage nd;
  if (!dataplane::parse_nd(bytes_of(m), nd)) return false;
  if (!nd.solicitation || !nd.has_mac || !ours(nd.target)) return false;
  put(m, dataplane::advertisement_frame(nd.mac, nd.source, mac_, nd.target));
  return true;
}

bool LanHost::answer(rte_mbuf* m, bool& discovery) {
  discovery = false;
  if (m->data_len < kEther + dataplane::kIp4Bytes) return false;
  const std::uint8_t* p = rte_pktmbuf_mtod(m, const std::uint8_t*);
  const std::uint16_t type = session::load_be16(p + 12);
  if (type == kTypeArp) {
    discovery = true;
    return answer_arp(m);
  }
  if (type != kTypeIp6 || p[kEther + 6] != dataplane::kProtoIcmp6) return false;
  discovery = true;
  return answer_nd(m);
}

bool LanHost::ask(rte_mbuf* m) const {
  if (!gateway_ || known() || addresses_.empty()) return false;
  const auto four = std::find_if(addresses_.begin(), addresses_.end(),
                                 [](const dataplane::IpAddress& address) { return address.family == 4; });
  if (four == addresses_.end()) return false;
  put(m, dataplane::arp_frame(true, dataplane::kBroadcastMac, mac_, *four, {}, *gateway_));
  return true;
}

// Sums over exchanged words stay right, so no checksum is touched.
void reflect(rte_mbuf* m) {
  std::uint8_t* p = rte_pktmbuf_mtod(m, std::uint8_t*);
  if (m->data_len < kEther) return;
  exchange(p, p + 6, 6);
  std::uint8_t* ip = p + kEther;
  const std::uint16_t type = session::load_be16(p + 12);
  unsigned header = 0;
  std::uint8_t protocol = 0;
  if (type == kTypeIp4 && m->data_len >= kEther + dataplane::kIp4Bytes) {
    exchange(ip + 12, ip + 16, 4);
    header = dataplane::is_fragment4(ip) ? 0 : dataplane::header_bytes4(ip);
    protocol = ip[9];
  } else if (type == kTypeIp6 && m->data_len >= kEther + dataplane::kIp6Bytes) {
    exchange(ip + 8, ip + 24, 16);
    header = dataplane::kIp6Bytes;
    protocol = ip[6];
  }
  const bool ports = protocol == dataplane::kProtoUdp || protocol == dataplane::kProtoTcp;
  if (header == 0 || !ports || m->data_len < kEther + header + 4) return;
  exchange(ip + header, ip + header + 2, 2);
}

}  // namespace testpmd
