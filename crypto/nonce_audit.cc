#include "crypto/nonce_audit.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

namespace crypto {

static_assert(kAuditKeyIdBytes + kNonceBytes == kAuditRecordBytes);

NonceAudit::NonceAudit() {
  const char* path = std::getenv("PHANTOM_NONCE_AUDIT_FILE");
  if (path == nullptr || *path == '\0') return;
  file_ = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (file_ < 0) throw std::runtime_error(std::string("nonce audit: ") + path + ": " + std::strerror(errno));
}

NonceAudit::~NonceAudit() {
  if (file_ >= 0) close(file_);
}

void NonceAudit::name_key(std::span<const std::uint8_t, kKeyBytes> key,
                          std::span<std::byte> spare) const noexcept {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned digest_bytes = 0;
  if (EVP_Digest(key.data(), key.size(), digest.data(), &digest_bytes, EVP_sha256(), nullptr) != 1)
    std::abort();
  std::memcpy(spare.data(), digest.data(), std::min(spare.size(), kAuditStoredIdBytes));
}

void NonceAudit::record(const AeadJob* jobs, unsigned n, std::size_t id_offset) const noexcept {
  if (file_ < 0 || n == 0) return;
  std::array<std::uint8_t, kMaxBatch * kAuditRecordBytes> records{};
  const std::size_t id_bytes = std::min(sizeof(KeySlot) - id_offset, kAuditStoredIdBytes);
  for (unsigned i = 0; i < n; ++i) {
    std::uint8_t* record = records.data() + i * kAuditRecordBytes;
    std::memcpy(record, jobs[i].key->bytes + id_offset, id_bytes);
    std::memcpy(record + kAuditKeyIdBytes, jobs[i].nonce.data(), kNonceBytes);
  }
  const auto bytes = static_cast<ssize_t>(n * kAuditRecordBytes);
  if (write(file_, records.data(), static_cast<std::size_t>(bytes)) == bytes) return;
  std::perror("nonce audit: write");
  std::abort();
}

}  // namespace crypto
