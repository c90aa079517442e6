// Frames as pcapng, written by our own few lines: rte_pcapng of DPDK 22.11 has no comments. With what the
// Phantom header says (epoch, stream, sequence, path, flags) and, where it is known, the drop reason as each
// packet's comment. Never a key.
//
// Thread: take() on a lane copies into a ring without waiting (what finds it full is counted as missed);
// write() on the main lcore puts into the file what is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace testpmd {

inline constexpr std::size_t kCaptureBytes = 2048;  // of a frame

// What a packet's comment says of a frame: its Phantom header, and why it was dropped where that is known.
std::string capture_comment(std::span<const std::uint8_t> frame, const char* reason);

class Capture {
 public:
  // One writer a lane. `ports`: names of the interfaces in the file.
  Capture(const std::vector<std::string>& ports, unsigned lanes);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // ---- main lcore
  // Empty: it runs. `count` 0: until close().
  std::string open(const std::string& file, std::uint64_t count);
  // What is there goes into the file. Not empty: the file could not be written, and the capture has ended.
  [[nodiscard]] std::string write();
  [[nodiscard]] std::string close();
  [[nodiscard]] std::uint64_t written() const;
  [[nodiscard]] std::uint64_t missed() const;

  // ---- lanes
  [[nodiscard]] bool active() const;
  // `reason`: a drop reason's name (static text), or nullptr. Frames beyond kCaptureBytes are cut; one that
  // was cut before had `wire_bytes`.
  void take(unsigned lane, unsigned port, bool outgoing, std::span<const std::uint8_t> frame,
            const char* reason, std::size_t wire_bytes = 0);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace testpmd
