#include "dataplane/worker_messages.h"

#include <algorithm>
#include <cstring>

#include <rte_ring.h>

#include "dataplane/forward.h"
#include "dataplane/seal.h"
#include "dataplane/stream_host.h"
#include "dataplane/tsc.h"
#include "dataplane/tx.h"
#include "session/shard_commands.h"

namespace dataplane {
namespace {

using session::DropReason;

void answer(Core& core, const Message& command, MessageKind kind) {
  Message reply = command;
  reply.kind = kind;
  push(core.to_control, reply);  // there is room: kAnswerRoom
}

bool current(const Core& core, const Message& m) {
  if (m.slot >= core.shard.limits().sessions) return false;
  const session::SessionHot& hot = core.shard.hot(m.slot);
  return hot.state != session::LifeState::kFree && hot.generation == m.generation;
}

rte_mbuf* make_path_validation(Core& core, const std::uint8_t* value) {
  rte_mbuf* m = core.originate();
  if (m == nullptr) return nullptr;
  std::memcpy(rte_pktmbuf_append(m, session::kPathChallengeBytes), value, session::kPathChallengeBytes);
  meta(m).outer_ecn = 0;
  return m;
}

SealEntry path_validation(rte_mbuf* m, std::uint32_t slot, std::uint8_t path) {
  return SealEntry{m, slot, 0, session::kFlagEncrypted | session::kFlagPathValidation, path, Via::kPath};
}

// 32 bytes on stream 0 towards the session's endpoint (protocol.md 3.7).
void send_path_validation(Core& core, const Message& message) {
  if (!current(core, message)) return;
  rte_mbuf* m = make_path_validation(core, message.bytes.data());
  if (m != nullptr) seal_push(core, path_validation(m, message.slot, message.a));
}

// The same to an address of its own, or over the session's paths when the probe names none.
void send_probe(Core& core, const Message& message) {
  if (!current(core, message)) return;
  rte_mbuf* m = make_path_validation(core, message.probe->value.data());
  if (m == nullptr) return;
  session::OuterTemplate outer = message.probe->outer;
  const SealEntry entry = path_validation(m, message.slot, outer.path_id);
  if (outer.length == 0) return seal_push(core, entry);
  outer.ip_id = core.shard.hot(message.slot).outer.ip_id++;
  seal_over(core, entry, outer);
}

// A receiver report on its path, and the answer with what was sent there before it.
void send_report(Core& core, const Message& message) {
  if (!current(core, message)) return;
  if ((core.shard.hot(message.slot).session_flags & session::kUnmodifiedPeer) != 0) return;
  rte_mbuf* m = core.originate();
  if (m == nullptr) return;
  std::memcpy(rte_pktmbuf_append(m, session::kReportBytes), message.report.data(), session::kReportBytes);
  meta(m).outer_ecn = 0;
  seal_flush(core);
  const session::PathCounts counts = core.shard.path_counts(message.slot, message.a);
  seal_push(core,
            SealEntry{m, message.slot, session::kReportStream, session::kReportFlags, message.a, Via::kPath});
  Message sealed = message;
  sealed.sealed = SealedReport{core.now_tsc, counts.sent_bytes, counts.sent_pkts, counts.origin};
  answer(core, sealed, MessageKind::kReportSent);
}

// Begins to wait for what siblings handed over until now; there is room, or no command would have been taken.
void start_fence(Core& core, const Message& message) {
  Fence& fence = core.fences[(core.fence_head + core.fence_count++) % kMaxFences];
  fence.command = message;
  for (unsigned i = 0; i < core.workers; ++i) {
    rte_ring* ring = core.handoff_in[i];
    fence.until[i] = core.taken[i] + (ring == nullptr ? 0 : rte_ring_count(ring));
  }
}

bool all_taken(const Core& core, const Fence& fence) {
  for (unsigned i = 0; i < core.workers; ++i) {
    if (core.taken[i] < fence.until[i]) return false;
  }
  return true;
}

void listen(Core& core, const Message& m) {
  m.a != 0 ? core.endpoints.add(m.b, m.endpoint) : core.endpoints.remove(m.b);
}

// Where its packets go, how many numbers are left, or that it is over may be known only now.
void wake_streams(Core& core, std::uint32_t slot) {
  StreamSession* s = core.streams == nullptr ? nullptr : core.streams->session(slot);
  if (s != nullptr) core.streams->wake(*s);
}

// Commands about keys, numbers and states. A stale handle changes nothing and needs no answer.
void session_command(Core& core, const Message& m) {
  session::ShardCommands commands(core.shard);
  switch (m.kind) {
    case MessageKind::kInstallNext:
      commands.install_next(m.slot, m.generation, m.key);
      break;
    case MessageKind::kRetirePrevious:
      commands.retire_previous(m.slot, m.generation, m.a);
      break;
    case MessageKind::kGrantSequences:
      commands.grant_sequences(m.slot, m.generation, m.b, m.c);
      break;
    case MessageKind::kRekey:
      commands.rekey(m.slot, m.generation);
      break;
    case MessageKind::kPathValidated:
      commands.set_path_validated(m.slot, m.generation, m.a, m.b != 0);
      break;
    case MessageKind::kAheadBudget:
      commands.grant_ahead(m.slot, m.generation, m.c);
      break;
    case MessageKind::kUnwatch:
      commands.unwatch(m.slot, m.generation);
      break;
    case MessageKind::kSetAlias:
      commands.set_alias(m.slot, m.generation, m.c);
      break;
    case MessageKind::kSetState:
      commands.set_state(m.slot, m.generation, static_cast<session::LifeState>(m.a));
      break;
    default:
      break;
  }
  wake_streams(core, m.slot);
}

void stream_command(Core& core, const Message& m) {
  if (!current(core, m)) return;
  if (m.kind == MessageKind::kAttachStreams) return core.streams->attach(*m.streams);
  core.streams->set_hold(m.slot, m.a != 0);
}

// Commands whose memory or handle control gets back. What was gathered for sealing goes before: it names a
// slot, and by then another session, or other paths, may be there.
void answered_command(Core& core, const Message& m) {
  seal_flush(core);
  session::ShardCommands commands(core.shard);
  switch (m.kind) {
    case MessageKind::kAddSession:
      commands.add(*m.init);
      return answer(core, m, MessageKind::kInitDone);
    case MessageKind::kRemoveSession:
      if (core.streams != nullptr && current(core, m)) core.streams->detach(core, m.slot);
      commands.remove(m.slot, m.generation);
      return answer(core, m, MessageKind::kSessionRemoved);
    case MessageKind::kJump:
      commands.install_jump(*m.jump);
      return answer(core, m, MessageKind::kJumpDone);
    case MessageKind::kSetPaths:
      commands.set_paths(*m.plan);
      wake_streams(core, m.slot);
      return answer(core, m, MessageKind::kPathsDone);
    case MessageKind::kSendProbe:
      send_probe(core, m);
      return answer(core, m, MessageKind::kProbeDone);
    default:
      break;
  }
}

void carry_out(Core& core, const Message& m, Packets& returned) {
  switch (m.kind) {
    case MessageKind::kAddSession:
    case MessageKind::kRemoveSession:
    case MessageKind::kJump:
    case MessageKind::kSetPaths:
    case MessageKind::kSendProbe:
      return answered_command(core, m);
    case MessageKind::kAttachStreams:
    case MessageKind::kHoldStreams:
      return stream_command(core, m);
    case MessageKind::kSendPathValidation:
      return send_path_validation(core, m);
    case MessageKind::kSendReport:
      return send_report(core, m);
    case MessageKind::kListen:
      return listen(core, m);
    case MessageKind::kFence:
      return start_fence(core, m);
    case MessageKind::kNeighbour:
      return on_neighbour(core, m.neighbour);
    case MessageKind::kTransmit:
      return send_frame(core, m.mbuf, m.b);
    case MessageKind::kInject:
      return inject(core, m.mbuf);
    case MessageKind::kReturnPacket:
      return returned.push(m.mbuf);
    default:
      return session_command(core, m);
  }
}

Message about(const session::SessionHot& hot, std::uint32_t slot, MessageKind kind) {
  Message message;
  message.kind = kind;
  message.slot = slot;
  message.generation = hot.generation;
  return message;
}

// One message a sending stream whose reservation runs low. True when all of them fitted.
bool report_sequences(Core& core, std::uint32_t slot, session::SessionHot& hot) {
  while (hot.seq_low_streams != 0) {
    const auto stream = static_cast<unsigned>(__builtin_ctz(hot.seq_low_streams));
    Message message = about(hot, slot, MessageKind::kSequenceLow);
    message.b = static_cast<std::uint16_t>(stream);
    message.c = hot.tx[stream].next;
    if (!push(core.to_control, message)) return false;
    hot.seq_low_streams &= hot.seq_low_streams - 1;
  }
  return true;
}

bool report(Core& core, std::uint32_t slot, const session::SessionHot& hot, MessageKind kind,
            std::uint8_t a) {
  Message message = about(hot, slot, kind);
  message.a = a;
  return push(core.to_control, message);
}

// Reports what it can of one slot and settles exactly that; the rest stays on the shard's list.
void pay_slot(Core& core, std::uint32_t slot) {
  session::SessionHot& hot = core.shard.hot(slot);
  const std::uint8_t owed = hot.pending;
  std::uint8_t paid = owed & session::kPendingPrevious;  // its keys are on the retired list
  const auto pay = [&](std::uint8_t bit, bool done) {
    if (done) paid |= bit;
  };
  if (owed & session::kPendingAdvanced) {
    pay(session::kPendingAdvanced, report(core, slot, hot, MessageKind::kAdvanced, hot.current.epoch));
  }
  if (owed & session::kPendingHeard) {
    pay(session::kPendingHeard, report(core, slot, hot, MessageKind::kHeard, hot.peer_epoch));
  }
  if (owed & session::kPendingSeqLow) pay(session::kPendingSeqLow, report_sequences(core, slot, hot));
  if (owed & session::kPendingDead) {
    pay(session::kPendingDead, report(core, slot, hot, MessageKind::kDead, 0));
  }
  if (owed & session::kPendingMoved) {
    pay(session::kPendingMoved, report(core, slot, hot, MessageKind::kMoved, 0));
  }
  core.shard.settle(slot, paid);
}

void return_keys(Core& core) {
  std::uint32_t key = session::kNone;
  for (unsigned i = 0; i < kOwedPerLoop && core.shard.retired_front(key); ++i) {
    Message message;
    message.kind = MessageKind::kKeyRetired;
    message.c = key;
    if (!push(core.to_control, message)) return;
    core.shard.retired_pop();
  }
}

}  // namespace

unsigned take_messages(Core& core, Packets& returned) {
  if (rte_ring_empty(core.to_worker) != 0) [[likely]]
    return 0;
  // Hints leave kAnswerRoom free, so what fits now still fits when its command was carried out.
  const unsigned room =
      std::min({kMessagesPerLoop, rte_ring_free_count(core.to_control), kMaxFences - core.fence_count});
  Message messages[kMessagesPerLoop];
  const unsigned n = pop(core.to_worker, messages, room);
  const std::uint64_t begin = read_tsc();
  std::uint64_t spent_ns = 0;
  for (unsigned i = 0; i < n; ++i) {
    carry_out(core, messages[i], returned);
    const std::uint64_t now_ns = tsc_to_ns(read_tsc() - begin);
    core.stats.stalls.note_message(static_cast<std::size_t>(messages[i].kind), now_ns - spent_ns);
    spent_ns = now_ns;
  }
  if (n != 0) core.stats.stalls.note_loop(spent_ns);
  return n;
}

void answer_fences(Core& core) {
  while (core.fence_count != 0) {
    const Fence& fence = core.fences[core.fence_head];
    Message reply = fence.command;
    reply.kind = MessageKind::kFenceDone;
    if (!all_taken(core, fence) || !push(core.to_control, reply)) return;
    core.fence_head = (core.fence_head + 1) % kMaxFences;
    --core.fence_count;
  }
}

void pay_owed(Core& core) {
  for (unsigned i = 0; i < kOwedPerLoop && rte_ring_free_count(core.to_control) > kAnswerRoom; ++i) {
    const std::uint32_t slot = core.shard.take_dirty();
    if (slot == session::kNone) break;
    pay_slot(core, slot);
  }
  return_keys(core);
}

}  // namespace dataplane
