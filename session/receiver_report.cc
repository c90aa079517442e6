#include "session/receiver_report.h"

#include <algorithm>
#include <limits>

namespace session {
namespace {

constexpr std::uint64_t kUsNs = 1'000;
// A number so far behind is not late: the peer began anew.
constexpr std::uint32_t kRestartDistance = 64;
// A round trip that much longer than the shortest, or such a share lost, shows a path that is full; then what
// arrived is what it carries. Otherwise it is what was sent.
constexpr std::uint64_t kFullRttPercent = 125;
constexpr std::uint64_t kFullRttSlackNs = 1'000'000;  // a tick of either side
constexpr std::uint32_t kFullLossPercent = 5;

std::uint64_t load_be64(const std::uint8_t* p) {
  return std::uint64_t{load_be32(p)} << 32 | load_be32(p + 4);
}

std::uint32_t saturated(std::uint64_t value) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max()));
}

bool is_newer(std::uint32_t number, std::uint32_t than) {
  return static_cast<std::int32_t>(number - than) > 0;
}
// Newer, or so old that the peer must have begun anew.
bool replaces(std::uint32_t number, std::uint32_t held) {
  return held == 0 || is_newer(number, held) || held - number > kRestartDistance;
}

}  // namespace

void encode_report(const ReceiverReport& report, std::span<std::uint8_t, kReportBytes> out) {
  std::uint8_t* p = out.data();
  p[0] = kReportKind;
  p[1] = kReportVersion;
  p[2] = report.path;
  p[3] = 0;
  store_be32(p + 4, report.number);
  store_be32(p + 8, report.echo_number);
  store_be32(p + 12, report.echo_delay_us);
  store_be64(p + 16, report.received_packets);
  store_be64(p + 24, report.interval_bytes);
  store_be32(p + 32, report.interval_packets);
  store_be32(p + 36, report.interval_us);
}

std::optional<ReceiverReport> decode_report(std::span<const std::uint8_t> text) {
  if (text.size() != kReportBytes) return std::nullopt;
  const std::uint8_t* p = text.data();
  if (p[0] != kReportKind || p[1] != kReportVersion || p[3] != 0) return std::nullopt;
  const ReceiverReport report{.path = p[2],
                              .number = load_be32(p + 4),
                              .echo_number = load_be32(p + 8),
                              .echo_delay_us = load_be32(p + 12),
                              .received_packets = load_be64(p + 16),
                              .interval_bytes = load_be64(p + 24),
                              .interval_packets = load_be32(p + 32),
                              .interval_us = load_be32(p + 36)};
  if (report.number == 0) return std::nullopt;
  if (report.interval_us == 0 && (report.interval_bytes != 0 || report.interval_packets != 0)) {
    return std::nullopt;
  }
  return report;
}

// ---- ReportSender

void ReportSender::note_traffic(std::uint64_t now_ns) {
  if (!moved_) moved_at_ns_ = now_ns;
  moved_ = true;
}

void ReportSender::on_sent(std::uint32_t packets, std::uint64_t bytes, std::uint64_t now_ns) {
  if (packets == 0) return;
  sent_.packets += packets;
  sent_.bytes += bytes;
  note_traffic(now_ns);
}

void ReportSender::on_received(std::uint32_t packets, std::uint64_t bytes, std::uint64_t now_ns) {
  if (packets == 0) return;
  received_packets_ += packets;
  note_traffic(now_ns);
  const bool silence = interval_packets_ == 0 && now_ns > last_received_ns_ + kReportIntervalNs;
  last_received_ns_ = std::max(last_received_ns_, now_ns);
  if (!receiving_ || silence) {  // a rate begins with a packet that is not part of it
    receiving_ = true;
    interval_from_ns_ = last_received_ns_;
    return;
  }
  interval_bytes_ += bytes;
  interval_packets_ += packets;
}

void ReportSender::on_report(const ReceiverReport& report, std::uint64_t now_ns, std::uint32_t behind) {
  if (!replaces(report.number, echo_number_)) return;
  echo_number_ = report.number;
  echo_at_ns_ = now_ns;
  echo_received_packets_ = received_packets_ - std::min<std::uint64_t>(behind, received_packets_);
}

std::uint64_t ReportSender::due_at_ns(std::uint64_t rtt_ns) const {
  if (!moved_) return std::numeric_limits<std::uint64_t>::max();
  return moved_at_ns_ + std::max(rtt_ns, kReportIntervalNs);
}

