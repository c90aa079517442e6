// The relay's words, and the relay itself between two sockets on the loopback interface.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>

#include "tests/support/relay.h"
#include "tests/support/relay_io.h"
#include "tests/support/relay_text.h"

namespace support {
namespace {

TEST(RelayText, Endpoints) {
  EXPECT_EQ(SocketAddress::parse("192.0.2.1:4500")->text(), "192.0.2.1:4500");
  EXPECT_EQ(SocketAddress::parse("[2001:db8::1]:0")->text(), "[2001:db8::1]:0");
  EXPECT_EQ(*SocketAddress::parse("[::1]:9"), *SocketAddress::parse("[0::1]:9"));
  EXPECT_FALSE(*SocketAddress::parse("127.0.0.1:9") == *SocketAddress::parse("127.0.0.1:10"));
  for (const char* bad :
       {"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:1x", "2001:db8::1:5",
        "[2001:db8::1]", "[]:1", "host:1", "192.0.2.256:1", "192.0.2.1:-1"}) {
    EXPECT_FALSE(SocketAddress::parse(bad)) << bad;
  }
}

TEST(RelayText, Numbers) {
  EXPECT_EQ(parse_duration_ns("20ms"), 20'000'000U);
  EXPECT_EQ(parse_duration_ns("1.5s"), 1'500'000'000U);
  EXPECT_EQ(parse_duration_ns("0"), 0U);
  EXPECT_EQ(parse_bit_rate("20mbit"), 20'000'000U);
  EXPECT_EQ(parse_bit_rate("9600bit"), 9600U);
  EXPECT_EQ(parse_bytes("64k"), 65'536U);
  EXPECT_EQ(parse_share("1%"), 0.01);
  EXPECT_EQ(parse_share("1"), 1.0);
  for (const char* bad : {"", "ms", "20", "20m", "-1ms", "1e30s", "nan", "inf", "1ms "}) {
    EXPECT_FALSE(parse_duration_ns(bad)) << bad;
  }
  EXPECT_FALSE(parse_share("1.01"));
  EXPECT_FALSE(parse_share("101%"));
  EXPECT_FALSE(parse_bytes("2048m"));
}

TEST(RelayText, Settings) {
  ImpairmentSettings settings;
  for (const char* word : {"delay=5ms", "jitter=1ms", "rate=1mbit", "burst=9000", "queue=64k", "loss=1%",
                           "duplicate=0.5", "reorder=2%", "reorder_delay=7ms"}) {
    EXPECT_EQ(apply_setting(settings, word), "") << word;
  }
  EXPECT_EQ(settings.delay_ns, 5'000'000U);
  EXPECT_EQ(settings.reorder_ns, 7'000'000U);
  EXPECT_EQ(settings.queue_bytes, 65'536U);
  EXPECT_NE(apply_setting(settings, "delay=5").find("a duration such as"), std::string::npos);
  EXPECT_NE(apply_setting(settings, "color=red").find("expected delay="), std::string::npos);
  EXPECT_NE(apply_setting(settings, "delay"), "");
}

// A host at one end.
class End {
 public:
  explicit End(const char* address = "127.0.0.1:0") : local(*SocketAddress::parse(address)) {
    EXPECT_EQ(open_udp(local, socket_), "");
  }
  void send(const SocketAddress& to, std::string_view text) {
    SocketAddress where = to;
    EXPECT_EQ(sendto(socket_.get(), text.data(), text.size(), 0, where.raw(), where.length()),
              static_cast<ssize_t>(text.size()));
  }
  // What is there; "" when nothing is. `from` learns the sender.
  std::string receive() {
    std::array<char, 4096> data{};
    sockaddr_storage source{};
    socklen_t length = sizeof(source);
    const ssize_t got =
        recvfrom(socket_.get(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&source), &length);
    if (got < 0) return "";
    from = SocketAddress::from(source);
    return {data.data(), static_cast<std::size_t>(got)};
  }
  [[nodiscard]] int fd() const { return socket_.get(); }

  SocketAddress local;
  SocketAddress from;

 private:
  Descriptor socket_;
};

class RelayTest : public ::testing::Test {
 protected:
  // Makes path p; a's remote is learned, b's is `far`.
  void make_path(const End& far, const char* b_local = "127.0.0.1:0") {
    const std::string answer =
        relay.command("path p 127.0.0.1:0 any " + std::string(b_local) + " " + far.local.text());
    const std::vector<std::string_view> words = split_words(answer);
    ASSERT_EQ(words.size(), 3U) << answer;
    near_side = *SocketAddress::parse(words[1]);
    far_side = *SocketAddress::parse(words[2]);
  }
  // Lets the relay work for a while, and longer until `end` has something.
  std::string arrives(End& end, int timeout_ms = 1000) {
    const std::uint64_t until_ns = monotonic_ns() + static_cast<std::uint64_t>(timeout_ms) * 1'000'000;
    while (monotonic_ns() < until_ns) {
      pollfd waiting{relay.fd(), POLLIN, 0};
      poll(&waiting, 1, 5);
      relay.run_once();
      if (std::string text = end.receive(); !text.empty()) return text;
    }
    return "";
  }
  nlohmann::json stats() { return nlohmann::json::parse(relay.command("stats p")); }

  Relay relay{1};
  SocketAddress near_side, far_side;
};

TEST_F(RelayTest, CarriesBothWaysAndLearnsTheNearEnd) {
  End a, b;
  make_path(b);
  a.send(near_side, "hello");
  EXPECT_EQ(arrives(b), "hello");
  EXPECT_EQ(b.from, far_side);
  b.send(far_side, "world");
  EXPECT_EQ(arrives(a), "world");
  EXPECT_EQ(a.from, near_side);
  EXPECT_EQ(stats()["ab"]["out"], 1);
  EXPECT_EQ(stats()["ba"]["out_bytes"], 5);
  EXPECT_EQ(stats()["a"]["remote"], a.local.text());
}

TEST_F(RelayTest, PacketsFromElsewhereAreForeign) {
  End a, b, stranger;
  make_path(b);
  a.send(near_side, "hello");
  ASSERT_EQ(arrives(b), "hello");
  stranger.send(far_side, "I am b");
  EXPECT_EQ(arrives(a, 50), "");
  EXPECT_EQ(stats()["b"]["foreign"], 1);
}

TEST_F(RelayTest, RebindingGivesANewPortAndEndsTheOldOne) {
  End a, b;
  make_path(b);
  const SocketAddress old = far_side;
  const std::string answer = relay.command("rebind p b 127.0.0.1:0");
  ASSERT_EQ(answer.substr(0, 3), "ok ");
  far_side = *SocketAddress::parse(answer.substr(3));
  EXPECT_FALSE(far_side == old);
  a.send(near_side, "after");
  EXPECT_EQ(arrives(b), "after");
  EXPECT_EQ(b.from, far_side);
  b.send(old, "to the old port");
  EXPECT_EQ(arrives(a, 50), "");
  EXPECT_EQ(stats()["b"]["rebindings"], 1);
}

TEST_F(RelayTest, AKeptSocketReceivesForAWhile) {
  End a, b;
  make_path(b);
  a.send(near_side, "first");
  ASSERT_EQ(arrives(b), "first");
  const SocketAddress old = far_side;
  ASSERT_EQ(relay.command("rebind p b 127.0.0.1:0 keep=200ms").substr(0, 3), "ok ");
  b.send(old, "late");
  EXPECT_EQ(arrives(a), "late");
  EXPECT_EQ(arrives(a, 250), "");
  b.send(old, "too late");
  EXPECT_EQ(arrives(a, 50), "");
}

TEST_F(RelayTest, ChangesTheFamily) {
  End a, b("[::1]:0");
  make_path(b, "[::1]:0");
  a.send(near_side, "four");
  EXPECT_EQ(arrives(b), "four");
  EXPECT_EQ(b.from, far_side);
  b.send(far_side, "six");
  EXPECT_EQ(arrives(a), "six");
  End b4;
  EXPECT_EQ(relay.command("rebind p b 127.0.0.1:0"), "error: both ends of a side must be of one family");
  EXPECT_EQ(relay.command("rebind p b 127.0.0.1:0 " + b4.local.text() + " keep=5s").substr(0, 3), "ok ");
  a.send(near_side, "four again");
  EXPECT_EQ(arrives(b4), "four again");
  b.send(far_side, "late, to the socket of the other family");
  EXPECT_EQ(arrives(a), "late, to the socket of the other family");
}

TEST_F(RelayTest, DelaysAndCuts) {
  End a, b;
  make_path(b);
  ASSERT_EQ(relay.command("set p ab delay=30ms"), "ok");
  const std::uint64_t before = monotonic_ns();
  a.send(near_side, "slow");
  EXPECT_EQ(arrives(b), "slow");
  EXPECT_GE(monotonic_ns() - before, 30'000'000U);
  a.send(near_side, "on its way");
  relay.run_once();
  ASSERT_EQ(relay.command("cut p both hard"), "ok");
  a.send(near_side, "during");
  EXPECT_EQ(arrives(b, 60), "");
  EXPECT_EQ(stats()["ab"]["cut"], 2);
  ASSERT_EQ(relay.command("restore p both"), "ok");
  a.send(near_side, "after");
  EXPECT_EQ(arrives(b), "after");
  EXPECT_EQ(relay.command("remove p"), "ok");
  EXPECT_EQ(relay.command("stats"), "{}");
}

TEST_F(RelayTest, LargePacketsPassAndTooLargeOnesAreCounted) {
  End a, b;
  make_path(b);
  a.send(near_side, std::string(kRelayPacketBytes, 'x'));
  EXPECT_EQ(arrives(b), std::string(kRelayPacketBytes, 'x'));
  a.send(near_side, std::string(kRelayPacketBytes + 1, 'x'));
  EXPECT_EQ(arrives(b, 50), "");
  EXPECT_EQ(stats()["a"]["truncated"], 1);
}

TEST_F(RelayTest, BadCommandsSayWhatIsExpected) {
  End b;
  make_path(b);
  for (const char* bad :
       {"", "fly", "path", "path p 127.0.0.1:0 any 127.0.0.1:0 any", "path q 127.0.0.1:0 any 127.0.0.1 any",
        "path q 127.0.0.1:0 any 192.0.2.77:0 any", "set p", "set q ab delay=1ms", "set p up delay=1ms",
        "set p ab delay=x", "rebind p c 127.0.0.1:0", "rebind p b nowhere", "rebind p b 127.0.0.1:0 keep=x",
        "cut p", "cut p ab soft", "restore p", "stats q", "remove q"}) {
    EXPECT_EQ(relay.command(bad).substr(0, 6), "error:") << bad;
  }
  EXPECT_EQ(relay.command("stats").find("\"q\""), std::string::npos);
}

std::uint64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// In packets per second of the relay's own processor time: how busy the machine is otherwise plays no part.
TEST_F(RelayTest, CarriesFiftyThousandPacketsASecond) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr double kLeast = 10'000;
#else
  constexpr double kLeast = 50'000;
#endif
  constexpr unsigned kCount = 100'000;
  constexpr unsigned kWindow = 1024;  // on their way at once: nothing overflows
  End a, b;
  make_path(b);
  ASSERT_EQ(relay.command("set p both delay=200us"), "ok");
  std::atomic<bool> done{false};
  std::uint64_t busy_ns = 0;
  std::thread worker([&] {
    while (!done.load()) {
      pollfd waiting{relay.fd(), POLLIN, 0};
      poll(&waiting, 1, 10);
      relay.run_once();
    }
    busy_ns = thread_cpu_ns();
  });
  BufferPool pool(4 * kRelayBatch);
  SendBatch out(pool);
  ReceiveBatch in(pool);
  const std::uint64_t start_ns = monotonic_ns();
  unsigned sent = 0;
  unsigned received = 0;
  while (received < kCount && monotonic_ns() - start_ns < 30'000'000'000) {
    if (sent < kCount && sent - received < kWindow) {
      while (!out.full()) out.add(pool.take(), 200);
      sent += kRelayBatch - out.send(a.fd(), near_side);
    }
    received += in.receive(b.fd());
  }
  const double wall_s = static_cast<double>(monotonic_ns() - start_ns) / 1e9;
  done = true;
  worker.join();
  EXPECT_GE(received, kCount);
  const double rate = received / (static_cast<double>(busy_ns) / 1e9);
  std::printf("relayed %.0f packets per second of its own time, %.0f by the clock\n", rate,
              received / wall_s);
  EXPECT_GE(rate, kLeast);
}

}  // namespace
}  // namespace support
