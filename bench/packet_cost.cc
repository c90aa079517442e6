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

#include "bench/bed.h"

namespace {

using bench::kBurst;
using support::kLan;
using support::kWan;

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
  if (a.bytes < bench::kInnerHeaders || a.bytes > 1400 || a.sessions == 0 || a.sessions > 16'384 ||
      a.bursts == 0) {
    throw std::invalid_argument("28 to 1400 bytes, 1 to 16384 sessions, at least one burst");
  }
  return a;
}

void run(const Arguments& a) {
  bench::Bed bed("p", a.sessions);
  bed.install(a.sessions);
  bench::Order order(a.sessions);
  std::uint64_t done = 0;
  for (unsigned burst = 0; burst < a.bursts; ++burst) {
    if (a.seal) {
      bed.feed_plain(order, a.bytes, kBurst);
    } else {
      bed.feed_sealed(order, a.bytes, kBurst);
    }
    measured(bed.site, a.waste);
    done += bench::discard_sent(bed.site.gw, a.seal ? kWan : kLan);
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
