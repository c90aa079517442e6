// What ours is compared with: ipsec-mb's own calls, the same with keys prefetched by hand, and OpenSSL's EVP.
// crypto::Aead has the same shape.
//
// Thread: one. Slots expanded by one engine are no use to another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <intel-ipsec-mb.h>
#include <openssl/evp.h>

#include "crypto/aead.h"

namespace bench {

struct Free {
  void operator()(IMB_MGR* mgr) const { free_mb_mgr(mgr); }
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};

// The baseline: what the library costs with nothing of ours around it, neither prefetch nor (for opening) a
// comparison of tags. AES-256-GCM alone.
class RawImb {
 public:
  RawImb();

  void expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                  crypto::KeySlot& out) const;
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 protected:
  std::unique_ptr<IMB_MGR, Free> mgr_;
};

// Which bytes of an expanded key a call reads: the first ones, and of each table behind the round keys the
// last ones, by length of the text.
struct KeyReach {
  unsigned front_bytes = 0;
  unsigned table_bytes = 0;
  unsigned tables = 0;
};

// Jobs behind the end of a batch that RawImbPrefetched looks at: they have to be there, with a key.
inline constexpr unsigned kLookAhead = 8;

// The best that such calls can be with many keys: the lines that a call reads are asked for some packets
// ahead, also those of the batches to come, so that no batch begins with packets that wait.
class RawImbPrefetched : public RawImb {
 public:
  RawImbPrefetched();
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 private:
  explicit RawImbPrefetched(std::string_view arch);
  void prefetch(const crypto::AeadJob& job) const;

  KeyReach reach_;
  unsigned ahead_;
};

// A context a key, keyed once, so that a packet sets its nonce only.
class OpenSslEvp {
 public:
  void expand_key(crypto::Suite suite, std::span<const std::uint8_t, crypto::kKeyBytes> key,
                  crypto::KeySlot& out) const;
  void seal_batch(const crypto::AeadJob* jobs, unsigned n) const;
  [[nodiscard]] std::uint64_t open_batch(const crypto::AeadJob* jobs, unsigned n) const;

 private:
  mutable std::vector<std::unique_ptr<EVP_CIPHER_CTX, Free>> contexts_;
};

}  // namespace bench
