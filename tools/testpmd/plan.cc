#include "tools/testpmd/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace testpmd {
namespace {

// Weights in lowest terms; scaled down when there would be too many turns.
std::vector<std::uint32_t> small_weights(const std::vector<SizeShare>& sizes) {
  std::uint64_t common = 0;
  std::uint64_t sum = 0;
  for (const SizeShare& share : sizes) {
    common = std::gcd(common, std::uint64_t{share.weight});
    sum += share.weight;
  }
  std::vector<std::uint32_t> weights;
  const double scale = static_cast<double>(kMostTurns) / static_cast<double>(sum);
  for (const SizeShare& share : sizes) {
    const auto exact = static_cast<std::uint32_t>(share.weight / std::max<std::uint64_t>(common, 1));
    const auto scaled = static_cast<std::uint32_t>(std::lround(share.weight * scale));
    const bool fits = sum / std::max<std::uint64_t>(common, 1) <= kMostTurns;
    weights.push_back(fits ? exact : std::max(scaled, std::uint32_t{share.weight != 0}));
  }
  return weights;
}

}  // namespace

// Each turn goes to the size that is furthest behind its share.
std::vector<std::uint16_t> turns_of(const std::vector<SizeShare>& sizes) {
  const std::vector<std::uint32_t> weights = small_weights(sizes);
  const std::uint64_t turns = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
  std::vector<std::uint64_t> had(sizes.size());
  std::vector<std::uint16_t> order;
  for (std::uint64_t turn = 1; turn <= turns; ++turn) {
    std::size_t best = 0;
    std::int64_t most = std::numeric_limits<std::int64_t>::min();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const auto behind =
          static_cast<std::int64_t>(turn * weights[i]) - static_cast<std::int64_t>(had[i] * turns);
      if (weights[i] == 0 || behind <= most) continue;
      most = behind;
      best = i;
    }
    ++had[best];
    order.push_back(static_cast<std::uint16_t>(sizes[best].bytes));
  }
  return order;
}

}  // namespace testpmd
