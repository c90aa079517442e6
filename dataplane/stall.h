// How long control's messages keep a worker from its packets: a histogram by loop, the longest by kind.
//
// Writer: the owning worker alone, with plain stores, only in loops that found a message. Readers as of
// CoreStats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dataplane {

// Upper bounds of the buckets in microseconds; the last bucket has what lies above all of them.
inline constexpr std::array<std::uint32_t, 8> kStallBoundsUs{1, 2, 5, 10, 20, 50, 100, 1000};
inline constexpr std::size_t kStallBuckets = kStallBoundsUs.size() + 1;
// Kinds of messages from control to workers, the first ones of MessageKind.
inline constexpr std::size_t kCommandKinds = 24;

struct StallStats {
  std::array<std::uint64_t, kStallBuckets> loops{};  // by the time that all messages of a loop took
  std::uint64_t worst_loop_ns = 0;
  std::array<std::uint64_t, kCommandKinds> messages{};
  std::array<std::uint32_t, kCommandKinds> worst_ns{};  // of one message

  // `at`: the MessageKind.
  void note_message(std::size_t at, std::uint64_t ns) {
    if (at >= kCommandKinds) return;
    ++messages[at];
    if (ns > worst_ns[at]) worst_ns[at] = static_cast<std::uint32_t>(ns < UINT32_MAX ? ns : UINT32_MAX);
  }
  // Loops beyond one of kStallBoundsUs.
  [[nodiscard]] std::uint64_t above(std::uint32_t bound_us) const {
    std::uint64_t sum = loops[kStallBuckets - 1];
    for (std::size_t i = 0; i + 1 < kStallBuckets; ++i) {
      if (kStallBoundsUs[i] > bound_us) sum += loops[i];
    }
    return sum;
  }
  void note_loop(std::uint64_t ns) {
    std::size_t bucket = 0;
    while (bucket < kStallBoundsUs.size() && ns > std::uint64_t{kStallBoundsUs[bucket]} * 1000) ++bucket;
    ++loops[bucket];
    if (ns > worst_loop_ns) worst_loop_ns = ns;
  }
};

// Name of a command kind as it is shown, in snake case; null behind the last one.
const char* command_name(std::size_t kind);

}  // namespace dataplane
