// Streams and pipes: what moves between them, and the life of a connection on the worker's side.
#include <array>

#include <rte_hash.h>

#include "dataplane/core.h"
#include "dataplane/service_socket.h"
#include "dataplane/stream_connection.h"

namespace dataplane {
namespace {

using session::kNone;
using session::StreamError;
using session::StreamNews;

constexpr unsigned kMessagesPerLoop = 256;
constexpr std::uint32_t kLengthPrefix = 2;
// Datagrams of one connection that are sent before others have their turn.
constexpr unsigned kDatagramTurn = 32;

std::uint64_t key_of(std::uint32_t slot, std::uint16_t stream) {
  return std::uint64_t{slot} << 16 | stream;
}

// Other threads read it meanwhile.
void count(std::uint64_t& counter) {
  __atomic_store_n(&counter, counter + 1, __ATOMIC_RELAXED);
}

}  // namespace

void StreamHost::tell(std::uint32_t index, ServiceNews news, std::uint16_t value) {
  ServiceMessage message;
  message.news = news;
  message.value = value;
  message.connection = index;
  message.generation = connections_[index].generation;
  (void)link_.tell_hub(message);  // there is room: kServiceMessages
}

// ---- life

const ServiceRange* StreamHost::range_of(const StreamSession& s, std::uint16_t stream, bool datagrams) const {
  for (const ServiceRange& range : s.ranges) {
    if (range.datagrams == datagrams && stream >= range.first && stream <= range.last) return &range;
  }
  return nullptr;
}

// kNone: no room.
std::uint32_t StreamHost::open_connection(StreamSession& s, std::uint16_t stream, const ServiceRange& range) {
  const std::uint32_t index = free_;
  if (index == kNone || room_[range.service] == 0) {
    count(traffic_[range.service].refused);
    return kNone;
  }
  Connection& c = connections_[index];
  free_ = c.next;
  --room_[range.service];
  count(traffic_[range.service].opened);
  const std::uint64_t generation = c.generation + 1;
  c = Connection{};
  c.generation = generation;
  c.session = &s;
  c.stream = stream;
  c.service = range.service;
  c.datagrams = range.datagrams;
  c.next = s.connections;
  if (c.next != kNone) connections_[c.next].previous = index;
  s.connections = index;
  tell(index, ServiceNews::kOpen, range.service);
  return index;
}

// The stream is over. `reset`: the backend is to see that it did not end well.
void StreamHost::close_connection(std::uint32_t index, bool reset) {
  Connection& c = connections_[index];
  StreamSession& s = *c.session;
  if (c.next != kNone) connections_[c.next].previous = c.previous;
  (c.previous == kNone ? s.connections : connections_[c.previous].next) = c.next;
  if (c.datagrams) {
    const std::uint64_t key = key_of(s.slot, c.stream);
    rte_hash_del_key(datagrams_, &key);
  } else {
    s.streams.set_user(c.stream, kNone);
  }
  c.session = nullptr;
  if (reset) tell(index, ServiceNews::kReset);
  tell(index, ServiceNews::kRelease);
}

// The hub's last word.
void StreamHost::free_connection(std::uint32_t index) {
  Connection& c = connections_[index];
  ServicePipes& pipes = link_.pipes(index);
  pipes.to_socket.clear();
  pipes.from_socket.clear();
  for (std::atomic<bool>* flag :
       {&pipes.to_socket_told, &pipes.from_socket_told, &pipes.worker_waits, &pipes.hub_waits}) {
    flag->store(false, std::memory_order_relaxed);
  }
  ++room_[c.service];
  c.next = free_;
  free_ = index;
}

// ---- from the session

void StreamHost::on_opened(StreamSession& s, std::uint16_t stream) {
  const ServiceRange* range = range_of(s, stream, false);
  if (range == nullptr) count(no_service_);
  const std::uint32_t index = range == nullptr ? kNone : open_connection(s, stream, *range);
  if (index == kNone) {
    (void)s.streams.reset(stream);
    return;
  }
  s.streams.set_user(stream, index);
}

void StreamHost::on_event(StreamSession& s, const session::StreamEvent& event, std::uint64_t now_ns) {
  if (event.news == StreamNews::kOpened) return on_opened(s, event.stream);
  if (event.user == kNone) return;  // refused, or over already
  switch (event.news) {
    case StreamNews::kReadable:
      return fill_pipe(event.user, now_ns);
    case StreamNews::kWritable:
      return drain_pipe(event.user);
    case StreamNews::kFinished:
      return tell(event.user, ServiceNews::kFinish);
    case StreamNews::kReset:
      return close_connection(event.user, true);
    case StreamNews::kClosed:
      return close_connection(event.user, false);
    default:
      return;
  }
}

void StreamHost::told_bytes(std::uint32_t index) {
  if (!link_.pipes(index).to_socket_told.exchange(true)) tell(index, ServiceNews::kBytes);
}

// What the stream has, as far as there is room. The flag and the positions are looked at in the opposite
// order over there, so one of the two sees the other.
void StreamHost::fill_pipe(std::uint32_t index, std::uint64_t now_ns) {
  Connection& c = connections_[index];
  session::Streams& streams = c.session->streams;
  ServicePipes& pipes = link_.pipes(index);
  bool moved = false;
  for (;;) {
    const std::span<const std::uint8_t> bytes = streams.readable(c.stream);
    if (bytes.empty()) break;
    const std::uint32_t taken = pipes.to_socket.write(bytes);
    if (taken != 0) streams.consume(c.stream, taken, now_ns);
    moved = moved || taken != 0;
    if (taken == bytes.size()) continue;
    pipes.worker_waits.store(true);
    if (pipes.to_socket.room() == 0 || !pipes.worker_waits.exchange(false)) break;
  }
  if (moved) told_bytes(index);
  wake(*c.session);
}

std::uint32_t StreamHost::datagram_connection(StreamSession& s, std::uint16_t stream) {
  const std::uint64_t key = key_of(s.slot, stream);
  void* found = nullptr;
  if (rte_hash_lookup_data(datagrams_, &key, &found) >= 0) {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(found));
  }
  const ServiceRange* range = range_of(s, stream, true);
  const std::uint32_t index = range == nullptr ? kNone : open_connection(s, stream, *range);
  if (index == kNone) return kNone;
  if (rte_hash_add_key_data(datagrams_, &key, reinterpret_cast<void*>(std::uintptr_t{index})) == 0)
    return index;
  close_connection(index, true);
  return kNone;
}

