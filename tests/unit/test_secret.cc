// Memory for secrets: wiped, compared in constant time, locked, undumpable, gone after fork.
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secret.h"

namespace {

using Secret = crypto::SecretBytes<32>;

// Address and thread sanitizers turn mlock into nothing and report success.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLocksAreReal = false;
#else
constexpr bool kLocksAreReal = true;
#endif

std::array<std::uint8_t, 32> ramp() {
  std::array<std::uint8_t, 32> out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(i + 1);
  return out;
}

bool all_zero(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const volatile std::uint8_t*>(data);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (p[i] != 0) return false;
  }
  return true;
}

// The VmFlags words of the mapping that holds the address.
std::string vm_flags(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::istringstream head(line);
    if (head >> std::hex >> begin >> dash >> end && dash == '-') inside = begin <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line.substr(8) + " ";
  }
  return "mapping not found";
}

// Runs `check` in a child; true when it answered true.
template <class Check>
bool in_child(Check check) {
  const pid_t child = fork();
  if (child == 0) _exit(check() ? 0 : 1);
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Secret, WipeOverwrites) {
  std::array<std::uint8_t, 100> data{};
  data.fill(0xAA);
  crypto::wipe(data.data() + 10, 80);
  EXPECT_EQ(data[9], 0xAA);
  EXPECT_EQ(data[90], 0xAA);
  EXPECT_TRUE(all_zero(data.data() + 10, 80));
  crypto::wipe(nullptr, 0);
}

TEST(Secret, DestructionWipes) {
  alignas(Secret) static std::array<std::byte, sizeof(Secret)> storage;
  std::byte* volatile hidden =
      storage.data();  // or the compiler may take the bytes of a dead object for unset
  auto* secret = new (hidden) Secret(Secret::from(ramp()));
  ASSERT_FALSE(all_zero(hidden, storage.size()));
  secret->~Secret();
  EXPECT_TRUE(all_zero(hidden, storage.size()));
}

TEST(Secret, MoveWipesTheSourceAndCloneDoesNot) {
  Secret first = Secret::from(ramp());
  const Secret copy = first.clone();
  EXPECT_TRUE(crypto::equal_ct(copy.data(), first.data(), 32));
  Secret second = std::move(first);
  EXPECT_TRUE(all_zero(&first, sizeof(first)));  // NOLINT(bugprone-use-after-move): that is the point
  EXPECT_TRUE(crypto::equal_ct(second.data(), copy.data(), 32));
  Secret third;
  third = std::move(second);
  EXPECT_TRUE(all_zero(&second, sizeof(second)));  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(crypto::equal_ct(third.data(), copy.data(), 32));
}

TEST(Secret, EqualLooksAtEveryByte) {
  auto a = ramp();
  const auto b = ramp();
  EXPECT_TRUE(crypto::equal_ct(a.data(), b.data(), a.size()));
  EXPECT_TRUE(crypto::equal_ct(nullptr, nullptr, 0));
  for (auto& byte : a) {
    byte ^= 0x80;
    EXPECT_FALSE(crypto::equal_ct(a.data(), b.data(), a.size()));
    byte ^= 0x80;
  }
}

TEST(Secret, RandomBytesFillTheWholeSpan) {
  std::array<std::uint8_t, 64> a{};
  std::array<std::uint8_t, 64> b{};
  crypto::random_bytes(a);
  crypto::random_bytes(b);
  EXPECT_NE(a, b);
  EXPECT_FALSE(all_zero(a.data() + 48, 16));
  crypto::random_bytes({});
}

TEST(SecureBlock, IsZeroedAlignedAndProtected) {
  const crypto::SecureBlock block(5000);
  EXPECT_EQ(block.bytes(), 5000U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 4096, 0U);
  EXPECT_TRUE(all_zero(block.data(), block.bytes()));
  const std::string flags = vm_flags(block.data());
  EXPECT_NE(flags.find(" dd "), std::string::npos) << "not excluded from dumps:" << flags;
  EXPECT_NE(flags.find(" wf "), std::string::npos) << "not wiped on fork:" << flags;
  if (kLocksAreReal) {
    EXPECT_EQ(flags.find(" lo ") != std::string::npos, block.locked()) << flags;
  }
}

TEST(SecureBlock, AChildReadsZeros) {
  const crypto::SecureBlock block(64);
  std::memset(block.data(), 0x5A, block.bytes());
  EXPECT_TRUE(in_child([&] { return all_zero(block.data(), block.bytes()); }));
  EXPECT_FALSE(all_zero(block.data(), block.bytes()));
}

TEST(ProtectPages, ReportsARefusedLockAndStillExcludesFromDumps) {
  EXPECT_TRUE(in_child([] {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_MEMLOCK, &none);
    if (setgid(65534) != 0 || setuid(65534) != 0) return geteuid() != 0;  // root may lock without limit
    const crypto::SecureBlock block(4096);
    return block.locked() != kLocksAreReal && vm_flags(block.data()).find(" dd ") != std::string::npos;
  }));
}

// A page that was used after the call is locked ("lo"), without asking for it.
TEST(HardenProcess, KeepsRootsMemoryOutOfSwap) {
  EXPECT_TRUE(in_child([] {
    const bool allowed = mlockall(MCL_CURRENT) == 0 && getuid() == 0;
    munlockall();
    crypto::harden_process();
    const std::vector<char> later(4U << 20U, 1);
    const bool locked = vm_flags(later.data() + later.size() / 2).find(" lo ") != std::string::npos;
    return !kLocksAreReal || locked == allowed;
  }));
}

TEST(HardenProcess, LeavesALimitedProcessAsItWas) {
  EXPECT_TRUE(in_child([] {
    const rlimit small{1U << 20U, 1U << 20U};
    setrlimit(RLIMIT_MEMLOCK, &small);
    if (setgid(65534) != 0 || setuid(65534) != 0) return geteuid() != 0;  // root lifts the limit
    crypto::harden_process();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // or its flags cannot be read
    const std::vector<char> later(4U << 20U, 1);
    return later.back() == 1 && vm_flags(later.data() + later.size() / 2).find(" lo ") == std::string::npos;
  }));
}

TEST(HardenProcess, TurnsDumpsOff) {
  EXPECT_TRUE(in_child([] {
    crypto::harden_process();
    rlimit core{1, 1};
    return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && getrlimit(RLIMIT_CORE, &core) == 0 &&
           core.rlim_cur == 0 && core.rlim_max == 0;
  }));
}

}  // namespace
