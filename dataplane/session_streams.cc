// Sessions that services name: their streams are made here and used by their worker.
#include "dataplane/config_service.h"
#include "dataplane/session_manager_pvt.h"

namespace dataplane {

void SessionManager::make_streams(Managed& s) {
  StreamHost* host = topology_.workers[s.worker].streams.get();
  std::vector<ServiceRange> ranges;
  for (const std::uint16_t index : services_of(topology_.config, *s.entry)) {
    const ServiceConfig& service = topology_.config.services[index];
    ranges.push_back({service.first_stream, service.last_stream, index, is_datagram(service.target)});
  }
  if (host == nullptr || ranges.empty()) return;
  s.streams = std::make_unique<StreamSession>(*host, *s.entry, std::move(ranges), s.control->slot(),
                                              s.control->generation());
}

void SessionManager::attach_streams(const Managed& s) {
  if (s.streams == nullptr) return;
  Message message;
  message.kind = MessageKind::kAttachStreams;
  message.slot = s.control->slot();
  message.generation = s.control->generation();
  message.streams = s.streams.get();
  io_.send(s.worker, message);
}

// An unmodified peer's streams make room for a rekey that control wants.
void SessionManager::tell_hold(Managed& s) {
  if (s.streams == nullptr || s.control->rekey_waits() == s.hold_told) return;
  s.hold_told = !s.hold_told;
  Message message;
  message.kind = MessageKind::kHoldStreams;
  message.a = s.hold_told ? 1 : 0;
  message.slot = s.control->slot();
  message.generation = s.control->generation();
  io_.send(s.worker, message);
}

// What acknowledgements tell, in place of receiver reports.
void SessionManager::view_streams_of(const Managed& s, SessionView& v) {
  if (s.streams == nullptr) return;
  v.streams = view_streams(s.streams->streams.counters());
  BandwidthView view;
  view.snapshot = s.streams->bandwidth.get();
  if (view.snapshot.bottleneck_bw_bps == 0) return;
  v.bandwidth = view;
  v.path_bandwidth.resize(v.paths.size());
  for (std::size_t i = 0; i < v.paths.size(); ++i) {
    if (!v.paths[i].in_use) continue;
    v.path_bandwidth[i] = view;
    break;
  }
}

}  // namespace dataplane
