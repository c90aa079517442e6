#include "dataplane/rpc_socket.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace dataplane {
namespace {

constexpr int kBacklog = 16;
// Rounds in which another gateway may remove its lock file between our opening and locking it.
constexpr int kLockRounds = 8;

struct FolderProblem {
  std::string expected;
  std::string advice;
};

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path();
}

std::optional<FolderProblem> check_folder(const std::string& folder, bool others) {
  struct stat status {};
  if (stat(folder.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return FolderProblem{fmt::format("a folder that can be reached, {}: {}", folder, std::strerror(errno)),
                         "choose another path"};
  }
  if (!S_ISDIR(status.st_mode)) {
    return FolderProblem{fmt::format("a folder, {} is none", folder), "choose another path"};
  }
  if (status.st_uid != 0 && status.st_uid != geteuid()) {
    return FolderProblem{
        fmt::format("a folder of ours or of root, {} belongs to user {}", folder, status.st_uid),
        "choose another folder, or change its owner"};
  }
  const unsigned open_to_others = status.st_mode & (others ? 022U : 077U);
  if (open_to_others == 0) return {};
  return FolderProblem{
      fmt::format("a folder that others can't {}, {} has mode {:04o}", others ? "write to" : "enter", folder,
                  status.st_mode & 07777U),
      fmt::format("chmod {} {}, or name a socket in a folder of its own", others ? "go-w" : "700", folder)};
}

[[noreturn]] void refuse(const std::string& path, const std::string& found, const std::string& advice) {
  throw std::runtime_error(fmt::format("control socket {}: {}; {}", path, found, advice));
}

[[noreturn]] void refuse_errno(const std::string& path, const char* what) {
  refuse(path, fmt::format("{}: {}", what, std::strerror(errno)),
         "choose another path with control.socket, or leave it out to run without one");
}

void make_folder(const std::string& path, bool others) {
  const std::string folder = folder_of(path);
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), ignored);
  const mode_t mode = others ? 0711 : 0700;
  if (mkdir(folder.c_str(), mode) == 0) {
    if (chmod(folder.c_str(), mode) != 0) refuse_errno(path, "its folder can't be set up");
  } else if (errno != EEXIST) {
    refuse_errno(path, "its folder can't be made");
  }
  if (const auto problem = check_folder(folder, others)) {
    refuse(path, "expected " + problem->expected, problem->advice);
  }
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    refuse(path, fmt::format("is longer than {} characters", sizeof(address.sun_path) - 1),
           "choose a shorter path");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int unix_socket() {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Someone accepts connections there, or would if it had the time.
bool answers(const std::string& path) {
  const sockaddr_un address = address_of(path);
  const int fd = unix_socket();
  if (fd < 0) return false;
  const bool alive =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN;
  close(fd);
  return alive;
}

std::string holder(int lock_fd) {
  char text[32] = {};
  const ssize_t n = pread(lock_fd, text, sizeof(text) - 1, 0);
  const long pid = n > 0 ? std::strtol(text, nullptr, 10) : 0;
  return pid > 0 ? "process " + std::to_string(pid) : "another process";
}

bool same_file(int fd, const std::string& path) {
  struct stat open_file {};
  struct stat named {};
  return fstat(fd, &open_file) == 0 && stat(path.c_str(), &named) == 0 && open_file.st_ino == named.st_ino &&
         open_file.st_dev == named.st_dev;
}

}  // namespace

RpcSocket::RpcSocket(const ControlConfig& config) : path_(config.socket) {
  const bool others = !config.allow_uids.empty();
  make_folder(path_, others);
  take_lock();
  try {
    remove_stale();
    listen_at(others);
  } catch (...) {
    unlink((path_ + ".lock").c_str());
    close(lock_fd_);
    throw;
  }
}

RpcSocket::~RpcSocket() {
  close(fd_);
  unlink(path_.c_str());
  unlink((path_ + ".lock").c_str());  // while it is locked: who opened it before sees that it is no more
  close(lock_fd_);
}

void RpcSocket::take_lock() {
  const std::string file = path_ + ".lock";
  for (int round = 0; round < kLockRounds; ++round) {
    lock_fd_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock_fd_ < 0) refuse_errno(path_, "its lock can't be made");
    if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
      const std::string who = holder(lock_fd_);
      close(lock_fd_);
      refuse(path_, "in use by " + who, "stop that gateway, or give this one its own control.socket");
    }
    if (same_file(lock_fd_, file)) {
      const std::string pid = std::to_string(getpid()) + "\n";
      if (ftruncate(lock_fd_, 0) == 0 && pwrite(lock_fd_, pid.data(), pid.size(), 0) > 0) return;
      const int error = errno;
      unlink(file.c_str());
      close(lock_fd_);
      errno = error;
      refuse_errno(path_, "its lock can't be written");
    }
    close(lock_fd_);
  }
  refuse(path_, "other gateways take and leave its lock", "start it again");
}

void RpcSocket::remove_stale() const {
  struct stat status {};
  if (lstat(path_.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) {
    refuse(path_, "there is something else of that name", "choose another path, or remove it yourself");
  }
  if (answers(path_)) {
    refuse(path_, "in use by another program", "stop it, or choose another path with control.socket");
  }
  if (unlink(path_.c_str()) != 0) refuse_errno(path_, "what a killed gateway left can't be removed");
}

void RpcSocket::listen_at(bool others) {
  const sockaddr_un address = address_of(path_);
  const mode_t mode = others ? 0666 : 0600;
  fd_ = unix_socket();
  if (fd_ < 0) refuse_errno(path_, "no socket");
  // The mode of the socket is that of the name bind() makes, so nobody gets in before chmod().
  if (fchmod(fd_, 0600) == 0 &&
      bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    if (chmod(path_.c_str(), mode) == 0 && listen(fd_, kBacklog) == 0) return;
    const int error = errno;
    unlink(path_.c_str());
    errno = error;
  }
  const int error = errno;
  close(fd_);
  errno = error;
  refuse_errno(path_, "can't be listened at");
}

std::optional<ConfigError> check_control_folder(const GatewayConfig& config) {
  if (config.control.socket.empty()) return {};
  const auto problem = check_folder(folder_of(config.control.socket), !config.control.allow_uids.empty());
  if (!problem) return {};
  return ConfigError{config.file, 0, "control.socket", problem->expected, problem->advice};
}

}  // namespace dataplane
