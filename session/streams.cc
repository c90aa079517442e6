#include "session/streams.h"

#include <algorithm>
#include <bit>

#include "session/streams_pvt.h"

namespace session {
namespace {

constexpr std::uint64_t kLinger_ns = 1000 * kMillisecond_ns;  // at least; late packets of what was reset
constexpr std::uint16_t kFirstOpened = 2;                     // protocol.md 9.1

std::uint32_t span_of(const Streams::Config& config) {
  if (config.span != 0) return config.span;
  return config.unmodified_peer ? kUnmodifiedSpan : kHardenedSpan;
}

template <std::size_t... I>
std::array<PathFlow, sizeof...(I)> make_flows(std::uint64_t now_ns, std::index_sequence<I...>) {
  return {((void)I, PathFlow(now_ns))...};
}

}  // namespace

Streams::Impl::Impl(Streams& self_in, const Config& config_in, StreamMemory& memory, TimerWheel& wheel_in,
                    std::uint64_t now_ns)
    : self(self_in),
      config(config_in),
      pools(memory.pools()),
      wheel(wheel_in),
      now(now_ns),
      flows(make_flows(now_ns, std::make_index_sequence<kFlows>())) {
  config.span = span_of(config);
  const std::uint32_t most = config.unmodified_peer ? TRANSPORT_MTU : kMaxSegmentBytes;
  config.segment_bytes = std::clamp(config.segment_bytes, 1U, most);
  if (!config.unmodified_peer && !config.initiator) next_id = kFirstOpened + 1;
  pace_timer.owner = &self;
  pace_timer.tag = kTagPace;
  rest_timer.owner = &self;
  rest_timer.tag = kTagRest;
  flow_used[0] = ++flow_turn;  // path 0
}

std::uint32_t Streams::Impl::create(std::uint16_t id, const StreamOptions& options) {
  if (count >= config.limits.streams) return kNone;
  const std::uint32_t index = pools.streams.take();
  if (index == kNone) return kNone;
  Record& r = record(index);
  r.owner = &self;
  r.id = id;
  r.options = options;
  r.tx_timer.owner = r.rx_timer.owner = &self;
  r.tx_timer.tag = tx_tag(index);
  r.rx_timer.tag = rx_tag(index);
  r.counter.next = forgotten.next;
  r.counter.limit = forgotten.limit;
  pools.add_stream(index);
  all.push_back(pools.streams.data(), index);
  ++count;
  ++counters.opened;
  return index;
}

void Streams::Impl::forget(std::uint32_t index) {
  Record& r = record(index);
  abort_stream(index);
  if (r.has_news) with_news.remove(pools.streams.data(), index);
  if (r.id >= kDynamicFirst && ahead(r.counter.next, forgotten.next) > 0) forgotten.next = r.counter.next;
  pools.remove_stream(index);
  all.remove(pools.streams.data(), index);
  pools.streams.give(index);
  --count;
  ++counters.closed;
}

void Streams::Impl::news(std::uint32_t index, std::uint8_t bits) {
  Record& r = record(index);
  r.news |= bits;
  if (r.has_news) return;
  r.has_news = true;
  with_news.push_back(pools.streams.data(), index);
}

void Streams::Impl::abort_stream(std::uint32_t index) {
  Record& r = record(index);
  drop_send(index);
  drop_receive(index);
  drop_ready(index);
  if (r.in_credit) with_credit.remove(pools.streams.data(), index);
  r.in_credit = false;
  wheel.cancel(r.tx_timer);
  wheel.cancel(r.rx_timer);
}

void Streams::Impl::maybe_close(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen || !r.fin_acked || !r.fin_reached || r.readable_bytes != 0) return;
  if (!r.queue.empty()) return;  // the FIN was acknowledged before data that was lost
  abort_stream(index);
  r.life = Record::Life::kOver;
  news(index, kNewsClosed);
}

void Streams::Impl::send_reset(std::uint32_t index) {
  abort_stream(index);
  Record& r = record(index);
  r.life = Record::Life::kResetting;
  r.news &= static_cast<std::uint8_t>(~(kNewsReadable | kNewsWritable | kNewsFinished));
  r.fin_queued = false;
  ++counters.resets_sent;
  queue_fin(index);
}

void Streams::Impl::breach(std::uint32_t index, const char* reason) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen) return;
  r.reset_reason = reason;
  send_reset(index);
  news(index, kNewsReset);
}

void Streams::Impl::linger(std::uint32_t index, std::uint64_t for_ns) {
  Record& r = record(index);
  abort_stream(index);
  r.life = Record::Life::kLingering;
  r.tx_at_ns = now + for_ns;
  wheel.arm(r.tx_timer, r.tx_at_ns);
}

