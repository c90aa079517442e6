// Where packets of a session come from and where they go: known sources, hints of new ones, path sets.
#include <algorithm>
#include <new>

#include "session/shard.h"
#include "session/shard_commands.h"
#include "session/source_tag.h"

namespace session {
namespace {

// Hints of a session: the same source at most every 5 ms. Of all sources 16 at once and one every 21 ms, so
// never more than 64 within a second.
constexpr std::uint32_t kSameSourceMs = 5;
constexpr std::uint32_t kHintMs = 21;
constexpr std::uint32_t kHintBurst = 16;

// PATH_VALIDATION packets of a session that control hears of: 64 at once and 200 a second. Two honest ends of
// four slots cause about 30 echoes a second, and their peer's challenges are as many; echoes of foreign ones
// are 64 a second by themselves.
constexpr std::uint32_t kReportMs = 5;
constexpr std::uint32_t kReportBurst = 64;

// Receiver reports, likewise.
constexpr std::uint32_t kReceiverReportMs = 10;
constexpr std::uint32_t kReceiverReportBurst = 64;

constexpr std::uint8_t kLength4 = 28;

// A budget of one every `gap_ms` and `burst` at once, as the time at which all that was taken is paid for.
// When that time is long ago the difference wraps.
bool take_from(std::uint32_t& due_ms, std::uint32_t now_ms, std::uint32_t gap_ms, std::uint32_t burst) {
  const std::uint32_t ahead_ms = due_ms - now_ms;
  const bool paid = ahead_ms > burst * gap_ms;
  if (!paid && ahead_ms > (burst - 1) * gap_ms) return false;
  due_ms = (paid ? now_ms : due_ms) + gap_ms;
  return true;
}

// A slot index that a plan may name, or `otherwise`.
std::uint8_t known_slot(std::uint8_t wanted, std::uint32_t count, std::uint8_t otherwise) {
  return wanted < count ? wanted : otherwise;
}

// The smallest MTU of the slots that streams are sent over; one without an address carries nothing.
std::uint16_t smallest_mtu(const PathSet& set, unsigned tx_streams) {
  std::uint16_t mtu = 0xffff;
  const auto consider = [&](std::uint8_t slot) {
    if (slot != kNoPathSlot && set.outer[slot].length != 0) mtu = std::min(mtu, set.outer[slot].inner_mtu);
  };
  for (unsigned s = 0; s <= tx_streams && s < kTxStreams; ++s) {
    consider(set.primary[s]);
    consider(set.second[s]);
  }
  return mtu;
}

// IPv4 identifications go on where they were, on whatever path.
void replace_outer(OuterTemplate& outer, const OuterTemplate& with) {
  const std::uint16_t ip_id = outer.ip_id;
  outer = with;
  outer.ip_id = ip_id;
}

// A copy carries the sequence of its original: on the same path id it would have the same nonce.
void write_schedule(PathSet& set, const PathPlan& plan) {
  for (unsigned s = 0; s < kTxStreams; ++s) {
    const std::uint8_t primary = known_slot(plan.primary[s], set.count, 0);
    const std::uint8_t second = known_slot(plan.second[s], set.count, kNoPathSlot);
    const bool distinct = second != kNoPathSlot && set.outer[second].path_id != set.outer[primary].path_id;
    set.primary[s] = primary;
    set.second[s] = distinct ? second : kNoPathSlot;
  }
}

}  // namespace

std::uint32_t source_tag(const OuterTemplate& outer) {
  if (outer.length == 0) return 0;
  const bool four = outer.length == kLength4;
  const std::uint8_t* ours = outer.bytes.data() + (four ? 12 : 8);
  const std::uint8_t* theirs = ours + (four ? 4 : 16);
  const std::uint8_t* udp = outer.bytes.data() + outer.length - 8;
  return source_tag(four ? 4 : 6, theirs, load_be16(udp + 2), ours, load_be16(udp));
}

// Behind the one comparison of the ordinary path. True: control should hear of it.
bool Shard::note_source(SessionHot& hot, const RxFields& fields, std::uint32_t text_bytes,
                        std::uint32_t source, RxAction action) {
  if (source == 0) return false;
  for (unsigned i = 0; i < kTxPaths; ++i) {
    if (hot.known_source[i] != source) continue;
    if (hot.path_set == kNoPathSet) {
      hot.last_source = source;
    } else {
      ++sets_[hot.path_set].traffic[i].rx_pkts;
      sets_[hot.path_set].traffic[i].rx_bytes += text_bytes;
    }
    return false;
  }
  // RFC 9000 9.3: only the newest packet may say that the peer moved, or reordered ones would say it moved
  // back. A challenge is no such word: it comes from wherever the peer tries to be reached.
  return action != RxAction::kPathValidation && windows_.newest(hot, fields.stream, fields.sequence);
}

bool Shard::take_source_hint(std::uint32_t slot, std::uint32_t source, std::uint32_t now_ms) {
  SessionHot& hot = hot_[slot];
  if (source == hot.hint_source && now_ms - hot.hint_ms < kSameSourceMs) return false;
  if (!take_from(hot.hint_due_ms, now_ms, kHintMs, kHintBurst)) return false;
  hot.hint_source = source;
  hot.hint_ms = now_ms;
  return true;
}

bool Shard::take_path_report(std::uint32_t slot, std::uint32_t now_ms) {
  if (take_from(path_due_ms_[slot], now_ms, kReportMs, kReportBurst)) return true;
  ++hot_[slot].rx_other_drops;
  ++aside_[slot].rx_refused;
  return false;
}

// An honest peer sends at most ten a second of each of four paths.
bool Shard::take_receiver_report(std::uint32_t slot, std::uint32_t now_ms) {
  if (take_from(report_due_ms_[slot], now_ms, kReceiverReportMs, kReceiverReportBurst)) return true;
  ++hot_[slot].rx_other_drops;
  ++aside_[slot].rx_refused;
  return false;
}

// Traffic moves: control looks at it from now on, until it unwatches.
void Shard::watch(std::uint32_t slot) {
  hot_[slot].session_flags |= kWatched;
  mark_pending(slot, kPendingMoved);
}

// True: traffic of a path.
bool Shard::note_sent_aside(std::uint32_t slot, std::uint8_t path, std::uint16_t stream, std::uint16_t flags,
                            std::uint32_t text_bytes) {
  const SessionHot& hot = hot_[slot];
  const bool aside = is_aside(flags, stream);
  if (hot.path_set == kNoPathSet) {
    if (path == 0 && !aside) return true;
    ++aside_[slot].tx_pkts;
    aside_[slot].tx_bytes += text_bytes;
    return false;
  }
  if (path >= kTxPaths || aside) return false;
  PathFlowCounts& flow = sets_[hot.path_set].flow[path];
  ++flow.sent_pkts;
  flow.sent_bytes += text_bytes;
  return true;
}

// The same of a packet that verified. With several paths the window has no say: a copy that it refuses came
// over another path than the original.
bool Shard::note_received_aside(std::uint32_t slot, const RxFields& fields, std::uint32_t text_bytes,
                                std::uint64_t now_tsc) {
  const SessionHot& hot = hot_[slot];
  const bool aside = is_aside(fields.flags, fields.stream);
  if (hot.path_set == kNoPathSet) return fields.path == 0 && !aside;
  if (fields.path >= kTxPaths || aside) return false;
  PathFlowCounts& flow = sets_[hot.path_set].flow[fields.path];
  ++flow.received_pkts;
  flow.received_bytes += text_bytes;
  flow.received_tsc = now_tsc;
  return true;
}

void Shard::note_aside(std::uint32_t slot, bool accepted, std::uint32_t text_bytes) {
  PathAside& aside = aside_[slot];
  if (!accepted) {
    ++aside.rx_refused;
    return;
  }
  ++aside.rx_pkts;
  aside.rx_bytes += text_bytes;
}

PathCounts Shard::path_counts(std::uint32_t slot, std::uint8_t path) const {
  const auto read = [](const auto& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  const SessionHot& hot = hot_[slot];
  PathCounts out;
  out.origin = read(hot.path_set);
  if (out.origin != kNoPathSet) {
    if (path >= kTxPaths) return out;
    const PathFlowCounts& flow = sets_[out.origin].flow[path];
    const std::uint64_t sent = read(flow.sent_pkts);
    const std::uint64_t received = read(flow.received_pkts);
    out.sent_pkts = static_cast<std::uint32_t>(sent);
    out.received_pkts = static_cast<std::uint32_t>(received);
    out.sent_bytes = read(flow.sent_bytes) + kPacketOverheadBytes * sent;
    out.received_bytes = read(flow.received_bytes) + kPacketOverheadBytes * received;
    out.received_tsc = read(flow.received_tsc);
    return out;
  }
  if (path != 0) return out;
  const PathAside& aside = aside_[slot];
  const std::uint64_t sent = read(hot.tx_pkts) - read(aside.tx_pkts);
  const std::uint64_t accepted = read(hot.rx_pkts) - read(aside.rx_pkts);
  const std::uint64_t refused =
      std::uint64_t{read(hot.rx_replayed)} + read(hot.rx_other_drops) - read(aside.rx_refused);
  out.sent_pkts = static_cast<std::uint32_t>(sent);
  out.received_pkts = static_cast<std::uint32_t>(accepted + refused);
  out.sent_bytes = read(hot.tx_bytes) - read(aside.tx_bytes) + kPacketOverheadBytes * sent;
  out.received_bytes = read(hot.rx_bytes) - read(aside.rx_bytes) + kPacketOverheadBytes * accepted;
  out.received_tsc = read(hot.last_rx_tsc);
  return out;
}

void Shard::init_path_sets(std::span<std::byte> memory) {
  sets_ = reinterpret_cast<PathSet*>(memory.data());
  for (std::uint32_t i = limits_.path_sets; i-- > 0;) {
    new (&sets_[i]) PathSet{};
    sets_[i].next_free = set_free_;
    set_free_ = i;
  }
}

// The session's set, or one of the pool; null when there is none left.
PathSet* Shard::take_path_set(std::uint32_t slot) {
  SessionHot& hot = hot_[slot];
  if (hot.path_set != kNoPathSet) return &sets_[hot.path_set];
  if (set_free_ == kNone) return nullptr;
  hot.path_set = static_cast<std::uint16_t>(set_free_);
  PathSet& set = sets_[set_free_];
  set_free_ = set.next_free;
  --free_path_sets_;
  set = PathSet{};
  set.owner = slot;
  return &set;
}

void Shard::release_path_set(SessionHot& hot) {
  if (hot.path_set == kNoPathSet) return;
  PathSet& set = sets_[hot.path_set];
  set.owner = kNone;
  set.next_free = set_free_;
  set_free_ = hot.path_set;
  ++free_path_sets_;
  hot.path_set = kNoPathSet;
}

bool ShardCommands::set_paths(PathPlan& plan) {
  plan.accepted_count = 0;
  if (!current_handle(plan.slot, plan.generation) || plan.count == 0 || plan.count > kTxPaths) return false;
  SessionHot& hot = shard_.hot_[plan.slot];
  PathSet* set = plan.count == 1 ? nullptr : shard_.take_path_set(plan.slot);
  plan.accepted_count = set == nullptr ? 1 : plan.count;
  replace_outer(hot.outer, plan.outer[0]);
  for (unsigned i = 0; i < kTxPaths; ++i) hot.known_source[i] = i < plan.count ? plan.source_tag[i] : 0;
  hot.last_source = 0;
  hot.validated_paths = plan.validated_paths;
  if (set == nullptr) {
    shard_.release_path_set(hot);
    return true;
  }
  set->count = plan.count;
  for (unsigned i = 0; i < plan.count; ++i) replace_outer(set->outer[i], plan.outer[i]);
  write_schedule(*set, plan);
  replace_outer(hot.outer, set->outer[set->primary[1]]);
  hot.outer.inner_mtu = smallest_mtu(*set, hot.tx_streams);
  return true;
}

bool ShardCommands::unwatch(std::uint32_t slot, std::uint32_t generation) {
  if (!current_handle(slot, generation)) return false;
  SessionHot& hot = shard_.hot_[slot];
  if ((hot.session_flags & kUnmodifiedPeer) != 0) return true;
  hot.session_flags = static_cast<std::uint8_t>(hot.session_flags & ~kWatched);
  return true;
}

bool ShardCommands::set_alias(std::uint32_t slot, std::uint32_t generation, std::uint32_t hop_word) {
  if (!current_handle(slot, generation)) return false;
  shard_.hot_[slot].source_alias = hop_word;
  return true;
}

}  // namespace session
