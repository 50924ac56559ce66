// SPDX-License-Identifier: Apache-2.0
//! The daemon's side of the socket: who asks, what, and how long that may take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::host::{HostError, ReadHost, RealHost};
use crate::model::Actor;

use super::access::{GROUP, Peer, may};
use super::protocol::{Code, REQUEST_MAX, answer_line, parse_request};
use super::{Answer, Ask, SOCKET};

/// How long the other side may take to send its request, and to take each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a conversation may take: a `sync` waits for a whole cycle.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How many may speak at a time: one ordinary user, all ordinary users, everybody. An ordinary user who takes all he can
/// get still leaves room for root.
const SEATS: (usize, usize, usize) = (4, 16, 32);

/// How many requests may wait for the daemon.
pub const QUEUE: usize = 32;

/// Something that was asked by somebody who may ask it.
#[derive(Debug)]
pub struct Demand {
    pub ask: Ask,
    pub by: Actor,
    pub answers: Answers,
}

/// Where the answers to one demand go.
#[derive(Clone, Debug)]
pub struct Answers(mpsc::UnboundedSender<Answer>);

impl Answers {
    /// Makes a place for answers and the end where they come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Answers. That nobody listens any more harms nobody.
    pub fn send(&self, answer: Answer) {
        let _ = self.0.send(answer);
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("cannot wait for connections on {SOCKET}")]
    Runtime(#[source] std::io::Error),
}

/// The socket, ready to be served.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    host: Arc<RealHost>,
}

impl Server {
    /// Listens on [`SOCKET`] below the host's root. A socket that an earlier daemon left is removed.
    ///
    /// # Errors
    /// Another daemon listens there, or the socket cannot be made. A daemon does its work without one.
    pub fn listen(host: Arc<RealHost>) -> Result<Self, ListenError> {
        host.ensure_dir(Path::new("/run/hostwrit"), 0o755)?;
        // Everybody may connect; who may ask what is decided by who connects.
        let listener = host.listen(Path::new(SOCKET), 0o666)?;
        let listener = UnixListener::from_std(listener).map_err(ListenError::Runtime)?;
        Ok(Self { listener, host })
    }

    /// Takes requests and hands them to the daemon, for ever.
    pub async fn serve(self, demands: mpsc::Sender<Demand>) {
        let seats = Arc::new(Seats::default());
        loop {
            let (stream, peer) =
                match self.listener.accept().await.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream))) {
                    Ok((peer, stream)) => (stream, peer),
                    Err(error) => {
                        // Out of descriptors, most likely: that passes, and must not become a busy loop.
                        tracing::warn!("the control socket cannot take a connection: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                };
            let seat = seats.take(peer.uid());
            let (host, demands) = (Arc::clone(&self.host), demands.clone());
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let spoken = match seat {
                    Some(_) => timeout(LONGEST, converse(reader, &mut writer, peer, &host, &demands)).await,
                    None => Ok(say(&mut writer, &busy()).await),
                };
                if let Ok(Err(error)) = spoken {
                    tracing::debug!("a conversation on the control socket broke off: {error}");
                }
                drop(seat);
            });
        }
    }
}

/// Returns the path of the socket in the terms of the running system.
pub fn socket_path(root: &Path) -> PathBuf {
    root.join(SOCKET.trim_start_matches('/'))
}

fn busy() -> Answer {
    Answer::refused(Code::Busy, "too many ask at the same time; try again in a moment")
}

async fn converse(
    reader: tokio::net::unix::OwnedReadHalf,
    writer: &mut tokio::net::unix::OwnedWriteHalf,
    peer: UCred,
    host: &RealHost,
    demands: &mpsc::Sender<Demand>,
) -> std::io::Result<()> {
    let line = match timeout(PATIENCE, request(reader)).await {
        Ok(line) => line?,
        Err(_) => return Ok(()),
    };
    let ask = match line.map_err(|why| Answer::refused(Code::Malformed, why)).and_then(|line| parse_request(&line)) {
        Ok(ask) => ask,
        Err(refused) => return say(writer, &refused).await,
    };
    let by = match admit(&ask, peer, host) {
        Ok(by) => by,
        Err(refused) => return say(writer, &refused).await,
    };
    let (answers, mut spoken) = Answers::new();
    if demands.try_send(Demand { ask, by, answers }).is_err() {
        return say(writer, &busy()).await;
    }
    while let Some(answer) = spoken.recv().await {
        say(writer, &answer).await?;
        if answer.is_last() {
            return Ok(());
        }
    }
    // The daemon dropped the demand.
    say(writer, &Answer::refused(Code::Stopping, "the daemon is about to end")).await
}

/// Reads one line, or says why there is none.
async fn request(reader: tokio::net::unix::OwnedReadHalf) -> std::io::Result<Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(REQUEST_MAX as u64));
    reader.read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        Some(b'\n') => Ok(line),
        _ if line.len() == REQUEST_MAX => Err(format!("a request has {REQUEST_MAX} bytes at the most")),
        _ => Err("the request does not end with a newline".to_owned()),
    })
}

/// Returns who asks, if he may.
fn admit(ask: &Ask, peer: UCred, host: &RealHost) -> Result<Actor, Answer> {
    if *ask == Ask::Status {
        // Whoever it is: no file need be read.
        return Ok(Actor::of(peer.uid(), "", None, None));
    }
    let text = |path: &str| {
        let bytes = host.read(Path::new(path)).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let passwd = text("/etc/passwd");
    let own = nix::unistd::geteuid().as_raw();
    let who = Peer { uid: peer.uid(), gid: peer.gid() };
    if !may(ask, who, own, &passwd, &text("/etc/group")) {
        let text = format!("{} is for root and for members of the group {GROUP}", ask.name());
        return Err(Answer::refused(Code::Forbidden, text));
    }
    let login = peer.pid().map(|pid| text(&format!("/proc/{pid}/loginuid")));
    Ok(Actor::of(peer.uid(), &passwd, login.as_deref(), ask.claims().map(str::to_owned)))
}

async fn say(writer: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let line = answer_line(answer);
    timeout(PATIENCE, writer.write_all(&line)).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Who is being spoken with: how many of each user.
#[derive(Debug, Default)]
struct Seats(Mutex<BTreeMap<u32, usize>>);

/// Given back when dropped.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    fn take(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&uid).copied().unwrap_or(0);
        let all: usize = taken.values().sum();
        let ordinary: usize = taken.iter().filter(|(uid, _)| **uid != 0).map(|(_, count)| count).sum();
        let (one, ordinaries, everybody) = SEATS;
        let free = all < everybody && (uid == 0 || own < one && ordinary < ordinaries);
        free.then(|| {
            *taken.entry(uid).or_default() += 1;
            Seat { seats: Arc::clone(self), uid }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_cannot_take_the_seats_of_root_nor_of_others() {
        let seats = Arc::new(Seats::default());
        let mut held: Vec<Seat> = std::iter::from_fn(|| seats.take(1000)).take(100).collect();
        assert_eq!(held.len(), 4);
        assert!(seats.take(1001).is_some());
        for uid in 1001..1010 {
            held.extend(std::iter::from_fn(|| seats.take(uid)).take(100));
        }
        assert_eq!(held.len(), 16);
        let roots: Vec<Seat> = std::iter::from_fn(|| seats.take(0)).take(100).collect();
        assert_eq!(roots.len(), 16);
        drop(held);
        assert!(seats.take(1000).is_some());
        drop(roots);
        assert!(seats.0.lock().unwrap().is_empty(), "who is gone is forgotten");
    }
}
