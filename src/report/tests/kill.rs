// SPDX-License-Identifier: Apache-2.0
//! A process that is killed loses nothing that it took, and sends again what it does not know to have arrived.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::server::Act;
use super::*;

/// What the child is to do, and the directory and reports to do it with.
const TASK: [&str; 3] = ["HOSTWRIT_TEST_TASK", "HOSTWRIT_TEST_DIR", "HOSTWRIT_TEST_REPORTS"];

/// Not a test: what runs in the process that is killed.
#[expect(clippy::print_stdout, reason = "tells the test how far it is")]
#[test]
fn child() {
    let [Ok(task), Ok(dir), Ok(reports)] = TASK.map(std::env::var) else { return };
    let (spool, mut shipper) = open(Path::new(&dir), &outlets(&reports).unwrap(), Caps::default());
    match task.as_str() {
        "ship" => drop(shipper.run_once(now())),
        _ => {
            for number in 0.. {
                spool
                    .push_all(&[entry(Kind::Drift, &format!("{number}a")), entry(Kind::Drift, &format!("{number}b"))])
                    .unwrap();
                println!("took {number}");
            }
        }
    }
}

pub fn command(task: &str, post: &Closed, reports: &str) -> Command {
    let dir = post.dir.path().to_str().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "report::tests::kill::child", "--nocapture"])
        .envs(TASK.into_iter().zip([task, dir, reports]))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
fn killed_between_sending_and_noting_it_the_same_entry_is_sent_again() {
    // The first request is answered so late that the sender cannot have noted anything.
    let server = Server::scripted(&[Act::After(Duration::from_secs(20)), Act::status(200)]);
    let reports = webhook(&server).replace("2s", "30s");
    let post = Post::of(&reports);
    post.push(Kind::Drift, "a");
    let post = post.close();
    let mut child = command("ship", &post, &reports).spawn().unwrap();
    let start = Instant::now();
    while server.received().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the child has not sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut post = post.open();
    assert_eq!(post.spool.waiting(), 1);
    assert_eq!(post.ship().sent(), 1);
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body, "a receiver can tell that it is the same");
    assert_eq!(post.again().spool.waiting(), 0);
}

#[test]
fn killed_while_it_stores_nothing_that_was_taken_is_missing_and_nothing_is_half_there() {
    let server = Server::start();
    let reports = webhook(&server);
    for pause in [0, 3, 8, 15] {
        let post = Post::of(&reports).close();
        let mut child = command("store", &post, &reports).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let mut took = lines.by_ref().filter_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok());
        took.by_ref().find(|number| *number >= 3).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = took.last().unwrap_or(3);
        let mut post = post.open();
        let waiting = post.spool.waiting();
        assert!(waiting >= 2 * (last + 1) && waiting.is_multiple_of(2), "{waiting} of {last}");
        let before = messages(&server).concat().len();
        post.ship();
        let arrived = messages(&server).concat().split_off(before);
        let wanted: Vec<String> =
            (0..waiting / 2).flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect();
        assert_eq!(arrived, wanted);
    }
}
