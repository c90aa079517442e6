#include "tests/support/chaos.h"

#include <algorithm>

#include <fmt/format.h>

#include "dataplane/address_text.h"
#include "dataplane/snapshot.h"

namespace support {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kS = 1000 * kMs;
// Of a LAN frame: behind 14 bytes of Ethernet, 20 of IPv4 and 8 of UDP lies the packet's number.
constexpr std::size_t kNumberAt = 14 + 20 + 8;
constexpr std::size_t kSourceAt = 14 + 12;
constexpr std::size_t kCaptured = 64;
// Of sessions that are not there from the start; a round has fewer than the step.
constexpr unsigned kFirstLater = 100'000;
constexpr unsigned kLaterStep = 10'000;

void put_number(Bytes& payload, std::uint64_t number) {
  session::store_be32(payload.data(), static_cast<std::uint32_t>(number));
}

GatewayOptions options_for(unsigned round) {
  GatewayOptions options;
  options.workers = 1 + round % 2;
  return options;
}

}  // namespace

Chaos::Chaos(std::uint64_t seed, unsigned round)
    : of_product_(seed),
      random_(seed),
      first_(round * kNumbers),
      next_number_(kFirstLater + round * kLaterStep),
      options_(options_for(round)),
      net_(options_),
      lines_(kSessions + kOthers) {
  for (unsigned i = 0; i < kSessions; ++i) {
    net_.add_pair(first_ + i);
    lines_[i].wanted = lines_[i].at[0] = lines_[i].at[1] = first_ + i;
  }
  net_.wire = [this](Transit& t) { return on_wire(t); };
  net_.start();
  let_pass(200, kMs, false);
  net_.pass(20 * kS, 100 * kMs);
  for (const unsigned at : {0U, 1U}) at_start_[at] = tables(at);
  troubled_ = true;
}

void Chaos::wrong(const std::string& what) {
  if (trouble_.empty()) trouble_ = what;
}

// ---- the network

void Chaos::note(const Transit& t) {
  ++counts_.datagrams;
  const auto add = [this](const std::uint8_t* p, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) digest_ = (digest_ ^ p[i]) * 0x100000001b3;
  };
  for (const session::Endpoint* e : {&t.from, &t.to}) {
    const std::uint8_t port[2] = {static_cast<std::uint8_t>(e->port >> 8),
                                  static_cast<std::uint8_t>(e->port)};
    add(e->address.data(), e->address.size());
    add(port, 2);
  }
  add(t.payload, t.bytes);
}

std::uint64_t Chaos::digest() const {
  std::uint64_t out = digest_;
  for (const std::uint64_t n : {counts_.sent, counts_.delivered, counts_.datagrams, counts_.lost,
                                counts_.delayed, counts_.repeated, counts_.unreachable, counts_.seals})
    out = (out ^ n) * 0x100000001b3;
  return out;
}

// The IPv4 side of either end is behind a translator; false: the address leads to nobody any more.
bool Chaos::translate(Transit& t) {
  const unsigned from = t.from_a ? 0 : 1;
  if (t.from.family == 4 && translators_[from].outside) t.from = *translators_[from].outside;
  const Translator& there = translators_[1 - from];
  const End& target = end(1 - from);
  if (t.to.family == 6) return t.to.address == target.wan(6).address;
  if (!there.outside && t.to.address == target.wan(4).address) return true;
  const session::Endpoint host = translated_host(1 - from, 0, t.to.port);
  if (there.all_lead && (t.to.address == target.wan(4).address ||
                         std::equal(host.address.begin(), host.address.begin() + 3, t.to.address.begin()))) {
    t.to = target.wan(4);
    return true;
  }
  if (std::find(there.mappings.begin(), there.mappings.end(), t.to) == there.mappings.end()) return false;
  t.to = target.wan(4);
  return true;
}

void Chaos::keep(const Transit& t, std::uint64_t delay_ns) {
  under_way_.push_back(
      {net_.now_ns + delay_ns, !t.from_a, Bytes(t.payload, t.payload + t.bytes), t.from, t.to});
}

bool Chaos::on_wire(Transit& t) {
  note(t);
  if (!translate(t)) {
    ++counts_.unreachable;
    return false;
  }
  t.queue = static_cast<unsigned>(below(options_.workers));
  if (!troubled_) return true;
  captured_.push_back({0, !t.from_a, Bytes(t.payload, t.payload + t.bytes), t.from, t.to});
  if (captured_.size() > kCaptured) captured_.pop_front();
  if (chance(50)) {
    ++counts_.lost;
    return false;
  }
  if (chance(20)) {
    ++counts_.repeated;
    keep(t, below(200) * kMs);
  }
  if (chance(100)) {
    ++counts_.delayed;
    keep(t, 1 + below(50) * kMs);
    return false;
  }
  return true;
}

