#include "tests/support/stream_pair.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "session/wire.h"

namespace support {

using session::StreamPacket;

SeenNumbers::Verdict SeenNumbers::look(std::uint32_t sequence) const {
  if (!any_) return Verdict::kNew;
  const auto ahead = static_cast<std::int32_t>(sequence - highest_);
  if (ahead > 0) return Verdict::kNew;
  if (highest_ - sequence >= bits_) return Verdict::kTooOld;
  return seen_.count(sequence) != 0 ? Verdict::kDuplicate : Verdict::kNew;
}

void SeenNumbers::record(std::uint32_t sequence) {
  seen_.insert(sequence);
  if (!any_ || static_cast<std::int32_t>(sequence - highest_) > 0) highest_ = sequence;
  any_ = true;
  while (seen_.size() > 2 * bits_) seen_.erase(seen_.begin());
}

StreamPair::End::End(const Setup& setup, const session::Streams::Config& config)
    : memory(setup.memory),
      wheel(kStart_ns),
      streams(std::make_unique<session::Streams>(config, memory, wheel, kStart_ns)) {}

namespace {
StreamPair::Setup with_roles(StreamPair::Setup setup) {
  setup.a.initiator = true;
  setup.b.initiator = false;
  return setup;
}
}  // namespace

StreamPair::StreamPair(const Setup& setup)
    : setup_(with_roles(setup)), random_(setup.seed), ends_{End(setup_, setup_.a), End(setup_, setup_.b)} {
  for (End& end : ends_) end.streams->set_dynamic_limit(0, 1U << 31);
}

std::uint32_t StreamPair::take_number(End& end, std::uint16_t stream) {
  if (session::TxStream* counter = end.streams->counter(stream)) return counter->next++;
  return end.next[stream]++;
}

void StreamPair::pump(unsigned which) {
  End& end = ends_[which];
  StreamPacket packet;
  while (end.streams->next_packet(packet, now_)) {
    std::vector<std::uint8_t> image;
    if (packet.kind == StreamPacket::Kind::kAgain) {
      image.assign(packet.image.begin(), packet.image.end());
    } else {
      if (packet.kind != StreamPacket::Kind::kReseal) {
        end.streams->numbered(packet, take_number(end, packet.stream));
      }
      session::Header header;
      header.stream_id = packet.stream;
      header.sequence = packet.sequence;
      header.flags = packet.flags;
      header.ack_delay_us = packet.ack_delay;
      header.epoch = end.epoch;
      header.path_id = packet.path;
      image.resize(session::kPacketOverhead + packet.text.size());
      session::encode_header(header, std::span(image).first<session::kHeaderBytes>());
      std::copy(packet.text.begin(), packet.text.end(), image.begin() + session::kPayloadOffset);
      if (!packet.image.empty()) std::copy(image.begin(), image.end(), packet.image.begin());
      if (setup_.check_images) check(end, packet, image);
    }
    end.streams->sealed(packet, end.epoch, packet.sequence, static_cast<std::uint32_t>(image.size()), now_);
    ++end.packets;
    transmit(which, image);
  }
}

void StreamPair::check(End& end, const StreamPacket& packet, std::span<const std::uint8_t> image) {
  const std::uint64_t key = (std::uint64_t{end.epoch} << 56) | (std::uint64_t{packet.path} << 48) |
                            (std::uint64_t{packet.stream} << 32) | packet.sequence;
  const std::string_view text(reinterpret_cast<const char*>(image.data()), image.size());
  const auto [seen, fresh] = end.images.try_emplace(key, std::hash<std::string_view>{}(text));
  if (fresh) return;
  if (packet.kind != StreamPacket::Kind::kReseal) broken_ = "one number for two packets";
  if (seen->second != std::hash<std::string_view>{}(text)) broken_ = "one number, two images";
}

void StreamPair::transmit(unsigned from, std::span<const std::uint8_t> image) {
  if (filter && !filter(from, image)) return;
  End& end = ends_[from];
  std::uint64_t leaves_ns = now_;
  if (setup_.link.bytes_per_s != 0) {
    leaves_ns = std::max(now_, end.link_free_ns) + image.size() * 1'000'000'000 / setup_.link.bytes_per_s;
    end.link_free_ns = leaves_ns;
  }
  std::uniform_real_distribution<double> chance(0, 1);
  if (chance(random_) < setup_.link.loss) return;
  const int copies = chance(random_) < setup_.link.duplicates ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const std::uint64_t jitter_ns = setup_.link.jitter_ns == 0 ? 0 : random_() % setup_.link.jitter_ns;
    packets_.push(Packet{leaves_ns + setup_.link.delay_ns + jitter_ns, ++order_, 1 - from,
                         std::vector<std::uint8_t>(image.begin(), image.end())});
  }
}

