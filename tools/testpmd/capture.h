// Frames as pcapng, with what the Phantom header says (epoch, stream, sequence, path, flags) and, where it is
// known, the drop reason as each packet's comment. Never a key.
//
// Thread: take() on a lane copies into a ring without waiting (what finds it full is counted as missed);
// write() on the main lcore puts into the file what is there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <rte_mbuf.h>

namespace testpmd {

class Capture {
 public:
  // One writer a lane. `ports`: names of the interfaces in the file. Throws std::runtime_error when there is
  // no memory.
  Capture(const std::vector<std::string>& ports, unsigned lanes, const std::string& name);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // ---- main lcore
  // Empty: it runs. `count` 0: until close().
  std::string open(const std::string& file, std::uint64_t count);
  void write();
  void close();
  [[nodiscard]] std::uint64_t written() const;
  [[nodiscard]] std::uint64_t missed() const;

  // ---- lanes
  [[nodiscard]] bool active() const;
  // `reason`: a drop reason's name (static text), or nullptr.
  void take(unsigned lane, unsigned port, bool outgoing, const rte_mbuf* m, const char* reason);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace testpmd
