// phantomctl: asks and tells a running phantom-gateway over its control socket.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "tools/ctl/client.h"
#include "tools/ctl/session_file.h"
#include "tools/ctl/table.h"

namespace ctl {
namespace {

enum ExitCode : int { kOk = 0, kErrorAnswer = 1, kUsage = 2, kNoConnection = 3 };

constexpr const char* kFooter =
    "The gateway has a control socket when its configuration says so: [control] socket = \"...\".\n"
    "Exit codes: 0 ok, 1 the gateway answered with an error, 2 usage, 3 the gateway could not be reached.";

struct Arguments {
  std::string socket;
  bool json = false;
  double timeout_s = 10;
  std::string name, old_name, file, drain, prefix, local, peer, method, params = "{}";
  bool now = false, follow = false;
  unsigned steps = 1, path = 0;
  std::optional<std::uint64_t> since;
};

class Commands {
 public:
  explicit Commands(CLI::App& app) : app_(app) {
    declare_globals();
    declare_sessions();
    declare_paths();
    declare_routes();
    declare_others();
  }
  int run();

 private:
  using Act = std::function<void(Client&)>;

  void declare_globals();
  void declare_sessions();
  void declare_paths();
  void declare_routes();
  void declare_others();
  CLI::App* command(CLI::App* group, const char* name, const char* text, Act act);
  CLI::App* group(const char* name, const char* text);

  void print(const Json& result, const std::string& table) const;
  void change(Client& client, const std::string& method, const Json& params, const std::string& done) const;
  void add_session(Client& client) const;
  void replace_session(Client& client) const;
  void show_sessions(Client& client) const;
  void show_paths(Client& client) const;
  void migrate(Client& client) const;
  void show_events(Client& client) const;
  void follow_events(Client& client) const;
  void print_event(const Json& notification) const;
  [[nodiscard]] Json paged(Client& client, const char* method, const char* key, Json params) const;

