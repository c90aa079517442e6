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
// Epochs end at 255: below it there is room for what is under way, and for a restart's step.
constexpr std::uint8_t kLastRekeyedEpoch = 180;
constexpr std::uint64_t kMaxRestarts = 8;
constexpr std::size_t kCaptured = 64;
constexpr std::size_t kMappings = 3;

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
    : random_(seed), first_(round * kSessions), options_(options_for(round)), net_(options_) {
  for (unsigned i = 0; i < kSessions; ++i) net_.add_pair(first_ + i);
  net_.wire = [this](Transit& t) { return on_wire(t); };
  troubled_ = false;
  net_.start();
  for (unsigned i = 0; i < 200; ++i) {
    traffic(1);
    net_.pass(kMs, kMs);
    collect(0);
    collect(1);
  }
  net_.pass(20 * kS, 100 * kMs);
  for (const unsigned at : {0U, 1U}) {
    keys_at_start_[at] = keys_in_use(end(at));
    neighbours_at_start_[at] = end(at).control->neighbours().size();
  }
  troubled_ = true;
}

void Chaos::wrong(const std::string& what) {
  if (trouble_.empty()) trouble_ = what;
}

// ---- the network

void Chaos::note(const Transit& t) {
  const std::uint8_t* p = t.payload;
  ++counts_.datagrams;
  const Pair pair{t.from_a,
                  session::load_be32(p + session::kOffSessionId),
                  p[session::kOffEpoch],
                  session::load_be16(p + session::kOffStream),
                  session::load_be32(p + session::kOffSequence),
                  p[session::kOffPath]};
  if (!pairs_.insert(pair).second) wrong("a (key, nonce) pair was used twice");
}

// A's IPv4 side is behind a translator; false: the address does not lead to A any more.
bool Chaos::translate(Transit& t) {
  if (t.from_a) {
    if (t.from.family == 4 && outside_) t.from = *outside_;
    return true;
  }
  if (t.to.family == 6) return t.to.address == net_.a.wan(6).address;
  if (!outside_ && t.to.address == net_.a.wan(4).address) return true;
  if (std::find(mappings_.begin(), mappings_.end(), t.to) == mappings_.end()) return false;
  t.to = net_.a.wan(4);
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
  const unsigned number = first_ + index;
  Ip header;
  header.source = fmt::format("10.{}.0.9", side);
  header.destination =
      "10." + std::to_string((3 - side) * 64 + number / 256) + "." + std::to_string(number % 256) + ".1";
  Bytes text = pattern(16 + below(200));
  put_number(text, arrived_.size());
  arrived_.push_back(false);
  towards_a_.push_back(at == 1);
  const Bytes frame = ether(end(at).gw->port_mac(kLan), mac(9),
                            ip_packet(header, udp(static_cast<std::uint16_t>(1000 + below(8)), 2000, text)));
  end(at).gw->receive(kLan, frame, static_cast<unsigned>(below(options_.workers)));
  ++counts_.sent;
}

void Chaos::traffic(unsigned per_end) {
  for (const unsigned at : {0U, 1U}) {
    for (unsigned i = 0; i < per_end; ++i) send(at, static_cast<unsigned>(below(kSessions)));
  }
}

// What came out of the tunnel must have gone in at the other end, and come once.
void Chaos::collect(unsigned at) {
  for (const Bytes& frame : end(at).gw->sent(kLan)) {
    if (frame.size() < kNumberAt + 4 || session::load_be16(&frame[12]) != 0x0800 || frame[23] != 17) continue;
    const std::uint32_t number = session::load_be32(&frame[kNumberAt]);
    if (number >= arrived_.size() || towards_a_[number] != (at == 0)) {
      wrong("a packet came out that nobody sent there");
      continue;
    }
    if (arrived_[number]) wrong(fmt::format("packet {} was delivered twice", number));
    arrived_[number] = true;
    ++counts_.delivered;
  }
}

// ---- trouble

void Chaos::rebind() {
  static constexpr unsigned kHosts = 5;
  const session::Endpoint to =
      endpoint(fmt::format("203.0.113.{}", 1 + below(kHosts)), static_cast<std::uint16_t>(1000 + below(4)));
  ++counts_.rebinds;
  if (chance(300)) mappings_.clear();  // the old one is cut at once
  outside_ = to;
  if (std::find(mappings_.begin(), mappings_.end(), to) == mappings_.end()) mappings_.push_back(to);
  if (mappings_.size() > kMappings) mappings_.erase(mappings_.begin());
}

