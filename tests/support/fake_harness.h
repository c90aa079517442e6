// A harness without packets: counts as if they went, by the clock that is handed in. For tests of the prompt.
//
// Thread: one.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tools/testpmd/harness.h"

namespace testpmd {

class FakeHarness : public Harness {
 public:
  // ---- knobs
  double loss_ratio = 0;
  double latency_ns = 10'000;
  double fastest_pps = 2e6;  // what max means
  std::string refuse_start;  // the text with which start() is refused
  std::string void_trial;
  bool real_time = false;  // wait() waits; else time passes at once
  std::vector<std::string> names = {"alpha", "beta", "gamma"};
  std::vector<std::string> calls;  // what was asked of it, as text

  std::string set_mode(Mode mode) override {
    if (running_) return "traffic runs; `stop` it before the mode changes";
    if (mode == Mode::kSeal && names.empty()) return "mode seal needs sessions, and none is configured";
    mode_ = mode;
    return {};
  }
  [[nodiscard]] Mode mode() const override { return mode_; }
  std::string set_offer(const Offer& offer) override {
    if (running_ && offer.burst != offer_.burst) return "traffic runs; `stop` it before the burst changes";
    offer_ = offer;
    return {};
  }
  [[nodiscard]] const Offer& offer() const override { return offer_; }

  std::string start() override {
    if (!refuse_start.empty()) return refuse_start;
    if (running_) return "traffic runs already";
    calls.emplace_back("start");
    running_ = true;
    totals_ = fresh();
    return {};
  }
  std::string start_first(std::uint64_t pkts) override {
    std::string refused = start();
    if (refused.empty()) count(pkts);
    calls.push_back("first " + std::to_string(pkts));
    return refused;
  }
  void stop() override {
    calls.emplace_back("stop");
    running_ = false;
  }
  [[nodiscard]] bool running() const override { return running_; }
  void pump() override {
    ++pumps;
    if (real_time) pass_real();
  }
  void wait(double seconds, const std::function<bool()>& until) override {
    double waited = 0;
    while (waited < seconds && !(until && until())) {
      const double step = std::min(0.002, seconds - waited);
      if (real_time) {
        std::this_thread::sleep_for(std::chrono::duration<double>(step));
        pass_real();
      } else {
        pass(step);
      }
      waited += step;
    }
  }
  TrialResult trial(const TrialSpec& spec) override {
    calls.push_back("trial " + std::to_string(static_cast<std::uint64_t>(spec.offer.pps)));
    offer_ = spec.offer;
    totals_ = fresh();
    running_ = true;
    bool ended = false;
    wait(spec.seconds, [&] { return ended = spec.progress && !spec.progress(totals_.seconds); });
    running_ = false;
    return result(ended);
  }

  [[nodiscard]] Totals totals() const override { return totals_; }
  void clear() override { totals_ = fresh(); }
  [[nodiscard]] std::size_t session_count() const override { return names.size(); }
  [[nodiscard]] std::string session_name(std::size_t index) const override { return names.at(index); }
  [[nodiscard]] SessionCounters session(std::size_t index) const override {
    SessionCounters one;
    one.sent = totals_.way[0].sent_pkts / names.size();
    one.received = one.sent - index;
    one.latency_sum_tsc = one.received * 1'000;
    one.latency_max_tsc = 5'000;
    return one;
  }
  [[nodiscard]] double tsc_per_ns() const override { return 2; }
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> port_xstats(
      const std::string& port) const override {
    return {{port + "_good_packets", 7}};
  }
  [[nodiscard]] std::string describe() const override { return "ports wan0, lan0; three sessions; one lane"; }

