#include "tools/cat/endpoint.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/address_text.h"

namespace cat {
namespace {

constexpr unsigned kBurst = 64;  // datagrams in one system call, either way
constexpr std::size_t kMaxDatagram = 2048;
constexpr int kSocketBuffer = 4 << 20;
constexpr int kEvents = 64;
constexpr std::uint64_t kSecondNs = 1'000'000'000;
// Rounds of receiving before timers and applications have their turn again.
constexpr unsigned kTurns = 8;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

std::uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecondNs + static_cast<std::uint64_t>(now.tv_nsec);
}

Endpoint::Endpoint(EndpointConfig config, crypto::TrafficSecret secret, session::EpochStore& store)
    : out_(kBurst) {
  const dataplane::SocketAddress at = dataplane::to_socket_address(config.local);
  socket_ = socket(at.storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket_ < 0) fail("UDP socket");
  // Beyond the system's limit where that is allowed.
  for (const int option : {SO_RCVBUF, SO_SNDBUF, SO_RCVBUFFORCE, SO_SNDBUFFORCE}) {
    setsockopt(socket_, SOL_SOCKET, option, &kSocketBuffer, sizeof kSocketBuffer);
  }
  if (bind(socket_, at.get(), at.bytes) != 0) {
    fail("cannot listen on " + dataplane::to_text(config.local));
  }
  sockaddr_storage bound{};
  socklen_t bytes = sizeof bound;
  getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &bytes);
  local_ = dataplane::from_socket_address(reinterpret_cast<const sockaddr*>(&bound)).value_or(config.local);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) fail("epoll");
  watch(socket_, EPOLLIN, nullptr);
  config.session.paths = {session::PathEnds{local_, config.peer}};
  session_ = std::make_unique<session::Session>(std::move(config.session), std::move(secret), aead_, store,
                                                now_ns());
}

Endpoint::~Endpoint() {
  if (epoll_ >= 0) close(epoll_);
  if (socket_ >= 0) close(socket_);
}

bool Endpoint::watch(int fd, std::uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (events == 0) {
    epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    return true;
  }
  if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) == 0) return true;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Endpoint::receive() {
  std::uint8_t buffers[kBurst][kMaxDatagram];
  sockaddr_storage from[kBurst];
  iovec parts[kBurst];
  mmsghdr messages[kBurst]{};
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    for (unsigned i = 0; i < kBurst; ++i) {
      parts[i] = iovec{buffers[i], kMaxDatagram};
      messages[i].msg_hdr = msghdr{&from[i], sizeof from[i], &parts[i], 1, nullptr, 0, 0};
    }
    const int n = recvmmsg(socket_, messages, kBurst, MSG_DONTWAIT, nullptr);
    if (n <= 0) return;  // an ICMP error of something we sent tells nothing that a timer would not
    const std::uint64_t now = now_ns();
    for (int i = 0; i < n; ++i) {
      ++rx_;
      const session::PathEnds ends{
          local_, *dataplane::from_socket_address(reinterpret_cast<const sockaddr*>(&from[i]))};
      const auto got = session_->receive({buffers[i], messages[i].msg_len}, now, ends);
      if (got.kind == session::Received::Kind::kDropped) ++dropped_;
    }
    flush();
    if (n < static_cast<int>(kBurst)) return;
  }
}

// What the session wants sent now, behind what the socket did not take before. False: nothing.
bool Endpoint::gather(std::uint64_t now) {
  if (out_first_ < out_count_) return true;
  out_first_ = out_count_ = 0;
  session::PathEnds ends;
  while (out_count_ < kBurst && session_->next_datagram(out_[out_count_].bytes, ends, now)) {
    if (ends.remote.family != local_.family) continue;
    if (out_count_ == 0 || !(ends.remote == out_remote_))
      out_address_ = dataplane::to_socket_address(ends.remote);
    out_remote_ = ends.remote;
    out_[out_count_++].to = out_address_;
  }
  return out_count_ > 0;
}

// False: the socket is full, the rest waits.
bool Endpoint::send_gathered() {
  iovec parts[kBurst];
  mmsghdr messages[kBurst]{};
  for (unsigned i = out_first_; i < out_count_; ++i) {
    Outgoing& one = out_[i];
    parts[i] = iovec{one.bytes.data(), one.bytes.size()};
    messages[i].msg_hdr = msghdr{&one.to.storage, one.to.bytes, &parts[i], 1, nullptr, 0, 0};
  }
  while (out_first_ < out_count_) {
    const int n =
        sendmmsg(socket_, messages + out_first_, out_count_ - out_first_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    // The first one is refused (no route, too long, an ICMP error of an earlier one): lost like any other.
    const unsigned done = n < 0 ? 1 : static_cast<unsigned>(n);
    if (n > 0) tx_ += done;
    out_first_ += done;
  }
  return true;
}

void Endpoint::flush() {
  bool room = true;
  while (room && gather(now_ns())) room = send_gathered();
  if (blocked_ == !room) return;
  blocked_ = !room;
  watch(socket_, blocked_ ? EPOLLIN | EPOLLOUT : EPOLLIN, nullptr);
}

// Milliseconds would be far too coarse for a pacer: a bucket of 64 KiB each is 65 MB/s at most.
int Endpoint::wait(epoll_event* events, std::uint64_t wait_ns) {
  if (exact_waits_) {
    const timespec time{static_cast<time_t>(wait_ns / kSecondNs), static_cast<long>(wait_ns % kSecondNs)};
    const int n = epoll_pwait2(epoll_, events, kEvents, &time, nullptr);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    exact_waits_ = false;  // an older kernel, or a container's filter that does not know the call
  }
  return epoll_wait(epoll_, events, kEvents, static_cast<int>((wait_ns + 999'999) / 1'000'000));
}

void Endpoint::round(std::uint64_t until_ns, const std::function<void()>& work) {
  const std::uint64_t due = std::min(session_->next_deadline_ns(), until_ns);
  const std::uint64_t before = now_ns();
  epoll_event events[kEvents];
  const int n = wait(events, due <= before ? 0 : std::min<std::uint64_t>(due - before, kSecondNs));
  receive();
  for (int i = 0; i < n; ++i) {
    if (events[i].data.ptr != nullptr) static_cast<Watcher*>(events[i].data.ptr)->on_ready(events[i].events);
  }
  const std::uint64_t now = now_ns();
  if (session_->next_deadline_ns() <= now) session_->on_timer(now);
  work();
  flush();
}

}  // namespace cat