bool StreamHost::take_datagram(StreamSession& s, std::uint16_t stream, std::span<const std::uint8_t> text) {
  const ServiceRange* range = range_of(s, stream, true);
  if (range == nullptr) {
    count(no_service_);
    return false;
  }
  ServiceTraffic& traffic = traffic_[range->service];
  const std::uint32_t index = datagram_connection(s, stream);
  if (index == kNone) return true;  // counted as refused
  BytePipe& pipe = link_.pipes(index).to_socket;
  if (text.size() > kMaxDatagramBytes || pipe.room() < kLengthPrefix + text.size()) {
    count(traffic.datagrams_dropped);
    return true;
  }
  std::array<std::uint8_t, kLengthPrefix> length{};
  session::store_be16(length.data(), static_cast<std::uint16_t>(text.size()));
  pipe.put(length, text);
  count(traffic.datagrams_in);
  told_bytes(index);
  return true;
}

// ---- from the backend

// The hub stopped reading for want of room.
void StreamHost::made_room(std::uint32_t index) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  ServicePipes& pipes = link_.pipes(index);
  if (pipes.hub_waits.load(std::memory_order_relaxed) && pipes.hub_waits.exchange(false)) {
    tell(index, ServiceNews::kRoom);
  }
}

void StreamHost::drain_pipe(std::uint32_t index) {
  Connection& c = connections_[index];
  session::Streams& streams = c.session->streams;
  BytePipe& pipe = link_.pipes(index).from_socket;
  bool moved = false;
  while (pipe.size() != 0) {
    const std::span<const std::uint8_t> bytes = pipe.data();
    StreamError error{};
    const auto taken = static_cast<std::uint32_t>(streams.send(c.stream, bytes, error));
    pipe.consume(taken);
    moved = moved || taken != 0;
    if (taken < bytes.size()) break;  // kWritable follows
  }
  if (moved) made_room(index);
  if (c.backend_done && !c.finished && pipe.size() == 0) {
    c.finished = true;
    (void)streams.finish(c.stream);
  }
  wake(*c.session);
}

