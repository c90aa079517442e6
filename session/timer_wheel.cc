#include "session/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace session {
namespace {

constexpr unsigned kSlotBits = 8;
constexpr std::uint64_t kReach = 1ULL << (kSlotBits * TimerWheel::kLevels);

// A ring of one, its head.
void make_ring(Timer& head) {
  head.next = head.previous = &head;
}

void append(Timer& head, Timer& timer) {
  timer.previous = head.previous;
  timer.next = &head;
  head.previous->next = &timer;
  head.previous = &timer;
}

// How many slots after `slot` the next used one lies: 1 to kSlots, the slot itself being the farthest. 0:
// none.
unsigned next_used(const std::array<std::uint64_t, TimerWheel::kSlots / 64>& used, unsigned slot) {
  for (unsigned step = 1; step <= TimerWheel::kSlots;) {
    const unsigned at = (slot + step) % TimerWheel::kSlots;
    const std::uint64_t rest = used[at / 64] >> (at % 64);
    if (rest != 0) {
      const unsigned found = step + static_cast<unsigned>(std::countr_zero(rest));
      return std::min(found, TimerWheel::kSlots);
    }
    step += 64 - at % 64;
  }
  return 0;
}

// First tick at which a timer for `at_ns` may expire: never before its time.
std::uint64_t tick_of(std::uint64_t at_ns) {
  return at_ns / TimerWheel::kTickNs + (at_ns % TimerWheel::kTickNs != 0 ? 1 : 0);
}

}  // namespace

static_assert(TimerWheel::kSlots == 1U << kSlotBits);

TimerWheel::TimerWheel(std::uint64_t now_ns) : tick_(now_ns / kTickNs) {
  for (Level& level : levels_) {
    for (Timer& head : level.slots) make_ring(head);
  }
  make_ring(due_);
}

void TimerWheel::arm(Timer& timer, std::uint64_t at_ns) {
  if (timer.armed()) {
    unlink(timer);
  } else {
    ++armed_;
  }
  timer.at_ns = at_ns;
  link(timer);
}

void TimerWheel::cancel(Timer& timer) {
  if (!timer.armed()) return;
  unlink(timer);
  --armed_;
}

void TimerWheel::link(Timer& timer) {
  const std::uint64_t wanted = tick_of(timer.at_ns);
  if (wanted <= tick_) return append(due_, timer);
  const std::uint64_t distance = std::min(wanted - tick_, kReach - 1);
  const auto level = static_cast<unsigned>(std::bit_width(distance) - 1) / kSlotBits;
  const auto slot = static_cast<unsigned>((tick_ + distance) >> (kSlotBits * level)) % kSlots;
  append(levels_[level].slots[slot], timer);
  levels_[level].used[slot / 64] |= 1ULL << (slot % 64);
}

void TimerWheel::unlink(Timer& timer) {
  Timer* const alone_in = timer.next == timer.previous ? timer.next : nullptr;
  timer.previous->next = timer.next;
  timer.next->previous = timer.previous;
  timer.next = timer.previous = nullptr;
  if (alone_in == nullptr || alone_in == &due_) return;
  // Both neighbours are the head: its slot is empty now.
  const std::less<const Timer*> before;
  for (Level& level : levels_) {
    if (before(alone_in, level.slots.data()) || !before(alone_in, level.slots.data() + kSlots)) continue;
    const auto slot = static_cast<unsigned>(alone_in - level.slots.data());
    level.used[slot / 64] &= ~(1ULL << (slot % 64));
  }
}

// Everything in the slot that begins now goes to where it belongs seen from here.
void TimerWheel::cascade(unsigned level) {
  const auto slot = static_cast<unsigned>(tick_ >> (kSlotBits * level)) % kSlots;
  Timer& head = levels_[level].slots[slot];
  levels_[level].used[slot / 64] &= ~(1ULL << (slot % 64));
  // Cut off first: what is linked again may land in this very slot, a rotation later.
  if (head.next == &head) return;
  Timer* timer = head.next;
  head.previous->next = nullptr;
  make_ring(head);
  while (timer != nullptr) {
    Timer* const next = timer->next;
    link(*timer);
    timer = next;
  }
}

std::uint64_t TimerWheel::next_tick() const {
  std::uint64_t first = UINT64_MAX;
  for (unsigned level = 0; level < kLevels; ++level) {
    const std::uint64_t base = tick_ >> (kSlotBits * level);
    const unsigned step = next_used(levels_[level].used, static_cast<unsigned>(base % kSlots));
    if (step != 0) first = std::min(first, (base + step) << (kSlotBits * level));
  }
  return first;
}

void TimerWheel::advance_to(std::uint64_t tick) {
  while (tick_ < tick) {
    const std::uint64_t stop = next_tick();
    if (stop > tick) {
      tick_ = tick;
      return;
    }
    tick_ = stop;
    for (unsigned level = kLevels; level-- > 0;) {
      const std::uint64_t inside = (1ULL << (kSlotBits * level)) - 1;
      if ((tick_ & inside) == 0) cascade(level);
    }
  }
}

Timer* TimerWheel::next_expired(std::uint64_t now_ns) {
  advance_to(now_ns / kTickNs);
  if (due_.next == &due_) return nullptr;
  Timer* const timer = due_.next;
  cancel(*timer);
  return timer;
}

std::uint64_t TimerWheel::next_deadline_ns() const {
  if (due_.next != &due_) return tick_ * kTickNs;
  const std::uint64_t tick = next_tick();
  return tick == UINT64_MAX ? UINT64_MAX : tick * kTickNs;
}

}  // namespace session
