// Traffic of sessions: when it is looked at, receiver reports both ways, and what they tell.
//
// A worker says once that a session's traffic moves (kMoved). From then on its counters are looked at every
// session::kLookNs, until they stood still for session::kQuietNs and the worker is asked to say so again. So
// idle sessions cost nothing, and packets cost their worker nothing but the counters.
#include <algorithm>

#include "dataplane/session_manager_pvt.h"
#include "dataplane/tsc.h"

namespace dataplane {
namespace {

using session::PathCounts;

// A worker's time stamp in control's clock.
std::uint64_t ns_of(std::uint64_t tsc, std::uint64_t now_ns) {
  return now_ns - std::min(now_ns, ns_since(tsc));
}

const char* name_of(session::FlowState state) {
  switch (state) {
    case session::FlowState::kStartup:
      return "startup";
    case session::FlowState::kDrain:
      return "drain";
    case session::FlowState::kProbeBW:
      return "probe_bw";
    case session::FlowState::kProbeRTT:
      return "probe_rtt";
    case session::FlowState::kFastRecovery:
      return "fast_recovery";
  }
  return "";
}

BandwidthView view_of(const session::PathBandwidth& path) {
  BandwidthView v;
  v.snapshot = path.snapshot;
  v.state = name_of(path.state);
  v.loss = path.loss_ppm / 1e6;
  v.full = path.full;
  v.reports_sent = path.reports_sent;
  v.reports_read = path.reports.read;
  v.reports_refused = path.reports.stale + path.reports.unknown + path.reports.implausible;
  return v;
}

}  // namespace

// The peer must be one that knows reports, and the worker says that traffic moves once.
void SessionManager::on_moved(Managed& s, std::uint64_t now_ns) {
  if (s.entry->policy.unmodified_peer || s.watch != 0) return;
  s.watch = ++next_watch_;
  if (s.reports == nullptr && flows_ >= kMaxFlows) {
    ++report_totals_.waits;
    waiting_.push_back({now_ns, s.index, s.watch});
    return;
  }
  begin_looks(s, now_ns);
}

void SessionManager::begin_looks(Managed& s, std::uint64_t now_ns) {
  if (s.reports == nullptr) {
    ++flows_;
    const unsigned paths = std::max(1U, s.control->path_manager().schedule().count);
    s.reports = std::make_unique<session::PathReports>(paths, now_ns);
    for (unsigned i = 0; i < paths; ++i) {
      const auto path = static_cast<std::uint8_t>(i);
      s.moves_seen[i] = s.control->path_manager().migrations(path);
    }
  }
  look_at(s, now_ns);
  looks_.push_back({now_ns + session::kLookNs, s.index, s.watch});
}

SessionManager::Managed* SessionManager::watched(const Look& look) {
  Managed* s = look.index < sessions_.size() ? sessions_[look.index].get() : nullptr;
  return s != nullptr && s->watch == look.watch ? s : nullptr;
}

unsigned SessionManager::look_around(std::uint64_t now_ns) {
  unsigned done = 0;
  for (; done < kLooksPerLoop && !looks_.empty() && looks_.front().due_ns <= now_ns; ++done) {
    Look look = looks_.front();
    looks_.pop_front();
    Managed* s = watched(look);
    if (s == nullptr) continue;
    look_at(*s, now_ns);
    if (s->reports->quiet(now_ns) && io_.has_room(s->worker)) {
      end_looks(*s, now_ns);
      continue;
    }
    look.due_ns = now_ns + session::kLookNs;
    looks_.push_back(look);
  }
  return done;
}

void SessionManager::look_at(Managed& s, std::uint64_t now_ns) {
  for (unsigned i = 0; i < s.reports->paths(); ++i) {
    const auto path = static_cast<std::uint8_t>(i);
    look_at_path(s, path, now_ns);
    // Not with the worker yet, or no longer.
    if (s.stage == Stage::kStoring || s.stage >= Stage::kRemoving || !io_.has_room(s.worker)) continue;
    if (const auto report = s.reports->next_report(path, now_ns)) send_report(s, *report);
  }
}

void SessionManager::look_at_path(Managed& s, std::uint8_t path, std::uint64_t now_ns) {
  const session::Shard& shard = *topology_.workers[s.worker].shard;
  const std::uint32_t slot = s.control->slot();
  // Another session's by now, or still.
  if (__atomic_load_n(&shard.hot(slot).generation, __ATOMIC_RELAXED) != s.control->generation()) return;
  const std::uint64_t moves = s.control->path_manager().migrations(path);
  if (moves != s.moves_seen[path]) s.reports->moved(path, now_ns);
  s.moves_seen[path] = moves;
  const PathCounts counts = shard.path_counts(slot, path);
  const std::uint64_t arrived_ns = counts.received_tsc == 0 ? 0 : ns_of(counts.received_tsc, now_ns);
  s.reports->on_counts(path, counts, arrived_ns, now_ns);
}

void SessionManager::send_report(Managed& s, const session::ReceiverReport& report) {
  Message m;
  m.kind = MessageKind::kSendReport;
  m.a = report.path;
  m.c = report.number;
  m.slot = s.control->slot();
  m.generation = s.control->generation();
  session::encode_report(report, m.report);
  io_.send(s.worker, m);
  ++report_totals_.sent;
}

void SessionManager::on_report_sent(Managed& s, const Message& message, std::uint64_t now_ns) {
  if (s.reports == nullptr) return;
  PathCounts counts;
  counts.sent_pkts = message.sealed.sent_pkts;
  counts.sent_bytes = message.sealed.sent_bytes;
  counts.origin = message.sealed.origin;
  s.reports->on_sealed(message.a, message.c, counts, ns_of(message.sealed.sent_tsc, now_ns));
}

// A session whose traffic nobody looks at has nothing to compare a report with.
void SessionManager::on_report(Managed& s, const Message& message, std::uint64_t now_ns) {
  ++report_totals_.heard;
  if (s.reports == nullptr || message.a >= s.reports->paths()) return;
  look_at_path(s, message.a, now_ns);
  const HeardReport& heard = message.heard;
  session::ReceiverReport report;
  report.path = message.a;
  report.number = heard.number;
  report.echo_number = heard.echo_number;
  report.echo_delay_us = heard.echo_delay_us;
  report.received_packets = heard.received_packets;
  report.interval_bytes = heard.interval_bytes;
  report.interval_packets = heard.interval_packets;
  report.interval_us = heard.interval_us;
  PathCounts counts;
  counts.received_pkts = message.c;
  counts.received_bytes = heard.received_bytes;
  counts.origin = message.b;
  if (!s.reports->on_report(report, counts, ns_of(heard.arrived_tsc, now_ns))) return;
  ++report_totals_.news;
  const auto now = s.reports->bandwidth(message.a);
  if (now) s.control->on_capacity(message.a, now->snapshot.bottleneck_bw_bps, now->full, now_ns);
}

void SessionManager::end_looks(Managed& s, std::uint64_t now_ns) {
  s.watch = 0;
  Message m;
  m.kind = MessageKind::kUnwatch;
  m.slot = s.control->slot();
  m.generation = s.control->generation();
  if (s.stage != Stage::kStoring && s.stage < Stage::kRemoving) io_.send(s.worker, m);
  if (flows_ > kKeptFlows) forget_traffic(s, now_ns);
}

void SessionManager::forget_traffic(Managed& s, std::uint64_t now_ns) {
  s.watch = 0;
  if (s.reports == nullptr) return;
  s.reports.reset();
  --flows_;
  while (!waiting_.empty() && flows_ < kMaxFlows) {
    Managed* next = watched(waiting_.front());
    waiting_.pop_front();
    if (next != nullptr) begin_looks(*next, now_ns);
  }
}

void SessionManager::view_bandwidth(const Managed& s, SessionView& v) const {
  v.path_bandwidth.resize(v.paths.size());
  if (s.reports == nullptr) return;
  const auto all = s.reports->bandwidth();
  if (!all) return;
  v.bandwidth.emplace();
  v.bandwidth->snapshot = *all;
  double lost = 0;
  for (std::size_t i = 0; i < v.paths.size(); ++i) {
    const auto path = s.reports->bandwidth(static_cast<std::uint8_t>(i));
    if (!path) continue;
    v.path_bandwidth[i] = view_of(*path);
    const BandwidthView& one = *v.path_bandwidth[i];
    v.bandwidth->full = v.bandwidth->full || one.full;
    v.bandwidth->reports_sent += one.reports_sent;
    v.bandwidth->reports_read += one.reports_read;
    v.bandwidth->reports_refused += one.reports_refused;
    lost += one.loss * static_cast<double>(one.snapshot.bottleneck_bw_bps);
  }
  if (all->bottleneck_bw_bps != 0) v.bandwidth->loss = lost / static_cast<double>(all->bottleneck_bw_bps);
}

}  // namespace dataplane
