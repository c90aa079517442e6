#include "dataplane/rpc_methods.h"

#include <algorithm>
#include <memory>
#include <set>

#include <fmt/core.h>
#include <rte_version.h>

#include "dataplane/address_text.h"
#include "dataplane/config_session.h"

namespace dataplane {
namespace {

constexpr const char* kDefaultDrain = "5s";
constexpr std::uint64_t kMostIndex = 0xffffffff;
constexpr std::uint64_t kAnyNumber = ~std::uint64_t{0};
constexpr std::size_t kMostCompared = 4096;  // names among which a wrong one's nearest is looked for
constexpr unsigned kMostSteps = session::MAX_REKEY_CATCHUP;

RpcParam required(const char* name, RpcType type, const char* text) {
  return {name, type, true, text};
}
RpcParam optional(const char* name, RpcType type, const char* text) {
  return {name, type, false, text};
}

int code_of(OperatorStatus status) {
  switch (status) {
    case OperatorStatus::kOk:
      return 0;
    case OperatorStatus::kNotFound:
      return kRpcNotFound;
    case OperatorStatus::kExists:
      return kRpcExists;
    case OperatorStatus::kInvalid:
      return kRpcInvalidParams;
    case OperatorStatus::kRefused:
      return kRpcRefused;
    case OperatorStatus::kNoRoom:
      return kRpcNoRoom;
    case OperatorStatus::kStore:
      return kRpcStore;
  }
  return kRpcInternal;
}

Json done(const OperatorResult& result) {
  if (!result.ok()) throw RpcFailure(code_of(result.status), result.message);
  return {{"ok", true}};
}

class Methods {
 public:
  Methods(GatewayOperator& gateway, const GatewayConfig& config, std::function<Json()> counters)
      : gateway_(gateway), config_(config), counters_(std::move(counters)) {}

  // ---- sessions
  Json session_add(const RpcParams& p) {
    const SessionText session = session_of(p.object(), config_);
    return done(gateway_.session_add(session.entry, session.routes));
  }
  Json session_remove(const RpcParams& p) {
    return done(gateway_.session_remove(p.text("name"), drain_of(p)));
  }
  Json session_replace(const RpcParams& p) {
    const SessionText session = session_of(p.object()["session"], config_);
    if (!session.routes.empty()) {
      throw RpcFailure(kRpcInvalidParams,
                       "Invalid params: session[0].routes: expected no routes, as the new session takes over "
                       "those of the old one; add others with route.add");
    }
    return done(gateway_.session_replace(p.text("old"), session.entry, drain_of(p)));
  }
  Json session_rekey(const RpcParams& p) {
    return done(
        gateway_.session_rekey(p.text("name"), static_cast<unsigned>(p.number("steps", 1, 1, kMostSteps))));
  }
  Json session_show(const RpcParams& p) {
    return page(p, "sessions", [](Json& out, const SessionView& view) { out.push_back(session_json(view)); });
  }

  // ---- paths
  Json path_show(const RpcParams& p) {
    return page(p, "paths", [](Json& out, const SessionView& view) {
      for (const Json& path : paths_json(view)) {
        Json one = {{"session", view.name}};
        one.update(path);
        out.push_back(std::move(one));
      }
    });
  }
  Json path_migrate(const RpcParams& p) {
    const char* endpoint = "an endpoint like 192.0.2.1:4500 or [2001:db8::1]:4500";
    const auto local = p.parsed("local", parse_endpoint, endpoint);
    const auto peer = p.parsed("peer", parse_endpoint, endpoint);
    if (!local && !peer) {
      throw RpcFailure(kRpcInvalidParams,
                       "Invalid params: expected local, peer or both: where the path shall go");
    }
    return done(gateway_.path_migrate(p.text("session"), slot_of(p), local, peer));
  }
  Json path_probe(const RpcParams& p) { return done(gateway_.path_probe(p.text("session"), slot_of(p))); }

  // ---- services
  Json service_show(const RpcParams&) {
    Json list = Json::array();
    for (const ServiceView& service : gateway_.stats().services) list.push_back(service_json(service));
    return {{"services", std::move(list)}};
  }

