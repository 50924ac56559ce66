// SPDX-License-Identifier: Apache-2.0
//! A command that systemd runs once as a service of its own: a transient unit. What confines the unit of the asking process does not
//! confine it, and it ends at its time limit, whatever becomes of who asked.

use std::fs;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{self, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{CLD_EXITED, SIGKILL};
use zbus::Fd;
use zbus::proxy::CacheProperties;

use super::bus::{Bus, Failed, ManagerProxy, Property, ServiceProxy, end_of, micros, text};
use crate::host::command::{Capture, ENVIRONMENT, LINGER, OUTPUT_MAX, PATH};
use crate::host::{HostError, Output};

/// What systemd itself tells a service of the world, by systemd.exec(5); newer ones tell root's services who root is as well.
const TOLD: [&str; 9] = [
    "HOME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LOGNAME",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "SHELL",
    "SYSTEMD_EXEC_PID",
    "USER",
];

/// The exit status by which systemd says that it could not execute the program: systemd.exec(5).
const NOT_EXECUTED: i32 = 203;

/// How long after its time limit systemd may take to end a command.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the command and waits for it; `None` where no bus runs. All that it has started is killed when it ends, and at the time
/// limit.
pub(in crate::host) fn run(limit: Duration, program: &str, args: &[&str]) -> Option<Result<Output, HostError>> {
    let bus = Bus::open()?;
    Some(Oneshot { unit: unit_name(), program, args, limit }.run(&bus))
}

/// Returns a name that no other unit has: a unit that has ended is known for a moment longer.
fn unit_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("hostwrit-command-{}-{}.service", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

struct Oneshot<'o> {
    unit: String,
    program: &'o str,
    args: &'o [&'o str],
    limit: Duration,
}

/// How a service ended, in systemd's words and numbers.
struct Ended {
    result: String,
    code: i32,
    status: i32,
}

impl Oneshot<'_> {
    fn run(&self, bus: &Bus) -> Result<Output, HostError> {
        let failed = |source: io::Error| HostError::Run { program: self.program.to_owned(), source };
        let path = find(self.program).map_err(failed)?;
        let (stdout, to_stdout) = io::pipe().map_err(failed)?;
        let (stderr, to_stderr) = io::pipe().map_err(failed)?;
        let stdout = Capture::start(Some(stdout), OUTPUT_MAX);
        let stderr = Capture::start(Some(stderr), OUTPUT_MAX);
        let ended = self.carry_through(bus, &path, to_stdout, to_stderr);
        let ended = bus.runtime.block_on(ended).map_err(|failure| match failure {
            Failed::Call(error) => self.failed(text(&error)),
            Failed::Job(why) => self.failed(why),
        })?;
        // systemd closes its ends of the pipes when the unit has ended.
        let linger = Instant::now() + LINGER;
        let _ = stdout.wait(linger) && stderr.wait(linger);
        let status = self.judge(&ended)?;
        Ok(Output {
            success: status.success(),
            status: status.to_string(),
            stdout: stdout.take(),
            stderr: stderr.take(),
        })
    }

    /// Has systemd run the program, and waits for its end. The pipes are closed here as soon as systemd has them.
    async fn carry_through(
        &self,
        bus: &Bus,
        path: &str,
        to_stdout: PipeWriter,
        to_stderr: PipeWriter,
    ) -> Result<Ended, Failed> {
        // A cache would fetch all the properties of the manager.
        let manager = ManagerProxy::builder(&bus.connection).cache_properties(CacheProperties::No).build().await?;
        let mut properties = self.properties(path, &manager.environment().await?);
        properties.push(("StandardOutputFileDescriptor", Fd::from(OwnedFd::from(to_stdout)).into()));
        properties.push(("StandardErrorFileDescriptor", Fd::from(OwnedFd::from(to_stderr)).into()));
        // Before the job, or its end could be missed.
        let mut removed = pin!(manager.receive_job_removed().await?);
        manager.subscribe().await?;
        let job = manager.start_transient_unit(&self.unit, "fail", &properties, &[]).await?;
        drop(properties);
        end_of(&job, removed.as_mut(), self.limit + GRACE, &self.unit).await?;
        let unit = manager.get_unit(&self.unit).await?;
        let service = ServiceProxy::builder(&bus.connection).path(&unit);
        let service = service.cache_properties(CacheProperties::No).build().await?;
        Ok(Ended {
            result: service.result().await?,
            code: service.exec_main_code().await?,
            status: service.exec_main_status().await?,
        })
    }

    /// Returns the settings of the unit, but for its pipes. `told` is what systemd tells all services of the world.
    fn properties(&self, path: &str, told: &[String]) -> Vec<Property<'static>> {
        let words: Vec<String> = [self.program].iter().chain(self.args).map(|&word| word.to_owned()).collect();
        let environment = ENVIRONMENT.map(|(name, value)| format!("{name}={value}")).to_vec();
        let told = told.iter().filter_map(|variable| variable.split_once('=')).map(|(name, _)| name);
        let is_ours = |name: &&str| ENVIRONMENT.iter().any(|(ours, _)| ours == name);
        let untold: Vec<&str> = told.chain(TOLD).filter(|name| !is_ours(name)).collect();
        let untold: Vec<String> = untold.into_iter().map(str::to_owned).collect();
        let shown: String = self.program.chars().filter(|c| !c.is_control()).collect();
        vec![
            ("Description", format!("A command of the infra repo: {shown}").into()),
            ("Type", "oneshot".into()),
            // The words are the repo's: a `$` in them means nothing to systemd.
            ("ExecStartEx", vec![(path.to_owned(), words, vec!["no-env-expand".to_owned()])].into()),
            ("Environment", environment.into()),
            ("UnsetEnvironment", untold.into()),
            ("TimeoutStartUSec", micros(self.limit).into()),
            ("KillSignal", SIGKILL.into()),
            // Kept until we have asked how it ended, for as long as our connection lasts; then gone, failed or not.
            ("AddRef", true.into()),
            ("CollectMode", "inactive-or-failed".into()),
            // The steward finishes what it began, also when the host goes down meanwhile.
            ("DefaultDependencies", false.into()),
            // Such a command looks at things. What is in /etc, /usr and /boot is the repo's to say, by objects.
            ("ProtectSystem", "full".into()),
            // What it looks at may be secret.
            ("LimitCORE", 0_u64.into()),
        ]
    }

    fn judge(&self, ended: &Ended) -> Result<ExitStatus, HostError> {
        let Self { unit, program, limit, .. } = self;
        match (ended.result.as_str(), ended.code, ended.status) {
            ("timeout", ..) => Err(HostError::Timeout { program: (*program).to_owned(), seconds: limit.as_secs() }),
            (result, 0, _) => Err(self.failed(format!("its result is \"{result}\"; see: journalctl -u {unit}"))),
            (_, CLD_EXITED, NOT_EXECUTED) => {
                let why = format!("{program} cannot be executed; see: journalctl -u {unit}");
                Err(self.failed(why))
            }
            // As wait(2) has it: the exit status is in the second byte, the number of a signal in the first.
            (_, CLD_EXITED, status) => Ok(ExitStatus::from_raw((status & 0xff) << 8)),
            (_, _, signal) => Ok(ExitStatus::from_raw(signal & 0x7f)),
        }
    }

    fn failed(&self, why: String) -> HostError {
        HostError::Unit { action: "run", unit: self.unit.clone(), why }
    }
}

