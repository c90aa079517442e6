// Two Streams joined by a link in virtual time: delay, jitter, loss, duplicates, a rate. No crypto: an image
// is the header, the text and sixteen bytes of tag. Everything that leaves is checked: one number, one image.
//
// Single threaded and deterministic: the same seed gives the same schedule.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "session/streams.h"
#include "session/timer_wheel.h"

namespace support {

struct LinkShape {
  std::uint64_t delay_ns = 10'000'000;
  std::uint64_t jitter_ns = 0;  // added, uniform: reorders
  double loss = 0;
  double duplicates = 0;
  std::uint64_t bytes_per_s = 0;  // 0: unlimited
};

// Numbers that arrived, as a receiver of a window of so many bits sees them.
class SeenNumbers {
 public:
  enum class Verdict { kNew, kDuplicate, kTooOld };
  explicit SeenNumbers(std::uint32_t bits = 8192) : bits_(bits) {}
  [[nodiscard]] Verdict look(std::uint32_t sequence) const;
  void record(std::uint32_t sequence);

 private:
  std::uint32_t bits_;
  std::uint32_t highest_ = 0;
  bool any_ = false;
  std::set<std::uint32_t> seen_;
};

class StreamPair {
 public:
  static constexpr std::uint64_t kStart_ns = 1'000'000'000;

  struct Setup {
    session::StreamMemory::Config memory{256, 8192, 8192};
    session::Streams::Config a, b;
    LinkShape link;
    std::uint32_t window_bits = 8192;
    bool check_images = true;
    bool acknowledge_once[2] = {false, false};  // as the reference: duplicates are not acknowledged (W-10)
    std::uint64_t seed = 1;
  };

  struct End {
    End(const Setup& setup, const session::Streams::Config& config);
    session::StreamMemory memory;
    session::TimerWheel wheel;
    std::unique_ptr<session::Streams> streams;
    std::map<std::uint16_t, std::uint32_t> next;  // counters of streams below kDynamicFirst
    std::map<std::uint16_t, SeenNumbers> seen;
    std::unordered_map<std::uint64_t, std::size_t> images;  // epoch, stream, number, path; hash of the image
    std::map<std::uint16_t, std::vector<std::uint8_t>> received;
    std::vector<session::StreamEvent> events;
    std::uint64_t link_free_ns = 0;
    std::uint64_t packets = 0;
    std::uint8_t epoch = 0;
    bool reads = true;
  };

  explicit StreamPair(const Setup& setup);

  session::Streams& a() { return *ends_[0].streams; }
  session::Streams& b() { return *ends_[1].streams; }
  End& end(unsigned which) { return ends_[which]; }
  [[nodiscard]] std::uint64_t now_ns() const { return now_; }
  [[nodiscard]] std::uint64_t elapsed_ms() const { return (now_ - kStart_ns) / 1'000'000; }
  LinkShape& link() { return setup_.link; }

  // Sees every packet before the link does; false: lost.
  std::function<bool(unsigned from, std::span<const std::uint8_t> packet)> filter;
  // Called after everything of a moment was done.
  std::function<void()> application;

  // Until `done` or for so long; true: done.
  bool run(const std::function<bool()>& done, std::uint64_t at_most_ms = 120'000);
  void run_for_ms(std::uint64_t ms);
  // Everything that wants to leave, into the link.
  void pump(unsigned which);
  // What is readable goes to End::received, events to End::events.
  void read(unsigned which);
  void set_epoch(unsigned which, std::uint8_t epoch);
  [[nodiscard]] bool saw(unsigned which, std::uint16_t stream, session::StreamNews news) const;
  // First breach of "one number, one image", or empty.
  [[nodiscard]] const std::string& broken() const { return broken_; }

 private:
  struct Packet {
    std::uint64_t at_ns;
    std::uint64_t order;
    unsigned to;
    std::vector<std::uint8_t> bytes;
    bool operator<(const Packet& other) const {
      return std::tie(at_ns, order) > std::tie(other.at_ns, other.order);
    }
  };
  std::uint32_t take_number(End& end, std::uint16_t stream);
  void transmit(unsigned from, std::span<const std::uint8_t> image);
  void arrive(unsigned at, std::span<const std::uint8_t> image);
  void step();

  Setup setup_;
  std::uint64_t now_ = kStart_ns;
  std::uint64_t order_ = 0;
  std::mt19937_64 random_;
  std::priority_queue<Packet> packets_;
  std::array<End, 2> ends_;
  void check(End& end, const session::StreamPacket& packet, std::span<const std::uint8_t> image);

  std::string broken_;
};

// Byte `at` of what a stream carries in tests.
inline std::uint8_t pattern(std::uint16_t stream, std::uint64_t at) {
  return static_cast<std::uint8_t>((at * 2'654'435'761U + stream * 40'503U) >> 11);
}

// Offers `total` bytes of the pattern and a FIN as the stream takes them.
class PatternSource {
 public:
  PatternSource(session::Streams& streams, std::uint16_t stream, std::uint64_t total, bool finish = true)
      : streams_(streams), stream_(stream), total_(total), finish_(finish) {}
  void offer();
  [[nodiscard]] std::uint64_t taken() const { return taken_; }
  [[nodiscard]] bool done() const { return taken_ == total_; }

 private:
  session::Streams& streams_;
  std::uint16_t stream_;
  std::uint64_t total_;
  std::uint64_t taken_ = 0;
  bool finish_;
};

// What arrived is the beginning of the pattern.
[[nodiscard]] bool is_pattern(std::uint16_t stream, const std::vector<std::uint8_t>& bytes);

}  // namespace support
