// SPDX-License-Identifier: Apache-2.0
//! Starts programs of the running system.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, User};

use super::HostError;

/// Where programs are found, whatever the caller's own PATH says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// How long after a program's end its output may still come, from programs that it left behind.
const LINGER: Duration = Duration::from_secs(1);

/// As much as is kept of each output stream.
const OUTPUT_MAX: usize = 64 * 1024;

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
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").current_dir("/");
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

/// An output stream that a thread reads to its end, so that the program never waits for us to read.
struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Capture {
    fn start(stream: Option<impl Read + Send + 'static>, max: usize) -> Self {
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
    fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        self.end.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Output {
        run("sh", &["-c", script]).unwrap()
    }

    #[test]
    fn output_and_status_come_back() {
        let output = sh("echo out; echo err >&2; exit 3");
        assert!(!output.success);
        assert_eq!(output.status, "exit status: 3");
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
    }

    #[test]
    fn the_environment_is_clean_and_the_directory_is_the_root() {
        let output = run("env", &[]).unwrap();
        let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C.UTF-8", &format!("PATH={PATH}")]);
        assert_eq!(sh("pwd").stdout, b"/\n");
        assert_eq!(sh("cat").stdout, b"", "stdin is empty");
    }

    #[test]
    fn a_program_that_fills_both_pipes_does_not_block_and_its_output_is_capped() {
        let output = sh("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; echo end >&2");
        assert!(output.success);
        assert_eq!(output.stdout.len(), OUTPUT_MAX);
        assert_eq!(output.stderr.len(), OUTPUT_MAX);
    }

    #[test]
    fn a_program_reads_its_input_whole_while_it_answers_and_a_cut_answer_is_an_error() {
        let input = vec![b'x'; 1_000_000];
        let limit = Duration::from_secs(20);
        let output = run_with_input(limit, 2_000_000, "cat", &[], &input).unwrap();
        assert_eq!(output.stdout, input);
        let error = run_with_input(limit, 999_999, "cat", &[], &input).unwrap_err();
        assert!(matches!(error, HostError::Run { source, .. } if source.kind() == io::ErrorKind::FileTooLarge));
        let output = run_with_input(limit, 10, "false", &[], &input).unwrap();
        assert!(!output.success, "one that does not read does not hold us up");
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
        let start = Instant::now();
        let error = run_within(Duration::from_millis(300), "sh", &["-c", "sleep 98765 & sleep 98765"]).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
        assert_eq!(error.to_string(), "sh did not end within 0 s and was killed");
    }

    #[test]
    fn what_a_program_leaves_behind_in_its_group_does_not_outlive_it() {
        let start = Instant::now();
        let output = sh("sleep 98765 & echo $!");
        assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
        let left = Pid::from_raw(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap());
        let mut attempts = 100;
        // Whoever adopts orphans has to reap it first; until then it is a zombie, not a running program.
        while is_running(left) && attempts > 0 {
            thread::sleep(Duration::from_millis(20));
            attempts -= 1;
        }
        assert!(!is_running(left));
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_does_not_hold_us_up() {
        let start = Instant::now();
        let output = sh("setsid sleep 30 & echo started");
        assert_eq!(output.stdout, b"started\n");
        assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    }

    #[expect(clippy::disallowed_methods, reason = "looks at a process")]
    fn is_running(pid: Pid) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = run("hostwrit-no-such-program", &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot run hostwrit-no-such-program");
        assert!(matches!(error, HostError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }
}
