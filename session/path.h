// Path registry of one session: states, challenges, echoes (protocol.md 10, W-05, W-16, W-17).
//
// Thread: control core (or a single-threaded Session). Pure: time and randomness are arguments.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "session/wire.h"

namespace session {

using PathChallenge = std::array<std::uint8_t, kPathChallengeBytes>;

enum class PathState : std::uint8_t { kUnknown, kUnvalidated, kValidating, kValidated, kFailed };

// What receiving 32 bytes of PATH_VALIDATION on a path means.
enum class PathVerdict : std::uint8_t {
  kIgnored,    // validated or failed path, or a foreign value that was echoed before
  kEcho,       // send the same bytes back on the same path id
  kValidated,  // they were the echo of our challenge
};

class PathTable {
 public:
  static constexpr unsigned kMaxPaths = 16;   // bounded: an unknown path beyond that is ignored
  static constexpr unsigned kSeenValues = 4;  // foreign values remembered per path, each echoed once (W-17)

  PathTable();  // path 0 is validated

  // Starts or repeats an attempt; `fresh` is used when no challenge is outstanding. Nothing when the path is
  // validated or the table is full.
  std::optional<PathChallenge> challenge(std::uint8_t path, const PathChallenge& fresh, std::uint64_t now_ns);
  PathVerdict receive(std::uint8_t path, const PathChallenge& value, std::uint64_t now_ns);
  void note_data(std::uint8_t path);  // authentic data on an unknown path: Unvalidated
  void expire(std::uint64_t now_ns,
              std::uint64_t timeout_ns);  // attempts older than that: Failed, may be tried again
  [[nodiscard]] PathState state(std::uint8_t path) const;

 private:
  struct Entry {
    std::uint8_t id = 0;
    PathState state = PathState::kUnknown;
    bool outstanding = false;
    std::uint8_t seen_count = 0;
    std::uint8_t seen_next = 0;  // ring: the oldest value is replaced
    std::uint64_t started_ns = 0;
    PathChallenge value{};
    std::array<PathChallenge, kSeenValues> seen{};
  };
  Entry* find(std::uint8_t path);
  const Entry* find(std::uint8_t path) const;
  Entry* find_or_add(std::uint8_t path);
  static PathVerdict receive_while_validating(Entry& entry, const PathChallenge& value);
  static void remember(Entry& entry, const PathChallenge& value);

  std::vector<Entry> entries_;  // at most kMaxPaths
};

}  // namespace session
