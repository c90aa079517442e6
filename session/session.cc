#include "session/session.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "crypto/secret.h"
#include "session/bundle.h"
#include "session/receiver_report.h"
#include "session/source_tag.h"

namespace session {
namespace {

constexpr std::uint64_t kMsNs = 1'000'000;
constexpr std::size_t kMaxOutgoing = 64;  // control packets that nobody fetched; the oldest is given up

std::span<crypto::KeySlot> slots_in(const crypto::SecureBlock& memory, std::uint32_t count) {
  return {reinterpret_cast<crypto::KeySlot*>(memory.data()), count};
}

}  // namespace

ShardLimits Session::limits_of(const SessionConfig& config) {
  ShardLimits limits;
  limits.sessions = 1;
  limits.keys = config.keys;
  limits.windows = config.windows;
  limits.window_bits = config.window_bits;
  limits.streams_per_session = config.windows;
  // Ids are used one after the other: each leaves a tombstone, and there are no more than these.
  if (config.streams) limits.tombstones_per_session = 1U << 16;
  limits.tombstones = limits.tombstones_per_session;  // of a shard of one; the memory is locked
  std::array<std::uint8_t, 8> index_key{};
  crypto::random_bytes(index_key);
  std::memcpy(&limits.index_key, index_key.data(), index_key.size());
  limits.older_blocks = 1;
  limits.path_sets = 1;
  limits.ahead_tokens = config.policy.trial_burst;  // one budget, met twice
  limits.ahead_per_second = config.policy.trials_per_second;
  return limits;
}

Session::Session(SessionConfig config, crypto::TrafficSecret shared_secret, const crypto::Aead& engine,
                 EpochStore& store, std::uint64_t now_ns)
    : config_(std::move(config)),
      engine_(engine),
      store_(store),
      key_memory_(config_.keys * sizeof(crypto::KeySlot)),
      key_slots_(slots_in(key_memory_, config_.keys)),
      shard_memory_(Shard::bytes_needed(limits_of(config_))),
      pool_(std::make_unique<KeyPool>(key_slots_)),
      shard_(std::make_unique<Shard>(limits_of(config_), key_slots_,
                                     std::span(shard_memory_.data(), shard_memory_.bytes()))),
      commands_(std::make_unique<ShardCommands>(*shard_)),
      control_(std::make_unique<SessionControl>(config_.identity, std::move(shared_secret), config_.policy,
                                                kSlot, kGeneration, *pool_, engine)) {
  control_->set_paths(config_.path_policy, config_.paths);
  if (const auto error = control_->start(store_.load(control_->record().fingerprint), now_ns)) {
    throw std::runtime_error(error->message);
  }
  if (!write_store(now_ns)) {
    throw std::runtime_error(config_.identity.name +
                             ": the state store cannot be written, and without it nonces could repeat");
  }
  if (!commands_->add(control_->initial())) {
    throw std::runtime_error(config_.identity.name + ": the shard refused the session");
  }
  if (config_.streams) make_streams(now_ns);
  settle(now_ns);
}

Session::~Session() = default;

Received Session::dropped(Received out, DropReason reason) {
  out.kind = Received::Kind::kDropped;
  out.drop = reason;
  switch (reason) {
    case DropReason::kAuth:
    case DropReason::kEpochBehind:
    case DropReason::kEpochTooFar:
    case DropReason::kEpochAheadForged:
      ++aead_failed_;
      break;
    case DropReason::kReplayDuplicate:
    case DropReason::kReplayTooOld:
      ++replay_rejected_;
      break;
    case DropReason::kUnencrypted:
      ++unencrypted_;
      break;
    default:
      break;
  }
  return out;
}

// The worker's choice of a key; a packet ahead goes by the control side first.
RxPick Session::pick(std::span<const std::uint8_t> datagram, const RxFields& fields, const PathEnds& from,
                     std::uint64_t now_ns) {
  const auto now_ms = static_cast<std::uint32_t>(now_ns / kMsNs);
  RxPick pick = shard_->pick_key(shard_->hot(kSlot), fields, now_ms);
  if (pick.branch != EpochBranch::kAhead || pick.drop != DropReason::kNone) return pick;
  switch (control_->on_ahead_packet(datagram, now_ns)) {
    case AheadVerdict::kForged:
      pick.drop = DropReason::kEpochAheadForged;
      return pick;
    case AheadVerdict::kBudget:
      pick.drop = DropReason::kEpochAheadBudget;
      return pick;
    case AheadVerdict::kBehind:
      pick.drop = DropReason::kEpochBehind;
      control_->on_source(fields.path, from, static_cast<std::uint32_t>(datagram.size()), now_ns);
      settle(now_ns);
      return pick;
    case AheadVerdict::kCatchUp:
    case AheadVerdict::kNotAhead:
      break;
  }
  settle(now_ns);
  pick = shard_->pick_key(shard_->hot(kSlot), fields, now_ms);
  // Still ahead: the jump waits for a store that fails. The peer sends again.
  if (pick.branch == EpochBranch::kAhead) pick.drop = DropReason::kEpochAheadBudget;
  return pick;
}

bool Session::open(std::span<const std::uint8_t> datagram, const Frame& frame, const RxFields& fields,
                   const RxPick& pick) {
  if (frame.payload_bytes < kTagBytes) return false;
  const std::uint8_t* payload = datagram.data() + kPayloadOffset;
  text_.assign(payload, payload + frame.payload_bytes);
  crypto::AeadJob job{};
  job.key = shard_->key(pick.key);
  job.aad = datagram.data();
  job.text = text_.data();
  job.text_bytes = static_cast<std::uint32_t>(frame.payload_bytes - kTagBytes);
  job.aad_bytes = kHeaderBytes;
  job.suite = config_.identity.suite;
  build_nonce(job.nonce.data(), pick.nonce_prefix.data(), fields.epoch, fields.stream, fields.sequence,
              fields.path);
  if ((engine_.open_batch(&job, 1) & 1U) == 0) return false;
  text_.resize(job.text_bytes);
  return true;
}

Received Session::receive(std::span<const std::uint8_t> datagram, std::uint64_t now_ns,
                          const PathEnds& from) {
  Received out;
  Frame frame{};
  if (!parse_frame(datagram, frame)) return dropped(std::move(out), DropReason::kTruncated);
  if (datagram[kOffVersion] != kWireVersion) return dropped(std::move(out), DropReason::kVersion);
  if (shard_->find(datagram.data() + kOffSessionId) != kSlot) {
    return dropped(std::move(out), DropReason::kUnknownSession);
  }
  const RxFields fields = load_fields(datagram.data());
  out.stream = fields.stream;
  out.sequence = fields.sequence;
  out.path = fields.path;
  out.epoch = fields.epoch;
  const RxPick picked = pick(datagram, fields, from, now_ns);
  if (picked.drop != DropReason::kNone) return dropped(std::move(out), picked.drop);
  if (!open(datagram, frame, fields, picked)) return dropped(std::move(out), DropReason::kAuth);
  const std::uint32_t source = from.remote.family == 0 ? 0 : source_tag(from.remote, from.local);
  const RxOutcome outcome =
      shard_->accept(kSlot, fields, picked.branch, static_cast<std::uint32_t>(text_.size()), now_ns, source,
                     !link_ || link_->has_room(fields, static_cast<std::uint32_t>(text_.size())));
  if (outcome.new_source && schedule_) {
    control_->on_source(fields.path, from, static_cast<std::uint32_t>(datagram.size()), now_ns);
  }
  act(out, outcome, fields, from, now_ns);
  if (link_) {
    out.ack.reset();
    link_->take(outcome, fields, text_, now_ns);
  }
  settle(now_ns);
  return out;
}

void Session::act(Received& out, const RxOutcome& outcome, const RxFields& fields, const PathEnds& from,
                  std::uint64_t now_ns) {
  const AckDue ack{fields.stream, fields.sequence, fields.path};
  out.fin = (fields.flags & kFlagFin) != 0;
  switch (outcome.action) {
    case RxAction::kDrop:
      out.fin = false;
      if (outcome.duplicate_reliable) out.ack = ack;
      if (outcome.drop == DropReason::kPathNotValidated) control_->on_unvalidated_path(fields.path);
      out = dropped(std::move(out), outcome.drop);
      return;
    case RxAction::kDeliver:
      if ((fields.flags & kFlagReliable) != 0) out.ack = ack;
      return deliver(out, false);
    case RxAction::kDeliverBundle:
      return deliver(out, true);
    case RxAction::kAck:
      out.kind = Received::Kind::kAck;
      out.acked_sequence = load_be32(text_.data());
      return;
    case RxAction::kWindowUpdate:
      out.kind = Received::Kind::kWindowUpdate;
      out.credit = load_be32(text_.data());
      out.fin = false;
      return;
    case RxAction::kReport:  // streams have acknowledgements to measure by
      out.fin = false;
      out.kind = Received::Kind::kReport;
      if (!decode_report(text_)) out = dropped(std::move(out), DropReason::kReportMalformed);
      return;
    case RxAction::kPathValidation:
      out.fin = false;
      return path_validation(out, from, now_ns);
  }
}

void Session::deliver(Received& out, bool bundle) {
  if (!bundle) {
    out.kind = Received::Kind::kData;
    if (!text_.empty()) out.payloads.emplace_back(text_);
    return;
  }
  const DropReason bad = check_bundle(text_);
  if (bad != DropReason::kNone) {
    out.fin = false;
    out = dropped(std::move(out), bad);
    return;
  }
  out.kind = Received::Kind::kData;
  BundleReader reader(text_);
  std::span<const std::uint8_t> part;
  while (reader.next(part)) {
    if (!part.empty()) out.payloads.push_back(part);
  }
}

void Session::path_validation(Received& out, const PathEnds& from, std::uint64_t now_ns) {
  PathChallenge value;
  std::copy(text_.begin(), text_.end(), value.begin());
  switch (control_->on_path_validation(out.path, value, from, now_ns)) {
    case PathVerdict::kEcho:
      out.kind = Received::Kind::kPathEcho;
      out.payloads.emplace_back(text_);
      return;
    case PathVerdict::kValidated:
      out.kind = Received::Kind::kPathValidated;
      return;
    case PathVerdict::kIgnored:
      out.kind = Received::Kind::kPathIgnored;
      return;
  }
}

Sent Session::send(std::uint16_t stream, std::uint16_t flags, std::span<const std::uint8_t> plaintext,
                   std::uint8_t path, std::uint64_t now_ns) {
  Sent out = seal(stream, flags, plaintext, path);
  settle(now_ns);
  return out;
}

Sent Session::seal(std::uint16_t stream, std::uint16_t flags, std::span<const std::uint8_t> plaintext,
                   std::uint8_t path) {
  Sent out;
  if (stream >= kTxStreams) {
    out.drop = DropReason::kStreamLimit;
    return out;
  }
  const TxGrant grant = shard_->grant(kSlot, stream);
  out.drop = grant.drop;
  if (grant.drop != DropReason::kNone) return out;
  out.epoch = grant.epoch;
  out.sequence = grant.sequence;
  StreamPacket packet;
  packet.stream = stream;
  packet.flags = static_cast<std::uint16_t>((flags | kFlagEncrypted) & ~unsigned{kFlagRekey});
  packet.path = path;
  packet.text = plaintext;
  seal_as(out.datagram, grant, packet);
  return out;
}

void Session::seal_as(std::vector<std::uint8_t>& out, const TxGrant& grant, const StreamPacket& packet) {
  SessionHot& hot = shard_->hot(kSlot);
  ++hot.tx_pkts;
  const auto text_bytes = static_cast<std::uint32_t>(packet.text.size());
  out.resize(kPacketOverhead + text_bytes);
  std::uint8_t* p = out.data();
  std::copy(packet.text.begin(), packet.text.end(), p + kPayloadOffset);
  write_packet_frame(p, hot, grant, packet.stream, packet.flags, packet.path, text_bytes, packet.ack_delay);
  crypto::AeadJob job{};
  job.key = shard_->key(grant.key);
  job.aad = p;
  job.text = p + kPayloadOffset;
  job.text_bytes = text_bytes;
  job.aad_bytes = kHeaderBytes;
  job.suite = config_.identity.suite;
  build_nonce(job.nonce.data(), grant.nonce_prefix.data(), grant.epoch, packet.stream, grant.sequence,
              packet.path);
  engine_.seal_batch(&job, 1);
}

// On stream 0, from the one counter that everything on stream 0 shares (W-05).
void Session::apply(const CmdSendPathValidation& command) {
  Sent sent = seal(0, kFlagPathValidation, command.value, command.path);
  if (sent.drop != DropReason::kNone) return;
  if (outgoing_.size() == kMaxOutgoing) outgoing_.pop_front();
  outgoing_.push_back(Outgoing{std::move(sent.datagram), command.ends});
}

bool Session::next_datagram(std::vector<std::uint8_t>& out) {
  PathEnds to;
  return next_datagram(out, to);
}

std::uint64_t Session::next_deadline_ns() const {
  const std::uint64_t at = control_->next_deadline_ns();
  return wheel_ ? std::min(at, wheel_->next_deadline_ns()) : at;
}

bool Session::next_datagram(std::vector<std::uint8_t>& out, PathEnds& to) {
  if (outgoing_.empty()) return false;
  out = std::move(outgoing_.front().datagram);
  to = outgoing_.front().to;
  if (to.remote.family == 0) to = route(0).ends;
  outgoing_.pop_front();
  return true;
}

PathSchedule::Slot Session::route(std::uint16_t stream) const {
  if (!schedule_ || stream >= kTxStreams) return {};
  return schedule_->slot[schedule_->primary[stream]];
}

std::optional<PathSchedule::Slot> Session::copy_route(std::uint16_t stream) const {
  if (!schedule_ || stream >= kTxStreams || schedule_->second[stream] == kNoPath) return std::nullopt;
  return schedule_->slot[schedule_->second[stream]];
}

bool Session::migrate(std::uint8_t slot, const PathEnds& ends, std::uint64_t now_ns) {
  const bool begun = control_->migrate(slot, ends, now_ns);
  settle(now_ns);
  return begun;
}

void Session::on_timer(std::uint64_t now_ns) {
  TrafficReport report = read_traffic(shard_->hot(kSlot));
  report.heard_ns = shard_->hot(kSlot).last_rx_tsc;  // receive() gives it the time of this clock
  control_->on_traffic(report, now_ns);
  control_->on_timer(now_ns);
  while (Timer* timer = wheel_ ? wheel_->next_expired(now_ns) : nullptr) streams_->on_timer(*timer, now_ns);
  settle(now_ns);
}

void Session::settle(std::uint64_t now_ns) {
  bool more = true;
  while (more) {
    more = report(now_ns);
    take_back_keys();
    (void)write_store(now_ns);
    more = carry_out() || more;
  }
}

bool Session::report(std::uint64_t now_ns) {
  if (shard_->take_dirty() == kNone) return false;
  SessionHot& hot = shard_->hot(kSlot);
  const std::uint8_t bits = hot.pending;
  if ((bits & kPendingHeard) != 0) control_->on_heard(hot.peer_epoch, now_ns);
  if ((bits & kPendingAdvanced) != 0) control_->on_advanced(hot.current.epoch, now_ns);
  if ((bits & kPendingSeqLow) != 0) {
    const std::uint32_t streams = std::exchange(hot.seq_low_streams, 0);
    for (std::uint16_t stream = 0; stream < kTxStreams; ++stream) {
      if ((streams >> stream & 1U) != 0) control_->on_sequence_low(stream, hot.tx[stream].next, now_ns);
    }
  }
  if ((bits & kPendingDead) != 0) control_->on_dead(now_ns);
  shard_->settle(kSlot, bits);
  return true;
}

void Session::take_back_keys() {
  std::uint32_t index = kNone;
  while (shard_->retired_front(index)) {
    pool_->release(index);
    shard_->retired_pop();
  }
}

bool Session::write_store(std::uint64_t now_ns) {
  if (!control_->wants_store()) return true;
  const StoreRecord record = control_->record();
  try {
    store_.commit({&record, 1});
  } catch (const std::exception&) {
    ++store_failures_;  // commands stay held; the next event tries again
    return false;
  }
  control_->stored(now_ns);
  return true;
}

bool Session::carry_out() {
  ControlCommand command;
  bool any = false;
  while (control_->next_command(command)) {
    std::visit([this](const auto& c) { apply(c); }, command);
    any = true;
  }
  return any;
}

// What the shard refuses as stale it answers with the keys on its retired list, so no result matters here.
void Session::apply(const CmdInstallNext& c) {
  (void)commands_->install_next(kSlot, kGeneration, c.next);
}
void Session::apply(const CmdJump& c) {
  (void)commands_->install_jump(*c.jump);
}
void Session::apply(const CmdRetirePrevious& c) {
  (void)commands_->retire_previous(kSlot, kGeneration, c.epoch);
}
void Session::apply(const CmdGrantSequences& c) {
  (void)commands_->grant_sequences(kSlot, kGeneration, c.stream, c.limit);
}
void Session::apply(const CmdRekey&) {
  (void)commands_->rekey(kSlot, kGeneration);
}
void Session::apply(const CmdPathValidated& c) {
  (void)commands_->set_path_validated(kSlot, kGeneration, c.path, c.validated);
}
// Addresses are the caller's to write; the shard learns by which it is to know its peer.
void Session::apply(const CmdSetPaths& c) {
  schedule_ = c.schedule;
  PathPlan plan;
  plan.slot = kSlot;
  plan.generation = kGeneration;
  plan.count = schedule_->count;
  plan.primary = schedule_->primary;
  plan.second = schedule_->second;
  plan.validated_paths = c.validated;
  for (unsigned i = 0; i < plan.count; ++i) {
    const PathEnds& ends = schedule_->slot[i].ends;
    if (ends.remote.family != 0) plan.source_tag[i] = source_tag(ends.remote, ends.local);
    plan.outer[i].path_id = schedule_->slot[i].path_id;
  }
  (void)commands_->set_paths(plan);
}
void Session::apply(const CmdSetState& c) {
  (void)commands_->set_state(kSlot, kGeneration, c.state);
}

bool Session::rekey(std::uint64_t now_ns) {
  const std::uint8_t before = epoch();
  if (streams_) follow_epoch_and_path(now_ns);
  control_->request_rekey(1, now_ns);
  settle(now_ns);
  return epoch() != before;
}

bool Session::ratchet_to_epoch(std::uint8_t target, std::uint64_t now_ns) {
  if (streams_) follow_epoch_and_path(now_ns);
  while (epoch() < target) {
    const std::uint8_t before = epoch();
    control_->request_rekey(std::min<unsigned>(target - before, MAX_REKEY_CATCHUP), now_ns);
    settle(now_ns);
    if (epoch() == before) return false;
  }
  return true;
}

void Session::set_rekey_threshold(std::uint64_t seals) {
  shard_->hot(kSlot).rekey_soft_limit = std::max<std::uint64_t>(seals, 1);
}

void Session::set_seq_rekey_watermark(std::uint32_t sequences) {
  shard_->hot(kSlot).seq_rekey_watermark = std::max<std::uint32_t>(sequences, 1);
}

bool Session::send_needs_rekey(std::uint16_t stream) const {
  const SessionHot& hot = shard_->hot(kSlot);
  if (hot.current.epoch < kMaxEpoch && hot.seals_in_epoch >= hot.rekey_soft_limit) return true;
  if (stream >= kTxStreams) return false;
  const TxStream& tx = hot.tx[stream];
  if (!tx.used_in_epoch || tx.epoch_tag != hot.current.epoch) return false;
  return tx.next - tx.epoch_first >= hot.seq_rekey_watermark;
}

std::optional<PathChallenge> Session::begin_path_validation(std::uint8_t path, std::uint64_t now_ns) {
  PathChallenge fresh;
  crypto::random_bytes(fresh);
  return begin_path_validation(path, fresh, now_ns);
}

std::optional<PathChallenge> Session::begin_path_validation(std::uint8_t path, const PathChallenge& fresh,
                                                            std::uint64_t now_ns) {
  const auto value = control_->begin_path_validation(path, fresh, now_ns);
  settle(now_ns);
  return value;
}

bool Session::complete_path_validation(std::uint8_t path, const PathChallenge& echo, std::uint64_t now_ns) {
  const bool validated = control_->on_path_validation(path, echo, now_ns) == PathVerdict::kValidated;
  settle(now_ns);
  return validated;
}

SessionState Session::state() const {
  switch (shard_->hot(kSlot).state) {
    case LifeState::kConnected:
      return SessionState::Connected;
    case LifeState::kMigrating:
      return SessionState::Migrating;
    case LifeState::kClosing:
      return SessionState::Closing;
    default:
      return SessionState::Closed;
  }
}

CryptoState Session::crypto_state() const {
  const SessionHot& hot = shard_->hot(kSlot);
  return CryptoState{hot.current.epoch, hot.seals_in_epoch, hot.opens_in_epoch, config_.identity.suite};
}

}  // namespace session
