// The beds that all parts of bench_pipeline share.
#pragma once

#include "bench/lane.h"

namespace bench {

inline constexpr std::uint32_t kPipelineSessions = 1024;

// A gateway with 1 or kPipelineSessions, all warm, and room for one more that a row adds for itself. Not one
// gateway for both: how many it has decides what the worker does ahead of use.
struct PipelineBed {
  explicit PipelineBed(std::uint32_t sessions);
  Bed bed;
  Order order;
};
PipelineBed& pipeline_bed(std::uint32_t sessions);

// Rows of all sizes, with one session and with many.
inline void every_size(benchmark::internal::Benchmark* b) {
  b->ArgsProduct({{64, 512, 1400}, {1, kPipelineSessions}})->ArgNames({"bytes", "sessions"});
}

}  // namespace bench
