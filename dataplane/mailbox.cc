// Typed ends of the mailboxes: messages are copied by value, one producer and one consumer each.
#include "dataplane/mailbox.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "dataplane/message.h"

namespace dataplane {

bool push(rte_ring* ring, const Message& message) {
  // The library takes a pointer to non-const and only reads.
  return rte_ring_sp_enqueue_elem(ring, const_cast<Message*>(&message), sizeof(Message)) == 0;
}

unsigned pop(rte_ring* ring, Message* out, unsigned n) {
  return rte_ring_sc_dequeue_burst_elem(ring, out, sizeof(Message), n, nullptr);
}

}  // namespace dataplane
