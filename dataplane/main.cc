// phantom-gateway: arguments, configuration, store, EAL, then a Gateway until a signal.
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <fmt/core.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "crypto/secret.h"
#include "dataplane/config.h"
#include "dataplane/eal_args.h"
#include "dataplane/gateway.h"
#include "dataplane/options.h"
#include "dataplane/store.h"

namespace dataplane {
namespace {

void on_signal(int number) {
  if (number == SIGUSR1) {
    table_requested.store(true);
  } else {
    stop_requested.store(true);
  }
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(number, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

// Diagnostics go to stderr; tables and rates to stdout.
void set_up_logging(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("phantom"));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(level == "warn" ? "warning" : level));
}

int report(const std::vector<ConfigError>& errors) {
  for (const ConfigError& error : errors) fmt::print(stderr, "{}\n", error.text());
  fmt::print(stderr, "phantom-gateway: {} error(s) in the configuration, nothing was started\n",
             errors.size());
  return kExitUsage;
}

int print_check(const GatewayConfig& config) {
  fmt::print("configuration ok: {} ports, {} sessions, {} routes\n", config.ports.size(),
             config.sessions.size(), config.routes.size());
  return kExitOk;
}

int prepare_state(const Options& options, const GatewayConfig& config) {
  if (options.init_state) {
    SqliteStore::create(config.state_dir, config.name);
    fmt::print("state store created in {}\n", config.state_dir);
  } else {
    SqliteStore::adopt(config.state_dir, config.name);
    fmt::print("state store in {} now belongs to gateway {} on this host\n", config.state_dir, config.name);
  }
  return kExitOk;
}

// EAL's runtime files (telemetry socket, secondary processes) go below run_dir when there is one.
void set_run_dir(const std::string& run_dir) {
  if (run_dir.empty()) return;
  if (mkdir(run_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    throw std::runtime_error(
        fmt::format("run_dir {} cannot be made: {}; make its parent folder or choose another", run_dir,
                    std::strerror(errno)));
  }
  setenv("RUNTIME_DIRECTORY", run_dir.c_str(), 1);
}

void start_eal(const GatewayConfig& config, const Options& options) {
  set_run_dir(config.run_dir);
  const std::vector<unsigned> cpus = usable_cpus();
  std::vector<std::string> args = eal_arguments(config, options.eal, cpus);
  std::string line;
  std::vector<char*> argv;
  for (std::string& arg : args) {
    line += (line.empty() ? "" : " ") + arg;
    argv.push_back(arg.data());
  }
  spdlog::debug("EAL: {}", line);
  if (cpus.size() < config.cores.workers + 1U && !config.cores.idle_backoff) {
    spdlog::warn("{} worker(s) and control share {} CPU(s): set cores.idle_backoff = true",
                 config.cores.workers, cpus.size());
  }
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    throw std::runtime_error(
        fmt::format("EAL did not start ({}) with: {}\n  without hugepages: eal.args = [\"--no-huge\", "
                    "\"-m\", \"512\"]; with "
                    "them: tools/setup --hugepages 512, and see HugePages_Free in /proc/meminfo; \"already "
                    "running\" means "
                    "that another gateway has this name",
                    rte_strerror(rte_errno), line));
  }
}

void write_json(const std::string& path, const Snapshot& snapshot) {
  if (path.empty()) return;
  std::ofstream file(path, std::ios::trunc);
  file << json_text(snapshot);
  file.close();
  if (!file) throw std::runtime_error(fmt::format("the summary could not be written to {}", path));
}

int finish(const Options& options, const Snapshot& snapshot) {
  fmt::print("{}", table_text(snapshot));
  std::fflush(stdout);
  write_json(options.json, snapshot);
  return snapshot.books.balanced() && snapshot.pools_full.value_or(false) ? kExitOk : kExitFailure;
}

// Gives EAL's files and hugepages back on every way out. EAL leaves the files behind its hugepages, with what
// packets were in them, so they are unlinked here.
struct EalCleanup {
  EalCleanup() : prefix(std::filesystem::path(rte_eal_get_runtime_dir()).filename().string()) {}
  ~EalCleanup() {
    rte_eal_cleanup();
    remove_hugepage_files(prefix);
  }
  EalCleanup(const EalCleanup&) = delete;
  EalCleanup& operator=(const EalCleanup&) = delete;

  std::string prefix;  // of EAL's files
};

std::unique_ptr<Gateway> make_gateway(const GatewayConfig& config, session::EpochStore& store,
                                      const RpcSocket* socket) {
  try {
    return std::make_unique<Gateway>(config, store, socket);
  } catch (const StoreError&) {
    throw;
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "phantom-gateway: {}\n", error.what());
    return nullptr;
  }
}

int run_gateway(const Options& options, const GatewayConfig& config) {
  SqliteStore store(config.state_dir, config.name);
  std::optional<RpcSocket> socket;
  if (!config.control.socket.empty()) socket.emplace(config.control);
  try {
    start_eal(config, options);
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "phantom-gateway: {}\n", error.what());
    return kExitDevice;
  }
  const EalCleanup cleanup;
  const std::unique_ptr<Gateway> gateway = make_gateway(config, store, socket ? &*socket : nullptr);
  if (gateway == nullptr) return kExitDevice;
  gateway->start();
  return finish(options, gateway->run(options));
}

int run(int argc, char** argv) {
  int code = kExitOk;
  const auto options = parse_options(argc, argv, code);
  if (!options) return code;
  std::vector<ConfigError> errors;
  const auto config = load_config(options->config, errors);
  if (config) {
    check_secrets(*config, errors);
    check_service_targets(*config, errors);
    if (const auto error = check_control_folder(*config)) errors.push_back(*error);
  }
  if (!errors.empty()) return report(errors);
  if (options->check) return print_check(*config);
  set_up_logging(config->log_level);
  catch_signals();
  if (options->init_state || options->adopt_state) return prepare_state(*options, *config);
  return run_gateway(*options, *config);
}

}  // namespace
}  // namespace dataplane

int main(int argc, char** argv) {
  crypto::harden_process();
  try {
    return dataplane::run(argc, argv);
  } catch (const dataplane::StoreError& error) {
    fmt::print(stderr, "phantom-gateway: {}\n", error.what());
    return dataplane::kExitStore;
  } catch (const std::exception& error) {
    fmt::print(stderr, "phantom-gateway: {}\n", error.what());
    return dataplane::kExitFailure;
  }
}
