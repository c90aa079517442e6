#include "tests/support/relay_io.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace support {
namespace {

constexpr int kSocketBufferBytes = 8 << 20;  // what comes while a busy machine lets the relay wait

// The forced form needs rights and knows no limit; the other does what it can.
void enlarge(int fd, int forced, int ordinary) {
  if (setsockopt(fd, SOL_SOCKET, forced, &kSocketBufferBytes, sizeof(kSocketBufferBytes)) == 0) return;
  static_cast<void>(setsockopt(fd, SOL_SOCKET, ordinary, &kSocketBufferBytes, sizeof(kSocketBufferBytes)));
}

}  // namespace

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

std::string open_udp(SocketAddress& local, Descriptor& out) {
  Descriptor fd(socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return "no socket for " + local.text() + ": " + std::strerror(errno);
  if (bind(fd.get(), local.raw(), local.length()) != 0) return local.text() + ": " + std::strerror(errno);
  enlarge(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF);
  enlarge(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  socklen_t length = sizeof(sockaddr_storage);
  if (getsockname(fd.get(), local.raw(), &length) != 0) return std::strerror(errno);
  out = std::move(fd);
  return "";
}

std::uint8_t* BufferPool::take() {
  if (free_.empty()) {
    if (all_.size() >= most_) return nullptr;
    all_.push_back(std::make_unique<std::array<std::uint8_t, kRelayPacketBytes>>());
    return all_.back()->data();
  }
  std::uint8_t* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

unsigned ReceiveBatch::receive(int fd) {
  unsigned ready = 0;
  for (; ready < kRelayBatch; ++ready) {
    if (buffers_[ready] == nullptr) buffers_[ready] = pool_.take();
    if (buffers_[ready] == nullptr) break;
    vectors_[ready] = {buffers_[ready], kRelayPacketBytes};
    msghdr& header = messages_[ready].msg_hdr;
    header = {};
    header.msg_name = &sources_[ready];
    header.msg_namelen = sizeof(sockaddr_storage);
    header.msg_iov = &vectors_[ready];
    header.msg_iovlen = 1;
  }
  if (ready == 0) return 0;
  const int got = recvmmsg(fd, messages_.data(), ready, MSG_DONTWAIT, nullptr);
  return got > 0 ? static_cast<unsigned>(got) : 0;
}

ReceiveBatch::Packet ReceiveBatch::at(unsigned index) const {
  const mmsghdr& message = messages_[index];
  return {buffers_[index], message.msg_len, (message.msg_hdr.msg_flags & MSG_TRUNC) != 0,
          SocketAddress::from(sources_[index])};
}

unsigned SendBatch::send(int fd, const SocketAddress& to) {
  std::array<mmsghdr, kRelayBatch> messages{};
  SocketAddress destination = to;
  for (unsigned i = 0; i < count_; ++i) {
    messages[i].msg_hdr.msg_name = destination.raw();
    messages[i].msg_hdr.msg_namelen = destination.length();
    messages[i].msg_hdr.msg_iov = &packets_[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  unsigned failed = 0;
  for (unsigned done = 0; done < count_;) {
    const int sent = sendmmsg(fd, &messages[done], count_ - done, MSG_DONTWAIT);
    if (sent <= 0) ++failed;
    done += sent > 0 ? static_cast<unsigned>(sent) : 1;
  }
  for (unsigned i = 0; i < count_; ++i) pool_.give(static_cast<std::uint8_t*>(packets_[i].iov_base));
  count_ = 0;
  return failed;
}

}  // namespace support
