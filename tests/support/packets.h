// Packets of an endpoint that is not under test: sealed from the shared secret for any epoch, slowly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "session/wire.h"

namespace support {

using Bytes = std::vector<std::uint8_t>;

// A secret of 32 bytes that differ from each other and with `seed`.
crypto::TrafficSecret test_secret(std::uint8_t seed = 0);

// Keys of `epoch` on the chain that starts at `shared_secret`.
crypto::EpochKeys keys_at(const crypto::TrafficSecret& shared_secret, std::uint8_t epoch,
                          crypto::Suite suite = crypto::Suite::kAes256Gcm);

// The complete packet for `header` (its epoch chooses the keys), without extensions.
Bytes seal_packet(const crypto::Aead& aead, const crypto::TrafficSecret& shared_secret, bool from_initiator,
                  const session::Header& header, std::span<const std::uint8_t> plaintext,
                  crypto::Suite suite = crypto::Suite::kAes256Gcm);

}  // namespace support
