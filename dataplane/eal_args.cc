#include "dataplane/eal_args.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <sched.h>

namespace dataplane {
namespace {

// True when an argument is one of the options, alone, with =value, or (short ones) with the value attached.
bool given(const std::vector<std::string>& args, std::initializer_list<std::string_view> options) {
  const auto is_option = [&](const std::string& arg) {
    return std::any_of(options.begin(), options.end(), [&](std::string_view option) {
      if (arg == option) return true;
      const bool is_short = option.size() == 2;
      return arg.starts_with(option) && (is_short || arg[option.size()] == '=');
    });
  };
  return std::any_of(args.begin(), args.end(), is_option);
}

bool is_virtual(const PortConfig& port) {
  return port.device.starts_with("net_") || port.device.starts_with("eth_") ||
         port.device.find(',') != std::string::npos;
}

std::string lcore_map(unsigned count, const std::vector<unsigned>& cpus) {
  std::string map;
  for (unsigned i = 0; i < count; ++i) {
    map += fmt::format("{}{}@{}", i == 0 ? "" : ",", i, cpus[i % cpus.size()]);
  }
  return map;
}

// A virtual device is named once; arguments of the file or the command line stand over those of the port.
bool has_vdev(const std::vector<std::string>& args, std::string_view name) {
  return std::any_of(args.begin(), args.end(), [&](const std::string& arg) {
    std::string_view value = arg;
    if (value.starts_with("--vdev=")) value.remove_prefix(7);
    return value.substr(0, value.find(',')) == name;
  });
}

// EAL's own messages are a level more talkative than ours.
std::string_view eal_level(std::string_view level) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kLevels{{{"trace", "debug"},
                                                                                  {"debug", "debug"},
                                                                                  {"info", "notice"},
                                                                                  {"warn", "warning"},
                                                                                  {"error", "error"},
                                                                                  {"critical", "critical"},
                                                                                  {"off", "emergency"}}};
  const auto* found =
      std::find_if(kLevels.begin(), kLevels.end(), [&](const auto& entry) { return entry.first == level; });
  return found == kLevels.end() ? "notice" : found->second;
}

}  // namespace

std::vector<std::string> eal_arguments(const GatewayConfig& config, const std::vector<std::string>& extra,
                                       const std::vector<unsigned>& cpus) {
  std::vector<std::string> args = config.eal_args;
  args.insert(args.end(), extra.begin(), extra.end());
  std::vector<std::string> added{"phantom-gateway"};
  if (!given(args, {"--file-prefix"})) added.push_back("--file-prefix=phantom-" + config.name);
  if (!given(args, {"-l", "-c", "-s", "-S", "--lcores"})) {
    added.push_back("--lcores=" + lcore_map(config.cores.workers + 1U, cpus));
  }
  if (!given(args, {"-a", "-b", "--allow", "--block", "--no-pci"}) &&
      std::all_of(config.ports.begin(), config.ports.end(), is_virtual)) {
    added.emplace_back("--no-pci");
  }
  if (!given(args, {"--log-level"}))
    added.push_back(fmt::format("--log-level=*:{}", eal_level(config.log_level)));
  for (const PortConfig& port : config.ports) {
    if (!is_virtual(port) || has_vdev(args, port.device.substr(0, port.device.find(',')))) continue;
    added.push_back("--vdev=" + port.device);
  }
  added.insert(added.end(), args.begin(), args.end());
  return added;
}

std::vector<unsigned> usable_cpus() {
  std::vector<unsigned> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

void remove_hugepage_files(const std::string& prefix) {
  namespace fs = std::filesystem;
  std::ifstream mounts("/proc/self/mounts");
  std::string device, folder, type, rest;
  while (mounts >> device >> folder >> type && std::getline(mounts, rest)) {
    if (type != "hugetlbfs") continue;
    std::error_code ignored;  // a folder that is not ours to read holds no file of ours
    std::vector<fs::path> ours;
    for (const fs::directory_entry& file : fs::directory_iterator(folder, ignored)) {
      if (file.path().filename().string().starts_with(prefix + "map_")) ours.push_back(file.path());
    }
    for (const fs::path& file : ours) fs::remove(file, ignored);
  }
}

}  // namespace dataplane
