// The methods of the control socket, over what an operator can ask of a gateway (operator.h).
//
// Thread: the control core's. Names and parameters: dataplane/README.md, and what `methods` answers.
#pragma once

#include <functional>

#include "dataplane/config.h"
#include "dataplane/operator.h"
#include "dataplane/rpc.h"

namespace dataplane {

// Sessions of one answer, and events of one: an answer stays far below what a client may leave unread.
inline constexpr std::size_t kRpcSessionsPerAnswer = 256;
inline constexpr std::size_t kRpcEventsPerAnswer = 1024;
// Values a session may be described with, its routes among them; further routes come by route.add.
inline constexpr unsigned kRpcMostSessionValues = 1024;

// `gateway` and `config` outlive the dispatcher. `counters`: of the socket, shown by `stats`.
void add_operator_methods(RpcDispatcher& dispatcher, GatewayOperator& gateway, const GatewayConfig& config,
                          std::function<Json()> counters);

// The session that parameters describe, as a [[session]] table with `routes` would. Throws RpcFailure that
// lists every error with its field.
SessionText session_of(const RpcInput& object, const GatewayConfig& config);

}  // namespace dataplane