void Streams::Impl::peer_reset(std::uint32_t index) {
  Record& r = record(index);
  if (r.life != Record::Life::kOpen && r.life != Record::Life::kResetting) return;
  if (r.life == Record::Life::kOpen) {
    r.reset_reason = "by the peer";
    r.news &= static_cast<std::uint8_t>(~(kNewsReadable | kNewsWritable | kNewsFinished));
    news(index, kNewsReset);
  }
  linger(index, std::max(3 * flow().rto_ns(), kLinger_ns));
}

bool Streams::Impl::peers_id(std::uint16_t id) const {
  if (unmodified() || id < kFirstOpened) return true;
  return (id % 2 == 0) != config.initiator;
}

std::optional<std::uint16_t> Streams::Impl::free_id() {
  const unsigned step = unmodified() ? 1 : 2;
  for (std::uint32_t tried = 0; tried <= count; ++tried) {
    const std::uint16_t id = next_id;
    const unsigned next = next_id + step;
    next_id = static_cast<std::uint16_t>(next > 0xffff ? kFirstOpened + (step == 2 ? next_id % 2 : 0) : next);
    if (find(id) == kNone) return id;
  }
  return std::nullopt;
}

// ---- paths

unsigned Streams::Impl::flow_slot(std::uint8_t path_id) {
  unsigned slot = 0;
  for (unsigned i = 0; i < kFlows; ++i) {
    if (flow_used[i] != 0 && flow_path[i] == path_id) {
      flow_used[i] = ++flow_turn;
      return i;
    }
    if (i != flow_now && (slot == flow_now || flow_used[i] < flow_used[slot])) slot = i;
  }
  // What is in flight there counts nowhere from now on.
  for (std::uint32_t i = all.head; i != kNone; i = record(i).next) {
    for (std::uint32_t s = record(i).flight.head; s != kNone; s = pools.segments[s].list_next) {
      if (pools.segments[s].flow == slot) pools.segments[s].mark = FlowMark{};
    }
  }
  flows[slot] = PathFlow(now);
  flow_path[slot] = path_id;
  flow_used[slot] = ++flow_turn;
  return slot;
}

// ---- the object

Streams::Streams(const Config& config, StreamMemory& memory, TimerWheel& wheel, std::uint64_t now_ns)
    : impl_(std::make_unique<Impl>(*this, config, memory, wheel, now_ns)) {}

Streams::~Streams() {
  close();
}

void Streams::close() {
  while (impl_->all.head != kNone) impl_->forget(impl_->all.head);
  PendingAck ack;
  while (impl_->pop_ack(ack)) {
  }
  impl_->wheel.cancel(impl_->pace_timer);
  impl_->wheel.cancel(impl_->rest_timer);
}

std::optional<std::uint16_t> Streams::open(const StreamOptions& options, StreamError& error) {
  error = StreamError::kLimit;
  if (impl_->count >= impl_->config.limits.streams || impl_->pools.streams.left() == 0) return std::nullopt;
  error = StreamError::kNoIds;
  const auto id = impl_->free_id();
  if (!id) return std::nullopt;
  error = open_as(*id, options);
  return error == StreamError::kOk ? id : std::nullopt;
}

StreamError Streams::open_as(std::uint16_t stream, const StreamOptions& options) {
  if (stream == 0) return StreamError::kUnknown;  // control: 1.4 rule 3
  if (impl_->find(stream) != kNone) return StreamError::kExists;
  return impl_->create(stream, options) == kNone ? StreamError::kLimit : StreamError::kOk;
}

void Streams::set_accept_options(const StreamOptions& options) {
  impl_->accept = options;
}

StreamError Streams::set_options(std::uint16_t stream, const StreamOptions& options) {
  const std::uint32_t index = impl_->find(stream);
  if (index == kNone) return StreamError::kUnknown;
  StreamRecord& r = impl_->record(index);
  // What arrived out of order is delivered under the option it arrived with.
  const bool fixed = !r.held.empty() || r.received_bytes != 0;
  const bool ordered = fixed ? r.options.ordered : options.ordered;
  r.options = StreamOptions{ordered, options.priority};
  return StreamError::kOk;
}

std::size_t Streams::send(std::uint16_t stream, std::span<const std::uint8_t> bytes, StreamError& error) {
  const std::uint32_t index = impl_->find(stream);
  error = StreamError::kUnknown;
  if (index == kNone) return 0;
  error = StreamError::kReset;
  if (impl_->record(index).life != StreamRecord::Life::kOpen) return 0;
  error = StreamError::kFinished;
  if (impl_->record(index).finishing) return 0;
  error = StreamError::kOk;
  return impl_->append(index, bytes);
}