void Chaos::deliver_due() {
  for (std::size_t i = 0; i < under_way_.size();) {
    if (under_way_[i].due_ns > net_.now_ns) {
      ++i;
      continue;
    }
    const Copy copy = std::move(under_way_[i]);
    under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(i));
    net_.inject(copy.to_a, copy.payload, copy.from, copy.to);
  }
}

// ---- packets

void Chaos::send(unsigned at, unsigned index) {
  const unsigned side = at + 1;
  const unsigned route = first_ + index;
  Ip header;
  header.source = fmt::format("10.{}.0.9", side);
  header.destination = fmt::format("10.{}.{}.1", (3 - side) * 64 + route / 256, route % 256);
  const auto number = static_cast<unsigned>(packets_.size());
  Bytes text = pattern(16 + below(below(10) == 0 ? 1200 : 200), number);
  put_number(text, number);
  const auto port = static_cast<std::uint16_t>(1000 + below(8));
  packets_.push_back({static_cast<std::uint16_t>(text.size()), port, at == 1, false});
  const Bytes frame = ether(end(at).gw->port_mac(kLan), mac(9), ip_packet(header, udp(port, 2000, text)));
  end(at).gw->receive(kLan, frame, static_cast<unsigned>(below(options_.workers)));
  ++counts_.sent;
}

void Chaos::traffic(unsigned per_end) {
  for (const unsigned at : {0U, 1U}) {
    for (unsigned i = 0; i < per_end; ++i) send(at, static_cast<unsigned>(below(lines_.size() + 1)));
  }
}

bool Chaos::same_packet(const Bytes& frame, unsigned at, std::uint32_t number) const {
  const Sent& sent = packets_[number];
  if (sent.to_a != (at == 0) || frame.size() != kNumberAt + sent.bytes) return false;
  if (session::load_be16(&frame[kNumberAt - 8]) != sent.port) return false;
  const std::uint8_t source[4] = {10, static_cast<std::uint8_t>(2 - at), 0, 9};
  if (!std::equal(source, source + 4, &frame[kSourceAt])) return false;
  Bytes text = pattern(sent.bytes, number);
  put_number(text, number);
  return std::equal(text.begin(), text.end(), frame.begin() + kNumberAt);
}

// What came out of the tunnel must be what went in at the other end, and come once.
void Chaos::collect(unsigned at) {
  for (const Bytes& frame : end(at).gw->sent(kLan)) {
    if (frame.size() < kNumberAt + 4 || session::load_be16(&frame[12]) != 0x0800 || frame[23] != 17) continue;
    const std::uint32_t number = session::load_be32(&frame[kNumberAt]);
    if (number >= packets_.size() || !same_packet(frame, at, number)) {
      wrong("a packet came out that nobody sent there");
      continue;
    }
    if (packets_[number].arrived) wrong(fmt::format("packet {} was delivered twice", number));
    packets_[number].arrived = true;
    ++counts_.delivered;
  }
}

void Chaos::step() {
  act();
  traffic(static_cast<unsigned>(below(3)));
  net_.pass(kMs, kMs);
  deliver_due();
  net_.settle();
  collect(0);
  collect(1);
  counts_.seals = nonces_.used();
  if (nonces_.duplicates() != 0) wrong("a (key, nonce) pair was used twice");
}

// Packets of every line at both ends, without trouble.
void Chaos::let_pass(unsigned steps, std::uint64_t step_ns, bool others) {
  for (unsigned i = 0; i < steps; ++i) {
    for (unsigned s = 0; s < (others ? lines_.size() : kSessions); ++s) {
      send(0, s);
      send(1, s);
    }
    net_.pass(step_ns, std::min<std::uint64_t>(step_ns, 10 * kMs));
    deliver_due();
    net_.settle();
    collect(0);
    collect(1);
  }
}

// ---- the end

std::string Chaos::states() const {
  std::string out;
  for (const unsigned at : {0U, 1U}) {
    for (const dataplane::SessionView& v : (at == 0 ? net_.a : net_.b).control->sessions()) {
      out += fmt::format("\n  {} {}: epoch {}, taken {}, peer's {}, {}, {}heard, {} {}", v.name,
                         at == 0 ? 'A' : 'B', v.epoch, v.taken, v.peer_epoch, dataplane::state_name(v.state),
                         v.heard ? "" : "not ", v.peer, v.replaced_by);
    }
  }
  return out;
}

// Every command was given at both ends, and what it began has ended.
bool Chaos::operators_done() const {
  std::size_t sessions = kSessions;
  for (unsigned i = 0; i < lines_.size(); ++i) {
    const Line& line = lines_[i];
    if (i < kSessions && (line.at[0] != line.wanted || line.at[1] != line.wanted)) return false;
    if (i >= kSessions && (line.present[0] != line.wants_presence || line.present[1] != line.wants_presence))
      return false;
    if (i >= kSessions && line.wants_presence) ++sessions;
  }
  return net_.a.control->sessions().size() == sessions && net_.b.control->sessions().size() == sessions;
}

