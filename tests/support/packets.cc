#include "tests/support/packets.h"

#include <algorithm>
#include <array>

#include "tests/support/packet_job.h"

namespace support {
namespace {

// Independent of session/wire.cc on purpose: a mistake there must not cancel out.
void put_header(const session::Header& h, std::uint8_t* p) {
  p[0] = h.version;
  std::copy(h.session_id.begin(), h.session_id.end(), p + 1);
  session::store_be16(p + 33, h.stream_id);
  session::store_be32(p + 35, h.sequence);
  session::store_be16(p + 39, h.flags);
  session::store_be16(p + 41, h.ack_delay_us);
  p[43] = h.epoch;
  p[44] = h.path_id;
}

}  // namespace

crypto::TrafficSecret test_secret(std::uint8_t seed) {
  std::array<std::uint8_t, 32> raw{};
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::uint8_t>(seed + 7 * i);
  return crypto::TrafficSecret::from(raw);
}

crypto::EpochKeys keys_at(const crypto::TrafficSecret& shared_secret, std::uint8_t epoch,
                          crypto::Suite suite) {
  crypto::TrafficSecret secret = shared_secret.clone();
  for (unsigned e = 0; e < epoch; ++e) crypto::next_traffic_secret(secret, secret);
  crypto::EpochKeys keys;
  crypto::derive_epoch_keys(secret, suite, crypto::KdfVariant::kDefault, keys);
  return keys;
}

Bytes seal_packet(const crypto::Aead& aead, const crypto::TrafficSecret& shared_secret, bool from_initiator,
                  const session::Header& header, std::span<const std::uint8_t> plaintext,
                  crypto::Suite suite) {
  const crypto::EpochKeys keys = keys_at(shared_secret, header.epoch, suite);
  crypto::KeySlot slot;
  aead.expand_key(suite, from_initiator ? keys.i2r.span() : keys.r2i.span(), slot);
  Bytes packet(session::kPacketOverhead + plaintext.size());
  put_header(header, packet.data());
  const auto text_bytes = static_cast<std::uint32_t>(plaintext.size());
  session::store_be32(&packet[session::kHeaderBytes],
                      static_cast<std::uint32_t>(text_bytes + session::kTagBytes));
  std::copy(plaintext.begin(), plaintext.end(), packet.begin() + session::kPayloadOffset);
  const crypto::AeadJob job = packet_job(packet.data(), session::load_fields(packet.data()), text_bytes, slot,
                                         keys.nonce_prefix, suite);
  aead.seal_batch(&job, 1);
  return packet;
}

}  // namespace support
