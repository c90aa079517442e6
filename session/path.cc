#include "session/path.h"

#include <algorithm>

#include "crypto/secret.h"

namespace session {
namespace {

bool same(const PathChallenge& a, const PathChallenge& b) {
  return crypto::equal_ct(a.data(), b.data(), a.size());
}

}  // namespace

PathTable::PathTable() {
  entries_.emplace_back().state = PathState::kValidated;
}

PathTable::Entry* PathTable::find(std::uint8_t path) {
  const auto at =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.id == path; });
  return at == entries_.end() ? nullptr : &*at;
}

const PathTable::Entry* PathTable::find(std::uint8_t path) const {
  return const_cast<PathTable*>(this)->find(path);
}

PathTable::Entry* PathTable::find_or_add(std::uint8_t path) {
  if (Entry* entry = find(path)) return entry;
  if (entries_.size() == kMaxPaths) return nullptr;
  Entry& entry = entries_.emplace_back();
  entry.id = path;
  return &entry;
}

std::optional<PathChallenge> PathTable::challenge(std::uint8_t path, const PathChallenge& fresh,
                                                  std::uint64_t now_ns) {
  Entry* entry = find_or_add(path);
  if (entry == nullptr || entry->state == PathState::kValidated) return std::nullopt;
  if (!entry->outstanding) {
    entry->value = fresh;
    entry->outstanding = true;
    entry->started_ns = now_ns;
  }
  entry->state = PathState::kValidating;
  return entry->value;
}

PathVerdict PathTable::receive(std::uint8_t path, const PathChallenge& value, std::uint64_t) {
  Entry* entry = find(path);
  // An unknown path is echoed without a record: its state does not change (protocol.md 10.3).
  if (entry == nullptr) return PathVerdict::kEcho;
  switch (entry->state) {
    case PathState::kUnknown:
    case PathState::kUnvalidated:
      return PathVerdict::kEcho;
    case PathState::kValidated:
    case PathState::kFailed:
      return PathVerdict::kIgnored;
    case PathState::kValidating:
      return receive_while_validating(*entry, value);
  }
  return PathVerdict::kIgnored;
}

PathVerdict PathTable::receive_while_validating(Entry& entry, const PathChallenge& value) {
  if (entry.outstanding && same(entry.value, value)) {
    entry.outstanding = false;
    entry.state = PathState::kValidated;
    return PathVerdict::kValidated;
  }
  // W-17: not an echo of ours, so it is the peer's own challenge crossing ours. Each value once, or two
  // endpoints could bounce a stale one for ever.
  for (unsigned i = 0; i < entry.seen_count; ++i) {
    if (same(entry.seen[i], value)) return PathVerdict::kIgnored;
  }
  remember(entry, value);
  return PathVerdict::kEcho;
}

void PathTable::remember(Entry& entry, const PathChallenge& value) {
  entry.seen[entry.seen_next] = value;
  entry.seen_next = static_cast<std::uint8_t>((entry.seen_next + 1) % kSeenValues);
  entry.seen_count = static_cast<std::uint8_t>(std::min<unsigned>(entry.seen_count + 1U, kSeenValues));
}

void PathTable::note_data(std::uint8_t path) {
  Entry* entry = find_or_add(path);
  if (entry != nullptr && entry->state == PathState::kUnknown) entry->state = PathState::kUnvalidated;
}

void PathTable::expire(std::uint64_t now_ns, std::uint64_t timeout_ns) {
  for (Entry& entry : entries_) {
    if (entry.state != PathState::kValidating || now_ns - entry.started_ns < timeout_ns) continue;
    // Our own old value must not be taken for a challenge of the peer when its echo comes late.
    remember(entry, entry.value);
    entry.outstanding = false;
    entry.state = PathState::kFailed;
  }
}

PathState PathTable::state(std::uint8_t path) const {
  const Entry* entry = find(path);
  return entry == nullptr ? PathState::kUnknown : entry->state;
}

}  // namespace session
