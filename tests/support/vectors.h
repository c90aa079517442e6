// Test vectors: finds the JSON files, recognises what each one is, and hands out its cases.
//
// Directory: the environment variable PHANTOM_VECTORS_DIR, otherwise tests/vectors of the source tree. Every
// *.json in it is read; the kind of a file follows from its keys, never from its name. What cannot be read or
// recognised is kept as kUnknown with the reason, so that a test can fail on it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vectors {

using Json = nlohmann::json;
using Bytes = std::vector<std::uint8_t>;

enum class Kind {
  kUnknown,
  kKeySchedule,
  kNonces,
  kHeaders,
  kSealedPackets,  // sealed_packets.json and control_packets.json
  kCoalesced,
  kReplayWindow,
  kReceiveScenarios,
  kHandshakeDerivations,
  kFrozenWire,
  kRetransmitHazard,
};

struct File {
  std::string name;  // without the directory
  Kind kind = Kind::kUnknown;
  std::string error;  // why the kind is unknown
  Json doc;
};

// One case of a file, ready to be a gtest parameter.
struct Case {
  std::string file;
  std::string name;  // the case's own "name", or list and index
  Json value;
};
void PrintTo(const Case& c, std::ostream* out);

// All files of the directory, sorted by name, read once.
const std::vector<File>& files();
std::vector<const File*> files_of(Kind kind);

// True when PHANTOM_VECTORS_DIR chose the directory; then a kind may be absent.
bool external_directory();

// The elements of list `list` (a top-level key) of every file of that kind. A file without the list adds
// nothing.
std::vector<Case> cases(Kind kind, std::string_view list);
// The whole documents of that kind, one case each.
std::vector<Case> documents(Kind kind);

// Named secrets of the key schedules in the directory, then those of the source tree: other formats refer to
// them.
struct NamedSecret {
  std::string name;
  Bytes secret;
};
const std::vector<NamedSecret>& known_secrets();

// Name for INSTANTIATE_TEST_SUITE_P: index and case name, reduced to [A-Za-z0-9_].
std::string case_name(const ::testing::TestParamInfo<Case>& info);

// Hex to bytes; throws std::invalid_argument on anything that is not an even number of hex digits.
Bytes unhex(std::string_view text);
// The hex string at object[key]; throws when it is missing or no string.
Bytes bytes_at(const Json& object, const char* key);
std::string hex(const std::uint8_t* data, std::size_t bytes);
inline std::string hex(const Bytes& data) {
  return hex(data.data(), data.size());
}

// Empty when `object` is an object that has every key of `required` and no key outside `required` and
// `optional`; otherwise says what is wrong. A key nobody knows may be an expectation nobody checks, hence a
// failure.
std::string check_keys(const Json& object, std::initializer_list<std::string_view> required,
                       std::initializer_list<std::string_view> optional = {});

}  // namespace vectors
