#include "tests/model/path_world.h"

#include <algorithm>
#include <utility>

#include "tests/support/path_bench.h"

namespace model {
namespace {

using session::Endpoint;
using session::PathEnds;
using session::Received;
using support::v4;

constexpr std::uint64_t kShortNs = 120 * PathWorld::kMs;   // outlasts a probe's patience and the gap of moves
constexpr std::uint64_t kLongNs = 3'200 * PathWorld::kMs;  // outlasts an attempt
constexpr std::uint64_t kLatencyNs = 10 * PathWorld::kMs;
constexpr std::uint64_t kDataGapNs = 50 * PathWorld::kMs;
constexpr std::uint64_t kAlways = UINT64_MAX;
constexpr std::size_t kUnderWay = 4;  // packets a direction; what exceeds them is lost
constexpr unsigned kMaxRebindings = 2;
constexpr std::uint16_t kStream = 1;
constexpr std::uint16_t kStreams = 4;  // that are looked at
constexpr std::uint32_t kIpBytes = 28;
const Endpoint kAttacker = v4(99, 9900);

// Ports are told apart all over: they name the addresses.
Endpoint inside_address(unsigned at, unsigned which) {
  return v4(static_cast<std::uint8_t>(10 * (at + 1) + which),
            static_cast<std::uint16_t>(1000 * (at + 1) + which));
}
Endpoint outside_address(unsigned at, unsigned rebindings) {
  return v4(static_cast<std::uint8_t>(10 * (at + 1)),
            static_cast<std::uint16_t>(1000 * (at + 1) + 100 + rebindings));
}

// splitmix64: any change of either changes all bits.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = (a ^ (b + 0x9e3779b97f4a7c15ULL + (a << 6) + (a >> 2))) + 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::pair<std::uint16_t, std::uint16_t> ports(const PathEnds& ends) {
  return {ends.local.port, ends.remote.port};
}

bool live(const std::map<std::uint16_t, std::uint64_t>& open, std::uint16_t port, std::uint64_t now_ns) {
  const auto at = open.find(port);
  return at != open.end() && now_ns < at->second;
}

}  // namespace

std::string PathWorld::name(unsigned action) {
  static constexpr const char* kNames[] = {
      "sends",
      "receives the oldest",
      "receives the newest",
      "loses the oldest",
      "receives the oldest, a copy stays",
      "rebinds, the old address dies",
      "rebinds, the old address lives on for a while",
      "gets its former address back, the present one dies",
      "moves to its other address for an operator",
      "gets the newest from the attacker, the original is still on its way",
      "gets its last packet again, from the attacker",
      "gets the newest under its peer's former address, the original follows",
      "rekeys",
      "restarts"};
  static_assert(std::size(kNames) == kKinds);
  if (action == 2 * kKinds) return "a little time passes";
  if (action == 2 * kKinds + 1) return "much time passes";
  return std::string(action % 2 == 0 ? "A " : "B ") + kNames[action / 2];
}

PathWorld::PathWorld(const crypto::Aead& engine, const PathStart& start, PathTally& tally)
    : engine_(engine), secret_(support::test_secret(3)), start_(start), tally_(tally) {
  for (unsigned at = 0; at < 2; ++at) {
    End& end = ends_[at];
    support::BenchOptions& o = end.options;
    o.role = at == 0 ? session::Role::kInitiator : session::Role::kResponder;
    o.id.fill(0x5b);
    o.windows = 4;
    o.keys = 24;
    o.policy.sequence_block = 64;
    o.path_policy.scheduler = start.scheduler;
    o.path_policy.fallback_ns = 120'000 * kMs;
    for (unsigned i = 0; i < 2; ++i) {
      end.inside[i] = inside_address(at, i);
      end.held.insert(end.inside[i].port);
      if (i >= start.slots) continue;
      o.paths.push_back({end.inside[i], inside_address(1 - at, i)});
      end.proven.insert(inside_address(1 - at, i).port);
    }
    end.outside = end.inside[0];
    end.open[end.outside.port] = kAlways;
  }
  boot(0);
  boot(1);
  warm_up(start.moved);
  well_ = false;
}

