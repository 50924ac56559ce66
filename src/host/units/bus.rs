// SPDX-License-Identifier: Apache-2.0
//! Asks systemd over D-Bus: no process is started, and all units are read in a few round trips.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_core::Stream;
use tokio::runtime::{Builder, Runtime};
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, Variant};

use super::{JOB_LIMIT, UnitAction, UnitState, is_template, needs_reload};
use crate::host::HostError;
use crate::host::files::Root;

/// systemd answers within milliseconds, but a daemon-reload on a slow host takes a while.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A connection to the system bus, with the runtime that drives it: zbus is async, a cycle is not.
pub(in crate::host) struct Bus {
    // Before the runtime, for it must be dropped first.
    pub(in crate::host) connection: Connection,
    pub(in crate::host) runtime: Runtime,
}

impl Bus {
    /// Connects to the system bus; `None` where none runs, as in early boot or without the package `dbus`.
    pub(in crate::host) fn open() -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let connect = async { zbus::connection::Builder::system().method_timeout(CALL_LIMIT).build().await };
        let connection = runtime.block_on(connect).ok()?;
        Some(Self { connection, runtime })
    }

    pub(super) fn states(&self, root: &Root, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let read = self.runtime.block_on(self.read(names)).map_err(|error| HostError::Systemd(text(&error)))?;
        read.into_iter()
            .map(|(state, drop_ins)| {
                let needs_reload = needs_reload(root, &state, &drop_ins)?;
                Ok(UnitState { needs_reload, ..state })
            })
            .collect()
    }

    /// Returns the states, each with the paths of the drop-ins that systemd has loaded.
    async fn read(&self, names: &[&str]) -> zbus::Result<Vec<(UnitState, Vec<String>)>> {
        let manager = ManagerProxy::new(&self.connection).await?;
        let concrete: Vec<&str> = names.iter().copied().filter(|name| !is_template(name)).collect();
        // The answers stand in the order of the names; their own names may differ, for an alias is answered by what it
        // stands for.
        let listed = manager.list_units_by_names(&concrete).await?;
        if listed.len() != concrete.len() {
            let asked = concrete.len();
            return Err(zbus::Error::Failure(format!("asked for {asked} units, it answered for {}", listed.len())));
        }
        let mut listed = listed.into_iter();
        let mut states = Vec::with_capacity(names.len());
        for &name in names {
            // Asked by file, not by ListUnitFiles, which reads all unit files of the host and takes half a second.
            let file_state = match manager.get_unit_file_state(name).await {
                Ok(state) => state,
                Err(error) if says_no_such_unit(&error) => String::new(),
                Err(error) => return Err(error),
            };
            let Some(unit) = (if is_template(name) { None } else { listed.next() }) else {
                let load = if file_state.is_empty() { "not-found" } else { "loaded" };
                let (name, load) = (name.to_owned(), load.to_owned());
                states.push((UnitState { name, load, active: None, file_state, needs_reload: false }, Vec::new()));
                continue;
            };
            let (mut needs_reload, mut drop_ins) = (false, Vec::new());
            if unit.load != "not-found" {
                let proxy = self.unit(&unit.path).await?;
                needs_reload = proxy.need_daemon_reload().await?;
                drop_ins = proxy.drop_in_paths().await?;
            }
            let (name, load, active) = (name.to_owned(), unit.load, Some(unit.active));
            states.push((UnitState { name, load, active, file_state, needs_reload }, drop_ins));
        }
        Ok(states)
    }

    pub(super) fn act(&self, action: UnitAction, unit: &str) -> Result<(), HostError> {
        self.runtime.block_on(self.carry_out(action, unit)).map_err(|error| match error {
            Failed::Call(error) if says_no_such_unit(&error) => {
                let said = text(&error);
                // The unit that is missing may be another one, which this one requires.
                if said.contains(".") && !said.contains(unit) {
                    return action.failed(unit)(format!("a unit that it needs is missing: {said}"));
                }
                action.failed(unit)("it has no unit file: the name is wrong or its package is not installed")
            }
            Failed::Call(error) => action.failed(unit)(text(&error)),
            Failed::Job(why) => action.failed(unit)(why),
        })
    }

    async fn carry_out(&self, action: UnitAction, unit: &str) -> Result<(), Failed> {
        let manager = ManagerProxy::new(&self.connection).await?;
        match action {
            UnitAction::Start | UnitAction::Stop | UnitAction::Restart | UnitAction::Reload => {
                self.run_job(&manager, action, unit).await?;
            }
            UnitAction::Enable => drop(manager.enable_unit_files(&[unit], false, false).await?),
            UnitAction::Disable => drop(manager.disable_unit_files(&[unit], false).await?),
            UnitAction::Mask => drop(manager.mask_unit_files(&[unit], false, false).await?),
            UnitAction::Unmask => drop(manager.unmask_unit_files(&[unit], false).await?),
            UnitAction::DaemonReload => manager.reload().await?,
        }
        Ok(())
    }

    /// Starts a job and waits for its result.
    async fn run_job(&self, manager: &ManagerProxy<'_>, action: UnitAction, unit: &str) -> Result<(), Failed> {
        // Before the job, or its end could be missed. The subscription ends with the connection.
        let mut removed = pin!(manager.receive_job_removed().await?);
        manager.subscribe().await?;
        if action != UnitAction::Stop {
            // A unit that failed too often is not started again by systemd, also when what made it fail is right by now.
            // One that is not loaded has no such count.
            let _ = manager.reset_failed_unit(unit).await;
        }
        let job = match action {
            UnitAction::Stop => manager.stop_unit(unit, "replace").await?,
            UnitAction::Restart => manager.restart_unit(unit, "replace").await?,
            UnitAction::Reload => manager.reload_or_restart_unit(unit, "replace").await?,
            _ => {
                // Keeps systemd from forgetting the unit, and why it was not started, before we have asked.
                if manager.load_unit(unit).await.is_ok() {
                    let _ = manager.ref_unit(unit).await;
                }
                manager.start_unit(unit, "replace").await?
            }
        };
        match end_of(&job, removed.as_mut(), JOB_LIMIT, unit).await?.as_str() {
            "done" | "skipped" => self.check_conditions(manager, action, unit).await,
            result => Err(Failed::Job(self.explain(manager, unit, result).await)),
        }
    }

    /// A start whose `Condition...=` is not met ends as done, with nothing started.
    async fn check_conditions(&self, manager: &ManagerProxy<'_>, action: UnitAction, unit: &str) -> Result<(), Failed> {
        if action != UnitAction::Start {
            return Ok(());
        }
        // systemd has unloaded the unit all the same: there is nothing to learn.
        let Ok(path) = manager.get_unit(unit).await else { return Ok(()) };
        let proxy = self.unit(&path).await?;
        if proxy.condition_result().await? || proxy.active_state().await? != "inactive" {
            return Ok(());
        }
        Err(Failed::Job(format!("one of its conditions is not met on this host; see: systemctl status {unit}")))
    }

    /// Says how a job ended, with the unit's own result where systemd keeps one, and where to look.
    async fn explain(&self, manager: &ManagerProxy<'_>, unit: &str, result: &str) -> String {
        let detail = match result {
            "failed" => self.result_of(manager, unit).await.map(|own| format!(", result \"{own}\"")),
            "dependency" => Some(": a unit that it needs failed".to_owned()),
            _ => None,
        };
        format!("its job ended as \"{result}\"{}; see: journalctl -u {unit}", detail.unwrap_or_default())
    }

    async fn result_of(&self, manager: &ManagerProxy<'_>, unit: &str) -> Option<String> {
        let (_, suffix) = unit.rsplit_once('.')?;
        let interface = format!("org.freedesktop.systemd1.{}{}", suffix.get(..1)?.to_uppercase(), suffix.get(1..)?);
        let path = manager.get_unit(unit).await.ok()?;
        let proxy = zbus::Proxy::new(&self.connection, "org.freedesktop.systemd1", path, interface).await.ok()?;
        let result: String = proxy.get_property("Result").await.ok()?;
        match proxy.get_property::<i32>("ExecMainStatus").await {
            Ok(status) if result == "exit-code" => Some(format!("{result} {status}")),
            _ => Some(result),
        }
    }

    async fn unit<'a>(&self, path: &'a OwnedObjectPath) -> zbus::Result<UnitProxy<'a>> {
        // A cache would fetch all the hundred properties of the unit.
        UnitProxy::builder(&self.connection).path(path).cache_properties(CacheProperties::No).build().await
    }
}

