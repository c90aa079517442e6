// What the parts of the streams share: memory of a thread, one stream's record, one session's state.
//
// Private to session/stream*.cc. Everything is reached by index into pools, so links are 32 bits and survive
// nothing but the pool itself. kNone (hot.h) is "no index".
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "session/hot.h"
#include "session/path_flow.h"
#include "session/stream_memory.h"
#include "session/streams.h"
#include "session/timer_wheel.h"
#include "session/token_bucket.h"
#include "session/wire.h"

namespace session {

inline constexpr std::uint32_t kBlockBytes = kMaxSegmentBytes;
inline constexpr std::uint32_t kImageBytes = kMaxSegmentBytes + kPacketOverhead;
inline constexpr std::uint16_t kResetFlags = kFlagFin | kFlagControl;
inline constexpr std::uint64_t kMillisecond_ns = 1'000'000;
// Transmissions of a segment after which an unmodified peer is suspected to have it: then something later is
// sent to learn whether the path works.
inline constexpr std::uint8_t kEvidenceTries = 4;
inline constexpr std::uint64_t kMemoryRetry_ns = 20 * kMillisecond_ns;  // asked again for what a pool had not

// How far a is ahead of b; sequences of one stream never span 2^31 (W-14).
constexpr std::int32_t ahead(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b);
}

// A list through two members of pooled items.
template <typename T, std::uint32_t T::*Next, std::uint32_t T::*Previous>
struct IndexList {
  std::uint32_t head = kNone;
  std::uint32_t tail = kNone;

  [[nodiscard]] bool empty() const { return head == kNone; }
  // before == kNone: at the end.
  void insert(T* items, std::uint32_t index, std::uint32_t before) {
    const std::uint32_t previous = before == kNone ? tail : items[before].*Previous;
    items[index].*Next = before;
    items[index].*Previous = previous;
    (previous == kNone ? head : items[previous].*Next) = index;
    (before == kNone ? tail : items[before].*Previous) = index;
  }
  void push_back(T* items, std::uint32_t index) { insert(items, index, kNone); }
  void push_front(T* items, std::uint32_t index) { insert(items, index, head); }
  void remove(T* items, std::uint32_t index) {
    const std::uint32_t next = items[index].*Next, previous = items[index].*Previous;
    (previous == kNone ? head : items[previous].*Next) = next;
    (next == kNone ? tail : items[next].*Previous) = previous;
  }
};

// Items that are taken and given back; what was never taken is never touched.
template <typename T>
class IndexPool {
 public:
  explicit IndexPool(std::uint32_t size) : items_(std::make_unique_for_overwrite<T[]>(size)), size_(size) {}
  std::uint32_t take() {
    std::uint32_t index = free_;
    if (index != kNone) {
      free_ = items_[index].next;
    } else if (fresh_ < size_) {
      index = fresh_++;
    } else {
      return kNone;
    }
    items_[index] = T{};
    ++used_;
    return index;
  }
  void give(std::uint32_t index) {
    items_[index].next = free_;
    free_ = index;
    --used_;
  }
  T& operator[](std::uint32_t index) { return items_[index]; }
  const T& operator[](std::uint32_t index) const { return items_[index]; }
  T* data() { return items_.get(); }
  [[nodiscard]] std::uint32_t left() const { return size_ - used_; }
  [[nodiscard]] std::uint32_t used() const { return used_; }
  [[nodiscard]] std::uint32_t size() const { return size_; }

 private:
  std::unique_ptr<T[]> items_;
  std::uint32_t size_;
  std::uint32_t free_ = kNone;
  std::uint32_t fresh_ = 0;
  std::uint32_t used_ = 0;
};

