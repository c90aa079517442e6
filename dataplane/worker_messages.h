// A worker's side of the mailboxes: carries out what control sent and pays what is owed to control.
#pragma once

#include "dataplane/core.h"

namespace dataplane {

// Messages taken from the mailbox in one loop, and slots and keys reported in one: bounded, so that packets
// wait for at most some microseconds of them.
inline constexpr unsigned kMessagesPerLoop = kAnswerRoom;
inline constexpr unsigned kOwedPerLoop = 16;

// Carries out up to kMessagesPerLoop commands. Never takes a command whose answer would not fit into the ring
// to control. Packets that control gave back are put into `returned` (data at the Phantom header). Returns
// the number of messages.
unsigned take_messages(Core& core, Packets& returned);

// Answers fences whose packets were all taken; the end of a loop, when what was taken is worked off and what
// this worker handed over lies in its siblings' rings.
void answer_fences(Core& core);

// Reports what the shard owes (epochs, reservations, returned keys) as far as there is room.
void pay_owed(Core& core);

}  // namespace dataplane
