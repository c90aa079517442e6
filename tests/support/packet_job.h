// The AEAD call of a whole Phantom packet that lies in one buffer, for benchmarks and tests.
//
// Thread: any. Header, payload length and text are there already; the nonce is of the header's fields.
#pragma once

#include "crypto/aead.h"
#include "session/shard.h"
#include "session/wire.h"

namespace support {

// `packet`: its first header byte. `fields`: of that header. `prefix`: four bytes, of the epoch's keys.
inline crypto::AeadJob packet_job(std::uint8_t* packet, const session::RxFields& fields,
                                  std::uint32_t text_bytes, const crypto::KeySlot& key,
                                  const std::array<std::uint8_t, 4>& prefix,
                                  crypto::Suite suite = crypto::Suite::kAes256Gcm) {
  crypto::AeadJob job{
      &key, packet, packet + session::kPayloadOffset, text_bytes, session::kHeaderBytes, suite, 0, {}};
  session::build_nonce(job.nonce.data(), prefix.data(), fields.epoch, fields.stream, fields.sequence,
                       fields.path);
  return job;
}

}  // namespace support
