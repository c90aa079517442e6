// A Session with everything around it, at any epoch and with any first sequences, for tests.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "session/memory_store.h"
#include "session/session.h"
#include "tests/support/packets.h"

namespace support {

struct BenchOptions {
  session::Role role = session::Role::kResponder;
  crypto::Suite suite = crypto::Suite::kAes256Gcm;
  crypto::KdfVariant variant = crypto::KdfVariant::kDefault;
  std::array<std::uint8_t, session::kSessionIdBytes> id{};
  session::SessionPolicy policy;
  std::uint32_t window_bits = 1024;
  std::uint32_t windows = 64;
  std::uint32_t keys = 128;
  std::vector<session::PathEnds> paths;  // none: the session knows no addresses
  session::PathPolicy path_policy;
};

// Store that makes a session start at `epoch` (1..255) with these first sequences, as after a restart.
void resume_at(session::EpochStore& store, const BenchOptions& options, const crypto::TrafficSecret& secret,
               std::uint8_t epoch, const std::array<std::uint32_t, session::kTxStreams>& sequences = {},
               std::uint8_t peer_epoch = 0);

std::unique_ptr<session::Session> make_session(const BenchOptions& options,
                                               const crypto::TrafficSecret& secret,
                                               const crypto::Aead& engine, session::EpochStore& store,
                                               std::uint64_t now_ns = 0);

}  // namespace support
