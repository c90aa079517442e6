// Runs a fuzz target over the files of a directory: corpora and past crashes as plain tests, any compiler.
// Every file also in truncated and slightly damaged forms, so that a small corpus reaches far.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

unsigned run_around(const Bytes& seed) {
  unsigned runs = 1;
  LLVMFuzzerTestOneInput(seed.data(), seed.size());
  const std::size_t step = seed.size() / 64 + 1;
  for (std::size_t at = 0; at < seed.size(); at += step, runs += 2) {
    LLVMFuzzerTestOneInput(seed.data(), at);
    Bytes damaged = seed;
    damaged[at] ^= static_cast<std::uint8_t>(1U << (at % 8));
    LLVMFuzzerTestOneInput(damaged.data(), damaged.size());
  }
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned files = 0;
  unsigned runs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream in(entry.path(), std::ios::binary);
      const Bytes seed{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      runs += run_around(seed);
      ++files;
    }
  }
  std::printf("%u files, %u inputs\n", files, runs);
  return files == 0 ? 1 : 0;
}
