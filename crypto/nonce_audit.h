// Record of every (key, nonce) pair used for sealing. Compiled into test builds only (meson option
// nonce_audit): it costs a system call a burst, and it exists to prove over all incarnations of a gateway
// that no pair is ever used twice.
//
// File: the one named by PHANTOM_NONCE_AUDIT_FILE, opened for appending, created with mode 0600. Records are
// 32 bytes without any separator and follow the order of sealing inside one engine:
//
//   offset  bytes  content
//   0       20     key id: the first 16 bytes of SHA-256(raw key), then zeros
//   20      12     nonce, as given to the AEAD
//
// One burst is one write() with O_APPEND, before anything of it is sealed, so several engines and processes
// may share a file, and a crash can leave records of packets that never left but never the reverse. A write
// that fails ends the process: an audit with holes would prove nothing. Without the variable nothing is
// recorded. tools/nonce-audit checks a set of such files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/aead.h"

namespace crypto {

inline constexpr std::size_t kAuditRecordBytes = 32;
inline constexpr std::size_t kAuditKeyIdBytes = 20;
// What the spare bytes of a key slot hold with every ipsec-mb so far (1,024 - 1,008 and 1,280 - 1,264 bytes).
inline constexpr std::size_t kAuditStoredIdBytes = 16;

// Owner: one engine; thread: the engine's.
class NonceAudit {
 public:
  NonceAudit();  // throws std::runtime_error when the file cannot be opened
  ~NonceAudit();
  NonceAudit(const NonceAudit&) = delete;
  NonceAudit& operator=(const NonceAudit&) = delete;

  // Writes the key's id to the bytes of its slot behind the expanded key.
  void name_key(std::span<const std::uint8_t, kKeyBytes> key, std::span<std::byte> spare) const noexcept;

  // Appends one record a job; the ids start at `id_offset` of each slot.
  void record(const AeadJob* jobs, unsigned n, std::size_t id_offset) const noexcept;

 private:
  int file_ = -1;
};

}  // namespace crypto
