#include "tests/support/roaming.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <rte_cycles.h>
#include <sys/stat.h>

#include "dataplane/checksum.h"
#include "dataplane/ip.h"
#include "dataplane/snapshot.h"
#include "dataplane/tsc.h"

namespace support {
namespace {

constexpr unsigned kEther = 14;
const dataplane::MacAddress kRouter = {0x02, 9, 9, 9, 9, 9};

std::string text(const char* pattern, unsigned side) {
  std::string out(pattern);
  for (char& c : out) {
    if (c == '#') c = static_cast<char>('0' + side);
  }
  return out;
}

// Where the addresses of an outer packet are; `p` at its IP header.
struct Outer {
  std::uint8_t family;
  unsigned header;
  unsigned source;
  unsigned size;
  explicit Outer(const std::uint8_t* p)
      : family((p[0] >> 4) == 4 ? 4 : 6),
        header(family == 4 ? 20 : 40),
        source(family == 4 ? 12 : 8),
        size(family == 4 ? 4 : 16) {}
};

session::Endpoint read_end(const std::uint8_t* address, const std::uint8_t* port, const Outer& at) {
  session::Endpoint out;
  out.family = at.family;
  std::memcpy(out.address.data(), address, at.size);
  out.port = session::load_be16(port);
  return out;
}

void write_ends(std::uint8_t* p, const Outer& at, const Transit& t, std::size_t udp_bytes) {
  std::memcpy(p + at.source, t.from.address.data(), at.size);
  std::memcpy(p + at.source + at.size, t.to.address.data(), at.size);
  std::uint8_t* udp_header = p + at.header;
  session::store_be16(udp_header, t.from.port);
  session::store_be16(udp_header + 2, t.to.port);
  session::store_be16(udp_header + 6, 0);
  if (at.family == 4) {
    dataplane::ipv4_checksum_store(p, at.header);
    return;
  }
  const std::uint64_t pseudo = dataplane::partial_sum(p + at.source, 2UL * at.size) + 17;
  session::store_be16(udp_header + 6, dataplane::udp_checksum(pseudo, udp_header, udp_bytes));
}

}  // namespace

std::array<std::uint8_t, session::kSessionIdBytes> roaming_id(unsigned number) {
  std::array<std::uint8_t, session::kSessionIdBytes> id = session_id(77);
  std::memcpy(id.data(), &number, sizeof number);
  return id;
}

std::array<std::uint8_t, 32> roaming_secret(unsigned number) {
  std::array<std::uint8_t, 32> secret{};
  for (std::size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::uint8_t>(90 + 5 * i);
  std::memcpy(secret.data(), &number, sizeof number);
  return secret;
}

End::End(const std::string& name, unsigned at_side, const GatewayOptions& options)
    : side(at_side), name_(name), options_(options) {
  char pattern[] = "/tmp/phantom-roaming-XXXXXX";
  directory_ = mkdtemp(pattern);
  make();
}

End::~End() {
  clear_routes();
  if (control) control->finish();
  control.reset();
  clean_fib(gw->topology());
  gw.reset();
  std::filesystem::remove_all(directory_);
}

// The next gateway of this name gets the same table: what was added at run time goes as well.
void End::clear_routes() {
  if (!control) return;
  for (const dataplane::RouteView& route : control->operator_door().routes())
    gw->topology().fib->remove(route.prefix);
}

void End::make() {
  control_stats = {};
  gw = std::make_unique<Gateway>(name_, options_);
  gw->topology().control_stats = &control_stats;
  configure();
}

void End::configure() {
  dataplane::Topology& t = gw->topology();
  dataplane::PortConfig& lan = t.ports[kLan].config;
  lan.addresses = {prefix(text("10.#.0.1/24", side))};
  lan.neighbours = {{ip(text("10.#.0.9", side)), mac(9)}};
  dataplane::PortConfig& wan_port = t.ports[kWan].config;
  wan_port.wan = true;
  wan_port.addresses = side == 1 ? std::vector{prefix("192.0.2.1/24"), prefix("2001:db8:a::1/64")}
                                 : std::vector{prefix("198.51.100.2/24"), prefix("2001:db8:b::2/64")};
  wan_port.gateway4 = ip(side == 1 ? "192.0.2.254" : "198.51.100.254");
  wan_port.gateway6 = ip(side == 1 ? "2001:db8:a::fe" : "2001:db8:b::fe");
  wan_port.neighbours = {{*wan_port.gateway4, kRouter}, {*wan_port.gateway6, kRouter}};
}

session::Endpoint End::wan(std::uint8_t family, std::uint16_t port) const {
  if (family == 4) return endpoint(side == 1 ? "192.0.2.1" : "198.51.100.2", port);
  return endpoint(side == 1 ? "2001:db8:a::1" : "2001:db8:b::2", port);
}

dataplane::SessionEntry End::make_entry(unsigned number, const session::Endpoint& peer) const {
  dataplane::SessionEntry entry;
  entry.identity.name = std::string("s").append(std::to_string(number));
  entry.identity.id = roaming_id(number);
  entry.identity.role = side == 1 ? session::Role::kInitiator : session::Role::kResponder;
  entry.secret_file = directory_ + "/" + entry.identity.name;
  entry.local = wan();
  entry.peer = peer;
  entry.source_check = false;
  const auto secret = roaming_secret(number);
  std::ofstream(entry.secret_file, std::ios::binary)
      .write(reinterpret_cast<const char*>(secret.data()), static_cast<std::streamsize>(secret.size()));
  chmod(entry.secret_file.c_str(), 0600);
  return entry;
}

dataplane::SessionEntry& End::add_session(unsigned number, const session::Endpoint& peer) {
  entries_.push_back({number, number, make_entry(number, peer)});
  return entries_.back().entry;
}

dataplane::RouteConfig End::route_to(unsigned route, unsigned number) const {
  dataplane::RouteConfig out;
  out.prefix.address.family = 4;
  out.prefix.address.bytes = {10, static_cast<std::uint8_t>((3 - side) * 64 + route / 256),
                              static_cast<std::uint8_t>(route % 256)};
  out.prefix.length = 24;
  out.session = std::string("s").append(std::to_string(number));
  return out;
}

dataplane::OperatorResult End::add_running(unsigned number, unsigned route, const session::Endpoint& peer) {
  const Configured fresh{number, route, make_entry(number, peer)};
  dataplane::OperatorResult result =
      control->operator_door().session_add(fresh.entry, {route_to(route, number)});
  if (result.ok()) entries_.push_back(fresh);
  return result;
}

dataplane::OperatorResult End::remove_running(unsigned number, std::uint64_t drain_ns) {
  dataplane::OperatorResult result =
      control->operator_door().session_remove(route_to(0, number).session, drain_ns);
  if (result.ok()) reconfigure(number, std::nullopt);
  return result;
}

dataplane::OperatorResult End::replace_running(unsigned old, unsigned number, std::uint64_t drain_ns) {
  const auto at =
      std::find_if(entries_.begin(), entries_.end(), [old](const Configured& c) { return c.number == old; });
  const dataplane::SessionEntry fresh = make_entry(number, at->entry.peer);
  dataplane::OperatorResult result =
      control->operator_door().session_replace(at->entry.identity.name, fresh, drain_ns);
  if (result.ok()) *at = {number, at->route, fresh};
  return result;
}

void End::reconfigure(unsigned number, std::optional<unsigned> old) {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [number](const Configured& c) { return c.number == number; });
  if (at == entries_.end()) return;
  if (old) {
    *at = {*old, at->route, make_entry(*old, at->entry.peer)};
  } else {
    entries_.erase(at);
  }
}

void End::start(std::function<std::uint64_t()> clock) {
  dataplane::Topology& t = gw->topology();
  for (const Configured& c : entries_) {
    t.config.sessions.push_back(c.entry);
    t.config.routes.push_back(route_to(c.route, c.number));
  }
  dataplane::RouteConfig home;
  home.prefix = prefix(side == 1 ? "10.64.0.0/10" : "10.128.0.0/10");
  home.lan_gateway = ip(text("10.#.0.9", side));
  t.config.routes.push_back(home);
  clock_ = std::move(clock);
  control = std::make_unique<dataplane::Control>(t, store, clock_);
  control->start();
}

void End::restart(std::function<std::uint64_t()> clock) {
  clear_routes();
  control->finish();
  control.reset();
  clean_fib(gw->topology());
  gw.reset();
  make();
  start(std::move(clock));
}

bool End::poll() {
  // Whole milliseconds, so that times come back as they went in.
  if (clock_) dataplane::test_tsc = clock_() / 1'000'000 * (rte_get_tsc_hz() / 1000);
  bool moved = control != nullptr && control->poll() != 0;
  const auto now_ms = static_cast<std::uint32_t>(clock_ ? clock_() / 1'000'000 : 0);
  for (unsigned w = 0; w < options_.workers; ++w) {
    gw->worker(w).set_clock(now_ms);
    moved |= gw->worker(w).poll();
  }
  return moved;
}

void End::send(unsigned number, std::size_t payload, std::uint8_t class_of_traffic) {
  if (lan_frame_.size() != payload + kEther + 28) {
    Ip header{text("10.#.0.9", side), "10.0.0.9", 17, 64, class_of_traffic, 1, 0, {}};
    lan_frame_ = ether(gw->port_mac(kLan), mac(9), ip_packet(header, udp(1000, 2000, pattern(payload))));
  }
  std::uint8_t* p = &lan_frame_[kEther];
  p[17] = static_cast<std::uint8_t>((3 - side) * 64 + number / 256);
  p[18] = static_cast<std::uint8_t>(number % 256);
  dataplane::ipv4_checksum_store(p, 20);
  gw->receive(kLan, lan_frame_);
}

std::uint64_t End::delivered() {
  std::uint64_t n = 0;
  for (rte_mbuf* m : gw->take_sent(kLan)) {
    const std::uint8_t* p = rte_pktmbuf_mtod(m, const std::uint8_t*);
    if (session::load_be16(p + 12) == 0x0800) ++n;
    rte_pktmbuf_free(m);
  }
  return n;
}

std::optional<dataplane::SessionView> End::find(unsigned number) const {
  const std::string name = route_to(0, number).session;
  for (dataplane::SessionView& v : control->sessions()) {
    if (v.name == name) return std::move(v);
  }
  return std::nullopt;
}

dataplane::SessionView End::view(unsigned number) const {
  if (std::optional<dataplane::SessionView> v = find(number)) return *std::move(v);
  throw std::runtime_error("no session " + route_to(0, number).session);
}

bool End::balanced() const {
  return dataplane::take_counters(gw->topology(), 1).books.balanced();
}

std::uint64_t End::drops() const {
  return dataplane::take_counters(gw->topology(), 1).books.drops;
}

Network::Network(const GatewayOptions& options) : a("ra", 1, options), b("rb", 2, options) {}

void Network::add_pair(unsigned number, const std::function<void(dataplane::SessionEntry&)>& change) {
  dataplane::SessionEntry& at_a = a.add_session(number, b.wan());
  dataplane::SessionEntry& at_b = b.add_session(number, a.wan());
  if (!change) return;
  change(at_a);
  change(at_b);
}

void Network::start() {
  a.start([this] { return now_ns; });
  b.start([this] { return now_ns; });
  settle();
}

bool Network::carry(End& from, End& to) {
  bool moved = false;
  for (rte_mbuf* m : from.gw->take_sent(kWan)) {
    std::uint8_t* p = rte_pktmbuf_mtod(m, std::uint8_t*);
    const std::uint16_t type = session::load_be16(p + 12);
    const Outer at(p + kEther);
    if ((type != 0x0800 && type != 0x86dd) || p[kEther + (at.family == 4 ? 9 : 6)] != 17) {
      rte_pktmbuf_free(m);
      continue;
    }
    std::uint8_t* outer = p + kEther;
    Transit t;
    t.from_a = &from == &a;
    t.from = read_end(outer + at.source, outer + at.header, at);
    t.to = read_end(outer + at.source + at.size, outer + at.header + 2, at);
    t.payload = outer + at.header + 8;
    t.bytes = m->data_len - kEther - at.header - 8;
    if (wire && !wire(t)) {
      rte_pktmbuf_free(m);
      continue;
    }
    write_ends(outer, at, t, t.bytes + 8);
    const dataplane::MacAddress port = to.gw->port_mac(kWan);
    std::copy(port.begin(), port.end(), p);
    m->ol_flags = 0;
    to.gw->receive(kWan, m, t.queue);
    moved = true;
  }
  return moved;
}

void Network::settle() {
  for (unsigned quiet = 0; quiet < 3;) {
    bool moved = a.poll();
    moved |= b.poll();
    moved |= carry(a, b);
    moved |= carry(b, a);
    quiet = moved ? 0 : quiet + 1;
  }
}

void Network::pass(std::uint64_t ns, std::uint64_t step_ns) {
  for (const std::uint64_t end = now_ns + ns; now_ns < end;) {
    now_ns += std::min(step_ns, end - now_ns);
    settle();
  }
}

void Network::inject(bool to_a, const Bytes& payload, const session::Endpoint& from,
                     const session::Endpoint& to) {
  const std::size_t header = from.family == 4 ? 20 : 40;
  Bytes frame(kEther + header + 8 + payload.size());
  std::uint8_t* p = &frame[kEther];
  session::store_be16(&frame[12], from.family == 4 ? 0x0800 : 0x86dd);
  const auto udp_bytes = static_cast<std::uint16_t>(8 + payload.size());
  if (from.family == 4) {
    p[0] = 0x45;
    session::store_be16(p + 2, static_cast<std::uint16_t>(header + udp_bytes));
    p[8] = 64;
    p[9] = 17;
  } else {
    p[0] = 0x60;
    session::store_be16(p + 4, udp_bytes);
    p[6] = 17;
    p[7] = 64;
  }
  session::store_be16(p + header + 4, udp_bytes);
  std::copy(payload.begin(), payload.end(), p + header + 8);
  Transit t;
  t.from = from;
  t.to = to;
  write_ends(p, Outer(p), t, udp_bytes);
  End& end = to_a ? a : b;
  const dataplane::MacAddress port = end.gw->port_mac(kWan);
  std::copy(port.begin(), port.end(), frame.begin());
  end.gw->receive(kWan, frame);
}

}  // namespace support
