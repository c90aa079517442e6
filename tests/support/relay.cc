#include "tests/support/relay.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/support/impairment.h"
#include "tests/support/relay_io.h"

namespace support {
namespace {

constexpr std::size_t kMostBuffers = 262'144;  // 512 MiB if they are ever all in use
constexpr unsigned kBatchesPerSocket = 4;      // then the others, and what is due, get their turn
constexpr std::size_t kMostPaths = 256;
constexpr std::array<const char*, 2> kSideNames{"a", "b"};
constexpr std::array<const char*, 2> kDirectionNames{"ab", "ba"};

using Words = std::vector<std::string_view>;
using Link = ImpairedLink<std::uint8_t*>;

struct Side {
  SocketAddress local;
  SocketAddress remote;
  bool learns = false;
  Descriptor socket;
  struct Retired {
    Descriptor socket;
    std::uint64_t until_ns;
  };
  std::vector<Retired> retired;
  std::uint64_t rebindings = 0, foreign_pkts = 0, truncated_pkts = 0, refused_pkts = 0;
};

struct Path {
  Path(std::uint64_t seed_ab, std::uint64_t seed_ba) : link{Link(seed_ab), Link(seed_ba)} {}
  std::array<Side, 2> side;
  std::array<Link, 2> link;  // link[i]: what came in at side i
};

struct Ear {  // whose socket it is
  Path* path;
  unsigned side;
  bool retired = false;
  SocketAddress remote{};  // of a retired one: whom it still hears; unknown: anyone
};

// FNV-1a: a path's fates depend on its name, not on the order the paths were made in.
std::uint64_t seed_of(std::uint64_t seed, std::string_view name, unsigned direction) {
  std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash * 2 + direction;
}

nlohmann::json counters_json(const Link& link) {
  const ImpairmentCounters& c = link.counters();
  return {{"in", c.in_pkts},
          {"in_bytes", c.in_bytes},
          {"out", c.out_pkts},
          {"out_bytes", c.out_bytes},
          {"lost", c.lost_pkts},
          {"cut", c.cut_pkts},
          {"queue_drops", c.queue_drops_pkts},
          {"duplicated", c.duplicated_pkts},
          {"reordered", c.reordered_pkts},
          {"delayed", c.delayed_pkts},
          {"corrupted", c.corrupted_pkts},
          {"held", link.held_pkts()},
          {"is_cut", link.is_cut()}};
}

nlohmann::json path_json(const Path& path) {
  nlohmann::json json;
  for (unsigned i = 0; i < 2; ++i) {
    const Side& side = path.side[i];
    json[kDirectionNames[i]] = counters_json(path.link[i]);
    json[kSideNames[i]] = {{"local", side.local.text()},       {"remote", side.remote.text()},
                           {"rebindings", side.rebindings},    {"foreign", side.foreign_pkts},
                           {"truncated", side.truncated_pkts}, {"refused", side.refused_pkts}};
  }
  return json;
}

std::string expected(const char* what) {
  return std::string("error: expected ") + what;
}

}  // namespace

struct Relay::Impl {
  explicit Impl(std::uint64_t random_seed)
      : seed(random_seed),
        epoll(epoll_create1(EPOLL_CLOEXEC)),
        timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
        pool(kMostBuffers),
        incoming(pool),
        outgoing(pool) {
    if (epoll.get() < 0 || timer.get() < 0) throw std::system_error(errno, std::generic_category(), "relay");
    watch(timer.get());
  }

  std::string run(const Words& words);
  std::string add_path(const Words& words);
  std::string set(const Words& words);
  std::string rebind(const Words& words);
  std::string cut(const Words& words);
  std::string restore(const Words& words);
  std::string stats(const Words& words);
  std::string remove(const Words& words);

