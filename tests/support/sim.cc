#include "tests/support/sim.h"

#include <algorithm>
#include <utility>

namespace support {

Simulator::Simulator(SimEnd& a, SimEnd& b, std::uint64_t seed)
    : a_(a), b_(b), to_b_(seed * 2 + 1), to_a_(seed * 2 + 2) {}

void Simulator::set(const ImpairmentSettings& settings) {
  set(true, settings);
  set(false, settings);
}

void Simulator::set(bool from_a, const ImpairmentSettings& settings) {
  link(from_a).set(settings, now_ns);
}

bool Simulator::send(SimEnd& from, bool from_a) {
  Bytes datagram;
  bool any = false;
  while (from.next_datagram(datagram, now_ns)) {
    any = true;
    if (tap && !tap(from_a, datagram)) continue;
    const auto bytes = static_cast<std::uint32_t>(datagram.size()) + kOuterBytes;
    const Bytes copy = datagram;
    (void)link(from_a).offer(std::move(datagram), bytes, now_ns, [&copy] { return copy; });
  }
  return any;
}

std::size_t Simulator::deliver() {
  std::size_t n = 0;
  n += to_b_.release(now_ns, 64, [this](Bytes&& d, std::uint32_t) { b_.receive(d, now_ns); });
  n += to_a_.release(now_ns, 64, [this](Bytes&& d, std::uint32_t) { a_.receive(d, now_ns); });
  return n;
}

// Until nothing more happens at this moment.
void Simulator::settle() {
  bool more = true;
  while (more) {
    more = deliver() > 0;
    for (SimEnd* end : {&a_, &b_}) {
      if (end->next_deadline_ns(now_ns) <= now_ns) end->on_timer(now_ns);
    }
    if (work) work();
    more = send(a_, true) || more;
    more = send(b_, false) || more;
    ++events;
  }
}

std::uint64_t Simulator::next_event_ns() const {
  return std::min(
      {to_a_.next_due_ns(), to_b_.next_due_ns(), a_.next_deadline_ns(now_ns), b_.next_deadline_ns(now_ns)});
}

bool Simulator::run(std::uint64_t limit_ns, const std::function<bool()>& done) {
  const std::uint64_t end_ns = now_ns + limit_ns;
  for (;;) {
    settle();
    if (done()) return true;
    const std::uint64_t at = next_event_ns();
    if (at > end_ns) {
      now_ns = end_ns;
      return false;
    }
    // A deadline that is not met at its time must not stop the clock.
    now_ns = std::max(at, now_ns + 1000);
  }
}

}  // namespace support
