#include "dataplane/stall.h"

#include "dataplane/message.h"

namespace dataplane {
namespace {

// In the order of MessageKind.
constexpr std::array<const char*, kCommandKinds> kNames{
    "add_session",  "remove_session",  "install_next",
    "jump",         "retire_previous", "grant_sequences",
    "rekey",        "set_paths",       "attach_streams",
    "hold_streams", "set_alias",       "send_probe",
    "listen",       "fence",           "path_validated",
    "set_state",    "ahead_budget",    "send_path_validation",
    "send_report",  "unwatch",         "neighbour",
    "transmit",     "inject",          "return_packet"};
static_assert(kNames.back() != nullptr, "a name for every kind");
static_assert(kCommandKinds == static_cast<std::size_t>(MessageKind::kReturnPacket) + 1);

}  // namespace

const char* command_name(std::size_t kind) {
  return kind < kNames.size() ? kNames[kind] : nullptr;
}

}  // namespace dataplane
