// The argument vector for EAL: what is added to the operator's, and what is left to the operator.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/eal_args.h"

namespace dataplane {
namespace {

using Args = std::vector<std::string>;

GatewayConfig config_with(const std::string& device, std::uint16_t workers = 1) {
  GatewayConfig config;
  config.name = std::string("a");
  config.cores.workers = workers;
  PortConfig port;
  port.device = device;
  config.ports.push_back(port);
  return config;
}

bool has(const Args& args, const std::string& arg) {
  return std::find(args.begin(), args.end(), arg) != args.end();
}

bool has_like(const Args& args, const std::string& start) {
  return std::any_of(args.begin(), args.end(),
                     [&](const std::string& arg) { return arg.starts_with(start); });
}

TEST(EalArgs, TwoGatewaysHaveTheirOwnFiles) {
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0"), {}, {0, 1}), "--file-prefix=phantom-a"));
  for (const Args& own : {Args{"--file-prefix=x"}, Args{"--file-prefix", "x"}}) {
    EXPECT_FALSE(has(eal_arguments(config_with("net_null0"), own, {0, 1}), "--file-prefix=phantom-a"));
  }
}

TEST(EalArgs, ControlAndWorkersShareFewCpus) {
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0", 1), {}, {4, 6, 8}), "--lcores=0@4,1@6"));
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0", 3), {}, {0, 1}), "--lcores=0@0,1@1,2@0,3@1"));
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0", 1), {}, {5}), "--lcores=0@5,1@5"));
}

TEST(EalArgs, CoresOfTheOperatorStand) {
  for (const Args& own : {Args{"-l", "2-3"}, Args{"-l2-3"}, Args{"--lcores=(0-1)@3"}, Args{"-c", "0xf"}}) {
    EXPECT_FALSE(has_like(eal_arguments(config_with("net_null0"), own, {0, 1}), "--lcores=0@"));
  }
}

TEST(EalArgs, VirtualDevicesAreMade) {
  const GatewayConfig config = config_with("net_af_packet0,iface=eth1");
  EXPECT_TRUE(has(eal_arguments(config, {}, {0}), "--vdev=net_af_packet0,iface=eth1"));
  const Args own{"--vdev", "net_af_packet0,iface=eth2"};
  EXPECT_FALSE(has(eal_arguments(config, own, {0}), "--vdev=net_af_packet0,iface=eth1"));
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0"), {}, {0}), "--vdev=net_null0"));
  EXPECT_FALSE(has_like(eal_arguments(config_with("0000:3b:00.0"), {}, {0}), "--vdev"));
}

TEST(EalArgs, PciIsLeftAloneWithVirtualPorts) {
  EXPECT_TRUE(has(eal_arguments(config_with("net_null0"), {}, {0}), "--no-pci"));
  EXPECT_FALSE(has(eal_arguments(config_with("0000:3b:00.0"), {}, {0}), "--no-pci"));
  EXPECT_FALSE(has(eal_arguments(config_with("net_bonding0"), {"-a", "0000:3b:00.0"}, {0}), "--no-pci"));
  EXPECT_FALSE(has(eal_arguments(config_with("net_bonding0"), {"-a0000:3b:00.0"}, {0}), "--no-pci"));
}

TEST(EalArgs, FileComesBeforeCommandLine) {
  GatewayConfig config = config_with("net_null0");
  config.eal_args = {"-m", "64"};
  const Args args = eal_arguments(config, {"-m", "128"}, {0});
  ASSERT_GE(args.size(), 4U);
  EXPECT_EQ(Args(args.end() - 4, args.end()), (Args{"-m", "64", "-m", "128"}));
  EXPECT_EQ(args.front(), "phantom-gateway");
}

TEST(EalArgs, ThereIsAlwaysACpu) {
  EXPECT_FALSE(usable_cpus().empty());
}

}  // namespace
}  // namespace dataplane