  // ---- routes
  Json route_add(const RpcParams& p) {
    RouteConfig route;
    route.prefix = prefix_of(p);
    route.session = p.text("session");
    route.lan_gateway = p.parsed("lan_gateway", parse_address, "an IP address");
    if (p.has("session") == p.has("lan_gateway")) {
      throw RpcFailure(kRpcInvalidParams, "Invalid params: expected either session or lan_gateway");
    }
    return done(gateway_.route_add(route));
  }
  Json route_remove(const RpcParams& p) { return done(gateway_.route_remove(prefix_of(p))); }
  Json route_show(const RpcParams&) {
    Json list = Json::array();
    for (const RouteView& route : gateway_.routes()) {
      Json one = {{"prefix", to_text(route.prefix)}};
      if (!route.session.empty()) one["session"] = route.session;
      if (route.lan_gateway) one["lan_gateway"] = to_text(*route.lan_gateway);
      if (!route.port.empty()) one["port"] = route.port;
      list.push_back(std::move(one));
    }
    return {{"routes", list}};
  }

  // ---- the gateway
  Json stats(const RpcParams&) {
    const Snapshot snapshot = gateway_.stats();
    Json out = snapshot_json(snapshot);
    out["sessions"] = snapshot.memory.sessions;
    out["control_socket"] = counters_();
    return out;
  }
  Json version(const RpcParams&) {
    return {{"program", "phantom-gateway"},
            {"version", PHANTOM_VERSION},
            {"dpdk", rte_version()},
            {"gateway", config_.name}};
  }
  Json events_since(const RpcParams& p) {
    const EventLog& log = gateway_.events();
    const std::uint64_t after = std::min(p.number("after", 0, 0, kAnyNumber), log.last());
    const std::uint64_t most = p.number("most", kRpcEventsPerAnswer, 1, kRpcEventsPerAnswer);
    Json list = Json::array();
    for (const Event& event : log.since(after, most)) list.push_back(event_json(event));
    const std::uint64_t missed = after + 1 < log.oldest() ? log.oldest() - after - 1 : 0;
    return {{"events", list}, {"last", log.last()}, {"missed", missed}};
  }
  Json events_follow(const RpcParams& p, RpcCaller& caller) {
    const std::uint64_t last = gateway_.events().last();
    caller.follow_after = std::min(p.number("after", last, 0, kAnyNumber), last);
    caller.following = true;
    return {{"ok", true}, {"after", caller.follow_after}};
  }

 private:
  static std::uint64_t drain_of(const RpcParams& p) {
    const auto drain =
        p.parsed("drain", parse_duration_ns, "a time with unit, for example \"500ms\", \"5s\" or \"0s\"");
    return drain.value_or(*parse_duration_ns(kDefaultDrain));
  }
  static unsigned slot_of(const RpcParams& p) {
    return static_cast<unsigned>(p.number("path", 0, 0, session::kTxPaths - 1));
  }
  static IpPrefix prefix_of(const RpcParams& p) {
    const IpPrefix prefix = *p.parsed("prefix", parse_prefix, "a prefix like 10.0.2.0/24 or fd00:2::/64");
    if (network_of(prefix) != prefix) {
      RpcParams::refuse("prefix", "a network without host bits, " + to_text(network_of(prefix)),
                        to_text(prefix));
    }
    return prefix;
  }

  // One session, or those of one page.
  Json page(const RpcParams& p, const char* key,
            const std::function<void(Json& out, const SessionView& view)>& show) {
    Json list = Json::array();
    if (p.has("name") || p.has("session")) {
      const std::string name = p.text(p.has("name") ? "name" : "session");
      const std::optional<SessionView> found = gateway_.session(name);
      if (!found) refuse_unknown(name);
      show(list, *found);
      return {{key, list}};
    }
    const std::size_t total = gateway_.session_count();
    const std::size_t begin = std::min<std::size_t>(p.number("from", 0, 0, kMostIndex), total);
    const std::size_t end = std::min(begin + kRpcSessionsPerAnswer, total);
    for (const SessionView& view : gateway_.sessions(begin, end - begin)) show(list, view);
    Json out = {{key, list}, {"sessions_total", total}};
    if (end < total) out["next"] = end;
    return out;
  }

  [[noreturn]] void refuse_unknown(const std::string& name) const {
    std::set<std::string, std::less<>> names;
    for (SessionView& view : gateway_.sessions(0, kMostCompared)) names.insert(std::move(view.name));
    const std::string near = nearest_name(name, names);
    throw RpcFailure(kRpcNotFound, fmt::format("there is no session \"{}\"; {}", name.substr(0, 64),
                                               near.empty() ? "session.show lists them"
                                                            : "did you mean \"" + near + "\"?"));
  }

  GatewayOperator& gateway_;
  const GatewayConfig& config_;
  std::function<Json()> counters_;
};

using Call = Json (Methods::*)(const RpcParams&);

class Table {
 public:
  Table(RpcDispatcher& dispatcher, std::shared_ptr<Methods> methods)
      : dispatcher_(dispatcher), methods_(std::move(methods)) {}

