// What bench_aead compares: ipsec-mb's own calls, the same with keys prefetched by hand, and OpenSSL's EVP.
// crypto::Aead has the same shape.
//
// Thread: one. Slots expanded by one engine are no use to another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <intel-ipsec-mb.h>
#include <openssl/evp.h>

#include "crypto/aead.h"

namespace bench {

// The baseline: what the library costs with nothing of ours around it, neither prefetch nor (for opening) a
// comparison of tags.
class RawImb {
 public:
  RawImb();
  ~RawImb();
  RawImb(const RawImb&) = delete;
  RawImb& operator=(const RawImb&) = delete;

  void expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                  crypto::KeySlot& out) const;
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 protected:
  void seal(const crypto::AeadJob& job) const;
  void open(const crypto::AeadJob& job) const;

 private:
  IMB_MGR* mgr_;
};

// The best that such calls can be with many keys: each key's lines are asked for some packets ahead.
class RawImbPrefetched : public RawImb {
 public:
  RawImbPrefetched();
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 private:
  void prefetch(const crypto::AeadJob* jobs, unsigned at, unsigned n) const;
  bool vaes_;
  unsigned ahead_;
};

// A context a key, keyed once, so that a packet sets its nonce only.
class OpenSslEvp {
 public:
  OpenSslEvp() = default;
  ~OpenSslEvp();
  OpenSslEvp(const OpenSslEvp&) = delete;
  OpenSslEvp& operator=(const OpenSslEvp&) = delete;

  void expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                  crypto::KeySlot& out) const;
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 private:
  mutable std::vector<EVP_CIPHER_CTX*> contexts_;
};

}  // namespace bench
