// Every schedule of a bounded length of address changes, attacks, losses and time, on two real sessions.
// What is searched and what must hold stands in path_world.h.
#include <gtest/gtest.h>

#include "tests/model/path_world.h"

namespace {

using namespace model;  // NOLINT(google-build-using-namespace): kinds of actions

void explore(const char* what, const PathStart& start, unsigned depth) {
  const crypto::Aead engine;
  PathTally tally;
  depth = adjusted(depth);
  Explorer<PathWorld> explorer([&] { return std::make_unique<PathWorld>(engine, start, tally); });
  const Explored result = explorer.explore(depth);
  print(what, depth, result);
  std::printf(
      "  %llu settled, in %llu neither knew where the other was; found after at most %.2f s, attempts ended "
      "after %.2f s\n",
      static_cast<unsigned long long>(tally.settled), static_cast<unsigned long long>(tally.apart),
      static_cast<double>(tally.found_ns) * 1e-9, static_cast<double>(tally.ended_ns) * 1e-9);
  EXPECT_EQ(result.violation, "");
  EXPECT_GT(result.states, 100U);
}

TEST(ModelPaths, AllActions) {
  explore("all actions", {kAllKinds, 1, false}, 3);
}

// Deeper, with the actions that matter to moves of both ends ...
TEST(ModelPaths, BothEndsRebind) {
  explore("both ends rebind", {kSend | kReceive | kLose | kRebind | kRebindSoftly, 1, false}, 5);
}

// ... whose old addresses live on, so that an echo comes from elsewhere than what was challenged ...
TEST(ModelPaths, OldAddressesLiveOn) {
  explore("old addresses live on", {kSend | kReceive | kRebindSoftly, 1, false}, 6);
}

// ... to who sends copies from elsewhere, before and after the original, amid moves ...
TEST(ModelPaths, AttacksAmidMoves) {
  explore("attacks amid moves", {kSend | kReceive | kRebind | kAttackBefore | kAttackAfter, 1, false}, 5);
}

// ... to the way back, when there is a fallback, and to who feigns it ...
TEST(ModelPaths, TheWayBack) {
  explore("the way back", {kSend | kReceive | kRebind | kComeBack | kSpoof, 1, true}, 4);
}

// ... to moves that an operator asks for while the epoch changes ...
TEST(ModelPaths, OperatorsMoves) {
  explore("operators' moves", {kSend | kReceive | kReorder | kRebind | kOperator | kRekey, 1, false}, 4);
}

// ... to ends that begin anew where their peer is no more ...
TEST(ModelPaths, RestartsAmidMoves) {
  explore("restarts amid moves", {kSend | kReceive | kRebind | kComeBack | kRestart, 1, true}, 4);
}

// ... and to two slots.
TEST(ModelPaths, TwoSlots) {
  explore("two slots", {kSend | kReceive | kRebind | kAttackBefore | kRestart, 2, false}, 4);
}

TEST(ModelPaths, TwoSlotsThatShareStreams) {
  explore("two slots that share streams",
          {kSend | kReceive | kRebind | kRestart, 2, false, session::PathScheduler::kWeighted}, 4);
}

}  // namespace
