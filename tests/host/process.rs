// SPDX-License-Identifier: Apache-2.0
//! Processes that cannot outlive the test run, and what became of those that ended.

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Returns a command whose process the kernel kills as soon as the calling thread ends, even if by `kill -9`.
pub fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).stdin(Stdio::null());
    command
}

/// A process in the background, killed on drop.
pub struct Background(Child);

impl Background {
    pub fn start(mut command: Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self(child)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command as a person would type it.
    pub command: String,
    /// The exit status; 128 and the signal's number if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Runs `command` to its end with `input` on its standard input.
    pub fn of(mut command: Command, shown: String, input: &[u8]) -> Self {
        use std::os::unix::process::ExitStatusExt;

        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        let output = std::thread::scope(|scope| {
            // On a thread of its own, for a full pipe must not stop the reading. A program need not read its input.
            scope.spawn(move || {
                let _ = stdin.write_all(input);
            });
            child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("cannot wait for {shown}: {error}"));
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            command: shown,
            code: code.expect("an ended process has a status or a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands exit status `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "wanted exit status {code}:\n{self}");
        self
    }

    /// Demands exit status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Demands that `text` stands on stdout or stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "wanted the text \"{text}\":\n{self}");
        self
    }

    /// Returns stdout without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        for line in self.stdout.lines() {
            writeln!(f, "  {line}")?;
        }
        for line in self.stderr.lines() {
            writeln!(f, "! {line}")?;
        }
        write!(f, "exit status {}", self.code)
    }
}

/// Runs a command of the machine that must succeed.
#[track_caller]
pub fn run(command: Command) -> Output {
    let shown = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    Output::of(command, shown, b"").ok()
}