void PathWorld::warm_up(bool moved) {
  run_well(now_ns_ + 150 * kMs);
  if (!moved) return;
  rebind(0, false);
  run_well(now_ns_ + 250 * kMs);
  require(ends_[1].session->route(kStream).ends.remote == ends_[0].outside,
          "B did not follow before the start");
}

// A state of an end is a function of what it was told: nothing else enters its key.
void PathWorld::tell(End& end, std::uint64_t what) {
  end.history = mix(mix(end.history, what), now_ns_);
}

bool PathWorld::enabled(unsigned action) const {
  const unsigned kind = action / 2;
  if (kind == kKinds) return true;
  if ((start_.kinds >> kind & 1) == 0) return false;
  const End& end = ends_[action % 2];
  const End& peer = ends_[1 - action % 2];
  switch (1U << kind) {
    case kSend:
      return peer.inbox.size() < kUnderWay;
    case kReceive:
    case kLose:
    case kAttackBefore:
      return !end.inbox.empty();
    case kReorder:
      return end.inbox.size() > 1;
    case kRepeat:
      return !end.inbox.empty() && !end.inbox.front().repeated;
    case kRebind:
    case kRebindSoftly:
      return end.rebindings < kMaxRebindings;
    case kComeBack:
      return end.former.family != 0;
    case kAttackAfter:
      return !end.last.bytes.empty();
    case kSpoof:
      return !end.inbox.empty() && peer.former.family != 0;
    case kRestart:
      return end.restarts == 0;
    default:
      return true;
  }
}

void PathWorld::run(unsigned action) {
  const unsigned kind = action / 2;
  const unsigned at = action % 2;
  if (kind == kKinds) return pass(at == 0 ? kShortNs : kLongNs);
  End& end = ends_[at];
  switch (1U << kind) {
    case kSend:
      return send(at);
    case kReceive:
      return take(at, 0);
    case kReorder:
      return take(at, end.inbox.size() - 1);
    case kLose:
      return end.inbox.pop_front();
    case kRepeat:
      end.inbox.front().repeated = true;
      return arrive(at, Parcel(end.inbox.front()), end.inbox.front().source);
    case kRebind:
    case kRebindSoftly:
      return rebind(at, 1U << kind == kRebindSoftly);
    case kComeBack:
      return come_back(at);
    case kOperator:
      return migrate(at);
    case kAttackBefore:
      return attack(at, Parcel(end.inbox.back()), kAttacker);
    case kAttackAfter:
      return attack(at, Parcel(end.last), kAttacker);
    case kSpoof:
      return attack(at, Parcel(end.inbox.back()), ends_[1 - at].former);
    case kRekey:
      tell(end, kRekey);
      (void)end.session->rekey(now_ns_);
      return collect(at);
    default:
      ++end.restarts;
      end.session.reset();
      return boot(at);
  }
}

std::string PathWorld::key() const {
  std::string out = std::to_string(now_ns_ / kMs);
  const auto put = [&](std::uint64_t value) { out += ',' + std::to_string(value); };
  for (const End& end : ends_) {
    out += ';';
    put(end.history);
    put(end.outside.port);
    put(end.former.port);
    put(end.last.id);
    put(end.rebindings);
    put(end.restarts);
    for (const auto& [port, until_ns] : end.open) {
      if (now_ns_ >= until_ns) continue;
      put(port);
      put(until_ns);
    }
    out += '/';
    for (const Parcel& parcel : end.inbox) {
      put(parcel.id);
      put(parcel.repeated);
    }
  }
  return out;
}

// ---- what happens

void PathWorld::boot(unsigned at) {
  End& end = ends_[at];
  tell(end, kRestart);
  end.fresh.clear();
  end.slots = end.options.paths;
  end.left.assign(end.slots.size(), PathEnds{});
  for (const PathEnds& ends : end.slots) end.fresh.insert(ports(ends));
  random_.emplace(7 + 10 * at + end.restarts);
  end.session = support::make_session(end.options, secret_, engine_, end.store, now_ns_);
  collect(at);
}

