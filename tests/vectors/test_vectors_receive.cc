// receive_scenarios: every datagram of every conversation through a Session, every verdict compared, and the
// state at the end. The hardened verdict counts where there is one, otherwise the reference's.
#include <map>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "session/session.h"
#include "tests/support/session_bench.h"
#include "tests/support/vectors.h"

namespace {

using session::DropReason;
using session::PathState;
using session::Received;
using vectors::Json;

constexpr std::uint64_t kStepNs = 10'000'000;  // far below the grace, enough for every budget to refill

std::string drop_name(DropReason reason) {
  switch (reason) {
    case DropReason::kTruncated:
      return "drop_truncated";
    case DropReason::kVersion:
      return "drop_version";
    case DropReason::kUnknownSession:
      return "drop_session_id";
    case DropReason::kUnencrypted:
      return "drop_unencrypted";
    case DropReason::kAuth:
    case DropReason::kEpochAheadForged:
      return "drop_auth";
    case DropReason::kEpochBehind:
      return "drop_epoch_behind";
    case DropReason::kEpochTooFar:
      return "drop_epoch_too_far";
    case DropReason::kReplayDuplicate:
      return "drop_replay_duplicate";
    case DropReason::kReplayTooOld:
      return "drop_replay_too_old";
    case DropReason::kPathNotValidated:
      return "drop_path_not_validated";
    case DropReason::kAckLength:
      return "drop_ack_length";
    case DropReason::kWindowUpdateLength:
      return "drop_window_update_length";
    case DropReason::kPathValidationLength:
      return "drop_path_validation_length";
    case DropReason::kCoalescedHeader:
      return "drop_coalesced_truncated_header";
    case DropReason::kCoalescedPart:
      return "drop_coalesced_truncated_sub_packet";
    default:
      return "unexpected drop " + std::string(session::kDropReasonNames[static_cast<std::size_t>(reason)]);
  }
}

std::string verdict_name(const Received& r) {
  switch (r.kind) {
    case Received::Kind::kDropped:
      return drop_name(r.drop);
    case Received::Kind::kData:
      return "deliver";
    case Received::Kind::kAck:
      return "ack";
    case Received::Kind::kWindowUpdate:
      return "window_update";
    case Received::Kind::kPathEcho:
      return "path_echo";
    case Received::Kind::kPathValidated:
      return "path_validated";
    case Received::Kind::kPathIgnored:
      return "path_ignored";
    case Received::Kind::kReport:
      return "report";
  }
  return "none";
}

// The verdict as the files write it, from what the session did.
Json observed(const Received& r) {
  Json out{{"verdict", verdict_name(r)}};
  if (r.kind == Received::Kind::kData) {
    out["stream_id"] = r.stream;
    out["payloads"] = Json::array();
    for (const auto part : r.payloads) out["payloads"].push_back(vectors::hex(part.data(), part.size()));
  }
  if (r.ack) out["emits_ack_for"] = r.ack->sequence;
  if (r.fin) out["fin"] = true;
  if (r.kind == Received::Kind::kAck) out["acked_sequence"] = r.acked_sequence;
  if (r.kind == Received::Kind::kWindowUpdate) out["credit"] = r.credit;
  const bool path = r.kind == Received::Kind::kPathEcho || r.kind == Received::Kind::kPathValidated ||
                    r.kind == Received::Kind::kPathIgnored || r.drop == DropReason::kPathNotValidated;
  if (path) out["path_id"] = r.path;
  if (r.kind == Received::Kind::kPathEcho) {
    out["payload"] = vectors::hex(r.payloads.at(0).data(), r.payloads.at(0).size());
  }
  return out;
}

std::string path_name(PathState state) {
  switch (state) {
    case PathState::kUnknown:
      return "unknown";
    case PathState::kUnvalidated:
      return "unvalidated";
    case PathState::kValidating:
      return "validating";
    case PathState::kValidated:
      return "validated";
    case PathState::kFailed:
      return "failed";
  }
  return "none";
}

Json final_state(const session::Session& s) {
  Json paths = Json::object();
  for (unsigned id = 0; id < 256; ++id) {
    const PathState state = s.path_state(static_cast<std::uint8_t>(id));
    if (state != PathState::kUnknown) paths[std::to_string(id)] = path_name(state);
  }
  return Json{{"epoch", s.epoch()},
              {"counters",
               {{"aead_failed", s.aead_failed_total()},
                {"replay_rejected", s.replay_rejected_total()},
                {"unencrypted_dropped", s.unencrypted_dropped_total()}}},
              {"paths", paths}};
}

crypto::Suite suite_of(const Json& scenario) {
  const auto name = scenario.at("suite").get<std::string>();
  if (name == "aes-256-gcm") return crypto::Suite::kAes256Gcm;
  if (name == "chacha20-poly1305") return crypto::Suite::kChaCha20Poly1305;
  throw std::invalid_argument("unknown suite " + name);
}

session::Role role_of(const Json& scenario) {
  const auto name = scenario.at("receiver").get<std::string>();
  if (name == "initiator") return session::Role::kInitiator;
  if (name == "responder") return session::Role::kResponder;
  throw std::invalid_argument("unknown role " + name);
}

class Receive : public ::testing::TestWithParam<vectors::Case> {
 protected:
  void open_session(const Json& scenario) {
    support::BenchOptions options;
    options.role = role_of(scenario);
    options.suite = suite_of(scenario);
    options.policy.keep_previous_only = true;
    options.policy.echo_burst = 1U << 16;
    options.policy.trial_burst = 1U << 16;
    const vectors::Bytes id = vectors::bytes_at(scenario, "session_id");
    ASSERT_EQ(id.size(), options.id.size());
    std::copy(id.begin(), id.end(), options.id.begin());
    const vectors::Bytes raw = vectors::bytes_at(scenario, "shared_secret");
    ASSERT_EQ(raw.size(), 32U);
    const auto secret = crypto::TrafficSecret::from(std::span<const std::uint8_t, 32>(raw.data(), 32));
    const auto epoch = scenario.at("start_epoch").get<std::uint8_t>();
    if (epoch > 0) support::resume_at(store_, options, secret, epoch, {}, epoch);
    session_ = support::make_session(options, secret, engine_, store_);
    ASSERT_EQ(session_->epoch(), epoch);
    prepare_paths(scenario);
    fetch_all();
  }

