#include "crypto/hkdf.h"

#include <array>
#include <memory>
#include <stdexcept>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "crypto/secret.h"

namespace crypto {
namespace {

struct FreeContext {
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

EVP_KDF* hkdf() {
  // Looked up once and kept for the life of the process.
  static EVP_KDF* const algorithm = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  return algorithm;
}

// OpenSSL's parameters are not const, but inputs are only read.
OSSL_PARAM input(const char* name, std::span<const std::uint8_t> bytes) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<std::uint8_t*>(bytes.data()), bytes.size());
}

void run(int mode, std::span<const std::uint8_t> key, OSSL_PARAM extra, std::span<std::uint8_t> out) {
  char digest[] = "SHA256";
  const std::array<OSSL_PARAM, 5> params = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      input(OSSL_KDF_PARAM_KEY, key),
      extra,
      OSSL_PARAM_construct_end(),
  };
  const std::unique_ptr<EVP_KDF_CTX, FreeContext> context(EVP_KDF_CTX_new(hkdf()));
  if (context == nullptr || EVP_KDF_derive(context.get(), out.data(), out.size(), params.data()) <= 0) {
    throw std::runtime_error("OpenSSL: HKDF-SHA256 failed");
  }
}

}  // namespace

void hkdf_extract(std::span<const std::uint8_t> salt, std::span<const std::uint8_t> material,
                  std::span<std::uint8_t, kSha256Bytes> out) {
  static constexpr std::array<std::uint8_t, kSha256Bytes> kNoSalt{};
  run(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, material,
      input(OSSL_KDF_PARAM_SALT, salt.empty() ? std::span<const std::uint8_t>(kNoSalt) : salt), out);
}

void hkdf_expand(std::span<const std::uint8_t, kSha256Bytes> prk, std::span<const std::uint8_t> info,
                 std::span<std::uint8_t> out) {
  run(EVP_KDF_HKDF_MODE_EXPAND_ONLY, prk, input(OSSL_KDF_PARAM_INFO, info), out);
}

void hkdf_expand(std::span<const std::uint8_t, kSha256Bytes> prk, std::string_view info,
                 std::span<std::uint8_t> out) {
  hkdf_expand(prk, {reinterpret_cast<const std::uint8_t*>(info.data()), info.size()}, out);
}

void hmac_sha256(std::span<const std::uint8_t> key, std::span<const std::uint8_t> message,
                 std::span<std::uint8_t, kSha256Bytes> out) {
  unsigned out_bytes = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(), out.data(),
           &out_bytes) == nullptr) {
    throw std::runtime_error("OpenSSL: HMAC-SHA256 failed");
  }
}

void sha256(std::span<const std::uint8_t> message, std::span<std::uint8_t, kSha256Bytes> out) {
  unsigned out_bytes = 0;
  if (EVP_Digest(message.data(), message.size(), out.data(), &out_bytes, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL: SHA-256 failed");
  }
}

}  // namespace crypto
