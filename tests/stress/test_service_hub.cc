// The service thread beside a worker (the test) and backends on loopback: real sockets, real threads. Run
// under TSan too.
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/address_text.h"
#include "dataplane/service_hub.h"

namespace {

using namespace dataplane;
using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kPipe = 8192;
constexpr std::uint32_t kConnections = 64;

// A backend that hands every connection to `serve`, one after the other.
class Backend {
 public:
  explicit Backend(std::function<void(int)> serve) : serve_(std::move(serve)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof at;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(listen(listener_, 128), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &bytes), 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Backend() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (std::thread& one : serving_) one.join();
    close(listener_);
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  void run() {
    for (int fd = accept(listener_, nullptr, nullptr); fd >= 0; fd = accept(listener_, nullptr, nullptr)) {
      serving_.emplace_back([this, fd] {
        serve_(fd);
        close(fd);
      });
    }
  }
  std::function<void(int)> serve_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::vector<std::thread> serving_;
};

void echo(int fd) {
  std::uint8_t buffer[4096];
  for (ssize_t n = read(fd, buffer, sizeof buffer); n > 0; n = read(fd, buffer, sizeof buffer)) {
    for (ssize_t done = 0; done < n;) {
      const ssize_t more = send(fd, buffer + done, static_cast<std::size_t>(n - done), MSG_NOSIGNAL);
      if (more <= 0) return;
      done += more;
    }
  }
}

ServiceConfig tcp_service(std::uint16_t port) {
  ServiceConfig service;
  service.name = "echo";
  service.endpoint = *parse_endpoint("127.0.0.1:" + std::to_string(port));
  service.connect_timeout_ns = 2'000'000'000;
  return service;
}

// The worker's side of one connection, as far as bytes go.
struct Conversation {
  Bytes to_send;
  std::size_t sent = 0;
  bool finish_told = false;
  Bytes received;
  bool finished = false;
  bool reset = false;
  ServiceEnd why = ServiceEnd::kDone;
  bool gone = false;
};

class Hub : public testing::Test {
 protected:
  void start(const ServiceConfig& service) {
    hub_ = std::make_unique<ServiceHub>(std::vector{service}, std::vector<ServiceLink*>{&link_});
    thread_ = std::thread([this] { hub_->run(stop_); });
  }
  void TearDown() override {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  void tell(std::uint32_t connection, ServiceNews news, std::uint16_t value = 0) {
    ServiceMessage message;
    message.news = news;
    message.value = value;
    message.connection = connection;
    message.generation = generation_;
    ASSERT_TRUE(link_.tell_hub(message));
  }
  void open(std::uint32_t connection, Bytes to_send) {
    ServicePipes& p = link_.pipes(connection);
    p.to_socket.clear();
    p.from_socket.clear();
    for (auto* flag : {&p.to_socket_told, &p.from_socket_told, &p.worker_waits, &p.hub_waits}) *flag = false;
    talks_[connection] = Conversation{};
    talks_[connection].to_send = std::move(to_send);
    tell(connection, ServiceNews::kOpen);
  }
  void write(std::uint32_t connection) {
    Conversation& talk = talks_[connection];
    ServicePipes& p = link_.pipes(connection);
    if (talk.reset) return;
    const std::span<const std::uint8_t> rest(talk.to_send.data() + talk.sent,
                                             talk.to_send.size() - talk.sent);
    std::uint32_t n = p.to_socket.write(rest);
    if (n < rest.size()) {
      p.worker_waits.store(true);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      n += p.to_socket.write(rest.subspan(n));
    }
    talk.sent += n;
    if (n != 0 && !p.to_socket_told.exchange(true)) tell(connection, ServiceNews::kBytes);
    if (talk.sent == talk.to_send.size() && !talk.finish_told) {
      talk.finish_told = true;
      tell(connection, ServiceNews::kFinish);
    }
  }
  void read(std::uint32_t connection, std::uint32_t most = 0xffffffffU) {
    Conversation& talk = talks_[connection];
    ServicePipes& p = link_.pipes(connection);
    p.from_socket_told.store(false);
    while (p.from_socket.size() != 0 && most != 0) {
      const auto bytes = p.from_socket.data();
      const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), most));
      talk.received.insert(talk.received.end(), bytes.begin(), bytes.begin() + n);
      p.from_socket.consume(n);
      most -= n;
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (p.hub_waits.load() && p.hub_waits.exchange(false)) tell(connection, ServiceNews::kRoom);
  }
  void on(const ServiceMessage& message) {
    Conversation& talk = talks_[message.connection];
    switch (message.news) {
      case ServiceNews::kBytesBack:
        return read(message.connection);
      case ServiceNews::kRoomBack:
        return write(message.connection);
      case ServiceNews::kFinishBack:
        read(message.connection);
        talk.finished = true;
        return;
      case ServiceNews::kResetBack:
        talk.reset = true;
        talk.why = static_cast<ServiceEnd>(message.value);
        return;
      case ServiceNews::kGone:
        talk.gone = true;
        return;
      default:
        FAIL() << "not a message to a worker";
    }
  }
  bool until(const std::function<bool()>& done, unsigned seconds = 20) {
    const auto end = Clock::now() + std::chrono::seconds(seconds);
    while (!done()) {
      if (Clock::now() > end) return false;
      ServiceMessage messages[32];
      const unsigned n = link_.worker_takes(messages, 32);
      for (unsigned i = 0; i < n; ++i) on(messages[i]);
      if (n == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
  }
  void release(std::uint32_t connection) {
    tell(connection, ServiceNews::kRelease);
    EXPECT_TRUE(until([&] { return talks_[connection].gone; }));
  }

  ServiceLink link_{kConnections, kPipe};
  std::vector<Conversation> talks_{kConnections};
  std::uint64_t generation_ = 1;
  std::unique_ptr<ServiceHub> hub_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

Bytes pattern(std::size_t n, unsigned seed) {
  Bytes out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>((i * 31 + i / 251 + seed) & 0xff);
  return out;
}

TEST_F(Hub, BytesComeBackFromAnEchoWholeAndThenTheEnd) {
  Backend backend(echo);
  start(tcp_service(backend.port()));
  const Bytes sent = pattern(300'000, 1);
  open(0, sent);
  write(0);
  ASSERT_TRUE(until([&] { return talks_[0].finished; }));
  EXPECT_EQ(talks_[0].received, sent);
  release(0);
  EXPECT_EQ(hub_->counters(0).ended[static_cast<std::size_t>(ServiceEnd::kDone)], 1U);
  EXPECT_EQ(hub_->open(), 0U);
}

TEST_F(Hub, ManyAtOnceAndRecordsAreUsedAgain) {
  Backend backend(echo);
  start(tcp_service(backend.port()));
  for (unsigned round = 0; round < 3; ++round) {
    ++generation_;
    for (std::uint32_t i = 0; i < kConnections; ++i) {
      open(i, pattern(20'000 + i * 7, i));
      write(i);
    }
    ASSERT_TRUE(until([&] {
      return std::all_of(talks_.begin(), talks_.end(), [](const Conversation& t) { return t.finished; });
    }));
    for (std::uint32_t i = 0; i < kConnections; ++i) {
      EXPECT_EQ(talks_[i].received, pattern(20'000 + i * 7, i)) << i;
      release(i);
    }
    // Before the last word the pipes are the hub's, too.
    ASSERT_TRUE(until([&] {
      return std::all_of(talks_.begin(), talks_.end(), [](const Conversation& t) { return t.gone; });
    }));
  }
  EXPECT_EQ(hub_->counters(0).opened, 3U * kConnections);
}

TEST_F(Hub, ABackendThatRefusesIsSaidSo) {
  std::uint16_t free_port = 0;
  {
    Backend gone(echo);
    free_port = gone.port();
  }
  start(tcp_service(free_port));
  open(0, {});
  ASSERT_TRUE(until([&] { return talks_[0].reset; }));
  EXPECT_EQ(talks_[0].why, ServiceEnd::kRefused);
  release(0);
}

TEST_F(Hub, ABackendThatResetsEndsTheConnection) {
  Backend backend([](int fd) {
    std::uint8_t byte = 0;
    (void)!::read(fd, &byte, 1);
    const linger now{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  });
  start(tcp_service(backend.port()));
  open(0, pattern(100, 1));
  talks_[0].finish_told = true;
  write(0);
  ASSERT_TRUE(until([&] { return talks_[0].reset; }));
  EXPECT_EQ(talks_[0].why, ServiceEnd::kBroken);
  release(0);
}

// It takes nothing for a while: the pipe fills, the worker is told of no room, and nobody else notices.
TEST_F(Hub, ABackendThatHangsStopsItsOwnConnectionAlone) {
  std::atomic<bool> go{false};
  std::atomic<unsigned> connections{0};
  Backend backend([&](int fd) {
    if (connections.fetch_add(1) == 0) {
      while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    echo(fd);
  });
  start(tcp_service(backend.port()));
  const Bytes large = pattern(16'000'000, 5);  // more than sockets and pipes hold
  open(0, large);
  write(0);
  ASSERT_TRUE(until([&] { return connections == 1U; }));
  for (unsigned i = 0; i < 50; ++i) until([] { return false; }, 0);
  open(1, pattern(50'000, 2));
  write(1);
  ASSERT_TRUE(until([&] { return talks_[1].finished; }));
  EXPECT_EQ(talks_[1].received.size(), 50'000U);
  EXPECT_LT(talks_[0].sent, large.size());
  EXPECT_TRUE(talks_[0].received.empty());
  go = true;
  ASSERT_TRUE(until([&] { return talks_[0].finished; }));
  EXPECT_EQ(talks_[0].received, large);
  release(0);
  release(1);
}

TEST_F(Hub, AWorkerThatReadsNothingStopsTheBackend) {
  Backend backend([](int fd) {
    const Bytes much = pattern(4'000'000, 9);
    (void)!send(fd, much.data(), much.size(), MSG_NOSIGNAL);
  });
  start(tcp_service(backend.port()));
  open(0, {});
  write(0);
  const auto end = Clock::now() + std::chrono::seconds(20);
  while (link_.pipes(0).from_socket.size() < kPipe && Clock::now() < end) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(link_.pipes(0).from_socket.size(), kPipe);
  ASSERT_TRUE(until([&] { return talks_[0].finished; }));
  EXPECT_EQ(talks_[0].received, pattern(4'000'000, 9));
  release(0);
}

TEST_F(Hub, AnIdleConnectionEnds) {
  Backend backend(echo);
  ServiceConfig service = tcp_service(backend.port());
  service.idle_timeout_ns = 50'000'000;
  start(service);
  open(0, pattern(10, 1));
  talks_[0].finish_told = true;
  write(0);
  ASSERT_TRUE(until([&] { return talks_[0].reset; }));
  EXPECT_EQ(talks_[0].why, ServiceEnd::kIdle);
  EXPECT_EQ(talks_[0].received, pattern(10, 1));
  release(0);
}

TEST_F(Hub, AForwardGoesWhereItsFirstLineSaysIfThatIsAllowed) {
  Backend backend(echo);
  ServiceConfig service;
  service.name = "forward";
  service.target = ServiceTarget::kForward;
  service.allow = {ServiceAllow{*parse_prefix("127.0.0.0/8"), backend.port()}};
  start(service);
  const auto with_line = [](const std::string& line, const Bytes& rest) {
    Bytes out(line.begin(), line.end());
    out.insert(out.end(), rest.begin(), rest.end());
    return out;
  };
  const std::string here = "127.0.0.1:" + std::to_string(backend.port());
  open(0, with_line("CONNECT " + here + "\r\n", pattern(5'000, 3)));
  open(1, with_line("CONNECT 127.0.0.1:" + std::to_string(backend.port() == 1 ? 2 : 1) + "\n", {}));
  open(2, with_line("GET / HTTP/1.0\n", {}));
  open(3, Bytes(1'000, 'x'));
  for (std::uint32_t i = 0; i < 4; ++i) write(i);
  ASSERT_TRUE(
      until([&] { return talks_[0].finished && talks_[1].reset && talks_[2].reset && talks_[3].reset; }));
  EXPECT_EQ(talks_[0].received, pattern(5'000, 3));
  for (std::uint32_t i = 1; i < 4; ++i) EXPECT_EQ(talks_[i].why, ServiceEnd::kForbidden) << i;
  for (std::uint32_t i = 0; i < 4; ++i) release(i);
}

TEST_F(Hub, AResetOfTheStreamResetsTheSocket) {
  std::atomic<bool> saw_reset{false};
  Backend backend([&](int fd) {
    std::uint8_t buffer[16];
    while (::read(fd, buffer, sizeof buffer) > 0) continue;
    saw_reset = errno == ECONNRESET;
  });
  start(tcp_service(backend.port()));
  open(0, pattern(10, 1));
  talks_[0].finish_told = true;
  write(0);
  ASSERT_TRUE(until([&] { return hub_->counters(0).connected == 1; }));
  tell(0, ServiceNews::kReset);
  release(0);
  ASSERT_TRUE(until([&] { return saw_reset.load(); }));
}

TEST_F(Hub, DatagramsKeepTheirBounds) {
  const int backend = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof at;
  ASSERT_EQ(bind(backend, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(getsockname(backend, reinterpret_cast<sockaddr*>(&at), &bytes), 0);
  ServiceConfig service = tcp_service(ntohs(at.sin_port));
  service.target = ServiceTarget::kUdp;
  start(service);
  Bytes framed;
  for (const std::size_t n : {1U, 700U, 1408U}) {
    framed.push_back(static_cast<std::uint8_t>(n >> 8));
    framed.push_back(static_cast<std::uint8_t>(n));
    const Bytes text = pattern(n, static_cast<unsigned>(n));
    framed.insert(framed.end(), text.begin(), text.end());
  }
  open(0, framed);
  talks_[0].finish_told = true;
  write(0);
  for (const std::size_t n : {1U, 700U, 1408U}) {
    std::uint8_t buffer[2048];
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t got =
        recvfrom(backend, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
    ASSERT_EQ(got, static_cast<ssize_t>(n));
    EXPECT_EQ(Bytes(buffer, buffer + got), pattern(n, static_cast<unsigned>(n)));
    sendto(backend, buffer, static_cast<std::size_t>(got), 0, reinterpret_cast<sockaddr*>(&from), length);
  }
  ASSERT_TRUE(until([&] { return talks_[0].received.size() == framed.size(); }));
  EXPECT_EQ(talks_[0].received, framed);
  release(0);
  close(backend);
}

}  // namespace
