#include "session/path_reports.h"

#include <algorithm>
#include <limits>

namespace session {
namespace {

// Counters are read while they are written: what looks like less than before is no step.
std::uint32_t step(std::uint32_t now, std::uint32_t before) {
  const std::uint32_t difference = now - before;
  return static_cast<std::int32_t>(difference) > 0 ? difference : 0;
}
std::uint64_t step(std::uint64_t now, std::uint64_t before) {
  return now > before ? now - before : 0;
}

}  // namespace

PathReports::PathReports(unsigned paths, std::uint64_t now_ns) : moved_ns_(now_ns) {
  paths_.reserve(paths);
  for (unsigned i = 0; i < paths; ++i) paths_.emplace_back(static_cast<std::uint8_t>(i), now_ns);
}

// False: other counters than those that were looked at before. They count from here on.
bool PathReports::known(Path& path, const PathCounts& counts) {
  if (!path.seeded) path.seen.origin = counts.origin;
  path.seeded = true;
  return path.seen.origin == counts.origin;
}

void PathReports::take_sent(Path& path, const PathCounts& counts, std::uint64_t now_ns) {
  const std::uint32_t sent = step(counts.sent_pkts, path.seen.sent_pkts);
  if (sent == 0) return;
  path.sender.on_sent(sent, step(counts.sent_bytes, path.seen.sent_bytes), now_ns);
  path.seen.sent_pkts = counts.sent_pkts;
  path.seen.sent_bytes = std::max(counts.sent_bytes, path.seen.sent_bytes);
  moved_ns_ = std::max(moved_ns_, now_ns);
}

void PathReports::take_received(Path& path, std::uint32_t pkts, std::uint64_t bytes, std::uint64_t now_ns) {
  const std::uint32_t received = step(pkts, path.seen.received_pkts);
  if (received == 0) return;
  path.sender.on_received(received, step(bytes, path.seen.received_bytes), now_ns);
  path.seen.received_pkts = pkts;
  path.seen.received_bytes = std::max(bytes, path.seen.received_bytes);
  moved_ns_ = std::max(moved_ns_, now_ns);
}

void PathReports::on_counts(std::uint8_t id, const PathCounts& counts, std::uint64_t arrived_ns,
                            std::uint64_t now_ns) {
  if (id >= paths_.size()) return;
  Path& path = paths_[id];
  if (!known(path, counts)) {
    path.seen = counts;
    return;
  }
  take_sent(path, counts, now_ns);
  take_received(path, counts.received_pkts, counts.received_bytes,
                arrived_ns == 0 ? now_ns : std::min(arrived_ns, now_ns));
}

bool PathReports::on_report(const ReceiverReport& report, const PathCounts& counts,
                            std::uint64_t arrived_ns) {
  if (report.path >= paths_.size()) return false;
  Path& path = paths_[report.path];
  if (!known(path, counts)) return false;  // the next look begins anew
  const auto low = static_cast<std::uint32_t>(counts.received_bytes);
  const std::uint64_t bytes =
      path.seen.received_bytes + step(low, static_cast<std::uint32_t>(path.seen.received_bytes));
  take_received(path, counts.received_pkts, bytes, arrived_ns);
  path.sender.on_report(report, arrived_ns, step(path.seen.received_pkts, counts.received_pkts));
  const std::uint64_t now_ns = path.at(arrived_ns);
  if (now_ns < path.fresh_ns) {
    PathFlow of_the_old(now_ns);
    return path.reader.read(report, path.sender.sent(), now_ns, of_the_old);
  }
  if (!path.reader.read(report, path.sender.sent(), now_ns, path.flow)) return false;
  path.sampled = path.sampled || path.flow.snapshot().bottleneck_bw_bps != 0;
  return true;
}

void PathReports::on_sealed(std::uint8_t id, std::uint32_t number, const PathCounts& counts,
                            std::uint64_t sent_ns) {
  if (id >= paths_.size()) return;
  Path& path = paths_[id];
  if (!path.seeded || counts.origin != path.seen.origin) return;
  SentTotals sent = path.sender.sent();  // until the last look, which may have been later than the seal
  sent.packets += step(counts.sent_pkts, path.seen.sent_pkts);
  sent.packets -= std::min<std::uint64_t>(step(path.seen.sent_pkts, counts.sent_pkts), sent.packets);
  sent.bytes += step(counts.sent_bytes, path.seen.sent_bytes);
  sent.bytes -= std::min(step(path.seen.sent_bytes, counts.sent_bytes), sent.bytes);
  path.reader.remember(number, sent, sent_ns);
}

std::optional<ReceiverReport> PathReports::next_report(std::uint8_t id, std::uint64_t now_ns) {
  if (id >= paths_.size()) return std::nullopt;
  Path& path = paths_[id];
  if (path.sender.due_at_ns(path.flow.smoothed_rtt_ns()) > now_ns) return std::nullopt;
  ++path.reports_sent;
  return path.sender.make(now_ns);
}

void PathReports::moved(std::uint8_t id, std::uint64_t now_ns) {
  if (id >= paths_.size()) return;
  Path& path = paths_[id];
  const std::uint64_t rtt_ns = path.flow.smoothed_rtt_ns();
  path.flow = PathFlow(path.at(now_ns));
  path.sampled = false;
  path.fresh_ns = path.now_ns + rtt_ns + 2 * std::max(rtt_ns, kReportIntervalNs);
}

bool PathReports::quiet(std::uint64_t now_ns) const {
  if (now_ns < moved_ns_ + kQuietNs) return false;
  return std::all_of(paths_.begin(), paths_.end(), [](const Path& path) {
    return path.sender.due_at_ns(0) == std::numeric_limits<std::uint64_t>::max();
  });
}

std::optional<PathBandwidth> PathReports::bandwidth(std::uint8_t id) const {
  if (id >= paths_.size() || !paths_[id].sampled) return std::nullopt;
  const Path& path = paths_[id];
  return PathBandwidth{.snapshot = path.flow.snapshot(),
                       .state = path.flow.state(),
                       .loss_ppm = path.reader.loss_ppm(),
                       .full = path.reader.full(),
                       .reports_sent = path.reports_sent,
                       .reports = path.reader.counters()};
}

std::optional<BandwidthSnapshot> PathReports::bandwidth() const {
  std::optional<BandwidthSnapshot> all;
  for (const Path& path : paths_) {
    if (!path.sampled) continue;
    const BandwidthSnapshot one = path.flow.snapshot();
    if (!all) all.emplace();
    all->bottleneck_bw_bps += one.bottleneck_bw_bps;
    all->pacing_rate_bps += one.pacing_rate_bps;
    all->cwnd_bytes += one.cwnd_bytes;
    all->inflight_bytes += one.inflight_bytes;
    const bool known = one.min_rtt_ns != 0;
    if (known && (all->min_rtt_ns == 0 || one.min_rtt_ns < all->min_rtt_ns)) all->min_rtt_ns = one.min_rtt_ns;
  }
  return all;
}

}  // namespace session