// A piece of a stream to send; its text and image lie beside it (StreamPools).
struct Segment {
  enum class State : std::uint8_t {
    kUnsent,  // no number yet; its text may still grow
    kOut,     // between next_packet() and sealed() or not_sent()
    kFlight,  // in StreamRecord::flight
    kLost,    // in StreamRecord::lost: to be sent with the number it has
  };
  std::uint32_t next = kNone, previous = kNone;            // StreamRecord::queue
  std::uint32_t list_next = kNone, list_previous = kNone;  // flight or lost
  std::uint32_t hash_next = kNone;
  std::uint32_t stream = kNone;  // record; kNone: given up while it was out
  std::uint32_t sequence = 0;    // when numbered
  std::uint32_t order = 0;       // of its last transmission, in the stream
  std::uint64_t sent_ns = 0;     // last transmission
  std::uint16_t text_bytes = 0;
  std::uint16_t image_bytes = 0;  // 0: never sealed
  std::uint16_t flags = 0;
  std::uint16_t prior = 0;
  std::uint8_t epoch = 0, path = 0;  // of the image
  std::uint8_t flow = 0;             // slot whose estimator has the mark
  std::uint8_t tries = 0;            // transmissions, saturating
  State state = State::kUnsent;
  std::uint8_t evident = 0;  // times it was lost while later ones were acknowledged
  bool numbered = false;
  bool acked = false;  // while it was out
  FlowMark mark;
};

// See ask_evidence().
inline bool is_question(const Segment& s) {
  return s.text_bytes == 0 && (s.flags & kFlagFin) == 0;
}

// Received text, delivered or held back; or room for acknowledgements or marks of control packets.
struct Block {
  std::uint32_t next = kNone, previous = kNone;
  std::uint32_t sequence = 0;  // of a held packet
  std::uint16_t bytes = 0;
  std::uint16_t prior = 0;
  bool fin = false;
};

struct PendingAck {
  std::uint64_t received_ns = 0;
  std::uint32_t sequence = 0;
  std::uint16_t stream = 0;
  std::uint8_t path = 0;
  bool reset = false;  // not an acknowledgement: the stream is unknown here
};
static_assert(sizeof(PendingAck) == 16);
inline constexpr std::uint32_t kAcksPerBlock = kBlockBytes / sizeof(PendingAck);
// Control packets ahead of a gap that are remembered. An unmodified peer numbers data when it is handed over,
// of which four segments are under way at a time, and acknowledgements when they leave. When half of these
// came before what is missing, what makes more of them waits: otherwise that would be too old for every
// window when it comes, and would never be acknowledged.
inline constexpr std::uint32_t kMarkBits = 8192;
static_assert(kMarkBits / 8 <= kBlockBytes);

// A control packet between next_packet() and sealed() or not_sent().
struct PlainSlot {
  std::uint32_t next = kNone;
  PendingAck ack;
  std::uint32_t credit = 0;
  std::uint16_t told = 0;
  std::uint16_t flags = 0;
  std::array<std::uint8_t, 4> text{};
};

enum NewsBits : std::uint8_t {
  kNewsOpened = 1 << 0,
  kNewsReadable = 1 << 1,
  kNewsWritable = 1 << 2,
  kNewsFinished = 1 << 3,
  kNewsReset = 1 << 4,
  kNewsClosed = 1 << 5,
};

struct StreamRecord {
  enum class Life : std::uint8_t {
    kOpen,
    kResetting,  // our reset waits for its acknowledgement
    kLingering,  // over; late packets look as if they were lost
    kOver,       // kClosed is to be fetched, then the id is free
  };
  using Queue = IndexList<Segment, &Segment::next, &Segment::previous>;
  using SentList = IndexList<Segment, &Segment::list_next, &Segment::list_previous>;
  using Blocks = IndexList<Block, &Block::next, &Block::previous>;

  std::uint32_t next = kNone, previous = kNone;  // streams of the session
  std::uint32_t hash_next = kNone;
  std::uint32_t ready_next = kNone, ready_previous = kNone;
  std::uint32_t event_next = kNone, event_previous = kNone;
  std::uint32_t credit_next = kNone, credit_previous = kNone;
  Streams* owner = nullptr;
  std::uint16_t id = 0;
  Life life = Life::kOpen;
  StreamOptions options;
  std::uint32_t user = kNone;
  std::uint8_t news = 0;
  bool is_ready = false, has_news = false, in_credit = false;
  bool in_turn = false;
  std::int32_t deficit = 0;
  const char* reset_reason = "";
  TxStream counter;  // of ids from kDynamicFirst on

