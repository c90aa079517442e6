//! Lines of standard input, read by a thread of their own; the channel ends with the input.
use std::sync::mpsc::{self, Receiver};

pub fn commands() -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
