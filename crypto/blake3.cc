#include "crypto/blake3.h"

#include <algorithm>
#include <array>
#include <bit>

#include "crypto/secret.h"

namespace crypto {
namespace {

using Word = std::uint32_t;
using Words8 = std::array<Word, 8>;
using Words16 = std::array<Word, 16>;
using Input = std::span<const std::uint8_t>;

constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kChunkBytes = 1024;
constexpr unsigned kRounds = 7;

// The initial value of SHA-256 (fractional parts of the square roots of the first eight primes).
constexpr Words8 kInitial = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                             0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

// Order in which a round takes the words of the one before it.
constexpr std::array<std::uint8_t, 16> kPermutation = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};

enum Flag : Word {
  kChunkStart = 1,
  kChunkEnd = 2,
  kParent = 4,
  kRoot = 8,
  kKeyedHash = 16,
  kDeriveContext = 32,
  kDeriveMaterial = 64,
};

void mix(Words16& v, unsigned a, unsigned b, unsigned c, unsigned d, Word x, Word y) {
  v[a] += v[b] + x;
  v[d] = std::rotr(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 12);
  v[a] += v[b] + y;
  v[d] = std::rotr(v[d] ^ v[a], 8);
  v[c] += v[d];
  v[b] = std::rotr(v[b] ^ v[c], 7);
}

void round(Words16& v, const Words16& m) {
  mix(v, 0, 4, 8, 12, m[0], m[1]);
  mix(v, 1, 5, 9, 13, m[2], m[3]);
  mix(v, 2, 6, 10, 14, m[4], m[5]);
  mix(v, 3, 7, 11, 15, m[6], m[7]);
  mix(v, 0, 5, 10, 15, m[8], m[9]);
  mix(v, 1, 6, 11, 12, m[10], m[11]);
  mix(v, 2, 7, 8, 13, m[12], m[13]);
  mix(v, 3, 4, 9, 14, m[14], m[15]);
}

// One compression, reduced to its first eight output words: no caller needs more.
Words8 compress(const Words8& chain, Words16 m, std::uint64_t counter, Word block_bytes, Word flags) {
  Words16 v{};
  std::copy(chain.begin(), chain.end(), v.begin());
  std::copy_n(kInitial.begin(), 4, v.begin() + 8);
  v[12] = static_cast<Word>(counter);
  v[13] = static_cast<Word>(counter >> 32);
  v[14] = block_bytes;
  v[15] = flags;
  for (unsigned r = 0; r < kRounds; ++r) {
    if (r != 0) {
      Words16 next{};
      for (unsigned i = 0; i < 16; ++i) next[i] = m[kPermutation[i]];
      m = next;
    }
    round(v, m);
  }
  Words8 out{};
  for (unsigned i = 0; i < 8; ++i) out[i] = v[i] ^ v[i + 8];
  wipe(v.data(), sizeof(v));
  wipe(m.data(), sizeof(m));
  return out;
}

// A block as little-endian words, zeros behind its end.
Words16 load(Input block) {
  Words16 words{};
  for (std::size_t i = 0; i < block.size(); ++i) words[i / 4] |= Word{block[i]} << (8 * (i % 4));
  return words;
}

void store(const Words8& words, std::span<std::uint8_t, kBlake3Bytes> out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::uint8_t>(words[i / 4] >> (8 * (i % 4)));
}

Words8 chunk(const Words8& key, Input input, std::uint64_t index, Word flags, Word root) {
  Words8 chain = key;
  std::size_t at = 0;
  do {
    const std::size_t bytes = std::min(kBlockBytes, input.size() - at);
    const bool last = at + bytes == input.size();
    const Word position = (at == 0 ? kChunkStart : 0U) | (last ? kChunkEnd | root : 0U);
    Words16 words = load(input.subspan(at, bytes));
    chain = compress(chain, words, index, static_cast<Word>(bytes), flags | position);
    wipe(words.data(), sizeof(words));
    at += bytes;
  } while (at < input.size());
  return chain;
}

// The tree over `input`, which starts at chunk `first`. The left half takes the largest power of two of whole
// chunks that leaves something for the right; the depth is the logarithm of the length.
Words8 tree(const Words8& key, Input input, std::uint64_t first, Word flags, Word root) {
  if (input.size() <= kChunkBytes) return chunk(key, input, first, flags, root);
  const std::size_t chunks = (input.size() - 1) / kChunkBytes;  // whole ones that are not the last
  const std::size_t left_chunks = std::bit_floor(chunks);
  const Words8 left = tree(key, input.first(left_chunks * kChunkBytes), first, flags, 0);
  const Words8 right = tree(key, input.subspan(left_chunks * kChunkBytes), first + left_chunks, flags, 0);
  Words16 both{};
  std::copy(left.begin(), left.end(), both.begin());
  std::copy(right.begin(), right.end(), both.begin() + 8);
  return compress(key, both, 0, kBlockBytes, flags | kParent | root);
}

}  // namespace

void blake3_hash(Input input, std::span<std::uint8_t, kBlake3Bytes> out) {
  store(tree(kInitial, input, 0, 0, kRoot), out);
}

void blake3_keyed_hash(std::span<const std::uint8_t, kBlake3Bytes> key, Input input,
                       std::span<std::uint8_t, kBlake3Bytes> out) {
  Words16 block = load(key);
  Words8 words{};
  std::copy_n(block.begin(), words.size(), words.begin());
  store(tree(words, input, 0, kKeyedHash, kRoot), out);
  wipe(block.data(), sizeof(block));
  wipe(words.data(), sizeof(words));
}

void blake3_derive_key(std::string_view context, Input material, std::span<std::uint8_t, kBlake3Bytes> out) {
  const Input name(reinterpret_cast<const std::uint8_t*>(context.data()), context.size());
  const Words8 key = tree(kInitial, name, 0, kDeriveContext, kRoot);
  Words8 derived = tree(key, material, 0, kDeriveMaterial, kRoot);
  store(derived, out);
  wipe(derived.data(), sizeof(derived));
}

}  // namespace crypto