// Somebody on the way re-sends what he saw, as it is, from where he likes.
void Chaos::spoof() {
  if (captured_.empty()) return;
  const Copy& copy = captured_[below(captured_.size())];
  ++counts_.spoofed;
  const auto port = static_cast<std::uint16_t>(600 + below(100));
  const session::Endpoint from = copy.to.family == 4
                                     ? endpoint(fmt::format("198.18.0.{}", 1 + below(200)), port)
                                     : endpoint("2001:db8:bad::1", port);
  net_.inject(copy.to_a, copy.payload, from, copy.to);
}

// Random bytes, or a packet with a few of its bits changed.
void Chaos::garbage() {
  if (captured_.empty()) return;
  Copy copy = captured_[below(captured_.size())];
  ++counts_.garbage;
  if (chance(300)) {
    copy.payload.resize(1 + below(300));
    for (std::uint8_t& byte : copy.payload) byte = static_cast<std::uint8_t>(random_());
  } else {
    for (std::uint64_t flips = 1 + below(4); flips > 0; --flips) {
      copy.payload[below(copy.payload.size())] ^= static_cast<std::uint8_t>(1U << below(8));
    }
    if (chance(200)) copy.payload.resize(1 + below(copy.payload.size()));
  }
  net_.inject(copy.to_a, copy.payload, copy.from, copy.to);
}

void Chaos::rekey() {
  const auto index = static_cast<unsigned>(below(kSessions));
  End& at = end(static_cast<unsigned>(below(2)));
  const auto steps = static_cast<unsigned>(1 + below(chance(200) ? 16 : 2));
  if (at.view(first_ + index).epoch + steps > kLastRekeyedEpoch) return;
  ++(at.control->request_rekey(name(index), steps).empty() ? counts_.rekeys : counts_.rekeys_refused);
}

void Chaos::migrate() {
  const auto index = static_cast<unsigned>(below(kSessions));
  if (chance(500)) {
    ++counts_.probes;
    (void)end(static_cast<unsigned>(below(2))).control->path_probe(name(index), 0);
    return;
  }
  const auto family = static_cast<std::uint8_t>(chance(500) ? 4 : 6);
  if (net_.a.control->path_migrate(name(index), 0, net_.a.wan(family), net_.b.wan(family)).empty())
    ++counts_.migrations;
}

void Chaos::fail_store() {
  const auto at = static_cast<unsigned>(below(2));
  if (store_heals_ns_[at] != 0) return;
  ++counts_.store_failures;
  end(at).store.fail(true);
  store_heals_ns_[at] = net_.now_ns + (1 + below(500)) * kMs;
}

// A crash costs an epoch, and own rekeys leave no room for it within the peer's catch-up: a gateway that
// jumped 16 epochs ahead of a peer that hears nothing, then crashed, is out of that peer's reach for good.
bool Chaos::peer_could_follow(unsigned at) {
  for (unsigned i = 0; i < kSessions; ++i) {
    const unsigned resumes_at = end(at).view(first_ + i).taken + 1U;
    if (resumes_at > end(1 - at).view(first_ + i).epoch + session::MAX_REKEY_CATCHUP) return false;
  }
  return true;
}

// A crash: what was under way on the wire is still there afterwards, everything in memory is gone.
void Chaos::restart() {
  if (counts_.restarts >= kMaxRestarts) return;
  const auto at = static_cast<unsigned>(below(2));
  if (store_heals_ns_[at] != 0) return;
  if (!peer_could_follow(at)) {
    ++counts_.restarts_left_out;
    return;
  }
  ++counts_.restarts;
  net_.settle();
  collect(at);
  check_books("before a restart");
  end(at).restart([this] { return net_.now_ns; });
}

void Chaos::act() {
  for (const unsigned at : {0U, 1U}) {
    if (store_heals_ns_[at] == 0 || store_heals_ns_[at] > net_.now_ns) continue;
    end(at).store.fail(false);
    store_heals_ns_[at] = 0;
  }
  if (chance(4)) rebind();
  if (chance(30)) spoof();
  if (chance(30)) garbage();
  if (chance(8)) rekey();
  if (chance(3)) migrate();
  if (chance(1)) fail_store();
  if (chance(1)) restart();
}

void Chaos::step() {
  act();
  traffic(static_cast<unsigned>(below(3)));
  net_.pass(kMs, kMs);
  deliver_due();
  net_.settle();
  collect(0);
  collect(1);
}

