// SPDX-License-Identifier: Apache-2.0
//! Answers `GET /metrics` on this host alone. The courier runs it: it knows the page as bytes, and nothing else.

#![allow(clippy::disallowed_methods, reason = "the socket is the courier's own, and no part of the managed host")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Listen;
use super::exposition::CONTENT_TYPE;

/// The longest page that is taken.
pub const LONGEST_PAGE: usize = 1 << 20;
/// The longest request head that is read.
const LONGEST_HEAD: usize = 4096;
/// As many connections are answered at a time; others are closed at once.
const MOST_CONNECTIONS: usize = 16;
/// How long a connection may last from beginning to end.
const LONGEST_TIME: Duration = Duration::from_secs(5);
/// What a client still sends is read for this long, so that the answer is not lost with it.
const LINGER: Duration = Duration::from_millis(500);
/// How long to wait when no connection can be had, as when descriptors have run out.
const REST: Duration = Duration::from_millis(200);
/// A connection needs little: its stack holds one head.
const STACK: usize = 128 << 10;

/// The page that was handed over last.
#[derive(Debug, Default)]
pub struct Published(Mutex<Option<Arc<[u8]>>>);

/// The page has more bytes than are taken.
#[derive(Debug, thiserror::Error)]
#[error("a page of metrics may have {LONGEST_PAGE} bytes, and this one has {0}")]
pub struct PageTooLong(usize);

impl Published {
    /// Answers with this page from now on.
    ///
    /// # Errors
    /// It is too long; the one before stays.
    pub fn put(&self, page: &[u8]) -> Result<(), PageTooLong> {
        if page.len() > LONGEST_PAGE {
            return Err(PageTooLong(page.len()));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(page.into());
        Ok(())
    }

    fn get(&self) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why nobody can ask for metrics.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen at {listen} for metrics")]
    Bind {
        listen: Listen,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen at {listen} for metrics: something else than a socket is there")]
    Occupied { listen: Listen },
}

/// A socket at which metrics can be asked for.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listen {
    /// Opens the socket; with `--root DIR` a socket file lies below DIR. One that an earlier process left is replaced.
    ///
    /// # Errors
    /// The address is taken, or the socket file cannot be made.
    pub fn open(&self, root: &Path) -> Result<Listener, ServeError> {
        let failed = |source| ServeError::Bind { listen: self.clone(), source };
        match self {
            Self::Tcp(address) => Ok(Listener::Tcp(TcpListener::bind(address).map_err(failed)?)),
            Self::Unix(path) => {
                let path = root.join(path.strip_prefix("/").unwrap_or(path));
                match fs::symlink_metadata(&path) {
                    Ok(there) if there.file_type().is_socket() => fs::remove_file(&path).map_err(failed)?,
                    Ok(_) => return Err(ServeError::Occupied { listen: self.clone() }),
                    // What is wrong with the directory is what `bind` will say.
                    Err(_) => {}
                }
                let listener = UnixListener::bind(&path).map_err(failed)?;
                // The group of the process may connect; until here only its user could.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
                Ok(Listener::Unix(listener))
            }
        }
    }
}

/// Answers for as long as the process lives, each connection in a thread of its own.
pub fn serve(listener: &Listener, published: &Arc<Published>) -> ! {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Connection::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Connection::Unix(stream)),
        };
        match accepted {
            Ok(connection) => begin(connection, &open, published),
            Err(error) => {
                tracing::debug!("cannot take a connection for metrics: {error}");
                thread::sleep(REST);
            }
        }
    }
}

fn begin(mut connection: Connection, open: &Arc<AtomicUsize>, published: &Arc<Published>) {
    let place = Place::take(open);
    if place.others >= MOST_CONNECTIONS {
        return;
    }
    let published = Arc::clone(published);
    let answer = move || {
        let _place = place;
        // Whoever asked is gone, or was too slow: nothing that this host should be told.
        let _ = connection.answer(&published, Instant::now() + LONGEST_TIME);
    };
    // Without a thread the connection is closed, as one too many is.
    let _ = thread::Builder::new().name("metrics".to_owned()).stack_size(STACK).spawn(answer);
}

/// A connection's place among those that are open; given back when dropped.
struct Place {
    open: Arc<AtomicUsize>,
    others: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        Self { others: open.fetch_add(1, Ordering::Relaxed), open: Arc::clone(open) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Why a request is not answered with the page.
enum Bad {
    Malformed,
    TooLong,
    OtherMethod,
    OtherPath,
}

impl Connection {
    fn answer(&mut self, published: &Published, until: Instant) -> io::Result<()> {
        let (status, page) = match self.read_request(until)? {
            Ok(()) => match published.get() {
                Some(page) => ("200 OK", page),
                None => ("503 Service Unavailable", text("no cycle has ended yet\n")),
            },
            Err(Bad::Malformed) => ("400 Bad Request", text("this is not a request of HTTP/1\n")),
            Err(Bad::TooLong) => ("431 Request Header Fields Too Large", text("the request is too long\n")),
            Err(Bad::OtherMethod) => ("405 Method Not Allowed", text("only GET is answered\n")),
            Err(Bad::OtherPath) => ("404 Not Found", text("there is only /metrics\n")),
        };
        let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
        let length = page.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
        );
        self.write_all(head.as_bytes(), until)?;
        self.write_all(&page, until)?;
        self.shut_down(Shutdown::Write)?;
        let until = until.min(Instant::now() + LINGER);
        let mut rest = [0; 512];
        while self.read(&mut rest, until)? > 0 {}
        Ok(())
    }

    /// Reads up to the end of the request's head; a body is not asked for.
    fn read_request(&mut self, until: Instant) -> io::Result<Result<(), Bad>> {
        let mut head = [0; LONGEST_HEAD];
        let mut length = 0;
        loop {
            let Some(room) = head.get_mut(length..).filter(|room| !room.is_empty()) else {
                return Ok(Err(Bad::TooLong));
            };
            let read = self.read(room, until)?;
            length += read;
            let so_far = head.get(..length).unwrap_or_default();
            if so_far.windows(4).any(|end| end == b"\r\n\r\n") || so_far.windows(2).any(|end| end == b"\n\n") {
                return Ok(judge(so_far));
            }
            if read == 0 {
                return Ok(Err(Bad::Malformed));
            }
        }
    }

    fn read(&mut self, into: &mut [u8], until: Instant) -> io::Result<usize> {
        let left = Some(left(until)?);
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
            Self::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], until: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = Some(left(until)?);
            let written = match self {
                Self::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes))?,
                Self::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes))?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }
}

/// Judges a request by its first line; nothing in the lines after it changes the answer.
fn judge(head: &[u8]) -> Result<(), Bad> {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| Bad::Malformed)?.trim_end_matches('\r');
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Bad::Malformed);
    };
    match (method, target.split('?').next()) {
        _ if !version.starts_with("HTTP/1.") => Err(Bad::Malformed),
        ("GET", Some("/metrics")) => Ok(()),
        (_, Some("/metrics")) => Err(Bad::OtherMethod),
        _ => Err(Bad::OtherPath),
    }
}

/// Returns the time that is left, of which there must be some.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn text(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

#[cfg(test)]
mod tests;
