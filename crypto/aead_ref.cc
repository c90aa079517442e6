#include "crypto/aead_ref.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <openssl/evp.h>

namespace crypto {
namespace {

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "OpenSSL: %s failed\n", what);
  std::abort();
}

}  // namespace

struct AeadRef::Impl {
  Impl() : context(EVP_CIPHER_CTX_new()) { must(context != nullptr, "EVP_CIPHER_CTX_new"); }
  ~Impl() { EVP_CIPHER_CTX_free(context); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void start(const AeadJob& job, int seal);
  EVP_CIPHER_CTX* context;
};

// Key, nonce and additional data of a job.
void AeadRef::Impl::start(const AeadJob& job, int seal) {
  const EVP_CIPHER* cipher = job.suite == Suite::kAes256Gcm ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
  const auto* key = reinterpret_cast<const unsigned char*>(job.key->bytes);
  must(EVP_CipherInit_ex(context, cipher, nullptr, key, job.nonce.data(), seal) == 1, "EVP_CipherInit_ex");
  int written = 0;
  if (job.aad_bytes == 0) return;
  must(EVP_CipherUpdate(context, nullptr, &written, job.aad, job.aad_bytes) == 1, "EVP_CipherUpdate (aad)");
}

AeadRef::AeadRef() : impl_(std::make_unique<Impl>()) {}
AeadRef::~AeadRef() = default;
AeadRef::AeadRef(AeadRef&&) noexcept = default;
AeadRef& AeadRef::operator=(AeadRef&&) noexcept = default;

void AeadRef::expand_key(Suite, std::span<const std::uint8_t, kKeyBytes> key, KeySlot& out) const noexcept {
  std::memset(out.bytes, 0, sizeof(out.bytes));
  std::memcpy(out.bytes, key.data(), key.size());
}

void AeadRef::seal_batch(const AeadJob* jobs, unsigned n) const noexcept {
  for (unsigned i = 0; i < n; ++i) {
    const AeadJob& job = jobs[i];
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    impl_->start(job, 1);
    if (text_bytes != 0) {
      must(EVP_CipherUpdate(impl_->context, job.text, &written, job.text, text_bytes) == 1,
           "EVP_CipherUpdate");
    }
    must(EVP_CipherFinal_ex(impl_->context, rest, &written) == 1, "EVP_CipherFinal_ex");
    must(EVP_CIPHER_CTX_ctrl(impl_->context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, job.text + text_bytes) == 1,
         "EVP_CTRL_AEAD_GET_TAG");
  }
}

std::uint64_t AeadRef::open_batch(const AeadJob* jobs, unsigned n) const noexcept {
  std::uint64_t good = 0;
  for (unsigned i = 0; i < n; ++i) {
    const AeadJob& job = jobs[i];
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    impl_->start(job, 0);
    must(EVP_CIPHER_CTX_ctrl(impl_->context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, job.text + text_bytes) == 1,
         "EVP_CTRL_AEAD_SET_TAG");
    if (text_bytes != 0) {
      must(EVP_CipherUpdate(impl_->context, job.text, &written, job.text, text_bytes) == 1,
           "EVP_CipherUpdate");
    }
    if (EVP_CipherFinal_ex(impl_->context, rest, &written) == 1) good |= std::uint64_t{1} << i;
  }
  return good;
}

}  // namespace crypto