void StreamPair::arrive(unsigned at, std::span<const std::uint8_t> image) {
  End& end = ends_[at];
  const session::Header h = session::decode_header(image.first<session::kHeaderBytes>());
  const auto text = image.subspan(session::kPayloadOffset, image.size() - session::kPacketOverhead);
  SeenNumbers& seen = end.seen.try_emplace(h.stream_id, SeenNumbers(setup_.window_bits)).first->second;
  const auto verdict = seen.look(h.sequence);
  const bool reliable = (h.flags & session::kFlagReliable) != 0;
  if (verdict == SeenNumbers::Verdict::kDuplicate && reliable && !setup_.acknowledge_once[at]) {
    return end.streams->on_duplicate(h.stream_id, h.sequence, h.path_id, now_);
  }
  if (verdict != SeenNumbers::Verdict::kNew) return;
  const bool control = (h.flags & (session::kFlagAck | session::kFlagWindowUpdate)) != 0;
  if (!control && !end.streams->has_room(h.stream_id, h.sequence, h.flags, h.ack_delay_us,
                                         static_cast<std::uint32_t>(text.size()))) {
    return;
  }
  seen.record(h.sequence);
  if ((h.flags & session::kFlagAck) != 0) {
    end.streams->on_ack(h.stream_id, session::load_be32(text.data()), h.ack_delay_us,
                        (h.flags & session::kFlagFin) != 0, now_);
  } else if ((h.flags & session::kFlagWindowUpdate) != 0) {
    end.streams->on_credit(h.stream_id, session::load_be32(text.data()), h.ack_delay_us, now_);
  } else {
    return end.streams->on_data(h.stream_id, h.sequence, h.flags, h.ack_delay_us, h.path_id, text, now_);
  }
  end.streams->on_control(h.stream_id, h.sequence, now_);
}

void StreamPair::read(unsigned which) {
  End& end = ends_[which];
  for (bool more = true; more;) {
    more = false;
    session::StreamEvent event;
    while (end.streams->next_event(event)) {
      end.events.push_back(event);
      end.received.try_emplace(event.stream);
      more = true;
    }
    if (!end.reads) continue;
    for (auto& [stream, bytes] : end.received) {
      for (auto part = end.streams->readable(stream); !part.empty(); part = end.streams->readable(stream)) {
        bytes.insert(bytes.end(), part.begin(), part.end());
        end.streams->consume(stream, part.size(), now_);
      }
    }
  }
}

void StreamPair::step() {
  std::uint64_t at_ns = packets_.empty() ? UINT64_MAX : packets_.top().at_ns;
  for (End& end : ends_) at_ns = std::min(at_ns, end.wheel.next_deadline_ns());
  if (at_ns == UINT64_MAX) at_ns = now_ + 1'000'000'000;  // nothing happens by itself
  now_ = std::max(now_ + 1, at_ns);
  while (!packets_.empty() && packets_.top().at_ns <= now_) {
    const Packet packet = packets_.top();
    packets_.pop();
    arrive(packet.to, packet.bytes);
  }
  for (End& end : ends_) {
    while (session::Timer* timer = end.wheel.next_expired(now_)) {
      static_cast<session::Streams*>(timer->owner)->on_timer(*timer, now_);
    }
  }
  for (unsigned i = 0; i < 2; ++i) read(i);
  if (application) application();
  for (unsigned i = 0; i < 2; ++i) pump(i);
}

bool StreamPair::run(const std::function<bool()>& done, std::uint64_t at_most_ms) {
  const std::uint64_t until_ns = now_ + at_most_ms * 1'000'000;
  if (application) application();
  for (unsigned i = 0; i < 2; ++i) pump(i);
  while (!done()) {
    if (now_ >= until_ns) return false;
    step();
  }
  return true;
}

void StreamPair::run_for_ms(std::uint64_t ms) {
  const std::uint64_t until_ns = now_ + ms * 1'000'000;
  run([&] { return now_ >= until_ns; }, ms);
}

void StreamPair::set_epoch(unsigned which, std::uint8_t epoch) {
  ends_[which].epoch = epoch;
  ends_[which].streams->set_epoch(epoch);
}

bool StreamPair::saw(unsigned which, std::uint16_t stream, session::StreamNews news) const {
  return std::any_of(ends_[which].events.begin(), ends_[which].events.end(),
                     [&](const auto& event) { return event.stream == stream && event.news == news; });
}

void PatternSource::offer() {
  std::array<std::uint8_t, 4096> bytes;
  while (taken_ < total_) {
    const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), total_ - taken_));
    for (std::size_t i = 0; i < size; ++i) bytes[i] = pattern(stream_, taken_ + i);
    session::StreamError error;
    const std::size_t took = streams_.send(stream_, std::span(bytes).first(size), error);
    taken_ += took;
    if (took < size) return;
  }
  if (finish_) streams_.finish(stream_);
  finish_ = false;
}

bool is_pattern(std::uint16_t stream, const std::vector<std::uint8_t>& bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != pattern(stream, i)) return false;
  }
  return true;
}

}  // namespace support
