// phantom-cat: bytes over a stream of a Phantom session, on a kernel UDP socket.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <stdexcept>

#include <fmt/core.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "dataplane/address_text.h"
#include "dataplane/config.h"
#include "dataplane/store.h"
#include "tools/cat/endpoint.h"
#include "tools/cat/modes.h"
#include "tools/cat/options.h"

namespace cat {
namespace {

enum ExitCode : int { kOk = 0, kBroken = 1, kSetup = 3 };

constexpr std::uint64_t kSecondNs = 1'000'000'000;
// How long the last acknowledgements of ours are repeated for a peer that lost them.
constexpr std::uint64_t kLingerNs = kSecondNs;
constexpr const char* kStoreName = "phantom-cat";

std::atomic<bool> stop{false};

void on_signal(int) {
  stop.store(true);
}

dataplane::SqliteStore open_store(const std::string& directory) {
  if (!dataplane::state_file_exists(directory + "/epochs.db")) {
    dataplane::SqliteStore::create(directory, kStoreName);
  }
  return dataplane::SqliteStore(directory, kStoreName);
}

crypto::TrafficSecret read_secret(const Options& options) {
  dataplane::SessionEntry entry;
  entry.secret_file = options.secret_file;
  crypto::TrafficSecret secret;
  if (const auto error = dataplane::load_secret(entry, secret)) {
    throw std::runtime_error(
        fmt::format("{}: expected {}; {}", options.secret_file, error->expected, error->advice));
  }
  return secret;
}

EndpointConfig config_of(const Options& options) {
  EndpointConfig config;
  config.local = options.local;
  config.peer = options.peer;
  config.session.identity = options.identity;
  config.session.policy.unmodified_peer = options.unmodified_peer;
  config.session.policy.rekey_interval_ns = options.rekey_interval_ns;
  if (options.timeout_s > 0) {
    config.session.policy.idle_timeout_ns = static_cast<std::uint64_t>(options.timeout_s * 1e9);
  }
  config.session.segment_bytes = options.segment_bytes;
  config.session.credit_hint = options.credit_hint;
  config.session.streams = session::StreamLimits{};
  config.session.streams->streams = options.most_streams;
  config.session.windows = 2 * options.most_streams + 32;
  return config;
}

// One line a second on stderr, in place where that is a terminal.
class Progress {
 public:
  explicit Progress(const Options& options)
      : terminal_(isatty(STDERR_FILENO) == 1), on_(!options.quiet && (terminal_ || options.progress)) {}
  [[nodiscard]] std::uint64_t due_ns() const { return on_ ? due_ns_ : UINT64_MAX; }
  void show(Endpoint& endpoint, const Mode& mode) {
    const std::uint64_t now = now_ns();
    if (!on_ || now < due_ns_) return;
    const Totals totals = mode.totals();
    const double seconds = static_cast<double>(now - last_ns_) / 1e9;
    const auto bytes = static_cast<double>(totals.sent_bytes + totals.received_bytes - last_bytes_);
    const session::BandwidthSnapshot path = endpoint.session().bandwidth();
    fmt::print(stderr,
               "{}sent {:.1f} MB, received {:.1f} MB, {:.2f} MB/s, {} stream(s), rtt {:.1f} ms, epoch {}{}",
               terminal_ ? "\r\033[K" : "", static_cast<double>(totals.sent_bytes) / 1e6,
               static_cast<double>(totals.received_bytes) / 1e6, bytes / 1e6 / seconds, totals.open,
               static_cast<double>(path.min_rtt_ns) / 1e6, endpoint.session().epoch(), terminal_ ? "" : "\n");
    last_ns_ = now;
    last_bytes_ = totals.sent_bytes + totals.received_bytes;
    due_ns_ = now + kSecondNs;
  }
  void end() const {
    if (on_ && terminal_) fmt::print(stderr, "\n");
  }

 private:
  bool terminal_;
  bool on_;
  std::uint64_t last_ns_ = now_ns();
  std::uint64_t due_ns_ = last_ns_ + kSecondNs;
  std::uint64_t last_bytes_ = 0;
};

bool peer_is_gone(Endpoint& endpoint) {
  return endpoint.session().state() == session::SessionState::Closed;
}

// The peer may have lost our last acknowledgements: it asks again, and is answered.
void linger(Endpoint& endpoint) {
  const std::uint64_t end = now_ns() + kLingerNs;
  while (!stop && now_ns() < end && !peer_is_gone(endpoint)) endpoint.round(end, [] {});
}

void say_end(const Options& options, const Totals& totals, std::uint64_t took_ns, std::uint8_t epoch) {
  if (options.quiet) return;
  const double seconds = static_cast<double>(took_ns) / 1e9;
  const auto bytes = static_cast<double>(totals.sent_bytes + totals.received_bytes);
  fmt::print(stderr, "phantom-cat: sent {} bytes, received {} bytes in {:.2f} s, {:.2f} MB/s, epoch {}\n",
             totals.sent_bytes, totals.received_bytes, seconds, bytes / 1e6 / seconds, epoch);
  if (totals.waited != 0) {
    fmt::print(stderr, "phantom-cat: new connections had to wait for a descriptor {} time(s)\n",
               totals.waited);
  }
}

int run(const Options& options) {
  dataplane::SqliteStore store = open_store(options.state_dir);
  Endpoint endpoint(config_of(options), read_secret(options), store);
  const std::unique_ptr<Mode> mode = make_mode(endpoint, options);
  if (!options.quiet) fmt::print(stderr, "phantom-cat: at {}\n", dataplane::to_text(endpoint.local()));
  Progress progress(options);
  const std::uint64_t begin = now_ns();
  bool more = false;
  while (!stop && !mode->over() && !peer_is_gone(endpoint)) {
    const std::uint64_t due = std::min(progress.due_ns(), mode->due_ns());
    endpoint.round(more ? 0 : due, [&] { more = mode->work(); });
    progress.show(endpoint, *mode);
  }
  progress.end();
  const bool gone = peer_is_gone(endpoint);
  if (gone) fmt::print(stderr, "phantom-cat: nothing was heard of the peer for {} s\n", options.timeout_s);
  const std::uint64_t took_ns = now_ns() - begin;
  if (mode->over()) linger(endpoint);
  say_end(options, mode->totals(), took_ns, endpoint.session().epoch());
  return gone || (mode->over() && mode->exit_code() != 0) ? kBroken : kOk;
}

}  // namespace
}  // namespace cat

int main(int argc, char** argv) {
  crypto::harden_process();
  int code = 0;
  const auto options = cat::parse_options(argc, argv, code);
  if (!options) return code;
  std::signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(number, cat::on_signal);
  try {
    return cat::run(*options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "phantom-cat: {}\n", error.what());
    return cat::kSetup;
  }
}
