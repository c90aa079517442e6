// Queue of what is empty most of the time, one in every session: takes no memory while it is (std::deque: 576
// bytes). Not for the fast path.
#pragma once

#include <list>

namespace session {

template <class T>
using Fifo = std::list<T>;

}  // namespace session
