#include "tools/cat/descriptors.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cat {
namespace {

// Standard ones, our sockets, SQLite's files, and some that others opened for us.
constexpr std::size_t kReserved = 24;

}  // namespace

NonBlocking::NonBlocking(int fd, int access) : given_(fd) {
  struct stat what {};
  if (fstat(fd, &what) != 0 || S_ISREG(what.st_mode)) return;
  if (S_ISFIFO(what.st_mode) || S_ISCHR(what.st_mode)) {
    own_ = open(fmt::format("/proc/self/fd/{}", fd).c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own_ >= 0) return;
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return;
  if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) flags_ = flags;
}

NonBlocking::~NonBlocking() {
  if (own_ >= 0) close(own_);
  if (flags_ >= 0) fcntl(given_, F_SETFL, flags_);
}

std::size_t most_connections() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  const auto descriptors = static_cast<std::size_t>(limit.rlim_cur);
  return descriptors > kReserved ? descriptors - kReserved : 1;
}

bool out_of_descriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace cat
