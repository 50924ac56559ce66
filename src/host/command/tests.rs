// SPDX-License-Identifier: Apache-2.0
use super::*;

fn sh(script: &str) -> Output {
    run("sh", &["-c", script]).unwrap()
}

#[test]
fn output_and_status_come_back() {
    let output = sh("echo out; echo err >&2; exit 3");
    assert!(!output.success);
    assert_eq!(output.status, "exit status: 3");
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn the_environment_is_clean_and_the_directory_is_the_root() {
    let output = run("env", &[]).unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LC_ALL=C.UTF-8", &format!("PATH={PATH}")]);
    assert_eq!(sh("pwd").stdout, b"/\n");
    assert_eq!(sh("cat").stdout, b"", "stdin is empty");
}

#[test]
fn a_program_that_fills_both_pipes_does_not_block_and_its_output_is_capped() {
    let output = sh("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; echo end >&2");
    assert!(output.success);
    assert_eq!(output.stdout.len(), OUTPUT_MAX);
    assert_eq!(output.stderr.len(), OUTPUT_MAX);
}

#[test]
fn a_program_reads_its_input_whole_while_it_answers_and_a_cut_answer_is_an_error() {
    let input = vec![b'x'; 1_000_000];
    let limit = Duration::from_secs(20);
    let output = run_with_input(limit, 2_000_000, "cat", &[], &input).unwrap();
    assert_eq!(output.stdout, input);
    let error = run_with_input(limit, 999_999, "cat", &[], &input).unwrap_err();
    assert!(matches!(error, HostError::Run { source, .. } if source.kind() == io::ErrorKind::FileTooLarge));
    let output = run_with_input(limit, 10, "false", &[], &input).unwrap();
    assert!(!output.success, "one that does not read does not hold us up");
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let start = Instant::now();
    let error = run_within(Duration::from_millis(300), "sh", &["-c", "sleep 98765 & sleep 98765"]).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    assert_eq!(error.to_string(), "sh did not end within 0 s and was killed");
}

#[test]
fn what_a_program_leaves_behind_in_its_group_does_not_outlive_it() {
    let start = Instant::now();
    let output = sh("sleep 98765 & echo $!");
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    let left = Pid::from_raw(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap());
    let mut attempts = 100;
    // Whoever adopts orphans has to reap it first; until then it is a zombie, not a running program.
    while is_running(left) && attempts > 0 {
        thread::sleep(Duration::from_millis(20));
        attempts -= 1;
    }
    assert!(!is_running(left));
}

#[test]
fn a_daemon_that_keeps_the_output_open_does_not_hold_us_up() {
    let start = Instant::now();
    let output = sh("setsid sleep 30 & echo started");
    assert_eq!(output.stdout, b"started\n");
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "looks at a process")]
fn is_running(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = run("hostwrit-no-such-program", &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot run hostwrit-no-such-program");
    assert!(matches!(error, HostError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound));
}