/// Returns the path of the program, looked for as execvp(3) does.
fn find(program: &str) -> io::Result<String> {
    let candidates: Vec<String> = match program.contains('/') {
        true => vec![format!("/{}", program.trim_start_matches('/'))],
        false => PATH.split(':').map(|place| format!("{place}/{program}")).collect(),
    };
    let mut why = Errno::ENOENT.into();
    for path in candidates {
        match fs::metadata(&path) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(_) => why = Errno::EACCES.into(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => why = error,
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oneshot(program: &'static str) -> Oneshot<'static> {
        Oneshot { unit: "u.service".to_owned(), program, args: &["-t"], limit: Duration::from_secs(3) }
    }

    fn judge(result: &str, code: i32, status: i32) -> Result<String, String> {
        let judged = oneshot("nginx").judge(&Ended { result: result.to_owned(), code, status });
        judged.map(|status| status.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_end_of_a_service_reads_as_that_of_a_child() {
        use nix::libc::{CLD_DUMPED, CLD_KILLED};
        assert_eq!(judge("success", CLD_EXITED, 0).unwrap(), "exit status: 0");
        assert_eq!(judge("exit-code", CLD_EXITED, 255).unwrap(), "exit status: 255");
        assert_eq!(judge("signal", CLD_KILLED, 9).unwrap(), "signal: 9 (SIGKILL)");
        assert_eq!(judge("core-dump", CLD_DUMPED, 11).unwrap(), "signal: 11 (SIGSEGV)");
        assert_eq!(judge("timeout", CLD_KILLED, 9).unwrap_err(), "nginx did not end within 3 s and was killed");
        assert_eq!(
            judge("resources", 0, 0).unwrap_err(),
            "systemd cannot run u.service: its result is \"resources\"; see: journalctl -u u.service"
        );
        assert_eq!(
            judge("exit-code", CLD_EXITED, NOT_EXECUTED).unwrap_err(),
            "systemd cannot run u.service: nginx cannot be executed; see: journalctl -u u.service"
        );
    }

    #[test]
    fn what_systemd_tells_all_services_is_not_told() {
        let told = ["LANG=de_DE.UTF-8", "PATH=/opt/bin", "http_proxy=http://user:pass@proxy", "odd"].map(str::to_owned);
        let properties = oneshot("nginx").properties("/usr/sbin/nginx", &told);
        let of = |name: &str| properties.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        let untold = of("UnsetEnvironment").unwrap();
        assert!(
            untold.contains("LANG") && untold.contains("http_proxy") && untold.contains("INVOCATION_ID"),
            "{untold}"
        );
        assert!(!untold.contains("PATH") && !untold.contains("pass"), "{untold}");
        assert!(of("Environment").unwrap().contains(&format!("PATH={PATH}")));
        assert!(of("ExecStartEx").unwrap().contains("no-env-expand"));
    }

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        assert!(find("sh").unwrap().ends_with("bin/sh"));
        assert_eq!(find("/bin/sh").unwrap(), "/bin/sh");
        assert_eq!(find("bin/sh").unwrap(), "/bin/sh", "from the directory in which it is run");
        assert_eq!(find("hostwrit-no-such-program").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(find("/etc/passwd").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn no_two_units_have_one_name() {
        assert_ne!(unit_name(), unit_name());
    }
}
