#include "tests/support/session_bench.h"

namespace support {

void resume_at(session::EpochStore& store, const BenchOptions& options, const crypto::TrafficSecret& secret,
               std::uint8_t epoch, const std::array<std::uint32_t, session::kTxStreams>& sequences,
               std::uint8_t peer_epoch) {
  session::StoreRecord record;
  crypto::secret_fingerprint(secret, options.role == session::Role::kInitiator, record.fingerprint);
  record.session_id = options.id;
  record.taken = static_cast<std::uint8_t>(epoch - 1);
  record.peer_epoch = peer_epoch;
  record.seq_limit = sequences;
  store.commit({&record, 1});
}

std::unique_ptr<session::Session> make_session(const BenchOptions& options,
                                               const crypto::TrafficSecret& secret,
                                               const crypto::Aead& engine, session::EpochStore& store,
                                               std::uint64_t now_ns) {
  session::SessionConfig config;
  config.identity = {"bench", options.id, options.role, options.suite, options.variant};
  config.policy = options.policy;
  config.window_bits = options.window_bits;
  config.windows = options.windows;
  config.keys = options.keys;
  config.paths = options.paths;
  config.path_policy = options.path_policy;
  return std::make_unique<session::Session>(std::move(config), secret.clone(), engine, store, now_ns);
}

}  // namespace support
