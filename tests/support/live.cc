#include "tests/support/live.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>
#include <sys/stat.h>

#include "dataplane/prefix.h"

namespace support {
namespace {

constexpr std::uint16_t kPort = 4500;

std::string wan(unsigned side) {
  return fmt::format("192.0.2.{}", side);
}

GatewayOptions with_endpoint(GatewayOptions options, unsigned side) {
  options.endpoints = {endpoint(wan(side), kPort)};
  return options;
}

void configure(dataplane::Topology& topology, unsigned side) {
  topology.config.sessions.clear();
  topology.config.replace_timeout_ns = 200'000'000;
  dataplane::PortConfig& lan = topology.ports[kLan].config;
  lan.addresses = {prefix(fmt::format("10.{}.0.1/16", side)), prefix(fmt::format("2001:db8:{}::1/48", side))};
  lan.neighbours = {{ip(fmt::format("10.{}.0.9", side)), mac(9)}};
  dataplane::PortConfig& out = topology.ports[kWan].config;
  out.addresses = {prefix(wan(side) + "/24")};
  out.neighbours = {{ip(wan(3 - side)), mac(0x22)}};
}

}  // namespace

void ForgetfulStore::commit(std::span<const session::StoreRecord> records) {
  if (failing_) throw std::runtime_error("the disk is full");
  ++commits_;
  records_ += records.size();
}

Live::Live(const std::string& name, unsigned at, const GatewayOptions& options, session::EpochStore* durable)
    : gw(name, with_endpoint(options, at)), side(at) {
  char folder[] = "/tmp/phantom-live-XXXXXX";
  directory_ = mkdtemp(folder);
  dataplane::Topology& topology = gw.topology();
  topology.control_stats = &control_stats;
  configure(topology, side);
  control = std::make_unique<dataplane::Control>(topology, durable != nullptr ? *durable : store);
  control->start();
  for (int i = 0; i < 4; ++i) poll();
}

Live::~Live() {
  dataplane::Topology& topology = gw.topology();
  for (const dataplane::RouteView& view : door().routes()) topology.fib->remove(view.prefix);
  control->finish();
  control.reset();
  clean_fib(topology);
  std::filesystem::remove_all(directory_);
}

dataplane::SessionEntry Live::entry(const std::string& name, std::uint32_t number) {
  dataplane::SessionEntry entry;
  entry.identity.name = name;
  std::memcpy(entry.identity.id.data() + 3, &number, sizeof(number));
  entry.identity.id[0] = 0x51;
  entry.identity.role = side == 1 ? session::Role::kInitiator : session::Role::kResponder;
  entry.secret_file = directory_ + "/secret";
  entry.policy.tx_streams = 4;
  entry.local = endpoint(wan(side), kPort);
  entry.peer = endpoint(wan(3 - side), kPort);
  std::array<char, 32> secret{};
  std::memcpy(secret.data() + 5, &number, sizeof(number));
  secret[0] = 0x77;
  // A new file: one that is cut and written again is flushed to disk by some file systems.
  std::filesystem::remove(entry.secret_file);
  std::ofstream(entry.secret_file, std::ios::binary).write(secret.data(), secret.size());
  chmod(entry.secret_file.c_str(), 0600);
  return entry;
}

dataplane::RouteConfig Live::route(const std::string& to, const std::string& session) {
  dataplane::RouteConfig route;
  route.prefix = prefix(to);
  route.session = session;
  return route;
}

dataplane::OperatorResult Live::add(const std::string& name, std::uint32_t number,
                                    const std::vector<std::string>& routes) {
  std::vector<dataplane::RouteConfig> list;
  for (const std::string& to : routes) list.push_back(route(to, name));
  return door().session_add(entry(name, number), list);
}

dataplane::OperatorResult Live::replace(const std::string& old_name, const std::string& name,
                                        std::uint32_t number, std::uint64_t drain_ns) {
  return door().session_replace(old_name, entry(name, number), drain_ns);
}

void Live::poll() {
  control->poll();
  for (unsigned w = 0; w < gw.topology().workers.size(); ++w) gw.poll(w);
}

std::optional<dataplane::SessionView> Live::view(const std::string& name) {
  for (dataplane::SessionView& v : control->sessions()) {
    if (v.name == name) return std::move(v);
  }
  return std::nullopt;
}

bool Live::said(const std::string& session, const std::string& kind) {
  for (const dataplane::Event& event : control->events().since(0, dataplane::kEventsKept)) {
    if (event.session == session && event.kind == kind) return true;
  }
  return false;
}

void Live::from_host(std::uint32_t id, unsigned queue, const std::string& to) {
  Ip header;
  header.source = fmt::format("10.{}.0.9", side);
  header.destination = to.empty() ? fmt::format("10.{}.0.9", 3 - side) : to;
  Bytes payload(32);
  std::memcpy(payload.data(), &id, sizeof(id));
  const auto flow = static_cast<std::uint16_t>(1000 + id % 8);
  gw.receive(kLan, ether(gw.port_mac(kLan), mac(9), ip_packet(header, udp(flow, 2000, payload))), queue);
}

std::vector<std::uint32_t> Live::to_host() {
  std::vector<std::uint32_t> ids;
  for (rte_mbuf* m : gw.take_sent(kLan)) {
    constexpr std::size_t kAt = 14 + 20 + 8;
    const auto* p = rte_pktmbuf_mtod(m, const std::uint8_t*);
    if (m->data_len >= kAt + 4 && p[12] == 0x08 && p[13] == 0x00 && p[23] == 17) {
      std::uint32_t id = 0;
      std::memcpy(&id, p + kAt, sizeof(id));
      ids.push_back(id);
    }
    rte_pktmbuf_free(m);
  }
  return ids;
}

std::uint64_t Live::drops() const {
  std::uint64_t n = gw.all_drops();
  for (const std::uint64_t one : control_stats.drops) n += one;
  return n;
}

std::string Live::drop_list() const {
  std::string text;
  for (std::size_t i = 0; i < session::kDropReasons; ++i) {
    const std::uint64_t n = gw.drops(static_cast<session::DropReason>(i)) + control_stats.drops[i];
    if (n != 0) text += fmt::format("{} {}  ", session::kDropReasonNames[i], n);
  }
  return text;
}

unsigned carry_wan(Live& from, Live& to) {
  const std::vector<rte_mbuf*> packets = from.gw.take_sent(kWan);
  const auto workers = static_cast<unsigned>(to.gw.topology().workers.size());
  unsigned n = 0;
  for (rte_mbuf* m : packets) {
    const dataplane::MacAddress to_mac = to.gw.port_mac(kWan);
    std::copy(to_mac.begin(), to_mac.end(), rte_pktmbuf_mtod(m, std::uint8_t*));
    to.gw.receive(kWan, m, n++ % workers);
  }
  return n;
}

}  // namespace support
