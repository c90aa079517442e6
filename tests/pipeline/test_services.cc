// Stream services of a live gateway: real sockets on loopback behind it, a whole Session as its peer, both
// driven by one thread.
#include <map>
#include <random>
#include <set>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/service_hub.h"
#include "dataplane/snapshot.h"
#include "dataplane/stream_host.h"
#include "dataplane/tsc.h"
#include "session/memory_store.h"
#include "session/session.h"
#include "tests/support/alloc_counter.h"
#include "tests/support/live.h"

namespace {

using namespace support;  // NOLINT
using dataplane::ServiceTarget;
using session::StreamError;
using session::StreamNews;

constexpr std::uint64_t kSecond = 1'000'000'000;

// A socket of a backend, closed with it.
struct Socket {
  int fd = -1;
  explicit Socket(int of) : fd(of) {}
  Socket(Socket&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { end(); }
  void take(Socket other) { std::swap(fd, other.fd); }
  void end() {
    if (fd >= 0) close(std::exchange(fd, -1));
  }
  void reset() {
    const linger now{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    end();
  }
  // What is there; true at the end of the stream.
  bool read(Bytes& out) const {
    std::uint8_t some[65536];
    for (;;) {
      const ssize_t n = recv(fd, some, sizeof some, MSG_DONTWAIT);
      if (n == 0) return true;
      if (n < 0) return errno != EAGAIN;
      out.insert(out.end(), some, some + n);
    }
  }
  std::size_t write(std::span<const std::uint8_t> bytes) const {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
};

// A listener, or a socket for datagrams, on a free port of loopback.
struct Backend {
  Socket socket;
  std::uint16_t port = 0;
  explicit Backend(int type = SOCK_STREAM) : socket(::socket(AF_INET, type | SOCK_NONBLOCK, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof at;
    if (bind(socket.fd, reinterpret_cast<sockaddr*>(&at), bytes) != 0) throw std::runtime_error("bind");
    if (type == SOCK_STREAM) listen(socket.fd, 64);
    getsockname(socket.fd, reinterpret_cast<sockaddr*>(&at), &bytes);
    port = ntohs(at.sin_port);
  }
  [[nodiscard]] Socket accept() const { return Socket(accept4(socket.fd, nullptr, nullptr, SOCK_NONBLOCK)); }
};

dataplane::ServiceConfig service(const std::string& name, ServiceTarget target, std::uint16_t port,
                                 std::uint16_t first = 1, std::uint16_t last = 0xffff) {
  dataplane::ServiceConfig config;
  config.name = name;
  config.session = "s";
  config.target = target;
  config.endpoint = endpoint("127.0.0.1", port);
  config.first_stream = first;
  config.last_stream = last;
  config.connections = 32;
  return config;
}

// The far end: a Session with streams, and what arrived on each.
struct Peer {
  crypto::Aead aead;
  session::MemoryStore store;
  std::unique_ptr<session::Session> session;
  std::map<std::uint16_t, Bytes> received;
  std::map<std::uint16_t, std::set<StreamNews>> news;
  std::vector<Bytes> datagrams;
  bool reads = true;

  explicit Peer(std::uint32_t number, std::uint64_t now_ns, const session::SessionPolicy& policy = {}) {
    session::SessionConfig config;
    config.identity.name = "peer";
    config.identity.id[0] = 0x51;
    std::memcpy(config.identity.id.data() + 3, &number, sizeof number);
    config.identity.role = session::Role::kResponder;
    config.policy = policy;
    config.streams = session::StreamLimits{};
    std::array<std::uint8_t, 32> secret{};
    secret[0] = 0x77;
    std::memcpy(secret.data() + 5, &number, sizeof number);
    session = std::make_unique<session::Session>(std::move(config), crypto::TrafficSecret::from(secret), aead,
                                                 store, now_ns);
  }
  session::Streams& streams() { return *session->streams(); }
  std::uint16_t open() {
    StreamError error{};
    return streams().open({}, error).value_or(0);
  }
  std::size_t send(std::uint16_t stream, std::span<const std::uint8_t> bytes) {
    StreamError error{};
    return streams().send(stream, bytes, error);
  }
  void work(std::uint64_t now_ns) {
    session::StreamEvent event;
    while (streams().next_event(event)) {
      received[event.stream];
      news[event.stream].insert(event.news);
    }
    if (!reads) return;
    for (auto& [stream, bytes] : received) {
      for (auto some = streams().readable(stream); !some.empty(); some = streams().readable(stream)) {
        bytes.insert(bytes.end(), some.begin(), some.end());
        streams().consume(stream, some.size(), now_ns);
      }
    }
  }
  bool saw(std::uint16_t stream, StreamNews what) { return news[stream].count(what) != 0; }
};

struct Services : testing::Test {
  unsigned free_before = free_packets();
  std::unique_ptr<Live> live;
  std::unique_ptr<Peer> peer;
  std::mt19937_64 random{7};
  double loss = 0;
  unsigned losses = 0;
  bool shuffle = false;
  unsigned queue = 0;       // WAN queue that the peer's frames arrive at
  std::vector<Bytes> kept;  // datagrams of the peer, when asked for
  bool keep = false;
  std::uint64_t worker_allocations = 0;

  void SetUp() override { spdlog::set_level(spdlog::level::off); }
  void TearDown() override {
    peer.reset();
    if (live != nullptr) {
      run_out();
      EXPECT_TRUE(dataplane::take_counters(live->gw.topology(), 1).books.balanced());
      EXPECT_EQ(live->gw.topology().services->open(), 0U) << "connections were left";
    }
    live.reset();
    EXPECT_EQ(free_packets(), free_before);
  }
  void run_out() {
    for (int i = 0; i < 20; ++i) live->poll();
    live->gw.sent(kWan);
  }
  static std::uint64_t now() { return dataplane::tsc_to_ns(dataplane::read_tsc()); }

  void start(std::vector<dataplane::ServiceConfig> services, unsigned workers = 1,
             const session::SessionPolicy& policy = {}) {
    start_eal();
    GatewayOptions options;
    options.workers = workers;
    options.ring_size = 2048;
    options.services = std::move(services);
    live = std::make_unique<Live>(workers == 1 ? "services" : "services2", 1, options);
    dataplane::SessionEntry entry = live->entry("s", 1);
    entry.policy = policy;
    entry.policy.tx_streams = 4;
    ASSERT_TRUE(live->door().session_add(entry, {}).ok());
    session::SessionPolicy of_peer;
    of_peer.unmodified_peer = policy.unmodified_peer;
    peer = std::make_unique<Peer>(1, now(), of_peer);
    run(20);
  }
  void to_gateway(const Bytes& datagram) {
    Ip header;
    header.source = "192.0.2.2";
    header.destination = "192.0.2.1";
    live->gw.receive(
        kWan, ether(live->gw.port_mac(kWan), mac(0x22), ip_packet(header, udp(4500, 4500, datagram))), queue);
  }
  bool lost() {
    const bool is = loss != 0 && std::uniform_real_distribution<>(0, 1)(random) < loss;
    losses += is ? 1 : 0;
    return is;
  }
  void from_peer() {
    std::vector<Bytes> out;
    session::PathEnds to;
    Bytes datagram;
    while (out.size() < 48 && peer->session->next_datagram(datagram, to, now())) out.push_back(datagram);
    if (shuffle) std::shuffle(out.begin(), out.end(), random);
    for (const Bytes& one : out) {
      if (keep) kept.push_back(one);
      if (!lost()) to_gateway(one);
    }
  }
  void to_peer() {
    std::vector<Bytes> frames = live->gw.sent(kWan);
    if (shuffle) std::shuffle(frames.begin(), frames.end(), random);
    for (const Bytes& frame : frames) {
      constexpr std::size_t kHeaders = 14 + 20 + 8;
      if (frame.size() < kHeaders || lost()) continue;
      const auto got = peer->session->receive(std::span(frame).subspan(kHeaders), now());
      if (got.kind != session::Received::Kind::kData || got.ack) continue;
      for (const auto& text : got.payloads) peer->datagrams.emplace_back(text.begin(), text.end());
    }
  }
  void step() {
    const std::uint64_t before = allocations();
    live->gw.poll(0);
    worker_allocations += allocations() - before;
    live->poll();
    live->gw.topology().services->poll(0);
    live->poll();
    to_peer();
    peer->session->on_timer(now());
    peer->work(now());
    from_peer();
  }
  void run(unsigned rounds) {
    for (unsigned i = 0; i < rounds; ++i) step();
  }
  template <typename Done>
  bool until(Done done, unsigned seconds = 20) {
    const std::uint64_t end = now() + seconds * kSecond;
    while (now() < end) {
      step();
      if (done()) return true;
    }
    return false;
  }
  Socket accept(const Backend& backend) {
    Socket taken(-1);
    until([&] {
      taken.take(backend.accept());
      return taken.fd >= 0;
    });
    return taken;
  }
  // A stream to the backend and the socket it got there.
  std::pair<std::uint16_t, Socket> connect(const Backend& backend) {
    const std::uint16_t stream = peer->open();
    const Bytes hello{'h'};
    EXPECT_EQ(peer->send(stream, hello), 1U);
    Socket taken = accept(backend);
    Bytes got;
    EXPECT_TRUE(until([&] {
      taken.read(got);
      return got == hello;
    }));
    return {stream, std::move(taken)};
  }
  bool all_closed() {
    return until([&] { return live->gw.topology().services->open() == 0; });
  }
  [[nodiscard]] const dataplane::ServiceTraffic& traffic(std::size_t i = 0, unsigned worker = 0) const {
    return live->gw.topology().workers[worker].streams->traffic(i);
  }
  [[nodiscard]] dataplane::ServiceCounters counters(std::size_t i = 0) const {
    return live->gw.topology().services->counters(i);
  }
  // Bytes both ways to an end of both directions; the backend sends what it got.
  void echo(const Backend& backend, std::size_t bytes, unsigned seconds = 30) {
    const std::uint16_t stream = peer->open();
    const Bytes data = pattern(bytes, stream);
    Bytes got;
    std::size_t offered = 0;
    std::size_t back = 0;
    bool over = false;
    bool finished = false;
    Socket socket(-1);
    EXPECT_TRUE(until(
        [&] {
          if (offered < bytes) offered += peer->send(stream, std::span(data).subspan(offered));
          if (offered == bytes && !std::exchange(finished, true)) peer->streams().finish(stream);
          if (socket.fd < 0) {
            socket.take(backend.accept());
            return false;
          }
          over = over || socket.read(got);
          back += socket.write(std::span(got).subspan(back));
          if (over && back == bytes) shutdown(socket.fd, SHUT_WR);
          return peer->saw(stream, StreamNews::kClosed);
        },
        seconds))
        << "offered " << offered << " got " << got.size() << " back " << back;
    EXPECT_EQ(got, data);
    EXPECT_EQ(peer->received[stream], data);
  }
};

TEST_F(Services, BytesGoBothWaysAndEachHasItsEnd) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  echo(backend, 3'000'000);
  EXPECT_TRUE(all_closed());
  EXPECT_EQ(counters().to_backends_bytes, 3'000'000U);
  EXPECT_EQ(counters().from_backends_bytes, 3'000'000U);
  EXPECT_EQ(traffic().opened, 1U);
}

TEST_F(Services, LossAndDisorderChangeNothing) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  loss = 0.01;
  shuffle = true;
  echo(backend, 1'000'000, 60);
  EXPECT_GT(losses, 5U);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, ABackendThatDoesNotReadStopsThePeerAndGoesOnLater) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  const Bytes data = pattern(64'000'000, 3);
  std::size_t offered = 0;
  std::uint64_t still = 0;
  EXPECT_TRUE(until([&] {
    const std::size_t n = peer->send(stream, std::span(data).subspan(offered));
    offered += n;
    still = n == 0 ? still + 1 : 0;
    return still > 3000;
  }));
  EXPECT_LT(offered, data.size());
  Bytes got;
  EXPECT_TRUE(until([&] {
    socket.read(got);
    return got.size() == offered;
  }));
  EXPECT_TRUE(std::equal(got.begin(), got.end(), data.begin()));
  peer->streams().reset(stream);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, APeerThatDoesNotReadStopsTheBackendAndGoesOnLater) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  const Bytes data = pattern(64'000'000, 4);
  peer->reads = false;
  std::size_t offered = 0;
  std::uint64_t still = 0;
  EXPECT_TRUE(until([&] {
    const std::size_t n = socket.write(std::span(data).subspan(offered, 65'536));
    offered += n;
    still = n == 0 ? still + 1 : 0;
    return still > 3000 || data.size() - offered < 65'536;
  }));
  EXPECT_LT(data.size() / 2, data.size() - offered) << "what nobody reads is kept without limit";
  peer->reads = true;
  EXPECT_TRUE(until([&] { return peer->received[stream].size() == offered; }));
  EXPECT_TRUE(std::equal(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(offered),
                         peer->received[stream].begin()));
  socket.reset();
  EXPECT_TRUE(until([&] { return peer->saw(stream, StreamNews::kReset); }));
  EXPECT_TRUE(all_closed());
}

// Nothing is left to be told of a backend that hung up, so the thread has to sleep although its pipe is full.
TEST_F(Services, AHungUpBackendWhoseLastBytesWaitDoesNotSpinTheThread) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  const Bytes data = pattern(8'000'000, 5);
  peer->reads = false;
  std::size_t offered = 0;
  std::uint64_t still = 0;
  EXPECT_TRUE(until([&] {
    const std::size_t n = socket.write(std::span(data).subspan(offered));
    offered += n;
    still = n == 0 ? still + 1 : 0;
    return still > 3000 || offered == data.size();
  }));
  peer->streams().finish(stream);
  socket.end();
  run(2000);
  unsigned busy = 0;
  for (unsigned i = 0; i < 100; ++i) busy += live->gw.topology().services->poll(0) ? 1 : 0;
  EXPECT_LT(busy, 50U);
  peer->streams().reset(stream);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, WhoListensNotAndWhatIsNobodysIsReset) {
  const Backend backend;
  std::uint16_t closed = 0;
  { closed = Backend().port; }
  start({service("gone", ServiceTarget::kTcp, closed, 1, 99),
         service("web", ServiceTarget::kTcp, backend.port, 200, 299)});
  for (const std::uint16_t stream : {std::uint16_t{51}, std::uint16_t{151}}) {
    ASSERT_EQ(peer->streams().open_as(stream, {}), StreamError::kOk);
    peer->send(stream, pattern(100));
    EXPECT_TRUE(until([&] { return peer->saw(stream, StreamNews::kReset); })) << stream;
  }
  EXPECT_EQ(live->gw.topology().workers[0].streams->no_service(), 1U);
  EXPECT_EQ(counters(0).ended[static_cast<std::size_t>(dataplane::ServiceEnd::kRefused)], 1U);
  ASSERT_EQ(peer->streams().open_as(201, {}), StreamError::kOk);
  peer->send(201, pattern(100));
  Socket socket = accept(backend);
  EXPECT_GE(socket.fd, 0) << "the second service of the session";
  socket.reset();
  EXPECT_TRUE(until([&] { return peer->saw(201, StreamNews::kReset); }));
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, BeyondItsConnectionsAServiceTakesNoneUntilOneEnds) {
  const Backend backend;
  auto config = service("web", ServiceTarget::kTcp, backend.port);
  config.connections = 4;
  start({config});
  std::vector<std::uint16_t> streams;
  for (int i = 0; i < 6; ++i) {
    streams.push_back(peer->open());
    peer->send(streams.back(), pattern(10));
  }
  EXPECT_TRUE(until([&] { return traffic().refused == 2; }));
  EXPECT_TRUE(until([&] { return counters().connected == 4; }));
  for (const std::uint16_t stream : streams) peer->streams().reset(stream);
  EXPECT_TRUE(all_closed());
  while (backend.accept().fd >= 0) continue;
  echo(backend, 1000);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, DatagramsGoBothWaysOverUdp) {
  const Backend backend(SOCK_DGRAM);
  auto config = service("dns", ServiceTarget::kUdp, backend.port);
  config.idle_timeout_ns = kSecond / 5;
  start({config});
  for (int turn = 0; turn < 2; ++turn) {  // the second after the first went idle
    const Bytes question = pattern(200, 9);
    peer->datagrams.clear();
    to_gateway(peer->session->send(5, session::kFlagUnreliable, question, 0, now()).datagram);
    Bytes got(2000);
    sockaddr_in from{};
    socklen_t bytes = sizeof from;
    ssize_t n = -1;
    EXPECT_TRUE(until([&] {
      n = recvfrom(backend.socket.fd, got.data(), got.size(), MSG_DONTWAIT,
                   reinterpret_cast<sockaddr*>(&from), &bytes);
      return n >= 0;
    }));
    got.resize(static_cast<std::size_t>(n));
    EXPECT_EQ(got, question);
    const Bytes too_long(1409);
    for (const Bytes& answer : {too_long, pattern(300, 2)}) {
      sendto(backend.socket.fd, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), bytes);
    }
    EXPECT_TRUE(until([&] { return !peer->datagrams.empty(); }));
    EXPECT_EQ(peer->datagrams.front(), pattern(300, 2));
    EXPECT_TRUE(all_closed()) << "idle";
  }
  EXPECT_EQ(traffic().opened, 2U);
  EXPECT_EQ(counters().datagrams_dropped, 2U);
}

TEST_F(Services, ReplayedAndForgedPacketsChangeNothing) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  keep = true;
  echo(backend, 100'000);
  EXPECT_TRUE(all_closed());
  keep = false;
  const std::uint64_t opened = traffic().opened;
  for (Bytes datagram : kept) {
    to_gateway(datagram);
    datagram[datagram.size() / 2] ^= 1;
    to_gateway(datagram);
    run(1);
  }
  run(100);
  EXPECT_EQ(traffic().opened, opened);
  echo(backend, 100'000);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, ARemovedSessionEndsItsConnectionsAndItsSlotStartsAnew) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  ASSERT_TRUE(live->door().session_remove("s", 0).ok());
  EXPECT_TRUE(until([&] { return peer->saw(stream, StreamNews::kReset); }));
  for (int i = 0; i < 200; ++i) live->poll();  // gone, while the service thread still holds the connection
  ASSERT_TRUE(live->door().session_add(live->entry("s", 2), {}).ok());
  peer = std::make_unique<Peer>(2, now());
  run(50);
  echo(backend, 200'000);
  EXPECT_TRUE(all_closed());
  Bytes got;
  EXPECT_TRUE(socket.read(got));
}

TEST_F(Services, FramesThatArriveAtAnotherWorkerAreServed) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)}, 2);
  for (queue = 0; queue < 2; ++queue) echo(backend, 300'000);
  EXPECT_EQ(traffic(0, 0).opened + traffic(0, 1).opened, 2U);
  EXPECT_TRUE(traffic(0, 0).opened == 0 || traffic(0, 1).opened == 0) << "two workers had a part in it";
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, RekeysUnderWayLoseNothing) {
  const Backend backend;
  session::SessionPolicy policy;
  policy.rekey_soft_limit = 200;
  start({service("web", ServiceTarget::kTcp, backend.port)}, 1, policy);
  echo(backend, 2'000'000);
  EXPECT_GT(peer->session->epoch(), 3);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, AcknowledgementsOfOneReceivedBurstLeaveInOneTransmitBurst_W34) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  run(200);  // whatever was under way came to rest
  const Bytes data = pattern(10'000, 1);
  ASSERT_EQ(peer->send(stream, data), data.size());
  std::vector<Bytes> out;
  session::PathEnds to;
  Bytes datagram;
  while (peer->session->next_datagram(datagram, to, now())) out.push_back(datagram);
  ASSERT_GE(out.size(), 4U);
  live->gw.sent(kWan);
  for (const Bytes& one : out) to_gateway(one);
  live->gw.poll(0);
  unsigned acknowledgements = 0;
  for (const Bytes& frame : live->gw.sent(kWan)) {
    const std::uint16_t flags = session::load_be16(frame.data() + 14 + 20 + 8 + session::kOffFlags);
    acknowledgements += (flags & session::kFlagAck) != 0 ? 1 : 0;
  }
  EXPECT_EQ(acknowledgements, out.size()) << "in the very loop that received them";
  EXPECT_EQ(peer->streams().reset(stream), StreamError::kOk);
  EXPECT_TRUE(all_closed());
}

