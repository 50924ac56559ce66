// SPDX-License-Identifier: Apache-2.0
//! Reads the arguments, calls the command, turns its result into an exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    hostwrit::cli::run(&hostwrit::cli::Cli::parse())
}