// The session isn't told: only its peer sees it.
void PathWorld::rebind(unsigned at, bool old_lives) {
  End& end = ends_[at];
  end.open[end.outside.port] = old_lives ? now_ns_ + kOldLivesNs : now_ns_;
  end.former = end.outside;
  end.outside = outside_address(at, ++end.rebindings);
  end.open[end.outside.port] = kAlways;
  end.held.insert(end.outside.port);
}

void PathWorld::come_back(unsigned at) {
  End& end = ends_[at];
  end.open[end.outside.port] = now_ns_;
  std::swap(end.outside, end.former);
  end.open[end.outside.port] = kAlways;
}

void PathWorld::migrate(unsigned at) {
  End& end = ends_[at];
  PathEnds ends = end.session->route(kStream).ends;
  ends.local = ends.local == end.inside[0] ? end.inside[1] : end.inside[0];
  tell(end, kOperator);
  if (end.session->migrate(0, ends, now_ns_)) end.named.insert(ends.remote.port);
  collect(at);
  check_routes(at);
}

void PathWorld::send(unsigned at) {
  End& end = ends_[at];
  const Bytes text(8, 0x42);
  const auto way = end.session->route(kStream);
  tell(end, kSend);
  session::Sent sent = end.session->send(kStream, session::kFlagUnreliable, text, way.path_id, now_ns_);
  require(sent.drop == session::DropReason::kNone, "a packet could not be sent");
  emit(at, std::move(sent.datagram), way.ends, true);
  collect(at);
}

void PathWorld::take(unsigned at, std::size_t index) {
  std::deque<Parcel>& inbox = ends_[at].inbox;
  const Parcel parcel = inbox[index];
  inbox.erase(inbox.begin() + static_cast<std::ptrdiff_t>(index));
  arrive(at, parcel, parcel.source);
}

void PathWorld::attack(unsigned at, const Parcel& parcel, const Endpoint& source) {
  const Parcel last = ends_[at].last;
  arrive(at, parcel, source);
  ends_[at].last = last;  // what he sent himself he has anyway
}

