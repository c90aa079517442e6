#include "session/bundle.h"

#include "session/wire.h"

namespace session {
namespace {

constexpr std::size_t kCountBytes = 2;
constexpr std::size_t kPartLengthBytes = 2;

}  // namespace

DropReason check_bundle(std::span<const std::uint8_t> bundle) {
  if (bundle.size() < kCountBytes) return DropReason::kCoalescedHeader;
  unsigned left = load_be16(bundle.data());
  std::size_t at = kCountBytes;
  for (; left > 0; --left) {
    if (bundle.size() - at < kPartLengthBytes) return DropReason::kCoalescedPart;
    const std::size_t bytes = load_be16(bundle.data() + at);
    at += kPartLengthBytes;
    if (bundle.size() - at < bytes) return DropReason::kCoalescedPart;
    at += bytes;
  }
  return DropReason::kNone;
}

BundleReader::BundleReader(std::span<const std::uint8_t> checked)
    : rest_(checked.subspan(kCountBytes)), left_(load_be16(checked.data())) {}

bool BundleReader::next(std::span<const std::uint8_t>& part) {
  if (left_ == 0) return false;
  --left_;
  const std::size_t bytes = load_be16(rest_.data());
  part = rest_.subspan(kPartLengthBytes, bytes);
  rest_ = rest_.subspan(kPartLengthBytes + bytes);
  return true;
}

}  // namespace session
