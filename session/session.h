// Session: one complete session object in one thread, without DPDK: a shard with a single session, its
// control side, an AEAD engine and a store. For programs that embed the protocol, and the bench on which
// tests prove what the gateway's cores do apart from each other.
//
// Owner: one thread. Datagrams in, verdicts and datagrams out; `now_ns` is any monotonic clock of the caller.
// Names that protocol.md 5 and 6.7 give keep their meaning here.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "session/cold.h"
#include "session/drop_reason.h"
#include "session/epoch_store.h"
#include "session/shard.h"
#include "session/shard_commands.h"
#include "session/stream_link.h"
#include "session/streams.h"

namespace session {

struct SessionConfig {
  SessionIdentity identity;
  SessionPolicy policy;
  std::uint32_t window_bits = 8192;  // anti-replay window of a stream, power of two, 1,024..65,536
  std::uint32_t windows = 32;        // receiving streams
  std::uint32_t keys = 128;          // expanded keys: two an epoch, and what grace and jumps keep
  std::vector<PathEnds> paths;       // slots; empty: addresses are the caller's business alone
  PathPolicy path_policy;
  // Reliable streams, joined to the packets of this session; none: RELIABLE data and its acknowledgements are
  // the caller's own business. A session has either them or tunnel streams beyond 30 (hot.h).
  std::optional<StreamLimits> streams;
  std::uint32_t segment_bytes = TRANSPORT_MTU;  // largest plaintext, at most kMaxSegmentBytes
  bool credit_hint = true;                      // Streams::Config
};

// protocol.md 5.1. Handshaking is never seen here: a Session exists from its secret on.
enum class SessionState : std::uint8_t { Handshaking, Connected, Migrating, Closing, Closed };

// What the key object of the reference counts (protocol.md 4.7), for the epoch in use.
struct CryptoState {
  std::uint8_t epoch = 0;
  std::uint64_t seals = 0;
  std::uint64_t opens = 0;  // successful ones only (W-07)
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
};

// An acknowledgement the receiver of reliable data owes: plaintext = the sequence, flags ACK, same stream and
// path.
struct AckDue {
  std::uint16_t stream = 0;
  std::uint32_t sequence = 0;
  std::uint8_t path = 0;
};

// What a datagram was.
struct Received {
  enum class Kind : std::uint8_t {
    kDropped,
    kData,  // payloads: none for an empty packet
    kAck,
    kWindowUpdate,
    kPathEcho,       // a challenge; its echo is among the datagrams to send
    kPathValidated,  // the echo of ours
    kPathIgnored,
    kReport,  // a receiver report about tunnel traffic; streams need none
  };
  Kind kind = Kind::kDropped;
  DropReason drop = DropReason::kNone;  // for kDropped
  std::uint16_t stream = 0;
  std::uint32_t sequence = 0;
  std::uint8_t path = 0;
  std::uint8_t epoch = 0;
  bool fin = false;
  std::vector<std::span<const std::uint8_t>> payloads;  // into the session's buffer, until the next receive()
  std::optional<AckDue> ack;                            // also for an authentic duplicate (W-10)
  std::uint32_t acked_sequence = 0;
  std::uint32_t credit = 0;
};

struct Sent {
  DropReason drop = DropReason::kNone;  // anything else: nothing was sealed, `datagram` is empty
  std::uint8_t epoch = 0;
  std::uint32_t sequence = 0;
  std::vector<std::uint8_t> datagram;
};

class Session {
 public:
  // `engine` and `store` outlive the session. Throws std::runtime_error with advice when the restart rule
  // refuses to start or the first record cannot be written: then nothing was sealed and nothing can be.
  Session(SessionConfig config, crypto::TrafficSecret shared_secret, const crypto::Aead& engine,
          EpochStore& store, std::uint64_t now_ns);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // `from`: the address pair it came over, where the caller knows (SessionConfig::paths): then an authentic
  // packet from elsewhere is a hint that the peer moved.
  Received receive(std::span<const std::uint8_t> datagram, std::uint64_t now_ns, const PathEnds& from = {});
  // ENCRYPTED is added to `flags`; REKEY is never set (W-01).
  Sent send(std::uint16_t stream, std::uint16_t flags, std::span<const std::uint8_t> plaintext,
            std::uint8_t path, std::uint64_t now_ns);
  // Probes, challenges and echoes that the session wants sent, oldest first. `to`: where; remote.family 0:
  // wherever data goes.
  bool next_datagram(std::vector<std::uint8_t>& out);
  bool next_datagram(std::vector<std::uint8_t>& out, PathEnds& to);
  // Behind these what the streams want sent, as far as paths and peer let it go now; to be called until it
  // says no, after every receive(), on_timer(), rekey() and call on streams().
  bool next_datagram(std::vector<std::uint8_t>& out, PathEnds& to, std::uint64_t now_ns);
  // Reliable streams; null without SessionConfig::streams. open, send, receive, finish and reset are theirs.
  [[nodiscard]] Streams* streams() { return streams_.get(); }
  [[nodiscard]] const Streams* streams() const { return streams_.get(); }
  // protocol.md 12.1, of the path that data takes; without streams all 0.
  [[nodiscard]] BandwidthSnapshot bandwidth() const;
  // Where data of a stream goes now, and with which path id in its header; `copy`: the second way, or
  // nothing.
  [[nodiscard]] PathSchedule::Slot route(std::uint16_t stream) const;
  [[nodiscard]] std::optional<PathSchedule::Slot> copy_route(std::uint16_t stream) const;
  // Validates another address pair and moves there (PathManager::migrate).
  bool migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns);

