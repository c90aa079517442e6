// The control socket of one running gateway: methods, clients and counters in one object.
//
// Thread: the control core's, which calls poll() once a loop, holding Control::lock().
#pragma once

#include "dataplane/rpc_methods.h"
#include "dataplane/rpc_server.h"

namespace dataplane {

class RpcService {
 public:
  // All three outlive the service.
  RpcService(const RpcSocket& socket, GatewayOperator& gateway, const GatewayConfig& config)
      : server_(socket, dispatcher_, gateway.events(), config.control.allow_uids) {
    add_operator_methods(dispatcher_, gateway, config, [this] { return counters(); });
  }

  unsigned poll(std::uint64_t now_ns) { return server_.poll(now_ns); }

 private:
  [[nodiscard]] Json counters() {
    const RpcServerCounters& server = server_.counters();
    const RpcCounters& requests = dispatcher_.counters();
    return {{"clients", server_.clients()},        {"accepted", server.accepted},
            {"refused_user", server.refused_user}, {"refused_full", server.refused_full},
            {"dropped_slow", server.dropped_slow}, {"requests", requests.requests},
            {"errors", requests.errors},           {"oversized", requests.oversized}};
  }

  RpcDispatcher dispatcher_;
  RpcServer server_;
};

}  // namespace dataplane
