// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::verify::{Verified, verify, verify_on_host};
use super::{Event, Head, LOG, Log, OutcomeResult};
use crate::host::RealHost;
use crate::model::{Action, Digest};

/// A host that has nothing but a log.
struct Host {
    _dir: tempfile::TempDir,
    host: RealHost,
    log: PathBuf,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = RealHost::open(dir.path()).unwrap();
        let log = dir.path().join(LOG.trim_start_matches('/'));
        Self { _dir: dir, host, log }
    }

    fn open(&self, remembered: Option<Head>) -> Log<'_> {
        Log::open(&self.host, remembered).unwrap()
    }

    fn text(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap_or_default()
    }

    fn put(&self, text: &[u8]) {
        fs::write(&self.log, text).unwrap();
    }

    /// Writes one entry of every event that an apply leaves, and returns the head.
    fn fill(&self) -> Head {
        let mut log = self.open(None);
        let (commit, plan) = ("ab".repeat(20), Digest::of(b"plan"));
        let object = "file:/etc/motd".parse().unwrap();
        log.append([
            Event::Accepted { commit: commit.clone(), signers: Vec::new(), policy_version: 1, root: None },
            Event::Planned { commit: commit.clone(), plan, cause: super::entry::Cause::Commit, steps: 1 },
            Event::Intent { plan, object, action: Action::Add, changes: Vec::new() },
        ])
        .unwrap();
        log.append([outcome(3), Event::Converged { commit }]).unwrap();
        log.head()
    }
}

fn outcome(intent: u64) -> Event {
    Event::Outcome { intent, result: OutcomeResult::Done, message: None }
}

fn converged() -> Event {
    Event::Converged { commit: "cd".repeat(20) }
}

fn problems(text: &[u8], head: Head) -> usize {
    verify_on_host(text, head.seq, &head.digest.to_string()).problems.len()
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn an_untouched_log_is_intact() {
    let host = Host::new();
    let head = host.fill();
    assert_eq!(problems(&host.text(), head), 0);
    assert_eq!(verify(&host.text()).entries, 5);
}

#[test]
fn every_changed_byte_is_found() {
    let host = Host::new();
    let head = host.fill();
    let text = host.text();
    for place in 0..text.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = text.clone();
            changed[place] ^= flip;
            assert!(problems(&changed, head) > 0, "byte {place} ^ {flip:#x}");
        }
    }
}

#[test]
fn every_removed_byte_is_found() {
    let host = Host::new();
    let head = host.fill();
    let text = host.text();
    for place in 0..text.len() {
        let mut changed = text.clone();
        changed.remove(place);
        assert!(problems(&changed, head) > 0, "byte {place}");
    }
}

#[test]
fn every_cut_is_found() {
    let host = Host::new();
    let head = host.fill();
    let text = host.text();
    for length in 0..text.len() {
        assert!(problems(&text[..length], head) > 0, "cut to {length} bytes");
    }
}

#[test]
fn a_cut_at_the_end_of_a_line_needs_the_remembered_head() {
    let host = Host::new();
    host.fill();
    let whole = lines(&host.text());
    assert_eq!(verify(&whole[..4].concat()).problems, []);
}

#[test]
fn removed_swapped_and_repeated_entries_are_found() {
    let host = Host::new();
    let head = host.fill();
    let whole = lines(&host.text());
    for one in 0..whole.len() {
        let mut removed = whole.clone();
        removed.remove(one);
        assert!(problems(&removed.concat(), head) > 0, "entry {one} removed");
        for other in 0..whole.len() {
            let mut repeated = whole.clone();
            repeated.insert(other, whole[one].clone());
            assert!(problems(&repeated.concat(), head) > 0, "entry {one} repeated at {other}");
            if one != other {
                let mut swapped = whole.clone();
                swapped.swap(one, other);
                assert!(problems(&swapped.concat(), head) > 0, "entries {one} and {other} swapped");
            }
        }
    }
}

#[test]
fn a_log_written_anew_with_as_many_entries_is_found() {
    let host = Host::new();
    let head = host.fill();
    let other = Host::new();
    let mut log = other.open(None);
    log.append((0..head.seq).map(|_| converged())).unwrap();
    assert_eq!(verify(&other.text()).problems, []);
    assert_eq!(problems(&other.text(), head), 1);
    let mut log = other.open(Some(head));
    log.append([converged()]).unwrap();
    let found: Vec<String> = verify(&other.text()).problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["line 6: hostwrit did not find entry 5 as it had left it: entries up to that one were removed or rewritten"]
    );
}

