#include "bench/epoch_rig.h"

#include <algorithm>
#include <stdexcept>

#include "session/wire.h"
#include "tests/support/packet_job.h"

namespace bench {
namespace {

session::ShardLimits limits() {
  session::ShardLimits l;
  l.sessions = 4;
  l.keys = 256;
  l.windows = 16;
  l.window_bits = 1024;
  l.previous_pkts = 0xffffffff;  // a run is longer than a grace
  l.ahead_tokens = 1;
  l.ahead_per_second = 0;
  return l;
}

crypto::TrafficSecret rig_secret() {
  std::array<std::uint8_t, 32> raw{};
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::uint8_t>(3 + 5 * i);
  return crypto::TrafficSecret::from(raw);
}

}  // namespace

Chain::Chain(const crypto::Aead& aead) : aead_(aead), secret_(rig_secret()), next_(secret_.clone()) {}

const Chain::Epoch& Chain::at(std::uint8_t epoch) {
  while (epochs_.size() <= epoch) {
    crypto::EpochKeys raw;
    crypto::derive_epoch_keys(next_, crypto::Suite::kAes256Gcm, crypto::KdfVariant::kDefault, raw);
    auto made = std::make_unique<Epoch>();
    aead_.expand_key(crypto::Suite::kAes256Gcm, raw.i2r.span(), made->i2r);
    aead_.expand_key(crypto::Suite::kAes256Gcm, raw.r2i.span(), made->r2i);
    made->nonce_prefix = raw.nonce_prefix;
    epochs_.push_back(std::move(made));
    crypto::next_traffic_secret(next_, next_);
  }
  return *epochs_[epoch];
}

std::array<std::uint8_t, session::kSessionIdBytes> rig_id() {
  std::array<std::uint8_t, session::kSessionIdBytes> id;
  for (std::size_t b = 0; b < id.size(); ++b) id[b] = static_cast<std::uint8_t>(b * 11 + 1);
  return id;
}

void make_packet(Chain& chain, const crypto::Aead& aead, const PacketAsk& ask,
                 std::span<std::uint8_t, kPacketBytes> out) {
  session::Header header;
  header.session_id = rig_id();
  header.stream_id = 1;
  header.sequence = ask.sequence;
  header.flags = session::kTunnelFlags;
  header.epoch = ask.epoch;
  session::encode_header(header, out.first<session::kHeaderBytes>());
  session::store_be32(out.data() + session::kHeaderBytes,
                      static_cast<std::uint32_t>(kTextBytes + session::kTagBytes));
  std::fill(out.begin() + session::kPayloadOffset, out.end(), std::uint8_t{0});
  const Chain::Epoch& keys = chain.at(ask.epoch);
  const crypto::AeadJob job = support::packet_job(out.data(), session::load_fields(out.data()), kTextBytes,
                                                  keys.i2r, keys.nonce_prefix);
  aead.seal_batch(&job, 1);
  if (ask.forged) out[session::kPayloadOffset + kTextBytes] ^= 1;
}

WorkerRig::WorkerRig(Chain& chain)
    : chain_(chain),
      slots_(limits().keys),
      memory_(session::Shard::bytes_needed(limits()) / sizeof(Line) + 1),
      pool_(slots_),
      shard_(limits(), slots_, std::as_writable_bytes(std::span(memory_))),
      commands_(shard_) {
  restart();
}

session::KeyRef WorkerRig::take_keys(std::uint8_t epoch) {
  session::KeyRef ref;
  ref.send_key = pool_.allocate();
  ref.recv_key = pool_.allocate();
  if (ref.recv_key == session::kNone) throw std::runtime_error("no keys are free");
  const Chain::Epoch& keys = chain_.at(epoch);
  pool_.slot(ref.send_key) = keys.r2i;
  pool_.slot(ref.recv_key) = keys.i2r;
  ref.nonce_prefix = keys.nonce_prefix;
  ref.epoch = epoch;
  ref.valid = true;
  return ref;
}

void WorkerRig::take_back() {
  for (std::uint32_t key = 0; shard_.retired_front(key); shard_.retired_pop()) pool_.release(key);
}

void WorkerRig::restart(std::uint8_t epoch) {
  if (generation_ != 0) commands_.remove(0, generation_);
  take_back();
  session::SessionInit init;
  init.id = rig_id();
  init.slot = 0;
  init.generation = ++generation_;
  init.current = take_keys(epoch);
  init.seq_limit.fill(1U << 30);
  if (!commands_.add(init)) throw std::runtime_error("the session was refused");
  next_sequence_ = 0;
  install_next();
}

void WorkerRig::install_next() {
  const auto next = static_cast<std::uint8_t>(epoch() + 1);
  if (!commands_.install_next(0, generation_, take_keys(next))) throw std::runtime_error("next was refused");
}

void WorkerRig::prepare() {
  constexpr std::uint8_t kLastEpoch = 250;
  take_back();
  if (epoch() >= kLastEpoch) {
    restart();
  } else {
    install_next();
  }
}

void WorkerRig::make(std::uint8_t epoch, bool forged) {
  std::uint32_t sequence = next_sequence_;
  for (Buffer& packet : packets_) make_packet(chain_, aead_, {epoch, sequence++, forged}, packet.bytes);
  if (!forged) next_sequence_ = sequence;
}

unsigned WorkerRig::open() {
  crypto::AeadJob jobs[kRigBurst]{};
  session::RxFields fields[kRigBurst];
  session::EpochBranch branches[kRigBurst];
  unsigned n = 0;
  session::SessionHot& hot = shard_.hot(0);
  for (Buffer& packet : packets_) {
    std::uint8_t* p = packet.bytes.data();
    fields[n] = session::load_fields(p);
    const session::RxPick pick = shard_.pick_key(hot, fields[n], 0);
    if (pick.drop != session::DropReason::kNone || pick.branch == session::EpochBranch::kAhead) continue;
    jobs[n] =
        support::packet_job(p, fields[n], kTextBytes, *shard_.key(pick.key), pick.nonce_prefix, hot.suite);
    branches[n++] = pick.branch;
  }
  const std::uint64_t opened = aead_.open_batch(jobs, n);
  unsigned accepted = 0;
  for (unsigned i = 0; i < n; ++i) {
    if ((opened >> i & 1) == 0) continue;
    const session::RxOutcome outcome = shard_.accept(0, fields[i], branches[i], kTextBytes, 1);
    accepted += outcome.action == session::RxAction::kDeliver ? 1 : 0;
  }
  return accepted;
}

}  // namespace bench
