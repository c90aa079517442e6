// Sockets and buffers of the relay: many packets a system call, a bounded number of buffers.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "tests/support/relay_text.h"

namespace support {

inline constexpr unsigned kRelayBatch = 64;  // packets a system call
inline constexpr std::size_t kRelayPacketBytes =
    2048;  // larger ones are cut by the kernel, counted and dropped

std::uint64_t monotonic_ns();

// Closes its descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Non-blocking, bound; `local` becomes what the kernel chose. Empty when it worked, else what is wrong.
std::string open_udp(SocketAddress& local, Descriptor& out);

// Buffers of kRelayPacketBytes. Grows up to its limit and keeps what it has.
class BufferPool {
 public:
  explicit BufferPool(std::size_t most) : most_(most) {}
  std::uint8_t* take();  // nullptr: all are in use
  void give(std::uint8_t* buffer) { free_.push_back(buffer); }

 private:
  std::size_t most_;
  std::vector<std::unique_ptr<std::array<std::uint8_t, kRelayPacketBytes>>> all_;
  std::vector<std::uint8_t*> free_;
};

// One batch of packets from a socket. Buffers the caller keeps are replaced from the pool at the next
// receive.
class ReceiveBatch {
 public:
  struct Packet {
    std::uint8_t* data;
    std::uint32_t bytes;
    bool truncated;
    SocketAddress from;
  };
  explicit ReceiveBatch(BufferPool& pool) : pool_(pool) {}
  // How many came; 0 when nothing is there or no buffer is free.
  unsigned receive(int fd);
  [[nodiscard]] Packet at(unsigned index) const;
  void keep(unsigned index) { buffers_[index] = nullptr; }  // the caller has taken it

 private:
  BufferPool& pool_;
  std::array<std::uint8_t*, kRelayBatch> buffers_{};
  std::array<mmsghdr, kRelayBatch> messages_{};
  std::array<iovec, kRelayBatch> vectors_{};
  std::array<sockaddr_storage, kRelayBatch> sources_{};
};

// Packets on their way to one destination; buffers go back to the pool once they are sent.
class SendBatch {
 public:
  explicit SendBatch(BufferPool& pool) : pool_(pool) {}
  [[nodiscard]] bool full() const { return count_ == kRelayBatch; }
  void add(std::uint8_t* data, std::uint32_t bytes) { packets_[count_++] = {data, bytes}; }
  // How many the kernel refused; each is tried once.
  unsigned send(int fd, const SocketAddress& to);

 private:
  BufferPool& pool_;
  unsigned count_ = 0;
  std::array<iovec, kRelayBatch> packets_{};
};

}  // namespace support
