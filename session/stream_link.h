// Reliable streams of a session, joined to its packets and its numbers.
//
// What Session does for one session, and a worker for each of its service sessions, is the same: packets that
// were accepted go to Streams, packets that Streams wants sent get their numbers from the shard, and what
// moves without the streams (epoch, reservation, path) is told to them. Sealing and sending are the caller's.
//
// Owner: the thread of the shard. Streams and shard outlive it; nothing allocates.
#pragma once

#include <cstdint>
#include <span>

#include "session/shard.h"
#include "session/streams.h"

namespace session {

class StreamLink {
 public:
  StreamLink(Streams& streams, Shard& shard, std::uint32_t slot)
      : streams_(streams), shard_(shard), slot_(slot) {}

  // For Shard::accept(): false when RELIABLE data has to look as if it was lost.
  [[nodiscard]] bool has_room(const RxFields& fields, std::uint32_t text_bytes) const;
  // What accept() said of a packet that opened, with its text. Unreliable data and bundles are the caller's:
  // the streams only hear of their numbers, and of the end that a FIN says.
  void take(const RxOutcome& outcome, const RxFields& fields, std::span<const std::uint8_t> text,
            std::uint64_t now_ns);
  // Before packets are asked for. `path`: the id that data takes; `hold`: a rekey that only control knows of
  // waits for rest. True: the streams are at rest.
  bool follow(std::uint8_t path, std::uint32_t segment_bytes, bool hold, std::uint64_t now_ns);
  // A number for a packet, or the permission to seal an old one again; for a refusal the packet is
  // not_sent().
  [[nodiscard]] TxGrant grant(StreamPacket& packet);
  // A number for unreliable data of the caller's on a stream.
  [[nodiscard]] TxGrant grant(std::uint16_t stream);

 private:
  void take_data(const RxFields& fields, std::span<const std::uint8_t> text, std::uint64_t now_ns);

  Streams& streams_;
  Shard& shard_;
  std::uint32_t slot_;
};

// RELIABLE data that streams deal with, by its flags.
[[nodiscard]] bool is_stream_data(std::uint16_t flags);

}  // namespace session
