// A fixed number of packets through one direction of a worker, for tools that count instructions (callgrind):
// repeatable whatever else the machine does. tools/instruction-cost runs it and reads the counts.
//
//   packet_cost seal|open BYTES SESSIONS BURSTS [WASTE]
//
// BYTES: of the inner IP packet. Bursts of 32; everything but measured() is preparation. WASTE: instructions
// thrown away a packet, about, to see that a reader of counts notices.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/site.h"

namespace {

using dataplane::Hop;
using dataplane::HopKind;
using support::Bytes;
using support::kLan;
using support::kWan;

constexpr unsigned kBurst = 32;
constexpr std::size_t kInnerHeaders = 28;  // IPv4 and UDP

std::string host(unsigned side, std::uint32_t i) {
  return "10." + std::to_string(side) + "." + std::to_string(128 + i / 256) + "." + std::to_string(i % 256);
}

support::SiteOptions site_options(unsigned side, std::uint32_t sessions) {
  support::SiteOptions o;
  o.side = side;
  o.gateway.sessions = sessions + 1;
  o.gateway.keys = 5 * (sessions + 1);
  o.gateway.routes = 2 * sessions + 16;
  return o;
}

void add_sessions(support::Site& site, std::uint32_t sessions) {
  site.gw.route("10." + std::to_string(site.options.side) + ".128.0/17", Hop::make(HopKind::kGateway, 0, 1));
  for (std::uint32_t i = 0; i < sessions; ++i) {
    support::SessionSpec spec = site.spec;
    spec.flags = session::kSourceCheck;
    spec.inner_mtu = 1500;
    spec.id.fill(1);                                       // zeros would ask for the site's own
    session::store_be32(spec.id.data(), i * 2654435761U);  // spread as hash output would be
    const support::Installed s = site.gw.add_session(spec);
    site.gw.route(host(site.other(), i) + "/32", Hop::make(HopKind::kSession, s.shard, s.slot));
  }
}

// One packet a session, in turn.
void feed(support::Site& site, std::size_t bytes, std::uint32_t sessions, std::uint32_t& next) {
  for (unsigned i = 0; i < kBurst; ++i) {
    support::Ip h;
    h.source = host(site.options.side, next);
    h.destination = host(site.other(), next);
    next = (next + 1) % sessions;
    site.gw.receive(kLan, site.from_host(support::ip_packet(
                              h, support::udp(1, 2, support::pattern(bytes - kInnerHeaders)))));
  }
}

struct Arguments {
  bool seal = false;
  unsigned waste = 0;
  std::size_t bytes = 0;
  std::uint32_t sessions = 0;
  unsigned bursts = 0;
};

// The name that callgrind is told to collect in: one poll of the worker under test.
[[gnu::noinline]] void measured(support::Site& site, unsigned waste) {
  site.gw.poll(0);
  for (unsigned i = 0; i < waste * kBurst / 2; ++i) asm volatile("");  // two instructions a turn
}

Arguments parse(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    throw std::invalid_argument("usage: packet_cost seal|open BYTES SESSIONS BURSTS [WASTE]");
  }
  Arguments a;
  const std::string what = argv[1];
  if (what != "seal" && what != "open") throw std::invalid_argument("seal or open expected, not " + what);
  a.seal = what == "seal";
  a.bytes = std::stoul(argv[2]);
  a.sessions = static_cast<std::uint32_t>(std::stoul(argv[3]));
  a.bursts = static_cast<unsigned>(std::stoul(argv[4]));
  if (argc == 6) a.waste = static_cast<unsigned>(std::stoul(argv[5]));
  if (a.bytes < kInnerHeaders || a.bytes > 1400 || a.sessions == 0 || a.sessions > 16'384 || a.bursts == 0) {
    throw std::invalid_argument("28 to 1400 bytes, 1 to 16384 sessions, at least one burst");
  }
  return a;
}

void run(const Arguments& a) {
  support::Site one("p", site_options(1, a.sessions));
  support::Site two("q", site_options(2, a.sessions));
  add_sessions(one, a.sessions);
  add_sessions(two, a.sessions);
  // Sealing: the LAN of `one`. Opening: what `two` sealed arrives at the WAN of `one`.
  support::Site& source = a.seal ? one : two;
  std::uint32_t next = 0;
  std::uint64_t done = 0;
  for (unsigned burst = 0; burst < a.bursts; ++burst) {
    feed(source, a.bytes, a.sessions, next);
    if (!a.seal) {
      two.gw.run();
      support::carry(two.gw, one.gw);
    }
    measured(one, a.waste);
    done += one.gw.sent(a.seal ? kWan : kLan).size();
  }
  if (done != std::uint64_t{a.bursts} * kBurst) throw std::runtime_error("packets were lost");
  std::printf("%llu packets\n", static_cast<unsigned long long>(done));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "packet_cost: %s\n", error.what());
    return 2;
  }
  return 0;
}
