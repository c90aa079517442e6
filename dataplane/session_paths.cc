#include "dataplane/session_paths.h"

#include <algorithm>

#include "dataplane/outer_template.h"
#include "dataplane/prefix.h"
#include "session/source_tag.h"

namespace dataplane {

bool is_host(const session::Endpoint& remote) {
  const auto& bytes = remote.address;
  if (remote.port == 0) return false;
  if (remote.family == 4) return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224;
  const bool zeros = std::all_of(bytes.begin(), bytes.end() - 1, [](std::uint8_t byte) { return byte == 0; });
  return remote.family == 6 && bytes[0] != 0xff && !(zeros && bytes[15] <= 1);
}

SessionPaths::SessionPaths(Topology& topology, ControlIo& io, Neighbours& neighbours)
    : topology_(topology), neighbours_(neighbours), listeners_(topology, io) {}

bool SessionPaths::make(PathUse& use, std::uint64_t now_ns) {
  const session::PathEnds& ends = use.ends;
  const bool known = ends.remote.family != 0;
  const auto hop = wan_hop(topology_.ports, ends.local, ends.remote);
  const bool possible = hop && is_host(ends.remote) && !listeners_.on_wan(ends.remote);
  if ((known && !possible) || !listeners_.on_wan(ends.local)) {
    ++counters_.no_way;
    return false;
  }
  if (!listeners_.use(ends.local)) {
    ++counters_.tables_full;
    return false;
  }
  if (!known) return true;
  const std::uint32_t adjacency = neighbours_.pin(hop->port, hop->next, now_ns);
  if (adjacency == session::kNone) {
    listeners_.release(ends.local);
    ++counters_.tables_full;
    return false;
  }
  use.port = hop->port;
  use.next = hop->next;
  use.outer = make_outer(ends.local, ends.remote, static_cast<std::uint16_t>(adjacency),
                         topology_.ports[hop->port].config.mtu);
  return true;
}

const PathUse* SessionPaths::use(PathUses& uses, const session::PathEnds& ends, std::uint64_t now_ns) {
  const auto known =
      std::find_if(uses.begin(), uses.end(), [&](const PathUse& one) { return one.ends == ends; });
  if (known != uses.end()) return &*known;
  PathUse fresh;
  fresh.ends = ends;
  if (!make(fresh, now_ns)) return nullptr;
  uses.push_back(fresh);
  return &uses.back();
}

void SessionPaths::end_oldest() {
  const Lingering& oldest = lingering_.front();
  if (oldest.next.family != 0) neighbours_.unpin(oldest.port, oldest.next);
  listeners_.release(oldest.local);
  lingering_.pop_front();
}

void SessionPaths::keep_only(PathUses& uses, std::span<const session::PathEnds> wanted,
                             std::uint64_t now_ns) {
  std::erase_if(uses, [&](const PathUse& one) {
    if (std::find(wanted.begin(), wanted.end(), one.ends) != wanted.end()) return false;
    lingering_.push_back(Lingering{now_ns + kLingerNs, one.ends.local, one.next, one.port});
    if (lingering_.size() > kMaxLingering) end_oldest();
    return true;
  });
}

unsigned SessionPaths::service(std::uint64_t now_ns) {
  unsigned done = 0;
  for (; !lingering_.empty() && lingering_.front().until_ns <= now_ns; ++done) end_oldest();
  return done;
}

Message SessionPaths::plan(PathUses& uses, const session::CmdSetPaths& command, std::uint64_t now_ns) {
  auto plan = std::make_unique<session::PathPlan>();
  const session::PathSchedule& schedule = *command.schedule;
  plan->count = schedule.count;
  plan->primary = schedule.primary;
  plan->second = schedule.second;
  plan->validated_paths = command.validated;
  for (unsigned i = 0; i < schedule.count; ++i) {
    const session::PathEnds& ends = schedule.slot[i].ends;
    if (ends.remote.family != 0) plan->source_tag[i] = session::source_tag(ends.remote, ends.local);
    if (const PathUse* way = use(uses, ends, now_ns)) plan->outer[i] = way->outer;
    plan->outer[i].path_id = schedule.slot[i].path_id;
  }
  Message message;
  message.kind = MessageKind::kSetPaths;
  message.plan = plan.get();
  plans_.emplace(plan.get(), std::move(plan));
  ++counters_.plans;
  return message;
}

std::optional<Message> SessionPaths::probe(PathUses& uses, const session::CmdSendPathValidation& command,
                                           std::uint64_t now_ns) {
  Message message;
  if (command.ends.remote.family == 0) {
    message.kind = MessageKind::kSendPathValidation;
    message.a = command.path;
    message.bytes = command.value;
    return message;
  }
  const PathUse* way = use(uses, command.ends, now_ns);
  if (way == nullptr) return std::nullopt;
  auto probe = std::make_unique<ProbeInit>();
  probe->outer = way->outer;
  probe->outer.path_id = command.path;
  probe->value = command.value;
  message.kind = MessageKind::kSendProbe;
  message.probe = probe.get();
  probes_.emplace(probe.get(), std::move(probe));
  ++counters_.probes;
  return message;
}

bool SessionPaths::on_plan_done(session::PathPlan* plan) {
  const auto at = plans_.find(plan);
  if (at == plans_.end()) return true;
  const bool whole = plan->accepted_count == 0 || plan->accepted_count == plan->count;
  if (!whole) ++counters_.no_path_sets;
  plans_.erase(at);
  return whole;
}

void SessionPaths::on_probe_done(ProbeInit* probe) {
  probes_.erase(probe);
}

session::PathEnds SessionPaths::origin(const Message& message) const {
  session::PathEnds ends;
  const auto family = static_cast<std::uint8_t>(message.c & 0xff);
  const session::Endpoint* local = listeners_.at(static_cast<std::uint16_t>(message.c >> 8));
  if ((family != 4 && family != 6) || local == nullptr || local->family != family) return ends;
  ends.local = *local;
  ends.remote.family = family;
  ends.remote.port = message.b;
  ends.remote.address = message.origin.address;
  return ends;
}

}  // namespace dataplane
