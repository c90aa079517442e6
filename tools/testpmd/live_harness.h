// The harness with everything behind it: devices, Phantom ends, lanes. See harness.h for what it does.
//
// Thread: main lcore. EAL runs; lanes are on the other lcores from construction to destruction.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/testpmd/engine_config.h"
#include "tools/testpmd/harness.h"
#include "tools/testpmd/lane.h"
#include "tools/testpmd/phantom_end.h"

namespace testpmd {

// Whether packets are made in this mode.
bool generates(Mode mode);
// Between making a plan and its first packet: lanes that sleep take it meanwhile.
inline constexpr double kLeadSeconds = 0.002;

class LiveHarness : public Harness {
 public:
  // Throws StoreError and std::runtime_error with advice.
  explicit LiveHarness(HarnessConfig config);
  ~LiveHarness() override;
  LiveHarness(const LiveHarness&) = delete;
  LiveHarness& operator=(const LiveHarness&) = delete;

  std::string set_mode(Mode mode) override;
  [[nodiscard]] Mode mode() const override { return mode_; }
  std::string set_offer(const Offer& offer) override;
  [[nodiscard]] const Offer& offer() const override { return offer_; }
  std::string start() override { return begin(0, 0); }
  std::string start_first(std::uint64_t pkts) override { return begin(pkts, 0); }
  void stop() override;
  [[nodiscard]] bool running() const override { return running_; }
  void pump() override;
  void wait(double seconds, const std::function<bool()>& until) override;
  TrialResult trial(const TrialSpec& spec) override;
  [[nodiscard]] Totals totals() const override;
  void clear() override;
  [[nodiscard]] std::size_t session_count() const override { return config_.end.sessions.size(); }
  [[nodiscard]] std::string session_name(std::size_t index) const override;
  [[nodiscard]] SessionCounters session(std::size_t index) const override;
  [[nodiscard]] double tsc_per_ns() const override { return tsc_hz_ / 1e9; }
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> port_xstats(
      const std::string& port) const override;
  [[nodiscard]] std::string describe() const override;
  std::string rekey(const std::string& session, unsigned steps) override;
  std::string migrate(const std::string& session) override;
  std::string attack(const std::string& name, double pps, std::uint64_t count) override;
  void attack_stop() override;
  [[nodiscard]] std::uint64_t attack_left() const override;
  std::string set_relay(const std::string& direction, const std::vector<std::string>& settings) override;
  [[nodiscard]] std::string relay_text() const override;
  std::string capture(const std::string& file, std::uint64_t count) override;
  std::string capture_stop() override;

 private:
  void open_devices();
  void make_ends();
  void make_lanes();
  [[nodiscard]] LaneSetup lane_setup(unsigned index);
  void launch();

  void make_wire();

  // What speaks against this mode, or against this offer in it.
  [[nodiscard]] std::string mode_refused(Mode mode) const;
  [[nodiscard]] std::string offer_refused(const Offer& offer, Mode mode) const;
  [[nodiscard]] std::string sizes_refused(const Offer& offer) const;
  [[nodiscard]] bool sends(Way way) const;
  [[nodiscard]] std::uint32_t sessions_used() const;
  // Waits for the addresses that traffic needs; text: who did not answer.
  std::string resolve();
  // The first of a run: `seconds` 0: until stop().
  std::string begin(std::uint64_t first_pkts, double seconds);
  // Another plan, begun as the one that holds now.
  [[nodiscard]] std::unique_ptr<Plan> next_plan() const;
  void fill_offer(Plan& plan) const;
  // Hands it to all lanes and waits until they go by it.
  void post(std::unique_ptr<Plan> plan);
  void end_sending();
  void drain();
  [[nodiscard]] std::uint64_t arrivals() const;
  void rest();
  // What counts from now on.
  void note_bases();
  // Of all Phantom ends, since they were made.
  [[nodiscard]] std::array<std::uint64_t, session::kDropReasons> end_drops() const;
  // Text: why not.
  std::string warm_up();
  void run_trial(const TrialSpec& spec, TrialResult& result);
  void judge_trial(const TrialSpec& spec, TrialResult& result) const;
  [[nodiscard]] double now_seconds() const;

  HarnessConfig config_;
  double tsc_hz_;
  std::unique_ptr<PhantomEnd> end_;
  std::unique_ptr<PhantomEnd> self_;
  std::vector<dataplane::Port> ports_;  // devices: LAN first, where there is one, then WAN
  std::vector<std::unique_ptr<LanHost>> hosts_;
  SessionMap map_;
  std::vector<std::vector<rte_ring*>> between_;     // lanes, by sender and receiver
  std::unique_ptr<Attacker> attacker_;              // at the first WAN device
  std::vector<std::unique_ptr<RelayLane>> relays_;  // by lane; none without both sides
  std::unique_ptr<Capture> capture_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<bool> lanes_stop_{false};
  bool launched_ = false;
  std::unique_ptr<Plan> plan_;
  Mode mode_ = Mode::kLoop;
  Offer offer_;
  bool running_ = false;
  Mode warm_mode_ = Mode::kLoop;
  std::optional<Offer> warm_offer_;  // what trials were warmed up for, but for rate and sizes
  double began_ = 0;                 // of what `seconds` counts
  double ended_ = 0;
  std::array<std::uint64_t, session::kDropReasons> drops_base_{};  // of the ends, at the last clear
  std::vector<std::uint64_t> attacks_base_ = std::vector<std::uint64_t>(attacks().size());
};

}  // namespace testpmd
