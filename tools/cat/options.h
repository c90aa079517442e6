// Command line of phantom-cat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "session/cold.h"
#include "session/epoch_store.h"

namespace cat {

// -L [BIND:]PORT[:HOST:HOSTPORT]: connections to the first end become streams; the second, if there is one,
// is named in the stream's first line, for a gateway's service with target "forward".
struct LocalForward {
  session::Endpoint listen;
  std::string target;  // "10.0.0.5:80", or empty: what the far service is bound to
};

struct Options {
  session::SessionIdentity identity;
  std::string secret_file;
  std::string state_dir;
  session::Endpoint local;
  session::Endpoint peer;
  bool listen = false;                  // wait for a stream of the peer
  std::optional<std::uint16_t> stream;  // else the first free one
  std::vector<LocalForward> forwards;
  std::optional<session::Endpoint> to;  // streams of the peer go there
  bool unmodified_peer = false;
  bool credit_hint = true;  // towards an unmodified peer
  bool progress = false;
  bool quiet = false;
  std::uint64_t rekey_interval_ns = 0;
  std::uint32_t segment_bytes = 1300;
  std::uint32_t most_streams = 64;
  double timeout_s = 30;
};

// Nothing: the program is to end with `code`.
std::optional<Options> parse_options(int argc, char** argv, int& code);

// "[BIND:]PORT[:HOST:HOSTPORT]", hosts as numbers, IPv6 in brackets; nothing when it is none.
std::optional<LocalForward> parse_forward(const std::string& text);

}  // namespace cat
