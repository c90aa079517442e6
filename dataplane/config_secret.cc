// Shared secrets: read from files that nobody else can read, in locked memory, wiped when done.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "dataplane/config.h"

namespace dataplane {
namespace {

// 64 hex digits and a line end; one more byte tells that a file is longer.
constexpr std::size_t kMostBytes = 66;
constexpr std::size_t kReadBytes = kMostBytes + 1;

class File {
 public:
  explicit File(const std::string& path)
      // O_NONBLOCK: opening a pipe in the secret's place must not hang.
      : fd_(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

ConfigError error_of(const SessionEntry& entry, std::string expected, std::string advice) {
  return ConfigError{entry.secret_file, 0, "secret_file", std::move(expected), std::move(advice)};
}

std::optional<ConfigError> check_open(const SessionEntry& entry, const File& file) {
  const int reason = errno;
  if (file.fd() >= 0) return {};
  if (reason == ELOOP) {
    return error_of(entry, fmt::format("a regular file, found the symbolic link {}", entry.secret_file),
                    "name the file itself");
  }
  return error_of(
      entry, fmt::format("a readable file, opening {} failed: {}", entry.secret_file, std::strerror(reason)),
      "make one with: umask 077; openssl rand -hex 32 > " + entry.secret_file);
}

std::optional<ConfigError> check_file(const SessionEntry& entry, const File& file) {
  struct stat status {};
  if (fstat(file.fd(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return error_of(entry, fmt::format("a regular file, {} is none", entry.secret_file), "name a file");
  }
  if (status.st_uid != 0 && status.st_uid != geteuid()) {
    return error_of(
        entry,
        fmt::format("a file of ours or of root, {} belongs to user {}", entry.secret_file, status.st_uid),
        fmt::format("chown {} {}", geteuid(), entry.secret_file));
  }
  if ((status.st_mode & 077U) != 0) {
    return error_of(entry,
                    fmt::format("a file that only its owner can read, {} has mode {:04o}", entry.secret_file,
                                status.st_mode & 07777U),
                    "chmod 600 " + entry.secret_file + ", and make a new secret if someone may have read it");
  }
  return {};
}

// Bytes read, at most kReadBytes; negative with errno set.
ssize_t read_all(int fd, char* out) {
  std::size_t got = 0;
  while (got < kReadBytes) {
    const ssize_t n = read(fd, out + got, kReadBytes - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return n;
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  return static_cast<ssize_t>(got);
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool decode(std::string_view text, crypto::TrafficSecret& out) {
  if (text.size() == out.size()) {
    std::memcpy(out.data(), text.data(), out.size());
    return true;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (text.size() != 2 * out.size()) return false;
  int bad = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = nibble(text[2 * i]);
    const int low = nibble(text[2 * i + 1]);
    bad |= high | low;  // negative when one of them is
    out.data()[i] = static_cast<std::uint8_t>(static_cast<unsigned>(high) << 4 | static_cast<unsigned>(low));
  }
  return bad >= 0;
}

bool all_equal(const crypto::TrafficSecret& secret) {
  unsigned differences = 0;
  for (std::size_t i = 1; i < secret.size(); ++i) {
    differences |= static_cast<unsigned>(secret.data()[i] ^ secret.data()[0]);
  }
  return differences == 0;
}

}  // namespace

std::optional<ConfigError> load_secret(const SessionEntry& entry, crypto::TrafficSecret& out) {
  errno = 0;
  const File file(entry.secret_file);
  if (auto error = check_open(entry, file)) return error;
  if (auto error = check_file(entry, file)) return error;
  crypto::SecretBytes<kReadBytes> buffer;
  char* bytes = reinterpret_cast<char*>(buffer.data());
  const ssize_t n = read_all(file.fd(), bytes);
  if (n < 0) {
    return error_of(
        entry, fmt::format("a readable file, reading {} failed: {}", entry.secret_file, std::strerror(errno)),
        "check the disk");
  }
  const auto size = static_cast<std::size_t>(n);
  if (size > kMostBytes || !decode(std::string_view(bytes, size), out)) {
    return error_of(entry,
                    fmt::format("32 bytes, or 64 hex digits, found {}{} bytes{}",
                                size > kMostBytes ? "more than " : "", std::min(size, kMostBytes),
                                size == 64 || size == 65 ? " that are not all hex digits" : ""),
                    "make it with: umask 077; openssl rand -hex 32 > " + entry.secret_file);
  }
  if (all_equal(out)) {
    return error_of(entry, "a random secret, found one byte repeated",
                    "make it with: umask 077; openssl rand -hex 32 > " + entry.secret_file);
  }
  return {};
}

void check_secrets(const GatewayConfig& config, std::vector<ConfigError>& errors) {
  std::map<std::array<std::uint8_t, 32>, std::size_t> seen;
  for (std::size_t i = 0; i < config.sessions.size(); ++i) {
    const SessionEntry& entry = config.sessions[i];
    const std::string field = fmt::format("session[{}].secret_file", i);
    crypto::TrafficSecret secret;
    if (auto error = load_secret(entry, secret)) {
      errors.push_back(ConfigError{config.file, entry.line, field, error->expected, error->advice});
      continue;
    }
    std::array<std::uint8_t, 32> fingerprint{};
    crypto::secret_fingerprint(secret, entry.identity.role == session::Role::kInitiator, fingerprint);
    const auto [other, fresh] = seen.emplace(fingerprint, i);
    if (fresh) continue;
    errors.push_back(
        ConfigError{config.file, entry.line, field,
                    fmt::format("a secret of its own, session \"{}\" has the same secret in the same role",
                                config.sessions[other->second].identity.name),
                    "both would encrypt with the same keys and nonces; give each pair of gateways and each "
                    "session a new secret"});
  }
}

}  // namespace dataplane