  void prepare_paths(const Json& scenario) {
    session::PathChallenge value{};
    for (const Json& path : scenario.at("validated_paths")) {
      const auto id = path.get<std::uint8_t>();
      if (id == 0) continue;
      value.fill(id);
      ASSERT_TRUE(session_->begin_path_validation(id, value, 0).has_value());
      ASSERT_TRUE(session_->complete_path_validation(id, value, 0));
    }
    if (!scenario.contains("outstanding_challenge")) return;
    const Json& challenge = scenario.at("outstanding_challenge");
    const vectors::Bytes bytes = vectors::bytes_at(challenge, "value");
    ASSERT_EQ(bytes.size(), value.size());
    std::copy(bytes.begin(), bytes.end(), value.begin());
    const auto id = challenge.at("path_id").get<std::uint8_t>();
    ASSERT_EQ(session_->begin_path_validation(id, value, 0), value);
  }

  std::vector<std::vector<std::uint8_t>> fetch_all() {
    std::vector<std::vector<std::uint8_t>> out;
    std::vector<std::uint8_t> datagram;
    while (session_->next_datagram(datagram)) out.push_back(datagram);
    return out;
  }

  void run_step(const Json& step) {
    ASSERT_EQ(vectors::check_keys(step, {"note", "datagram", "reference"}, {"hardened"}), "");
    const Json& expected = step.contains("hardened") ? step.at("hardened") : step.at("reference");
    const vectors::Bytes datagram = vectors::bytes_at(step, "datagram");
    now_ns_ += kStepNs;
    const Received got = session_->receive(datagram, now_ns_);
    EXPECT_EQ(observed(got), expected) << step.at("note");
    if (got.ack) {
      EXPECT_EQ(got.ack->stream, got.stream);
      EXPECT_EQ(got.ack->path, got.path);
    }
    const auto emitted = fetch_all();
    if (got.kind != Received::Kind::kPathEcho) return;
    ASSERT_EQ(emitted.size(), 1U) << step.at("note");
    EXPECT_EQ(session::load_be16(&emitted[0][session::kOffStream]), 0);
    EXPECT_EQ(session::load_be16(&emitted[0][session::kOffFlags]), 0x0220);
    EXPECT_EQ(emitted[0][session::kOffPath], got.path);
    EXPECT_EQ(emitted[0].size(), 101U);
  }

  crypto::Aead engine_;
  session::MemoryStore store_;
  std::unique_ptr<session::Session> session_;
  std::uint64_t now_ns_ = 0;
};

TEST_P(Receive, EveryVerdictAndTheFinalState) {
  const Json& scenario = GetParam().value;
  ASSERT_EQ(vectors::check_keys(scenario,
                                {"name", "receiver", "suite", "shared_secret", "session_id", "start_epoch",
                                 "validated_paths", "steps", "final_state"},
                                {"why", "outstanding_challenge"}),
            "");
  ASSERT_FALSE(scenario.at("steps").empty());
  ASSERT_NO_FATAL_FAILURE(open_session(scenario));
  for (const Json& step : scenario.at("steps")) ASSERT_NO_FATAL_FAILURE(run_step(step));
  const Json& states = scenario.at("final_state");
  ASSERT_EQ(vectors::check_keys(states, {"reference"}, {"hardened"}), "");
  EXPECT_EQ(final_state(*session_),
            states.contains("hardened") ? states.at("hardened") : states.at("reference"));
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Receive,
                         ::testing::ValuesIn(vectors::cases(vectors::Kind::kReceiveScenarios, "scenarios")),
                         vectors::case_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Receive);

}  // namespace
