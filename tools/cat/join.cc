#include "tools/cat/join.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cat {
namespace {

constexpr std::size_t kRead = 64 * 1024;
// Bytes moved each way before others have their turn.
constexpr unsigned kTurns = 16;

bool would_wait(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

Join::Join(Endpoint& endpoint, std::uint16_t stream, int in, int out, std::string first)
    : endpoint_(endpoint), stream_(stream), in_(in), out_(out), pending_(first.begin(), first.end()) {
  in_always_ready_ = !endpoint_.watch(in_, EPOLLIN, this);
  if (!is_socket()) out_always_ready_ = !endpoint_.watch(out_, EPOLLOUT, this);
}

Join::~Join() {
  endpoint_.watch(in_, 0, nullptr);
  if (!is_socket()) {
    endpoint_.watch(out_, 0, nullptr);
    return;
  }
  if (!trouble_.empty()) {
    const linger now{1, 0};
    setsockopt(in_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  close(in_);
}

void Join::on_ready(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) in_ready_ = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) out_ready_ = true;
}

void Join::give_up(const std::string& why) {
  if (over_) return;
  over_ = true;
  trouble_ = why;
  (void)endpoint_.streams().reset(stream_);
}

void Join::on_event(const session::StreamEvent& event) {
  switch (event.news) {
    case session::StreamNews::kFinished:
      stream_finished_ = true;
      return;
    case session::StreamNews::kReset:
      trouble_ =
          fmt::format("stream {} was reset{}{}", stream_, *event.reason != 0 ? ": " : "", event.reason);
      over_ = true;
      return;
    case session::StreamNews::kClosed:
      over_ = true;
      return;
    default:
      return;
  }
}

// Descriptor -> pending. False: nothing more for now.
bool Join::read_some() {
  if (in_ended_ || pending_at_ < pending_.size() || (!in_ready_ && !in_always_ready_)) return false;
  pending_.resize(kRead);
  pending_at_ = 0;
  const ssize_t n = read(in_, pending_.data(), kRead);
  pending_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  if (n == 0) in_ended_ = true;
  if (n < 0) {
    in_ready_ = false;
    if (!would_wait(errno)) give_up(fmt::format("reading failed: {}", std::strerror(errno)));
  }
  return n > 0;
}

// Pending -> stream. False: the stream takes no more now.
bool Join::send_some() {
  if (pending_at_ == pending_.size()) return true;
  session::StreamError error{};
  const std::size_t taken =
      endpoint_.streams().send(stream_, std::span(pending_).subspan(pending_at_), error);
  pending_at_ += taken;
  sent_ += taken;
  return pending_at_ == pending_.size();
}

// Stream -> descriptor. False: nothing there, or the descriptor takes no more now.
bool Join::write_some() {
  const std::span<const std::uint8_t> bytes = endpoint_.streams().readable(stream_);
  if (bytes.empty() || out_ended_ || (!out_ready_ && !out_always_ready_)) return false;
  const ssize_t n = is_socket() ? send(out_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT)
                                : write(out_, bytes.data(), bytes.size());
  if (n < 0) {
    out_ready_ = false;
    if (!would_wait(errno)) give_up(fmt::format("writing failed: {}", std::strerror(errno)));
    return false;
  }
  received_ += static_cast<std::uint64_t>(n);
  endpoint_.streams().consume(stream_, static_cast<std::size_t>(n), now_ns());
  return true;
}

void Join::end_output() {
  if (out_ended_ || !stream_finished_) return;
  out_ended_ = true;
  if (is_socket()) shutdown(out_, SHUT_WR);
}

// Only what is waited for is watched, or a ready descriptor would keep the loop awake.
void Join::watch() {
  const bool want_in = !in_ended_ && pending_at_ == pending_.size() && !in_ready_;
  const bool want_out = !out_ended_ && !out_ready_;
  if (is_socket()) {
    const std::uint32_t events = (want_in ? EPOLLIN : 0U) | (want_out ? EPOLLOUT : 0U);
    endpoint_.watch(in_, events == 0 ? EPOLLET : events, this);
    return;
  }
  if (!in_always_ready_) endpoint_.watch(in_, want_in ? EPOLLIN : 0U, this);
  if (!out_always_ready_) endpoint_.watch(out_, want_out ? EPOLLOUT : 0U, this);
}

bool Join::pump() {
  if (over_) return false;
  bool more = true;
  for (unsigned turn = 0; turn < kTurns && more && !over_; ++turn) more = send_some() && read_some();
  bool more_out = true;
  for (unsigned turn = 0; turn < kTurns && more_out && !over_; ++turn) more_out = write_some();
  if (over_) return false;
  if (in_ended_ && pending_at_ == pending_.size() && !finished_) {
    finished_ = true;
    (void)endpoint_.streams().finish(stream_);
  }
  end_output();
  watch();
  return more || more_out;
}

}  // namespace cat
