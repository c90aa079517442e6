// Streams allocate nothing once they exist: a transfer both ways, with losses, counted at the heap.
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

#include "session/streams.h"
#include "session/wire.h"
#include "tests/support/alloc_counter.h"

namespace {

using session::StreamPacket;
using session::Streams;

struct Peer {
  Peer(bool initiator, session::TimerWheel& wheel_in) : wheel(wheel_in), memory({16, 512, 512}) {
    Streams::Config config;
    config.initiator = initiator;
    streams = std::make_unique<Streams>(config, memory, wheel, 0);
  }
  session::TimerWheel& wheel;
  session::StreamMemory memory;
  std::unique_ptr<Streams> streams;
  std::uint32_t number = 0;
  std::uint64_t received = 0;
};

// Everything of one side goes to the other at once; every 17th data packet is lost.
void exchange(Peer& from, Peer& to, std::uint64_t now, unsigned& count) {
  StreamPacket packet;
  std::array<std::uint8_t, 2048> text;
  while (from.streams->next_packet(packet, now)) {
    const bool numbers = packet.kind == StreamPacket::Kind::kNew || packet.kind == StreamPacket::Kind::kPlain;
    if (numbers) from.streams->numbered(packet, from.number++);
    const StreamPacket sent = packet;
    const std::size_t size = sent.text.size();
    std::memcpy(text.data(), sent.text.data(), size);
    from.streams->sealed(packet, 0, packet.sequence, static_cast<std::uint32_t>(size + 69), now);
    if ((sent.flags & session::kFlagAck) != 0) {
      to.streams->on_ack(sent.stream, session::load_be32(text.data()), sent.ack_delay, false, now);
    } else if ((sent.flags & session::kFlagWindowUpdate) != 0) {
      to.streams->on_credit(sent.stream, session::load_be32(text.data()), sent.ack_delay, now);
    } else if (++count % 17 != 0 && to.streams->has_room(sent.stream, sent.sequence, sent.flags,
                                                         sent.ack_delay, static_cast<std::uint32_t>(size))) {
      to.streams->on_data(sent.stream, sent.sequence, sent.flags, sent.ack_delay, 0,
                          std::span(text).first(size), now);
    }
  }
}

void read(Peer& peer, std::uint64_t now) {
  session::StreamEvent event;
  while (peer.streams->next_event(event)) {
  }
  for (auto part = peer.streams->readable(2); !part.empty(); part = peer.streams->readable(2)) {
    peer.received += part.size();
    peer.streams->consume(2, part.size(), now);
  }
}

// W-33.
TEST(StreamsAllocations, NoneAfterConstruction) {
  auto wheel = std::make_unique<session::TimerWheel>(0);
  Peer a(true, *wheel), b(false, *wheel);
  std::array<std::uint8_t, 4096> bytes{};
  unsigned count = 0;
  std::uint64_t now = 0;
  const std::uint64_t before = support::allocations();
  session::StreamError error;
  const auto id = a.streams->open({}, error);
  for (; a.received + b.received < 4'000'000 && now < 600'000'000'000; now += 2'000'000) {
    a.streams->send(*id, bytes, error);
    if (b.received != 0) b.streams->send(*id, bytes, error);
    exchange(a, b, now, count);
    exchange(b, a, now, count);
    read(a, now);
    read(b, now);
    while (session::Timer* timer = wheel->next_expired(now)) {
      static_cast<Streams*>(timer->owner)->on_timer(*timer, now);
    }
  }
  a.streams->reset(*id);
  exchange(a, b, now, count);
  EXPECT_EQ(support::allocations() - before, 0U);
  EXPECT_GE(a.received + b.received, 4'000'000U);
  EXPECT_GT(a.received, 1'000'000U);
  EXPECT_GT(a.streams->counters().segments_again, 20U);
}

}  // namespace
