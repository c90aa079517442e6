#include "dataplane/control.h"

#include <functional>
#include <stdexcept>

#include <rte_ring.h>

#include "dataplane/clock.h"
#include "dataplane/control_punts.h"
#include "dataplane/control_routes.h"
#include "dataplane/gateway_operator.h"
#include "dataplane/mailbox.h"
#include "dataplane/neighbour.h"
#include "dataplane/session_lifecycle.h"
#include "dataplane/session_manager.h"

namespace dataplane {
namespace {

// Work per worker and loop: a flood of one kind leaves time for all others.
constexpr unsigned kMessagesPerPoll = 256;
constexpr unsigned kPuntsPerPoll = 256;

}  // namespace

struct Control::Impl {
  Impl(Topology& t, session::EpochStore& store, Clock time)
      : topology(t),
        clock(time ? std::move(time) : Clock(steady_ns)),
        io(t),
        neighbours(t.ports, io),
        sessions(t, store, io, neighbours, events),
        punts(t, io, neighbours, sessions),
        routes(t, neighbours),
        lifecycle(t, sessions, routes, io, events),
        door(t, sessions, lifecycle, routes, neighbours, events, clock) {
    lifecycle.set_replace_timeout(t.config.replace_timeout_ns);
  }

  Topology& topology;
  Clock clock;
  EventLog events;
  ControlIo io;
  Neighbours neighbours;
  SessionManager sessions;
  PuntHandler punts;
  RouteTable routes;
  SessionLifecycle lifecycle;
  GatewayDoor door;
  std::function<unsigned(std::uint64_t now_ns)> hook;
  std::mutex mutex;

