// SPDX-License-Identifier: Apache-2.0
//! What a program says, read while it runs.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// An output stream that a thread reads to its end, so that the program never waits for us to read.
pub(in crate::host) struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Capture {
    /// Keeps the first `max` bytes.
    pub(in crate::host) fn start(stream: Option<impl Read + Send + 'static>, max: usize) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = channel::<()>();
        if let Some(mut stream) = stream {
            let kept = Arc::clone(&kept);
            thread::spawn(move || {
                // Dropped at the end of the thread, which is what `wait` waits for.
                let _ended = ended;
                let mut buffer = [0; 8192];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(length) => {
                            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                            let room = max.saturating_sub(kept.len()).min(length);
                            kept.extend_from_slice(&buffer[..room]);
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => break,
                    }
                }
            });
        }
        Self { kept, end }
    }

    /// Waits for the end of the stream; returns whether it came before `deadline`.
    pub(in crate::host) fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        self.end.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }

    pub(in crate::host) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
