// SPDX-License-Identifier: Apache-2.0
//! The commands, one file each: its arguments, its help and what it does.

mod apply;
mod approve;
mod audit;
mod check;
mod clone;
mod courier;
mod daemon;
mod demo;
mod doctor;
mod exit_code;
mod firewall;
mod fleet;
mod heartbeat;
mod hooks;
mod init;
mod journal;
mod messages;
mod output;
mod pause;
mod plan;
mod revert;
mod schema;
mod status;
mod sync;
mod trust;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control::client::ClientError;
use crate::engine::config::ConfigError;
use crate::engine::{Config, CycleError};
use crate::host::{HostError, RealHost};
use crate::source::Courier;

pub use exit_code::Exit;
pub use schema::schemas;

/// Makes this host agree with a signed Git repository, and records what it did
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = exit_code::TABLE)]
pub struct Cli {
    /// Manage the host whose root directory is DIR, with hostwrit's own files below it too
    #[arg(long, value_name = "DIR", global = true, default_value = "/")]
    root: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Check(check::Check),
    Approve(approve::Approve),
    Heartbeat(heartbeat::Heartbeat),
    Plan(plan::PlanCommand),
    Apply(apply::Apply),
    Daemon(daemon::DaemonCommand),
    Courier(courier::CourierCommand),
    Revert(revert::Revert),
    Status(status::StatusCommand),
    Sync(sync::Sync),
    Pause(pause::PauseCommand),
    Resume(pause::Resume),
    Doctor(doctor::Doctor),
    Why(why::Why),
    Fleet(fleet::FleetCommand),
    Firewall(firewall::Firewall),
    Trust(trust::Trust),
    Audit(audit::Audit),
    Schema(schema::Schema),
}

/// Runs one command and says how it went.
pub fn run(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Demo(demo) => demo.run(),
        Command::Init(init) => init.run(),
        Command::Check(check) => check.run(),
        Command::Approve(approve) => approve.run(),
        Command::Heartbeat(heartbeat) => heartbeat.run(),
        Command::Plan(plan) => plan.run(&cli.root),
        Command::Apply(apply) => apply.run(&cli.root),
        Command::Daemon(daemon) => daemon.run(&cli.root),
        Command::Courier(courier) => courier.run(&cli.root),
        Command::Revert(revert) => revert.run(&cli.root),
        Command::Status(status) => status.run(&cli.root),
        Command::Sync(sync) => sync.run(&cli.root),
        Command::Pause(pause) => pause.run(&cli.root),
        Command::Resume(resume) => resume.run(&cli.root),
        Command::Doctor(doctor) => doctor.run(&cli.root),
        Command::Why(why) => why.run(&cli.root),
        Command::Fleet(fleet) => fleet.run(),
        Command::Firewall(firewall) => firewall.run(&cli.root),
        Command::Trust(trust) => trust.run(&cli.root),
        Command::Audit(audit) => audit.run(&cli.root),
        Command::Schema(schema) => schema.run(),
    };
    let exit = result.unwrap_or_else(|error| {
        output::error(error.source.as_ref());
        error.exit
    });
    ExitCode::from(exit as u8)
}

/// An error at the edge: what to print and how to exit. The library knows of neither.
#[derive(Debug)]
struct CommandError {
    exit: Exit,
    source: Box<dyn std::error::Error>,
}

impl CommandError {
    fn new(exit: Exit, source: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self { exit, source: source.into() }
    }
}

impl From<CycleError> for CommandError {
    fn from(error: CycleError) -> Self {
        let exit = match &error {
            CycleError::Hindered(hindrance) => Exit::of_hindrance(hindrance),
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

/// Returns the courier of the host, not connected yet.
fn courier(host: &RealHost, config: &Config) -> Courier {
    Courier::of(host.root(), config.anchor.root.kind())
}

/// Opens the host below `root` and reads its configuration.
fn open(root: &std::path::Path) -> Result<(RealHost, Config), CommandError> {
    let host = RealHost::open(root)?;
    let config = Config::read(&host)?;
    Ok((host, config))
}