StreamError Streams::finish(std::uint16_t stream) {
  const std::uint32_t index = impl_->find(stream);
  if (index == kNone) return StreamError::kUnknown;
  StreamRecord& r = impl_->record(index);
  if (r.life != StreamRecord::Life::kOpen) return StreamError::kReset;
  if (r.finishing) return StreamError::kOk;
  r.finishing = true;
  r.want_writable = false;
  impl_->queue_fin(index);
  return StreamError::kOk;
}

StreamError Streams::reset(std::uint16_t stream) {
  const std::uint32_t index = impl_->find(stream);
  if (index == kNone) return StreamError::kUnknown;
  if (impl_->record(index).life != StreamRecord::Life::kOpen) return StreamError::kReset;
  impl_->send_reset(index);
  return StreamError::kOk;
}

std::span<const std::uint8_t> Streams::readable(std::uint16_t stream) const {
  const std::uint32_t index = impl_->find(stream);
  if (index == kNone) return {};
  const StreamRecord& r = impl_->record(index);
  if (r.delivered.empty()) return {};
  const std::span<const std::uint8_t> text = impl_->pools.block_text[r.delivered.head];
  return text.subspan(r.head_offset, impl_->pools.blocks[r.delivered.head].bytes - r.head_offset);
}

void Streams::consume(std::uint16_t stream, std::size_t bytes, std::uint64_t now_ns) {
  impl_->now = now_ns;
  const std::uint32_t index = impl_->find(stream);
  if (index != kNone) impl_->consume(index, bytes);
}

bool Streams::next_event(StreamEvent& out) {
  while (!impl_->with_news.empty()) {
    const std::uint32_t index = impl_->with_news.head;
    StreamRecord& r = impl_->record(index);
    const unsigned bit = static_cast<unsigned>(std::countr_zero(r.news));
    r.news &= static_cast<std::uint8_t>(r.news - 1);
    out = StreamEvent{r.id, static_cast<StreamNews>(bit), "", r.user};
    if (out.news == StreamNews::kReset) out.reason = r.reset_reason;
    if (r.news == 0) {
      impl_->with_news.remove(impl_->pools.streams.data(), index);
      r.has_news = false;
    }
    if (out.news == StreamNews::kReadable && r.readable_bytes == 0) continue;  // read meanwhile
    if (out.news == StreamNews::kClosed) impl_->forget(index);
    return true;
  }
  return false;
}

void Streams::set_user(std::uint16_t stream, std::uint32_t user) {
  const std::uint32_t index = impl_->find(stream);
  if (index != kNone) impl_->record(index).user = user;
}

void* Streams::user() const {
  return impl_->config.user;
}

std::size_t Streams::count() const {
  return impl_->count;
}

bool Streams::has_room(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
                       std::uint32_t bytes) {
  return impl_->has_room(stream, sequence, flags, prior, bytes);
}

void Streams::on_data(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
                      std::uint8_t path, std::span<const std::uint8_t> text, std::uint64_t now_ns) {
  impl_->now = impl_->heard_ns = now_ns;
  impl_->on_data(stream, sequence, flags, prior, path, text);
}

void Streams::on_duplicate(std::uint16_t stream, std::uint32_t sequence, std::uint8_t path,
                           std::uint64_t now_ns) {
  impl_->now = now_ns;
  if (!impl_->duplicate_acks.take(now_ns)) {
    ++impl_->counters.acks_withheld;
    return;
  }
  impl_->heard_ns = now_ns;
  if (impl_->queue_ack(PendingAck{now_ns, sequence, stream, path, false})) ++impl_->counters.acks_again;
}

void Streams::on_old(std::uint16_t stream, std::uint32_t sequence, std::uint8_t path, std::uint64_t now_ns) {
  const std::uint32_t index = impl_->find(stream);
  if (index != kNone && impl_->arrived(impl_->record(index), sequence)) {
    on_duplicate(stream, sequence, path, now_ns);
  }
}

void Streams::on_ack(std::uint16_t stream, std::uint32_t acked, std::uint16_t ack_delay_us, bool fin,
                     std::uint64_t now_ns) {
  impl_->now = now_ns;
  const std::uint32_t index = impl_->find(stream);
  if (index == kNone) {
    // A late one of a stream that is over, unless no number of ours ever came there.
    if (stream >= kDynamicFirst && ahead(acked, impl_->forgotten.next) >= 0) ++impl_->counters.ack_unknown;
    return;
  }
  impl_->on_ack(index, acked, std::uint64_t{ack_delay_us} * 1000);
  if (fin) impl_->finish_receiving(index);
}

