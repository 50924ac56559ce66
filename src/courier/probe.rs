// SPDX-License-Identifier: Apache-2.0
//! Tries for the steward whether a service answers. What comes of it is a claim, and can only hold a commit.

use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Instant;

use ureq::tls::RootCerts;

use crate::source::{Probe, Trial};
use crate::web::{self, NotAnAddress};

/// A banner is looked for in no more bytes than this.
const BANNER_MAX: usize = 1024;

/// Why the service was not reached, or did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{address} cannot be connected to")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} has no address")]
    Unknown { address: String },
    #[error("{address} says nothing")]
    Silent {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} begins with \"{found}\", and \"{banner}\" is wanted")]
    Banner { address: String, found: String, banner: String },
    // The text is not repeated where it may hold a password.
    #[error("the URL {0}")]
    Url(NotAnAddress),
    #[error("{url} does not answer")]
    Http {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{url} answers with status {found}, and {status} is wanted")]
    Status { url: String, found: u16, status: u16 },
}

/// Tries it once.
pub(super) fn attempt(probe: &Probe) -> Result<(), NoAnswer> {
    match &probe.what {
        Trial::Tcp { address, banner } => tcp(address, banner.as_deref(), Instant::now() + probe.time()),
        Trial::Http { url, status } => http(url, *status, probe),
    }
}

fn tcp(address: &str, banner: Option<&str>, until: Instant) -> Result<(), NoAnswer> {
    let failed = |source| NoAnswer::Connect { address: address.to_owned(), source };
    let mut stream = Err(NoAnswer::Unknown { address: address.to_owned() });
    for socket in address.to_socket_addrs().map_err(failed)? {
        stream = left(until).and_then(|left| TcpStream::connect_timeout(&socket, left)).map_err(failed);
        if stream.is_ok() {
            break;
        }
    }
    match banner {
        None => stream.map(drop),
        Some(banner) => listen(&stream?, address, banner, until),
    }
}

/// Reads what the other side says first, as far as the banner goes.
fn listen(mut stream: &TcpStream, address: &str, banner: &str, until: Instant) -> Result<(), NoAnswer> {
    let silent = |source| NoAnswer::Silent { address: address.to_owned(), source };
    let mut found = vec![0; banner.len().min(BANNER_MAX)];
    let mut length = 0;
    while length < found.len() {
        left(until).and_then(|left| stream.set_read_timeout(Some(left))).map_err(silent)?;
        match stream.read(&mut found[length..]).map_err(silent)? {
            0 => break,
            more => length += more,
        }
    }
    if &found[..length] == banner.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&found[..length]).escape_debug().to_string();
    Err(NoAnswer::Banner { address: address.to_owned(), found, banner: banner.to_owned() })
}

fn left(until: Instant) -> io::Result<std::time::Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The body is not read: whoever asks has said which status is wanted, and no more.
fn http(url: &str, status: u16, probe: &Probe) -> Result<(), NoAnswer> {
    web::address(url).map_err(NoAnswer::Url)?;
    let agent = web::agent(probe.time(), RootCerts::PlatformVerifier).build().new_agent();
    let failed = |source| NoAnswer::Http { url: url.to_owned(), source: Box::new(source) };
    let found = agent.get(url).call().map_err(failed)?.status().as_u16();
    if found == status { Ok(()) } else { Err(NoAnswer::Status { url: url.to_owned(), found, status }) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::model::chain;

    /// Returns the address of a server that says this to each who connects, once it was told something if `waits`.
    fn server(says: &'static [u8], waits: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if waits {
                    let _ = stream.read(&mut [0; 4096]);
                }
                // In two parts, as a slow network would bring it.
                let (one, two) = says.split_at(says.len() / 2);
                let _ = stream.write_all(one);
                thread::sleep(std::time::Duration::from_millis(20));
                let _ = stream.write_all(two);
            }
        });
        address
    }

    fn tried(what: Trial, time: u64) -> Result<(), String> {
        attempt(&Probe { what, time }).map_err(|error| chain(&error))
    }

    fn tcp(address: &str, banner: Option<&str>) -> Result<(), String> {
        tried(Trial::Tcp { address: address.to_owned(), banner: banner.map(str::to_owned) }, 2000)
    }

    #[test]
    fn a_port_answers_or_does_not() {
        let address = server(b"", false);
        assert_eq!(tcp(&address, None), Ok(()));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(tcp(&free, None).unwrap_err().contains("cannot be connected to"));
        assert!(tcp("no-such-name.invalid:22", None).unwrap_err().contains("no-such-name.invalid:22"));
        assert!(tcp("127.0.0.1", None).is_err());
    }

    #[test]
    fn a_banner_is_what_the_other_side_says_first() {
        let address = server(b"SSH-2.0-OpenSSH_9.2\r\n", false);
        assert_eq!(tcp(&address, Some("SSH-2.0-")), Ok(()));
        let told = tcp(&address, Some("220 ")).unwrap_err();
        assert!(told.contains("begins with \"SSH-\", and \"220 \" is wanted"), "{told}");
        let told = tcp(&server(b"\x1b[2", false), Some("220 ")).unwrap_err();
        assert!(!told.contains('\x1b'), "{told}");
    }

    #[test]
    fn a_server_that_says_nothing_is_waited_for_no_longer_than_that() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let banner = Some("SSH-".to_owned());
        let told = tried(Trial::Tcp { address, banner }, 100).unwrap_err();
        assert!(told.contains("says nothing"), "{told}");
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert!(tried(Trial::Http { url, status: 200 }, 100).unwrap_err().contains("does not answer"));
    }

    #[test]
    fn the_status_counts_and_a_redirect_is_not_followed() {
        let get = |says: &'static [u8], status| {
            tried(Trial::Http { url: format!("http://{}/health", server(says, true)), status }, 5000)
        };
        assert_eq!(get(b"HTTP/1.1 204 No Content\r\n\r\n", 204), Ok(()));
        let told = get(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 200).unwrap_err();
        assert!(told.contains("answers with status 502, and 200 is wanted"), "{told}");
        let moved = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(get(moved, 301), Ok(()));
        assert!(get(b"SSH-2.0-x\r\n", 200).is_err());
    }

    #[test]
    fn an_url_with_a_password_is_not_tried_and_not_repeated() {
        for url in ["http://me:secret@127.0.0.1/", "ftp://127.0.0.1/", "file:///etc/shadow", "x"] {
            let told = tried(Trial::Http { url: url.to_owned(), status: 200 }, 100).unwrap_err();
            assert!(told.starts_with("the URL ") && !told.contains("secret"), "{told}");
        }
    }
}
