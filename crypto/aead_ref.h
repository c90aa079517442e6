// The slow, obvious oracle: the contract of crypto/aead.h on OpenSSL's EVP interface, one packet after the
// other.
//
// Linked by tests and benchmarks only. Owner and thread as for Aead. A key slot expanded here holds the raw
// key and means nothing to the fast engine. A failure of OpenSSL itself (no memory, no such cipher) ends the
// process.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "crypto/aead.h"

namespace crypto {

class AeadRef {
 public:
  AeadRef();
  ~AeadRef();
  AeadRef(AeadRef&&) noexcept;
  AeadRef& operator=(AeadRef&&) noexcept;

  void expand_key(Suite suite, std::span<const std::uint8_t, kKeyBytes> key, KeySlot& out) const noexcept;
  void seal_batch(const AeadJob* jobs, unsigned n) const noexcept;
  [[nodiscard]] std::uint64_t open_batch(const AeadJob* jobs, unsigned n) const noexcept;
  [[nodiscard]] const char* arch() const noexcept { return "openssl"; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace crypto