  // Sending.
  Timer tx_timer;
  Queue queue;  // in order of the bytes: what has a number before what has none
  SentList flight, lost;
  std::uint32_t unsent = kNone;  // first of the queue without number
  std::uint32_t segments = 0;
  std::uint32_t tx_bytes = 0;
  std::int64_t window = INITIAL_STREAM_WINDOW;
  std::uint64_t credit_total = 0;  // credit of the incarnation, as told
  std::uint32_t newest = 0;        // last number of this stream
  std::uint32_t last_data = 0;     // last number of data
  bool any_number = false, any_data = false;
  bool want_writable = false, want_memory = false;
  bool finishing = false, fin_queued = false, fin_acked = false;
  bool probe_now = false;
  std::uint8_t backoff = 0, tail_probes = 0, window_probes = 0;
  std::uint32_t order = 0;        // transmissions so far
  std::uint32_t acked_order = 0;  // newest of those that were acknowledged
  std::uint64_t acked_sent_ns = 0;
  std::uint32_t reorder = 3;   // later acknowledgements that make a loss; grows when it was none
  std::uint64_t tx_at_ns = 0;  // lingering until, or next window probe

  // Receiving.
  Timer rx_timer;
  Blocks delivered, held;
  std::uint32_t head_offset = 0;  // consumed of delivered.head
  std::uint32_t readable_bytes = 0;
  std::uint32_t buffered_bytes = 0;  // delivered and held
  std::uint32_t blocks = 0;
  std::uint32_t marks = kNone;  // block with a bit per number, of an unmodified peer's control packets
  std::uint32_t marked = 0;
  std::uint32_t last = 0;      // number up to which everything was in order
  std::uint32_t given_up = 0;  // last number of the gap given up last
  bool gave_up = false;
  std::uint32_t seen = 0;  // newest number of an unmodified peer
  bool any_seen = false;
  bool outrun_waits = false;   // data waits for numbers that are missing
  bool outrun_let_go = false;  // no longer for the one behind outrun_last
  std::uint32_t outrun_last = 0;
  std::uint64_t outrun_at_ns = 0;  // when it is let go; 0: does not wait
  std::uint32_t fin_sequence = 0;
  bool begun = false, fin_seen = false, fin_reached = false;
  bool hint_due = false;       // a WINDOW_UPDATE behind acknowledgements (W-38)
  bool credit_repeat = false;  // the total is told again
  std::uint8_t credit_repeats = 0, gap_ticks = 0;
  std::uint32_t due_bytes = 0;  // consumed and not granted
  std::uint32_t target_bytes = INITIAL_STREAM_WINDOW;
  std::uint32_t consumed_bytes = 0;  // since the window grew last
  std::uint64_t received_bytes = 0, granted_bytes = 0;
  std::uint64_t heard_ns = 0, granted_ns = 0;
  std::uint64_t gap_at_ns = 0, repeat_at_ns = 0;  // 0: none

  [[nodiscard]] bool has_timers() const { return tx_timer.armed() || rx_timer.armed(); }
};

// What a StreamMemory consists of.
struct StreamPools {
  using Text = std::array<std::uint8_t, kBlockBytes>;
  using Image = std::array<std::uint8_t, kImageBytes>;

  explicit StreamPools(const StreamMemory::Config& config);

  // Streams by owner and id, segments by record and number.
  [[nodiscard]] std::uint32_t find_stream(const Streams* owner, std::uint16_t id) const;
  void add_stream(std::uint32_t record);
  void remove_stream(std::uint32_t record);
  [[nodiscard]] std::uint32_t find_segment(std::uint32_t record, std::uint32_t sequence) const;
  void add_segment(std::uint32_t segment);
  void remove_segment(std::uint32_t segment);

  StreamMemory::Config config;
  IndexPool<StreamRecord> streams;
  IndexPool<Segment> segments;
  IndexPool<Block> blocks;
  IndexPool<PlainSlot> slots;
  std::unique_ptr<Text[]> segment_text;
  std::unique_ptr<Image[]> segment_image;
  std::unique_ptr<Text[]> block_text;

 private:
  [[nodiscard]] std::uint32_t& stream_bucket(const Streams* owner, std::uint16_t id) const;
  [[nodiscard]] std::uint32_t& segment_bucket(std::uint32_t record, std::uint32_t sequence) const;

  std::uint32_t stream_mask_, segment_mask_;
  std::unique_ptr<std::uint32_t[]> stream_buckets_, segment_buckets_;
};

