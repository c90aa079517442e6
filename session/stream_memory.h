// Memory of the streams of all sessions of a thread: stream records, segments to send, blocks received.
//
// Allocated once, at construction; pages that were never used are not touched. What a session takes it gives
// back, so sessions without streams hold none of it. Owner: one thread, that of the sessions; it must outlive
// every Streams that uses it.
#pragma once

#include <cstdint>
#include <memory>

namespace session {

struct StreamPools;  // private to the streams

class StreamMemory {
 public:
  struct Config {
    std::uint32_t streams = 1024;
    std::uint32_t segments = 4096;  // of up to kMaxSegmentBytes of text and its sealed image, about 3 KiB
    std::uint32_t blocks = 4096;    // of received text, about 1.5 KiB; also acknowledgements that wait
  };
  struct Usage {
    std::uint32_t streams = 0, segments = 0, blocks = 0;  // in use
  };

  explicit StreamMemory(const Config& config);
  ~StreamMemory();
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  [[nodiscard]] Usage usage() const;
  [[nodiscard]] const Config& config() const;
  [[nodiscard]] StreamPools& pools() { return *pools_; }

 private:
  std::unique_ptr<StreamPools> pools_;
};

}  // namespace session
