// Rest before an epoch of our own making: the pause of 1.4 rule 7, data held back so that it comes, and the
// moment it does.
#include <algorithm>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint64_t kRest_ns = 100 * kMillisecond_ns;  // silence that counts as rest, at least

}  // namespace

std::uint64_t Streams::Impl::rest_at_ns() const {
  if (unacked != 0 || ack_count != 0) return UINT64_MAX;
  return heard_ns == 0 ? 0 : heard_ns + std::max(kRest_ns, 2 * flow().smoothed_rtt_ns());
}

// Holds for a while, lets go for a while. Where it stands outlives the wish, or one that comes and goes
// would hold for ever.
void Streams::Impl::keep_hold() {
  if (!hold_wanted && !held) return;
  const bool again = hold_from_ns == 0 || now - hold_from_ns >= kMostHold_ns + kHoldPause_ns;
  if (hold_wanted && again) hold_from_ns = now;
  const bool hold = hold_wanted && now - hold_from_ns < kMostHold_ns;
  if (held && !hold) {
    for (std::uint32_t i = all.head; i != kNone; i = record(i).next) push_ready(i);
  }
  held = hold;
}

// Nothing is left to send: when there is again, or when nothing is under way and the peer was silent.
void Streams::Impl::await_rest() {
  if (!hold_wanted) return wheel.cancel(rest_timer);
  const std::uint64_t rest_ns = rest_at_ns();
  std::uint64_t at_ns = hold_from_ns + kMostHold_ns + (held ? 0 : kHoldPause_ns);
  if (rest_ns > now) at_ns = std::min(at_ns, rest_ns);
  if (!rest_timer.armed() || rest_timer.at_ns != at_ns) wheel.arm(rest_timer, at_ns);
}

bool Streams::at_rest(std::uint64_t now_ns) const {
  return now_ns >= impl_->rest_at_ns();
}

void Streams::set_hold(bool hold) {
  impl_->hold_wanted = hold;
}

}  // namespace session
