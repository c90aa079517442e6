// Receiver reports: how a hardened peer tells what arrived of traffic that nobody acknowledges, so that a
// tunnel has an estimator too (protocol.md 12, 16.6; W-19, W-23).
//
// A report is the plaintext of a packet with flags ENCRYPTED|CONTROL on stream 0: sealed, numbered and
// recorded in the window like any other. An unmodified peer must never be sent one: it would hand it to its
// application. Both ends of a path count what they send and what they receive there, reports excepted, and
// while either moves each sends a report every max(RTT, 100 ms). A report answers the newest one of the peer
// like an echo: that gives the round trip, and, because both ends counted up to the same packet, what was
// lost, exactly and whatever the report's own fate is.
//
//   0  kind 0x52        8  echo: number of the newest report of the peer, 0 none
//   1  version 1       12  echo delay: us since it arrived
//   2  path id         16  packets received on the path before it arrived, in total (8 bytes)
//   3  0               24  bytes received in the interval (8 bytes): UDP payloads
//   4  own number      32  packets received in the interval
//                      36  the interval, us: first to last of these arrivals, 0 none
//
// Integers are big endian. The interval begins with the last packet of the report before, or, after silence,
// with a packet that is not counted, so that bytes over time is a rate.
//
// Owner: one thread, that of the path's flow. Pure: time in nanoseconds of any monotonic clock. Nothing is
// allocated, everything has a fixed size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "session/path_counts.h"
#include "session/path_flow.h"
#include "session/wire.h"

namespace session {

inline constexpr std::size_t kReportBytes = 40;
inline constexpr std::uint8_t kReportKind = 0x52;
inline constexpr std::uint8_t kReportVersion = 1;
// A report costs 109 bytes of UDP payload: at most about 1 kB a second each way.
inline constexpr std::uint64_t kReportIntervalNs = 100'000'000;

struct ReceiverReport {
  std::uint8_t path = 0;
  std::uint32_t number = 0;       // from 1 on
  std::uint32_t echo_number = 0;  // 0: none arrived yet
  std::uint32_t echo_delay_us = 0;
  std::uint64_t received_packets = 0;  // in total, when the echoed report arrived
  std::uint64_t interval_bytes = 0;
  std::uint32_t interval_packets = 0;
  std::uint32_t interval_us = 0;
  friend bool operator==(const ReceiverReport&, const ReceiverReport&) = default;
};

void encode_report(const ReceiverReport& report, std::span<std::uint8_t, kReportBytes> out);
// Nothing: another length, kind or version, number 0, or an interval of no time that has bytes or packets.
std::optional<ReceiverReport> decode_report(std::span<const std::uint8_t> text);

// What was sent on a path since the session began, reports excepted; bytes of UDP payload.
struct SentTotals {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

// Says what arrives on one path, and when it is time to.
class ReportSender {
 public:
  explicit ReportSender(std::uint8_t path) : path_(path) {}

  // Packets of one burst, or since the last look at a worker's counters, reports excepted. Received: those
  // that verified, also when the window then refused them as copies of what came over another path.
  void on_sent(std::uint32_t packets, std::uint64_t bytes, std::uint64_t now_ns);
  void on_received(std::uint32_t packets, std::uint64_t bytes, std::uint64_t now_ns);
  // A report of the peer about this path arrived. `behind`: packets that on_received() was told of already
  // although they came later.
  void on_report(const ReceiverReport& report, std::uint64_t now_ns, std::uint32_t behind = 0);

  // When the next one is due; UINT64_MAX: nothing moved since the last one, silence.
  [[nodiscard]] std::uint64_t due_at_ns(std::uint64_t rtt_ns) const;
  // The report to send now. Its number and `sent()` go to ReportReader::remember().
  [[nodiscard]] ReceiverReport make(std::uint64_t now_ns);
  [[nodiscard]] SentTotals sent() const { return sent_; }

 private:
  void note_traffic(std::uint64_t now_ns);

  std::uint8_t path_;
  bool moved_ = false;  // since the last report
  std::uint64_t moved_at_ns_ = 0;
  SentTotals sent_;
  std::uint64_t received_packets_ = 0;

  bool receiving_ = false;  // interval_from_ns_ is one of an arrival
  std::uint64_t interval_from_ns_ = 0;
  std::uint64_t last_received_ns_ = 0;
  std::uint64_t interval_bytes_ = 0;
  std::uint64_t interval_packets_ = 0;

  std::uint32_t number_ = 0;
  std::uint32_t echo_number_ = 0;
  std::uint64_t echo_at_ns_ = 0;
  std::uint64_t echo_received_packets_ = 0;
};

struct ReportCounters {
  std::uint64_t read = 0;
  std::uint64_t stale = 0;        // overtaken by a newer one
  std::uint64_t unknown = 0;      // echoes what was never sent, or too long ago
  std::uint64_t implausible = 0;  // tells of more than was sent; taken for what was
};

// Reads what the peer says about one path.
class ReportReader {
 public:
  // An own report was sent: what an echo of it will mean.
  void remember(std::uint32_t number, const SentTotals& sent, std::uint64_t now_ns);
  // True: it was news, and the flow has heard it. `sent`: until now.
  bool read(const ReceiverReport& report, const SentTotals& sent, std::uint64_t now_ns, PathFlow& flow);

  // Share of packets that this path loses, in millionths, averaged over eight reports.
  [[nodiscard]] std::uint32_t loss_ppm() const { return static_cast<std::uint32_t>(loss_ppm_x8_ / 8); }
  [[nodiscard]] const ReportCounters& counters() const { return counters_; }
  // The last news was of a path that carried all it can: its rate is the path's, not the sender's.
  [[nodiscard]] bool full() const { return full_; }

 private:
  struct Own {
    std::uint32_t number = 0;  // 0: none
    std::uint64_t sent_ns = 0;
    SentTotals sent;
  };
  struct Loss {
    std::uint32_t packets = 0;
    std::uint32_t lost = 0;
  };
  // Reports under way at once: one every max(RTT, 100 ms), so two; the rest is for those that are lost.
  static constexpr std::size_t kOwn = 16;

  bool is_news(std::uint32_t number);
  [[nodiscard]] const Own* find(std::uint32_t number) const;
  [[nodiscard]] std::uint64_t possible_bytes(const SentTotals& sent) const;
  Loss lost_until(const Own& echoed, std::uint64_t received_packets);
  void average(const Loss& loss);
  [[nodiscard]] bool path_was_full(const Loss& loss, std::uint64_t rtt_ns, const PathFlow& flow) const;

  std::array<Own, kOwn> own_{};
  std::uint32_t newest_ = 0;        // of the peer's numbers
  std::uint32_t echoed_ = 0;        // newest own one that came back
  std::uint64_t echoed_sent_ = 0;   // packets sent before it
  std::uint64_t echoed_heard_ = 0;  // of which so many arrived
  std::uint64_t surplus_ = 0;  // heard beyond what was sent before it: neighbours of our report in disorder
  std::uint32_t last_own_ = 0;
  std::uint64_t loss_ppm_x8_ = 0;
  bool full_ = false;
  ReportCounters counters_;
};

}  // namespace session
