#include "dataplane/control_io.h"

#include <cstring>

#include <rte_mbuf.h>

#include "dataplane/mailbox.h"
#include "dataplane/pkt_meta.h"

namespace dataplane {

using session::DropReason;

bool carries_packet(const Message& message) {
  return message.kind == MessageKind::kTransmit || message.kind == MessageKind::kInject ||
         message.kind == MessageKind::kReturnPacket;
}

ControlIo::ControlIo(Topology& topology)
    : topology_(topology), stats_(*topology.control_stats), backlog_(topology.workers.size()) {}

// Packets still waiting belong to the pool; whoever did not call finish() gives them back here.
ControlIo::~ControlIo() {
  for (auto& queue : backlog_) {
    for (const Message& message : queue) {
      if (carries_packet(message)) drop(message.mbuf, DropReason::kDraining);
    }
  }
}

void ControlIo::send(unsigned worker, const Message& message) {
  auto& queue = backlog_[worker];
  if (queue.empty() && push(topology_.workers[worker].to_worker, message)) return;
  if (carries_packet(message)) ++waiting_packets_;
  queue.push_back(message);
}

void ControlIo::broadcast(const Message& message) {
  for (unsigned worker = 0; worker < backlog_.size(); ++worker) send(worker, message);
}

unsigned ControlIo::flush() {
  unsigned sent = 0;
  for (unsigned worker = 0; worker < backlog_.size(); ++worker) {
    auto& queue = backlog_[worker];
    while (!queue.empty() && push(topology_.workers[worker].to_worker, queue.front())) {
      if (carries_packet(queue.front())) --waiting_packets_;
      queue.pop_front();
      ++sent;
    }
  }
  return sent;
}

rte_mbuf* ControlIo::make(std::span<const std::uint8_t> bytes) {
  rte_mbuf* m = rte_pktmbuf_alloc(topology_.packets);
  if (m == nullptr) {
    ++stats_.hints_dropped;  // no packet came to be, so none is dropped
    return nullptr;
  }
  ++stats_.originated;
  meta(m) = PktMeta{};
  meta(m).slot = session::kNone;
  char* to = rte_pktmbuf_append(m, static_cast<std::uint16_t>(bytes.size()));
  if (to == nullptr) {
    drop(m, DropReason::kNoBuffer);
    return nullptr;
  }
  std::memcpy(to, bytes.data(), bytes.size());
  return m;
}

unsigned ControlIo::next_worker() {
  turn_ = (turn_ + 1) % static_cast<unsigned>(backlog_.size());
  return turn_;
}

void ControlIo::send_packet(unsigned worker, const Message& message) {
  if (waiting_packets_ >= kBacklogPackets) return drop(message.mbuf, DropReason::kTxRing);
  send(worker, message);
}

void ControlIo::transmit(rte_mbuf* frame, std::uint8_t port) {
  Message message;
  message.kind = MessageKind::kTransmit;
  message.b = port;
  message.mbuf = frame;
  frame->ol_flags = 0;
  send_packet(next_worker(), message);
}

void ControlIo::inject(rte_mbuf* packet) {
  Message message;
  message.kind = MessageKind::kInject;
  message.mbuf = packet;
  packet->ol_flags = 0;
  send_packet(next_worker(), message);
}

void ControlIo::give_back(unsigned worker, rte_mbuf* packet) {
  Message message;
  message.kind = MessageKind::kReturnPacket;
  message.mbuf = packet;
  send(worker, message);  // the caller asked has_room: what was held must not be lost here
}

void ControlIo::drop(rte_mbuf* m, DropReason reason) {
  ++stats_.drops[static_cast<std::size_t>(reason)];
  rte_pktmbuf_free(m);
}

void ControlIo::consume(rte_mbuf* m, session::ConsumedKind kind) {
  ++stats_.consumed[static_cast<std::size_t>(kind)];
  rte_pktmbuf_free(m);
}

void ControlIo::discard() {
  for (unsigned worker = 0; worker < backlog_.size(); ++worker) {
    Message message;
    while (pop(topology_.workers[worker].to_worker, &message, 1) == 1) {
      if (carries_packet(message)) drop(message.mbuf, DropReason::kDraining);
    }
    for (const Message& waiting : backlog_[worker]) {
      if (carries_packet(waiting)) drop(waiting.mbuf, DropReason::kDraining);
    }
    backlog_[worker].clear();
  }
  waiting_packets_ = 0;
}

}  // namespace dataplane
