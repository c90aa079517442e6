#include "bench/aead_engines.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <benchmark/benchmark.h>

namespace bench {
namespace {

using crypto::AeadJob;
using crypto::KeySlot;
using crypto::kTagBytes;

constexpr unsigned kLineBytes = 64;

std::uint64_t all(unsigned n) {
  return n == crypto::kMaxBatch ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

const gcm_key_data* gcm_key(const AeadJob& job) {
  return reinterpret_cast<const gcm_key_data*>(job.key->bytes);
}

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "OpenSSL: %s failed\n", what);
  std::abort();
}

EVP_CIPHER_CTX* context_of(const AeadJob& job) {
  EVP_CIPHER_CTX* context = nullptr;
  std::memcpy(&context, job.key->bytes, sizeof(context));
  return context;
}

// Nonce and additional data of a job; its key is there.
EVP_CIPHER_CTX* start(const AeadJob& job, int seal) {
  EVP_CIPHER_CTX* context = context_of(job);
  must(EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, job.nonce.data(), seal) == 1, "nonce");
  int written = 0;
  must(EVP_CipherUpdate(context, nullptr, &written, job.aad, job.aad_bytes) == 1, "additional data");
  return context;
}

}  // namespace

RawImb::RawImb() : mgr_(alloc_mb_mgr(0)) {
  init_mb_mgr_auto(mgr_, nullptr);
}

RawImb::~RawImb() {
  free_mb_mgr(mgr_);
}

void RawImb::expand_key(crypto::Suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                        KeySlot& out) const {
  IMB_AES256_GCM_PRE(mgr_, key.data(), reinterpret_cast<gcm_key_data*>(out.bytes));
}

void RawImb::seal(const AeadJob& job) const {
  gcm_context_data context;
  IMB_AES256_GCM_ENC(mgr_, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                     job.aad, job.aad_bytes, job.text + job.text_bytes, kTagBytes);
}

void RawImb::open(const AeadJob& job) const {
  gcm_context_data context;
  std::array<std::uint8_t, kTagBytes> tag;
  IMB_AES256_GCM_DEC(mgr_, gcm_key(job), &context, job.text, job.text, job.text_bytes, job.nonce.data(),
                     job.aad, job.aad_bytes, tag.data(), kTagBytes);
  benchmark::DoNotOptimize(tag);
}

void RawImb::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) seal(job);
}

std::uint64_t RawImb::open_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) open(job);
  return all(n);
}

RawImbPrefetched::RawImbPrefetched()
    : vaes_(std::string_view(crypto::Aead().arch()).find("vaes") != std::string_view::npos),
      ahead_(vaes_ ? 8 : 4) {}

// VAES kernels of 1.3 read the round keys, and of the powers of H behind them the last ones, by length of the
// text; kernels without VAES the first 368 bytes. Of other layouts all of the slot.
void RawImbPrefetched::prefetch(const AeadJob* jobs, unsigned at, unsigned n) const {
  if (at >= n) return;
  constexpr unsigned kRoundKeyBytes = 240;
  constexpr unsigned kUsedBytes = 1008;
  constexpr unsigned kPlainBytes = 368;
  const auto* line = reinterpret_cast<const std::byte*>(jobs[at].key);
  const bool known = sizeof(KeySlot) == 1024;
  const unsigned front = !known ? sizeof(KeySlot) : vaes_ ? kRoundKeyBytes : kPlainBytes;
  for (unsigned i = 0; i < front; i += kLineBytes) __builtin_prefetch(line + i);
  if (!known || !vaes_) return;
  const unsigned tail = std::min(16 * ((jobs[at].text_bytes + 15) / 16 + 1), kUsedBytes - kRoundKeyBytes);
  for (unsigned i = (kUsedBytes - tail) / kLineBytes * kLineBytes; i < kUsedBytes; i += kLineBytes) {
    __builtin_prefetch(line + i);
  }
}

void RawImbPrefetched::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (unsigned i = 0; i < ahead_; ++i) prefetch(jobs, i, n);
  for (unsigned i = 0; i < n; ++i) {
    prefetch(jobs, i + ahead_, n);
    seal(jobs[i]);
  }
}

std::uint64_t RawImbPrefetched::open_batch(const AeadJob* jobs, unsigned n) const {
  for (unsigned i = 0; i < ahead_; ++i) prefetch(jobs, i, n);
  for (unsigned i = 0; i < n; ++i) {
    prefetch(jobs, i + ahead_, n);
    open(jobs[i]);
  }
  return all(n);
}

OpenSslEvp::~OpenSslEvp() {
  for (EVP_CIPHER_CTX* context : contexts_) EVP_CIPHER_CTX_free(context);
}

void OpenSslEvp::expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                            KeySlot& out) const {
  const bool gcm = suite == crypto::Suite::kAes256Gcm;
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  must(context != nullptr, "EVP_CIPHER_CTX_new");
  contexts_.push_back(context);
  must(EVP_CipherInit_ex(context, gcm ? EVP_aes_256_gcm() : EVP_chacha20_poly1305(), nullptr, key.data(),
                         nullptr, 1) == 1,
       "key");
  std::memset(out.bytes, 0, sizeof(out.bytes));
  std::memcpy(out.bytes, &context, sizeof(context));
}

void OpenSslEvp::seal_batch(const AeadJob* jobs, unsigned n) const {
  for (const AeadJob& job : std::span(jobs, n)) {
    EVP_CIPHER_CTX* context = start(job, 1);
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    must(EVP_CipherUpdate(context, job.text, &written, job.text, text_bytes) == 1, "text");
    must(EVP_CipherFinal_ex(context, rest, &written) == 1, "end");
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, job.text + text_bytes) == 1, "tag");
  }
}

std::uint64_t OpenSslEvp::open_batch(const AeadJob* jobs, unsigned n) const {
  std::uint64_t good = 0;
  for (unsigned i = 0; i < n; ++i) {
    const AeadJob& job = jobs[i];
    EVP_CIPHER_CTX* context = start(job, 0);
    const int text_bytes = static_cast<int>(job.text_bytes);
    int written = 0;
    unsigned char rest[kTagBytes];
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, job.text + text_bytes) == 1, "tag");
    must(EVP_CipherUpdate(context, job.text, &written, job.text, text_bytes) == 1, "text");
    if (EVP_CipherFinal_ex(context, rest, &written) == 1) good |= std::uint64_t{1} << i;
  }
  return good;
}

}  // namespace bench
