// Framing, header and bundles on arbitrary bytes: no read outside, and what is read is written back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "session/bundle.h"
#include "session/wire.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void header_round_trip(std::span<const std::uint8_t> data) {
  const std::span<const std::uint8_t, session::kHeaderBytes> image(data.data(), session::kHeaderBytes);
  std::uint8_t again[session::kHeaderBytes];
  session::encode_header(session::decode_header(image), again);
  check(std::memcmp(again, image.data(), sizeof(again)) == 0);
}

void bundle(std::span<const std::uint8_t> text) {
  if (session::check_bundle(text) != session::DropReason::kNone) return;
  session::BundleReader reader(text);
  std::size_t used = 2;
  for (std::span<const std::uint8_t> part; reader.next(part);) {
    used += 2 + part.size();
    check(part.data() + part.size() <= text.data() + text.size());
  }
  check(used <= text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::uint8_t> copy(data, data + size);  // exact size, so that sanitizers see the end
  session::Frame frame{};
  if (session::parse_frame(copy, frame)) {
    check(session::kPayloadOffset + std::size_t{frame.payload_bytes} + session::kLengthBytes +
              frame.ext_bytes <=
          size);
    bundle(std::span(copy).subspan(session::kPayloadOffset, frame.payload_bytes));
  }
  if (size >= session::kHeaderBytes) header_round_trip(copy);
  bundle(copy);
  return 0;
}