TEST_F(Services, AWarmWorkerAllocatesNothing) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  echo(backend, 500'000);
  EXPECT_TRUE(all_closed());
  worker_allocations = 0;
  for (int i = 0; i < 5; ++i) echo(backend, 500'000);
  EXPECT_TRUE(all_closed());
  EXPECT_EQ(worker_allocations, 0U);
}

TEST_F(Services, WhenTheGatewayEndsABackendSeesAResetAndNoEnd) {
  const Backend backend;
  start({service("web", ServiceTarget::kTcp, backend.port)});
  auto [stream, socket] = connect(backend);
  run_out();
  peer.reset();
  live.reset();
  std::uint8_t one = 0;
  EXPECT_EQ(recv(socket.fd, &one, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// protocol.md 1.4 rule 7: its session rekeys when nothing is under way, and not before.
TEST_F(Services, TowardsAnUnmodifiedPeerARekeyWaitsForRest) {
  const Backend backend;
  session::SessionPolicy policy;
  policy.unmodified_peer = true;
  start({service("web", ServiceTarget::kTcp, backend.port)}, 1, policy);
  auto [stream, socket] = connect(backend);
  const Bytes data = pattern(300 * 1300, 5);
  EXPECT_EQ(peer->send(stream, std::span(data).first(1300)), 1300U);
  run(1);
  ASSERT_TRUE(live->door().session_rekey("s", 1).ok());
  Bytes got;
  std::size_t offered = 1300;
  unsigned rekeys_under_way = 0;
  const std::uint64_t begin = now();
  EXPECT_TRUE(until([&] {
    if (offered < data.size()) offered += peer->send(stream, std::span(data).subspan(offered, 1300));
    socket.read(got);
    const bool under_way = offered < data.size() && now() - begin < session::kMostHold_ns / 2;
    rekeys_under_way += under_way && live->view("s")->epoch != 0 ? 1 : 0;
    return got.size() == data.size();
  }));
  EXPECT_EQ(rekeys_under_way, 0U);
  EXPECT_EQ(got, data);
  EXPECT_TRUE(until([&] { return live->view("s")->epoch == 1; })) << "at rest it goes on";
  EXPECT_EQ(peer->streams().finish(stream), StreamError::kOk);
  socket.end();
  EXPECT_TRUE(all_closed());
}

}  // namespace