struct Streams::Impl {
  using Record = StreamRecord;
  using Records = IndexList<Record, &Record::next, &Record::previous>;
  using Ready = IndexList<Record, &Record::ready_next, &Record::ready_previous>;
  using News = IndexList<Record, &Record::event_next, &Record::event_previous>;
  using Credits = IndexList<Record, &Record::credit_next, &Record::credit_previous>;
  static constexpr unsigned kFlows = kTxPaths;

  Impl(Streams& self, const Config& config, StreamMemory& memory, TimerWheel& wheel, std::uint64_t now_ns);

  // ---- streams.cc: records, events
  [[nodiscard]] std::uint32_t find(std::uint16_t id) const { return pools.find_stream(&self, id); }
  Record& record(std::uint32_t index) { return pools.streams[index]; }
  std::uint32_t create(std::uint16_t id, const StreamOptions& options);
  void forget(std::uint32_t index);
  void news(std::uint32_t index, std::uint8_t bits);
  void maybe_close(std::uint32_t index);
  void abort_stream(std::uint32_t index);  // gives up what is under way in both directions
  void send_reset(std::uint32_t index);
  void breach(std::uint32_t index, const char* reason);
  void linger(std::uint32_t index, std::uint64_t for_ns);
  void peer_reset(std::uint32_t index);
  [[nodiscard]] bool peers_id(std::uint16_t id) const;
  std::optional<std::uint16_t> free_id();

  // ---- stream_send.cc: what is to be sent and what became of it
  std::size_t append(std::uint32_t index, std::span<const std::uint8_t> bytes);
  std::uint32_t new_segment(std::uint32_t index, bool control);
  void queue_fin(std::uint32_t index);
  void unlink_segment(std::uint32_t segment);  // from its lists and tables; back to the pool unless it is out
  void release_acked(std::uint32_t segment);
  void on_ack(std::uint32_t index, std::uint32_t acked, std::uint64_t ack_delay_ns);
  void settle(std::uint32_t index);  // after segments left: events, FIN, timers
  void drop_send(std::uint32_t index);
  [[nodiscard]] bool span_left(const Record& r, std::uint32_t span) const;

  // ---- stream_loss.cc: loss and timers of the sender
  void detect_losses(std::uint32_t index);
  void mark_lost(std::uint32_t segment, bool evidence);
  void time_out(std::uint32_t index, std::uint64_t rto_ns);
  void check_distance(std::uint32_t index);
  void widen_reorder(Record& r, const Segment& s);
  void await_credit(std::uint32_t index);
  void probe_tail(std::uint32_t index);
  void ask_evidence(std::uint32_t index);
  void arm_tx(std::uint32_t index);
  void on_tx_timer(std::uint32_t index);
  [[nodiscard]] std::uint64_t rto_ns(const Record& r) const;
  [[nodiscard]] std::uint64_t tail_probe_ns() const;

  // ---- stream_schedule.cc: whose turn it is
  void push_ready(std::uint32_t index);
  void drop_ready(std::uint32_t index);
  bool next_control(StreamPacket& out);
  bool next_credit(StreamPacket& out);
  bool next_data(StreamPacket& out);
  std::uint32_t pick(std::uint32_t index);
  void give(StreamPacket& out, std::uint32_t segment);
  bool give_plain(StreamPacket& out, const PlainSlot& what);
  void split(std::uint32_t segment);
  void numbered(StreamPacket& packet, std::uint32_t sequence);
  void sealed_segment(const StreamPacket& packet, std::uint8_t epoch, std::uint32_t image_bytes);
  void sealed_plain(const StreamPacket& packet);
  void not_sent_segment(const StreamPacket& packet);
  void not_sent_plain(const StreamPacket& packet);

