// The control socket itself: who gets in, how it shares the loop, what slow and vanished clients do to it.
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/rpc_methods.h"
#include "dataplane/rpc_server.h"
#include "tests/support/fake_operator.h"
#include "tests/support/folder_test.h"

namespace dataplane {
namespace {

constexpr unsigned kRounds = 20'000;  // of polls, until something is called missing

class TestClient {
 public:
  explicit TestClient(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~TestClient() { hang_up(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  // As much as goes without waiting; bytes.
  std::size_t put(std::string_view bytes) const {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  void half_close() const { shutdown(fd_, SHUT_WR); }
  void hang_up() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  // Reads what is there, at most `most` bytes.
  void take(std::size_t most = 1 << 16) {
    std::array<char, 1 << 16> bytes{};
    const ssize_t n = recv(fd_, bytes.data(), std::min(most, bytes.size()), MSG_DONTWAIT);
    if (n > 0) got_.append(bytes.data(), static_cast<std::size_t>(n));
    closed_ = closed_ || n == 0 || (n < 0 && errno != EAGAIN);
  }
  // The next whole line, or nothing yet.
  std::optional<RpcInput> line() {
    const std::size_t end = got_.find('\n');
    if (end == std::string::npos) return {};
    RpcInput out = RpcInput::parse(got_.substr(0, end));
    got_.erase(0, end + 1);
    return out;
  }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  int fd_;
  bool connected_ = false;
  bool closed_ = false;
  std::string got_;
};

std::string request(const std::string& method, const std::string& params = "{}") {
  return R"({"jsonrpc":"2.0","id":1,"method":")" + method + R"(","params":)" + params + "}\n";
}

class RpcServerTest : public support::FolderTest {
 protected:
  void SetUp() override {
    control_.socket = (folder_ / "run" / "control.sock").string();
    config_.file = (folder_ / "gateway.toml").string();
    add_operator_methods(dispatcher_, gateway_, config_, [] { return Json::object(); });
    dispatcher_.add({"large", "", {}, false, false, [](const RpcParams&, RpcCaller&) -> Json {
                       return std::string(1 << 20, 'x');
                     }});
    open();
  }
  void TearDown() override {
    server_.reset();
    socket_.reset();
  }
  void open() {
    server_.reset();
    socket_ = std::make_unique<RpcSocket>(control_);
    server_ = std::make_unique<RpcServer>(*socket_, dispatcher_, gateway_.log, control_.allow_uids);
  }
  unsigned poll() { return server_->poll(now_ns_ += 1'000'000'000); }
  // The next line for a client, with the server running.
  std::optional<RpcInput> wait_line(TestClient& client) {
    for (unsigned i = 0; i < kRounds; ++i) {
      poll();
      if (auto line = client.line()) return line;
      if (client.closed()) return {};
      client.take();
    }
    return {};
  }
  bool wait_closed(TestClient& client) {
    for (unsigned i = 0; i < kRounds && !client.closed(); ++i) {
      poll();
      client.take();
    }
    return client.closed();
  }
  void expect_refused(const std::string& says) {
    try {
      const RpcSocket second(control_);
      FAIL() << "not refused";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  }
  [[nodiscard]] mode_t mode_of(const std::filesystem::path& path) const {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
  }

  ControlConfig control_;
  GatewayConfig config_;
  support::FakeOperator gateway_;
  RpcDispatcher dispatcher_;
  std::unique_ptr<RpcSocket> socket_;
  std::unique_ptr<RpcServer> server_;
  std::uint64_t now_ns_ = 0;
};

// ---- the path

TEST_F(RpcServerTest, OnlyWeCanReachIt) {
  EXPECT_EQ(mode_of(folder_ / "run"), 0700U);
  EXPECT_EQ(mode_of(control_.socket), 0600U);
  server_.reset();
  socket_.reset();
  EXPECT_FALSE(std::filesystem::exists(control_.socket));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "run"));
}

TEST_F(RpcServerTest, OpenFoldersAreRefused) {
  control_.socket = (folder_ / "open" / "s").string();
  std::filesystem::create_directory(folder_ / "open");
  for (const mode_t mode : {0750U, 0701U, 0777U}) {
    ASSERT_EQ(chmod((folder_ / "open").c_str(), mode), 0);
    expect_refused("chmod 700 " + (folder_ / "open").string());
    GatewayConfig config;
    config.control = control_;
    EXPECT_TRUE(check_control_folder(config));
  }
  control_.allow_uids = {1};
  ASSERT_EQ(chmod((folder_ / "open").c_str(), 0775), 0);
  expect_refused("chmod go-w");
  ASSERT_EQ(chmod((folder_ / "open").c_str(), 0755), 0);
  const RpcSocket fine(control_);
  EXPECT_EQ(mode_of(control_.socket), 0666U);
}

TEST_F(RpcServerTest, OtherFilesStay) {
  control_.socket = (folder_ / "run" / "file").string();
  std::ofstream(control_.socket) << "precious";
  expect_refused("something else of that name");
  EXPECT_EQ(std::filesystem::file_size(control_.socket), 8U);
  control_.socket = (folder_ / "run" / "file" / "s").string();
  expect_refused("folder");
}

TEST_F(RpcServerTest, OneInUseIsRefusedAndALeftOneReplaced) {
  expect_refused("in use by process " + std::to_string(getpid()));
  EXPECT_TRUE(TestClient(control_.socket).connected());
  // What SIGKILL leaves: both files, nobody behind them.
  const std::string left = (folder_ / "run" / "left").string();
  const pid_t child = fork();
  if (child == 0) {
    ControlConfig config;
    config.socket = left;
    new RpcSocket(config);  // never destroyed
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(std::filesystem::exists(left));
  EXPECT_FALSE(TestClient(left).connected());
  control_.socket = left;
  open();
  EXPECT_TRUE(TestClient(left).connected());
}

TEST_F(RpcServerTest, ASocketOfAnotherProgramIsNotTaken) {
  std::filesystem::remove(control_.socket + ".lock");
  expect_refused("in use by another program");
  EXPECT_TRUE(TestClient(control_.socket).connected());
}

// ---- clients

TEST_F(RpcServerTest, AnswersAndStaysOpenAfterNonsense) {
  TestClient client(control_.socket);
  client.put("nonsense\n" + request("version"));
  EXPECT_EQ(wait_line(client).value()["error"]["code"], kRpcParse);
  EXPECT_EQ(wait_line(client).value()["result"]["program"], "phantom-gateway");
  EXPECT_FALSE(client.closed());
  EXPECT_EQ(server_->clients(), 1U);
}

TEST_F(RpcServerTest, LooksAtMostEveryMillisecond) {
  TestClient client(control_.socket);
  EXPECT_EQ(server_->poll(5'000'000), 1U);
  client.put(request("version"));
  EXPECT_EQ(server_->poll(5'999'999), 0U);
  EXPECT_GE(server_->poll(3'000'000'000), 2U);
}

TEST_F(RpcServerTest, HalfClosedClientsGetTheirAnswers) {
  TestClient client(control_.socket);
  client.put(request("version") + R"({"jsonrpc":"2.0","id":2,"method":"stats"})");
  client.half_close();
  EXPECT_EQ(wait_line(client).value()["id"], 1);
  EXPECT_TRUE(wait_line(client).value()["result"].contains("books"));
  EXPECT_TRUE(wait_closed(client));
  EXPECT_EQ(server_->clients(), 0U);
}

TEST_F(RpcServerTest, VanishedClientsHadTheirSay) {
  TestClient client(control_.socket);
  std::string many;
  for (unsigned i = 0; i < 100; ++i) many += request("session.rekey", R"({"name":"a"})");
  client.put(many);
  client.hang_up();
  // How many requests a poll carries out hangs on how long they take, so on the machine.
  for (unsigned i = 0; i < kRounds && gateway_.calls.size() < 100; ++i) poll();
  poll();
  EXPECT_EQ(gateway_.calls.size(), 100U);
  EXPECT_EQ(server_->clients(), 0U);
}

TEST_F(RpcServerTest, OversizedLinesAreAnsweredAndClosed) {
  TestClient client(control_.socket);
  const std::string chunk(1 << 16, 'x');
  std::size_t sent = 0;
  for (unsigned i = 0; i < kRounds && sent < 2 * kRpcMostLineBytes && !client.closed(); ++i) {
    sent += client.put(chunk);
    poll();
    client.take();
  }
  EXPECT_EQ(wait_line(client).value()["error"]["code"], kRpcInvalidRequest);
  EXPECT_TRUE(wait_closed(client));
  EXPECT_EQ(dispatcher_.counters().oversized, 1U);
  TestClient next(control_.socket);
  next.put(request("version"));
  EXPECT_TRUE(wait_line(next));
}

TEST_F(RpcServerTest, ASlowReaderGetsEverything) {
  TestClient client(control_.socket);
  client.put(request("large") + request("large") + request("version"));
  std::string got;
  std::vector<std::size_t> sizes;
  for (unsigned i = 0; i < kRounds && sizes.size() < 3; ++i) {
    poll();
    client.take(4001);
    if (const auto line = client.line()) sizes.push_back(line->dump().size());
  }
  ASSERT_EQ(sizes.size(), 3U);
  EXPECT_GT(sizes[1], std::size_t{1} << 20);
  EXPECT_LT(sizes[2], 1000U);
}

TEST_F(RpcServerTest, WhoLeavesTooMuchUnreadIsDropped) {
  TestClient client(control_.socket);
  TestClient other(control_.socket);
  for (unsigned i = 0; i < 10; ++i) client.put(request("large"));
  for (unsigned i = 0; i < 100; ++i) poll();
  EXPECT_EQ(server_->counters().dropped_slow, 1U);
  EXPECT_EQ(server_->clients(), 1U);
  EXPECT_TRUE(wait_closed(client));
  other.put(request("version"));
  EXPECT_TRUE(wait_line(other));
}

TEST_F(RpcServerTest, ClientsBeyondTheLimitAreToldSo) {
  std::vector<std::unique_ptr<TestClient>> clients;
  for (std::size_t i = 0; i < kRpcMostClients; ++i) {
    clients.push_back(std::make_unique<TestClient>(control_.socket));
    poll();
  }
  TestClient late(control_.socket);
  EXPECT_EQ(wait_line(late).value()["error"]["code"], kRpcTooManyClients);
  EXPECT_TRUE(wait_closed(late));
  EXPECT_EQ(server_->counters().refused_full, 1U);
  clients.pop_back();
  for (unsigned i = 0; i < 10; ++i) poll();
  TestClient next(control_.socket);
  next.put(request("version"));
  EXPECT_TRUE(wait_line(next));
}

TEST_F(RpcServerTest, WorkIsSharedAmongClients) {
  TestClient greedy(control_.socket);
  TestClient modest(control_.socket);
  std::string batch = "[";
  for (unsigned i = 0; i < 300; ++i) batch += R"({"jsonrpc":"2.0","id":1,"method":"version"},)";
  batch.back() = ']';
  greedy.put(batch + "\n");
  poll();
  EXPECT_LE(dispatcher_.counters().requests, kRpcRequestsPerPoll);
  modest.put(request("version"));
  unsigned polls = 0;
  while (!modest.line() && ++polls < 5) {
    poll();
    modest.take();
  }
  EXPECT_LT(polls, 5U);
  EXPECT_FALSE(greedy.line());
  EXPECT_EQ(wait_line(greedy).value().size(), 300U);
}

TEST_F(RpcServerTest, OtherUsersAreRefusedUnlessNamed) {
  if (geteuid() != 0) GTEST_SKIP() << "takes root: another user has to connect";
  constexpr std::uint32_t nobody = 65534;
  ASSERT_EQ(chmod(folder_.c_str(), 0711), 0);
  for (const bool named : {false, true}) {
    control_.socket = (folder_ / (named ? "named" : "other") / "s").string();
    control_.allow_uids = {named ? nobody : 4711U};
    open();
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(nobody) != 0) _exit(2);
      TestClient client(control_.socket);
      if (!client.connected()) _exit(3);
      client.put(request("version"));
      for (unsigned i = 0; i < 5000; ++i) {
        client.take();
        if (const auto line = client.line()) _exit(line->contains("result") ? 0 : 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      _exit(4);
    }
    int status = 0;
    for (unsigned i = 0; i < 5000 && waitpid(child, &status, WNOHANG) == 0; ++i) {
      poll();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), named ? 0 : 1);
    EXPECT_EQ(server_->counters().refused_user, named ? 0U : 1U);
  }
}

// ---- events

TEST_F(RpcServerTest, FollowersAreToldAsItHappens) {
  gateway_.log.add("a", "added", "before", "trace");
  TestClient client(control_.socket);
  client.put(request("events.follow"));
  EXPECT_EQ(wait_line(client).value()["result"]["after"], 1);
  gateway_.log.add("a", "rekeyed", "epoch 2", "trace");
  const RpcInput note = wait_line(client).value();
  EXPECT_EQ(note["method"], "event");
  EXPECT_FALSE(note.contains("id"));
  EXPECT_EQ(note["params"]["number"], 2);
  EXPECT_EQ(note["params"]["kind"], "rekeyed");
  client.put(request("version"));
  EXPECT_TRUE(wait_line(client).value().contains("result"));
}

TEST_F(RpcServerTest, FollowersFromANumberGetWhatWasBefore) {
  for (unsigned i = 0; i < 200; ++i) gateway_.log.add("a", "added", "x", "trace");
  TestClient client(control_.socket);
  client.put(request("events.follow", R"({"after":150})"));
  wait_line(client);
  for (unsigned i = 151; i <= 200; ++i) EXPECT_EQ(wait_line(client).value()["params"]["number"], i);
}

TEST_F(RpcServerTest, AFollowerThatFallsBehindLearnsWhatItMissed) {
  TestClient client(control_.socket);
  client.put(request("events.follow"));
  wait_line(client);
  const std::size_t all = 3 * kEventsKept;
  for (std::size_t i = 0; i < all; ++i) {
    gateway_.log.add("a", "added", std::string(100, 'x'), "trace");
    if (i % 16 == 0) poll();
  }
  EXPECT_EQ(server_->counters().dropped_slow, 0U);
  std::uint64_t last = 0;
  std::uint64_t missed = 0;
  while (last < all) {
    const auto line = wait_line(client);
    ASSERT_TRUE(line);
    if ((*line)["method"] == "events.missed") {
      missed += (*line)["params"]["missed"].get<std::uint64_t>();
      last += (*line)["params"]["missed"].get<std::uint64_t>();
      continue;
    }
    EXPECT_EQ((*line)["params"]["number"], ++last);
  }
  EXPECT_GT(missed, 0U);
}

TEST_F(RpcServerTest, AHalfClosedFollowerGoesOnUntilItHangsUp) {
  TestClient client(control_.socket);
  client.put(request("events.follow"));
  client.half_close();
  wait_line(client);
  gateway_.log.add("a", "added", "x", "trace");
  EXPECT_TRUE(wait_line(client));
  EXPECT_EQ(server_->clients(), 1U);
  client.hang_up();
  for (unsigned i = 0; i < 5; ++i) poll();
  EXPECT_EQ(server_->clients(), 0U);
}

}  // namespace
}  // namespace dataplane
