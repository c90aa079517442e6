// The directory of the state store: its lock file, its modes, and the identity of this host.
//
// Thread: control core. Errors are StoreError with what was found, the path and the remedy.
#pragma once

#include <string>

namespace dataplane {

// This host's identity: /etc/machine-id, or "none" when it can't be read.
[[nodiscard]] std::string host_identity();

// Exclusive right to a state directory: flock on DIRECTORY/lock, which names the holder's process. The kernel
// gives it up with the process, however that ends.
class StateLock {
 public:
  explicit StateLock(const std::string& directory);
  ~StateLock();
  StateLock(const StateLock&) = delete;
  StateLock& operator=(const StateLock&) = delete;

 private:
  int fd_ = -1;
};

// Makes DIRECTORY (and what leads to it) with mode 0700.
void make_state_directory(const std::string& directory);
// Makes names in DIRECTORY durable.
void sync_directory(const std::string& directory);
// True when the file is there. Throws when it can't even be told.
[[nodiscard]] bool state_file_exists(const std::string& file);

}  // namespace dataplane
