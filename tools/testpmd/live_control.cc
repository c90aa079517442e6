// What the harness asks of its Phantom end, and of the pieces beside the traffic: attacks, relay, capture.
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>

#include "tools/testpmd/live_harness.h"

namespace testpmd {
namespace {

// UDP ports that a migrating session goes round, beginning with its configured one.
constexpr std::uint16_t kMigrationPorts = 8;

}  // namespace

std::string LiveHarness::rekey(const std::string& session, unsigned steps) {
  const std::lock_guard guard(end_->control().lock());
  dataplane::GatewayOperator& door = end_->control().operator_door();
  if (session != "all") return door.session_rekey(session, steps).message;
  for (const dataplane::SessionEntry& entry : config_.end.sessions) {
    const dataplane::OperatorResult result = door.session_rekey(entry.identity.name, steps);
    if (!result.ok()) return result.message;
  }
  return {};
}

std::string LiveHarness::migrate(const std::string& session) {
  std::unordered_map<std::string, std::uint16_t> first_port;
  for (const dataplane::SessionEntry& entry : config_.end.sessions) {
    if (session == "all" || entry.identity.name == session) {
      first_port.emplace(entry.identity.name, entry.local.port);
    }
  }
  if (first_port.empty()) return "no session is named \"" + session + "\"";
  const std::lock_guard guard(end_->control().lock());
  dataplane::GatewayOperator& door = end_->control().operator_door();
  for (const dataplane::SessionView& view : door.sessions(0, SIZE_MAX)) {
    const auto first = first_port.find(view.name);
    if (first == first_port.end()) continue;
    if (view.paths.empty()) return "session \"" + view.name + "\" has no path";
    session::Endpoint local = view.paths[0].ends.local;
    const auto turn = static_cast<std::uint16_t>(local.port - first->second + 1);
    local.port = static_cast<std::uint16_t>(first->second + turn % kMigrationPorts);
    const dataplane::OperatorResult result = door.path_migrate(view.name, 0, local, std::nullopt);
    if (!result.ok()) return result.message;
  }
  return {};
}

std::string LiveHarness::attack(const std::string& name, double pps, std::uint64_t count) {
  if (attacker_ == nullptr) return "attacks need a port with role \"wan\": add one";
  return attacker_->set_up(name, pps, count);
}

void LiveHarness::attack_stop() {
  if (attacker_ != nullptr) attacker_->stop();
}

std::uint64_t LiveHarness::attack_left() const {
  return attacker_ == nullptr ? 0 : attacker_->left();
}

std::string LiveHarness::set_relay(const std::string& direction, const std::vector<std::string>& settings) {
  if (relays_.empty()) return "a relay needs a port with role \"lan\" and one with role \"wan\"";
  for (const auto& relay : relays_) {
    if (std::string refused = relay->set(direction, settings); !refused.empty()) return refused;
  }
  return {};
}

std::string LiveHarness::relay_text() const {
  std::string text;
  for (std::size_t i = 0; i < relays_.size(); ++i) {
    if (relays_.size() > 1) text += fmt::format("lane {}\n", i);
    text += relays_[i]->text();
  }
  return text;
}

std::string LiveHarness::capture(const std::string& file, std::uint64_t count) {
  return capture_ == nullptr ? "there is no port to capture from" : capture_->open(file, count);
}

std::string LiveHarness::capture_stop() {
  return capture_ == nullptr ? "" : capture_->close();
}

}  // namespace testpmd
