// One client of the control socket: lines of bytes in, answers out; batches are worked off step by step.
//
// Thread: the control core's. Pure: bytes are arguments, so that it can be tested and fuzzed without sockets.
// One JSON text a line; an answer is one line. A line that is no JSON is answered and the connection goes on
// with the next one; after a line that is too long it can't, as where it ends is not known.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "dataplane/rpc.h"

namespace dataplane {

inline constexpr std::size_t kRpcMostLineBytes = 1U << 20;
inline constexpr std::size_t kRpcMostUnsentBytes = 4U << 20;

class RpcConnection {
 public:
  RpcConnection(RpcDispatcher& dispatcher, RpcCaller caller) : dispatcher_(dispatcher), caller_(caller) {}

  // False while what was received has to be worked off first, and once nothing is read any more.
  [[nodiscard]] bool wants_input() const;
  void receive(std::string_view bytes);
  // The client sends nothing more; what it sent is still answered, a last line without an end as well.
  void end_input() { ended_ = true; }
  // Carries out one request. False: none was ready.
  bool step();
  // A line of our own accord.
  void push(const Json& json) { out_ += rpc_line(json); }

  [[nodiscard]] std::string_view unsent() const { return std::string_view(out_).substr(sent_); }
  void sent(std::size_t bytes);
  // More waits for this client than it may leave unread.
  [[nodiscard]] bool overflowed() const { return unsent().size() + answers_.size() > kRpcMostUnsentBytes; }
  // Everything was answered and nothing more can come: to be closed once nothing is unsent.
  [[nodiscard]] bool finished() const;

  [[nodiscard]] RpcCaller& caller() { return caller_; }
  [[nodiscard]] const RpcCaller& caller() const { return caller_; }

 private:
  bool next_line(std::string_view& line);
  void handle(std::string_view line);
  bool batch_step();
  void refuse_long_line();
  void consume(std::size_t end);

  RpcDispatcher& dispatcher_;
  RpcCaller caller_;
  std::string in_;
  std::size_t start_ = 0;    // of what was not handled yet
  std::size_t scanned_ = 0;  // no line ends before it
  std::string out_;
  std::size_t sent_ = 0;
  RpcInput batch_;        // an array while a batch is worked off
  std::size_t next_ = 0;  // element of it
  std::string answers_;   // of the batch so far
  bool ended_ = false;
  bool broken_ = false;  // no further line can be told apart
};

}  // namespace dataplane
