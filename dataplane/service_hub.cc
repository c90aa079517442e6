#include "dataplane/service_hub.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "dataplane/clock.h"
#include "dataplane/service_socket.h"
#include "dataplane/token_bucket.h"
#include "session/timer_wheel.h"

namespace dataplane {
namespace {

constexpr unsigned kMessagesPerRound = 256;
constexpr int kEventsPerRound = 256;
// Bytes of one connection that are moved before the others have their turn.
constexpr std::uint32_t kTurnBytes = 256 * 1024;
// Longest line that names a target: an IPv6 address in brackets, a port, and the word before them.
constexpr std::uint32_t kMaxTargetLine = 128;
// Rounds without anything to do before the thread sleeps: a reply of a local backend takes a few
// microseconds.
constexpr unsigned kBusyRounds = 8;
// How long a backend may take over the last bytes of a stream that is over.
constexpr std::uint64_t kFarewellNs = 60'000'000'000;
// Ends of connections of one service that are logged in a second.
constexpr unsigned kEndsLogged = 10;

void add(std::uint64_t& counter, std::uint64_t n = 1) {
  __atomic_store_n(&counter, counter + n, __ATOMIC_RELAXED);
}

}  // namespace

struct ServiceHub::Impl {
  enum class Stage : std::uint8_t { kFree, kTarget, kConnecting, kOpen, kEnded };

  // The service thread's side of a connection.
  struct Connection {
    int fd = -1;
    Stage stage = Stage::kFree;
    bool finished = false;     // by the worker: nothing follows what is in the pipe
    bool shut = false;         // our sending side
    bool end_of_file = false;  // of the backend
    bool released = false;     // by the worker
    bool datagrams = false;
    std::uint32_t interest = 0;  // of epoll
    std::uint16_t service = 0;
    std::uint32_t worker = 0;
    std::uint32_t index = 0;
    std::uint64_t generation = 0;
    std::uint64_t moved_ns = 0;
    session::Timer timer;
  };

  Impl(ServiceHub& owner, std::vector<ServiceConfig> configs, std::vector<ServiceLink*> worker_links);
  ~Impl();

  bool take_messages(std::uint64_t now_ns);
  void on_message(std::uint32_t worker, const ServiceMessage& message, std::uint64_t now_ns);
  void open(Connection& c, std::uint16_t service, std::uint64_t now_ns);
  void read_target(Connection& c, std::uint64_t now_ns);
  void connect(Connection& c, const session::Endpoint* named, std::uint64_t now_ns);
  void connected(Connection& c, std::uint64_t now_ns);
  void on_event(Connection& c, std::uint32_t events, std::uint64_t now_ns);
  void on_timer(Connection& c, std::uint64_t now_ns);
  void write_socket(Connection& c, std::uint64_t now_ns);
  bool write_some(Connection& c, BytePipe& pipe);
  void read_socket(Connection& c, std::uint64_t now_ns);
  bool read_some(Connection& c, BytePipe& pipe, bool& blocked);
  void made_room(Connection& c);
  void want(Connection& c, std::uint32_t interest);
  void fail(Connection& c, ServiceEnd why);
  void log_end(const Connection& c, ServiceEnd why);
  void finish_quietly(Connection& c);
  void shut_socket(Connection& c, bool abort);
  void release(Connection& c, std::uint64_t now_ns);
  void ended(Connection& c);
  void tell(const Connection& c, ServiceNews news, std::uint16_t value = 0);
  void touch(Connection& c, std::uint64_t now_ns);
  ServicePipes& pipes(const Connection& c) { return links[c.worker]->pipes(c.index); }
  const ServiceConfig& config(const Connection& c) const { return services[c.service]; }
  ServiceCounters& count(const Connection& c) { return hub.counters_[c.service]; }

  struct LogBudget {
    TokenBucket lines{kEndsLogged, kEndsLogged};
    std::uint64_t left_out = 0;
  };