  Path* find(std::string_view name);
  std::string open_side(Path& path, unsigned index, std::string_view local, std::string_view remote);
  void watch(int fd);
  void receive(int fd);
  void accept(const Ear& ear, unsigned index, std::uint64_t now_ns);
  std::uint8_t* copy_of(const std::uint8_t* data, std::uint32_t bytes);
  void flush(Path& path, unsigned from, std::uint64_t now_ns);
  void retire(Side& side, std::uint64_t now_ns);
  void drop_held(Link& link);
  void arm(std::uint64_t due_ns);

  std::uint64_t seed;
  Descriptor epoll;
  Descriptor timer;
  std::uint64_t armed_ns = kNever;
  BufferPool pool;
  ReceiveBatch incoming;
  SendBatch outgoing;
  std::map<std::string, std::unique_ptr<Path>, std::less<>> paths;
  std::map<int, Ear> ears;
};

// ---- packets

void Relay::Impl::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

std::uint8_t* Relay::Impl::copy_of(const std::uint8_t* data, std::uint32_t bytes) {
  std::uint8_t* copy = pool.take();
  if (copy != nullptr) std::memcpy(copy, data, bytes);
  return copy;
}

void Relay::Impl::accept(const Ear& ear, unsigned index, std::uint64_t now_ns) {
  const ReceiveBatch::Packet packet = incoming.at(index);
  Side& side = ear.path->side[ear.side];
  const SocketAddress& remote = ear.retired ? ear.remote : side.remote;
  const bool anyone = ear.retired ? !remote.known() : side.learns;
  if (!anyone && !(remote == packet.from)) {
    ++side.foreign_pkts;
    return;
  }
  if (side.learns && !ear.retired) side.remote = packet.from;
  if (packet.truncated) {
    ++side.truncated_pkts;
    return;
  }
  const auto duplicate = [&] { return copy_of(packet.data, packet.bytes); };
  const auto damage = [&](std::uint64_t random) { testpmd::flip_bit(packet.data, packet.bytes, random); };
  if (ear.path->link[ear.side].offer(packet.data, packet.bytes, now_ns, duplicate, damage)) {
    incoming.keep(index);
  }
}

void Relay::Impl::receive(int fd) {
  const auto found = ears.find(fd);
  if (found == ears.end()) return;
  for (unsigned batch = 0; batch < kBatchesPerSocket; ++batch) {
    const unsigned count = incoming.receive(fd);
    const std::uint64_t now_ns = monotonic_ns();
    for (unsigned i = 0; i < count; ++i) accept(found->second, i, now_ns);
    if (count < kRelayBatch) return;
  }
}

void Relay::Impl::flush(Path& path, unsigned from, std::uint64_t now_ns) {
  Side& out = path.side[1 - from];
  const auto add = [&](std::uint8_t* data, std::uint32_t bytes) {
    if (data != nullptr) outgoing.add(data, bytes);  // nullptr: a copy that no buffer was left for
  };
  while (path.link[from].release(now_ns, kRelayBatch, add) > 0) {
    out.refused_pkts += outgoing.send(out.socket.get(), out.remote);
  }
}

void Relay::Impl::retire(Side& side, std::uint64_t now_ns) {
  std::erase_if(side.retired, [&](const Side::Retired& old) {
    if (old.until_ns > now_ns) return false;
    ears.erase(old.socket.get());
    return true;
  });
}

void Relay::Impl::arm(std::uint64_t due_ns) {
  if (due_ns == armed_ns) return;
  armed_ns = due_ns;
  itimerspec when{};
  if (due_ns != kNever) {
    when.it_value.tv_sec = static_cast<time_t>(due_ns / 1'000'000'000);
    when.it_value.tv_nsec = static_cast<long>(due_ns % 1'000'000'000);
  }
  timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Relay::run_once() {
  std::array<epoll_event, 64> events{};
  const int ready = epoll_wait(impl_->epoll.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < ready; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd != impl_->timer.get()) {
      impl_->receive(fd);
      continue;
    }
    std::uint64_t times = 0;
    static_cast<void>(!read(fd, &times, sizeof(times)));
    impl_->armed_ns = kNever;
  }
  const std::uint64_t now_ns = monotonic_ns();
  std::uint64_t due_ns = kNever;
  for (auto& [name, path] : impl_->paths) {
    for (unsigned i = 0; i < 2; ++i) {
      impl_->flush(*path, i, now_ns);
      impl_->retire(path->side[i], now_ns);
      due_ns = std::min(due_ns, path->link[i].next_due_ns());
      for (const Side::Retired& old : path->side[i].retired) due_ns = std::min(due_ns, old.until_ns);
    }
  }
  impl_->arm(due_ns);
}

// ---- commands

Path* Relay::Impl::find(std::string_view name) {
  const auto found = paths.find(name);
  return found == paths.end() ? nullptr : found->second.get();
}

// Replaces the socket of a side; the old one stays in `side.retired` for the caller to end.
std::string Relay::Impl::open_side(Path& path, unsigned index, std::string_view local,
                                   std::string_view remote) {
  std::optional<SocketAddress> here = SocketAddress::parse(local);
  const bool learns = remote == "any";
  std::optional<SocketAddress> there = learns ? SocketAddress{} : SocketAddress::parse(remote);
  if (!here || !there) return expected("ADDRESS:PORT, with an IPv6 address in brackets, or any for a remote");
  if (!learns && here->family() != there->family()) return "error: both ends of a side must be of one family";
  Descriptor socket;
  if (std::string wrong = open_udp(*here, socket); !wrong.empty()) return "error: " + wrong;
  Side& side = path.side[index];
  if (side.socket.get() >= 0) side.retired.push_back({std::move(side.socket), 0});
  side.socket = std::move(socket);
  side.local = *here;
  // A remote that was learned stays until the next packet, unless the new socket could not reach it.
  if (!learns || side.remote.family() != here->family()) side.remote = *there;
  side.learns = learns;
  ears[side.socket.get()] = Ear{&path, index, false, {}};
  watch(side.socket.get());
  return "";
}

std::string Relay::Impl::add_path(const Words& words) {
  if (words.size() != 6) return expected("path NAME A-LOCAL A-REMOTE|any B-LOCAL B-REMOTE|any");
  if (find(words[1]) != nullptr) return "error: there is a path of this name";
  if (paths.size() >= kMostPaths) return "error: no more paths";
  auto path = std::make_unique<Path>(seed_of(seed, words[1], 0), seed_of(seed, words[1], 1));
  for (unsigned i = 0; i < 2; ++i) {
    const std::string wrong = open_side(*path, i, words[2 + 2 * i], words[3 + 2 * i]);
    if (wrong.empty()) continue;
    if (i == 1) ears.erase(path->side[0].socket.get());
    return wrong;
  }
  const std::string answer = "ok " + path->side[0].local.text() + " " + path->side[1].local.text();
  paths.emplace(words[1], std::move(path));
  return answer;
}

namespace {

// Applies `change` to the links that "ab", "ba" or "both" names.
template <class Change>
std::string for_directions(Path& path, std::string_view which, Change change) {
  if (which != "ab" && which != "ba" && which != "both") return expected("ab, ba or both");
  if (which != "ba") change(path.link[0]);
  if (which != "ab") change(path.link[1]);
  return "ok";
}

}  // namespace

std::string Relay::Impl::set(const Words& words) {
  Path* path = words.size() >= 4 ? find(words[1]) : nullptr;
  if (path == nullptr) return expected("set NAME ab|ba|both KEY=VALUE..., NAME of a path");
  ImpairmentSettings checked;
  for (std::size_t i = 3; i < words.size(); ++i) {
    if (std::string wrong = apply_setting(checked, words[i]); !wrong.empty()) return "error: " + wrong;
  }
  return for_directions(*path, words[2], [&](Link& link) {
    ImpairmentSettings settings = link.settings();
    for (std::size_t i = 3; i < words.size(); ++i) apply_setting(settings, words[i]);
    link.set(settings, monotonic_ns());
  });
}

std::string Relay::Impl::rebind(const Words& words) {
  Path* path = words.size() >= 4 && words.size() <= 6 ? find(words[1]) : nullptr;
  if (path == nullptr || (words[2] != "a" && words[2] != "b")) {
    return expected("rebind NAME a|b LOCAL [REMOTE|any] [keep=DURATION], NAME of a path");
  }
  constexpr std::string_view kKeep = "keep=";
  const unsigned index = words[2] == "b";
  Side& side = path->side[index];
  std::string remote = side.learns ? "any" : side.remote.text();
  std::uint64_t keep_ns = 0;
  for (std::size_t i = 4; i < words.size(); ++i) {
    if (!words[i].starts_with(kKeep)) {
      remote = words[i];
      continue;
    }
    const std::optional<std::uint64_t> duration = parse_duration_ns(words[i].substr(kKeep.size()));
    if (!duration) return expected("keep=DURATION such as keep=500ms");
    keep_ns = *duration;
  }
  const int old = side.socket.get();
  const SocketAddress heard = side.remote;
  if (std::string wrong = open_side(*path, index, words[3], remote); !wrong.empty()) return wrong;
  ears[old] = Ear{path, index, true, heard};
  const std::uint64_t now_ns = monotonic_ns();
  side.retired.back().until_ns = now_ns + keep_ns;
  retire(side, now_ns);
  ++side.rebindings;
  return "ok " + side.local.text();
}

void Relay::Impl::drop_held(Link& link) {
  link.lose_held([&](std::uint8_t* data) {
    if (data != nullptr) pool.give(data);
  });
}

std::string Relay::Impl::cut(const Words& words) {
  Path* path = words.size() >= 3 ? find(words[1]) : nullptr;
  const bool hard = words.size() == 4 && words[3] == "hard";
  if (path == nullptr || words.size() > (hard ? 4U : 3U)) {
    return expected("cut NAME ab|ba|both [hard], NAME of a path");
  }
  return for_directions(*path, words[2], [&](Link& link) {
    link.cut();
    if (hard) drop_held(link);
  });
}

std::string Relay::Impl::restore(const Words& words) {
  Path* path = words.size() == 3 ? find(words[1]) : nullptr;
  if (path == nullptr) return expected("restore NAME ab|ba|both, NAME of a path");
  return for_directions(*path, words[2], [](Link& link) { link.restore(); });
}

std::string Relay::Impl::stats(const Words& words) {
  if (words.size() == 2) {
    const Path* path = find(words[1]);
    return path == nullptr ? "error: no such path" : path_json(*path).dump();
  }
  if (words.size() != 1) return expected("stats [NAME]");
  nlohmann::json all = nlohmann::json::object();
  for (const auto& [name, path] : paths) all[name] = path_json(*path);
  return all.dump();
}

std::string Relay::Impl::remove(const Words& words) {
  const auto found = words.size() == 2 ? paths.find(words[1]) : paths.end();
  if (found == paths.end()) return expected("remove NAME, NAME of a path");
  for (unsigned i = 0; i < 2; ++i) {
    drop_held(found->second->link[i]);
    retire(found->second->side[i], kNever);
    ears.erase(found->second->side[i].socket.get());
  }
  paths.erase(found);
  return "ok";
}

std::string Relay::Impl::run(const Words& words) {
  if (words.empty()) return "error: empty line";
  if (words[0] == "path") return add_path(words);
  if (words[0] == "set") return set(words);
  if (words[0] == "rebind") return rebind(words);
  if (words[0] == "cut") return cut(words);
  if (words[0] == "restore") return restore(words);
  if (words[0] == "stats") return stats(words);
  if (words[0] == "remove") return remove(words);
  return expected("path, set, rebind, cut, restore, stats or remove");
}

Relay::Relay(std::uint64_t seed) : impl_(std::make_unique<Impl>(seed)) {}
Relay::~Relay() = default;
int Relay::fd() const {
  return impl_->epoll.get();
}
std::string Relay::command(std::string_view line) {
  return impl_->run(split_words(line));
}

}  // namespace support
