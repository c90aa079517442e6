// The anti-replay window against a set that remembers everything, with sequences on both sides of the wrap
// (the protocol specification, section 8; W-14).
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "session/replay.h"

namespace {

using session::ReplayVerdict;

// Offsets are 64 bits wide and never wrap; what the window sees is their lower half.
class Model {
 public:
  explicit Model(std::uint64_t bits) : bits_(bits) {}
  ReplayVerdict expect(std::uint64_t offset) const {
    if (seen_.empty() || offset > *seen_.rbegin()) return ReplayVerdict::kNew;
    if (offset + bits_ <= *seen_.rbegin()) return ReplayVerdict::kTooOld;
    return seen_.count(offset) != 0 ? ReplayVerdict::kDuplicate : ReplayVerdict::kNew;
  }
  void record(std::uint64_t offset) { seen_.insert(offset); }
  std::uint64_t highest() const { return seen_.empty() ? kStart : *seen_.rbegin(); }

  static constexpr std::uint64_t kStart = 1ULL << 40;  // room below for sequences that are older

 private:
  std::uint64_t bits_;
  std::set<std::uint64_t> seen_;
};

struct Step {
  std::uint8_t kind;
  std::uint32_t size;
};
void showValue(const Step& step, std::ostream& os) {
  os << "{" << unsigned{step.kind} << "," << step.size << "}";
}

rc::Gen<Step> step_of() {
  return rc::gen::construct<Step>(rc::gen::inRange<std::uint8_t>(0, 8),
                                  rc::gen::inRange<std::uint32_t>(0, 1U << 31));
}

// Near the front, at the edges of the window, at the edges of words, far ahead, far behind.
std::uint64_t offset_of(const Step& step, std::uint64_t highest, std::uint64_t bits) {
  switch (step.kind) {
    case 0:
    case 1:
      return highest + 1 + step.size % 4;
    case 2:
      return highest - step.size % 100;
    case 3:
      return highest - step.size % bits;
    case 4:
      return highest - bits + 2 - step.size % 4;
    case 5:
      return highest + bits - 2 + step.size % 4;
    case 6:
      return highest + step.size;
    default:
      return highest - step.size;
  }
}

void window_agrees(std::uint32_t bits, std::uint32_t start, const std::vector<Step>& steps) {
  std::vector<std::uint64_t> words(bits / 64);
  session::ReplayState state;
  Model model(bits);
  for (const Step& step : steps) {
    const std::uint64_t offset = offset_of(step, model.highest(), bits);
    const auto sequence = static_cast<std::uint32_t>(start + offset);
    const ReplayVerdict expected = model.expect(offset);
    const auto before = words;
    RC_ASSERT(session::replay_peek(state, words.data(), bits, sequence) == expected);
    RC_ASSERT(words == before);
    RC_ASSERT(session::replay_commit(state, words.data(), bits, sequence) == expected);
    if (expected != ReplayVerdict::kNew) {
      RC_ASSERT(words == before);
      continue;
    }
    model.record(offset);
    RC_ASSERT(session::replay_peek(state, words.data(), bits, sequence) == ReplayVerdict::kDuplicate);
    RC_ASSERT(state.highest == static_cast<std::uint32_t>(start + model.highest()));
  }
}

TEST(ReplayProperty, AgreesWithASetThatForgetsNothing) {
  EXPECT_TRUE(rc::check("window == set", [] {
    const auto bits = *rc::gen::element<std::uint32_t>(1024, 4096, 8192, 65536);
    const auto start =
        *rc::gen::element<std::uint32_t>(0, 1, 63, 0xfffffff0U, 0xffffffffU, 0x7fffffffU, 500'000);
    window_agrees(bits, start, *rc::gen::container<std::vector<Step>>(step_of()));
  }));
}

// A long run around the wrap, where a short random list rarely gets.
TEST(ReplayProperty, LongRunsAcrossTheWrap) {
  EXPECT_TRUE(rc::check("window == set, 500 steps across the wrap", [] {
    const auto near = rc::gen::construct<Step>(rc::gen::inRange<std::uint8_t>(0, 6),
                                               rc::gen::inRange<std::uint32_t>(0, 1U << 31));
    const auto below = *rc::gen::inRange<std::uint32_t>(0, 3000);
    window_agrees(1024, 0U - below, *rc::gen::container<std::vector<Step>>(500, near));
  }));
}

}  // namespace