void StreamHost::drain_datagrams(Core& core, std::uint32_t index) {
  Connection& c = connections_[index];
  BytePipe& pipe = link_.pipes(index).from_socket;
  ServiceTraffic& traffic = traffic_[c.service];
  const std::uint32_t most = shard_.hot(c.session->slot).outer.inner_mtu;  // 0: no way to the peer yet
  for (unsigned n = 0; n < kDatagramTurn && pipe.size() >= kLengthPrefix; ++n) {
    std::array<std::uint8_t, kLengthPrefix> prefix{};
    pipe.peek(prefix.data(), kLengthPrefix);
    const std::uint32_t bytes = session::load_be16(prefix.data());
    pipe.consume(kLengthPrefix);
    rte_mbuf* m = bytes <= most ? core.originate() : nullptr;
    if (m == nullptr) {
      pipe.consume(bytes);
      count(traffic.datagrams_dropped);
      continue;
    }
    pipe.peek(reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes))),
              bytes);
    pipe.consume(bytes);
    count(traffic.datagrams_out);
    batch_.push_datagram(core, *c.session, c.stream, m, now_ns_);
  }
  made_room(index);
  if (pipe.size() == 0 || c.again) return;
  c.again = true;
  again_.push_back(index);
}

// Those that had more than a turn.
bool StreamHost::drain_again(Core& core) {
  const std::size_t n = again_.size();
  for (std::size_t i = 0; i < n; ++i) {
    Connection& c = connections_[again_[i]];
    if (c.session == nullptr || !c.again) continue;
    c.again = false;
    drain_datagrams(core, again_[i]);
  }
  again_.erase(again_.begin(), again_.begin() + static_cast<std::ptrdiff_t>(n));
  return n != 0;
}

// The backend is gone, or never was.
void StreamHost::backend_reset(std::uint32_t index) {
  Connection& c = connections_[index];
  StreamSession& s = *c.session;
  if (!c.datagrams) (void)s.streams.reset(c.stream);
  close_connection(index, false);
  wake(s);
}

void StreamHost::on_message(Core& core, const ServiceMessage& message, std::uint64_t now_ns) {
  const std::uint32_t index = message.connection;
  Connection& c = connections_[index];
  if (message.generation != c.generation) return;
  if (message.news == ServiceNews::kGone) return free_connection(index);
  if (c.session == nullptr) return;
  switch (message.news) {
    case ServiceNews::kBytesBack:
      link_.pipes(index).from_socket_told.store(false);
      return c.datagrams ? drain_datagrams(core, index) : drain_pipe(index);
    case ServiceNews::kRoomBack:
      if (!c.datagrams) fill_pipe(index, now_ns);
      return;
    case ServiceNews::kFinishBack:
      c.backend_done = true;
      if (!c.datagrams) drain_pipe(index);
      return;
    case ServiceNews::kResetBack:
      return backend_reset(index);
    default:
      return;
  }
}

bool StreamHost::take_messages(Core& core, std::uint64_t now_ns) {
  ServiceMessage messages[kMessagesPerLoop];
  const unsigned n = link_.worker_takes(messages, kMessagesPerLoop);
  for (unsigned i = 0; i < n; ++i) on_message(core, messages[i], now_ns);
  return n != 0;
}

}  // namespace dataplane
