#include "tools/testpmd/capture.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "session/wire.h"
#include "tools/testpmd/attack_frame.h"

namespace testpmd {
namespace {

constexpr std::size_t kRecords = 1024;  // of a lane between two turns of the main lcore; a power of two

// Block and option codes of the pcapng specification (IETF draft-ietf-opsawg-pcapng).
constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterface = 1;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint16_t kLinkEthernet = 1;
constexpr std::uint16_t kOptionEnd = 0, kOptionComment = 1, kOptionFlags = 2, kOptionName = 2,
                        kOptionResolution = 9, kOptionApplication = 4;
constexpr std::uint8_t kNanoseconds = 9;
constexpr std::uint32_t kInbound = 1, kOutbound = 2;

struct Record {
  std::uint64_t time_ns = 0;
  const char* reason = nullptr;
  std::uint16_t port = 0;
  bool outgoing = false;
  std::uint32_t bytes = 0;     // kept
  std::uint32_t original = 0;  // on the wire
  std::array<std::uint8_t, kCaptureBytes> data;
};

// One producer, the lane, and one consumer, the main lcore.
struct Queue {
  std::vector<Record> records = std::vector<Record>(kRecords);
  alignas(64) std::atomic<std::uint64_t> put{0};
  alignas(64) std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> missed{0};
};

std::uint64_t wall_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

// Bytes of a block, in this machine's order, as the byte-order magic says.
class Block {
 public:
  explicit Block(std::uint32_t type) {
    word(type);
    word(0);  // the length, known at the end
  }
  void half(std::uint16_t v) { raw(&v, sizeof(v)); }
  void word(std::uint32_t v) { raw(&v, sizeof(v)); }
  void raw(const void* p, std::size_t bytes) {
    const auto* at = static_cast<const std::uint8_t*>(p);
    bytes_.insert(bytes_.end(), at, at + bytes);
  }
  void pad() { bytes_.resize((bytes_.size() + 3) / 4 * 4); }
  void option(std::uint16_t code, const void* p, std::size_t bytes) {
    half(code);
    half(static_cast<std::uint16_t>(bytes));
    raw(p, bytes);
    pad();
  }
  const std::vector<std::uint8_t>& finish() {
    option(kOptionEnd, nullptr, 0);
    const auto length = static_cast<std::uint32_t>(bytes_.size() + 4);
    word(length);
    std::memcpy(bytes_.data() + 4, &length, sizeof(length));
    return bytes_;
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

std::string flag_names(std::uint16_t flags) {
  constexpr std::array<const char*, 12> kNames{
      "RELIABLE",   "ACK",     "FIN",   "UNRELIABLE",      "PRIORITY",  "ENCRYPTED",
      "COMPRESSED", "CONTROL", "REKEY", "PATH_VALIDATION", "COALESCED", "WINDOW_UPDATE"};
  std::string text;
  for (unsigned bit = 0; bit < kNames.size(); ++bit) {
    if ((flags >> bit & 1) != 0) text += fmt::format("{}{}", text.empty() ? "" : "|", kNames[bit]);
  }
  return text.empty() ? "none" : text;
}

}  // namespace

std::string capture_comment(std::span<const std::uint8_t> frame, const char* reason) {
  std::string text = "not Phantom";
  if (const auto parts = frame_parts(frame)) {
    const std::uint8_t* p = frame.data() + parts->phantom;
    text = fmt::format("epoch {} stream {} sequence {} path {} flags {}", p[session::kOffEpoch],
                       session::load_be16(p + session::kOffStream),
                       session::load_be32(p + session::kOffSequence), p[session::kOffPath],
                       flag_names(session::load_be16(p + session::kOffFlags)));
  }
  return reason == nullptr ? text : text + fmt::format(" dropped: {}", reason);
}

struct Capture::Impl {
  Impl(const std::vector<std::string>& names, unsigned lanes) : ports(names), queues(lanes) {}

  void put(const std::vector<std::uint8_t>& block) {
    if (std::fwrite(block.data(), 1, block.size(), file) != block.size()) failed = true;
  }
  void put_head();
  void put_packet(const Record& record);
  // Closes the file; what went wrong with it.
  std::string end();

