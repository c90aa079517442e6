// Whole gateways for tests: the control core and its workers on ring ports inside one process, driven by
// poll() on one thread, two of them with a WAN between.
//
//   side 1: LAN 10.1.0.0/16 and 2001:db8:1::/48, WAN 192.0.2.1, initiator; side 2 accordingly, responder.
// The host of a side is .9 with MAC mac(9). Sessions take their secrets from a file of the bench's own, which
// is written anew for each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/control.h"
#include "dataplane/operator.h"
#include "session/epoch_store.h"
#include "tests/support/pipeline.h"

namespace support {

// Says that no session was ever here before, and remembers none: for tests that make very many.
class ForgetfulStore final : public session::EpochStore {
 public:
  std::optional<session::StoreRecord> load(const session::Fingerprint&) override { return std::nullopt; }
  void commit(std::span<const session::StoreRecord> records) override;
  void fail(bool on) { failing_ = on; }
  [[nodiscard]] std::uint64_t commits() const { return commits_; }
  [[nodiscard]] std::uint64_t records() const { return records_; }

 private:
  std::uint64_t commits_ = 0;
  std::uint64_t records_ = 0;
  bool failing_ = false;
};

class Live {
 public:
  // `durable`: a store in place of `store`; it has to outlive this.
  Live(const std::string& name, unsigned side, const GatewayOptions& options,
       session::EpochStore* durable = nullptr);
  ~Live();
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;

  // A session with a secret and an id made from `number`; both sides make the same of it.
  dataplane::SessionEntry entry(const std::string& name, std::uint32_t number);
  static dataplane::RouteConfig route(const std::string& to, const std::string& session);
  // Added, and on its way until poll() was called often enough.
  dataplane::OperatorResult add(const std::string& name, std::uint32_t number,
                                const std::vector<std::string>& routes = {});
  dataplane::OperatorResult replace(const std::string& old_name, const std::string& name,
                                    std::uint32_t number, std::uint64_t drain_ns);
  dataplane::GatewayOperator& door() { return control->operator_door(); }

  // Control once, then each worker once.
  void poll();
  std::optional<dataplane::SessionView> view(const std::string& name);
  bool said(const std::string& session, const std::string& kind);
  // A UDP packet of this side's host to the other side's, `id` in its payload, into a queue of the LAN port.
  void from_host(std::uint32_t id, unsigned queue = 0, const std::string& to = {});
  // Takes what came out of the LAN port; returns the payloads' numbers.
  std::vector<std::uint32_t> to_host();
  [[nodiscard]] std::uint64_t drops() const;  // of all cores
  [[nodiscard]] std::string drop_list() const;

  ForgetfulStore store;
  dataplane::CoreStats control_stats;
  Gateway gw;
  std::unique_ptr<dataplane::Control> control;
  unsigned side;

 private:
  std::string directory_;
};

// What `from` sent on its WAN port goes into that of `to`, queue by queue in turn.
unsigned carry_wan(Live& from, Live& to);

}  // namespace support
