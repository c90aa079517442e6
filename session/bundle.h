// COALESCED bundles (protocol.md 3.8): count u16, then count times (length u16, bytes). Bytes after the last
// part are ignored, empty parts are legal.
//
// Pure; any thread; no allocation. Check first, then read: nothing of a malformed bundle may be delivered.
#pragma once

#include <cstdint>
#include <span>

#include "session/drop_reason.h"

namespace session {

// kNone, kCoalescedHeader (no complete count) or kCoalescedPart (fewer complete parts than announced).
[[nodiscard]] DropReason check_bundle(std::span<const std::uint8_t> bundle);

// Parts of a bundle that passed check_bundle, in order.
class BundleReader {
 public:
  explicit BundleReader(std::span<const std::uint8_t> checked);
  // False when there are no more parts. An empty part is returned as such.
  bool next(std::span<const std::uint8_t>& part);

 private:
  std::span<const std::uint8_t> rest_;
  unsigned left_ = 0;
};

}  // namespace session
