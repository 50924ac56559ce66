// SPDX-License-Identifier: Apache-2.0
//! The three copies of the pin: whatever is lost or put back from a backup, old commits stay refused.

use std::os::unix::fs::PermissionsExt as _;

use hostwrit::engine::pin::COPY;
use hostwrit::model::git::Oid;

use super::site::Site;

const STATE: &str = "/var/lib/hostwrit/state.json";
const LOG: &str = hostwrit::audit::LOG;

fn motd(text: &str) -> String {
    format!("files:\n  /etc/motd: {{content: \"{text}\\n\"}}\n")
}

/// A host that accepted three commits, one after the other, and what it remembered after each.
struct Past {
    site: Site,
    commits: Vec<Oid>,
    states: Vec<String>,
    logs: Vec<String>,
}

fn past() -> Past {
    let site = Site::new(&[("hosts/web1.yaml", &motd("one"))]);
    let mut past = Past { site, commits: Vec::new(), states: Vec::new(), logs: Vec::new() };
    for text in ["one", "two", "three"] {
        if text != "one" {
            past.site.host_file(&motd(text));
        }
        past.site.converge();
        past.commits.push(past.site.repo.id("HEAD"));
        past.states.push(past.site.get(STATE).unwrap());
        past.logs.push(past.site.log());
    }
    past
}

impl Past {
    /// Lets the remote go back to an earlier commit, and demands that the host does not follow.
    fn refuses(&self, number: usize) {
        self.site.repo.git(&["reset", "--quiet", "--hard", &self.commits[number].to_string()]);
        let applied = self.site.run(&["apply"]);
        assert_eq!(applied.code, 4, "{applied:?}");
        assert_eq!(self.site.get("/etc/motd").unwrap(), "three\n");
    }

    fn copy(&self) -> String {
        self.site.get(COPY).unwrap()
    }
}

#[test]
fn the_copy_in_etc_is_one_line_that_all_may_read() {
    let past = past();
    assert_eq!(past.copy(), format!("{}\n", past.commits[2]));
    let mode = std::fs::metadata(past.site.path(COPY)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}

#[test]
fn state_and_log_are_lost() {
    let past = past();
    std::fs::remove_file(past.site.path(STATE)).unwrap();
    std::fs::remove_file(past.site.path(LOG)).unwrap();
    past.refuses(1);
    assert_eq!(past.copy(), format!("{}\n", past.commits[2]));
}

#[test]
fn state_log_and_mirror_are_lost() {
    let past = past();
    std::fs::remove_dir_all(past.site.path("/var/lib/hostwrit")).unwrap();
    std::fs::remove_file(past.site.path(LOG)).unwrap();
    past.refuses(1);
    // With the remote back where it was, all is well again.
    past.site.repo.git(&["reset", "--quiet", "--hard", &past.commits[2].to_string()]);
    past.site.converge();
}

#[test]
fn an_old_state_comes_from_a_backup() {
    let past = past();
    past.site.put(STATE, &past.states[0]);
    past.refuses(1);
}

#[test]
fn an_old_state_comes_from_a_backup_and_the_log_is_lost() {
    let past = past();
    past.site.put(STATE, &past.states[0]);
    std::fs::remove_file(past.site.path(LOG)).unwrap();
    past.refuses(1);
}

#[test]
fn old_state_and_log_that_fit_each_other_come_from_a_backup() {
    let past = past();
    past.site.put(STATE, &past.states[0]);
    past.site.put(LOG, &past.logs[0]);
    past.refuses(1);
    past.refuses(0);
}

#[test]
fn an_old_copy_in_etc_comes_from_a_backup_and_is_brought_up_to_date() {
    let past = past();
    past.site.put(COPY, &format!("{}\n", past.commits[0]));
    past.site.converge();
    assert_eq!(past.copy(), format!("{}\n", past.commits[2]));
    std::fs::remove_file(past.site.path(COPY)).unwrap();
    past.site.converge();
    assert_eq!(past.copy(), format!("{}\n", past.commits[2]));
}

/// Demands that nothing new is accepted, that drift is repaired, and that no copy is changed to fit another.
fn conflicts(past: &Past, copy: &str) {
    past.site.put(COPY, copy);
    past.site.put("/etc/motd", "drift\n");
    past.site.host_file(&motd("four"));
    for _ in 0..2 {
        let applied = past.site.run(&["apply"]);
        assert_eq!(applied.code, 4, "{applied:?}");
    }
    assert_eq!(past.site.get("/etc/motd").unwrap(), "three\n");
    assert_eq!(past.copy(), copy);
    let status = past.site.run(&["status"]);
    assert!(status.stdout.contains("[pin-conflict]"), "{status:?}");
    assert_eq!(past.site.events("refused"), 1, "it is recorded once");
    // When the copies agree again, so does the host.
    past.site.put(COPY, &format!("{}\n", past.commits[2]));
    past.site.converge();
    assert_eq!(past.site.get("/etc/motd").unwrap(), "four\n");
}

#[test]
fn copies_that_do_not_line_up_stop_all_that_is_new() {
    let past = past();
    past.site.repo.git(&["checkout", "--quiet", "-b", "other", &past.commits[1].to_string()]);
    let other = past.site.host_file(&motd("other"));
    past.site.repo.git(&["checkout", "--quiet", "main"]);
    conflicts(&past, &format!("{other}\n"));
}

#[test]
fn a_copy_that_cannot_be_read_stops_all_that_is_new() {
    for copy in ["", "three\n", "0123\n"] {
        conflicts(&past(), copy);
    }
}

#[test]
fn a_copy_that_cannot_be_written_is_told_and_the_work_is_done_all_the_same() {
    let past = past();
    std::fs::remove_file(past.site.path(COPY)).unwrap();
    std::fs::create_dir_all(past.site.path(COPY).with_file_name(".pin.hostwrit-new").join("in-the-way")).unwrap();
    past.site.put("/etc/motd", "drift\n");
    let applied = past.site.run(&["apply"]);
    assert_eq!(applied.code, 1, "{applied:?}");
    assert!(applied.stderr.contains(COPY), "{applied:?}");
    assert_eq!(past.site.get("/etc/motd").unwrap(), "three\n");
}
