// Every vector file of the directory is readable, of a known kind, and has no list that no test runs.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/vectors.h"

namespace {

using vectors::Kind;

const std::map<Kind, std::set<std::string>>& known_lists() {
  static const std::map<Kind, std::set<std::string>> lists = {
      {Kind::kKeySchedule, {"secrets", "derive_key_kats"}},
      {Kind::kNonces, {"nonces"}},
      {Kind::kHeaders, {"headers", "packets", "malformed"}},
      {Kind::kSealedPackets, {"packets", "shared_secret"}},
      {Kind::kCoalesced, {"bundles", "malformed", "sealed"}},
      {Kind::kReplayWindow, {"sequences"}},
      {Kind::kReceiveScenarios, {"scenarios"}},
      {Kind::kHandshakeDerivations,
       {"kem_combiner", "session_id", "resumption_secret", "resumption_binder", "early_data", "cookie",
        "proof_of_work"}},
      {Kind::kFrozenWire, {"fixtures"}},
      {Kind::kRetransmitHazard, {"cases"}},
  };
  return lists;
}

TEST(VectorFiles, DirectoryHasFiles) {
  EXPECT_FALSE(vectors::files().empty());
}

TEST(VectorFiles, EveryFileIsOfAKnownKind) {
  for (const vectors::File& file : vectors::files()) {
    EXPECT_NE(file.kind, Kind::kUnknown) << file.name << " " << file.error;
  }
}

TEST(VectorFiles, NoUnknownListAndTheRightWireVersion) {
  for (const vectors::File& file : vectors::files()) {
    if (file.kind == Kind::kUnknown) continue;
    EXPECT_EQ(file.doc.value("wire_version", 2), 2) << file.name;
    for (const auto& item : file.doc.items()) {
      if (item.key() == "description" || item.key() == "wire_version") continue;
      EXPECT_TRUE(known_lists().at(file.kind).count(item.key()))
          << file.name << " has unknown list " << item.key();
    }
  }
}

TEST(VectorFiles, OwnDirectoryHasEveryKind) {
  if (vectors::external_directory()) return;  // another directory may hold some kinds only
  for (const auto& [kind, lists] : known_lists()) {
    EXPECT_FALSE(vectors::files_of(kind).empty()) << "no file with " << *lists.begin();
  }
}

}  // namespace
