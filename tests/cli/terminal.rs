// SPDX-License-Identifier: Apache-2.0
//! Off a terminal, and with a reader that goes away.

use std::process::Stdio;

use super::site;

#[test]
fn off_a_terminal_there_is_no_colour() {
    let site = site();
    for args in [&["plan"][..], &["apply"], &["status"], &["--help"]] {
        let ran = site.run(args);
        assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{ran:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let site = site();
    for args in [&["plan"][..], &["plan", "--json"], &["schema", "host"], &["schema"]] {
        let mut child = site.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert!([Some(0), Some(3)].contains(&output.status.code()), "{args:?}: {:?}", output.status);
    }
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    let site = site();
    site.host_file("files:\n  /etc/x: {content: \"\\e[31mred\\n\", comment: \"\\e]0;title\\a\"}\n  \"/etc/\\e[2Jx\": {content: y}\n");
    for args in [&["plan"][..], &["apply"], &["status"]] {
        let ran = site.run(args);
        assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{ran:?}");
    }
    site.host_file("files:\n  /etc/x: {content: \"\\e[31mred\\n\"}\n");
    for args in [&["plan"][..], &["apply"], &["status"]] {
        let ran = site.run(args);
        assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "{ran:?}");
    }
}
