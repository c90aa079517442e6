// Path manager: which stream goes over which slot.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "session/path_manager_pvt.h"

namespace session {
namespace {

// Lower is better; without a sample last.
double cost(const Slot& slot) {
  if (!slot.pulse.rtt.known) return 1e18;
  return static_cast<double>(std::max<std::uint64_t>(slot.pulse.rtt.srtt_ns, 1));
}

// What a slot that was not full may carry beyond what it was seen to.
constexpr double kRoomAbove = 1.25;

bool was_full(const Slot& slot, std::uint64_t now_ns) {
  return slot.full_ns != 0 && now_ns < slot.full_ns + PathManager::kCapacityMemoryNs;
}

bool same(const PathSchedule& a, const PathSchedule& b) {
  if (a.count != b.count || a.primary != b.primary || a.second != b.second) return false;
  return std::equal(a.slot.begin(), a.slot.begin() + a.count, b.slot.begin(),
                    [](const PathSchedule::Slot& x, const PathSchedule::Slot& y) {
                      return x.ends == y.ends && x.path_id == y.path_id;
                    });
}

}  // namespace

bool PathManager::Impl::usable(std::uint8_t index) const {
  const Slot& slot = slots[index];
  return slot.state == PathState::kValidated && slot.pulse.up && (index == 0 || known(slot.ends));
}

std::uint8_t PathManager::Impl::best(std::uint8_t except) const {
  std::uint8_t found = kNoPath;
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    if (i == except || !usable(i)) continue;
    if (found == kNoPath || cost(slots[i]) < cost(slots[found])) found = i;
  }
  return found;
}

// A slot that is down is left at once; a better one has to stay better by a fifth for a while. Towards an
// unmodified peer a change of slot is a change of address: only for need.
void PathManager::Impl::choose_active(std::uint64_t now_ns) {
  const std::uint8_t other = best(active);
  if (!usable(active)) {
    if (other != kNoPath) active = other;  // with nothing up: the last one
    better = kNoPath;
    return;
  }
  const bool clearly = other != kNoPath && cost(slots[other]) < 0.8 * cost(slots[active]);
  if (!clearly || policy.unmodified_peer) {
    better = kNoPath;
    return;
  }
  if (better != other) {
    better = other;
    better_since_ns = now_ns;
  }
  if (now_ns < better_since_ns + kSwitchNs) return;
  active = other;
  better = kNoPath;
}

bool PathManager::Impl::capacities_tell(std::uint64_t now_ns) const {
  bool full = false;
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    if (!usable(i) || policy.weight[i] != 0) continue;
    if (slots[i].capacity_bps == 0) return false;
    full = full || was_full(slots[i], now_ns);
  }
  return full;
}

double PathManager::Impl::quality(std::uint8_t index, bool by_capacity, std::uint64_t now_ns) const {
  const Slot& slot = slots[index];
  if (by_capacity) return static_cast<double>(slot.capacity_bps) * (was_full(slot, now_ns) ? 1 : kRoomAbove);
  const double srtt = slot.pulse.rtt.known ? cost(slot) : static_cast<double>(kPatienceNs);
  return 1 / (srtt * (1 + slot.pulse.loss));
}

// Share of each usable slot in the streams, by the configured weights; a weight of 0 stands for what is
// measured, in the scale of the mean of what is measured.
std::array<double, kTxPaths> PathManager::Impl::wanted_shares(std::uint64_t now_ns) const {
  std::array<double, kTxPaths> measured{};
  std::array<double, kTxPaths> wanted{};
  const bool by_capacity = capacities_tell(now_ns);
  double sum = 0;
  unsigned count = 0;
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    if (!usable(i) || policy.weight[i] != 0) continue;
    measured[i] = quality(i, by_capacity, now_ns);
    sum += measured[i];
    ++count;
  }
  double total = 0;
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    if (!usable(i)) continue;
    wanted[i] = policy.weight[i] != 0 ? policy.weight[i] : measured[i] / sum * count;
    total += wanted[i];
  }
  for (double& one : wanted) one = total > 0 ? one / total : 0;
  return wanted;
}