bool Chaos::in_one_epoch() const {
  for (unsigned i = 0; i < kSessions; ++i) {
    const auto a = view(0, i);
    const auto b = view(1, i);
    if (!a || !b || a->epoch != b->epoch || a->state != session::LifeState::kConnected ||
        b->state != session::LifeState::kConnected)
      return false;
  }
  return true;
}

// Each end sends to an address that leads to the other: after many moves at once the right one waits its turn
// among those that do not answer.
bool Chaos::found_each_other() const {
  for (unsigned i = 0; i < kSessions; ++i) {
    for (const unsigned at : {0U, 1U}) {
      const auto v = view(at, i);
      const End& other = at == 0 ? net_.b : net_.a;
      const session::Endpoint four = translators_[1 - at].outside.value_or(other.wan(4));
      if (!v || (v->peer != dataplane::to_text(four) && v->peer != dataplane::to_text(other.wan(6))))
        return false;
    }
  }
  return true;
}

Chaos::AtStart Chaos::tables(unsigned at) {
  AtStart now;
  for (const dataplane::WorkerParts& w : end(at).gw->topology().workers) {
    now.keys += options_.keys - w.keys->free_count();
    now.path_sets += w.shard->free_path_sets();
  }
  now.neighbours = end(at).control->neighbours().size();
  now.routes = end(at).control->operator_door().routes().size();
  return now;
}

void Chaos::check_books(const char* when) {
  for (const unsigned at : {0U, 1U}) {
    if (!end(at).balanced())
      wrong(fmt::format("the books don't balance {} at {}", when, at == 0 ? "A" : "B"));
  }
}

void Chaos::check_passage() {
  const std::size_t before = packets_.size();
  let_pass(100, kMs, false);
  const auto lost = std::count_if(packets_.begin() + static_cast<std::ptrdiff_t>(before), packets_.end(),
                                  [](const Sent& sent) { return !sent.arrived; });
  if (lost != 0) wrong(fmt::format("{} packets were lost on a healed network{}", lost, states()));
}

// Tables return to what they held before anything happened.
void Chaos::check_tables() {
  net_.pass(300 * kS, kS);
  for (const unsigned at : {0U, 1U}) {
    const std::string who = at == 0 ? "A" : "B";
    const AtStart now = tables(at);
    const AtStart& then = at_start_[at];
    if (now.keys != then.keys) wrong(fmt::format("{} holds {} keys, {} at start", who, now.keys, then.keys));
    if (now.path_sets != then.path_sets)
      wrong(fmt::format("{} has {} free path sets, {} at start", who, now.path_sets, then.path_sets));
    if (now.neighbours > then.neighbours)
      wrong(fmt::format("{} knows {} neighbours, {} at start", who, now.neighbours, then.neighbours));
    if (now.routes != then.routes)
      wrong(fmt::format("{} has {} routes, {} at start", who, now.routes, then.routes));
    if (end(at).control->sessions().size() != kSessions) wrong(fmt::format("{} lost a session", who));
    for (unsigned i = 0; i < kSessions + kOthers + 1; ++i) {
      const dataplane::IpPrefix to = end(at).route_to(first_ + i, 0).prefix;
      const dataplane::HopKind kind = end(at).gw->topology().fib->lookup(to.address).kind();
      if (kind != (i < kSessions ? dataplane::HopKind::kSession : dataplane::HopKind::kNone))
        wrong(fmt::format("{}'s way to {} is not what it was", who, dataplane::to_text(to)));
    }
  }
}

void Chaos::settle_down() {
  troubled_ = false;
  ++counts_.quiet;
  // Two translators that cut their mappings leave no address that leads from one end to the other.
  // So one end is at home and nowhere else, and the other wherever it was.
  const auto at_home = below(2);
  translators_[at_home] = {};
  translators_[1 - at_home].all_lead = true;
  heal_stores(true);
  const auto done = [this] { return operators_done() && in_one_epoch() && found_each_other(); };
  for (unsigned i = 0; i < 600 && (i < 20 || !done()) && trouble_.empty(); ++i) {
    operate();
    let_pass(1, 100 * kMs, true);
  }
  if (!operators_done()) wrong("what operators began did not end within a minute" + states());
  if (!in_one_epoch()) wrong("the ends did not meet in one epoch and state within a minute" + states());
  if (!found_each_other()) wrong("the ends did not find each other's address within a minute" + states());
  check_passage();
  check_books("in a quiet phase");
  counts_.seals = nonces_.used();
  if (nonces_.duplicates() != 0) wrong("a (key, nonce) pair was used twice");
  troubled_ = true;
}

void Chaos::heal() {
  for (unsigned i = kSessions; i < lines_.size(); ++i) lines_[i].wants_presence = false;
  for (const unsigned at : {0U, 1U}) {
    if (route_there_[at]) toggle_route_at(at);
  }
  settle_down();
  troubled_ = false;
  check_tables();
  check_books("at the end");
  if (nonces_.duplicates() != 0) wrong("a (key, nonce) pair was used twice");
}

}  // namespace support
