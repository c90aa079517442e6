// Modes of the terminal that the prompt is on.
//
// Thread: main lcore.
#pragma once

#include <termios.h>

namespace testpmd {

// While it lives, keys come one by one without echo. `signals`: Ctrl-C still interrupts; else it is a key.
class KeyMode {
 public:
  KeyMode(int descriptor, bool signals);
  ~KeyMode();
  KeyMode(const KeyMode&) = delete;
  KeyMode& operator=(const KeyMode&) = delete;

 private:
  int descriptor_;
  bool changed_ = false;
  termios before_{};
};

// A key that waits, within so many milliseconds; -1: none; -2: there will be no more.
int read_key(int descriptor, int milliseconds);

}  // namespace testpmd
