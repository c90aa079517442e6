// Receiver reports: arbitrary plaintext decodes to what encodes to it again or to nothing, and any row of
// reports leaves the reader and the flow in bounds.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "session/receiver_report.h"

namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSentPerReport = 10'000'000;

void check(bool holds) {
  if (!holds) std::abort();
}

std::optional<session::ReceiverReport> round_trip(std::span<const std::uint8_t> text) {
  const auto report = session::decode_report(text);
  if (!report) return report;
  std::uint8_t again[session::kReportBytes];
  session::encode_report(*report, again);
  check(text.size() == sizeof(again) && std::memcmp(again, text.data(), sizeof(again)) == 0);
  return report;
}

// A peer that says what the input says, while both ends send.
class Listener {
 public:
  void hear(const session::ReceiverReport& report) {
    now_ns_ += 100 * kMs;
    sender_.on_sent(10'000, kSentPerReport, now_ns_);
    sender_.on_received(1'000, 1'000'000, now_ns_);
    const session::ReceiverReport own = sender_.make(now_ns_);
    reader_.remember(own.number, sender_.sent(), now_ns_);
    sender_.on_report(report, now_ns_ + kMs);
    reader_.read(report, sender_.sent(), now_ns_ + 2 * kMs, flow_);
    check(reader_.loss_ppm() <= 1'000'000);
    const session::BandwidthSnapshot seen = flow_.snapshot();
    check(seen.inflight_bytes == 0 && seen.cwnd_bytes >= session::kMinWindowBytes);
    check(seen.pacing_rate_bps >= session::MIN_PACING_RATE);
    const auto& counters = reader_.counters();
    check(counters.read + counters.stale == ++heard_);
  }

 private:
  session::ReportSender sender_{0};
  session::ReportReader reader_;
  session::PathFlow flow_{0};
  std::uint64_t now_ns_ = kMs;
  std::uint64_t heard_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::uint8_t> copy(data, data + size);  // exact size, so that sanitizers see the end
  round_trip(copy);
  Listener listener;
  for (std::size_t at = 0; at < size; at += session::kReportBytes) {
    const auto report = round_trip(std::span(copy).subspan(at, std::min(session::kReportBytes, size - at)));
    if (report) listener.hear(*report);
  }
  return 0;
}
