// phantom-relay: the relay of relay.h as a program.
//
//   phantom-relay [--seed N] [--socket PATH]
//
// Commands come as lines over standard input, and over the UNIX socket if one is named; each is answered by
// one line. It ends when standard input does, with 0.
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/relay.h"
#include "tests/support/relay_io.h"

namespace {

constexpr std::size_t kMostLine = 4096;
constexpr std::size_t kMostClients = 16;

// Where command lines come from: bytes in, whole lines out.
class LineReader {
 public:
  LineReader(int in, int out) : in_(in), out_(out) {}
  [[nodiscard]] int fd() const { return in_; }
  // False when the other end is gone or misbehaves.
  bool serve(support::Relay& relay) {
    char chunk[1024];
    const ssize_t got = read(in_, chunk, sizeof(chunk));
    if (got <= 0) return false;
    pending_.append(chunk, static_cast<std::size_t>(got));
    for (std::size_t end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n')) {
      const std::string answer = relay.command(std::string_view(pending_).substr(0, end)) + "\n";
      pending_.erase(0, end + 1);
      if (!put(answer)) return false;
    }
    return pending_.size() <= kMostLine;
  }

 private:
  bool put(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = write(out_, text.data(), text.size());
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  int in_, out_;
  std::string pending_;
};

struct Client {
  support::Descriptor socket;
  LineReader reader;
};

struct Options {
  std::uint64_t seed = 1;
  std::string socket;
};

bool parse(int count, char** words, Options& options) {
  for (int i = 1; i < count; i += 2) {
    const std::string_view name = words[i];
    if (i + 1 >= count) return false;
    const std::string_view value = words[i + 1];
    if (name == "--seed") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), options.seed);
      if (error != std::errc{} || end != value.data() + value.size()) return false;
    } else if (name == "--socket") {
      options.socket = value;
    } else {
      return false;
    }
  }
  return true;
}

support::Descriptor listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return {};
  path.copy(address.sun_path, path.size());
  unlink(path.c_str());
  support::Descriptor server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool listens = bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                       listen(server.get(), static_cast<int>(kMostClients)) == 0;
  return listens ? std::move(server) : support::Descriptor{};
}

void admit(const support::Descriptor& server, std::vector<Client>& clients) {
  support::Descriptor socket(accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.get() < 0 || clients.size() >= kMostClients) return;
  const int fd = socket.get();
  clients.push_back(Client{std::move(socket), LineReader(fd, fd)});
}

void serve(support::Relay& relay, const support::Descriptor& server) {
  LineReader input(STDIN_FILENO, STDOUT_FILENO);
  std::vector<Client> clients;
  std::vector<pollfd> waiting;
  while (true) {
    waiting = {{relay.fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}, {server.get(), POLLIN, 0}};
    for (const Client& client : clients) waiting.push_back({client.reader.fd(), POLLIN, 0});
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0 && !input.serve(relay)) return;
    // Backwards: erasing one leaves the places of those still to come.
    for (std::size_t i = clients.size(); i-- > 0;) {
      if (waiting[3 + i].revents != 0 && !clients[i].reader.serve(relay)) {
        clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (waiting[2].revents != 0) admit(server, clients);
    relay.run_once();  // also after a command, which may have changed what is due
  }
}

}  // namespace

int main(int count, char** words) {
  Options options;
  if (!parse(count, words, options)) {
    std::fputs("usage: phantom-relay [--seed N] [--socket PATH]\n", stderr);
    return 2;
  }
  support::Descriptor server;
  if (!options.socket.empty()) {
    server = listen_at(options.socket);
    if (server.get() < 0) {
      std::fprintf(stderr, "phantom-relay: %s: %s\n", options.socket.c_str(), std::strerror(errno));
      return 1;
    }
  }
  try {
    support::Relay relay(options.seed);
    serve(relay, server);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "phantom-relay: %s\n", error.what());
    return 1;
  }
  if (!options.socket.empty()) unlink(options.socket.c_str());
  return 0;
}
