// SPDX-License-Identifier: Apache-2.0
//! Directories that somebody is at work in: that he has begun is told by the kernel, and that he has ended is guessed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::host::Watcher;

/// Tells when something was touched and then left alone. Without events it costs nothing, and in a storm of them one look in
/// each `quiet`.
pub struct Stir {
    /// `None` where the kernel tells nothing.
    watcher: Option<Watcher>,
    /// So long nothing must happen.
    quiet: Duration,
    /// Whoever never ends is not waited for any longer.
    longest: Duration,
    begun: Option<Instant>,
    due: Instant,
}

impl Stir {
    /// Listens to what is watched already.
    pub fn new(watcher: Option<Watcher>, quiet: Duration, longest: Duration) -> Self {
        Self { watcher, quiet, longest, begun: None, due: Instant::now() }
    }

    /// Waits until something was touched and left alone. May be dropped at any time: it goes on where it was.
    pub async fn settled(&mut self) {
        loop {
            let Some(watcher) = &mut self.watcher else { return std::future::pending().await };
            let Some(begun) = self.begun else {
                if let Err(error) = watcher.ready().await {
                    warn!("the kernel tells no more of changes: {error}; they are seen after a cycle");
                    self.watcher = None;
                    continue;
                }
                self.begun = Some(Instant::now());
                self.due = Instant::now() + self.quiet;
                continue;
            };
            sleep_until(self.due).await;
            let mut is_busy = false;
            watcher.drain(&mut |_| is_busy = true);
            let now = Instant::now();
            if !is_busy || now >= begun + self.longest {
                self.begun = None;
                return;
            }
            self.due = now + self.quiet;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test's own directory")]

    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    use tokio::time::timeout;

    use super::*;
    use crate::host::Depth;

    const QUIET: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(60);

    fn stir(root: &Path, longest: Duration) -> Stir {
        let mut watcher = Watcher::new(root).unwrap();
        watcher.set(BTreeMap::from([(PathBuf::from("/lists"), Depth::Names)]));
        Stir::new(Some(watcher), QUIET, longest)
    }

    #[tokio::test]
    async fn what_is_touched_is_told_once_when_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("lists");
        fs::create_dir(&lists).unwrap();
        let mut stir = stir(dir.path(), LONG);
        assert!(timeout(QUIET * 3, stir.settled()).await.is_err(), "nothing was touched");
        fs::write(lists.join("new"), "1").unwrap();
        fs::rename(lists.join("new"), lists.join("a")).unwrap();
        let begin = Instant::now();
        // Whoever waits for something else as well drops it again and again.
        while timeout(QUIET / 4, stir.settled()).await.is_err() {
            assert!(begin.elapsed() < LONG, "it is not told");
        }
        assert!(begin.elapsed() >= QUIET * 2, "{:?}", begin.elapsed());
        assert!(timeout(QUIET * 3, stir.settled()).await.is_err(), "it is told once");
    }

    #[tokio::test]
    async fn whoever_never_ends_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("lists");
        fs::create_dir(&lists).unwrap();
        let mut stir = stir(dir.path(), QUIET * 5);
        let begin = Instant::now();
        let storm = async {
            for number in 0.. {
                fs::write(lists.join(number.to_string()), "").unwrap();
                tokio::time::sleep(QUIET / 8).await;
            }
        };
        tokio::select! {
            () = stir.settled() => {}
            () = storm => {}
            () = tokio::time::sleep(LONG) => panic!("it is not told"),
        }
        assert!(begin.elapsed() >= QUIET * 5, "{:?}", begin.elapsed());
    }
}