  void show(const char* name, Call call, std::vector<RpcParam> params, const char* text) {
    add(name, call, std::move(params), text, false);
  }
  void change(const char* name, Call call, std::vector<RpcParam> params, const char* text) {
    add(name, call, std::move(params), text, true);
  }
  void sessions();
  void paths_and_routes();
  void gateway();

 private:
  void add(const char* name, Call call, std::vector<RpcParam> params, const char* text, bool changes) {
    dispatcher_.add(
        {name, text, std::move(params), false, changes,
         [methods = methods_, call](const RpcParams& p, RpcCaller&) { return (methods.get()->*call)(p); }});
  }

  RpcDispatcher& dispatcher_;
  std::shared_ptr<Methods> methods_;
};

void Table::sessions() {
  const RpcParam name = required("name", RpcType::kText, "of the session");
  const RpcParam drain = optional(
      "drain", RpcType::kText, "how long the old session still receives, default \"5s\"; \"0s\": not at all");
  dispatcher_.add({"session.add",
                   "adds a session; parameters are the keys of a [[session]] table",
                   {optional("routes", RpcType::kTexts, "prefixes that go into it")},
                   true,
                   true,
                   [methods = methods_](const RpcParams& p, RpcCaller&) { return methods->session_add(p); }});
  change("session.remove", &Methods::session_remove, {name, drain}, "takes its routes away, drains, removes");
  change("session.replace", &Methods::session_replace,
         {required("old", RpcType::kText, "name of the session to replace"),
          required("session", RpcType::kTable, "the new one: the keys of a [[session]] table"), drain},
         "adds a session that takes over the routes of another one once its peer was heard");
  change("session.rekey", &Methods::session_rekey,
         {name, optional("steps", RpcType::kNumber, "epochs to go ahead, 1 to 16, default 1")}, "rekeys now");
  show("session.show", &Methods::session_show,
       {optional("name", RpcType::kText, "one session alone"),
        optional("from", RpcType::kNumber, "`next` of the answer before")},
       "sessions, 256 an answer");
}

void Table::paths_and_routes() {
  const RpcParam session = required("session", RpcType::kText, "its name");
  const RpcParam path = optional("path", RpcType::kNumber, "slot, default 0");
  show("path.show", &Methods::path_show,
       {optional("session", RpcType::kText, "of one session alone"),
        optional("from", RpcType::kNumber, "`next` of the answer before")},
       "paths, those of 256 sessions an answer");
  change("path.migrate", &Methods::path_migrate,
         {session, path, optional("local", RpcType::kText, "our endpoint, as it is without"),
          optional("peer", RpcType::kText, "the peer's endpoint, as it is without")},
         "validates other endpoints for a path and moves there");
  change("path.probe", &Methods::path_probe, {session, path}, "sends a probe, for a round trip");
  const RpcParam prefix = required("prefix", RpcType::kText, "a network like 10.0.2.0/24");
  change("route.add", &Methods::route_add,
         {prefix, optional("session", RpcType::kText, "into this session, or"),
          optional("lan_gateway", RpcType::kText, "to this router on the LAN")},
         "adds a route");
  change("route.remove", &Methods::route_remove, {prefix}, "removes a route");
  show("route.show", &Methods::route_show, {}, "routes");
  show("service.show", &Methods::service_show, {}, "services that streams are joined to");
}

void Table::gateway() {
  show("stats", &Methods::stats, {}, "counters of the gateway");
  show("version", &Methods::version, {}, "of program and libraries");
  show("events.since", &Methods::events_since,
       {optional("after", RpcType::kNumber, "number of the last event that is known, default 0"),
        optional("most", RpcType::kNumber, "events of the answer, default and most 1024")},
       "what happened");
  dispatcher_.add(
      {"events.follow",
       "from now on sends a notification `event` for each, `events.missed` when some were lost",
       {optional("after", RpcType::kNumber, "number of the last event that is known, default the newest")},
       false,
       false,
       [methods = methods_](const RpcParams& p, RpcCaller& caller) {
         return methods->events_follow(p, caller);
       }});
}

}  // namespace

void add_operator_methods(RpcDispatcher& dispatcher, GatewayOperator& gateway, const GatewayConfig& config,
                          std::function<Json()> counters) {
  Table table(dispatcher, std::make_shared<Methods>(gateway, config, std::move(counters)));
  table.sessions();
  table.paths_and_routes();
  table.gateway();
}

}  // namespace dataplane
