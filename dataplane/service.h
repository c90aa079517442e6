// Stream services: the reliable streams of a session end here and are joined to local sockets.
//
// Two threads have a part in a connection. The worker that owns the session moves bytes between the stream
// and two pipes (stream_host.h); the service thread moves them between the pipes and a socket
// (service_hub.h). What one wants the other to know goes over single-producer single-consumer rings of
// 16-byte messages; bytes never do. A full pipe stops whoever fills it: a slow backend leaves bytes in the
// stream, the stream gives no credit, and the peer stops; a slow peer leaves bytes in the pipe, and the
// socket is not read. No worker ever waits.
//
// A connection is a record of the worker's pool. It is taken by the worker when the peer opens a stream, and
// is free again when both sides said they are done with it (kGone from the hub is the last word).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/address.h"
#include "dataplane/byte_pipe.h"
#include "session/epoch_store.h"

namespace dataplane {

enum class ServiceTarget : std::uint8_t {
  kTcp,
  kUnix,
  kUdp,           // unreliable messages, one datagram each
  kUnixDatagram,  // the same
  kForward,       // the stream begins with a line that names a TCP target among `allow`
};

// A prefix and port that a forwarding service may be asked for. Port 0: any.
struct ServiceAllow {
  IpPrefix prefix;
  std::uint16_t port = 0;
};

// [[service]] of the configuration.
struct ServiceConfig {
  std::string name;
  std::string session;  // a session's name, or
  std::string group;    // all sessions of this group
  std::uint16_t first_stream = 1;
  std::uint16_t last_stream = 0xffff;
  ServiceTarget target = ServiceTarget::kTcp;
  session::Endpoint endpoint;  // kTcp, kUdp
  std::string path;            // kUnix, kUnixDatagram
  std::vector<ServiceAllow> allow;
  std::uint32_t connections = 1024;  // at once, of all sessions of a worker
  std::uint64_t connect_timeout_ns = 5'000'000'000;
  std::uint64_t idle_timeout_ns = 0;  // nothing moved either way: reset; 0: never
  int line = 0;
};

enum class ServiceNews : std::uint8_t {
  // worker -> hub
  kOpen,     // connect; `value` is the service's index
  kBytes,    // the pipe towards the socket has bytes
  kRoom,     // the pipe from the socket has room again
  kFinish,   // nothing follows the bytes that are in the pipe: shut the socket's sending side
  kReset,    // close at once
  kRelease,  // the worker is done with the record; the hub answers kGone, once what was finished is written
  // hub -> worker
  kBytesBack,   // the pipe from the socket has bytes
  kRoomBack,    // the pipe towards the socket has room again
  kFinishBack,  // the backend sends nothing behind what is in the pipe
  kResetBack,   // the backend is gone or never was: `value` is a ServiceEnd
  kGone,        // the hub is done with the record
};

// Why a connection ended, for counters and the log.
enum class ServiceEnd : std::uint8_t {
  kDone,
  kRefused,      // nobody listens, or the path does not exist
  kTimedOut,     // connecting took too long
  kUnreachable,  // no route, or another error of connect
  kBroken,       // the backend reset
  kIdle,
  kForbidden,  // a target that `allow` does not name, or no target where one was to be named
  kNoSocket,   // no descriptor left
  kCount,
};
[[nodiscard]] const char* name_of(ServiceEnd end);

struct ServiceMessage {
  ServiceNews news{};
  std::uint8_t reserved = 0;
  std::uint16_t value = 0;
  std::uint32_t connection = 0;
  std::uint64_t generation = 0;  // of the record: what belongs to an earlier use falls away
};
static_assert(sizeof(ServiceMessage) == 16);

// What both threads see of a connection.
//
// A flag beside a pipe says that a message about it is under way, or that its producer waits: so a ring never
// holds more than a few messages of a connection, however fast its pipes move.
struct ServicePipes {
  BytePipe to_socket;    // worker -> hub
  BytePipe from_socket;  // hub -> worker
  // Set by the producer of bytes with its message, cleared by the consumer before it looks.
  alignas(64) std::atomic<bool> to_socket_told{false};
  alignas(64) std::atomic<bool> from_socket_told{false};
  // Set by the producer that found its pipe full, cleared by the consumer that made room and says so.
  alignas(64) std::atomic<bool> worker_waits{false};
  alignas(64) std::atomic<bool> hub_waits{false};
};

// Connections of one worker, all services together.
inline constexpr std::uint32_t kMaxServiceConnections = 65'535;

// Messages about one connection that can be under way in one direction at a time.
inline constexpr unsigned kServiceMessages = 8;

// One worker's share: rings and connections. Made before the threads start.
class ServiceLink {
 public:
  // `connections`: at once; `pipe_bytes`: of one direction, a power of two. Throws std::runtime_error when
  // there is no memory.
  ServiceLink(std::uint32_t connections, std::uint32_t pipe_bytes);
  ~ServiceLink();
  ServiceLink(const ServiceLink&) = delete;
  ServiceLink& operator=(const ServiceLink&) = delete;

  [[nodiscard]] std::uint32_t connections() const { return connections_; }
  [[nodiscard]] ServicePipes& pipes(std::uint32_t connection) { return pipes_[connection]; }

  // Worker's end, and the hub's. False: the ring is full, which kServiceMessages a connection cannot make it.
  bool tell_hub(const ServiceMessage& message);
  bool tell_worker(const ServiceMessage& message);
  unsigned worker_takes(ServiceMessage* out, unsigned n);
  unsigned hub_takes(ServiceMessage* out, unsigned n);

 private:
  struct RingMemory;
  std::uint32_t connections_;
  std::unique_ptr<std::uint8_t[]> memory_;  // pages that no connection used are not touched
  std::unique_ptr<ServicePipes[]> pipes_;
  std::unique_ptr<RingMemory> to_hub_;
  std::unique_ptr<RingMemory> to_worker_;
};

}  // namespace dataplane
