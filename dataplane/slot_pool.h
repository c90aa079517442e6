// Slots of one worker's shard, as control hands them out: never used ones first, then those given back, the
// longest unused first, so that a slot rests as long as possible. Each use has a generation of its own, which
// tells messages about one session from those about a later one in the same slot.
//
// Owner: control core. Memory grows with the number of slots that were ever used at the same time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace dataplane {

struct SlotUse {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // 1, 2, 3, ... of this slot
};

class SlotPool {
 public:
  explicit SlotPool(std::uint32_t limit) : limit_(limit) {}

  // Nothing: all are in use.
  std::optional<SlotUse> take() {
    std::uint32_t slot = 0;
    if (generations_.size() < limit_) {
      slot = static_cast<std::uint32_t>(generations_.size());
      generations_.push_back(0);
    } else if (!free_.empty()) {
      slot = free_.front();
      free_.pop_front();
    } else {
      return std::nullopt;
    }
    return SlotUse{slot, ++generations_[slot]};
  }
  // Only once no packet and no message can name it any more.
  void give_back(std::uint32_t slot) { free_.push_back(slot); }
  [[nodiscard]] std::size_t used() const { return generations_.size() - free_.size(); }

 private:
  std::uint32_t limit_;
  std::deque<std::uint32_t> free_;
  std::vector<std::uint32_t> generations_;  // by slot, of those that were ever used
};

}  // namespace dataplane
