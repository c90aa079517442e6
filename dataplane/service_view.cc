#include "dataplane/service_view.h"

#include "dataplane/address_text.h"
#include "dataplane/service_hub.h"
#include "dataplane/stream_host.h"
#include "dataplane/topology.h"

namespace dataplane {
namespace {

using session::StreamCounters;

std::uint64_t load(const std::uint64_t& counter) {
  return __atomic_load_n(&counter, __ATOMIC_RELAXED);
}

struct Field {
  const char* name;
  std::uint64_t StreamCounters::*member;
};
#define FIELD(name)              \
  Field {                        \
#name, &StreamCounters::name \
  }
constexpr Field kFields[] = {
    FIELD(segments),
    FIELD(segments_again),
    FIELD(segments_resealed),
    FIELD(acks),
    FIELD(acks_again),
    FIELD(credits),
    FIELD(credit_hints),
    FIELD(fins),
    FIELD(resets_sent),
    FIELD(received_bytes),
    FIELD(sent_bytes),
    FIELD(opened),
    FIELD(closed),
    FIELD(ack_unknown),
    FIELD(credit_overflow),
    FIELD(overrun),
    FIELD(after_fin),
    FIELD(no_room),
    FIELD(stream_limit),
    FIELD(acks_dropped),
    FIELD(gaps_given_up),
    FIELD(far_sequences),
    FIELD(order_broken),
    FIELD(no_stream),
    FIELD(presumed),
    FIELD(retries_used_up),
    FIELD(probes),
    FIELD(spurious),
    FIELD(outrun),
    FIELD(timeouts),
    FIELD(acks_withheld),
    FIELD(held_acks),
    FIELD(no_memory),
};
#undef FIELD
static_assert(std::size(kFields) * sizeof(std::uint64_t) == sizeof(StreamCounters));

void add_workers(const Topology& topology, std::size_t i, ServiceView& v) {
  for (const WorkerParts& worker : topology.workers) {
    const ServiceTraffic& traffic = worker.streams->traffic(i);
    v.opened += load(traffic.opened);
    v.refused += load(traffic.refused);
    v.datagrams_in += load(traffic.datagrams_in);
    v.datagrams_out += load(traffic.datagrams_out);
    v.datagrams_dropped += load(traffic.datagrams_dropped);
  }
}

ServiceView view(const Topology& topology, std::size_t i) {
  const ServiceConfig& config = topology.config.services[i];
  const ServiceCounters counters = topology.services->counters(i);
  ServiceView v;
  v.name = config.name;
  v.sessions = config.session.empty() ? config.group : config.session;
  v.target = target_text(config);
  v.connected = counters.connected;
  v.to_backend_bytes = counters.to_backends_bytes;
  v.from_backend_bytes = counters.from_backends_bytes;
  v.datagrams_dropped = counters.datagrams_dropped;
  std::uint64_t over = 0;
  for (std::size_t end = 0; end < counters.ended.size(); ++end) {
    const std::uint64_t n = counters.ended[end];
    over += n;
    v.ended.emplace_back(name_of(static_cast<ServiceEnd>(end)), n);
  }
  const std::uint64_t begun = counters.opened;
  v.open = begun > over ? begun - over : 0;
  add_workers(topology, i, v);
  return v;
}

}  // namespace

std::string target_text(const ServiceConfig& service) {
  switch (service.target) {
    case ServiceTarget::kTcp:
      return "tcp:" + to_text(service.endpoint);
    case ServiceTarget::kUdp:
      return "udp:" + to_text(service.endpoint);
    case ServiceTarget::kUnix:
      return "unix:" + service.path;
    case ServiceTarget::kUnixDatagram:
      return "unixgram:" + service.path;
    case ServiceTarget::kForward:
      return "forward";
  }
  return "";
}

std::vector<ServiceView> view_services(const Topology& topology) {
  std::vector<ServiceView> all;
  if (topology.services == nullptr) return all;
  for (std::size_t i = 0; i < topology.config.services.size(); ++i) all.push_back(view(topology, i));
  return all;
}

std::uint64_t without_service(const Topology& topology) {
  std::uint64_t n = 0;
  for (const WorkerParts& worker : topology.workers) {
    if (worker.streams != nullptr) n += worker.streams->no_service();
  }
  return n;
}

NamedCounters view_streams(const StreamCounters& counters) {
  NamedCounters all;
  for (const Field& field : kFields) all.emplace_back(field.name, load(counters.*field.member));
  return all;
}

}  // namespace dataplane
