// Receiver reports of one session, all its paths: from a shard's counters to reports and estimates
// (receiver_report.h, path_flow.h).
//
// The worker counts, and seals and opens reports; whoever owns this looks at the counters every kLookNs while
// traffic moves. So nothing here is on the way of a packet, and what must be exact comes with the messages:
// counters as they stood when the peer's report was opened, and when ours was sealed.
//
// Owner: one thread (the control core). Pure: time in nanoseconds of any monotonic clock; nothing is
// allocated after construction.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "session/path_counts.h"
#include "session/path_flow.h"
#include "session/receiver_report.h"

namespace session {

// Between two looks. A quarter of the report interval: a look tells when the last packet came, and an
// interval of a report begins and ends with such a packet.
inline constexpr std::uint64_t kLookNs = 25'000'000;
// So long without traffic, and nobody looks any more.
inline constexpr std::uint64_t kQuietNs = 2'000'000'000;

struct PathBandwidth {
  BandwidthSnapshot snapshot;
  FlowState state = FlowState::kStartup;
  std::uint32_t loss_ppm = 0;
  bool full = false;  // the last report was of a path that carried all it can
  std::uint64_t reports_sent = 0;
  ReportCounters reports;
};

class PathReports {
 public:
  PathReports(unsigned paths, std::uint64_t now_ns);

  // A look at the counters of a path. `arrived_ns`: received_tsc in this object's clock, 0: nothing arrived.
  void on_counts(std::uint8_t path, const PathCounts& counts, std::uint64_t arrived_ns, std::uint64_t now_ns);
  // A report of the peer, opened at `arrived_ns` when the received_ counters stood so; of the bytes the low
  // half is enough. True: it was news.
  bool on_report(const ReceiverReport& report, const PathCounts& counts, std::uint64_t arrived_ns);
  // A report of ours, sealed at `sent_ns` when the sent_ counters stood so.
  void on_sealed(std::uint8_t path, std::uint32_t number, const PathCounts& counts, std::uint64_t sent_ns);
  // The report that is due, if one is: to be sent now.
  std::optional<ReceiverReport> next_report(std::uint8_t path, std::uint64_t now_ns);
  // The path leads elsewhere: what was measured is of another one.
  void moved(std::uint8_t path, std::uint64_t now_ns);
  // No traffic for kQuietNs, and everything was told.
  [[nodiscard]] bool quiet(std::uint64_t now_ns) const;

  [[nodiscard]] unsigned paths() const { return static_cast<unsigned>(paths_.size()); }
  // Nothing: no sample of this path yet.
  [[nodiscard]] std::optional<PathBandwidth> bandwidth(std::uint8_t path) const;
  // Of all paths: sums, and the least round trip.
  [[nodiscard]] std::optional<BandwidthSnapshot> bandwidth() const;

 private:
  struct Path {
    Path(std::uint8_t id, std::uint64_t now) : sender(id), flow(now), now_ns(now) {}
    // The clock of what happens here: arrivals are told late, and must not go back.
    std::uint64_t at(std::uint64_t time_ns) { return now_ns = now_ns < time_ns ? time_ns : now_ns; }

    ReportSender sender;
    ReportReader reader;
    PathFlow flow;
    PathCounts seen;
    bool seeded = false;
    bool sampled = false;
    std::uint64_t now_ns;
    std::uint64_t fresh_ns = 0;  // until then reports tell of where the path led before
    std::uint64_t reports_sent = 0;
  };
  static bool known(Path& path, const PathCounts& counts);
  void take_sent(Path& path, const PathCounts& counts, std::uint64_t now_ns);
  void take_received(Path& path, std::uint32_t pkts, std::uint64_t bytes, std::uint64_t now_ns);

  std::vector<Path> paths_;
  std::uint64_t moved_ns_;
};

}  // namespace session
