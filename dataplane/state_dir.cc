#include "dataplane/state_dir.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/store.h"

namespace dataplane {
namespace {

[[noreturn]] void unwritable(const std::string& path, int error) {
  throw StoreError("state store " + path + ": cannot be written: " + std::strerror(error) +
                   ". The gateway records there which keys it has used and does not run without: make the "
                   "directory writable for this user, on a file system that is not read-only");
}

std::string holder(int fd) {
  char text[32] = {};
  const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
  const long pid = n > 0 ? std::strtol(text, nullptr, 10) : 0;
  return pid > 0 ? "process " + std::to_string(pid) : "another process";
}

}  // namespace

std::string host_identity() {
  std::ifstream in("/etc/machine-id");
  std::string id;
  if (in && std::getline(in, id) && !id.empty()) return id;
  return "none";
}

StateLock::StateLock(const std::string& directory) {
  const std::string path = directory + "/lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) unwritable(path, errno);
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const std::string who = holder(fd_);
    close(fd_);
    throw StoreError("state store " + directory + ": in use by " + who +
                     ". Two gateways must not share one: stop the other one, or give this one its own "
                     "state_dir and its own secrets");
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  const bool written =
      ftruncate(fd_, 0) == 0 && pwrite(fd_, pid.data(), pid.size(), 0) == static_cast<ssize_t>(pid.size());
  if (!written) {
    const int error = errno;
    close(fd_);
    unwritable(path, error);
  }
}

StateLock::~StateLock() {
  close(fd_);
}

void make_state_directory(const std::string& directory) {
  std::error_code error;
  const std::filesystem::path path(directory);
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) unwritable(directory, errno);
  if (chmod(directory.c_str(), 0700) != 0) unwritable(directory, errno);
}

void sync_directory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) unwritable(directory, errno);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  if (result != 0) unwritable(directory, error);
}

bool state_file_exists(const std::string& file) {
  struct stat info {};
  if (stat(file.c_str(), &info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw StoreError("state store " + file + ": cannot be reached: " + std::strerror(errno) +
                   ". Run the gateway as the user that owns the directory");
}

}  // namespace dataplane
