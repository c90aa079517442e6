#include "tools/cat/options.h"

#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "dataplane/address_text.h"
#include "session/streams.h"

namespace cat {
namespace {

constexpr const char* kFooter =
    "examples:\n"
    "  phantom-cat ... --role responder --local 192.0.2.2:4500 --listen > file\n"
    "  phantom-cat ... --role initiator --local 192.0.2.1:4500 --peer 192.0.2.2:4500 < file\n"
    "  phantom-cat ... -L 8080:10.0.0.5:80    (through a gateway's service with target \"forward\")\n"
    "exit codes: 0 all bytes arrived, 1 a stream was reset or the peer is gone, 2 usage, 3 socket, secret or "
    "state";

session::Endpoint endpoint_of(const std::string& option, const std::string& text) {
  const auto endpoint = dataplane::parse_endpoint(text);
  if (!endpoint) {
    throw CLI::ValidationError(
        option, fmt::format("\"{}\" is no endpoint like 192.0.2.1:4500 or [2001:db8::1]:4500", text));
  }
  return *endpoint;
}

std::string default_state_dir() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state != 0) return std::string(state) + "/phantom-cat";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/var/lib") + "/.local/state/phantom-cat";
}

struct Texts {
  std::string id, role = "initiator", suite = "aes-256-gcm", kdf = "default", local, peer, to, rekey;
  std::vector<std::string> forwards;
  std::uint16_t stream = 0;
};

void declare(CLI::App& app, Options& o, Texts& t) {
  app.footer(kFooter);
  app.add_option("--id", t.id, "session id, 64 hex digits, the same at both ends")->required();
  app.add_option("--secret-file", o.secret_file, "32 bytes or 64 hex digits; readable by its owner alone")
      ->required();
  app.add_option("--role", t.role, "one end is initiator, the other responder")
      ->check(CLI::IsMember({"initiator", "responder"}));
  app.add_option("--suite", t.suite, "the same at both ends")
      ->check(CLI::IsMember({"aes-256-gcm", "chacha20-poly1305"}));
  app.add_option("--kdf", t.kdf, "the same at both ends")->check(CLI::IsMember({"default", "fips"}));
  app.add_option("--local", t.local, "address and UDP port to send from")->required();
  app.add_option("--peer", t.peer, "the other end; without it, whoever proves to be it");
  app.add_option("--state", o.state_dir, "folder that remembers what was used, so that no nonce comes twice");
  app.add_flag("--listen", o.listen, "wait for a stream of the peer instead of opening one");
  app.add_option("--stream", t.stream, "stream id, instead of the first free one")
      ->check(CLI::Range(1, 65535));
  app.add_option("-L", t.forwards, "[BIND:]PORT[:HOST:HOSTPORT]: connections there become streams");
  app.add_option("--to", t.to, "join every stream of the peer to a TCP connection to this endpoint");
  app.add_flag("--unmodified-peer", o.unmodified_peer, "the peer is the reference implementation");
  app.add_flag("!--no-credit-hint", o.credit_hint,
               "to measure: no credit of 0 behind acknowledgements, which wakes an unmodified peer");
  app.add_flag("--progress", o.progress, "rate on stderr every second, also when that is no terminal");
  app.add_flag("--quiet", o.quiet, "nothing on stderr but errors");
  app.add_option("--rekey-interval", t.rekey, "an own rekey at least so often, e.g. 1s");
  app.add_option("--segment", o.segment_bytes, "largest piece of a stream, bytes")
      ->check(CLI::Range(std::uint32_t{256}, session::kMaxSegmentBytes));
  app.add_option("--streams", o.most_streams, "streams at once")->check(CLI::Range(1, 65535));
  app.add_option("--timeout", o.timeout_s,
                 "seconds without a sign of the peer until it counts as gone; 0: never");
}

void read(const Texts& t, const CLI::App& app, Options& o) {
  if (!dataplane::parse_hex(t.id, o.identity.id.data(), o.identity.id.size())) {
    throw CLI::ValidationError("--id", "64 hex digits are needed; make one with: openssl rand -hex 32");
  }
  o.identity.name = "phantom-cat";
  o.identity.role = t.role == "initiator" ? session::Role::kInitiator : session::Role::kResponder;
  o.identity.suite = t.suite == "aes-256-gcm" ? crypto::Suite::kAes256Gcm : crypto::Suite::kChaCha20Poly1305;
  o.identity.variant = t.kdf == "fips" ? crypto::KdfVariant::kFips : crypto::KdfVariant::kDefault;
  o.local = endpoint_of("--local", t.local);
  if (!t.peer.empty()) o.peer = endpoint_of("--peer", t.peer);
  if (!t.to.empty()) o.to = endpoint_of("--to", t.to);
  if (app.count("--stream") != 0) o.stream = t.stream;
  if (o.state_dir.empty()) o.state_dir = default_state_dir();
  if (!t.rekey.empty()) {
    const auto interval = dataplane::parse_duration_ns(t.rekey);
    if (!interval) throw CLI::ValidationError("--rekey-interval", "a time like 500ms or 10s");
    o.rekey_interval_ns = *interval;
  }
  for (const std::string& text : t.forwards) {
    const auto forward = parse_forward(text);
    if (!forward) throw CLI::ValidationError("-L", "\"" + text + "\" is not [BIND:]PORT[:HOST:HOSTPORT]");
    o.forwards.push_back(*forward);
  }
  if (o.peer.family != 0 && o.peer.family != o.local.family) {
    throw CLI::ValidationError("--peer", "an address of the family of --local");
  }
  const int modes = (o.listen ? 1 : 0) + (o.to ? 1 : 0) + (o.forwards.empty() ? 0 : 1);
  if (modes > 1) throw CLI::ValidationError("--listen, --to and -L", "choose one of them");
  if (modes == 0 && o.peer.family == 0)
    throw CLI::ValidationError("--peer", "who opens a stream must know whom to send it to");
}

}  // namespace

std::optional<LocalForward> parse_forward(const std::string& text) {
  LocalForward out;
  // A port, or an address with a port, and then perhaps a target.
  const bool address_first =
      text.starts_with('[') || text.substr(0, text.find(':')).find('.') != std::string::npos;
  std::size_t end = text.find(':', text.starts_with('[') ? text.find(']') : 0);
  if (address_first && end != std::string::npos) end = text.find(':', end + 1);
  std::string listen = text.substr(0, end);
  if (!address_first) listen = "127.0.0.1:" + listen;
  const auto endpoint = dataplane::parse_endpoint(listen);
  if (!endpoint) return std::nullopt;
  out.listen = *endpoint;
  if (end == std::string::npos) return out;
  out.target = text.substr(end + 1);
  if (!dataplane::parse_endpoint(out.target)) return std::nullopt;
  return out;
}

std::optional<Options> parse_options(int argc, char** argv, int& code) {
  CLI::App app{
      "Bytes over a stream of a Phantom session, without a gateway: standard input and output, a listener, "
      "or "
      "forwarded ports."};
  app.set_version_flag("--version", std::string("phantom-cat ") + PHANTOM_VERSION);
  Options options;
  Texts texts;
  declare(app, options, texts);
  try {
    app.parse(argc, argv);
    read(texts, app, options);
    return options;
  } catch (const CLI::ParseError& error) {
    code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
}

}  // namespace cat