// What is wanted, approached at a bounded pace; at once when slots came or went.
std::array<double, kTxPaths> PathManager::Impl::shares(unsigned usable_now, std::uint64_t now_ns) {
  const auto wanted = wanted_shares(now_ns);
  const bool anew = usable_now != usable_bits || share_ns == 0;
  const double elapsed_s = static_cast<double>(now_ns - std::min(share_ns, now_ns)) / 1e9;
  const double step = anew ? 1 : std::min(1.0, elapsed_s * kShareStep);
  double total = 0;
  for (unsigned i = 0; i < kTxPaths; ++i) {
    share[i] += std::clamp(wanted[i] - share[i], -step, step);
    total += share[i];
  }
  share_ns = now_ns;
  auto out = share;
  for (double& one : out) one = total > 0 ? one / total : 0;
  return out;
}

// Streams stay where they are while their slot has room for them.
void PathManager::Impl::fill_quota(PathSchedule& out, const std::array<unsigned, kTxPaths>& want) const {
  std::array<unsigned, kTxPaths> left = want;
  std::array<bool, kTxStreams> placed{};
  const unsigned streams = std::min<unsigned>(policy.tx_streams, kTxStreams - 1);
  for (unsigned i = 1; i <= streams; ++i) {
    const std::uint8_t at = schedule.primary[i];
    if (schedule.count == 0 || at >= slots.size() || left[at] == 0) continue;
    out.primary[i] = at;
    --left[at];
    placed[i] = true;
  }
  for (unsigned i = 1; i <= streams; ++i) {
    if (placed[i]) continue;
    const auto at = std::max_element(left.begin(), left.end());
    if (*at == 0) continue;
    out.primary[i] = static_cast<std::uint8_t>(at - left.begin());
    --*at;
  }
}

// Largest remainders. Small changes of what is measured move nothing.
void PathManager::Impl::spread(PathSchedule& out, std::uint64_t now_ns) {
  unsigned bits = 0;
  for (std::uint8_t i = 0; i < slot_count(); ++i) bits |= usable(i) ? 1U << i : 0U;
  if (bits == 0) return;
  const auto part = shares(bits, now_ns);
  const unsigned streams = std::min<unsigned>(policy.tx_streams, kTxStreams - 1);
  std::array<unsigned, kTxPaths> want{};
  std::array<double, kTxPaths> rest{};
  unsigned given = 0;
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    const double exact = part[i] * streams;
    want[i] = static_cast<unsigned>(std::floor(exact));
    rest[i] = exact - want[i];
    given += want[i];
  }
  for (; given < streams; ++given) {
    const auto at = static_cast<std::size_t>(std::max_element(rest.begin(), rest.end()) - rest.begin());
    ++want[at];
    rest[at] = -1;
  }
  unsigned off = 0;
  for (unsigned i = 0; i < kTxPaths; ++i) off = std::max(off, want[i] > quota[i] ? want[i] - quota[i] : 0);
  if (bits != usable_bits || off >= 2) quota = want;
  usable_bits = bits;
  fill_quota(out, quota);
}

void PathManager::Impl::rebuild(std::uint64_t now_ns) {
  choose_active(now_ns);
  PathSchedule out;
  out.count = static_cast<unsigned>(slots.size());
  for (std::uint8_t i = 0; i < slot_count(); ++i) {
    out.slot[i] = {slots[i].ends, policy.unmodified_peer ? std::uint8_t{0} : i};
  }
  out.primary.fill(active);
  out.second.fill(kNoPath);
  if (!policy.unmodified_peer && policy.scheduler == PathScheduler::kWeighted) spread(out, now_ns);
  if (!policy.unmodified_peer && policy.scheduler == PathScheduler::kDuplicate) {
    const unsigned streams = std::min<unsigned>(policy.tx_streams, kTxStreams - 1);
    std::fill_n(out.second.begin() + 1, streams, best(active));
  }
  if (version != 0 && same(out, schedule)) return;
  schedule = out;
  ++version;
}

bool PathManager::Impl::in_use(std::uint8_t index) const {
  const auto has = [&](const auto& list) { return std::find(list.begin(), list.end(), index) != list.end(); };
  return has(schedule.primary) || has(schedule.second);
}

}  // namespace session
