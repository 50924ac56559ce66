// SPDX-License-Identifier: Apache-2.0
//! Writes what the package holds beside the program and what is made from it: manual pages and shell completions, from the
//! same definition as `--help`. `packaging/build-deb` runs it; tests call it.

#![allow(clippy::disallowed_methods, reason = "writes below target/, not on a host")]

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use hostwrit::cli::Cli;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: package-files DIR")?;
    Ok(write(dir.as_ref())?)
}

/// Writes the pages to `dir/man` and the completions to `dir/completions`, and nothing else is there then.
pub fn write(dir: &Path) -> io::Result<()> {
    let man = dir.join("man");
    let completions = dir.join("completions");
    for dir in [&man, &completions] {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
    }
    // `hostwrit help trust` as a page of its own would say nothing that hostwrit-trust(1) does not.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "hostwrit", &completions)?;
    }
    Ok(())
}
