// What phantom-cat does with the streams of its session.
//
// Owner: one thread. A mode has its turn after every event; it says when it is over and with which exit code.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/cat/join.h"
#include "tools/cat/options.h"

namespace cat {

struct Totals {
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::size_t open = 0;
  std::uint64_t failed = 0;
  std::uint64_t waited = 0;  // times that new connections had to wait for a descriptor
};

class Mode {
 public:
  virtual ~Mode() = default;
  // True: call again soon.
  virtual bool work() = 0;
  // When work() wants to be called without an event; UINT64_MAX: never.
  [[nodiscard]] virtual std::uint64_t due_ns() const { return UINT64_MAX; }
  [[nodiscard]] virtual bool over() const = 0;
  [[nodiscard]] virtual int exit_code() const { return 0; }
  [[nodiscard]] virtual Totals totals() const = 0;
};

// Throws std::runtime_error: no such stream, or no socket to listen on.
std::unique_ptr<Mode> make_mode(Endpoint& endpoint, const Options& options);

}  // namespace cat
