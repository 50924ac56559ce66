// SPDX-License-Identifier: Apache-2.0
//! How sshd and sudo would read a configuration: their own programs are asked, about copies that nobody else sees.
//!
//! Neither `sshd -T` nor `cvtsudoers` changes anything. A configuration may hold what only root may read, so the copies are in
//! a directory of root's alone, on a file system that no disk keeps, and are gone when the answer is there.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::command::run_within;
use super::{HostError, Output};

/// Where the copies are while a program is asked. Whoever asks holds the run lock, so there is one at a time.
pub const STAGE: &str = "/run/hostwrit/effective";

/// How long a program may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Where sshd is looked for: it wants to be called by its whole path.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// What a program of the running system is asked about a configuration.
#[derive(Clone, Copy, Debug)]
pub enum Effective<'q> {
    /// How sshd reads `files[0]`; file N is at [`STAGE`]`/N`, by which the others are included. With a connection the answer is
    /// what counts for that user from that address.
    Sshd { files: &'q [Vec<u8>], connection: Option<(&'q str, IpAddr)> },
    /// What sudo reads in this sudoers file, as JSON.
    Sudoers(&'q [u8]),
}

impl Effective<'_> {
    /// Returns the error of a host that does not run.
    pub(super) fn unanswerable(&self) -> HostError {
        let program = match self {
            Self::Sshd { .. } => "sshd",
            Self::Sudoers(_) => "cvtsudoers",
        };
        let source = io::Error::new(io::ErrorKind::Unsupported, "this is not the running system");
        HostError::Run { program: program.to_owned(), source }
    }
}

/// Asks, and returns what the program answers. That it finds the configuration faulty is an answer too.
pub(super) fn ask(question: &Effective<'_>) -> Result<Output, HostError> {
    let stage = Path::new(STAGE);
    clear(stage)?;
    let answer = put(stage, question).and_then(|()| match question {
        Effective::Sshd { connection, .. } => ask_sshd(*connection),
        Effective::Sudoers(_) => ask_sudoers(),
    });
    clear(stage)?;
    answer
}

fn put(stage: &Path, question: &Effective<'_>) -> Result<(), HostError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(stage).map_err(HostError::file("make", stage))?;
    let files: Vec<&[u8]> = match question {
        Effective::Sshd { files, .. } => files.iter().map(Vec::as_slice).collect(),
        Effective::Sudoers(content) => vec![content],
    };
    for (number, content) in files.into_iter().enumerate() {
        let path = stage.join(number.to_string());
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
            io::Write::write_all(&mut file, content)
        };
        write().map_err(HostError::file("write", &path))?;
    }
    Ok(())
}

fn clear(stage: &Path) -> Result<(), HostError> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostError::file("remove", stage)(error)),
        _ => Ok(()),
    }
}

fn ask_sshd(connection: Option<(&str, IpAddr)>) -> Result<Output, HostError> {
    let configuration = format!("{STAGE}/0");
    let mut args = vec!["-T", "-f", configuration.as_str()];
    let connection = connection.map(|(user, address)| format!("user={user},host={address},addr={address}"));
    if let Some(connection) = &connection {
        args.extend(["-C", connection]);
    }
    let program = SSHD.into_iter().find(|path| Path::new(path).exists()).unwrap_or(SSHD[0]);
    run_within(LIMIT, program, &args)
}

/// The answer is written to a file: it may be longer than what is kept of a program's output.
fn ask_sudoers() -> Result<Output, HostError> {
    let (sudoers, answer) = (format!("{STAGE}/0"), format!("{STAGE}/answer"));
    // Without a configuration of its own: one on the host could have it leave something out.
    let args = ["-c", "/dev/null", "-f", "json", "-o", &answer, &sudoers];
    let output = run_within(LIMIT, "cvtsudoers", &args)?;
    let stdout = match fs::read(&answer) {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(HostError::file("read", Path::new(&answer))(error)),
    };
    Ok(Output { stdout, ..output })
}
