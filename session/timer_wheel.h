// Hierarchical timer wheel: any number of timers, constant cost to arm, cancel and expire, nothing while none
// is due (W-35).
//
// Owner: one thread. Timers are part of whoever owns them and are linked in place: nothing is allocated, and
// an owner must cancel before its timer goes away. Time is any monotonic clock of the caller in nanoseconds;
// a timer expires at its time or up to one tick later, never earlier.
#pragma once

#include <array>
#include <cstdint>

namespace session {

struct Timer {
  Timer* next = nullptr;
  Timer* previous = nullptr;  // null: not armed
  std::uint64_t at_ns = 0;
  void* owner = nullptr;  // for whoever takes it off the wheel
  std::uint32_t tag = 0;
  [[nodiscard]] bool armed() const { return previous != nullptr; }
};

class TimerWheel {
 public:
  static constexpr std::uint64_t kTickNs = 1'048'576;  // 2^20: about a millisecond
  static constexpr unsigned kLevels = 4;
  static constexpr unsigned kSlots = 256;  // a level; the last one reaches 52 days, later timers wait there

  explicit TimerWheel(std::uint64_t now_ns);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Armed already: moved.
  void arm(Timer& timer, std::uint64_t at_ns);
  void cancel(Timer& timer);
  // One timer that is due, off the wheel, or null. Whatever it makes its owner arm is seen by later calls.
  Timer* next_expired(std::uint64_t now_ns);
  // No timer expires before it; UINT64_MAX: none is armed. May be early by a rotation of a level, never late.
  [[nodiscard]] std::uint64_t next_deadline_ns() const;
  [[nodiscard]] std::uint64_t armed() const { return armed_; }

 private:
  struct Level {
    std::array<Timer, kSlots> slots;                // heads of rings
    std::array<std::uint64_t, kSlots / 64> used{};  // bit per slot
  };
  void link(Timer& timer);
  void unlink(Timer& timer);
  void cascade(unsigned level);
  void advance_to(std::uint64_t tick);
  [[nodiscard]] std::uint64_t next_tick() const;  // at which a slot is due; UINT64_MAX: none

  std::array<Level, kLevels> levels_;
  Timer due_;           // head of those whose time has come
  std::uint64_t tick_;  // everything up to it has expired or is in due_
  std::uint64_t armed_ = 0;
};

}  // namespace session