ReceiverReport ReportSender::make(std::uint64_t now_ns) {
  if (++number_ == 0) number_ = 1;
  ReceiverReport report{.path = path_, .number = number_, .echo_number = echo_number_};
  if (echo_number_ != 0) {
    report.echo_delay_us = saturated((now_ns - std::min(echo_at_ns_, now_ns)) / kUsNs);
    report.received_packets = echo_received_packets_;
  }
  const std::uint64_t interval_us = (last_received_ns_ - interval_from_ns_) / kUsNs;
  if (interval_packets_ != 0 && interval_us != 0) {  // a shorter one goes on in the next report
    report.interval_bytes = interval_bytes_;
    report.interval_packets = saturated(interval_packets_);
    report.interval_us = saturated(interval_us);
    interval_bytes_ = interval_packets_ = 0;
    interval_from_ns_ = last_received_ns_;
  }
  moved_ = false;
  return report;
}

// ---- ReportReader

void ReportReader::remember(std::uint32_t number, const SentTotals& sent, std::uint64_t now_ns) {
  own_[number % kOwn] = {.number = number, .sent_ns = now_ns, .sent = sent};
  last_own_ = number;
}

bool ReportReader::is_news(std::uint32_t number) {
  if (!replaces(number, newest_)) {
    ++counters_.stale;
    return false;
  }
  newest_ = number;
  ++counters_.read;
  return true;
}

const ReportReader::Own* ReportReader::find(std::uint32_t number) const {
  const Own& own = own_[number % kOwn];
  return number != 0 && own.number == number ? &own : nullptr;
}

// What an interval that is told now can hold: what left since the oldest own report that is remembered. An
// authentic peer that tells of more breaks its own path alone, but not beyond what was sent.
std::uint64_t ReportReader::possible_bytes(const SentTotals& sent) const {
  const Own& oldest = own_[(last_own_ + 1) % kOwn];
  return sent.bytes - (oldest.number == 0 ? 0 : std::min(oldest.sent.bytes, sent.bytes));
}

// Both ends counted up to the same packet, our report. What is heard beyond that was sent behind the report
// and overtook it, or was overtaken by the one before: it makes up for what the next count misses.
ReportReader::Loss ReportReader::lost_until(const Own& echoed, std::uint64_t received_packets) {
  const bool began_anew = echoed_ == 0 || received_packets < echoed_heard_;
  const std::uint64_t sent = began_anew ? 0 : echoed.sent.packets - echoed_sent_;
  const std::uint64_t heard = began_anew ? 0 : received_packets - echoed_heard_;
  echoed_ = echoed.number;
  echoed_sent_ = echoed.sent.packets;
  echoed_heard_ = received_packets;
  const std::uint64_t before = began_anew ? 0 : surplus_;
  surplus_ = heard > sent ? std::min(heard - sent, sent) : 0;
  const std::uint64_t missing = sent - std::min(heard + before, sent);
  return {.packets = saturated(sent), .lost = saturated(missing)};
}

void ReportReader::average(const Loss& loss) {
  if (loss.packets == 0) return;
  const std::uint64_t ppm = std::uint64_t{loss.lost} * 1'000'000 / loss.packets;
  loss_ppm_x8_ = loss_ppm_x8_ - loss_ppm_x8_ / 8 + ppm;
}

bool ReportReader::path_was_full(const Loss& loss, std::uint64_t rtt_ns, const PathFlow& flow) const {
  const std::uint64_t least_ns = flow.snapshot().min_rtt_ns;
  if (least_ns != 0 && rtt_ns > least_ns * kFullRttPercent / 100 + kFullRttSlackNs) return true;
  return std::uint64_t{loss.lost} * 100 > std::uint64_t{loss.packets} * kFullLossPercent;
}

bool ReportReader::read(const ReceiverReport& report, const SentTotals& sent, std::uint64_t now_ns,
                        PathFlow& flow) {
  if (!is_news(report.number)) return false;
  Loss loss;
  std::uint64_t rtt_ns = 0;
  const Own* echoed = find(report.echo_number);
  if (echoed == nullptr) {
    if (report.echo_number != 0) ++counters_.unknown;
  } else if (echoed_ == 0 || is_newer(echoed->number, echoed_)) {
    const std::uint64_t gone_ns = now_ns - std::min(echoed->sent_ns, now_ns);
    const std::uint64_t held_ns = std::uint64_t{report.echo_delay_us} * kUsNs;
    if (held_ns < gone_ns) rtt_ns = gone_ns - held_ns;
    loss = lost_until(*echoed, report.received_packets);
    average(loss);
  }
  const std::uint64_t possible = possible_bytes(sent);
  if (report.interval_bytes > possible) ++counters_.implausible;
  full_ = path_was_full(loss, rtt_ns, flow);
  flow.on_report(std::min(report.interval_bytes, possible), std::uint64_t{report.interval_us} * kUsNs, rtt_ns,
                 loss.packets, loss.lost, !full_, now_ns);
  return true;
}

}  // namespace session
