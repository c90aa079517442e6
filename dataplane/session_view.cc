// How sessions are shown, and what they take.
#include <malloc.h>

#include "dataplane/address_text.h"
#include "dataplane/session_manager_pvt.h"

namespace dataplane {
namespace {

std::string hex(std::span<const std::uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::uint64_t counter(const std::uint64_t& value) {
  return __atomic_load_n(&value, __ATOMIC_RELAXED);
}
std::uint32_t counter(const std::uint32_t& value) {
  return __atomic_load_n(&value, __ATOMIC_RELAXED);
}
std::uint16_t counter(const std::uint16_t& value) {
  return __atomic_load_n(&value, __ATOMIC_RELAXED);
}

}  // namespace

std::size_t heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

SessionView SessionManager::view_session(const Managed& s, std::uint64_t now_ns) const {
  const session::SessionControl& c = *s.control;
  // Until its worker has it, the slot is that of another one.
  static const session::SessionHot kNothing;
  const session::SessionHot& there = topology_.workers[s.worker].shard->hot(c.slot());
  const session::SessionHot& hot = counter(there.generation) == c.generation() ? there : kNothing;
  SessionView v;
  v.name = c.identity().name;
  v.id_hex = hex(c.identity().id);
  v.worker = s.worker;
  v.slot = c.slot();
  v.epoch = c.current_epoch();
  v.taken = c.taken_epoch();
  v.peer_epoch = c.peer_epoch();
  v.state = c.state();
  v.heard = c.heard();
  v.rx_pkts = counter(hot.rx_pkts);
  v.rx_bytes = counter(hot.rx_bytes);
  v.tx_pkts = counter(hot.tx_pkts);
  v.tx_bytes = counter(hot.tx_bytes);
  v.rekeys = counter(hot.rekeys);
  v.followed = counter(hot.followed);
  v.catch_ups = counter(hot.catch_ups);
  v.grace_accepts = counter(hot.grace_accepts);
  v.auth_failed = counter(hot.rx_auth_failed);
  v.replayed = counter(hot.rx_replayed);
  v.epochs_left_seconds = c.epochs_left_seconds(now_ns);
  const session::BudgetForecast budget = c.budget(now_ns);
  v.budget_left_seconds = budget.seconds;
  v.budget_limit = budget.limit;
  v.idle_seconds = c.idle_seconds(now_ns);
  v.replaced_by = s.replaced_by;
  v.peer = peer_text(s.peer);
  view_paths(s, *topology_.workers[s.worker].shard, v);
  view_streams_of(s, v);
  return v;
}

std::optional<SessionView> SessionManager::view(const std::string& name, std::uint64_t now_ns) const {
  const Managed* s = named(name);
  if (s == nullptr) return std::nullopt;
  return view_session(*s, now_ns);
}

std::vector<SessionView> SessionManager::view(std::size_t from, std::size_t most,
                                              std::uint64_t now_ns) const {
  std::vector<SessionView> page;
  for (const auto& s : sessions_) {
    if (page.size() == most) break;
    if (s == nullptr) continue;
    if (from != 0) {
      --from;
      continue;
    }
    page.push_back(view_session(*s, now_ns));
  }
  return page;
}

SessionMemory SessionManager::memory() const {
  SessionMemory m;
  m.sessions = count();
  for (const WorkerParts& worker : topology_.workers) {
    m.keys_taken_bytes += std::uint64_t{worker.keys->size()} * sizeof(crypto::KeySlot);
    m.keys_used_bytes +=
        std::uint64_t{worker.keys->size() - worker.keys->free_count()} * sizeof(crypto::KeySlot);
    m.tables_bytes += session::Shard::bytes_needed(worker.shard->limits());
    m.most_sessions += worker.shard->limits().sessions;
  }
  const std::size_t heap = heap_bytes();
  m.heap_bytes = heap;
  if (m.sessions == 0 || m.most_sessions == 0) return m;
  m.heap_each_bytes = heap > heap_before_bytes_ ? (heap - heap_before_bytes_) / m.sessions : 0;
  m.keys_each_bytes = m.keys_used_bytes / m.sessions;
  m.tables_each_bytes = m.tables_bytes / m.most_sessions;
  return m;
}

}  // namespace dataplane