  ServiceHub& hub;
  std::vector<ServiceConfig> services;
  std::vector<LogBudget> budgets;  // by service
  std::vector<ServiceLink*> links;
  std::vector<std::vector<Connection>> connections;  // by worker
  session::TimerWheel wheel;
  int epoll_fd;
};

ServiceHub::Impl::Impl(ServiceHub& owner, std::vector<ServiceConfig> configs,
                       std::vector<ServiceLink*> worker_links)
    : hub(owner),
      services(std::move(configs)),
      budgets(services.size()),
      links(std::move(worker_links)),
      connections(links.size()),
      wheel(steady_ns()),
      epoll_fd(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_fd < 0) throw std::runtime_error(fmt::format("services: epoll: {}", std::strerror(errno)));
  for (std::uint32_t w = 0; w < links.size(); ++w) {
    connections[w].resize(links[w]->connections());
    for (std::uint32_t i = 0; i < connections[w].size(); ++i) {
      Connection& c = connections[w][i];
      c.worker = w;
      c.index = i;
      c.timer.owner = &c;
    }
  }
}

ServiceHub::Impl::~Impl() {
  for (auto& of_worker : connections) {
    for (Connection& c : of_worker) {
      wheel.cancel(c.timer);
      if (c.fd < 0) continue;
      if (!c.shut) reset_on_close(c.fd);  // half a stream must not look like a whole one
      close(c.fd);
    }
  }
  close(epoll_fd);
}

void ServiceHub::Impl::tell(const Connection& c, ServiceNews news, std::uint16_t value) {
  ServiceMessage message;
  message.news = news;
  message.value = value;
  message.connection = c.index;
  message.generation = c.generation;
  if (!links[c.worker]->tell_worker(message))
    spdlog::error("services: the ring to worker {} is full", c.worker);
}

void ServiceHub::Impl::want(Connection& c, std::uint32_t interest) {
  if (c.fd < 0 || interest == c.interest) return;
  epoll_event event{};
  // A hang-up is told whether it is wanted or not: once is enough while the pipe has no room for what came
  // before it.
  event.events = interest == 0 ? EPOLLET : interest;
  event.data.ptr = &c;
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c.fd, &event);
  c.interest = interest;
}

void ServiceHub::Impl::touch(Connection& c, std::uint64_t now_ns) {
  c.moved_ns = now_ns;
}

// ---- ends

// `abort`: the backend sees a reset instead of an end.
void ServiceHub::Impl::shut_socket(Connection& c, bool abort) {
  wheel.cancel(c.timer);
  if (c.fd < 0) return;
  if (abort) reset_on_close(c.fd);
  close(c.fd);
  c.fd = -1;
  c.interest = 0;
}

// A peer ends as many connections as it likes: of each service a few lines a second, the rest is counted.
void ServiceHub::Impl::log_end(const Connection& c, ServiceEnd why) {
  LogBudget& budget = budgets[c.service];
  if (!budget.lines.take(steady_ns())) {
    ++budget.left_out;
    return;
  }
  if (budget.left_out != 0) {
    spdlog::info("service {}: {} more connections ended", config(c).name, std::exchange(budget.left_out, 0));
  }
  spdlog::info("service {}: connection ended: {}", config(c).name, name_of(why));
}

void ServiceHub::Impl::fail(Connection& c, ServiceEnd why) {
  if (c.stage == Stage::kEnded) return;
  add(count(c).ended[static_cast<std::size_t>(why)]);
  log_end(c, why);
  shut_socket(c, true);
  if (!c.released) tell(c, ServiceNews::kResetBack, static_cast<std::uint16_t>(why));
  ended(c);
}

// Nothing is left of it but the record, which is free when the worker says so.
void ServiceHub::Impl::ended(Connection& c) {
  c.stage = Stage::kEnded;
  if (!c.released) return;
  c.stage = Stage::kFree;
  tell(c, ServiceNews::kGone);
  hub.open_.fetch_sub(1, std::memory_order_relaxed);
}

