// Ethdevs of a topology: found by name, configured for one queue a worker, started, closed.
#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include <fmt/core.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>

#include "dataplane/batch.h"
#include "dataplane/topology_pvt.h"

namespace dataplane {
namespace {

constexpr std::uint64_t kWantedRx =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
constexpr std::uint64_t kWantedTx = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
constexpr std::uint64_t kWantedRss = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;
// Packets taken out of a queue before its device is closed: more than any ring of ours holds.
constexpr unsigned kMostLeftOver = 8192;
// The AF_XDP driver never frees what lies in the fill and completion rings it shares with the kernel, 2048
// buffers each (ETH_AF_XDP_DFLT_NUM_DESCS, drivers/net/af_xdp/rte_eth_af_xdp.c of DPDK 22.11 and 24.11).
constexpr unsigned kXdpRingBuffers = 2 * 2048;

// Names 1518 bytes as its largest frame and takes what its buffers (bsize) hold: memif_dev_info and
// memif_start_ring in drivers/net/memif/rte_eth_memif.c of DPDK 22.11 and 24.11. Its MTU is not asked for.
bool takes_larger_frames(const rte_eth_dev_info& info) {
  return std::string_view(info.driver_name) == "net_memif";
}

std::string error_text(int code) {
  return rte_strerror(code < 0 ? -code : code);
}

[[noreturn]] void fail(const Port& port, const std::string& what) {
  throw std::runtime_error(fmt::format("port \"{}\" ({}): {}", port.config.name, port.config.device, what));
}

// The name of a virtual device stands in front of its arguments.
std::string device_name(const std::string& device) {
  return device.substr(0, device.find(','));
}

std::string available_devices() {
  std::string list;
  for (std::uint16_t id = 0; id < RTE_MAX_ETHPORTS; ++id) {
    if (rte_eth_dev_is_valid_port(id) == 0) continue;
    std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
    if (rte_eth_dev_get_name_by_port(id, name.data()) != 0) continue;
    list += (list.empty() ? "" : ", ") + std::string(name.data());
  }
  return list.empty() ? "none" : list;
}

// A virtual device was asked for, so its driver refused; it said why in EAL's messages.
std::string missing_advice(const std::string& device) {
  if (!device.starts_with("net_")) {
    return fmt::format(
        "there is no such device; available: {}. Bind a PCI device to vfio-pci (dpdk-devbind.py --status); a "
        "virtual device's name begins with net_",
        available_devices());
  }
  std::string text = fmt::format(
      "its driver could not make the device, EAL's messages above say why; available: {}. Does the interface "
      "exist, and is it not used by another program?",
      available_devices());
  if (device.starts_with("net_af_packet")) {
    text +=
        " PACKET_FANOUT means that AF_PACKET of another process got the same group number in this network "
        "namespace: start again, or give each gateway a namespace of its own";
  }
  return text;
}

struct QueueAdvice {
  std::string_view driver;
  std::string_view text;
};
// How one asks the driver for more queues; names are those of rte_eth_dev_info.
constexpr std::array<QueueAdvice, 7> kQueueAdvice{{
    {"net_af_packet", "add qpairs={} to the arguments of the device"},
    {"net_af_xdp", "add queue_count={} to the arguments of the device (and ethtool -L IFACE combined {})"},
    {"net_ring", "a ring port has the queues it was made with"},
    {"net_pcap", "give the device {} rx_iface=, iface= or rx_pcap= arguments"},
    {"net_tap", "this build of DPDK allows fewer queues for TAP ports"},
    {"net_virtio_user", "add queues={} to the arguments of the device"},
    {"net_virtio", "give the virtual machine's network card {} queue pairs"},
}};

std::string queue_advice(const char* driver, unsigned workers) {
  for (const QueueAdvice& advice : kQueueAdvice) {
    if (driver == advice.driver) return fmt::format(fmt::runtime(advice.text), workers, workers);
  }
  return "the hardware or its driver is at its limit";
}

rte_eth_dev_info info_of(const Port& port) {
  rte_eth_dev_info info{};
  const int rc = rte_eth_dev_info_get(port.ethdev, &info);
  if (rc != 0) fail(port, fmt::format("the device does not answer ({})", error_text(rc)));
  return info;
}

void check_queues(const Port& port, const rte_eth_dev_info& info, unsigned workers) {
  for (const auto& [most, kind] :
       {std::pair{info.max_rx_queues, "receive"}, {info.max_tx_queues, "transmit"}}) {
    if (most >= workers) continue;
    fail(port,
         fmt::format("{} worker(s) need one {} queue each, driver {} offers {}: {}, or set cores.workers "
                     "to {}",
                     workers, kind, info.driver_name, most, queue_advice(info.driver_name, workers),
                     std::max<unsigned>(most, 1)));
  }
}

void check_buffers(const Port& port, const rte_mempool* pool) {
  const unsigned room = rte_pktmbuf_data_room_size(const_cast<rte_mempool*>(pool)) - RTE_PKTMBUF_HEADROOM;
  const unsigned frame = port.config.mtu + RTE_ETHER_HDR_LEN;
  if (room < frame) {
    fail(port,
         fmt::format("mtu = {} makes frames of {} bytes, buffers hold {}: set pools.data_room_bytes to at "
                     "least {}",
                     port.config.mtu, frame, room, frame + RTE_PKTMBUF_HEADROOM));
  }
}

rte_eth_conf port_conf(const Port& port, const rte_eth_dev_info& info, unsigned workers) {
  rte_eth_conf conf{};
  conf.rxmode.offloads = port.rx_offloads;
  conf.txmode.offloads = port.tx_offloads | (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE);
  const std::uint32_t most = info.max_mtu == 0 ? port.config.mtu : info.max_mtu;
  conf.rxmode.mtu =
      std::clamp<std::uint32_t>(port.config.mtu, info.min_mtu, std::max<std::uint32_t>(most, info.min_mtu));
  if (takes_larger_frames(info)) conf.rxmode.mtu = std::min<std::uint32_t>(conf.rxmode.mtu, RTE_ETHER_MTU);
  const std::uint64_t rss = info.flow_type_rss_offloads & kWantedRss;
  if (workers > 1 && rss != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss;
  }
  return conf;
}

void configure(Port& port, const rte_eth_dev_info& info, unsigned workers) {
  port.rx_offloads = info.rx_offload_capa & kWantedRx;
  port.tx_offloads = info.tx_offload_capa & kWantedTx;
  const rte_eth_conf conf = port_conf(port, info, workers);
  const auto queues = static_cast<std::uint16_t>(workers);
  const int rc = rte_eth_dev_configure(port.ethdev, queues, queues, &conf);
  if (rc != 0) {
    fail(port,
         fmt::format("driver {} refused {} queue(s) with mtu {} ({}); its limits: mtu {} to {}",
                     info.driver_name, workers, port.config.mtu, error_text(rc), info.min_mtu, info.max_mtu));
  }
}

void make_queues(Port& port, rte_eth_dev_info& info, unsigned workers, rte_mempool* pool) {
  std::uint16_t rx = port.config.rx_descriptors;
  std::uint16_t tx = port.config.tx_descriptors;
  if (rte_eth_dev_adjust_nb_rx_tx_desc(port.ethdev, &rx, &tx) != 0) {
    fail(port, fmt::format("rx_descriptors = {} or tx_descriptors = {} do not suit driver {}", rx, tx,
                           info.driver_name));
  }
  const auto socket = static_cast<unsigned>(port.socket);
  info.default_rxconf.offloads = port.rx_offloads;
  info.default_txconf.offloads =
      port.tx_offloads | (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE);
  for (std::uint16_t queue = 0; queue != workers; ++queue) {
    const int rx_rc = rte_eth_rx_queue_setup(port.ethdev, queue, rx, socket, &info.default_rxconf, pool);
    if (rx_rc != 0)
      fail(port, fmt::format("receive queue {} of {} entries: {}", queue, rx, error_text(rx_rc)));
    const int tx_rc = rte_eth_tx_queue_setup(port.ethdev, queue, tx, socket, &info.default_txconf);
    if (tx_rc != 0)
      fail(port, fmt::format("transmit queue {} of {} entries: {}", queue, tx, error_text(tx_rc)));
  }
}

// Packets never leave larger than the configured MTU, so only a device that would cut off what arrives
// matters.
void set_mtu(const Port& port) {
  std::uint16_t now = 0;
  if (rte_eth_dev_get_mtu(port.ethdev, &now) == 0 && now == port.config.mtu) return;
  const int rc = rte_eth_dev_set_mtu(port.ethdev, port.config.mtu);
  if (rc == 0 || rc == -ENOTSUP) return;
  if (now >= port.config.mtu) {
    spdlog::info("port \"{}\": the device keeps its MTU of {} ({})", port.config.name, now, error_text(rc));
    return;
  }
  fail(port,
       fmt::format("mtu = {} was refused ({}); the device is at {}: set mtu to that, or raise it on the "
                   "interface first",
                   port.config.mtu, error_text(rc), now));
}

// Neighbour discovery comes to multicast addresses; a device that cannot let them all through must let
// everything through. Workers look at the destination themselves.
void open_filters(const Port& port) {
  const auto is_v6 = [](const IpPrefix& prefix) { return prefix.address.family == 6; };
  const bool wants_multicast = std::any_of(port.config.addresses.begin(), port.config.addresses.end(), is_v6);
  bool promiscuous = port.config.promiscuous;
  if (wants_multicast && !promiscuous && rte_eth_allmulticast_enable(port.ethdev) != 0) promiscuous = true;
  if (!promiscuous) return;
  const int rc = rte_eth_promiscuous_enable(port.ethdev);
  if (rc != 0 && rc != -ENOTSUP) {
    spdlog::warn("port \"{}\": promiscuous mode was refused ({}); neighbour discovery may not arrive",
                 port.config.name, error_text(rc));
  }
}

// A ring or memory port keeps packets that nobody received; they would be lost to the pool.
void drain_device(const Port& port, unsigned workers) {
  std::array<rte_mbuf*, kMaxBurst> packets{};
  for (std::uint16_t queue = 0; queue != workers; ++queue) {
    for (unsigned taken = 0; taken < kMostLeftOver;) {
      const std::uint16_t n = rte_eth_rx_burst(port.ethdev, queue, packets.data(), kMaxBurst);
      if (n == 0) break;
      rte_pktmbuf_free_bulk(packets.data(), n);
      taken += n;
    }
  }
}

}  // namespace

Port find_port(const PortConfig& config, std::uint8_t index) {
  Port port;
  port.config = config;
  port.index = index;
  if (rte_eth_dev_get_port_by_name(device_name(config.device).c_str(), &port.ethdev) != 0) {
    fail(port, missing_advice(config.device));
  }
  port.socket = rte_eth_dev_socket_id(port.ethdev);
  rte_ether_addr mac{};
  const int rc = rte_eth_macaddr_get(port.ethdev, &mac);
  if (rc != 0) fail(port, fmt::format("the device has no MAC address ({})", error_text(rc)));
  std::memcpy(port.mac.data(), mac.addr_bytes, port.mac.size());
  return port;
}

void start_port(Port& port, unsigned workers, rte_mempool* pool) {
  rte_eth_dev_info info = info_of(port);
  check_queues(port, info, workers);
  check_buffers(port, pool);
  configure(port, info, workers);
  make_queues(port, info, workers, pool);
  if (!takes_larger_frames(info)) set_mtu(port);
  const int rc = rte_eth_dev_start(port.ethdev);
  if (rc != 0) {
    fail(port, fmt::format("driver {} could not start the device ({}); is its interface up and not used by "
                           "another program?",
                           info.driver_name, error_text(rc)));
  }
  port.started = true;
  open_filters(port);
}

unsigned close_port(const Port& port, unsigned workers) {
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(port.ethdev, &info) != 0) return 0;
  const bool is_xdp = std::string_view(info.driver_name) == "net_af_xdp";
  if (port.started) drain_device(port, workers);
  rte_eth_dev_stop(port.ethdev);
  const int rc = rte_eth_dev_close(port.ethdev);
  if (rc != 0) spdlog::warn("port \"{}\": closing failed ({})", port.config.name, error_text(rc));
  return is_xdp ? workers * kXdpRingBuffers : 0;
}

}  // namespace dataplane
