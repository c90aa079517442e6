#include "tests/support/nonce_log.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string_view>

namespace support {
namespace {
NonceLog* current = nullptr;
}

// The engine's own function, and what the linker calls in its place.
void engine_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__real__ZNK6crypto4Aead10seal_batchEPKNS_7AeadJobEj");
void logged_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept
    asm("__wrap__ZNK6crypto4Aead10seal_batchEPKNS_7AeadJobEj");

void logged_seal(const crypto::Aead* engine, const crypto::AeadJob* jobs, unsigned n) noexcept {
  for (unsigned i = 0; current != nullptr && i < n; ++i) current->record(jobs[i]);
  engine_seal(engine, jobs, n);
}

NonceLog::NonceLog() {
  if (current != nullptr) throw std::logic_error("a nonce log exists already");
  current = this;
}

NonceLog::~NonceLog() {
  current = nullptr;
}

std::size_t NonceLog::Hash::operator()(const Pair& pair) const {
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(pair.data()), pair.size()});
}

void NonceLog::record(const crypto::AeadJob& job) {
  Pair pair{};
  std::memcpy(pair.data(), job.key->bytes, crypto::kKeyBytes);
  std::copy(job.nonce.begin(), job.nonce.end(), pair.begin() + crypto::kKeyBytes);
  ++used_;
  if (!pairs_.insert(pair).second) ++duplicates_;
}

}  // namespace support
