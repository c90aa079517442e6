#include "tools/ctl/client.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace ctl {
namespace {

// What to do about a failed connect().
std::string advice(int error) {
  switch (error) {
    case ENOENT:
      return "is the gateway running, and is this the [control] socket of its configuration?";
    case ECONNREFUSED:
      return "the gateway that made it is gone; start it again";
    case EACCES:
    case EPERM:
      return "run as root or as the gateway's user, or name your user in control.allow_uids";
    case EAGAIN:
      return "the gateway has too many clients waiting; try again";
    default:
      return "check the path";
  }
}

Json parse(const std::string& line) {
  Json json = Json::parse(line, nullptr, false);
  if (!json.is_object())
    throw ConnectError("the other end does not speak JSON-RPC: is it a phantom-gateway?");
  return json;
}

}  // namespace

Client::Client(const std::string& path, std::chrono::milliseconds timeout) : path_(path), timeout_(timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) throw ConnectError(fmt::format("{}: path too long", path));
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    if (fd_ >= 0) close(fd_);
    throw ConnectError(fmt::format("can't connect to {}: {}; {}", path, std::strerror(error), advice(error)));
  }
}

Client::~Client() {
  close(fd_);
}

Client::Clock::time_point Client::deadline() const {
  return timeout_.count() == 0 ? Clock::time_point::max() : Clock::now() + timeout_;
}

void Client::lost(const std::string& what) const {
  throw ConnectError(fmt::format("{}: {}", path_, what));
}

bool Client::wait(short events, std::optional<Clock::time_point> end) const {
  constexpr int kStepMs = 1000;
  while (true) {
    int step_ms = kStepMs;
    if (end && *end != Clock::time_point::max()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*end - Clock::now()).count();
      if (left < 0) return false;
      step_ms = static_cast<int>(std::min<long>(left + 1, kStepMs));
    }
    pollfd one{fd_, events, 0};
    if (poll(&one, 1, step_ms) > 0) return true;
  }
}

void Client::put(const std::string& line, Clock::time_point end) {
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = send(fd_, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return;  // why is perhaps there to be read
    } else if (errno != EAGAIN && errno != EINTR) {
      lost(std::strerror(errno));
    } else if (!wait(POLLOUT, end)) {
      lost("the gateway takes no request; it is stopped or overloaded (see --timeout)");
    }
  }
}

std::optional<std::string> Client::take_line(std::optional<Clock::time_point> end) {
  std::array<char, 1 << 16> bytes{};
  std::size_t scanned = 0;
  while (true) {
    if (const std::size_t at = in_.find('\n', scanned); at != std::string::npos) {
      std::string line = in_.substr(0, at);
      in_.erase(0, at + 1);
      return line;
    }
    scanned = in_.size();
    if (!wait(POLLIN, end)) lost("no answer in time; the gateway is stopped or overloaded (see --timeout)");
    const ssize_t n = recv(fd_, bytes.data(), bytes.size(), 0);
    if (n > 0) {
      in_.append(bytes.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return {};
    }
  }
}

Json Client::call(const std::string& method, const Json& params) {
  const Json request = {{"jsonrpc", "2.0"}, {"id", ++id_}, {"method", method}, {"params", params}};
  const Clock::time_point end = deadline();
  put(request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", end);
  while (true) {
    const auto line = take_line(end);
    if (!line) lost("the gateway ended the connection");
    Json answer = parse(*line);
    if (answer.contains("error")) {
      throw AnswerError(answer["error"].value("message", std::string("error without a message")),
                        answer["error"]);
    }
    if (answer.contains("id") && answer["id"] == id_) return answer.value("result", Json());
  }
}

std::optional<Json> Client::next_notification() {
  while (const auto line = take_line(std::nullopt)) {
    Json json = parse(*line);
    if (json.contains("method")) return json;
  }
  return {};
}

}  // namespace ctl