  std::string rekey(const std::string& session, unsigned steps) override {
    calls.push_back("rekey " + session + " " + std::to_string(steps));
    return {};
  }
  std::string migrate(const std::string& session) override {
    calls.push_back("migrate " + session);
    return {};
  }
  std::string attack(const std::string& name, double pps, std::uint64_t pkts) override {
    calls.push_back("attack " + name + " " + std::to_string(static_cast<std::uint64_t>(pps)) + " " +
                    std::to_string(pkts));
    totals_.attacks = {{name, pkts}};
    return {};
  }
  void attack_stop() override { calls.emplace_back("attack stop"); }
  [[nodiscard]] std::uint64_t attack_left() const override { return 0; }
  std::string set_relay(const std::string& direction, const std::vector<std::string>& settings) override {
    std::string call = "relay " + direction;
    for (const std::string& setting : settings) call += " " + setting;
    calls.push_back(call);
    return {};
  }
  [[nodiscard]] std::string relay_text() const override { return "ab delay=5ms\nba loss=1%\n"; }
  std::string capture(const std::string& file, std::uint64_t pkts) override {
    calls.push_back("capture " + file + " " + std::to_string(pkts));
    return {};
  }
  std::string capture_stop() override {
    calls.emplace_back("capture stop");
    return {};
  }

  // So much time goes by.
  void pass(double seconds) {
    if (!running_) return;
    totals_.seconds += seconds;
    owed_ += (offer_.pps > 0 ? offer_.pps : fastest_pps) * seconds;
    const auto pkts = static_cast<std::uint64_t>(owed_ + 1e-6);
    owed_ -= static_cast<double>(pkts);
    count(pkts);
  }
  void count(std::uint64_t pkts) {
    WayCounters& way = totals_.way[0];
    way.intended += pkts;
    way.sent_pkts += pkts;
    way.sent_bytes += pkts * 64;
    lost_ += static_cast<double>(pkts) * loss_ratio;
    const auto lost = std::min(pkts, static_cast<std::uint64_t>(lost_));
    lost_ -= static_cast<double>(lost);
    way.received += pkts - lost;
    way.received_bytes += (pkts - lost) * 64;
    if (pkts > lost) totals_.latency[0].record(static_cast<std::uint64_t>(latency_ns * tsc_per_ns()));
    totals_.ports[0].tx_pkts += pkts;
    totals_.ports[1].rx_pkts += pkts - lost;
    totals_.lanes.busy_tsc += pkts * 100;
    totals_.lanes.rx_burst[6] += pkts / 48;
  }
  void end_drop(const std::string& reason, std::uint64_t pkts) {
    totals_.end_drops.emplace_back(reason, pkts);
  }
  WayCounters& up() { return totals_.way[0]; }

  unsigned pumps = 0;

 private:
  using Clock = std::chrono::steady_clock;

  static Totals fresh() {
    Totals totals;
    totals.ports.resize(2);
    totals.ports[0].name = "wan0";
    totals.ports[1].name = "lan0";
    return totals;
  }
  void pass_real() {
    const auto now = Clock::now();
    pass(std::chrono::duration<double>(now - std::exchange(last_, now)).count());
  }
  TrialResult result(bool ended) const {
    const WayCounters& way = totals_.way[0];
    TrialResult found;
    found.error = void_trial;
    found.interrupted = ended;
    found.seconds = totals_.seconds;
    found.intended = way.intended;
    found.offered = way.sent_pkts;
    found.received = way.received;
    found.lost = static_cast<std::int64_t>(way.sent_pkts - way.received);
    found.loss_ratio =
        found.offered > 0 ? static_cast<double>(found.lost) / static_cast<double>(found.offered) : 0;
    found.offered_pps = static_cast<double>(found.offered) / found.seconds;
    found.received_pps = static_cast<double>(found.received) / found.seconds;
    found.latency_ns.record(static_cast<std::uint64_t>(latency_ns));
    return found;
  }

  Mode mode_ = Mode::kLoop;
  Offer offer_;
  bool running_ = false;
  Totals totals_ = fresh();
  double owed_ = 0, lost_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace testpmd