#[test]
fn the_next_run_goes_on_after_a_write_that_was_cut_off_anywhere() {
    let host = Host::new();
    host.fill();
    let text = host.text();
    let last = lines(&text).pop().unwrap().len();
    for length in (0..=20).chain(text.len() - last - 5..=text.len()) {
        host.put(&text[..length]);
        let mut log = host.open(None);
        log.append([converged()]).unwrap();
        let Verified { problems, recovered, .. } = verify(&host.text());
        assert_eq!(problems, [], "cut to {length} bytes");
        // An entry that lacks nothing but its newline is whole.
        let at = |place: usize| place == 0 || text[place - 1] == b'\n' || text.get(place) == Some(&b'\n');
        assert_eq!(recovered, u64::from(!at(length)), "cut to {length} bytes");
        assert!(super::log::read(&host.host).is_ok());
    }
}

#[test]
fn a_log_that_ends_as_it_was_left_is_opened_by_its_end_alone() {
    let host = Host::new();
    let head = host.fill();
    // What nobody would read on the way to the end: opening it the long way would not mind either, but verifying would.
    let mut text = vec![b'x'; 200 * 1024];
    text.push(b'\n');
    text.extend(host.text());
    host.put(&text);
    let mut log = host.open(Some(head));
    assert_eq!(log.head(), head);
    log.append([converged()]).unwrap();
    assert_eq!(log.head().seq, head.seq + 1);
    // Another entry after it, a longer one than is looked for at the end, or none of that number.
    assert_eq!(host.open(Some(head)).head().seq, head.seq + 1);
    let message = Some("m".repeat(100 * 1024));
    let mut log = host.open(None);
    log.append([Event::Outcome { intent: 3, result: OutcomeResult::Failed, message }]).unwrap();
    let long = log.head();
    assert_eq!(host.open(Some(long)).head(), long);
    assert!(!String::from_utf8(host.text()).unwrap().contains("\"event\":\"cut\""));
    let other = Head { digest: Digest::of(b"another"), ..long };
    assert_eq!(host.open(Some(other)).head().seq, long.seq + 1, "that it is another is written down");
}

#[test]
fn writes_cut_off_several_times_in_a_row_are_recovered_together() {
    let host = Host::new();
    let head = host.fill();
    for torn in [&b"{\"seq\":6,\"pr"[..], b"{\"seq\":6,\"pr\n{\"se", b"\n", b"\n\n{", b"{\n{\n{\n"] {
        let mut text = host.text();
        text.extend(torn);
        host.put(&text);
        host.open(Some(head)).append([converged()]).unwrap();
        assert_eq!(verify(&host.text()).problems, [], "{}", torn.escape_ascii());
    }
    assert_eq!(verify(&host.text()).recovered, 5);
}

#[test]
fn a_torn_write_that_no_entry_accounts_for_is_found() {
    let host = Host::new();
    host.fill();
    let mut text = host.text();
    text.extend(b"{\"seq\":6\n");
    host.put(&text);
    host.open(None);
    let mut whole = lines(&host.text());
    assert_eq!(verify(&whole.concat()).problems, []);
    whole[5] = b"{\"seq\":7\n".to_vec();
    assert_eq!(verify(&whole.concat()).problems.len(), 1);
    whole.remove(5);
    assert_eq!(verify(&whole.concat()).problems.len(), 1);
}

/// What happens to a log between two runs.
#[derive(Clone, Debug)]
enum Happening {
    Append(usize),
    Open,
    /// So many bytes of the end are lost.
    Lose(usize),
    /// A part of a write got through.
    Tear(Vec<u8>),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (1..4_usize).prop_map(Happening::Append),
        Just(Happening::Open),
        (1..300_usize).prop_map(Happening::Lose),
        proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 1..20).prop_map(Happening::Tear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Writer and verifier share no code; this is where they must agree.
    #[test]
    fn what_the_writer_leaves_the_verifier_accepts(happenings in proptest::collection::vec(happening(), 1..12)) {
        let host = Host::new();
        let mut remembered = host.fill();
        for happening in happenings {
            let text = host.text();
            match happening {
                Happening::Append(count) => {
                    let mut log = host.open(Some(remembered));
                    log.append((0..count).map(|_| converged())).unwrap();
                    remembered = log.head();
                }
                Happening::Open => remembered = host.open(Some(remembered)).head(),
                Happening::Lose(bytes) => {
                    host.put(&text[..text.len().saturating_sub(bytes)]);
                    let left = host.text();
                    let kept = left.split(|&byte| byte == b'\n').any(|line| Digest::of(line) == remembered.digest);
                    remembered = host.open(Some(remembered)).head();
                    let added = String::from_utf8_lossy(&host.text()[left.len()..]).into_owned();
                    prop_assert_eq!(added.contains("\"event\":\"cut\""), !kept, "{}", added);
                }
                Happening::Tear(bytes) => host.put(&[text, bytes].concat()),
            }
        }
        host.open(Some(remembered));
        let verified = verify(&host.text());
        // Nothing is wrong but what was really lost.
        let real = verified.problems.iter().filter(|problem| !problem.what.contains("did not find entry")).count();
        prop_assert_eq!(real, 0, "{:?}\n{}", verified.problems, String::from_utf8_lossy(&host.text()));
    }
}
