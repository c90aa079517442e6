#include "tests/support/paths.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>

#include "session/source_tag.h"

namespace support {

using dataplane::Message;
using dataplane::MessageKind;
using session::Endpoint;

namespace {

std::string text_of(const Endpoint& e) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  return inet_ntop(e.family == 4 ? AF_INET : AF_INET6, e.address.data(), text.data(), text.size());
}

Endpoint endpoint_at(const std::uint8_t* address, std::uint8_t family, const std::uint8_t* port) {
  Endpoint e;
  e.family = family;
  e.port = session::load_be16(port);
  std::memcpy(e.address.data(), address, family == 4 ? 4 : 16);
  return e;
}

}  // namespace

std::vector<Message> only(const std::vector<Message>& messages, MessageKind kind) {
  std::vector<Message> out;
  std::copy_if(messages.begin(), messages.end(), std::back_inserter(out),
               [&](const Message& m) { return m.kind == kind; });
  return out;
}

std::pair<Endpoint, Endpoint> origin_of(Gateway& gw, const Message& message) {
  Endpoint remote;
  remote.family = static_cast<std::uint8_t>(message.c);
  remote.port = message.b;
  remote.address = message.origin.address;
  const std::size_t index = message.c >> 8;
  const auto& all = gw.topology().local_endpoints;
  return {remote, index < all.size() ? all[index] : Endpoint{}};
}

Bytes frame_from(const Site& site, const Endpoint& from, const Endpoint& to, const Bytes& phantom) {
  Ip h;
  h.source = text_of(from);
  h.destination = text_of(to);
  const Bytes datagram =
      from.family == 6 ? udp6(h, from.port, to.port, phantom) : udp(from.port, to.port, phantom);
  return ether(site.gw.port_mac(kWan), mac(0x22), ip_packet(h, datagram));
}

Bytes flow(const Site& site, unsigned i) {
  Ip h;
  h.source = Site::host4(site.options.side);
  h.destination = Site::host4(site.other());
  return ip_packet(h, udp(static_cast<std::uint16_t>(1000 + i), 2000, pattern(64)));
}

void bring(rte_mbuf* m, Gateway& to) {
  const dataplane::MacAddress to_mac = to.port_mac(kWan);
  std::copy(to_mac.begin(), to_mac.end(), rte_pktmbuf_mtod(m, std::uint8_t*));
  to.receive(kWan, m);
}

session::OuterTemplate template_for(const Site& site, const Ends& ends) {
  SessionSpec spec = site.spec;
  spec.local = ends.first;
  spec.peer = ends.second;
  return outer_template(spec);
}

session::PathPlan plan_for(const Site& site, const std::vector<Ends>& ends) {
  session::PathPlan plan;
  plan.slot = site.session.slot;
  plan.generation = site.session.generation;
  plan.count = static_cast<std::uint32_t>(ends.size());
  for (unsigned i = 0; i < ends.size(); ++i) {
    plan.outer[i] = template_for(site, ends[i]);
    plan.outer[i].path_id = static_cast<std::uint8_t>(i);
    plan.source_tag[i] = session::source_tag(ends[i].second, ends[i].first);
  }
  plan.second.fill(session::kNoPathSlot);
  return plan;
}

void set_paths(Site& site, session::PathPlan& plan) {
  Message m = command(MessageKind::kSetPaths, site.session);
  m.plan = &plan;
  site.gw.command(site.session.shard, m);
  site.gw.run();
  const std::vector<Message> done = only(site.gw.messages(site.session.shard), MessageKind::kPathsDone);
  if (done.size() != 1 || done[0].plan != &plan || plan.accepted_count != plan.count) {
    throw std::runtime_error("plan was not carried out");
  }
}

void listen(Gateway& gw, std::uint16_t index, const Endpoint& at, bool on) {
  Message m;
  m.kind = MessageKind::kListen;
  m.a = on ? 1 : 0;
  m.b = index;
  m.endpoint = at;
  for (unsigned w = 0; w < gw.topology().workers.size(); ++w) gw.command(w, m);
  if (index < gw.topology().local_endpoints.size()) {
    gw.topology().local_endpoints[index] = on ? at : Endpoint{};
  }
  gw.run();
}

SentPacket read_sent(const Bytes& frame) {
  const bool six = frame.at(12) == 0x86;
  const std::uint8_t* ip = &frame[14];
  const std::uint8_t* udp_header = ip + (six ? 40 : 20);
  const std::uint8_t family = six ? 6 : 4;
  const std::uint8_t* p = udp_header + 8;
  SentPacket s;
  s.from = endpoint_at(ip + (six ? 8 : 12), family, udp_header);
  s.to = endpoint_at(ip + (six ? 24 : 16), family, udp_header + 2);
  std::memcpy(s.id.data(), p + session::kOffSessionId, s.id.size());
  s.stream = session::load_be16(p + session::kOffStream);
  s.sequence = session::load_be32(p + session::kOffSequence);
  s.flags = session::load_be16(p + session::kOffFlags);
  s.epoch = p[session::kOffEpoch];
  s.path = p[session::kOffPath];
  return s;
}

}  // namespace support
