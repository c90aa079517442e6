#include "dataplane/steer.h"

#include "session/table.h"
#include "session/wire.h"

namespace dataplane {

using session::DropReason;

void steer(Core& core, Packets& pkts) {
  unsigned kept = 0;
  for (unsigned i = 0; i < pkts.count; ++i) {
    rte_mbuf* m = pkts.at[i];
    const std::uint8_t* p = data_of(m);
    session::Frame frame;
    if (!session::parse_frame({p, m->data_len}, frame)) [[unlikely]] {
      core.drop(m, DropReason::kTruncated);
      continue;
    }
    if (p[session::kOffVersion] != session::kWireVersion) [[unlikely]] {
      core.drop(m, DropReason::kVersion);
      continue;
    }
    const unsigned owner =
        core.workers == 1 ? 0 : session::shard_of(p + session::kOffSessionId, core.workers);
    if (owner == core.index) [[likely]] {
      pkts.at[kept++] = m;
    } else {
      core.hand_off(m, owner, kHandoffOpen);
    }
  }
  pkts.count = kept;
}

}  // namespace dataplane
