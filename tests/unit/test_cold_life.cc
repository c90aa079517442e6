// Life of a session on control's side: states, signs of life, the idle timeout, and the forecast of its
// budget.
#include <algorithm>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "session/cold.h"
#include "session/memory_store.h"
#include "tests/support/packets.h"

namespace {

using session::BudgetForecast;
using session::ControlCommand;
using session::LifeState;
using session::SessionControl;
using session::SessionEvent;
using session::TrafficReport;

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1'000 * kMs;
constexpr std::uint64_t kHour = 3'600 * kSecond;

class ColdLife : public ::testing::Test {
 protected:
  ColdLife() : slots_(256), pool_(slots_) {}

  void boot() {
    control_ = std::make_unique<SessionControl>(session::SessionIdentity{}, support::test_secret(), policy_,
                                                3, 9, pool_, aead_);
    ASSERT_FALSE(control_->start({}, now_));
    settle();
  }
  void settle() {
    const session::StoreRecord record = control_->record();
    store_.commit({&record, 1});
    control_->stored(now_);
    ControlCommand command;
    while (control_->next_command(command)) {
      probes_ += std::holds_alternative<session::CmdSendPathValidation>(command) ? 1 : 0;
      nexts_ += std::holds_alternative<session::CmdInstallNext>(command) ? 1 : 0;
      if (const auto* c = std::get_if<session::CmdSetState>(&command)) states_.push_back(c->state);
    }
    SessionEvent event{};
    while (control_->next_event(event)) events_.push_back(event);
  }
  // Runs timers as they are due, with the report as it stands, until `until`.
  void run(std::uint64_t until) {
    while (control_->next_deadline_ns() <= until) {
      now_ = std::max(now_, control_->next_deadline_ns());
      control_->on_traffic(report_, now_);
      control_->on_timer(now_);
      settle();
      ASSERT_GT(control_->next_deadline_ns(), now_) << "a timer that stands still";
    }
    now_ = until;
  }
  // Sends at a steady rate on stream 1 for so many seconds.
  void send(std::uint32_t per_second, unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) {
      report_.tx_pkts += per_second;
      report_.seals_in_epoch += per_second;
      report_.next[1] += per_second;
      report_.span[1] += per_second;
      report_.heard_ns = now_ + kSecond;
      now_ += kSecond;
      control_->on_traffic(report_, now_);
      control_->on_timer(now_);
      settle();
    }
  }
  void heard() {
    report_.heard_ns = now_;
    control_->on_heard(control_->current_epoch(), now_);
    settle();
  }
  long said(SessionEvent event) const { return std::count(events_.begin(), events_.end(), event); }

  crypto::Aead aead_;
  std::vector<crypto::KeySlot> slots_;
  session::KeyPool pool_;
  session::MemoryStore store_;
  session::SessionPolicy policy_;
  std::unique_ptr<SessionControl> control_;
  TrafficReport report_;
  std::uint64_t now_ = kSecond;
  unsigned probes_ = 0;
  unsigned nexts_ = 0;
  std::vector<LifeState> states_;
  std::vector<SessionEvent> events_;
};

// ---- idle

TEST_F(ColdLife, W28_ASilentPeerIsProbedThenClosed) {
  policy_.idle_timeout_ns = 40 * kSecond;
  boot();
  heard();
  const std::uint64_t begin = now_;
  const unsigned before = probes_;
  run(begin + 9 * kSecond);
  EXPECT_EQ(probes_, before) << "a quarter of the time is not over";
  run(begin + 39 * kSecond);
  EXPECT_GE(probes_ - before, 3U) << "probed before it is given up";
  EXPECT_EQ(control_->state(), LifeState::kConnected);
  run(begin + 40 * kSecond);
  EXPECT_EQ(control_->state(), LifeState::kClosed);
  EXPECT_EQ(said(SessionEvent::kIdle), 1);
  EXPECT_EQ(said(SessionEvent::kClosed), 1);
  EXPECT_EQ(states_, std::vector{LifeState::kClosed});
  EXPECT_EQ(control_->next_deadline_ns(), UINT64_MAX) << "nothing runs any more";
}

TEST_F(ColdLife, ASilentPeerIsProbedInTimeHoweverManySessionsThereAre) {
  policy_.idle_timeout_ns = 40 * kSecond;
  boot();
  control_->set_pace(1000 * kSecond);
  heard();
  const unsigned before = probes_;
  run(now_ + 39 * kSecond);
  EXPECT_GE(probes_ - before, 3U);
  EXPECT_EQ(control_->state(), LifeState::kConnected);
}