  void on_timer(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t next_deadline_ns() const;

  // One epoch further, now. False: at 255, or the store failed, or the peer could not follow, or (towards an
  // unmodified peer) streams are not at rest: then it comes when they are.
  bool rekey(std::uint64_t now_ns);
  // Repeats until `target` is reached; a lower target does nothing. False: not reached.
  bool ratchet_to_epoch(std::uint8_t target, std::uint64_t now_ns);
  void set_rekey_threshold(std::uint64_t seals);                    // at least 1
  void set_seq_rekey_watermark(std::uint32_t sequences);            // at least 1
  [[nodiscard]] bool send_needs_rekey(std::uint16_t stream) const;  // would the next send() rotate?

  // The challenge that was sent, or nothing when the path is validated already or there is no room.
  std::optional<PathChallenge> begin_path_validation(std::uint8_t path, std::uint64_t now_ns);
  // The same with the caller's random bytes.
  std::optional<PathChallenge> begin_path_validation(std::uint8_t path, const PathChallenge& fresh,
                                                     std::uint64_t now_ns);
  bool complete_path_validation(std::uint8_t path, const PathChallenge& echo, std::uint64_t now_ns);

  [[nodiscard]] std::uint8_t epoch() const { return shard_->hot(kSlot).current.epoch; }
  [[nodiscard]] SessionState state() const;
  [[nodiscard]] CryptoState crypto_state() const;
  [[nodiscard]] PathState path_state(std::uint8_t path) const { return control_->paths().state(path); }
  [[nodiscard]] const SessionControl& control() const { return *control_; }
  [[nodiscard]] const SessionHot& hot() const { return shard_->hot(kSlot); }

  // Authentic or advisory rejections of the anti-replay windows; refusals of step 7.3 of protocol.md; packets
  // without ENCRYPTED.
  [[nodiscard]] std::uint64_t replay_rejected_total() const { return replay_rejected_; }
  [[nodiscard]] std::uint64_t aead_failed_total() const { return aead_failed_; }
  [[nodiscard]] std::uint64_t unencrypted_dropped_total() const { return unencrypted_; }
  [[nodiscard]] std::uint64_t store_failures_total() const { return store_failures_; }
  [[nodiscard]] std::uint32_t free_keys() const { return pool_->free_count(); }
  bool next_event(SessionEvent& out) { return control_->next_event(out); }
  bool next_path_notice(PathNotice& out) { return control_->next_path_notice(out); }

 private:
  static constexpr std::uint32_t kSlot = 0;
  static constexpr std::uint32_t kGeneration = 1;

  static ShardLimits limits_of(const SessionConfig& config);
  Received dropped(Received out, DropReason reason);
  RxPick pick(std::span<const std::uint8_t> datagram, const RxFields& fields, const PathEnds& from,
              std::uint64_t now_ns);
  bool open(std::span<const std::uint8_t> datagram, const Frame& frame, const RxFields& fields,
            const RxPick& pick);
  void act(Received& out, const RxOutcome& outcome, const RxFields& fields, const PathEnds& from,
           std::uint64_t now_ns);
  void deliver(Received& out, bool bundle);
  void path_validation(Received& out, const PathEnds& from, std::uint64_t now_ns);
  // ---- session_streams.cc
  void make_streams(std::uint64_t now_ns);
  void follow_epoch_and_path(std::uint64_t now_ns);
  bool seal_stream(StreamPacket& packet, std::vector<std::uint8_t>& out, std::uint64_t now_ns);
  // Reports to control, writes the store, carries out commands, until nothing is left to do.
  void settle(std::uint64_t now_ns);
  bool report(std::uint64_t now_ns);
  bool write_store(std::uint64_t now_ns);
  bool carry_out();
  void apply(const CmdInstallNext& c);
  void apply(const CmdJump& c);
  void apply(const CmdRetirePrevious& c);
  void apply(const CmdGrantSequences& c);
  void apply(const CmdRekey& c);
  void apply(const CmdSendPathValidation& c);
  void apply(const CmdPathValidated& c);
  void apply(const CmdSetState& c);
  void apply(const CmdSetPaths& c);
  Sent seal(std::uint16_t stream, std::uint16_t flags, std::span<const std::uint8_t> plaintext,
            std::uint8_t path);
  // What `packet` says, as a datagram with the number and key of the grant.
  void seal_as(std::vector<std::uint8_t>& out, const TxGrant& grant, const StreamPacket& packet);
  void take_back_keys();

  SessionConfig config_;
  const crypto::Aead& engine_;
  EpochStore& store_;
  crypto::SecureBlock key_memory_;
  std::span<crypto::KeySlot> key_slots_;
  crypto::SecureBlock shard_memory_;
  std::unique_ptr<KeyPool> pool_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<ShardCommands> commands_;
  std::unique_ptr<SessionControl> control_;
  std::vector<std::uint8_t> text_;  // plaintext of the packet received last
  struct Outgoing {
    std::vector<std::uint8_t> datagram;
    PathEnds to;
  };
  std::deque<Outgoing> outgoing_;
  std::shared_ptr<const PathSchedule> schedule_;
  std::unique_ptr<TimerWheel> wheel_;
  std::unique_ptr<StreamMemory> stream_memory_;
  std::unique_ptr<Streams> streams_;
  std::unique_ptr<StreamLink> link_;  // with streams_
  std::uint64_t replay_rejected_ = 0;
  std::uint64_t aead_failed_ = 0;
  std::uint64_t unencrypted_ = 0;
  std::uint64_t store_failures_ = 0;
};

}  // namespace session