void PathWorld::pass(std::uint64_t ns) {
  const std::uint64_t until_ns = now_ns_ + ns;
  for (unsigned steps = 0; now_ns_ < until_ns; ++steps) {
    require(steps < 20'000, "a timer is due again and again");
    now_ns_ = std::min(until_ns, std::max(next_event_ns(), now_ns_ + 1));
    deliver_due();
    for (unsigned at = 0; at < 2; ++at) {
      End& end = ends_[at];
      if (end.session->next_deadline_ns() > now_ns_) continue;
      tell(end, kActions);
      end.session->on_timer(now_ns_);
      collect(at);
      check_routes(at);
    }
  }
}

// ---- network

std::uint64_t PathWorld::next_event_ns() const {
  std::uint64_t next_ns = kAlways;
  for (const End& end : ends_) {
    next_ns = std::min(next_ns, end.session->next_deadline_ns());
    if (well_ && !end.inbox.empty()) next_ns = std::min(next_ns, end.inbox.front().due_ns);
  }
  return next_ns;
}

void PathWorld::deliver_due() {
  if (!well_) return;
  for (unsigned at = 0; at < 2; ++at) {
    std::deque<Parcel>& inbox = ends_[at].inbox;
    while (!inbox.empty() && inbox.front().due_ns <= now_ns_) take(at, 0);
  }
}

void PathWorld::emit(unsigned at, Bytes bytes, const PathEnds& to, bool data) {
  End& end = ends_[at];
  End& peer = ends_[1 - at];
  const session::RxFields fields = session::load_fields(bytes.data());
  require(nonces_.insert({at, fields.epoch, fields.stream, fields.sequence, fields.path}).second,
          "a nonce was used twice");
  Parcel parcel;
  parcel.bytes = std::move(bytes);
  parcel.id = mix(end.history, ++end.serial);
  parcel.to = to;
  parcel.source = to.local == end.inside[0] ? end.outside : to.local;
  parcel.due_ns = now_ns_ + kLatencyNs;
  parcel.data = data;
  check_sent(end, peer, parcel);
  if (to.remote == kAttacker || (!well_ && peer.inbox.size() >= kUnderWay)) return;
  peer.inbox.push_back(std::move(parcel));
}

void PathWorld::collect(unsigned at) {
  Bytes bytes;
  PathEnds to;
  for (unsigned i = 0; ends_[at].session->next_datagram(bytes, to); ++i) {
    require(i < 16, "one event has a session send too much");
    emit(at, bytes, to, false);
  }
}

// Null: nobody is there any more.
const Endpoint* PathWorld::inside_of(unsigned at, const Endpoint& outside) const {
  const End& end = ends_[at];
  if (outside == end.inside[1]) return &end.inside[1];
  return live(end.open, outside.port, now_ns_) ? &end.inside[0] : nullptr;
}

void PathWorld::arrive(unsigned at, const Parcel& parcel, const Endpoint& source) {
  const Endpoint* local = inside_of(at, parcel.to.remote);
  if (local == nullptr) return;
  End& end = ends_[at];
  tell(end, mix(mix(parcel.id, source.port), local->port));
  end.accounts[source.port].in += kIpBytes + parcel.bytes.size();
  const Received got = end.session->receive(parcel.bytes, now_ns_, {*local, source});
  note_echo(end, got, {*local, source});
  if (got.kind == Received::Kind::kData) {
    require(parcel.data, "something else was taken for data");
    require(end.delivered.insert(parcel.id).second, "a packet was delivered twice");
  }
  end.last = parcel;
  collect(at);
  check_routes(at);
}

// ---- what must hold

void PathWorld::check_sent(End& end, const End& peer, const Parcel& parcel) {
  const std::uint16_t port = parcel.to.remote.port;
  require(parcel.to.local == end.inside[0] || parcel.to.local == end.inside[1],
          "sent from a foreign address");
  require(!parcel.data || peer.held.count(port) != 0, "data goes where the peer never was");
  if (end.proven.count(port) != 0 || end.named.count(port) != 0) return;
  Account& account = end.accounts[port];
  require(account.in != 0, "sent to an address that nobody named");
  account.out += kIpBytes + parcel.bytes.size();
  require(account.out <= 3 * account.in, "an unproven address gets more than three times what came from it");
}

// Echoes of probes validate nothing and are told by their ids.
void PathWorld::note_echo(End& end, const Received& got, const PathEnds& from) {
  const bool validated = got.kind == Received::Kind::kPathValidated;
  const bool probe =
      got.kind == Received::Kind::kPathIgnored && got.path + start_.slots > session::PathManager::kTopProbeId;
  if (validated) end.proven.insert(from.remote.port);
  if (validated || probe) end.fresh.insert(ports(from));
}

void PathWorld::check_moves(unsigned at) {
  End& end = ends_[at];
  const session::PathSchedule& schedule = end.session->control().path_manager().schedule();
  for (unsigned i = 0; i < schedule.count; ++i) {
    const PathEnds& now = schedule.slot[i].ends;
    if (now == end.slots[i]) continue;
    require(end.fresh.count(ports(now)) != 0, "a slot moved to an address that did not answer");
    end.fresh.erase(ports(end.slots[i]));
    end.left[i] = std::exchange(end.slots[i], now);
  }
}

void PathWorld::check_routes(unsigned at) {
  check_moves(at);
  const End& end = ends_[at];
  const session::PathManager& manager = end.session->control().path_manager();
  const session::PathSchedule& schedule = manager.schedule();
  for (unsigned i = 0; i < schedule.count; ++i) {
    const PathEnds& ends = schedule.slot[i].ends;
    require(ends.remote != kAttacker, "a slot moved to the attacker");
    require(ends_[1 - at].held.count(ends.remote.port) != 0, "a slot moved to where the peer never was");
    require(end.proven.count(ends.remote.port) != 0, "a slot moved to an address that never answered");
    require(ends.local == end.inside[0] || ends.local == end.inside[1], "a slot has a foreign address");
  }
  for (std::uint16_t stream = 0; stream <= kStreams; ++stream) {
    const PathEnds& ends = end.session->route(stream).ends;
    require(end.proven.count(ends.remote.port) != 0, "a stream goes to an address that never answered");
  }
  std::vector<PathEnds> pairs;
  manager.pairs(pairs);
  require(pairs.size() <= 2 * schedule.count + session::PathManager::kMaxCandidates,
          "too many address pairs");
}

// Does what this end sends now get to its peer, for as long as nothing changes? And does it take what comes
// over any slot? After a restart a further slot has to be validated anew.
bool PathWorld::reaches(unsigned at) const {
  const session::Session& session = *ends_[at].session;
  for (std::uint16_t stream = 1; stream <= kStreams; ++stream) {
    if (inside_of(1 - at, session.route(stream).ends.remote) == nullptr) return false;
  }
  const auto views = session.control().path_views();
  return std::all_of(views.begin(), views.end(), [](const session::PathSlotView& slot) {
    return slot.state == session::PathState::kValidated;
  });
}

// What a slot left is its fallback for longer than any schedule lasts: see fallback_ns. The session's own
// word on that would hide that it forgot.
bool PathWorld::knows_live(unsigned at) const {
  const End& end = ends_[at];
  const session::PathManager& manager = end.session->control().path_manager();
  for (std::uint8_t i = 0; i < end.slots.size(); ++i) {
    if (!manager.validated(i)) continue;
    if (inside_of(1 - at, end.slots[i].remote) != nullptr) return true;
    if (end.left[i].remote.family != 0 && inside_of(1 - at, end.left[i].remote) != nullptr) return true;
  }
  return false;
}

bool PathWorld::attempts_ended() const {
  return std::all_of(ends_.begin(), ends_.end(), [](const End& end) {
    const auto views = end.session->control().path_views();
    return end.session->state() == session::SessionState::Connected &&
           std::none_of(views.begin(), views.end(), [](const session::PathSlotView& slot) {
             return slot.candidate.has_value() || slot.state == session::PathState::kValidating;
           });
  });
}

// Both ends send now and then.
void PathWorld::run_well(std::uint64_t until_ns) {
  while (now_ns_ < until_ns) {
    send(0);
    send(1);
    pass(std::min(kDataGapNs, until_ns - now_ns_));
  }
}

void PathWorld::data_passes() {
  const std::array<std::size_t, 2> before{ends_[0].delivered.size(), ends_[1].delivered.size()};
  send(0);
  send(1);
  pass(2 * kLatencyNs);
  for (unsigned at = 0; at < 2; ++at) {
    require(ends_[at].delivered.size() == before[at] + 1, "data does not pass after the network healed");
  }
}

void PathWorld::settle() {
  well_ = true;
  for (End& end : ends_) {
    for (auto& [port, until_ns] : end.open) {
      if (port != end.outside.port) until_ns = std::min(until_ns, now_ns_);
    }
    for (Parcel& parcel : end.inbox) parcel.due_ns = now_ns_ + kLatencyNs;
  }
  const bool apart = !knows_live(0) && !knows_live(1);
  const std::uint64_t began_ns = now_ns_;
  std::uint64_t lost_ns = began_ns;   // when an end last sent into the void
  std::uint64_t tried_ns = began_ns;  // when an attempt last ran
  for (unsigned rest = 0; rest < 6; ++rest) {
    run_well(now_ns_ + kDataGapNs);
    const bool found = apart || (reaches(0) && reaches(1));
    if (!found) lost_ns = now_ns_;
    if (!attempts_ended()) tried_ns = now_ns_;
    if (!found || !attempts_ended()) rest = 0;
    require(lost_ns - began_ns <= kFoundNs, "the ends did not find each other");
    require(tried_ns - began_ns <= kEndedNs, "an attempt did not end");
  }
  if (!apart) data_passes();
  ++tally_.settled;
  tally_.apart += apart ? 1 : 0;
  tally_.found_ns = std::max(tally_.found_ns, lost_ns - began_ns);
  tally_.ended_ns = std::max(tally_.ended_ns, std::max(lost_ns, tried_ns) - began_ns);
}

}  // namespace model