// Both directions are done.
void ServiceHub::Impl::finish_quietly(Connection& c) {
  if (c.stage != Stage::kOpen || !c.shut || !c.end_of_file) return;
  add(count(c).ended[static_cast<std::size_t>(ServiceEnd::kDone)]);
  shut_socket(c, false);
  ended(c);
}

// The stream is over. What it finished with is still the backend's, within reason.
void ServiceHub::Impl::release(Connection& c, std::uint64_t now_ns) {
  c.released = true;
  if (c.stage == Stage::kEnded) return ended(c);
  if (c.finished && c.stage != Stage::kTarget) {
    wheel.arm(c.timer, now_ns + kFarewellNs);
    return;
  }
  add(count(c).ended[static_cast<std::size_t>(ServiceEnd::kDone)]);
  shut_socket(c, true);
  ended(c);
}

// ---- beginnings

void ServiceHub::Impl::open(Connection& c, std::uint16_t service, std::uint64_t now_ns) {
  c.service = service;
  c.finished = c.shut = c.end_of_file = c.released = false;
  const ServiceTarget target = config(c).target;
  c.datagrams = target == ServiceTarget::kUdp || target == ServiceTarget::kUnixDatagram;
  add(count(c).opened);
  hub.open_.fetch_add(1, std::memory_order_relaxed);
  touch(c, now_ns);
  wheel.arm(c.timer, now_ns + config(c).connect_timeout_ns);
  if (target != ServiceTarget::kForward) return connect(c, nullptr, now_ns);
  c.stage = Stage::kTarget;
  read_target(c, now_ns);
}

// The stream's first line, e.g. "CONNECT 10.0.0.5:80\n"; everything behind it is for the target.
void ServiceHub::Impl::read_target(Connection& c, std::uint64_t now_ns) {
  BytePipe& pipe = pipes(c).to_socket;
  const std::span<const std::uint8_t> bytes = pipe.data();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t end = text.substr(0, kMaxTargetLine).find('\n');
  if (end == std::string_view::npos) {
    if (text.size() >= kMaxTargetLine || c.finished) fail(c, ServiceEnd::kForbidden);
    return;
  }
  const auto target = named_target(text.substr(0, end), config(c).allow);
  if (!target) return fail(c, ServiceEnd::kForbidden);
  pipe.consume(static_cast<std::uint32_t>(end) + 1);
  connect(c, &*target, now_ns);
}

void ServiceHub::Impl::connect(Connection& c, const session::Endpoint* named, std::uint64_t now_ns) {
  const SocketStart start = start_socket(config(c), named);
  if (start.fd < 0) return fail(c, start.why);
  c.fd = start.fd;
  c.stage = Stage::kConnecting;
  epoll_event event{};
  event.events = c.interest = EPOLLOUT;
  event.data.ptr = &c;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c.fd, &event) != 0) return fail(c, ServiceEnd::kNoSocket);
  if (start.connected) connected(c, now_ns);
}

void ServiceHub::Impl::connected(Connection& c, std::uint64_t now_ns) {
  if (const auto why = connect_error(c.fd)) return fail(c, *why);
  c.stage = Stage::kOpen;
  add(count(c).connected);
  wheel.cancel(c.timer);
  if (config(c).idle_timeout_ns != 0) wheel.arm(c.timer, now_ns + config(c).idle_timeout_ns);
  if (c.released) wheel.arm(c.timer, now_ns + kFarewellNs);
  want(c, EPOLLIN);
  write_socket(c, now_ns);
}

// ---- bytes

// Says so when the worker waits for room. The flag and the positions are looked at in the opposite order over
// there, so one of the two sees the other.
void ServiceHub::Impl::made_room(Connection& c) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  ServicePipes& p = pipes(c);
  if (p.worker_waits.load(std::memory_order_relaxed) && p.worker_waits.exchange(false)) {
    tell(c, ServiceNews::kRoomBack);
  }
}

