// rte_flow behind FlowDriver. Control core.
#pragma once

#include "dataplane/flow_steering.h"
#include "dataplane/topology.h"

namespace dataplane {

class RteFlowDriver final : public FlowDriver {
 public:
  explicit RteFlowDriver(const Topology& topology) : topology_(topology) {}
  std::string validate(const Flow& flow, unsigned queue) override;
  void* install(const Flow& flow, unsigned queue, std::string& error) override;
  std::string remove(std::uint8_t port, void* rule) override;

 private:
  const Topology& topology_;
};

}  // namespace dataplane