  std::vector<std::string> ports;
  std::vector<Queue> queues;
  std::FILE* file = nullptr;
  bool failed = false;
  std::uint64_t count = 0;
  std::uint64_t written = 0;
  std::atomic<bool> active{false};
};

Capture::Capture(const std::vector<std::string>& ports, unsigned lanes)
    : impl_(std::make_unique<Impl>(ports, lanes)) {}

Capture::~Capture() {
  (void)close();
}

void Capture::Impl::put_head() {
  Block section(kSectionHeader);
  section.word(kByteOrder);
  section.half(1);
  section.half(0);
  const std::int64_t unknown = -1;
  section.raw(&unknown, sizeof(unknown));
  constexpr std::string_view kProgram = "phantom-testpmd";
  section.option(kOptionApplication, kProgram.data(), kProgram.size());
  put(section.finish());
  for (const std::string& name : ports) {
    Block interface(kInterface);
    interface.half(kLinkEthernet);
    interface.half(0);
    interface.word(kCaptureBytes);
    interface.option(kOptionName, name.data(), name.size());
    interface.option(kOptionResolution, &kNanoseconds, 1);
    put(interface.finish());
  }
}

void Capture::Impl::put_packet(const Record& r) {
  Block packet(kEnhancedPacket);
  packet.word(r.port);
  packet.word(static_cast<std::uint32_t>(r.time_ns >> 32));
  packet.word(static_cast<std::uint32_t>(r.time_ns));
  packet.word(r.bytes);
  packet.word(r.original);
  packet.raw(r.data.data(), r.bytes);
  packet.pad();
  const std::string comment = capture_comment({r.data.data(), r.bytes}, r.reason);
  packet.option(kOptionComment, comment.data(), comment.size());
  const std::uint32_t flags = r.outgoing ? kOutbound : kInbound;
  packet.option(kOptionFlags, &flags, sizeof(flags));
  put(packet.finish());
  ++written;
}

std::string Capture::open(const std::string& path, std::uint64_t count) {
  if (impl_->file != nullptr) return "a capture is running; stop it first: capture stop";
  impl_->file = std::fopen(path.c_str(), "wbe");
  if (impl_->file == nullptr) return fmt::format("{} cannot be written: {}", path, std::strerror(errno));
  impl_->failed = false;
  impl_->count = count;
  impl_->written = 0;
  for (Queue& queue : impl_->queues) {
    queue.taken.store(queue.put.load(std::memory_order_acquire), std::memory_order_release);
    queue.missed.store(0, std::memory_order_relaxed);
  }
  impl_->put_head();
  impl_->active.store(true, std::memory_order_release);
  return "";
}

std::string Capture::Impl::end() {
  active.store(false, std::memory_order_release);
  if (std::fclose(std::exchange(file, nullptr)) != 0) failed = true;
  return failed
             ? "the capture ended early, its file could not be written: " + std::string(std::strerror(errno))
             : "";
}

std::string Capture::write() {
  if (impl_->file == nullptr) return "";
  const auto full = [this] { return impl_->failed || (impl_->count != 0 && impl_->written >= impl_->count); };
  for (Queue& queue : impl_->queues) {
    std::uint64_t at = queue.taken.load(std::memory_order_relaxed);
    const std::uint64_t end = queue.put.load(std::memory_order_acquire);
    for (; at != end && !full(); ++at) impl_->put_packet(queue.records[at % kRecords]);
    queue.taken.store(at, std::memory_order_release);
  }
  return full() ? impl_->end() : "";
}

std::string Capture::close() {
  impl_->active.store(false, std::memory_order_release);
  std::string wrong = write();
  return impl_->file == nullptr ? wrong : impl_->end();
}

std::uint64_t Capture::written() const {
  return impl_->written;
}

std::uint64_t Capture::missed() const {
  std::uint64_t sum = 0;
  for (const Queue& queue : impl_->queues) sum += queue.missed.load(std::memory_order_relaxed);
  return sum;
}

bool Capture::active() const {
  return impl_->active.load(std::memory_order_acquire);
}

void Capture::take(unsigned lane, unsigned port, bool outgoing, std::span<const std::uint8_t> frame,
                   const char* reason, std::size_t wire_bytes) {
  Queue& queue = impl_->queues[lane];
  const std::uint64_t at = queue.put.load(std::memory_order_relaxed);
  if (at - queue.taken.load(std::memory_order_acquire) == kRecords) {
    queue.missed.store(queue.missed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return;
  }
  Record& r = queue.records[at % kRecords];
  r.time_ns = wall_ns();
  r.reason = reason;
  r.port = static_cast<std::uint16_t>(port);
  r.outgoing = outgoing;
  r.original = static_cast<std::uint32_t>(std::max(wire_bytes, frame.size()));
  r.bytes = static_cast<std::uint32_t>(std::min(frame.size(), kCaptureBytes));
  std::memcpy(r.data.data(), frame.data(), r.bytes);
  queue.put.store(at + 1, std::memory_order_release);
}

}  // namespace testpmd
