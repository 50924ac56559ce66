// SPDX-License-Identifier: Apache-2.0
//! The Debian package as a file. What installing it does to a host is in `tests/host/scenarios/package.rs`.
#![allow(clippy::disallowed_methods, reason = "reads the project's own files")]
#![allow(clippy::print_stdout, reason = "says what is skipped")]

#[path = "../../packaging/generate.rs"]
#[allow(dead_code, reason = "it is a program too")]
mod generate;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use clap::CommandFactory;
use hostwrit::cli::Cli;

/// Two packages of the same program, made one after the other under another umask, time zone and language; `None` where none can
/// be made.
fn packages() -> Option<&'static [PathBuf; 2]> {
    static PACKAGES: OnceLock<Option<[PathBuf; 2]>> = OnceLock::new();
    PACKAGES
        .get_or_init(|| {
            if !project().join("target/tools/bin/cargo-deb").exists() {
                skip("the package needs cargo-deb; packaging/install-cargo-deb builds it");
                return None;
            }
            let settings = [("one", "022", "UTC", "C"), ("two", "077", "Asia/Tokyo", "C.UTF-8")];
            Some(settings.map(|(name, umask, zone, language)| {
                generate::write(&project().join("target/package")).unwrap();
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.deb"));
                let _ = fs::remove_file(&path);
                let mut build = Command::new("sh");
                build.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]);
                build.arg(project().join("packaging/build-deb")).arg("--debug").arg(&path);
                run(build.env("TZ", zone).env("LC_ALL", language));
                path
            }))
        })
        .as_ref()
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says that a test does not run here. Under CI it must.
#[track_caller]
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|value| value.is_empty()), "{why}");
    println!("SKIP: {why}");
}

/// Runs a command that must succeed and returns what it says.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// That the same sources also give the same program, wherever and whenever they are built, takes two release builds:
/// `packaging/prove-reproducible`.
#[test]
fn the_same_program_packed_twice_gives_the_same_bytes() {
    let Some([one, two]) = packages() else { return };
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "the two packages differ");
}

#[test]
fn lintian_finds_nothing() {
    let Some([package, _]) = packages() else { return };
    if Command::new("lintian").arg("--version").output().is_err() {
        return skip("lintian is not installed: apt-get install lintian");
    }
    let said = run(Command::new("lintian").args(["--allow-root", "--fail-on", "warning"]).arg(package));
    assert!(!said.contains("W:") && !said.contains("E:"), "{said}");
}

#[test]
fn each_lintian_override_has_a_reason() {
    let text = fs::read_to_string(project().join("packaging/deb/lintian-overrides")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        assert!(index > 0 && lines[index - 1].starts_with("# "), "no reason above: {line}");
    }
}

#[test]
fn each_command_has_a_manual_page_and_each_shell_its_completions() {
    let Some([package, _]) = packages() else { return };
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(package));
    let files: BTreeSet<&str> = listing.lines().filter_map(|line| line.split(" ./").nth(1)).collect();
    let mut pages = vec!["hostwrit".to_owned()];
    for command in Cli::command().get_subcommands() {
        pages.push(format!("hostwrit-{}", command.get_name()));
        pages.extend(
            command.get_subcommands().map(|inner| format!("hostwrit-{}-{}", command.get_name(), inner.get_name())),
        );
    }
    let wanted = pages.iter().map(|page| format!("usr/share/man/man1/{page}.1.gz")).chain(
        [
            "bash-completion/completions/hostwrit",
            "zsh/vendor-completions/_hostwrit",
            "fish/vendor_completions.d/hostwrit.fish",
        ]
        .map(|file| format!("usr/share/{file}")),
    );
    let missing: Vec<String> = wanted.filter(|file| !files.contains(file.as_str())).collect();
    assert!(missing.is_empty(), "the package lacks {missing:?}");
}

#[test]
fn the_package_needs_what_the_program_links() {
    let Some([package, _]) = packages() else { return };
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"));
    for library in ["libc6", "libssl3"] {
        assert!(depends.contains(library), "{library} is not in: {depends}");
    }
    assert!(!depends.contains("libcurl"), "it brings 27 more libraries into each process: {depends}");
}

#[test]
fn its_own_changelog_names_the_version_of_the_program() {
    let text = fs::read_to_string(project().join("packaging/deb/changelog")).unwrap();
    let wanted = format!("hostwrit ({}-", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&wanted), "packaging/deb/changelog must begin with \"{wanted}\"");
}

/// `systemd-analyze security` from 0 (closed) to 10 (open). A change that opens a unit shows here.
#[test]
fn the_units_are_as_closed_as_their_work_allows() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd-analyze is not installed: apt-get install systemd");
    }
    for (unit, most) in [
        ("hostwrit-courier.service", 1.4),
        ("hostwrit-revert.service", 3.4),
        ("hostwrit-firewall.service", 2.1),
        ("hostwrit-upgrade.service", 2.5),
        ("hostwrit.service", 3.7),
    ] {
        let path = project().join("packaging/systemd").join(unit);
        let said = run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(path));
        let level = said.split("Overall exposure level for").nth(1).and_then(|rest| rest.split_whitespace().nth(1));
        let level: f32 = level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("no level in\n{said}"));
        assert!(level <= most, "{unit} has {level}, more than {most}:\n{said}");
    }
}

/// Root opens no network connection (docs/decisions/0016-two-processes.md), and this line in the unit is what holds it.
#[test]
fn the_steward_has_no_network() {
    let unit = fs::read_to_string(project().join("packaging/systemd/hostwrit.service")).unwrap();
    let lines: Vec<&str> = unit.lines().filter(|line| line.starts_with("RestrictAddressFamilies=")).collect();
    assert_eq!(lines, ["RestrictAddressFamilies=AF_UNIX AF_NETLINK"]);
}

#[test]
fn the_example_configuration_is_sound() {
    let text = fs::read(project().join("packaging/examples/config.yaml")).unwrap();
    hostwrit::engine::Config::parse("config.yaml", &text, Some("web1".to_owned())).unwrap();
}
