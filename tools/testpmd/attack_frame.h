// Frames of an attacker, made in place out of a frame that was seen pass: Ethernet, IPv4 or IPv6, UDP,
// Phantom.
//
// Pure; whoever holds the bytes. No keys: everything here could be done by anyone on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>

namespace testpmd {

inline constexpr std::size_t kAttackFrameBytes = 2048;

// Where the parts of a frame lie. Nothing: not a Phantom datagram without VLAN tag and IP options.
struct FrameParts {
  std::size_t ip = 0;       // offset of the IP header
  std::size_t udp = 0;      // of the UDP header
  std::size_t phantom = 0;  // of the Phantom header
  std::size_t end = 0;      // behind the datagram; padding behind it does not count
  bool six = false;
};
std::optional<FrameParts> frame_parts(std::span<const std::uint8_t> frame);

// A packet that carries an inner IP packet: what attacks copy.
bool is_tunnel_packet(std::span<const std::uint8_t> frame, const FrameParts& parts);

// Lengths and checksums of IP and UDP for a datagram that ends at `end` (IPv4: UDP without checksum).
void seal_lengths(std::uint8_t* frame, const FrameParts& parts, std::size_t end);

using AttackRandom = std::mt19937_64;

// Each changes `frame` (room for kAttackFrameBytes) and returns its new size. `number`: of the packet within
// its attack, so that no two ask for the same sequence.
std::size_t make_forged_epoch(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random);
std::size_t make_stripped_flag(std::uint8_t* frame, const FrameParts& parts);
std::size_t make_truncated(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random);
std::size_t make_wrong_tag(std::uint8_t* frame, const FrameParts& parts, std::uint32_t number);
std::size_t make_off_path_challenge(std::uint8_t* frame, const FrameParts& parts, std::uint32_t number,
                                    AttackRandom& random);
std::size_t make_unknown_session(std::uint8_t* frame, const FrameParts& parts, AttackRandom& random);
// From another UDP port of the same host.
std::size_t make_spoofed_source(std::uint8_t* frame, const FrameParts& parts);

}  // namespace testpmd
