// From packets that streams want sent to sealed packets on their way: numbers granted in order, then one
// batch for the AEAD engine, then images kept, outer headers, transmit buffer.
//
// Owner: the worker's StreamHost. Packets gather until a burst is full or a loop ends, so acknowledgements of
// one received burst leave in one transmit burst (W-34).
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/batch.h"
#include "dataplane/seal.h"
#include "session/shard.h"
#include "session/streams.h"

namespace dataplane {

struct Core;
struct StreamSession;

enum class StreamPush : std::uint8_t {
  kTaken,
  kNoBuffer,  // the packet pool is empty: later
  kRefused,   // no number now (counted by its reason): later
};

class StreamBatch {
 public:
  // A packet that next_packet() gave. Unless it was taken the streams know that it was not sent.
  StreamPush push(Core& core, StreamSession& s, const session::StreamPacket& packet, std::uint64_t now_ns);
  // An unreliable message, its text in `m` already: data at the text, room for everything around it. Taken
  // over, or dropped for its reason.
  void push_datagram(Core& core, StreamSession& s, std::uint16_t stream, rte_mbuf* m, std::uint64_t now_ns);
  void flush(Core& core, std::uint64_t now_ns);
  [[nodiscard]] bool full() const { return count_ == kMaxBurst; }

 private:
  struct Job {
    session::StreamPacket packet;
    session::TxGrant grant;
    StreamSession* session;
    rte_mbuf* m;  // data at the Phantom header
    Way way;
    bool datagram;
  };
  void send(Core& core, Job& job);

  std::array<Job, kMaxBurst> jobs_;
  unsigned count_ = 0;
};

}  // namespace dataplane