/// Waits for the end of a job of the unit, and returns its result. The signals are of a time before the job.
pub(super) async fn end_of(
    job: &OwnedObjectPath,
    mut removed: Pin<&mut JobRemovedStream>,
    limit: Duration,
    unit: &str,
) -> Result<String, Failed> {
    let end = async {
        while let Some(signal) = poll_fn(|context| removed.as_mut().poll_next(context)).await {
            let ended = signal.args()?;
            if ended.job() == job {
                return Ok(ended.result().clone());
            }
        }
        Err(Failed::Job("the connection to the system bus broke".to_owned()))
    };
    tokio::time::timeout(limit, end).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        Err(Failed::Job(format!("the job has not ended after {seconds} s; see: systemctl status {unit}")))
    })
}

/// Why an action failed: the call itself, or the job that it started.
pub(super) enum Failed {
    Call(zbus::Error),
    Job(String),
}

impl From<zbus::Error> for Failed {
    fn from(error: zbus::Error) -> Self {
        Self::Call(error)
    }
}

fn says_no_such_unit(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str() == "org.freedesktop.systemd1.NoSuchUnit",
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::FileNotFound(_)),
        _ => false,
    }
}

/// A property as org.freedesktop.systemd1 takes it.
pub(super) type Property<'p> = (&'p str, Variant<'p>);

