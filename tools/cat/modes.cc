#include "tools/cat/modes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "tools/cat/descriptors.h"

namespace cat {
namespace {

constexpr int kBacklog = 1024;
// How long new connections wait for a descriptor, when none of ours ends before.
constexpr std::uint64_t kPauseNs = 100'000'000;

// -1: errno.
int make_socket(const session::Endpoint& endpoint) {
  const int family = endpoint.family == 6 ? AF_INET6 : AF_INET;
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

// The joins of a mode, and the events that go to them.
class Joins : public Mode {
 public:
  explicit Joins(Endpoint& endpoint) : endpoint_(endpoint) {}
  bool work() override {
    session::StreamEvent event;
    while (endpoint_.streams().next_event(event)) {
      if (event.news == session::StreamNews::kOpened) on_opened(event.stream);
      const auto at = joins_.find(event.stream);
      if (at != joins_.end()) {
        at->second->on_event(event);
      } else {
        on_event_without_join(event);
      }
    }
    if (resume_ns_ <= now_ns()) {
      resume_ns_ = UINT64_MAX;
      resume();
    }
    bool more = false;
    for (auto at = joins_.begin(); at != joins_.end();) {
      more = at->second->pump() || more;
      if (at->second->over()) {
        retire(at->first, *at->second);
        at = joins_.erase(at);
      } else {
        ++at;
      }
    }
    return more;
  }
  [[nodiscard]] std::uint64_t due_ns() const override { return resume_ns_; }
  [[nodiscard]] Totals totals() const override {
    Totals sum = done_;
    for (const auto& [id, join] : joins_) {
      sum.sent_bytes += join->sent_bytes();
      sum.received_bytes += join->received_bytes();
    }
    sum.open = joins_.size();
    return sum;
  }

 protected:
  virtual void on_opened(std::uint16_t stream) { (void)endpoint_.streams().reset(stream); }
  virtual void on_over(const Join& /*join*/) {}
  virtual void on_event_without_join(const session::StreamEvent& /*event*/) {}
  // New connections may be made again.
  virtual void resume() {}
  [[nodiscard]] bool room() const { return joins_.size() < most_; }
  [[nodiscard]] bool paused() const { return resume_ns_ != UINT64_MAX; }
  // There is no descriptor for another connection: new ones wait until one ends, or a moment.
  void pause() {
    if (paused()) return;
    resume_ns_ = now_ns() + kPauseNs;
    if (done_.waited++ != 0) return;
    fmt::print(stderr, "phantom-cat: no descriptor for another connection beside {}; new ones wait\n",
               joins_.size());
  }
  void add(std::uint16_t stream, int in, int out, std::string first = {}) {
    joins_[stream] = std::make_unique<Join>(endpoint_, stream, in, out, std::move(first));
  }
  Endpoint& endpoint_;
  std::map<std::uint16_t, std::unique_ptr<Join>> joins_;

 private:
  void retire(std::uint16_t /*stream*/, const Join& join) {
    done_.sent_bytes += join.sent_bytes();
    done_.received_bytes += join.received_bytes();
    if (!join.trouble().empty()) ++done_.failed;
    if (paused()) resume_ns_ = 0;
    on_over(join);
  }
  Totals done_;
  std::size_t most_ = most_connections();
  std::uint64_t resume_ns_ = UINT64_MAX;
};

// Standard input and output over one stream.
class Pipe : public Joins {
 public:
  Pipe(Endpoint& endpoint, const Options& options) : Joins(endpoint) {
    if (options.listen) {
      wanted_ = options.stream;
      return;
    }
    session::StreamError error{};
    std::optional<std::uint16_t> stream = options.stream;
    if (stream) {
      error = endpoint.streams().open_as(*stream, {});
    } else {
      stream = endpoint.streams().open({}, error);
    }
    if (!stream || error != session::StreamError::kOk)
      throw std::runtime_error("the stream could not be opened");
    taken_ = true;
    add(*stream, in_.fd(), out_.fd());
  }
  ~Pipe() override { joins_.clear(); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  [[nodiscard]] bool over() const override { return taken_ && joins_.empty(); }
  [[nodiscard]] int exit_code() const override { return failed_ ? 1 : 0; }

 protected:
  void on_opened(std::uint16_t stream) override {
    if (taken_ || (wanted_ && *wanted_ != stream)) return Joins::on_opened(stream);
    taken_ = true;
    add(stream, in_.fd(), out_.fd());
  }
  void on_over(const Join& join) override {
    if (join.trouble().empty()) return;
    failed_ = true;
    fmt::print(stderr, "phantom-cat: {}\n", join.trouble());
  }

 private:
  NonBlocking in_{STDIN_FILENO, O_RDONLY};
  NonBlocking out_{STDOUT_FILENO, O_WRONLY};
  std::optional<std::uint16_t> wanted_;
  bool taken_ = false;
  bool failed_ = false;
};

// Every stream of the peer becomes a TCP connection.
class Serve : public Joins {
 public:
  Serve(Endpoint& endpoint, const session::Endpoint& to) : Joins(endpoint), to_(to) {}
  [[nodiscard]] bool over() const override { return false; }

 protected:
  void on_opened(std::uint16_t stream) override {
    waiting_.push_back({stream, {}});
    connect_waiting();
  }
  void resume() override { connect_waiting(); }
  // Of a stream that waits: told again once it is joined.
  void on_event_without_join(const session::StreamEvent& event) override {
    const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const Waiting& one) { return one.stream == event.stream; });
    if (at == waiting_.end()) return;
    if (event.news == session::StreamNews::kFinished) at->finished = event;
    if (event.news == session::StreamNews::kReset || event.news == session::StreamNews::kClosed) {
      waiting_.erase(at);
    }
  }

 private:
  struct Waiting {
    std::uint16_t stream = 0;
    std::optional<session::StreamEvent> finished;
  };

  // What the peer sends on a stream that waits is held back by its credit.
  void connect_waiting() {
    while (!waiting_.empty() && !paused()) {
      const int fd = room() ? make_socket(to_) : -1;
      if (fd < 0 && (!room() || out_of_descriptors(errno))) return pause();
      const Waiting next = waiting_.front();
      waiting_.pop_front();
      if (fd < 0 || !begin(fd)) {
        Joins::on_opened(next.stream);
        continue;
      }
      add(next.stream, fd, fd);
      if (next.finished) joins_[next.stream]->on_event(*next.finished);
    }
  }

  bool begin(int fd) const {
    const dataplane::SocketAddress to = dataplane::to_socket_address(to_);
    if (connect(fd, to.get(), to.bytes) == 0 || errno == EINPROGRESS) {
      return true;
    }
    close(fd);
    return false;
  }

  session::Endpoint to_;
  std::deque<Waiting> waiting_;
};

// Connections to local ports become streams.
class Forward : public Joins {
 public:
  Forward(Endpoint& endpoint, const std::vector<LocalForward>& forwards) : Joins(endpoint) {
    for (const LocalForward& forward : forwards)
      listeners_.push_back(std::make_unique<Listener>(*this, forward));
  }
  [[nodiscard]] bool over() const override { return false; }

