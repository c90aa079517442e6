#include "tools/testpmd/terminal.h"

#include <cerrno>

#include <poll.h>
#include <unistd.h>

namespace testpmd {

KeyMode::KeyMode(int descriptor, bool signals) : descriptor_(descriptor) {
  if (tcgetattr(descriptor, &before_) != 0) return;
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | (signals ? 0 : ISIG));
  keys.c_cc[VMIN] = 1;
  keys.c_cc[VTIME] = 0;
  changed_ = tcsetattr(descriptor, TCSADRAIN, &keys) == 0;
}

KeyMode::~KeyMode() {
  if (changed_) tcsetattr(descriptor_, TCSADRAIN, &before_);
}

int read_key(int descriptor, int milliseconds) {
  pollfd ready{descriptor, POLLIN, 0};
  if (poll(&ready, 1, milliseconds) <= 0) return -1;
  char key = 0;
  const ssize_t count = read(descriptor, &key, 1);
  if (count == 1) return static_cast<unsigned char>(key);
  return count < 0 && (errno == EINTR || errno == EAGAIN) ? -1 : -2;
}

}  // namespace testpmd
