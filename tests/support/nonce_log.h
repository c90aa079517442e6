// Every (key, nonce) pair that any engine of this process seals with, whether or not the packet ever leaves.
//
// The linker puts nonce_log.cc in front of Aead::seal_batch (-Wl,--wrap, see tests/pipeline/meson.build), so
// what is tested is the release code. A pair counts as used when it is given to the engine. Thread: one.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_set>

#include "crypto/aead.h"

namespace support {

// Takes down pairs while it exists; one at a time.
class NonceLog {
 public:
  NonceLog();
  ~NonceLog();
  NonceLog(const NonceLog&) = delete;
  NonceLog& operator=(const NonceLog&) = delete;

  void record(const crypto::AeadJob& job);
  [[nodiscard]] std::uint64_t used() const { return used_; }
  [[nodiscard]] std::uint64_t duplicates() const { return duplicates_; }

 private:
  // Both suites keep the raw key at the begin of its slot.
  using Pair = std::array<std::uint8_t, crypto::kKeyBytes + crypto::kNonceBytes>;
  struct Hash {
    std::size_t operator()(const Pair& pair) const;
  };
  std::unordered_set<Pair, Hash> pairs_;
  std::uint64_t used_ = 0;
  std::uint64_t duplicates_ = 0;
};

}  // namespace support