void Streams::on_credit(std::uint16_t stream, std::uint32_t credit, std::uint16_t told,
                        std::uint64_t now_ns) {
  impl_->now = now_ns;
  const std::uint32_t index = impl_->find(stream);
  if (index != kNone) impl_->on_credit(index, credit, told);
}

void Streams::on_control(std::uint16_t stream, std::uint32_t sequence, std::uint64_t now_ns) {
  impl_->now = now_ns;
  const std::uint32_t index = impl_->find(stream);
  if (index != kNone && impl_->unmodified()) impl_->on_control(index, sequence);
}

bool Streams::next_packet(StreamPacket& out, std::uint64_t now_ns) {
  impl_->now = now_ns;
  impl_->paced_until_ns = 0;
  impl_->keep_hold();
  if (impl_->next_control(out) || impl_->next_credit(out) || impl_->next_data(out)) return true;
  impl_->await_rest();
  return false;
}

std::uint64_t Streams::paced_until_ns() const {
  return impl_->paced_until_ns;
}

void Streams::numbered(StreamPacket& packet, std::uint32_t sequence) {
  impl_->numbered(packet, sequence);
}

void Streams::sealed(const StreamPacket& packet, std::uint8_t epoch, std::uint32_t sequence,
                     std::uint32_t image_bytes, std::uint64_t now_ns) {
  impl_->now = now_ns;
  (void)sequence;
  if (packet.kind == StreamPacket::Kind::kPlain) return impl_->sealed_plain(packet);
  impl_->sealed_segment(packet, epoch, image_bytes);
}

void Streams::not_sent(const StreamPacket& packet, std::uint64_t now_ns) {
  impl_->now = now_ns;
  if (packet.kind == StreamPacket::Kind::kPlain) return impl_->not_sent_plain(packet);
  impl_->not_sent_segment(packet);
}

TxStream* Streams::counter(std::uint16_t stream) {
  if (stream < kDynamicFirst) return nullptr;
  const std::uint32_t index = impl_->find(stream);
  return index == kNone ? &impl_->forgotten : &impl_->record(index).counter;
}

void Streams::set_dynamic_limit(std::uint32_t first, std::uint32_t limit) {
  const bool begins = !impl_->dynamic_begun;  // then 0 is no number that `first` is behind or ahead of
  const bool moves = begins || ahead(first, impl_->forgotten.next) > 0;
  if (limit == impl_->forgotten.limit && !moves) return;  // as every record has it
  impl_->dynamic_begun = true;
  if (moves) impl_->forgotten.next = first;
  impl_->forgotten.limit = limit;
  for (std::uint32_t i = impl_->all.head; i != kNone; i = impl_->record(i).next) {
    impl_->record(i).counter.limit = limit;
    if (begins) impl_->record(i).counter.next = first;
  }
}

void Streams::set_epoch(std::uint8_t epoch) {
  if (epoch != impl_->epoch) impl_->hold_from_ns = 0;  // what was held back for is done
  impl_->epoch = epoch;
}

void Streams::set_path(std::uint8_t path, std::uint32_t segment_bytes) {
  const bool plain = impl_->unmodified();
  impl_->path = plain ? 0 : path;  // 1.4 rule 1
  impl_->config.segment_bytes = std::clamp(segment_bytes, 1U, plain ? TRANSPORT_MTU : kMaxSegmentBytes);
  impl_->flow_now = static_cast<std::uint8_t>(impl_->flow_slot(impl_->path));
}

void Streams::on_timer(Timer& timer, std::uint64_t now_ns) {
  impl_->now = now_ns;
  if (timer.tag == kTagPace || timer.tag == kTagRest) return;  // next_packet() is called behind every timer
  if (timer.tag % 2 == 0) return impl_->on_tx_timer(timer.tag / 2);
  impl_->on_rx_timer(timer.tag / 2);
}

const StreamCounters& Streams::counters() const {
  return impl_->counters;
}

BandwidthSnapshot Streams::bandwidth(std::uint8_t path) const {
  for (unsigned i = 0; i < Impl::kFlows; ++i) {
    if (impl_->flow_used[i] != 0 && impl_->flow_path[i] == path) return impl_->flows[i].snapshot();
  }
  return {};
}

PathFlow& Streams::flow(std::uint8_t path) {
  return impl_->flows[impl_->flow_slot(path)];
}

}  // namespace session