// ---- the end

std::string Chaos::states() const {
  std::string out;
  for (unsigned i = 0; i < kSessions; ++i) {
    for (const End* at : {&net_.a, &net_.b}) {
      const dataplane::SessionView v = at->view(first_ + i);
      out += fmt::format("\n  {} {}: epoch {}, taken {}, peer's {}, {}, {}heard, {}", v.name,
                         at == &net_.a ? 'A' : 'B', v.epoch, v.taken, v.peer_epoch,
                         dataplane::state_name(v.state), v.heard ? "" : "not ", v.peer);
    }
  }
  return out;
}

bool Chaos::in_one_epoch() const {
  for (unsigned i = 0; i < kSessions; ++i) {
    const dataplane::SessionView a = net_.a.view(first_ + i);
    const dataplane::SessionView b = net_.b.view(first_ + i);
    if (a.epoch != b.epoch || a.state != session::LifeState::kConnected ||
        b.state != session::LifeState::kConnected)
      return false;
  }
  return true;
}

// Each end sends to an address that the other has: after many moves at once the right one waits its turn
// among those that do not answer.
bool Chaos::found_each_other() const {
  for (unsigned i = 0; i < kSessions; ++i) {
    const std::string of_b = net_.a.view(first_ + i).peer;
    const std::string of_a = net_.b.view(first_ + i).peer;
    const auto is_wan = [](const End& end, const std::string& peer) {
      return peer == dataplane::to_text(end.wan(4)) || peer == dataplane::to_text(end.wan(6));
    };
    if (!is_wan(net_.b, of_b) || !is_wan(net_.a, of_a)) return false;
  }
  return true;
}

std::uint32_t Chaos::keys_in_use(const End& at) const {
  std::uint32_t used = 0;
  for (const dataplane::WorkerParts& w : at.gw->topology().workers)
    used += options_.keys - w.keys->free_count();
  return used;
}

void Chaos::check_books(const char* when) {
  for (const unsigned at : {0U, 1U}) {
    if (!end(at).balanced())
      wrong(fmt::format("the books don't balance {} at {}", when, at == 0 ? "A" : "B"));
  }
}

void Chaos::check_passage() {
  const std::size_t before = arrived_.size();
  for (unsigned i = 0; i < 200; ++i) {
    for (unsigned s = 0; s < kSessions; ++s) {
      send(0, s);
      send(1, s);
    }
    net_.pass(kMs, kMs);
    collect(0);
    collect(1);
  }
  const auto lost = std::count(arrived_.begin() + static_cast<std::ptrdiff_t>(before), arrived_.end(), false);
  if (lost != 0) wrong(fmt::format("{} packets were lost on a healed network{}", lost, states()));
}

// Tables return to what they held before anything happened.
void Chaos::check_tables() {
  net_.pass(300 * kS, kS);
  for (const unsigned at : {0U, 1U}) {
    const std::string who = at == 0 ? "A" : "B";
    if (const std::uint32_t now = keys_in_use(end(at)); now != keys_at_start_[at])
      wrong(fmt::format("{} holds {} keys, {} at start", who, now, keys_at_start_[at]));
    if (const std::size_t now = end(at).control->neighbours().size(); now > neighbours_at_start_[at])
      wrong(fmt::format("{} knows {} neighbours, {} at start", who, now, neighbours_at_start_[at]));
    if (end(at).control->sessions().size() != kSessions) wrong(fmt::format("{} lost a session", who));
  }
}

void Chaos::heal() {
  troubled_ = false;
  // Without the translator: a responder that crashed takes no older epoch and knows the configured address
  // and the last validated one, so an initiator that is behind must be found at one of them.
  outside_.reset();
  for (const unsigned at : {0U, 1U}) end(at).store.fail(false);
  for (unsigned i = 0; i < 600 && (i < 20 || !in_one_epoch() || !found_each_other()); ++i) {
    for (unsigned s = 0; s < kSessions; ++s) {
      send(0, s);
      send(1, s);
    }
    net_.pass(100 * kMs, 10 * kMs);
    deliver_due();
    net_.settle();
    collect(0);
    collect(1);
  }
  if (!in_one_epoch()) wrong("the ends did not meet in one epoch and state within a minute" + states());
  if (!found_each_other()) wrong("the ends did not find each other's address within a minute" + states());
  check_passage();
  check_tables();
  check_books("at the end");
}

}  // namespace support
