// The argument vector for EAL: what the configuration says, completed so that two gateways can run on one
// machine and any machine with one CPU or more will do.
#pragma once

#include <string>
#include <vector>

#include "dataplane/config.h"

namespace dataplane {

// Pure. `extra` is what followed --eal; `cpus` those this process may run on, at least one. Added when not
// given: --file-prefix from the gateway's name, --lcores for control and workers (CPUs are shared when there
// are fewer), --vdev for virtual devices, --no-pci when all ports are virtual, a log
// level.
std::vector<std::string> eal_arguments(const GatewayConfig& config, const std::vector<std::string>& extra,
                                       const std::vector<unsigned>& cpus);

// CPUs of this process, in order.
std::vector<unsigned> usable_cpus();

// Unlinks what EAL left in all hugetlbfs mounts under this file prefix. After rte_eal_cleanup() only.
void remove_hugepage_files(const std::string& prefix);

}  // namespace dataplane
