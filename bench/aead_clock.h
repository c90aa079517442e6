// Time that a program spends inside crypto::Aead's batch calls, whoever makes them.
//
// The linker puts aead_clock.cc in front of Aead::seal_batch and Aead::open_batch (-Wl,--wrap, see
// bench/meson.build), so the worker that is measured is the release code. Thread: one.
#pragma once

#include <cstdint>

namespace bench {

struct AeadClock {
  std::uint64_t cycles = 0;  // in all calls since the last reset()
  std::uint64_t calls = 0;
  std::uint64_t jobs = 0;
  std::uint64_t first_begin = 0;  // time stamps, where calls > 0
  std::uint64_t last_end = 0;

  void reset() { *this = AeadClock{}; }
};

// Written by every call of an engine.
extern AeadClock aead_clock;

}  // namespace bench
