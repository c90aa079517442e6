// Descriptors: standard input and output that do not block, and how many there may be.
//
// Owner: one thread.
#pragma once

#include <cstddef>

namespace cat {

// A descriptor of our own for what `fd` is open on, which does not block. O_NONBLOCK belongs to what is open
// and not to the descriptor: a shell that shares its terminal with us would find it set, long after we are
// gone. So a pipe or a terminal is opened once more; where that cannot be done (a socket, another user's
// terminal) the flag is set, and taken back at the end. Regular files never block.
class NonBlocking {
 public:
  // `access`: O_RDONLY or O_WRONLY.
  NonBlocking(int fd, int access);
  ~NonBlocking();
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;
  [[nodiscard]] int fd() const { return own_ >= 0 ? own_ : given_; }

 private:
  int given_;
  int own_ = -1;
  int flags_ = -1;  // to be restored
};

// Connections that may be open at once, so that the state store and the program itself always find a
// descriptor.
std::size_t most_connections();

// Whether errno says that there is no descriptor or no memory for another one now.
bool out_of_descriptors(int error);

}  // namespace cat