TEST_F(ColdLife, AnAnswerKeepsItAlive) {
  policy_.idle_timeout_ns = 40 * kSecond;
  boot();
  heard();
  for (int i = 0; i < 20; ++i) {
    const unsigned before = probes_;
    run(now_ + 30 * kSecond);
    EXPECT_GT(probes_, before);
    report_.heard_ns = now_;  // an echo, as the owner's clock says
  }
  EXPECT_EQ(control_->state(), LifeState::kConnected);
  const unsigned before = probes_;
  run(now_ + 9 * kSecond);
  EXPECT_EQ(probes_, before) << "answered: quiet again";
  EXPECT_EQ(said(SessionEvent::kIdle), 0);
}

TEST_F(ColdLife, WithoutATimeoutSilenceIsKept) {
  boot();
  heard();
  run(now_ + 24 * kHour);
  EXPECT_EQ(control_->state(), LifeState::kConnected);
  EXPECT_EQ(said(SessionEvent::kIdle), 0);
  EXPECT_GT(control_->idle_seconds(now_), 86'000);
}

TEST_F(ColdLife, APeerThatNeverCameIsIdleToo) {
  policy_.idle_timeout_ns = 2 * kSecond;
  boot();
  EXPECT_LT(control_->idle_seconds(now_), 0);
  run(now_ + 2 * kSecond);
  EXPECT_EQ(control_->state(), LifeState::kClosed);
}

TEST_F(ColdLife, TrafficOneWayIsProbedWithoutATimeout) {
  boot();
  heard();
  send(100, 10);
  const unsigned before = probes_;
  for (int i = 0; i < 30; ++i) {
    report_.tx_pkts += 100;
    run(now_ + kSecond);
  }
  EXPECT_GT(probes_, before);
}

// ---- states

TEST_F(ColdLife, MigratingComesAndGoes) {
  boot();
  control_->set_migrating(true);
  control_->set_migrating(true);
  EXPECT_EQ(control_->state(), LifeState::kMigrating);
  control_->set_migrating(false);
  settle();
  EXPECT_EQ(control_->state(), LifeState::kConnected);
  EXPECT_EQ(said(SessionEvent::kMigrating), 1);
  EXPECT_EQ(said(SessionEvent::kSettled), 1);
  EXPECT_EQ(states_, (std::vector{LifeState::kMigrating, LifeState::kConnected}));
}

TEST_F(ColdLife, ClosingMakesNoEpochsOfItsOwn) {
  policy_.rekey_interval_ns = kSecond;
  boot();
  heard();
  EXPECT_TRUE(control_->close());
  EXPECT_FALSE(control_->close());
  settle();
  EXPECT_EQ(control_->state(), LifeState::kClosing);
  control_->request_rekey(1, now_);
  const unsigned nexts = nexts_;
  control_->on_advanced(1, now_);  // the peer rekeyed
  report_.tx_pkts = 1000;
  run(now_ + 10 * kSecond);
  EXPECT_EQ(nexts_, nexts) << "no next prepared";
  EXPECT_EQ(control_->current_epoch(), 1);
  control_->on_sequence_low(1, 100, now_);
  settle();
  EXPECT_EQ(nexts_, nexts + 1) << "needed: numbers run low";
  control_->set_migrating(true);
  EXPECT_EQ(control_->state(), LifeState::kClosing);
  control_->end();
  control_->end();
  settle();
  EXPECT_EQ(said(SessionEvent::kClosed), 1);
  EXPECT_EQ(states_, (std::vector{LifeState::kClosing, LifeState::kClosed}));
}

TEST_F(ColdLife, ClosedIsDeafAndStill) {
  boot();
  control_->end();
  settle();
  const std::size_t events = events_.size();
  const unsigned nexts = nexts_;
  control_->on_heard(3, now_);
  control_->on_advanced(1, now_);
  control_->on_dead(now_);
  control_->on_sequence_low(1, 5, now_);
  control_->request_rekey(3, now_);
  control_->on_timer(now_ + kHour);
  settle();
  EXPECT_EQ(control_->state(), LifeState::kClosed);
  EXPECT_EQ(events_.size(), events);
  EXPECT_EQ(nexts_, nexts);
  EXPECT_EQ(control_->next_deadline_ns(), UINT64_MAX);
}

TEST_F(ColdLife, DeadMayBeEnded) {
  boot();
  control_->on_dead(now_);
  EXPECT_FALSE(control_->close());
  control_->end();
  EXPECT_EQ(control_->state(), LifeState::kClosed);
}

// ---- budget

TEST_F(ColdLife, NoRateNoForecast) {
  boot();
  const BudgetForecast f = control_->budget(now_);
  EXPECT_LT(f.seconds, 0);
  EXPECT_STREQ(f.limit, "");
  EXPECT_EQ(f.epochs_left, 255U);
  EXPECT_EQ(f.sequences_left, session::SEQ_REKEY_WATERMARK);
  EXPECT_EQ(f.seals_left, session::kAeadMaxInvocations);
}

// 14.88 million packets a second of one stream: 144 s an epoch, 256 epochs.
TEST_F(ColdLife, LineRateOnOneStreamIsHours) {
  boot();
  heard();
  send(14'880'952, 20);
  const BudgetForecast f = control_->budget(now_);
  EXPECT_STREQ(f.limit, "sequences");
  EXPECT_NEAR(f.seconds, 256 * 2147483648.0 / 14'880'952 - 20, 30);
  EXPECT_EQ(f.sequences_left, session::SEQ_REKEY_WATERMARK - 20U * 14'880'952);
  EXPECT_EQ(said(SessionEvent::kBudgetLow), 1) << "10 hours are less than a day; said once";
}

TEST_F(ColdLife, AnUnreachablePeerLeavesThisEpochOnly) {
  boot();
  heard();
  for (std::uint8_t epoch = 1; epoch <= 16; ++epoch) control_->on_advanced(epoch, now_ += kHour);
  send(14'880'952, 20);
  EXPECT_LT(control_->budget(now_).seconds, 145);
  control_->on_heard(16, now_);
  EXPECT_GT(control_->budget(now_).seconds, 200 * 140.0);
}

TEST_F(ColdLife, LowSoftLimitMakesSealsTheScarcest) {
  policy_.rekey_soft_limit = 1'000'000;
  boot();
  heard();
  report_.tx_pkts = 0;
  for (unsigned i = 0; i < 20; ++i) {  // spread over streams: the busiest moves little
    report_.tx_pkts += 100'000;
    report_.seals_in_epoch += 1;
    report_.next[2] += 10;
    report_.span[2] += 10;
    control_->on_traffic(report_, now_ += kSecond);
  }
  EXPECT_STREQ(control_->budget(now_).limit, "seals");
}

TEST_F(ColdLife, EpochsAreForecastFromTheLastFew) {
  policy_.budget_warning_ns = kHour;
  boot();
  heard();
  control_->on_advanced(1, now_ += 10 * kSecond);
  EXPECT_LT(control_->budget(now_).seconds, 0) << "one step is no rate";
  for (std::uint8_t epoch = 2; epoch <= 20; ++epoch) {
    control_->on_heard(epoch, now_);
    control_->on_advanced(epoch, now_ += 10 * kSecond);
  }
  const BudgetForecast f = control_->budget(now_);
  EXPECT_STREQ(f.limit, "epochs");
  EXPECT_NEAR(f.seconds, 235 * 10.0, 25);
  run(now_ + 5 * kSecond);
  EXPECT_EQ(said(SessionEvent::kBudgetLow), 1);
}

TEST_F(ColdLife, TheWarningComesOnceACrossing) {
  policy_.budget_warning_ns = kHour;
  boot();
  heard();
  for (int crossing = 1; crossing <= 3; ++crossing) {
    report_.span = {};
    send(300'000'000, 60);
    EXPECT_EQ(said(SessionEvent::kBudgetLow), crossing);
    send(1'000, 900);
    EXPECT_EQ(said(SessionEvent::kBudgetLow), crossing) << "recovered";
  }
}

TEST_F(ColdLife, TheWarningCanBeOff) {
  policy_.budget_warning_ns = 0;
  boot();
  heard();
  send(300'000'000, 60);
  EXPECT_EQ(said(SessionEvent::kBudgetLow), 0);
  EXPECT_GT(control_->budget(now_).seconds, 0) << "the metric stays";
}

// Epochs used up by earlier starts are gone.
TEST_F(ColdLife, StartsCountInTheBudget) {
  boot();
  for (int i = 0; i < 3; ++i) {
    const auto record = store_.load(control_->record().fingerprint);
    control_ = std::make_unique<SessionControl>(session::SessionIdentity{}, support::test_secret(), policy_,
                                                3, 9, pool_, aead_);
    ASSERT_FALSE(control_->start(record, now_));
    settle();
  }
  EXPECT_EQ(control_->budget(now_).epochs_left, 255U - 4) << "0, 1 prepared, 2, 3, 4";
}

}  // namespace
