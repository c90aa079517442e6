// The harness as the prompt, scripts and benchmarks see it: set what traffic is to be, start it, stop it,
// read counters. What carries the packets is behind it.
//
// Thread: main lcore. While traffic runs, whoever waits calls pump() again and again: it is the control loop
// of the Phantom end (keys, paths, neighbours) and must not rest for longer than some milliseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/testpmd/counters.h"

namespace testpmd {

enum class Mode : std::uint8_t {
  kGen,      // plain IP into the LAN port; what comes back there is verified
  kSeal,     // Phantom packets out of the WAN port, by the Phantom end in the harness
  kVerify,   // nothing is sent; what arrives at either port is verified
  kLoop,     // both ends around one gateway: gen and seal (as `ways` say), and verify on both ports
  kSelf,     // two Phantom ends in the harness, joined directly: what the harness itself can do
  kRelay,    // an impairment node between two ports
  kReflect,  // every frame goes back where it came from, addresses swapped
  kCapture,  // what arrives is written as pcapng
};
const char* mode_name(Mode mode);

// Frames of `bytes` (Ethernet with FCS, RFC 2544) with this share of the packets.
struct SizeShare {
  std::uint32_t bytes = 64;
  std::uint32_t weight = 1;
  friend bool operator==(const SizeShare&, const SizeShare&) = default;
};
inline constexpr std::uint32_t kLeastFrame = 64;
// IMIX as RFC 6985 names it for genome "simple": 7 x 64, 4 x 570, 1 x 1518.
std::vector<SizeShare> imix();

enum class Ways : std::uint8_t { kUp = 1, kDown = 2, kBoth = 3 };

struct Offer {
  double pps = 0;  // each way; 0: as fast as it goes
  std::vector<SizeShare> sizes = {{64, 1}};
  Ways ways = Ways::kUp;
  std::uint32_t sessions = 0;  // of those configured, the first so many; 0: all
  std::uint32_t streams = 1;   // inner flows of a session, spread over streams; 1..64
  std::uint32_t burst = 32;    // 1..64
  friend bool operator==(const Offer&, const Offer&) = default;
};

// What one measurement found. Everything of one way or both added up; drained before it was read.
struct TrialSpec {
  Offer offer;
  double seconds = 1;
  // Called about 20 times a second while it runs, on the main lcore; false ends the trial early (Ctrl-C).
  std::function<bool(double seconds_done)> progress;
  // Called once, about `event_at` seconds after the start (rekey, migration).
  std::function<void()> event;
  double event_at = 0;
};
struct TrialResult {
  std::string error;  // not empty: the trial is void, and why (e.g. the generator was the limit)
  bool interrupted = false;
  double seconds = 0;          // of sending
  std::uint64_t intended = 0;  // packets
  std::uint64_t offered = 0;   // packets that were sent
  std::uint64_t received = 0;  // each once
  std::uint64_t duplicates = 0, out_of_order = 0, corrupt = 0;
  // Intended, but never sent, because the device had no room again and again (link_full): the system's loss,
  // as a link without flow control would have had it. When the device had room, a generator that falls behind
  // makes the trial void instead.
  std::uint64_t unsent = 0;
  bool link_full = false;
  std::int64_t lost = 0;  // offered - received; negative: void
  double loss_ratio = 0;  // (lost + unsent) / (offered + unsent)
  double offered_pps = 0, received_pps = 0;
  double blocked_us = 0;  // longest gap between arrivals, less the usual one
  Histogram latency_ns;
  [[nodiscard]] bool valid() const { return error.empty() && !interrupted; }
};

class Harness {
 public:
  virtual ~Harness() = default;

  // ---- what traffic is to be. Refused (text: why, and what to do) while it runs, or when it cannot be.
  virtual std::string set_mode(Mode mode) = 0;
  [[nodiscard]] virtual Mode mode() const = 0;
  virtual std::string set_offer(const Offer& offer) = 0;  // the rate may change while traffic runs
  [[nodiscard]] virtual const Offer& offer() const = 0;

  // ---- running
  virtual std::string start() = 0;
  // Sends so many packets as fast as it goes before the offered rate begins (testpmd's tx_first).
  virtual std::string start_first(std::uint64_t pkts) = 0;
  virtual void
  stop() = 0;  // sending ends, what is on its way is waited for (at most drain_seconds), lanes rest
  [[nodiscard]] virtual bool running() const = 0;
  // One turn of the control loop; returns at once.
  virtual void pump() = 0;
  // Waits so long, pumping; `until` true or Ctrl-C ends it sooner.
  virtual void wait(double seconds, const std::function<bool()>& until = {}) = 0;
  // Clears, sends, drains, reads. Traffic is stopped before and after.
  virtual TrialResult trial(const TrialSpec& spec) = 0;

  // ---- reading
  [[nodiscard]] virtual Totals totals() const = 0;
  virtual void clear() = 0;
  [[nodiscard]] virtual std::size_t session_count() const = 0;
  [[nodiscard]] virtual std::string session_name(std::size_t index) const = 0;
  [[nodiscard]] virtual SessionCounters session(std::size_t index) const = 0;  // added up over ways and lanes
  [[nodiscard]] virtual double tsc_per_ns() const = 0;
  // Names and values of a device's extended counters; empty: no such port.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::uint64_t>> port_xstats(
      const std::string& port) const = 0;
  [[nodiscard]] virtual std::string describe() const = 0;  // ports, sessions, lanes: some lines for people

  // ---- the Phantom end's sessions; text: why not
  virtual std::string rekey(const std::string& session, unsigned steps) = 0;  // "all": every session
  virtual std::string migrate(const std::string& session) = 0;  // "all", or one: to the next of its UDP ports

  // ---- attacks: copies of what passes, or forged, out of the WAN port at a rate, until `count` were sent
  virtual std::string attack(const std::string& name, double pps, std::uint64_t count) = 0;
  virtual void attack_stop() = 0;
  [[nodiscard]] virtual std::uint64_t attack_left() const = 0;  // still to be sent

  // ---- relay (kRelay): direction "ab", "ba" or "both", settings as KEY=VALUE words
  virtual std::string set_relay(const std::string& direction, const std::vector<std::string>& settings) = 0;
  [[nodiscard]] virtual std::string relay_text() const = 0;  // settings and counters of both directions

  // ---- capture: frames of both ports while traffic runs in any mode; `count` 0: until stopped
  virtual std::string capture(const std::string& file, std::uint64_t count) = 0;
  virtual std::string capture_stop() = 0;  // text: what went wrong with the file
};

}  // namespace testpmd
