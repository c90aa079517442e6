// The bed that all parts of bench_pipeline share.
#pragma once

#include "bench/lane.h"

namespace bench {

inline constexpr std::uint32_t kPipelineSessions = 1024;
// Beside them: one that rekeys, added by the row that wants it.
inline constexpr std::uint32_t kRekeyed = kPipelineSessions;

// With all kPipelineSessions installed and warm.
Bed& pipeline_bed();
// 1 or kPipelineSessions of them in turn.
Order& pipeline_order(std::uint32_t sessions);

}  // namespace bench
