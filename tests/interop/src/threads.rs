//! A runtime for the crate that gives each of its tasks a thread.
//!
//! While the crate's send loop takes a message for an explicit stream it holds a lock on the stream table, also where it
//! waits for the stream's buffer. Its reader, which held that buffer for an acknowledgement, wakes it and goes on; with
//! the next segment it wants the table for itself, and blocks its thread (W-18). On the default runtime a task that
//! was woken so waits for that very thread, which no other one relieves of it: neither ever goes on. Measured: one in
//! fifteen transfers of 16 MiB each way, on two cores.
use phantom_protocol::runtime::{BoxFuture, Runtime, SpawnHandle, SpawnHandleInner};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub struct Threads(Handle);

impl Threads {
    /// Sockets and timers stay with the runtime that this is called in.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Handle::current()))
    }
}

#[derive(Default)]
struct Task {
    stop: Notify,
    finished: AtomicBool,
}

struct Control(Arc<Task>);

impl SpawnHandleInner for Control {
    fn abort(&self) {
        self.0.stop.notify_one();
    }

    fn is_finished(&self) -> bool {
        self.0.finished.load(Ordering::Acquire)
    }
}

impl Runtime for Threads {
    fn spawn(&self, future: BoxFuture<()>) -> SpawnHandle {
        let (task, sockets) = (Arc::new(Task::default()), self.0.clone());
        let control = Control(task.clone());
        std::thread::spawn(move || {
            sockets.block_on(async {
                tokio::select! {
                    () = future => {}
                    () = task.stop.notified() => {}
                }
            });
            task.finished.store(true, Ordering::Release);
        });
        SpawnHandle::from_inner(control)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now_monotonic(&self) -> Instant {
        Instant::now()
    }

    fn now_wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }
}
