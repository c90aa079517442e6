// Mailboxes and hand-off rings between real threads, on plain memory without EAL. Run under TSan; the build
// defines RTE_USE_C11_MEM_MODEL there, because the default x86 ring is fenced in ways TSan cannot see.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include <gtest/gtest.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "dataplane/mailbox.h"
#include "dataplane/message.h"
#include "dataplane/ring_elem.h"

namespace {

using dataplane::Message;
using dataplane::MessageKind;

constexpr unsigned kRing = 256;
constexpr std::uint32_t kMessages = 40'000;

struct Freed {
  void operator()(void* p) const { std::free(p); }
};

// A ring of elements of `bytes` on plain, cache-line aligned memory.
std::unique_ptr<void, Freed> make_ring(unsigned bytes) {
  const auto size = static_cast<std::size_t>(dataplane::phantom_ring_memsize_elem(bytes, kRing));
  std::unique_ptr<void, Freed> memory(std::aligned_alloc(64, (size + 63) / 64 * 64));
  rte_ring_init(static_cast<rte_ring*>(memory.get()), "stress", kRing, RING_F_SP_ENQ | RING_F_SC_DEQ);
  return memory;
}

rte_ring* ring_of(const std::unique_ptr<void, Freed>& memory) {
  return static_cast<rte_ring*>(memory.get());
}

Message numbered(std::uint32_t n) {
  Message m;
  m.kind = MessageKind::kKeyRetired;
  m.a = static_cast<std::uint8_t>(n);
  m.b = static_cast<std::uint16_t>(n * 3);
  m.c = n;
  m.slot = ~n;
  m.generation = n * 7;
  for (std::size_t i = 0; i < m.bytes.size(); ++i) m.bytes[i] = static_cast<std::uint8_t>(n + i);
  return m;
}

bool whole(const Message& m) {
  const Message wanted = numbered(m.c);
  return m.kind == wanted.kind && m.a == wanted.a && m.b == wanted.b && m.slot == wanted.slot &&
         m.generation == wanted.generation && m.bytes == wanted.bytes;
}

void send_all(rte_ring* ring) {
  for (std::uint32_t n = 0; n < kMessages;) {
    if (dataplane::push(ring, numbered(n))) {
      ++n;
    } else {
      std::this_thread::yield();
    }
  }
}

// Takes everything; counts what is out of order or torn.
std::uint32_t receive_all(rte_ring* ring) {
  std::uint32_t wrong = 0;
  Message messages[32];
  for (std::uint32_t expected = 0; expected < kMessages;) {
    const unsigned n = dataplane::pop(ring, messages, 32);
    if (n == 0) std::this_thread::yield();
    for (unsigned i = 0; i < n; ++i, ++expected) {
      if (messages[i].c != expected || !whole(messages[i])) ++wrong;
    }
  }
  return wrong;
}

TEST(Mailbox, MessagesArriveWholeAndInOrderBothWays) {
  const auto there = make_ring(sizeof(Message));
  const auto back = make_ring(sizeof(Message));
  std::uint32_t wrong_worker = 0;
  std::thread worker([&] {
    std::thread answers([&] { send_all(ring_of(back)); });
    wrong_worker = receive_all(ring_of(there));
    answers.join();
  });
  std::thread commands([&] { send_all(ring_of(there)); });
  const std::uint32_t wrong_control = receive_all(ring_of(back));
  commands.join();
  worker.join();
  EXPECT_EQ(wrong_worker, 0U);
  EXPECT_EQ(wrong_control, 0U);
}

TEST(Mailbox, AFullRingTakesNothing) {
  const auto memory = make_ring(sizeof(Message));
  std::uint32_t taken = 0;
  while (dataplane::push(ring_of(memory), numbered(taken))) ++taken;
  EXPECT_EQ(taken, kRing - 1);
  Message out[kRing];
  ASSERT_EQ(dataplane::pop(ring_of(memory), out, kRing), taken);
  for (std::uint32_t i = 0; i < taken; ++i) EXPECT_TRUE(whole(out[i]) && out[i].c == i);
}

// What a hand-off moves: the sender writes a packet and never looks at it again.
struct Packet {
  std::uint64_t number;
  std::uint8_t bytes[120];
};

// Two workers hand packets to each other over their rings, and every packet comes home to the one that made
// it: writes before the enqueue are visible after the dequeue, in both directions.
void hand_over(rte_ring* out, rte_ring* in, Packet* mine, std::size_t count, std::uint64_t rounds,
               std::atomic<std::uint64_t>& wrong) {
  std::uint64_t sent = 0;
  std::uint64_t home = 0;
  while (home < rounds) {
    for (; sent < rounds && sent - home < count; ++sent) {
      Packet& p = mine[sent % count];
      p.number = sent * 2;
      for (std::uint8_t& b : p.bytes) b = static_cast<std::uint8_t>(sent);
      if (rte_ring_sp_enqueue(out, &p) != 0) break;
    }
    void* got[32];
    const unsigned n = rte_ring_sc_dequeue_burst(in, got, 32, nullptr);
    if (n == 0) std::this_thread::yield();
    for (unsigned i = 0; i < n; ++i, ++home) {
      const Packet& p = *static_cast<Packet*>(got[i]);
      const bool ok = p.number == home * 2 + 1 && p.bytes[0] == static_cast<std::uint8_t>(home + 1);
      if (!ok) wrong.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void answer(rte_ring* in, rte_ring* out, std::uint64_t rounds) {
  for (std::uint64_t done = 0; done < rounds;) {
    void* got[32];
    const unsigned n = rte_ring_sc_dequeue_burst(in, got, 32, nullptr);
    if (n == 0) std::this_thread::yield();
    for (unsigned i = 0; i < n; ++i, ++done) {
      Packet& p = *static_cast<Packet*>(got[i]);
      ++p.number;
      for (std::uint8_t& b : p.bytes) ++b;
      while (rte_ring_sp_enqueue(out, &p) != 0) std::this_thread::yield();
    }
  }
}

TEST(HandOff, OwnershipOfPacketsPassesWithTheRing) {
  const auto there = make_ring(sizeof(void*));
  const auto back = make_ring(sizeof(void*));
  std::array<Packet, 48> packets{};
  std::atomic<std::uint64_t> wrong{0};
  std::thread owner([&] { answer(ring_of(there), ring_of(back), kMessages); });
  hand_over(ring_of(there), ring_of(back), packets.data(), packets.size(), kMessages, wrong);
  owner.join();
  EXPECT_EQ(wrong.load(), 0U);
}

}  // namespace
