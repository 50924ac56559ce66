// SPDX-License-Identifier: Apache-2.0
//! A command that systemd runs by itself after a while, unless it is called off: a transient timer and its service, which outlive
//! the process that asked for them.

use std::path::Path;
use std::time::Duration;

use super::bus::{Bus, ManagerProxy, Property, micros, text};
use super::{UnitAction, is_live};
use crate::host::files::Root;
use crate::host::{HostError, command};

/// A command, and when it is due.
#[derive(Clone, Debug)]
pub struct Timer<'t> {
    /// Of both units, without a suffix.
    pub name: &'t str,
    pub description: &'t str,
    pub after: Duration,
    /// The absolute path of a program.
    pub program: &'t Path,
    pub args: &'t [&'t str],
}

/// How long after a failure the command is run again.
const AGAIN: Duration = Duration::from_secs(10);

/// The last that the kernel ends when memory is short.
const OOM_SCORE: i32 = -900;

pub(in crate::host) fn arm(root: &Root, timer: &Timer<'_>) -> Result<(), HostError> {
    if !is_live(root) {
        return Err(failed(timer.name)("nothing runs under another root than /"));
    }
    match Bus::open() {
        Some(bus) => bus.arm(timer),
        None => arm_by_command(timer),
    }
}

/// Stops the timer; that there is none is fine. Its command, if it is under way already, is not stopped.
pub(in crate::host) fn disarm(root: &Root, name: &str) -> Result<(), HostError> {
    let unit = format!("{name}.timer");
    let active = super::states(root, &[&unit])?.pop().and_then(|state| state.active);
    if active.as_deref() == Some("active") { super::act(root, UnitAction::Stop, &unit) } else { Ok(()) }
}

fn failed<T: std::fmt::Display>(name: &str) -> impl FnOnce(T) -> HostError {
    move |why| HostError::Unit { action: "make", unit: format!("{name}.timer"), why: why.to_string() }
}

impl Bus {
    fn arm(&self, timer: &Timer<'_>) -> Result<(), HostError> {
        let Timer { name, description, after, program, args } = timer;
        let Some(program) = program.to_str() else { return Err(failed(name)("the program's path is no text")) };
        let mut command = vec![program];
        command.extend(*args);
        let when: Vec<Property<'_>> = vec![
            ("Description", (*description).into()),
            ("TimersMonotonic", vec![("OnActiveSec", micros(*after))].into()),
            ("AccuracyUSec", 100_000_u64.into()),
            ("RemainAfterElapse", false.into()),
        ];
        let what: Vec<Property<'_>> = vec![
            ("Description", (*description).into()),
            ("Type", "oneshot".into()),
            // What is ignored of its exit: nothing.
            ("ExecStart", vec![(program, command, false)].into()),
            ("Restart", "on-failure".into()),
            ("RestartUSec", micros(AGAIN).into()),
            ("StartLimitIntervalUSec", 0_u64.into()),
            ("OOMScoreAdjust", OOM_SCORE.into()),
        ];
        let (timer_unit, service) = (format!("{name}.timer"), format!("{name}.service"));
        let armed = self.runtime.block_on(async {
            let manager = ManagerProxy::new(&self.connection).await?;
            manager.start_transient_unit(&timer_unit, "fail", &when, &[(service.as_str(), what)]).await
        });
        armed.map(drop).map_err(|error| failed(name)(text(&error)))
    }
}

fn arm_by_command(timer: &Timer<'_>) -> Result<(), HostError> {
    let Some(program) = timer.program.to_str() else {
        return Err(failed(timer.name)("the program's path is no text"));
    };
    let settings = [
        format!("--unit={}", timer.name),
        format!("--description={}", timer.description),
        format!("--on-active={}us", micros(timer.after)),
        format!("--property=RestartSec={}s", AGAIN.as_secs()),
        format!("--property=OOMScoreAdjust={OOM_SCORE}"),
    ];
    let mut words = vec!["--quiet", "--timer-property=AccuracySec=100ms", "--service-type=oneshot"];
    words.extend(["--property=Restart=on-failure", "--property=StartLimitIntervalSec=0"]);
    words.extend(settings.iter().map(String::as_str));
    words.extend(["--", program]);
    words.extend(timer.args);
    let output = command::run("systemd-run", &words)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.success { Ok(()) } else { Err(failed(timer.name)(said.trim())) }
}
