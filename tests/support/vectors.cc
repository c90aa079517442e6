#include "tests/support/vectors.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <stdexcept>

namespace vectors {
namespace {

std::string directory() {
  const char* chosen = std::getenv("PHANTOM_VECTORS_DIR");
  return external_directory() ? std::string(chosen) : std::string(PHANTOM_DEFAULT_VECTORS_DIR);
}

// True when doc[list] is a non-empty list whose first element has the key.
bool lists(const Json& doc, const char* list, const char* key) {
  const auto found = doc.find(list);
  return found != doc.end() && found->is_array() && !found->empty() && found->front().contains(key);
}

bool is_handshake(const Json& doc) {
  constexpr const char* kSections[] = {"kem_combiner", "session_id", "resumption_secret", "resumption_binder",
                                       "early_data",   "cookie",     "proof_of_work"};
  return std::any_of(std::begin(kSections), std::end(kSections),
                     [&](const char* key) { return doc.contains(key) && doc.at(key).is_object(); });
}

Kind recognise(const Json& doc) {
  if (!doc.is_object()) return Kind::kUnknown;
  if (doc.contains("secrets") || doc.contains("derive_key_kats")) return Kind::kKeySchedule;
  if (doc.contains("nonces")) return Kind::kNonces;
  if (doc.contains("scenarios")) return Kind::kReceiveScenarios;
  if (doc.contains("sequences")) return Kind::kReplayWindow;
  if (doc.contains("fixtures")) return Kind::kFrozenWire;
  if (doc.contains("bundles") || doc.contains("sealed") || lists(doc, "malformed", "bundle")) {
    return Kind::kCoalesced;
  }
  if (doc.contains("headers") || lists(doc, "malformed", "image")) return Kind::kHeaders;
  if (lists(doc, "packets", "ciphertext_and_tag")) return Kind::kSealedPackets;
  if (lists(doc, "packets", "image")) return Kind::kHeaders;
  if (lists(doc, "cases", "tag_first")) return Kind::kRetransmitHazard;
  return is_handshake(doc) ? Kind::kHandshakeDerivations : Kind::kUnknown;
}

File load(const std::filesystem::path& path) {
  File file;
  file.name = path.filename().string();
  std::ifstream in(path);
  if (!in) {
    file.error = "cannot be opened";
    return file;
  }
  file.doc = Json::parse(in, nullptr, false);
  if (file.doc.is_discarded()) {
    file.error = "is not JSON";
    return file;
  }
  file.kind = recognise(file.doc);
  if (file.kind == Kind::kUnknown) file.error = "has a structure that no test knows";
  return file;
}

std::vector<File> load_all(const std::string& directory) {
  std::vector<File> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".json") all.push_back(load(entry.path()));
  }
  std::sort(all.begin(), all.end(), [](const File& a, const File& b) { return a.name < b.name; });
  return all;
}

void collect_secrets(const Json& value, bool named, std::vector<NamedSecret>& out) {
  if (value.is_object() && value.contains("shared_secret") && value.at("shared_secret").is_string()) {
    const Bytes secret = bytes_at(value, "shared_secret");
    if (secret.size() == 32) out.push_back({named ? value.value("name", "") : "", secret});
  }
  if (!value.is_structured()) return;
  for (const Json& child : value) collect_secrets(child, named, out);
}

void collect_secrets(const std::vector<File>& from, std::vector<NamedSecret>& out) {
  for (const File& file : from) collect_secrets(file.doc, file.kind == Kind::kKeySchedule, out);
}

std::vector<NamedSecret> load_secrets() {
  std::vector<NamedSecret> all;
  collect_secrets(files(), all);
  if (external_directory()) collect_secrets(load_all(PHANTOM_DEFAULT_VECTORS_DIR), all);
  return all;
}

unsigned digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  throw std::invalid_argument("not a hex digit");
}

}  // namespace

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.file << ": " << c.name;
}

bool external_directory() {
  const char* chosen = std::getenv("PHANTOM_VECTORS_DIR");
  return chosen != nullptr && *chosen != '\0';
}

const std::vector<File>& files() {
  static const std::vector<File> all = load_all(directory());
  return all;
}

std::vector<const File*> files_of(Kind kind) {
  std::vector<const File*> found;
  for (const File& file : files()) {
    if (file.kind == kind) found.push_back(&file);
  }
  return found;
}

const std::vector<NamedSecret>& known_secrets() {
  static const std::vector<NamedSecret> all = load_secrets();
  return all;
}

std::vector<Case> cases(Kind kind, std::string_view list) {
  std::vector<Case> out;
  for (const File* file : files_of(kind)) {
    const auto found = file->doc.find(std::string(list));
    if (found == file->doc.end()) continue;
    std::size_t index = 0;
    for (const Json& value : *found) {
      std::string name = std::string(list) + " " + std::to_string(index++);
      if (value.is_object() && value.contains("name") && value.at("name").is_string()) {
        name = value.at("name").get<std::string>();
      }
      out.push_back({file->name, std::move(name), value});
    }
  }
  return out;
}

std::vector<Case> documents(Kind kind) {
  std::vector<Case> out;
  for (const File* file : files_of(kind)) out.push_back({file->name, file->name, file->doc});
  return out;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = std::to_string(info.index) + "_" + info.param.name;
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')); },
      '_');
  return name;
}

Bytes unhex(std::string_view text) {
  if (text.size() % 2 != 0) throw std::invalid_argument("odd number of hex digits");
  Bytes out(text.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::uint8_t>(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
  }
  return out;
}

Bytes bytes_at(const Json& object, const char* key) {
  return unhex(object.at(key).get<std::string>());
}

std::string hex(const std::uint8_t* data, std::size_t bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < bytes; ++i) {
    out.push_back(kDigits[data[i] >> 4]);
    out.push_back(kDigits[data[i] & 15]);
  }
  return out;
}

std::string check_keys(const Json& object, std::initializer_list<std::string_view> required,
                       std::initializer_list<std::string_view> optional) {
  if (!object.is_object()) return "is not an object";
  for (const std::string_view key : required) {
    if (!object.contains(std::string(key))) return "lacks the key " + std::string(key);
  }
  const auto in = [](std::initializer_list<std::string_view> set, std::string_view key) {
    return std::find(set.begin(), set.end(), key) != set.end();
  };
  for (const auto& item : object.items()) {
    if (!in(required, item.key()) && !in(optional, item.key())) return "has the unknown key " + item.key();
  }
  return {};
}

}  // namespace vectors
