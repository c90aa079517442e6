// Life of SessionControl: states, signs of life, the idle timeout, and the forecast of its budget.
#include <algorithm>
#include <cmath>

#include "session/cold_pvt.h"

namespace session {
namespace {

double seconds_of(std::uint64_t ns) {
  return static_cast<double>(ns) / static_cast<double>(kSecondNs);
}

// Exponentially weighted mean: what happened kBudgetWindowNs ago counts 1/e.
void blend(double& rate, double now, double seconds, bool first) {
  rate = first ? now : rate + (now - rate) * (1.0 - std::exp(-seconds / seconds_of(kBudgetWindowNs)));
}

struct Scarcest {
  BudgetForecast& forecast;
  void offer(double left, double rate, const char* limit) const {
    if (rate <= 0) return;
    const double seconds = left / rate;
    if (forecast.seconds >= 0 && forecast.seconds <= seconds) return;
    forecast.seconds = seconds;
    forecast.limit = limit;
  }
};

}  // namespace

void SessionControl::Impl::enter_state(LifeState next, SessionEvent said) {
  state = next;
  push(CmdSetState{next});
  event(said);
}

// Closing, closed and dead are others' to enter and nobody's to leave.
void SessionControl::Impl::set_migrating(bool on) {
  const LifeState wanted = on ? LifeState::kMigrating : LifeState::kConnected;
  if (!open() || state == wanted) return;
  enter_state(wanted, on ? SessionEvent::kMigrating : SessionEvent::kSettled);
}

// Everything that would make the session act by itself.
void SessionControl::Impl::stop_timers() {
  probe_due_ns = ahead_expiry_ns = path_expiry_ns = key_retry_ns = interval_due_ns = life.due_ns =
      peer_due_ns = kNever;
  graces.clear();
  rekeys_wanted = 0;
  wants_next = false;
}

void SessionControl::Impl::heard_from(std::uint64_t at_ns) {
  life.heard_once = true;
  if (at_ns <= life.heard_ns) return;
  life.heard_ns = at_ns;
  if (!life.probing) return;
  life.probing = false;
  if (peer_is_here()) probe_due_ns = kNever;
}

void SessionControl::Impl::note_epoch(std::uint64_t now_ns) {
  spent.marks[spent.mark_count++ % spent.marks.size()] = {now_ns, current};
  spent.seals = 0;
  spent.span = 0;
}

double SessionControl::Impl::epoch_rate(std::uint64_t now_ns) const {
  if (spent.mark_count < kMinEpochMarks) return 0;
  const auto kept = static_cast<unsigned>(spent.marks.size());
  const Budget::Mark& oldest = spent.marks[spent.mark_count <= kept ? 0 : spent.mark_count % kept];
  if (now_ns <= oldest.at_ns) return 0;
  return (current - oldest.epoch) / seconds_of(now_ns - oldest.at_ns);
}

// Seals and sequences last for this epoch and for every further one that can be entered; a peer that could
// not follow ends that.
BudgetForecast SessionControl::Impl::forecast(std::uint64_t now_ns) const {
  BudgetForecast f;
  f.epochs_left = static_cast<std::uint32_t>(kMaxEpoch - current);
  f.sequences_left = SEQ_REKEY_WATERMARK - std::min(spent.span, SEQ_REKEY_WATERMARK);
  f.seals_left = kAeadMaxInvocations - std::min(spent.seals, kAeadMaxInvocations);
  if (ended()) return f;
  const bool further = current < kMaxEpoch && reachable(static_cast<std::uint8_t>(current + 1));
  const double more = further ? f.epochs_left : 0;
  const double watermark = std::min(policy.seq_rekey_watermark, SEQ_REKEY_WATERMARK);
  const auto soft = static_cast<double>(std::min(policy.rekey_soft_limit, kAeadMaxInvocations));
  const Scarcest scarcest{f};
  if (spent.rated) {
    scarcest.offer(f.sequences_left + more * watermark, spent.sequence_rate, "sequences");
    scarcest.offer(static_cast<double>(f.seals_left) + more * soft, spent.seal_rate, "seals");
  }
  if (further) scarcest.offer(f.epochs_left, epoch_rate(now_ns), "epochs");
  return f;
}

void SessionControl::Impl::watch_budget(std::uint64_t now_ns) {
  if (policy.budget_warning_ns == 0) return;
  const double left = forecast(now_ns).seconds;
  const double warning = seconds_of(policy.budget_warning_ns);
  if (left >= 0 && left < warning) {
    if (!spent.low) event(SessionEvent::kBudgetLow);
    spent.low = true;
  } else if (left < 0 || left > warning * 1.25) {  // a little above, so that a wavering rate says it once
    spent.low = false;
  }
}

// Rates of what one stream and all of them used since the last look; then which stream is the busiest now.
void SessionControl::Impl::sample(const TrafficReport& report, std::uint64_t now_ns) {
  if (spent.sampled_ns != 0) {
    const double seconds = seconds_of(now_ns - spent.sampled_ns);
    const bool first = !spent.rated;
    blend(spent.seal_rate, static_cast<double>(report.tx_pkts - spent.tx_pkts) / seconds, seconds, first);
    blend(spent.sequence_rate, (report.next[spent.busiest] - spent.next) / seconds, seconds, first);
    spent.rated = true;
  }
  const bool moved = report.tx_pkts != spent.tx_pkts;
  life.gap_ns = moved ? kLifeGapNs : std::min(life.gap_ns * 2, kLifeMaxGapNs);
  spent.sampled_ns = now_ns;
  spent.tx_pkts = report.tx_pkts;
  spent.seals = report.seals_in_epoch;
  spent.busiest = static_cast<std::uint16_t>(std::max_element(report.span.begin(), report.span.end()) -
                                             report.span.begin());
  spent.span = report.span[spent.busiest];
  spent.next = report.next[spent.busiest];
}

// Silence: probes from a quarter of the idle timeout on; without one, once the peer was silent for the
// longest gap of probes while packets went to it.
void SessionControl::Impl::watch_peer(std::uint64_t now_ns) {
  const std::uint64_t silent_ns = now_ns - std::min(now_ns, life.heard_ns);
  const std::uint64_t idle_ns = policy.idle_timeout_ns;
  if (idle_ns != 0 && silent_ns >= idle_ns) {
    event(SessionEvent::kIdle);
    stop_timers();
    return enter_state(LifeState::kClosed, SessionEvent::kClosed);
  }
  const std::uint64_t quiet_ns = idle_ns != 0 ? idle_ns / 4 : paced(policy.probe_max_ns);
  const bool asked = idle_ns != 0 || spent.seal_rate > 0;
  if (silent_ns >= quiet_ns && asked && !life.probing) {
    life.probing = true;
    if (probe_due_ns == kNever) start_probing(now_ns);
    if (probe_due_ns <= now_ns) probe(now_ns);
  }
  if (idle_ns == 0) return;
  const std::uint64_t next_ns = life.probing || silent_ns >= quiet_ns ? idle_ns : quiet_ns;
  life.due_ns = std::min(life.due_ns, life.heard_ns + next_ns);
}

void SessionControl::Impl::live(std::uint64_t now_ns) {
  if (ended()) {
    life.due_ns = kNever;
    return;
  }
  life.due_ns = now_ns + life.gap_ns;
  if (open()) watch_peer(now_ns);
  watch_budget(now_ns);
}

TrafficReport read_traffic(const SessionHot& hot) {
  const auto read = [](const auto& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  TrafficReport report;
  report.rx_pkts = read(hot.rx_pkts);
  report.tx_pkts = read(hot.tx_pkts);
  report.seals_in_epoch = read(hot.seals_in_epoch);
  const std::uint8_t epoch = read(hot.current.epoch);
  for (unsigned i = 0; i < kTxStreams; ++i) {
    const TxStream& stream = hot.tx[i];
    report.next[i] = read(stream.next);
    const bool used = read(stream.used_in_epoch) && read(stream.epoch_tag) == epoch;
    const std::uint32_t span = used ? report.next[i] - read(stream.epoch_first) : 0;
    // A new epoch may begin between the reads: a span that cannot be is none.
    report.span[i] = span <= SEQ_REKEY_WATERMARK ? span : 0;
  }
  return report;
}

void SessionControl::on_traffic(const TrafficReport& report, std::uint64_t now_ns) {
  Impl& s = *impl_;
  on_traffic(report.rx_pkts, report.tx_pkts);
  if (report.heard_ns != 0) s.heard_from(std::min(report.heard_ns, now_ns));
  if (now_ns - s.spent.sampled_ns >= kBudgetSampleNs) s.sample(report, now_ns);
}

void SessionControl::set_migrating(bool on) {
  impl_->set_migrating(on);
}

bool SessionControl::close() {
  Impl& s = *impl_;
  if (!s.started || !s.open()) return false;
  s.rekeys_wanted = 0;
  s.wants_next = false;
  s.interval_due_ns = kNever;
  s.next_needed = false;
  s.enter_state(LifeState::kClosing, SessionEvent::kClosing);
  return true;
}

void SessionControl::end() {
  Impl& s = *impl_;
  if (!s.started || s.state == LifeState::kClosed) return;
  s.stop_timers();
  s.enter_state(LifeState::kClosed, SessionEvent::kClosed);
}

BudgetForecast SessionControl::budget(std::uint64_t now_ns) const {
  return impl_->forecast(now_ns);
}

double SessionControl::idle_seconds(std::uint64_t now_ns) const {
  const Impl::Life& life = impl_->life;
  return life.heard_once ? seconds_of(now_ns - std::min(now_ns, life.heard_ns)) : -1.0;
}

}  // namespace session
