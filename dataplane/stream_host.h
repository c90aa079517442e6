// The worker's side of stream services: reliable streams of its service sessions, joined to pipes.
//
// A session that a [[service]] names carries streams instead of IP packets. What its peer sends on a stream
// goes into a pipe towards the service thread (service.h), and what comes out of the other pipe is sent on
// the stream; unreliable messages go the same way, a datagram each. Nothing waits: a full pipe leaves bytes
// in the stream, whose peer then gets no credit; a stream that takes no more leaves bytes in the pipe.
//
// Owner: the worker, from attach() to detach(). Control makes and frees StreamSessions and may read counters.
// Memory is allocated at construction alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/service.h"
#include "dataplane/stream_seal.h"
#include "session/shard.h"
#include "session/stream_link.h"
#include "session/streams.h"
#include "session/timer_wheel.h"

struct rte_hash;

namespace dataplane {

struct Core;
struct GatewayConfig;
struct SessionEntry;
class StreamHost;

// Packets that one session may send before the others have their turn, and events it may have handled.
inline constexpr unsigned kStreamTurnPkts = 64;
inline constexpr unsigned kStreamTurnEvents = 256;

// Streams of a session that belong to one service.
struct ServiceRange {
  std::uint16_t first = 1;
  std::uint16_t last = 0xffff;
  std::uint16_t service = 0;  // index in the configuration
  bool datagrams = false;
};

// protocol.md 12.1 of the path that data takes, for others to look at: each number by itself is one of the
// last tenth of a second.
struct PublishedBandwidth {
  std::atomic<std::uint64_t> bottleneck_bw_bps{0}, min_rtt_ns{0}, pacing_rate_bps{0}, cwnd_bytes{0},
      inflight_bytes{0};
  void set(const session::BandwidthSnapshot& s);
  [[nodiscard]] session::BandwidthSnapshot get() const;
};

// One session's streams.
struct StreamSession {
  StreamSession(StreamHost& host, const SessionEntry& entry, std::vector<ServiceRange> services,
                std::uint32_t slot, std::uint32_t generation);

  const std::uint32_t slot;
  const std::uint32_t generation;
  const bool unmodified;
  const std::vector<ServiceRange> ranges;
  session::Streams streams;
  session::StreamLink link;
  StreamSession* next = nullptr;               // of the list of those with something to do
  bool active = false;                         // on it
  bool hold = false;                           // control says that a rekey waits for rest
  bool rest_told = true;                       // what control knows
  std::uint32_t connections = session::kNone;  // first of its list
  std::uint64_t published_ns = 0;
  PublishedBandwidth bandwidth;
  std::uint64_t wait_until_ns = 0;  // nothing can be sent before
};

// One service on one worker. The worker writes, others read without stopping it.
struct ServiceTraffic {
  std::uint64_t opened = 0;             // connections that were begun
  std::uint64_t refused = 0;            // streams for which `connections` or memory left no room: reset
  std::uint64_t datagrams_in = 0;       // from the session
  std::uint64_t datagrams_out = 0;      // into it
  std::uint64_t datagrams_dropped = 0;  // no room in the pipe, or longer than the path takes
};

class StreamHost {
 public:
  // Throws std::runtime_error when there is no memory. `name`: of EAL objects.
  StreamHost(const std::string& name, const GatewayConfig& config, session::Shard& shard, int socket);
  ~StreamHost();
  StreamHost(const StreamHost&) = delete;
  StreamHost& operator=(const StreamHost&) = delete;

  // ---- for control and the service thread
  [[nodiscard]] ServiceLink& link() { return link_; }
  [[nodiscard]] const ServiceTraffic& traffic(std::size_t service) const { return traffic_[service]; }
  [[nodiscard]] std::uint64_t no_service() const { return __atomic_load_n(&no_service_, __ATOMIC_RELAXED); }

  // ---- the worker's
  // Null: a session of IP packets.
  [[nodiscard]] StreamSession* session(std::uint32_t slot) const { return sessions_[slot]; }
  void attach(StreamSession& s);
  // Streams are reset, as far as packets can still leave, and everything is given back.
  void detach(Core& core, std::uint32_t slot);
  void set_hold(std::uint32_t slot, bool hold);
  // The session has somewhere to send to, or something else happened to it.
  void wake(StreamSession& s);

  // What accept() said of a packet of this session.
  void take(Core& core, StreamSession& s, const session::RxOutcome& outcome, const session::RxFields& fields,
            std::span<const std::uint8_t> text);
  // An unreliable message. False: no service has this stream.
  bool take_datagram(StreamSession& s, std::uint16_t stream, std::span<const std::uint8_t> text);
  // Once a loop: messages of the service thread, timers, events, packets. True: something moved.
  bool run(Core& core);
  // The gateway ends: all streams are reset.
  void end(Core& core);

 private:
  friend struct StreamSession;
  struct Connection;

  // ---- stream_host.cc
  bool serve(Core& core, StreamSession& s, std::uint64_t now_ns);
  bool send(Core& core, StreamSession& s, std::uint64_t now_ns);
  void run_timers(std::uint64_t now_ns);
  void tell_rest(Core& core, StreamSession& s, bool rest);
  void reset_all(Core& core, StreamSession& s);
  StreamSession* pop_active();

  // ---- stream_pipes.cc
  [[nodiscard]] const ServiceRange* range_of(const StreamSession& s, std::uint16_t stream,
                                             bool datagrams) const;
  std::uint32_t open_connection(StreamSession& s, std::uint16_t stream, const ServiceRange& range);
  void close_connection(std::uint32_t index, bool reset);
  void free_connection(std::uint32_t index);
  void on_event(StreamSession& s, const session::StreamEvent& event, std::uint64_t now_ns);
  void on_opened(StreamSession& s, std::uint16_t stream);
  bool take_messages(Core& core, std::uint64_t now_ns);
  void on_message(Core& core, const ServiceMessage& message, std::uint64_t now_ns);
  void fill_pipe(std::uint32_t index, std::uint64_t now_ns);
  void drain_pipe(std::uint32_t index);
  void drain_datagrams(Core& core, std::uint32_t index);
  bool drain_again(Core& core);
  void abandon(StreamSession& s);
  void backend_reset(std::uint32_t index);
  void made_room(std::uint32_t index);
  void told_bytes(std::uint32_t index);
  void tell(std::uint32_t index, ServiceNews news, std::uint16_t value = 0);
  [[nodiscard]] std::uint32_t datagram_connection(StreamSession& s, std::uint16_t stream);

  session::Shard& shard_;
  ServiceLink link_;
  session::StreamMemory memory_;
  session::TimerWheel wheel_;
  session::StreamLimits limits_;
  std::vector<StreamSession*> sessions_;  // by slot
  std::vector<Connection> connections_;
  std::uint32_t free_ = session::kNone;
  std::vector<std::uint32_t> room_;  // connections that a service may still have here
  std::vector<ServiceTraffic> traffic_;
  std::uint64_t no_service_ = 0;      // streams and messages that none takes
  rte_hash* datagrams_ = nullptr;     // slot and stream -> connection
  std::vector<std::uint32_t> again_;  // datagram connections that had more than a turn; each at most twice
  StreamSession* head_ = nullptr;
  StreamSession* tail_ = nullptr;
  unsigned active_ = 0;
  std::uint64_t now_ns_ = 0;     // of this loop
  std::uint64_t timers_ns_ = 0;  // timers were looked at
  StreamBatch batch_;
};

}  // namespace dataplane
