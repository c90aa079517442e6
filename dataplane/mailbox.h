// Typed ends of the mailboxes between control and one worker.
//
// One producer and one consumer a ring; messages are copied by value. A ring is created with
// rte_ring_create_elem(..., sizeof(Message), ..., RING_F_SP_ENQ | RING_F_SC_DEQ), or laid out by
// rte_ring_init on plain memory in tests.
#pragma once

struct rte_ring;

namespace dataplane {

struct Message;

// False when the ring is full: nothing was taken.
bool push(rte_ring* ring, const Message& message);
// Takes up to n messages, first in first out; returns how many.
unsigned pop(rte_ring* ring, Message* out, unsigned n);

}  // namespace dataplane