  void fill_routes(std::uint64_t now_ns);
  void take(unsigned worker, const Message& message, std::uint64_t now_ns);
  unsigned take_messages(unsigned worker, std::uint64_t now_ns);
  unsigned take_punts(unsigned worker, std::uint64_t now_ns);
};

void Control::Impl::take(unsigned worker, const Message& message, std::uint64_t now_ns) {
  switch (message.kind) {
    case MessageKind::kNeighbourMiss:
      return neighbours.on_miss(message.neighbour.port, message.neighbour.address, now_ns);
    case MessageKind::kInitDone:
    case MessageKind::kSessionRemoved:
    case MessageKind::kFenceDone:
      return lifecycle.on_message(worker, message);
    default:
      return sessions.on_message(worker, message, now_ns);
  }
}

unsigned Control::Impl::take_messages(unsigned worker, std::uint64_t now_ns) {
  Message messages[kMessagesPerPoll];
  const unsigned n = pop(topology.workers[worker].to_control, messages, kMessagesPerPoll);
  for (unsigned i = 0; i < n; ++i) take(worker, messages[i], now_ns);
  return n;
}

// Those of the ports, then the routes of the file; our own addresses last, for they are ours whatever routes
// say.
void Control::Impl::fill_routes(std::uint64_t now_ns) {
  routes.add_ports(now_ns);
  for (const RouteConfig& route : topology.config.routes) {
    const auto hop = sessions.hop_of(route.session);
    if (!route.lan_gateway && !hop) {
      throw std::runtime_error("a route names session \"" + route.session + "\", which there is not");
    }
    if (const auto added = routes.add(route, hop, now_ns); !added.ok()) {
      throw std::runtime_error(added.message);
    }
  }
  routes.add_own_addresses();
}

unsigned Control::Impl::take_punts(unsigned worker, std::uint64_t now_ns) {
  rte_mbuf* packets[kPuntsPerPoll];
  const unsigned n = rte_ring_sc_dequeue_burst(topology.workers[worker].punt,
                                               reinterpret_cast<void**>(packets), kPuntsPerPoll, nullptr);
  for (unsigned i = 0; i < n; ++i) punts.handle(worker, packets[i], now_ns);
  return n;
}

Control::Control(Topology& topology, session::EpochStore& store, Clock clock)
    : impl_(std::make_unique<Impl>(topology, store, std::move(clock))) {}
Control::~Control() = default;

void Control::start() {
  const std::lock_guard guard(impl_->mutex);
  const std::uint64_t now_ns = impl_->clock();
  impl_->neighbours.start(now_ns);
  impl_->sessions.start(now_ns);
  impl_->fill_routes(now_ns);
}

unsigned Control::poll() {
  const std::lock_guard guard(impl_->mutex);
  const std::uint64_t now_ns = impl_->clock();
  const auto workers = static_cast<unsigned>(impl_->topology.workers.size());
  unsigned done = 0;
  for (unsigned w = 0; w < workers; ++w) done += impl_->take_messages(w, now_ns);
  for (unsigned w = 0; w < workers; ++w) done += impl_->take_punts(w, now_ns);
  if (impl_->hook) done += impl_->hook(now_ns);
  done += impl_->sessions.service(now_ns);
  done += impl_->lifecycle.service(now_ns);
  done += impl_->neighbours.tick(now_ns);
  done += impl_->io.flush();
  CoreStats& stats = *impl_->topology.control_stats;
  stats.held = impl_->sessions.held() + impl_->io.waiting_packets();
  ++stats.loops;
  if (done != 0) ++stats.busy_loops;
  return done;
}

void Control::finish() {
  const std::lock_guard guard(impl_->mutex);
  const std::uint64_t now_ns = impl_->clock();
  for (unsigned w = 0; w < impl_->topology.workers.size(); ++w) {
    while (impl_->take_messages(w, now_ns) != 0) {
    }
    void* packet = nullptr;
    while (rte_ring_sc_dequeue(impl_->topology.workers[w].punt, &packet) == 0) {
      impl_->io.drop(static_cast<rte_mbuf*>(packet), session::DropReason::kDraining);
    }
  }
  impl_->sessions.finish();
  impl_->io.discard();
  impl_->topology.control_stats->held = 0;
}

std::string Control::request_rekey(const std::string& session_name, unsigned steps) {
  return impl_->sessions.request_rekey(session_name, steps, impl_->clock());
}

std::string Control::path_migrate(const std::string& session_name, unsigned slot,
                                  const std::optional<session::Endpoint>& local,
                                  const std::optional<session::Endpoint>& remote) {
  return impl_->sessions.path_migrate(session_name, slot, local, remote, impl_->clock()).message;
}

std::string Control::path_probe(const std::string& session_name, unsigned slot) {
  return impl_->sessions.path_probe(session_name, slot, impl_->clock()).message;
}

const SteeringCounters& Control::steering() const {
  return impl_->sessions.steering();
}

const SessionPathCounters& Control::path_counters() const {
  return impl_->sessions.paths().counters();
}

const ReportTotals& Control::report_totals() const {
  return impl_->sessions.report_totals();
}

std::vector<SessionView> Control::sessions(std::size_t from, std::size_t most) const {
  return impl_->sessions.view(from, most, impl_->clock());
}

std::optional<SessionView> Control::session(const std::string& name) const {
  return impl_->sessions.view(name, impl_->clock());
}

std::size_t Control::session_count() const {
  return impl_->sessions.count();
}

SessionMemory Control::memory() const {
  return impl_->sessions.memory();
}

std::vector<NeighbourView> Control::neighbours() const {
  return impl_->neighbours.view();
}

StoreHealth Control::store_health() const {
  return impl_->sessions.health();
}

const EventLog& Control::events() const {
  return impl_->events;
}

GatewayOperator& Control::operator_door() {
  return impl_->door;
}

void Control::set_hook(std::function<unsigned(std::uint64_t now_ns)> hook) {
  impl_->hook = std::move(hook);
}

std::mutex& Control::lock() {
  return impl_->mutex;
}

}  // namespace dataplane
