// Durable memory of what a session has used: the restart rule behind an interface (design 3: "a restart never
// reuses a nonce"). The rule itself is in cold.cc; SQLite is only in the data plane.
//
// Thread: the control core alone. commit() blocks until the records are on stable storage.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "session/hot.h"

namespace session {

using Fingerprint =
    std::array<std::uint8_t, 32>;  // crypto::secret_fingerprint of (secret, role); never the secret

// Outer endpoint of a peer or of ourselves. IPv4 addresses occupy the first four bytes.
struct Endpoint {
  std::array<std::uint8_t, 16> address{};
  std::uint16_t port = 0;   // host order
  std::uint8_t family = 0;  // 4, 6 or 0: none
  std::uint8_t reserved = 0;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct StoreRecord {
  Fingerprint fingerprint{};
  std::array<std::uint8_t, kSessionIdBytes> session_id{};
  std::uint8_t taken = 0;                             // highest epoch whose keys any worker may have held
  std::uint8_t peer_epoch = 0;                        // highest epoch the peer was heard at
  std::uint32_t incarnations = 0;                     // starts of this session so far
  std::array<std::uint32_t, kTxStreams> seq_limit{};  // first sequence of each stream that is not reserved
  Endpoint peer;                                      // last validated endpoint of the peer; family 0: none
};

class EpochStore {
 public:
  virtual ~EpochStore() = default;
  // Record of a session, or nothing when this (secret, role) was never used with this store. Throws
  // StoreError.
  virtual std::optional<StoreRecord> load(const Fingerprint& fingerprint) = 0;
  // Writes all records in one transaction, durable on return. Throws StoreError when it could not: then
  // nothing that depends on it may be handed out.
  virtual void commit(std::span<const StoreRecord> records) = 0;
};

}  // namespace session
