// SPDX-License-Identifier: Apache-2.0
//! The side of those who ask: plain blocking code for the command line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{ANSWER_MAX, request_line};
use super::server::socket_path;
use super::{Answer, Ask};

/// How long the daemon may take to take the request.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("the daemon does not run: nobody listens on {}", .0.display())]
    NotRunning(PathBuf),
    #[error("cannot speak with the daemon through {}", path.display())]
    Broken {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the daemon's answer cannot be understood; is it of another version?")]
    Malformed(#[source] serde_json::Error),
    #[error("the daemon's answer is too long or cut off")]
    CutOff,
}

/// Asks the daemon of the host below `root` and returns its last answer; `watch` is told of those before.
///
/// # Errors
/// No daemon runs, or it does not answer within `patience`, or not in a way that can be understood.
pub fn ask(
    root: &Path,
    ask: &Ask,
    patience: Option<Duration>,
    watch: &mut dyn FnMut(&Answer),
) -> Result<Answer, ClientError> {
    let path = socket_path(root);
    let broken = |source| ClientError::Broken { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path).map_err(|source| match source.kind() {
        // InvalidInput: the path is longer than a socket's may be, so nobody can listen there.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
            ClientError::NotRunning(path.clone())
        }
        _ => broken(source),
    })?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.set_read_timeout(patience).map_err(broken)?;
    // A daemon that is busy answers and hangs up before it reads; its answer is there all the same.
    let written = stream.write_all(&request_line(ask));
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(ANSWER_MAX as u64).read_until(b'\n', &mut line);
        match (read, &written) {
            (Ok(_), _) if line.last() == Some(&b'\n') => {}
            (Ok(_), Ok(())) => return Err(ClientError::CutOff),
            (Err(source), _) => return Err(broken(source)),
            (Ok(_), Err(error)) => return Err(broken(io::Error::new(error.kind(), error.to_string()))),
        }
        let answer: Answer = serde_json::from_slice(&line).map_err(ClientError::Malformed)?;
        if answer.is_last() {
            return Ok(answer);
        }
        watch(&answer);
    }
}
