// A stream joined to descriptors: what can be read from one goes into the stream, what comes out of it into
// the other, each as fast as the slower side takes it.
//
// Owner: one thread. Descriptors are non-blocking, or regular files; they are closed with it when it owns
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/cat/endpoint.h"

namespace cat {

class Join : public Watcher {
 public:
  // `in` and `out` may be one socket, which is then shut down half by half and closed at the end. `first`:
  // sent before anything that is read.
  Join(Endpoint& endpoint, std::uint16_t stream, int in, int out, std::string first = {});
  ~Join() override;
  Join(const Join&) = delete;
  Join& operator=(const Join&) = delete;

  void on_ready(std::uint32_t events) override;
  void on_event(const session::StreamEvent& event);
  // Moves what can be moved. True: call again soon, an always-ready file has more.
  bool pump();

  [[nodiscard]] bool over() const { return over_; }
  // Why it is over, when it did not end well.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] std::uint64_t sent_bytes() const { return sent_; }
  [[nodiscard]] std::uint64_t received_bytes() const { return received_; }

 private:
  [[nodiscard]] bool is_socket() const { return in_ == out_; }
  bool read_some();
  bool send_some();
  bool write_some();
  void watch();
  void end_output();
  void give_up(const std::string& why);

  Endpoint& endpoint_;
  std::uint16_t stream_;
  int in_;
  int out_;
  std::vector<std::uint8_t> pending_;  // read, not yet in the stream
  std::size_t pending_at_ = 0;
  bool in_always_ready_ = false;
  bool out_always_ready_ = false;
  bool in_ready_ = true;
  bool out_ready_ = true;
  bool in_ended_ = false;
  bool finished_ = false;         // our side of the stream
  bool stream_finished_ = false;  // the peer's
  bool out_ended_ = false;
  bool over_ = false;
  std::string trouble_;
  std::uint64_t sent_ = 0, received_ = 0;
};

}  // namespace cat