  // ---- stream_receive.cc: order, delivery
  bool has_room(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
                std::uint32_t bytes);
  void on_data(std::uint16_t stream, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
               std::uint8_t path, std::span<const std::uint8_t> text);
  void receive(std::uint32_t index, std::uint32_t sequence, std::uint16_t flags, std::uint16_t prior,
               std::span<const std::uint8_t> text);
  [[nodiscard]] bool in_order(const Record& r, std::uint32_t sequence, std::uint16_t prior) const;
  [[nodiscard]] bool arrived(const Record& r, std::uint32_t sequence) const;
  void note_number(Record& r, std::uint32_t sequence) const;
  [[nodiscard]] bool outruns(const Record& r) const;
  bool wait_for_missing(std::uint32_t index);
  void missing_came(std::uint32_t index);
  [[nodiscard]] const char* contradiction(const Record& r, std::uint32_t sequence, std::uint16_t prior) const;
  void advance(std::uint32_t index, std::uint32_t sequence, bool fin);
  void drain(std::uint32_t index);
  bool deliver(std::uint32_t index, std::span<const std::uint8_t> text);
  void deliver_block(std::uint32_t index, std::uint32_t block);
  bool hold(std::uint32_t index, std::uint32_t sequence, std::uint16_t prior, bool fin,
            std::span<const std::uint8_t> text);
  void on_control(std::uint32_t index, std::uint32_t sequence);
  bool take_mark(Record& r);
  void drop_receive(std::uint32_t index);
  void consume(std::uint32_t index, std::size_t bytes);
  void finish_receiving(std::uint32_t index);
  void on_gap(std::uint32_t index);
  bool room_in_stream(std::uint32_t index, std::uint32_t sequence, std::uint16_t prior, std::uint32_t bytes);
  void give_block(Record& r, std::uint32_t block);
  void count_readable(std::uint32_t index, std::uint32_t bytes);

  // ---- stream_credit.cc: credit in both directions, acknowledgements that wait
  bool queue_ack(const PendingAck& ack);
  bool pop_ack(PendingAck& out);
  void stage_credit(std::uint32_t index);
  void consumed(std::uint32_t index, std::uint32_t bytes);
  [[nodiscard]] std::uint32_t receive_limit() const;
  [[nodiscard]] std::uint32_t grant(Record& r) const;
  void on_credit(std::uint32_t index, std::uint32_t credit, std::uint16_t told);
  void arm_rx(std::uint32_t index);
  void on_rx_timer(std::uint32_t index);
  void repeat_credit(std::uint32_t index);
  void granted(std::uint32_t index);  // a WINDOW_UPDATE with credit left
  void note_arrival(std::uint32_t index, std::uint32_t bytes);

  // ---- paths
  unsigned flow_slot(std::uint8_t path_id);
  PathFlow& flow() { return flows[flow_now]; }
  [[nodiscard]] const PathFlow& flow() const { return flows[flow_now]; }
  [[nodiscard]] bool unmodified() const { return config.unmodified_peer; }

  // ---- stream_rest.cc: rest before an epoch of our own making
  [[nodiscard]] std::uint64_t rest_at_ns() const;  // UINT64_MAX: not before something under way is through
  void keep_hold();
  void await_rest();

  Streams& self;
  Config config;
  StreamPools& pools;
  TimerWheel& wheel;
  StreamCounters counters;
  std::uint64_t now;  // of the last call that told the time
  Records all;
  Ready ready;
  News with_news;
  Credits with_credit;
  std::uint32_t count = 0;
  std::uint32_t unacked = 0;  // segments with a number
  std::uint32_t waiting = 0;  // segments that want to be sent, for the first time or again
  std::uint8_t epoch = 0, path = 0, flow_now = 0;
  bool hold_wanted = false;        // set_hold()
  bool held = false;               // and in effect
  std::uint64_t hold_from_ns = 0;  // when it began to be; 0: not in this epoch
  std::uint16_t next_id = 2;
  StreamOptions accept;
  TxStream forgotten;          // counter of all ids that have no record
  bool dynamic_begun = false;  // it knows where numbers begin
  TokenBucket duplicate_acks{kDuplicateBurst, kDuplicatesPerSecond};
  std::uint64_t heard_ns = 0;
  Timer pace_timer, rest_timer;
  std::uint64_t paced_until_ns = 0;
  StreamRecord::Blocks acks;  // blocks of PendingAck
  std::uint32_t ack_count = 0, ack_read = 0, ack_write = 0;
  std::array<PathFlow, kFlows> flows;
  std::array<std::uint8_t, kFlows> flow_path{};
  std::array<std::uint64_t, kFlows> flow_used{};  // turn of its last use; 0: free
  std::uint64_t flow_turn = 0;
};

// Timers of a record say which.
inline constexpr std::uint32_t kTagPace = kNone;
inline constexpr std::uint32_t kTagRest = kNone - 1;
inline std::uint32_t tx_tag(std::uint32_t index) {
  return index * 2;
}
inline std::uint32_t rx_tag(std::uint32_t index) {
  return index * 2 + 1;
}

}  // namespace session