// False: the socket takes no more now, or it failed.
bool ServiceHub::Impl::write_some(Connection& c, BytePipe& pipe) {
  const SocketMove moved = c.datagrams ? send_datagram(c.fd, pipe) : send_bytes(c.fd, pipe);
  add(count(c).to_backends_bytes, moved.bytes);
  if (moved.dropped) add(count(c).datagrams_dropped);
  if (moved.failed) {
    fail(c, ServiceEnd::kBroken);
    return false;
  }
  return !moved.blocked;
}

void ServiceHub::Impl::write_socket(Connection& c, std::uint64_t now_ns) {
  if (c.stage != Stage::kOpen) return;
  BytePipe& pipe = pipes(c).to_socket;
  bool more = true;
  const std::uint64_t turn = count(c).to_backends_bytes + kTurnBytes;
  while (more && pipe.size() != 0 && count(c).to_backends_bytes < turn) {
    touch(c, now_ns);
    more = write_some(c, pipe);
  }
  if (c.stage != Stage::kOpen) return;
  made_room(c);
  // Its turn is over, or the socket takes no more now: epoll says when to go on.
  want(c, pipe.size() == 0 ? c.interest & ~std::uint32_t{EPOLLOUT} : c.interest | EPOLLOUT);
  if (c.finished && pipe.size() == 0 && !c.shut) {
    c.shut = true;
    shut_sending(c.fd);
    finish_quietly(c);
  }
}

// False: no more for now.
bool ServiceHub::Impl::read_some(Connection& c, BytePipe& pipe, bool& blocked) {
  const SocketMove moved = c.datagrams ? receive_datagram(c.fd, pipe) : receive_bytes(c.fd, pipe);
  add(count(c).from_backends_bytes, moved.bytes);
  if (moved.dropped) add(count(c).datagrams_dropped);
  if (moved.failed) {
    fail(c, ServiceEnd::kBroken);
    return false;
  }
  if (moved.ended) c.end_of_file = true;
  blocked = moved.full;
  return !moved.blocked && !moved.ended && !moved.full;
}

void ServiceHub::Impl::read_socket(Connection& c, std::uint64_t now_ns) {
  if (c.stage != Stage::kOpen || c.end_of_file) return;
  ServicePipes& p = pipes(c);
  const std::uint32_t before = p.from_socket.size();
  bool full = false;
  std::uint64_t turn = count(c).from_backends_bytes + kTurnBytes;
  while (read_some(c, p.from_socket, full) && count(c).from_backends_bytes < turn) continue;
  if (c.stage != Stage::kOpen) return;
  if (p.from_socket.size() != before) touch(c, now_ns);
  if (p.from_socket.size() != 0 && !p.from_socket_told.exchange(true)) tell(c, ServiceNews::kBytesBack);
  if (full) {
    p.hub_waits.store(true);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t enough = c.datagrams ? 2 + kMaxDatagramBytes : 1;
    const bool room_again = p.from_socket.room() >= enough && p.hub_waits.exchange(false);
    if (!room_again) return want(c, c.interest & ~std::uint32_t{EPOLLIN});
    want(c,
         c.interest | EPOLLIN);  // a hang-up may have led here while it was not wanted: nobody else says so
  }
  if (!c.end_of_file) return;
  want(c, c.interest & ~std::uint32_t{EPOLLIN});
  tell(c, ServiceNews::kFinishBack);
  finish_quietly(c);
}

// ---- what happens

void ServiceHub::Impl::on_event(Connection& c, std::uint32_t events, std::uint64_t now_ns) {
  if (c.stage == Stage::kConnecting) return connected(c, now_ns);
  if (c.stage != Stage::kOpen) return;
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_socket(c, now_ns);
  if ((events & EPOLLOUT) != 0) write_socket(c, now_ns);
  if (c.stage == Stage::kOpen && (events & EPOLLERR) != 0 && connect_error(c.fd))
    fail(c, ServiceEnd::kBroken);
}

