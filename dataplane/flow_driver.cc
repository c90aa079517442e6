#include "dataplane/flow_driver.h"

#include <cstring>

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_flow.h>

namespace dataplane {
namespace {

// A rule in the library's terms. Not copied: the pattern points into it.
struct Built {
  rte_flow_attr attributes{};
  rte_flow_item_ipv4 ip4{}, ip4_mask{};
  rte_flow_item_ipv6 ip6{}, ip6_mask{};
  rte_flow_item_udp udp{}, udp_mask{};
  rte_flow_action_queue queue{};
  rte_flow_item pattern[4]{};
  rte_flow_action actions[2]{};

  Built(const Flow& flow, unsigned to_queue) {
    attributes.ingress = 1;
    pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    flow.ends.remote.family == 4 ? match4(flow.ends) : match6(flow.ends);
    udp.hdr.src_port = rte_cpu_to_be_16(flow.ends.remote.port);
    udp.hdr.dst_port = rte_cpu_to_be_16(flow.ends.local.port);
    udp_mask.hdr.src_port = 0xffff;
    udp_mask.hdr.dst_port = 0xffff;
    pattern[2] = {RTE_FLOW_ITEM_TYPE_UDP, &udp, nullptr, &udp_mask};
    pattern[3].type = RTE_FLOW_ITEM_TYPE_END;
    queue.index = static_cast<std::uint16_t>(to_queue);
    actions[0] = {RTE_FLOW_ACTION_TYPE_QUEUE, &queue};
    actions[1].type = RTE_FLOW_ACTION_TYPE_END;
  }
  Built(const Built&) = delete;
  Built& operator=(const Built&) = delete;

 private:
  void match4(const session::PathEnds& ends) {
    std::memcpy(&ip4.hdr.src_addr, ends.remote.address.data(), 4);
    std::memcpy(&ip4.hdr.dst_addr, ends.local.address.data(), 4);
    ip4_mask.hdr.src_addr = 0xffffffffU;
    ip4_mask.hdr.dst_addr = 0xffffffffU;
    pattern[1] = {RTE_FLOW_ITEM_TYPE_IPV4, &ip4, nullptr, &ip4_mask};
  }
  void match6(const session::PathEnds& ends) {
    std::memcpy(&ip6.hdr.src_addr, ends.remote.address.data(), 16);
    std::memcpy(&ip6.hdr.dst_addr, ends.local.address.data(), 16);
    std::memset(&ip6_mask.hdr.src_addr, 0xff, 16);
    std::memset(&ip6_mask.hdr.dst_addr, 0xff, 16);
    pattern[1] = {RTE_FLOW_ITEM_TYPE_IPV6, &ip6, nullptr, &ip6_mask};
  }
};

std::string reason(const rte_flow_error& error) {
  return error.message != nullptr ? error.message : rte_strerror(rte_errno);
}

}  // namespace

std::string RteFlowDriver::validate(const Flow& flow, unsigned queue) {
  const Built rule(flow, queue);
  rte_flow_error error{};
  const int rc = rte_flow_validate(topology_.ports[flow.port].ethdev, &rule.attributes, rule.pattern,
                                   rule.actions, &error);
  return rc == 0 ? std::string() : reason(error);
}

void* RteFlowDriver::install(const Flow& flow, unsigned queue, std::string& why) {
  const Built rule(flow, queue);
  rte_flow_error error{};
  rte_flow* made = rte_flow_create(topology_.ports[flow.port].ethdev, &rule.attributes, rule.pattern,
                                   rule.actions, &error);
  if (made == nullptr) why = reason(error);
  return made;
}

std::string RteFlowDriver::remove(std::uint8_t port, void* rule) {
  rte_flow_error error{};
  const int rc = rte_flow_destroy(topology_.ports[port].ethdev, static_cast<rte_flow*>(rule), &error);
  return rc == 0 ? std::string() : reason(error);
}

}  // namespace dataplane