  CLI::App& app_;
  Arguments a_;
  Act act_;
};

void print_text(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

CLI::App* Commands::command(CLI::App* parent, const char* name, const char* text, Act act) {
  CLI::App* out = parent->add_subcommand(name, text);
  out->fallthrough();  // --json and others may stand behind it
  out->callback([this, act = std::move(act)] { act_ = act; });
  return out;
}

CLI::App* Commands::group(const char* name, const char* text) {
  CLI::App* out = app_.add_subcommand(name, text);
  out->require_subcommand(1);
  out->fallthrough();
  return out;
}

void Commands::declare_globals() {
  app_.add_option("--socket", a_.socket, "Control socket of the gateway")->envname("PHANTOM_SOCKET");
  app_.add_flag("--json", a_.json, "Print what the gateway answered as JSON, not as a table");
  app_.add_option("--timeout", a_.timeout_s, "Seconds to wait for an answer, 0: for ever")
      ->check(CLI::Range(0.0, 86'400.0))
      ->capture_default_str();
  app_.set_version_flag("--version", "phantomctl " PHANTOM_VERSION);
  app_.require_subcommand(1);
  app_.footer(kFooter);
}

void Commands::declare_sessions() {
  const char* file_text = "TOML: a [[session]] with [[route]]s as in a configuration, or its keys alone";
  CLI::App* session = group("session", "Sessions: show, add, remove, replace, rekey");
  CLI::App* show =
      command(session, "show", "Show all sessions, or one in full", [this](Client& c) { show_sessions(c); });
  show->add_option("name", a_.name, "Of the session");
  CLI::App* add = command(session, "add", "Add a session", [this](Client& c) { add_session(c); });
  add->add_option("file", a_.file, file_text)->required();
  CLI::App* remove = command(session, "remove", "Remove a session", [this](Client& c) {
    Json params = {{"name", a_.name}};
    if (a_.now || !a_.drain.empty()) params["drain"] = a_.now ? "0s" : a_.drain;
    change(c, "session.remove", params, "session " + a_.name + " is being removed");
  });
  remove->add_option("name", a_.name, "Of the session")->required();
  CLI::Option* drain = remove->add_option("--drain", a_.drain, "How long it still receives, e.g. 5s");
  remove->add_flag("--now", a_.now, "Does not drain")->excludes(drain);
  CLI::App* replace = command(session, "replace", "Let a new session take over the routes of one",
                              [this](Client& c) { replace_session(c); });
  replace->add_option("old", a_.old_name, "Name of the session to replace")->required();
  replace->add_option("file", a_.file, file_text)->required();
  replace->add_option("--drain", a_.drain, "How long the old one still receives, e.g. 5s");
  CLI::App* rekey = command(session, "rekey", "Rekey now", [this](Client& c) {
    change(c, "session.rekey", {{"name", a_.name}, {"steps", a_.steps}}, "session " + a_.name + " rekeys");
  });
  rekey->add_option("name", a_.name, "Of the session")->required();
  rekey->add_option("--steps", a_.steps, "Epochs to go ahead, 1 to 16")->check(CLI::Range(1, 16));
}

void Commands::declare_paths() {
  CLI::App* path = group("path", "Paths of sessions: show, migrate, probe");
  CLI::App* show = command(path, "show", "Show paths", [this](Client& c) { show_paths(c); });
  show->add_option("session", a_.name, "Of one session alone");
  CLI::App* migrate = command(path, "migrate", "Validate other addresses and move there",
                              [this](Client& c) { this->migrate(c); });
  migrate->add_option("session", a_.name, "Its name")->required();
  migrate->add_option("--path", a_.path, "Slot, 0 without");
  migrate->add_option("--local", a_.local, "Our endpoint, e.g. 192.0.2.1:4500");
  migrate->add_option("--peer", a_.peer, "The peer's endpoint, e.g. [2001:db8::1]:4500");
  CLI::App* probe = command(path, "probe", "Send a probe, for a round trip", [this](Client& c) {
    change(c, "path.probe", {{"session", a_.name}, {"path", a_.path}},
           fmt::format("path {} of session {} is probed", a_.path, a_.name));
  });
  probe->add_option("session", a_.name, "Its name")->required();
  probe->add_option("--path", a_.path, "Slot, 0 without");
}

void Commands::declare_routes() {
  CLI::App* route = group("route", "Routes: show, add, remove");
  command(route, "show", "Show routes", [this](Client& c) {
    const Json result = c.call("route.show", Json::object());
    print(result, routes_table(result["routes"]));
  });
  CLI::App* add = command(route, "add", "Add a route into a session", [this](Client& c) {
    change(c, "route.add", {{"prefix", a_.prefix}, {"session", a_.name}}, "route " + a_.prefix + " added");
  });
  add->add_option("prefix", a_.prefix, "A network like 10.0.2.0/24")->required();
  add->add_option("--session", a_.name, "Into this session")->required();
  CLI::App* remove = command(route, "remove", "Remove a route", [this](Client& c) {
    change(c, "route.remove", {{"prefix", a_.prefix}}, "route " + a_.prefix + " removed");
  });
  remove->add_option("prefix", a_.prefix, "A network like 10.0.2.0/24")->required();
}

void Commands::declare_others() {
  CLI::App* service = group("service", "Stream services: show");
  command(service, "show", "Show what streams are joined to", [this](Client& c) {
    const Json result = c.call("service.show", Json::object());
    print(result, services_table(result["services"]));
  });
  command(&app_, "stats", "Counters of ports, workers, drops", [this](Client& c) {
    const Json result = c.call("stats", Json::object());
    print(result, stats_table(result));
  });
  CLI::App* events = command(&app_, "events", "What happened", [this](Client& c) { show_events(c); });
  events->add_flag("--follow", a_.follow, "Go on printing as it happens");
  events->add_option("--since", a_.since, "Only events after this number");
  command(&app_, "version", "Version of the gateway", [this](Client& c) {
    const Json result = c.call("version", Json::object());
    print(result,
          fmt::format("{} {} ({}), gateway {}\n", result.value("program", ""), result.value("version", ""),
                      result.value("dpdk", ""), result.value("gateway", "")));
  });
  command(&app_, "methods", "What the gateway can be asked", [this](Client& c) {
    const Json result = c.call("methods", Json::object());
    print(result, methods_table(result["methods"]));
  });
  CLI::App* call = command(&app_, "call", "Call a method by its name", [this](Client& c) {
    print_text(c.call(a_.method, Json::parse(a_.params)).dump(2) + "\n");
  });
  call->add_option("method", a_.method, "See `phantomctl methods`")->required();
  call->add_option("params", a_.params, "A JSON object or list")->check([](const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    return json.is_structured() ? std::string() : "parameters are a JSON object or list, found: " + text;
  });
}

void Commands::print(const Json& result, const std::string& table) const {
  print_text(a_.json ? result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : table);
}

void Commands::change(Client& client, const std::string& method, const Json& params,
                      const std::string& done) const {
  const Json result = client.call(method, params);
  print(result, done + "\n");
}

void Commands::add_session(Client& client) const {
  const SessionFile file(a_.file);
  try {
    change(client, "session.add", file.params(),
           "session " + file.params().value("name", std::string()) + " added");
  } catch (const AnswerError& error) {
    const std::string lines = file.explain(error.error);
    if (lines.empty()) throw;
    throw AnswerError(lines, error.error);
  }
}

void Commands::replace_session(Client& client) const {
  const SessionFile file(a_.file);
  Json params = {{"old", a_.old_name}, {"session", file.params()}};
  if (!a_.drain.empty()) params["drain"] = a_.drain;
  try {
    change(client, "session.replace", params,
           fmt::format("session {} takes over from {} once its peer was heard",
                       file.params().value("name", std::string()), a_.old_name));
  } catch (const AnswerError& error) {
    const std::string lines = file.explain(error.error);
    if (lines.empty()) throw;
    throw AnswerError(lines, error.error);
  }
}

// All pages of an answer as one list.
Json Commands::paged(Client& client, const char* method, const char* key, Json params) const {
  Json all = Json::array();
  while (true) {
    Json result = client.call(method, params);
    for (Json& one : result[key]) all.push_back(std::move(one));
    if (!result.contains("next")) return all;
    params["from"] = result["next"];
  }
}

void Commands::show_sessions(Client& client) const {
  Json params = Json::object();
  if (!a_.name.empty()) params["name"] = a_.name;
  const Json sessions = paged(client, "session.show", "sessions", params);
  const bool one = !a_.name.empty() && sessions.size() == 1;
  print({{"sessions", sessions}}, one ? session_text(sessions[0]) : sessions_table(sessions));
}

void Commands::show_paths(Client& client) const {
  Json params = Json::object();
  if (!a_.name.empty()) params["session"] = a_.name;
  const Json paths = paged(client, "path.show", "paths", params);
  print({{"paths", paths}}, paths_table(paths, true));
}

void Commands::migrate(Client& client) const {
  Json params = {{"session", a_.name}, {"path", a_.path}};
  if (!a_.local.empty()) params["local"] = a_.local;
  if (!a_.peer.empty()) params["peer"] = a_.peer;
  change(
      client, "path.migrate", params,
      fmt::format("path {} of session {} is being validated; events tell when it moved", a_.path, a_.name));
}

void Commands::show_events(Client& client) const {
  if (a_.follow) return follow_events(client);
  Json all = Json::array();
  std::uint64_t after = a_.since.value_or(0);
  std::uint64_t missed = 0;
  while (true) {
    Json result = client.call("events.since", {{"after", after}});
    missed += result.value("missed", std::uint64_t{0});
    if (result["events"].empty()) break;
    for (Json& event : result["events"]) all.push_back(std::move(event));
    after = all.back().value("number", after + 1);
  }
  std::string table;
  if (missed > 0 && a_.since) table = fmt::format("missed {} events\n", missed);
  for (const Json& event : all) table += event_line(event);
  print({{"events", all}, {"missed", missed}}, table);
}

void Commands::print_event(const Json& notification) const {
  if (a_.json) return print_text(notification["params"].dump() + "\n");
  if (notification["method"] == "event") return print_text(event_line(notification["params"]));
  print_text(fmt::format("missed {} events\n", notification["params"].value("missed", std::uint64_t{0})));
}

void Commands::follow_events(Client& client) const {
  Json params = Json::object();
  if (a_.since) params["after"] = *a_.since;
  client.call("events.follow", params);
  while (const auto notification = client.next_notification()) print_event(*notification);
  throw ConnectError("the gateway ended the connection");
}

int Commands::run() {
  if (a_.socket.empty()) {
    fmt::print(stderr,
               "phantomctl: which gateway? Give --socket PATH or set PHANTOM_SOCKET, as in [control] socket "
               "of its configuration\n");
    return kUsage;
  }
  try {
    Client client(a_.socket, std::chrono::milliseconds(static_cast<long>(a_.timeout_s * 1000)));
    act_(client);
  } catch (const FileError& error) {
    fmt::print(stderr, "phantomctl: {}\n", error.what());
    return kUsage;
  } catch (const AnswerError& error) {
    if (a_.json) print_text(Json{{"error", error.error}}.dump(2) + "\n");
    const std::string text = error.what();
    fmt::print(stderr, "phantomctl: {}{}", text, text.ends_with('\n') ? "" : "\n");
    return kErrorAnswer;
  } catch (const ConnectError& error) {
    fmt::print(stderr, "phantomctl: {}\n", error.what());
    return kNoConnection;
  }
  return kOk;
}

int run(int argc, char** argv) {
  CLI::App app("phantomctl: asks and tells a running phantom-gateway", "phantomctl");
  Commands commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return commands.run();
}

}  // namespace
}  // namespace ctl

int main(int argc, char** argv) {
  try {
    return ctl::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "phantomctl: {}\n", error.what());
    return ctl::kErrorAnswer;
  }
}
