// What lanes are to do, as the main lcore decided: a value that is handed over whole.
//
// Thread: built by the main lcore and not changed afterwards; lanes look at it once a loop.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tools/testpmd/harness.h"
#include "tools/testpmd/packet.h"

namespace testpmd {

struct Plan {
  Mode mode = Mode::kLoop;
  bool running = false;  // else lanes rest, but answer and keep the Phantom end going
  bool sending = false;
  std::array<bool, kWays> ways{};  // that are sent
  std::uint32_t sessions = 0;      // that are sent to; `all` are known
  std::uint32_t all = 0;
  std::uint32_t flows = 1;  // of a session
  std::uint32_t burst = 32;
  double pkts_per_tsc = 0;  // of all lanes, each way; 0: as fast as it goes
  std::uint64_t start_tsc = 0;
  std::uint64_t end_tsc = 0;     // 0: without end
  std::uint64_t first_pkts = 0;  // of all lanes, each way: as fast as it goes, before the rate begins
  std::uint16_t run = 0;
  std::uint64_t fresh = 0;              // another value than before: numbers and windows begin anew
  std::uint64_t cleared = 0;            // another value than before: counters begin anew
  std::uint64_t schedule = 0;           // another value than before: the rate holds from start_tsc on
  dataplane::MacAddress gateway_mac{};  // of the gateway under test, on its LAN side
  std::vector<std::uint16_t> sizes;     // of frames, in turn
  std::array<std::vector<std::uint16_t>, kWays> ports;  // source ports, by session and flow
};

// Sizes in turn, mixed evenly: at most kMostTurns of them, each at least once.
inline constexpr std::size_t kMostTurns = 1024;
std::vector<std::uint16_t> turns_of(const std::vector<SizeShare>& sizes);

}  // namespace testpmd
