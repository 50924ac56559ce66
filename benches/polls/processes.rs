// SPDX-License-Identifier: Apache-2.0
//! Processes that are measured while they run.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};

/// Returns hostwrit: the one that was built along with this, or the one that `HOSTWRIT_BENCH_PROGRAM` names.
pub fn hostwrit() -> Command {
    Command::new(std::env::var_os("HOSTWRIT_BENCH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_hostwrit").into()))
}

/// A process that ends when this is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self::start_loudly(command.stderr(Stdio::null()))
    }

    /// Starts a process whose standard error the caller has seen to.
    pub fn start_loudly(command: &mut Command) -> Self {
        command.stdout(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns the processor time of the process and of its children that have ended. It is precise to a clock tick, ten
    /// milliseconds as a rule.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The second field is a name in parentheses, and may hold anything.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum();
        let second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        Duration::from_secs_f64(ticks as f64 / second as f64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the processor time of all children of this process that have ended.
pub fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds().try_into().unwrap())
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