 private:
  class Listener : public Watcher {
   public:
    Listener(Forward& owner, const LocalForward& forward) : owner_(owner), target_(forward.target) {
      fd_ = make_socket(forward.listen);
      if (fd_ < 0) throw std::runtime_error(fmt::format("TCP socket: {}", std::strerror(errno)));
      const int one = 1;
      setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      const dataplane::SocketAddress at = dataplane::to_socket_address(forward.listen);
      if (bind(fd_, at.get(), at.bytes) != 0 || ::listen(fd_, kBacklog) != 0) {
        const int reason = errno;
        close(fd_);
        throw std::runtime_error(fmt::format("cannot listen on {}: {}", dataplane::to_text(forward.listen),
                                             std::strerror(reason)));
      }
      watch(true);
    }
    ~Listener() override {
      watch(false);
      close(fd_);
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    void on_ready(std::uint32_t /*events*/) override {
      while (owner_.room()) {
        const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && out_of_descriptors(errno)) break;
        if (fd < 0) return;
        owner_.accept(fd, target_);
      }
      owner_.stop_accepting();
    }
    // Connections wait in the backlog of a listener that is not watched.
    void watch(bool on) { owner_.endpoint_.watch(fd_, on ? EPOLLIN : 0U, this); }

   private:
    Forward& owner_;
    std::string target_;
    int fd_;
  };

  void resume() override {
    for (const auto& listener : listeners_) listener->watch(true);
  }

  void stop_accepting() {
    pause();
    for (const auto& listener : listeners_) listener->watch(false);
  }

  // No stream for it: closed, as by a server that is full.
  void accept(int fd, const std::string& target) {
    session::StreamError error{};
    const auto stream = endpoint_.streams().open({}, error);
    if (!stream) {
      close(fd);
      return;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    add(*stream, fd, fd, target.empty() ? std::string() : "CONNECT " + target + "\n");
  }

  std::vector<std::unique_ptr<Listener>> listeners_;
};

}  // namespace

std::unique_ptr<Mode> make_mode(Endpoint& endpoint, const Options& options) {
  if (!options.forwards.empty()) return std::make_unique<Forward>(endpoint, options.forwards);
  if (options.to) return std::make_unique<Serve>(endpoint, *options.to);
  return std::make_unique<Pipe>(endpoint, options);
}

}  // namespace cat
