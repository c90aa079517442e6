// The path of the control socket: who may reach it, and that it is one gateway's alone.
//
// Owner: main lcore, from before EAL starts to the end of the process. A lock beside the socket (PATH.lock)
// says that a gateway is alive, so what a killed one left behind is told from one in use.
#pragma once

#include <optional>
#include <string>

#include "dataplane/config.h"

namespace dataplane {

class RpcSocket {
 public:
  // Listens, not blocking. The folder is made when it is missing; it must be ours or root's, and closed to
  // others (0700), or at least to their writing when `allow_uids` names any. Throws std::runtime_error that
  // says what to do.
  explicit RpcSocket(const ControlConfig& config);
  // Removes socket and lock.
  ~RpcSocket();
  RpcSocket(const RpcSocket&) = delete;
  RpcSocket& operator=(const RpcSocket&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void take_lock();
  void remove_stale() const;
  void listen_at(bool others);

  std::string path_;
  int lock_fd_ = -1;
  int fd_ = -1;
};

// What is wrong with the folder a socket shall be in; nothing when it is fine or can still be made. Makes
// nothing.
std::optional<ConfigError> check_control_folder(const GatewayConfig& config);

}  // namespace dataplane
