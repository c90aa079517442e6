// The generator is replaced by OpenSSL's older interface, the only one for a whole process.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/support/seeded_random.h"

#include <random>
#include <stdexcept>

#include <openssl/rand.h>

namespace support {
namespace {

std::mt19937_64 generator;

int draw(unsigned char* out, int bytes) {
  for (int i = 0; i < bytes; ++i) out[i] = static_cast<unsigned char>(generator());
  return 1;
}

int ready() {
  return 1;
}

const RAND_METHOD kSeeded = {nullptr, draw, nullptr, nullptr, draw, ready};

}  // namespace

SeededRandom::SeededRandom(std::uint64_t seed) {
  generator.seed(seed);
  if (RAND_set_rand_method(&kSeeded) != 1) throw std::runtime_error("OpenSSL keeps its own generator");
}

SeededRandom::~SeededRandom() {
  RAND_set_rand_method(nullptr);
}

}  // namespace support
