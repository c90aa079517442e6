// Control's hands: messages to workers that are never lost or reordered, and packets of its own, with their
// books.
//
// Owner: control core. A message that finds its mailbox full waits here behind the earlier ones. Packets are
// only let wait up to a bound; beyond it they are dropped and counted.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "dataplane/message.h"
#include "dataplane/topology.h"

namespace dataplane {

// Messages a worker may have waiting here before sessions keep their commands to themselves, and packets
// among them before further ones are dropped: one full mailbox each.
inline constexpr std::size_t kBacklogLimit = 1024;
inline constexpr unsigned kBacklogPackets = 512;

class ControlIo {
 public:
  explicit ControlIo(Topology& topology);
  ~ControlIo();
  ControlIo(const ControlIo&) = delete;
  ControlIo& operator=(const ControlIo&) = delete;

  void send(unsigned worker, const Message& message);
  void broadcast(const Message& message);
  [[nodiscard]] bool has_room(unsigned worker) const { return backlog_[worker].size() < kBacklogLimit; }
  // Offers waiting messages to the mailboxes again; returns how many went.
  unsigned flush();

  // A new packet with these bytes, counted as originated. Null, and counted, when there is no buffer for it.
  rte_mbuf* make(std::span<const std::uint8_t> bytes);
  // A complete frame out of a port, by any worker.
  void transmit(rte_mbuf* frame, std::uint8_t port);
  // An IP packet, routed by a worker.
  void inject(rte_mbuf* packet);
  // A Phantom packet back to the worker that punted it, behind all commands sent before.
  void give_back(unsigned worker, rte_mbuf* packet);

  void drop(rte_mbuf* m, session::DropReason reason);
  void consume(rte_mbuf* m, session::ConsumedKind kind);

  [[nodiscard]] unsigned waiting_packets() const { return waiting_packets_; }
  // Frees what still waits, here and in the mailboxes, as kDraining. Workers have returned.
  void discard();

 private:
  void send_packet(unsigned worker, const Message& message);
  unsigned next_worker();
  Topology& topology_;
  CoreStats& stats_;
  std::vector<std::deque<Message>> backlog_;  // one a worker
  unsigned waiting_packets_ = 0;
  unsigned turn_ = 0;
};

[[nodiscard]] bool carries_packet(const Message& message);

}  // namespace dataplane