/// Returns the time as org.freedesktop.systemd1 takes it.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns what systemd says in words, without the D-Bus name of the error.
pub(in crate::host) fn text(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(message), _) => message.clone(),
        _ => error.to_string(),
    }
}

/// One element of the answer of `ListUnitsByNames`.
#[derive(serde::Deserialize, zbus::wire::Type)]
#[expect(dead_code, reason = "the wire format has ten fields; the others are not looked at")]
struct Listed {
    name: String,
    description: String,
    load: String,
    active: String,
    sub: String,
    following: String,
    path: OwnedObjectPath,
    job: u32,
    job_type: String,
    job_path: OwnedObjectPath,
}

/// A link that systemd made or removed: what was done, the link, its target.
type Link = (String, String, String);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
    fn get_unit_file_state(&self, file: &str) -> zbus::Result<String>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn reload_or_restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        others: &[(&str, Vec<Property<'_>>)],
    ) -> zbus::Result<OwnedObjectPath>;
    fn enable_unit_files(&self, files: &[&str], runtime: bool, force: bool) -> zbus::Result<(bool, Vec<Link>)>;
    fn disable_unit_files(&self, files: &[&str], runtime: bool) -> zbus::Result<Vec<Link>>;
    fn mask_unit_files(&self, files: &[&str], runtime: bool, force: bool) -> zbus::Result<Vec<Link>>;
    fn unmask_unit_files(&self, files: &[&str], runtime: bool) -> zbus::Result<Vec<Link>>;
    #[zbus(property)]
    fn environment(&self) -> zbus::Result<Vec<String>>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn condition_result(&self) -> zbus::Result<bool>;
    #[zbus(property)]
    fn drop_in_paths(&self) -> zbus::Result<Vec<String>>;
    #[zbus(property)]
    fn need_daemon_reload(&self) -> zbus::Result<bool>;
}

/// What systemd says of the main process of a service.
#[zbus::proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
pub(super) trait Service {
    /// `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, ...
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
    /// How it ended, as `si_code` of waitid(2); 0 if it has not.
    #[zbus(property)]
    fn exec_main_code(&self) -> zbus::Result<i32>;
    /// Its exit status, or the number of the signal.
    #[zbus(property)]
    fn exec_main_status(&self) -> zbus::Result<i32>;
}
