// SPDX-License-Identifier: Apache-2.0
//! Starts programs of the running system: hostwrit's own choice as children, commands that the repo names outside of what
//! confines the steward.

mod capture;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, User};

pub(super) use capture::Capture;

use super::{HostError, units};

/// Where programs are found, whatever the caller's own PATH says.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that a program is told of the world, unless it is the caller's own.
pub(super) const ENVIRONMENT: [(&str, &str); 2] = [("PATH", PATH), ("LC_ALL", "C.UTF-8")];

/// How long a program may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// How long after a program's end its output may still come, from programs that it left behind.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// As much as is kept of each output stream.
pub(super) const OUTPUT_MAX: usize = 64 * 1024;

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    /// `exit status: 1`, `signal: 9`.
    pub status: String,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a program with a clean environment in a process group of its own, and waits for it.
///
/// What it leaves behind in its process group is killed when it ends.
pub(super) fn run(program: &str, args: &[&str]) -> Result<Output, HostError> {
    run_within(LIMIT, program, args)
}

/// Runs a command that the repo names, no longer than `limit`: as a service of its own where this process is the steward's service,
/// else as [`run`] does.
///
/// A service, for a child is confined by the steward's unit: it could open no network socket, as `nginx -t` does
/// (docs/decisions/0024-commands-of-the-repo.md).
pub(super) fn run_declared(limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
    if is_service()
        && let Some(output) = units::oneshot::run(limit, program, args)
    {
        return output;
    }
    run_within(limit, program, args)
}

/// Whether systemd has started this very process, so that a unit's settings confine it: systemd.exec(5). A child of such a
/// process finds the variable too, with the number of its parent.
fn is_service() -> bool {
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|number| number == std::process::id().to_string())
}

/// Like [`run`], for programs that may take longer or must take less.
pub(super) fn run_within(limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
    start(limit, program, args, Environment::Clean)
}

/// Like [`run_within`], for a program that reads `input` and of whose answer more is kept. More than `output_max` bytes of
/// it are an error, for what is cut off cannot be told from what is whole.
pub(super) fn run_with_input(
    limit: Duration,
    output_max: usize,
    program: &str,
    args: &[&str],
    input: &[u8],
) -> Result<Output, HostError> {
    let output = start_with(limit, output_max + 1, program, args, Environment::Clean, Some(input), None)?;
    whole(output, output_max, program)
}

/// Like [`run_within`], with the rights of `user` alone where one is given, for a program of whose answer more is kept: more
/// than `output_max` bytes of it are an error.
pub(super) fn run_as(
    user: Option<&User>,
    limit: Duration,
    output_max: usize,
    program: &str,
    args: &[&str],
) -> Result<Output, HostError> {
    let output = start_with(limit, output_max + 1, program, args, Environment::Clean, None, user)?;
    whole(output, output_max, program)
}

/// Returns the output unless a part of it was cut off.
fn whole(output: Output, output_max: usize, program: &str) -> Result<Output, HostError> {
    if output.stdout.len() > output_max {
        let source =
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it answers with more than {output_max} bytes"));
        return Err(HostError::Run { program: program.to_owned(), source });
    }
    Ok(output)
}

/// Runs a program with the environment and in the directory of the person who called hostwrit: for that person's own
/// tools, such as gpg with its keyring. Never used for anything that a repo names.
///
/// # Errors
/// The program cannot be started or does not end in time. A bad exit status is no error here.
pub fn run_as_caller(program: &str, args: &[&str]) -> Result<Output, HostError> {
    start(LIMIT, program, args, Environment::Callers)
}

/// Runs a program of the person who called hostwrit that may ask that person something, such as the passphrase of a key:
/// at the caller's terminal, without a time limit. Its answer is kept whole; what it says on stderr goes to the person.
///
/// # Errors
/// The program cannot be started. A bad exit status is no error here.
pub fn run_attended(program: &str, args: &[&str]) -> Result<Output, HostError> {
    let failed = |source: io::Error| HostError::Run { program: program.to_owned(), source };
    let output = Command::new(program).args(args).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.map_err(failed)?;
    let (success, status) = (output.status.success(), output.status.to_string());
    Ok(Output { success, status, stdout: output.stdout, stderr: output.stderr })
}

/// What a program is told of the world.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Environment {
    Clean,
    Callers,
}

fn start(limit: Duration, program: &str, args: &[&str], environment: Environment) -> Result<Output, HostError> {
    start_with(limit, OUTPUT_MAX, program, args, environment, None, None)
}

fn start_with(
    limit: Duration,
    output_max: usize,
    program: &str,
    args: &[&str],
    environment: Environment,
    input: Option<&[u8]>,
    user: Option<&User>,
) -> Result<Output, HostError> {
    let failed = |source: io::Error| HostError::Run { program: program.to_owned(), source };
    let deadline = Instant::now() + limit;
    let mut command = Command::new(program);
    if environment == Environment::Clean {
        command.env_clear().envs(ENVIRONMENT).current_dir("/");
    }
    if let Some(user) = user {
        // Other groups are given up with it.
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let mut child = command
        .args(args)
        .process_group(0)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stdout = Capture::start(child.stdout.take(), output_max);
    let stderr = Capture::start(child.stderr.take(), OUTPUT_MAX);
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        let input = input.to_vec();
        // In a thread, for a program may answer before it has read all. One that reads no further tells by its exit status
        // what it thinks of the input.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }

    let ended = wait(&child, &[&stdout, &stderr], deadline).map_err(failed);
    if matches!(ended, Ok(true)) {
        let linger = Instant::now() + LINGER;
        let _ = stdout.wait(linger) && stderr.wait(linger);
    }
    // The child is not yet reaped, so its group cannot be another's by now. ESRCH: nothing is left of it.
    let _ = killpg(group(&child), Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    if !ended? {
        return Err(HostError::Timeout { program: program.to_owned(), seconds: limit.as_secs() });
    }
    Ok(Output { success: status.success(), status: status.to_string(), stdout: stdout.take(), stderr: stderr.take() })
}

fn group(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Waits until the child ends, without reaping it; returns whether it did so before `deadline`.
fn wait(child: &Child, streams: &[&Capture], deadline: Instant) -> io::Result<bool> {
    const SHORTEST: Duration = Duration::from_micros(200);
    let mut pause = SHORTEST;
    let mut streams_ended = false;
    loop {
        match waitid(Id::Pid(group(child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive) => {}
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(false);
        }
        // Usually a program's streams end with it, so that is what wakes us; after that it is a matter of moments.
        if streams_ended {
            thread::sleep(pause);
        } else if streams.iter().all(|stream| stream.wait(deadline.min(now + pause))) {
            streams_ended = true;
            pause = SHORTEST;
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
