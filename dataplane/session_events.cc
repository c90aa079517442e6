// What sessions report, in words.
#include <fmt/format.h>

#include "dataplane/prefix.h"
#include "dataplane/session_manager_pvt.h"

namespace dataplane {

std::string peer_text(const session::Endpoint& peer) {
  return peer.family == 0 ? "unknown" : to_text(peer);
}

namespace {

using session::SessionEvent;

struct Words {
  const char* kind;
  const char* level;
  std::string text;
};

Words epoch_words(SessionEvent event, const session::SessionControl& c) {
  switch (event) {
    case SessionEvent::kRekeyed:
      return {"rekeyed", "debug", fmt::format("rekeyed to epoch {}", c.current_epoch())};
    case SessionEvent::kFollowed:
      return {"rekeyed", "debug", fmt::format("followed the peer to epoch {}", c.current_epoch())};
    case SessionEvent::kCaughtUp:
      return {"caught_up", "info", fmt::format("caught up with the peer at epoch {}", c.current_epoch())};
    case SessionEvent::kPreviousRetired:
      return {"previous_retired", "debug", "previous epoch retired"};
    case SessionEvent::kEpochsLow:
      return {"epochs_low", "warn",
              fmt::format("epoch {} of {}: provide a new session with a new secret soon", c.current_epoch(),
                          session::kMaxEpoch)};
    case SessionEvent::kRekeyForced:
      return {
          "rekey_forced", "warn",
          fmt::format("hard limit reached: epoch {} while reliable data was under way", c.current_epoch())};
    case SessionEvent::kPeerOutOfReach:
      return {"peer_out_of_reach", "warn",
              fmt::format("no new epochs: the peer was last heard at epoch {} and could not follow",
                          c.peer_epoch())};
    default:
      return {"peer_heard", "info", fmt::format("peer heard at epoch {}", c.peer_epoch())};
  }
}

Words life_words(SessionEvent event, const session::SessionControl& c, std::uint64_t idle_timeout_ns) {
  switch (event) {
    case SessionEvent::kDead:
      return {"dead", "error", "dead: all epochs are used up; it needs a new secret"};
    case SessionEvent::kMigrating:
      return {"migrating", "debug", "validates a new address"};
    case SessionEvent::kSettled:
      return {"settled", "debug", "no address is being validated any more"};
    case SessionEvent::kClosing:
      return {"closing", "info", "closing: takes and sends what is under way"};
    case SessionEvent::kIdle:
      return {"idle", "warn",
              fmt::format("nothing was heard for {} s, not even answers to probes",
                          static_cast<double>(idle_timeout_ns) / 1e9)};
    default:
      return {"closed", "info", fmt::format("closed at epoch {}", c.current_epoch())};
  }
}

}  // namespace

void SessionManager::log_event(const Managed& s, SessionEvent event) {
  if (event == SessionEvent::kIdle && s.entry->on_idle == OnIdle::kRemove) {
    expired_.push_back(s.entry->identity.name);
  }
  const session::SessionControl& c = *s.control;
  Words words;
  switch (event) {
    case SessionEvent::kStarted:
      words = {"started", "info",
               fmt::format("started at epoch 0 (worker {}, peer {})", s.worker, peer_text(s.peer))};
      break;
    case SessionEvent::kResumed:
      words = {"resumed", "info",
               fmt::format("resumed at epoch {}, start {} (worker {}, peer {})", c.current_epoch(),
                           c.incarnations(), s.worker, peer_text(s.peer))};
      break;
    case SessionEvent::kBudgetLow: {
      const session::BudgetForecast left = c.budget(now_ns_);
      words = {"budget_low", "warn",
               fmt::format("{} will be used up in {:.0f} s at the present rate: replace it by a session with "
                           "a new secret",
                           left.limit, left.seconds)};
      break;
    }
    case SessionEvent::kDead:
    case SessionEvent::kMigrating:
    case SessionEvent::kSettled:
    case SessionEvent::kClosing:
    case SessionEvent::kIdle:
    case SessionEvent::kClosed:
      words = life_words(event, c, s.entry->policy.idle_timeout_ns);
      break;
    default:
      words = epoch_words(event, c);
  }
  events_.add(s.entry->identity.name, words.kind, std::move(words.text), words.level);
}

}  // namespace dataplane
