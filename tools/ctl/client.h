// The other end of a gateway's control socket: one request at a time, and notifications between answers.
//
// Thread: one. Knows JSON-RPC 2.0 over lines and nothing of gateways.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

namespace ctl {

using Json = nlohmann::ordered_json;

// No gateway was reached, or it went away: the text says what to do.
struct ConnectError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The gateway answered with an error.
struct AnswerError : std::runtime_error {
  AnswerError(const std::string& message, Json answer)
      : std::runtime_error(message), error(std::move(answer)) {}
  Json error;  // code, message, data
};

class Client {
 public:
  // `timeout`: of connecting, and of each answer; 0: waits for ever.
  Client(const std::string& path, std::chrono::milliseconds timeout);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The result. Throws ConnectError and AnswerError.
  Json call(const std::string& method, const Json& params);
  // The next notification, however long it takes. Nothing when the gateway ended the connection.
  std::optional<Json> next_notification();

 private:
  using Clock = std::chrono::steady_clock;

  void put(const std::string& line, Clock::time_point end);
  // A whole line; nothing at the end of the connection.
  std::optional<std::string> take_line(std::optional<Clock::time_point> end);
  // False: out of time.
  [[nodiscard]] bool wait(short events, std::optional<Clock::time_point> end) const;
  [[nodiscard]] Clock::time_point deadline() const;
  [[noreturn]] void lost(const std::string& what) const;

  std::string path_;
  std::chrono::milliseconds timeout_;
  int fd_ = -1;
  std::string in_;
  std::uint64_t id_ = 0;
};

}  // namespace ctl