void ServiceHub::Impl::on_timer(Connection& c, std::uint64_t now_ns) {
  if (c.stage == Stage::kTarget || c.stage == Stage::kConnecting) return fail(c, ServiceEnd::kTimedOut);
  if (c.stage != Stage::kOpen) return;
  if (c.released) return fail(c, ServiceEnd::kTimedOut);
  const std::uint64_t due = c.moved_ns + config(c).idle_timeout_ns;
  if (now_ns >= due) return fail(c, ServiceEnd::kIdle);
  wheel.arm(c.timer, due);
}

void ServiceHub::Impl::on_message(std::uint32_t worker, const ServiceMessage& message, std::uint64_t now_ns) {
  Connection& c = connections[worker][message.connection];
  if (message.news == ServiceNews::kOpen) {
    c.generation = message.generation;
    return open(c, message.value, now_ns);
  }
  if (c.stage == Stage::kFree || message.generation != c.generation) return;
  switch (message.news) {
    case ServiceNews::kBytes:
      pipes(c).to_socket_told.store(false);
      return c.stage == Stage::kTarget ? read_target(c, now_ns) : write_socket(c, now_ns);
    case ServiceNews::kRoom:
      if (c.stage != Stage::kOpen) return;
      want(c, c.interest | EPOLLIN);
      return read_socket(c, now_ns);
    case ServiceNews::kFinish:
      c.finished = true;
      return c.stage == Stage::kTarget ? read_target(c, now_ns) : write_socket(c, now_ns);
    case ServiceNews::kReset:
      if (c.stage == Stage::kEnded) return;
      add(count(c).ended[static_cast<std::size_t>(ServiceEnd::kDone)]);
      shut_socket(c, true);
      c.stage = Stage::kEnded;
      return;
    case ServiceNews::kRelease:
      return release(c, now_ns);
    default:
      return;
  }
}

bool ServiceHub::Impl::take_messages(std::uint64_t now_ns) {
  bool any = false;
  ServiceMessage messages[kMessagesPerRound];
  for (std::uint32_t w = 0; w < links.size(); ++w) {
    const unsigned n = links[w]->hub_takes(messages, kMessagesPerRound);
    for (unsigned i = 0; i < n; ++i) on_message(w, messages[i], now_ns);
    any = any || n != 0;
  }
  return any;
}

// ---- the thread

ServiceHub::ServiceHub(std::vector<ServiceConfig> services, std::vector<ServiceLink*> links)
    : counters_(services.size()),
      impl_(std::make_unique<Impl>(*this, std::move(services), std::move(links))) {}

ServiceHub::~ServiceHub() = default;

ServiceCounters ServiceHub::counters(std::size_t service) const {
  const auto load = [](const std::uint64_t& counter) { return __atomic_load_n(&counter, __ATOMIC_RELAXED); };
  const ServiceCounters& there = counters_[service];
  ServiceCounters out;
  out.opened = load(there.opened);
  out.connected = load(there.connected);
  out.to_backends_bytes = load(there.to_backends_bytes);
  out.from_backends_bytes = load(there.from_backends_bytes);
  out.datagrams_dropped = load(there.datagrams_dropped);
  for (std::size_t i = 0; i < out.ended.size(); ++i) out.ended[i] = load(there.ended[i]);
  return out;
}

bool ServiceHub::poll(int wait_ms) {
  Impl& s = *impl_;
  bool any = s.take_messages(steady_ns());
  epoll_event events[kEventsPerRound];
  const int n = epoll_wait(s.epoll_fd, events, kEventsPerRound, any ? 0 : wait_ms);
  const std::uint64_t now_ns = steady_ns();
  for (int i = 0; i < n; ++i) {
    s.on_event(*static_cast<Impl::Connection*>(events[i].data.ptr), events[i].events, now_ns);
  }
  while (session::Timer* timer = s.wheel.next_expired(now_ns)) {
    s.on_timer(*static_cast<Impl::Connection*>(timer->owner), now_ns);
  }
  return any || n > 0;
}

void ServiceHub::run(const std::atomic<bool>& stop) {
  unsigned quiet = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    quiet = poll(quiet < kBusyRounds ? 0 : 1) ? 0 : quiet + 1;
  }
}

}  // namespace dataplane
