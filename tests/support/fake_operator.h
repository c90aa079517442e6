// A gateway that remembers what it was asked: for tests of the control socket without a data plane.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/address_text.h"
#include "dataplane/operator.h"

namespace support {

class FakeOperator : public dataplane::GatewayOperator {
 public:
  using Result = dataplane::OperatorResult;

  Result session_add(const dataplane::SessionEntry& entry,
                     const std::vector<dataplane::RouteConfig>& routes) override {
    return note("add " + entry.identity.name + " routes " + std::to_string(routes.size()));
  }
  Result session_remove(const std::string& name, std::uint64_t drain_ns) override {
    return note("remove " + name + " " + std::to_string(drain_ns / 1'000'000) + "ms");
  }
  Result session_replace(const std::string& old_name, const dataplane::SessionEntry& entry,
                         std::uint64_t drain_ns) override {
    return note("replace " + old_name + " by " + entry.identity.name + " " +
                std::to_string(drain_ns / 1'000'000) + "ms");
  }
  Result session_rekey(const std::string& name, unsigned steps) override {
    return note("rekey " + name + " " + std::to_string(steps));
  }
  [[nodiscard]] std::vector<dataplane::SessionView> sessions(std::size_t from,
                                                             std::size_t most) const override {
    const std::size_t begin = std::min(from, views.size());
    const std::size_t end = begin + std::min(most, views.size() - begin);
    return {views.begin() + static_cast<std::ptrdiff_t>(begin),
            views.begin() + static_cast<std::ptrdiff_t>(end)};
  }
  [[nodiscard]] std::optional<dataplane::SessionView> session(const std::string& name) const override {
    const auto at = std::find_if(views.begin(), views.end(), [&](const auto& v) { return v.name == name; });
    return at == views.end() ? std::nullopt : std::optional(*at);
  }
  [[nodiscard]] std::size_t session_count() const override { return views.size(); }
  Result path_migrate(const std::string& session, unsigned slot,
                      const std::optional<session::Endpoint>& local,
                      const std::optional<session::Endpoint>& remote) override {
    return note("migrate " + session + " " + std::to_string(slot) + " " +
                (local ? dataplane::to_text(*local) : "-") + " " +
                (remote ? dataplane::to_text(*remote) : "-"));
  }
  Result path_probe(const std::string& session, unsigned slot) override {
    return note("probe " + session + " " + std::to_string(slot));
  }
  Result route_add(const dataplane::RouteConfig& route) override {
    return note("route " + dataplane::to_text(route.prefix) + " " + route.session +
                (route.lan_gateway ? dataplane::to_text(*route.lan_gateway) : ""));
  }
  Result route_remove(const dataplane::IpPrefix& prefix) override {
    return note("unroute " + dataplane::to_text(prefix));
  }
  [[nodiscard]] std::vector<dataplane::RouteView> routes() const override { return route_views; }
  [[nodiscard]] dataplane::Snapshot stats() const override { return snapshot; }
  [[nodiscard]] const dataplane::EventLog& events() const override { return log; }

  void add_view(const std::string& name) {
    dataplane::SessionView view;
    view.name = name;
    view.state = session::LifeState::kConnected;
    view.peer = "192.0.2.2:4500";
    session::PathSlotView path;
    path.ends.local = *dataplane::parse_endpoint("192.0.2.1:4500");
    path.ends.remote = *dataplane::parse_endpoint("192.0.2.2:4500");
    path.state = session::PathState::kValidated;
    path.fallback = path.ends;
    view.paths = {path};
    view.path_counters = {{1, 2, 3, 4}};
    views.push_back(view);
  }

  std::vector<std::string> calls;
  Result next;  // of the calls that change something
  std::vector<dataplane::SessionView> views;
  std::vector<dataplane::RouteView> route_views;
  dataplane::Snapshot snapshot;
  dataplane::EventLog log;

 private:
  Result note(std::string call) {
    calls.push_back(std::move(call));
    return next;
  }
};

}  // namespace support
