// SPDX-License-Identifier: Apache-2.0
//! hostwrit on real hosts: booted Debian systems in namespaces, plugged into a network of their own.
//!
//! `tests/host/README.md` says how to run this and how to add a scenario. It is a program of its own rather than
//! libtest's, because hosts must be started from threads that live as long as the hosts do.

#![allow(clippy::disallowed_methods, reason = "a test looks at hosts from outside, not through hostwrit")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test runner reports on stdout")]

mod apt_sources;
mod authority;
mod bootstrap_page;
mod fabric;
mod fleet;
mod git_server;
mod hostile_server;
mod http_server;
mod image;
mod infra;
mod lab;
mod machine;
mod package;
mod process;
mod proxy;
mod requirements;
mod scenarios;
mod site;
mod wire;

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use infra::Keys;
use lab::Lab;
use scenarios::{ALL, Scenario};

/// How many scenarios run at a time. They wait for timers most of the time: of three together two processors had a load of 1.
const AT_A_TIME: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(ended) = serve(&arguments) {
        let Err(error) = ended else { return ExitCode::SUCCESS };
        eprintln!("cannot serve {:?}: {error}", &arguments[1..]);
        return ExitCode::FAILURE;
    }
    // libtest's options come along when all of the project's tests are run with some; none of them applies here.
    let (options, filters): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    if options.iter().any(|option| option == "--list") {
        ALL.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    let is_wanted =
        |scenario: &&Scenario| filters.is_empty() || filters.iter().any(|filter| scenario.name.contains(filter));
    let wanted: Vec<&Scenario> = ALL.iter().filter(is_wanted).collect();

    if !wanted.is_empty()
        && let Err(reason) = requirements::missing()
    {
        if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
            println!("FAIL: {reason}");
            return ExitCode::FAILURE;
        }
        println!("SKIP: {reason}");
        println!("0 passed, 0 failed, {} skipped", wanted.len());
        return ExitCode::SUCCESS;
    }
    let failed = if wanted.is_empty() { 0 } else { run_all(&wanted) };
    println!("{} passed, {failed} failed, {} filtered out", wanted.len() - failed, ALL.len() - wanted.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Serves, if this program was started for that.
fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match arguments[..] {
        [http_server::ARGUMENT, address, folder] => Some(http_server::serve(address, folder)),
        [http_server::PRIVATE, address, folder, certificate, key, token] => {
            Some(http_server::serve_private(address, folder, certificate, key, token))
        }
        [hostile_server::ARGUMENT, manner, address] => Some(hostile_server::serve(manner, address)),
        [proxy::ARGUMENT, address] => Some(proxy::serve(address)),
        _ => None,
    }
}

thread_local! {
    /// The scenario that the thread runs.
    static SCENARIO: Cell<&'static str> = const { Cell::new("the runner") };
}

/// Lets a panic name its scenario, for several run at the same time; a backtrace into the runner would tell nothing.
fn name_scenario_in_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
        let payload = info.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        let message = message.unwrap_or("no message");
        println!("{} panicked{place}:\n{message}", SCENARIO.get());
    }));
}

/// Runs the scenarios and returns how many failed.
fn run_all(scenarios: &[&Scenario]) -> usize {
    name_scenario_in_panics();
    lab::sweep();
    let image = image::ensure();
    // On this thread, for the agent that holds the keys ends with the thread that started it.
    let keys = Keys::make(&lab::run_dir());

    let queue = Mutex::new(scenarios.iter());
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(scenario) = next(&queue) {
                    if !run_one(scenario, &image, &keys) {
                        *failed.lock().expect("no scenario holds the lock") += 1;
                    }
                }
            });
        }
    });
    drop(keys);
    let _ = std::fs::remove_dir_all(lab::run_dir());
    failed.into_inner().expect("no scenario holds the lock")
}

fn next<'a, T>(queue: &Mutex<impl Iterator<Item = &'a T>>) -> Option<&'a T> {
    queue.lock().expect("taking the next scenario does not panic").next()
}

fn run_one(scenario: &Scenario, image: &Path, keys: &Keys) -> bool {
    let start = Instant::now();
    SCENARIO.set(scenario.name);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new(scenario.name, image, keys);
        (scenario.run)(&lab);
    }));
    let verdict = if result.is_ok() { "ok  " } else { "FAIL" };
    println!("{verdict}  {:<32} {:>6.1} s", scenario.name, start.elapsed().as_secs_f32());
    if result.is_err() {
        let kept = lab::kept_dir(scenario.name);
        println!("      kept: {}", kept.display());
        print_journals(&kept);
    }
    result.is_ok()
}

/// Prints what hostwrit said last on the hosts of a failed scenario, for a machine of CI may be gone before anybody looks.
fn print_journals(kept: &Path) {
    const LINES: usize = 25;
    for file in std::fs::read_dir(kept).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if file.to_string_lossy().ends_with("-journal.log")
            && let Ok(journal) = std::fs::read_to_string(&file)
        {
            let is_ours = |line: &&str| line.contains(" hostwrit[") || line.contains("]: hostwrit");
            let lines: Vec<&str> = journal.lines().filter(is_ours).collect();
            lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| println!("      {line}"));
        }
    }
}
