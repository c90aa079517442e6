// The worker's record of a connection between a stream and a socket. Private to stream_host.cc and
// stream_pipes.cc.
#pragma once

#include "dataplane/stream_host.h"

namespace dataplane {

struct StreamHost::Connection {
  StreamSession* session = nullptr;     // null: free, or the hub has yet to say that it is done with it
  std::uint64_t generation = 0;         // of its use
  std::uint32_t next = session::kNone;  // of the session's list, or of the free ones
  std::uint32_t previous = session::kNone;
  std::uint16_t stream = 0;
  std::uint16_t service = 0;
  bool datagrams = false;
  bool backend_done = false;  // nothing follows what is in the pipe from the socket
  bool finished = false;      // the stream was told so
  bool again = false;         // on the host's list of those that had more than a turn
};

}  // namespace dataplane
