#include "tools/testpmd/engine.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "dataplane/eal_args.h"
#include "dataplane/store.h"
#include "tools/testpmd/live_harness.h"

namespace testpmd {
namespace {

using dataplane::ConfigError;
using dataplane::GatewayConfig;

enum ExitCode : int { kFailure = 1, kUsage = 2, kStore = 3, kDevice = 4 };

void set_up_logging(const std::string& level) {
  if (spdlog::get("testpmd") == nullptr) spdlog::set_default_logger(spdlog::stderr_color_mt("testpmd"));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(level == "warn" ? "warning" : level));
}

HarnessConfig read_config(const std::string& path) {
  std::vector<ConfigError> errors;
  auto config = load_harness(path, errors);
  if (config && errors.empty()) return std::move(*config);
  std::string text;
  for (const ConfigError& error : errors) text += error.text() + "\n";
  throw HarnessError(
      kUsage, text + fmt::format("{} error(s) in the configuration, nothing was started", errors.size()));
}

void make_stores(const HarnessConfig& config) {
  for (const GatewayConfig* end : {&config.end, config.self ? &*config.self : nullptr}) {
    if (end != nullptr) dataplane::SqliteStore::create(end->state_dir, end->name);
  }
}

void set_run_dir(const std::string& run_dir) {
  if (run_dir.empty()) return;
  if (mkdir(run_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    throw HarnessError(kDevice, fmt::format("run_dir {} cannot be made: {}", run_dir, std::strerror(errno)));
  }
  setenv("RUNTIME_DIRECTORY", run_dir.c_str(), 1);
}

void start_eal(const GatewayConfig& config, const std::vector<std::string>& extra) {
  set_run_dir(config.run_dir);
  std::vector<std::string> args = dataplane::eal_arguments(config, extra, dataplane::usable_cpus());
  std::string line;
  std::vector<char*> argv;
  argv.reserve(args.size());
  for (std::string& arg : args) {
    line += (line.empty() ? "" : " ") + arg;
    argv.push_back(arg.data());
  }
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) >= 0) return;
  throw HarnessError(
      kDevice, fmt::format("EAL did not start ({}) with: {}\n  without hugepages: eal.args = [\"--no-huge\", "
                           "\"-m\", \"512\"]; \"already running\" means that another program has this name",
                           rte_strerror(rte_errno), line));
}

// EAL's files and hugepages are given back when the harness is gone.
struct Eal {
  Eal() : prefix(std::filesystem::path(rte_eal_get_runtime_dir()).filename().string()) {}
  ~Eal() {
    rte_eal_cleanup();
    dataplane::remove_hugepage_files(prefix);
  }
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;
  std::string prefix;
};

struct HarnessOnEal final : Eal, LiveHarness {
  explicit HarnessOnEal(HarnessConfig config) : LiveHarness(std::move(config)) {}
};

}  // namespace

std::unique_ptr<Harness> make_harness(const HarnessOptions& options) {
  HarnessConfig config = read_config(options.config);
  set_up_logging(config.end.log_level);
  try {
    if (options.init_state) make_stores(config);
    start_eal(config.end, options.eal);
    return std::make_unique<HarnessOnEal>(std::move(config));
  } catch (const dataplane::StoreError& error) {
    throw HarnessError(kStore, error.what());
  } catch (const HarnessError&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw HarnessError(kDevice, error.what());
  }
}

}  // namespace testpmd
