// SPDX-License-Identifier: Apache-2.0
//! Faults at exact moments: `kill -9` at the writes of an apply, one after the other, and a log that cannot be written.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::infra::Signer;
use crate::lab::Lab;
use crate::site::{Site, WEB1};

/// The system calls that change something that lasts, or make it last. `?`: not every processor has it.
pub(super) const WRITES: &str = "write,pwrite64,ftruncate,fallocate,fsync,fdatasync,?rename,?renameat,renameat2,?unlink,unlinkat,\
                      ?link,linkat,?symlink,symlinkat,?mkdir,mkdirat,fchown,fchownat,fchmod,fchmodat";

/// How many places are tried unless HOSTWRIT_HOST_TESTS=full asks for all.
const PLACES: usize = 24;

/// A system call of the apply, by its name and how many of that name there were: what strace calls `when=`.
type Place = (String, usize);

pub(super) const LEFT_BEHIND: &str = "find /etc /home /var/lib/hostwrit -name '*hostwrit-new*' -o -name '*+' \\
    -o -name '*.lock' -not -name .pwd.lock";

/// After a kill at any write, a normal run ends in the declared state with an intact log and sound account files.
pub fn kill_at_each_write(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    // Debian's own system users have homes that do not exist; only what comes on top counts.
    let mut accounts_before = accounts(&site);
    let places = places(&site);
    assert!(places.len() > 20, "an apply that changes all kinds makes more writes than {places:?}");
    let rounds = rounds(places);
    let mut killed = 0;
    let mut faults = Vec::new();
    for (round, (call, nth)) in rounds.iter().enumerate() {
        order(&site, if round % 2 == 0 { Variant::Small } else { Variant::Large });
        // Fetched beforehand in every other pair of rounds, so that the writes of the fetch do not come first always.
        if round % 4 < 2 {
            site.plan().exits(3);
        }
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let run = site.web1.run(&["sh", "-c", STRACE, "sh", &format!("trace={call}"), &inject]);
        killed += usize::from(run.stdout.contains("ended with 137"));

        let mut demand = |holds: bool, what: &str, seen: &dyn Display| {
            if !holds {
                faults.push(format!("killed at {call} number {nth}: {what}:\n{seen}"));
            }
        };
        let apply = site.apply();
        demand(apply.code == 0, "the next run does not converge", &apply);
        let plan = site.plan();
        demand(plan.code == 0, "the plan is not empty", &plan);
        let verify = site.hostwrit(&["audit", "verify"]);
        demand(verify.code == 0, "the log is not intact", &verify);
        let accounts_now = accounts(&site);
        demand(accounts_now == accounts_before, "the account files are not sound", &accounts_now);
        accounts_before = accounts_now;
        let left = site.web1.sh(LEFT_BEHIND);
        demand(left.text().is_empty(), "something is left behind", &left);
    }
    assert!(faults.is_empty(), "{} faults in {} rounds:\n{}", faults.len(), rounds.len(), faults.join("\n\n"));
    assert!(killed * 2 > rounds.len(), "only {killed} of {} runs were killed", rounds.len());
}

/// Returns the places to try, in order. Rounds go from one variant to the other and back by turns.
fn rounds(places: Vec<Place>) -> Vec<Place> {
    if std::env::var("HOSTWRIT_HOST_TESTS").is_ok_and(|value| value == "full") {
        // Each place both ways.
        return places.into_iter().flat_map(|place| [place.clone(), place]).collect();
    }
    // A rename is where a change takes effect, so none is left out.
    let (renames, others): (Vec<Place>, Vec<Place>) =
        places.into_iter().partition(|(call, _)| call.starts_with("rename"));
    let stride = others.len().div_ceil(PLACES);
    renames.into_iter().flat_map(|place| [place.clone(), place]).chain(others.into_iter().step_by(stride)).collect()
}

/// While the audit log cannot be written, nothing else is either.
pub fn no_log_no_change(lab: &Lab<'_>) {
    const LOG: &str = "/var/log/hostwrit/audit/log.jsonl";
    let site = Site::converged(lab);
    order(&site, Variant::Small);
    let deploy = site.web1.run(&["getent", "passwd", "deploy"]).ok();
    for (call, error) in [("write", "ENOSPC"), ("write", "EROFS"), ("fsync,fdatasync", "EIO")] {
        let inject = format!("inject={call}:error={error}");
        let script = format!("strace -f -qq -o /dev/null -P {LOG} -e trace={call} -e {inject} hostwrit apply");
        site.web1.sh(&script).exits(1).says(LOG);
        assert_eq!(site.motd(), "The first order.", "{call} {error}");
        assert_eq!(site.web1.run(&["getent", "passwd", "deploy"]).ok().text(), deploy.text(), "{call} {error}");
        site.plan().exits(3);
    }
    site.apply().ok();
    assert_eq!(site.motd(), "Small.");
    site.demand_convergence();
}

/// Runs an apply under strace, with what it traces as `$1` and what it injects as `$2`.
pub(super) const STRACE: &str =
    "strace -f -qq -o /tmp/trace -e \"$1\" ${2:+-e \"$2\"} hostwrit apply; echo \"ended with $?\"";

#[derive(Clone, Copy)]
enum Variant {
    Large,
    Small,
}

/// Changes objects of all kinds, so that going from one variant to the other adds, alters and removes.
fn order(site: &Site<'_>, variant: Variant) {
    const LARGE: &str = "  guest: {uid: 4010, groups: [shop], ssh_keys: [], sudo: \"ALL=(root) NOPASSWD: /bin/true\"}
files:
  /etc/hello/extra.conf: {content: \"extra\\n\"}
";
    let large = |from: &str, to: &str| site.infra.replace(WEB1, from, to);
    match variant {
        Variant::Small => {
            large("greeting: hello", "greeting: good day");
            large("/bin/bash", "/bin/sh");
            large("LimitNOFILE=4096", "LimitNOFILE=2048");
            site.order_motd("Small.");
        }
        Variant::Large => {
            large("greeting: good day", "greeting: hello");
            large("/bin/sh", "/bin/bash");
            large("LimitNOFILE=2048", "LimitNOFILE=4096");
            site.order_motd("Large.");
        }
    }
    match variant {
        Variant::Large => large("files:\n", LARGE),
        Variant::Small if site.infra.read(WEB1).contains(LARGE) => large(LARGE, "files:\n"),
        Variant::Small => {}
    }
    site.infra.publish("the other variant", Signer::Alice);
}

/// Goes to the small variant and back under strace, and returns the writes of the way back. Ends in the large one.
fn places(site: &Site<'_>) -> Vec<Place> {
    order(site, Variant::Small);
    site.apply().ok();
    order(site, Variant::Large);
    site.web1.run(&["sh", "-c", STRACE, "sh", &format!("trace={WRITES}")]).ok().says("ended with 0");
    let trace = site.web1.read("/tmp/trace").expect("strace wrote it");
    let mut places = Vec::new();
    for Call { name, nth, .. } in calls(&trace) {
        let place = (name.to_owned(), nth);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// A system call in a trace.
#[derive(Clone, Debug)]
pub(super) struct Call<'t> {
    pub(super) name: &'t str,
    /// How many of that name its thread has made: what strace calls `when=`.
    pub(super) nth: usize,
    pub(super) line: &'t str,
}

/// Reads what `strace -f` has written, in order.
pub(super) fn calls(trace: &str) -> Vec<Call<'_>> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    // A line is `PID CALL(ARGUMENTS`; strace counts for each thread and each system call by itself.
    for line in trace.lines().filter(|line| !line.contains("resumed>")) {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        calls.push(Call { name, nth: *count, line });
    }
    calls
}

/// Returns what pwck and grpck find.
fn accounts(site: &Site<'_>) -> String {
    site.web1.sh("pwck -rq 2>&1; grpck -r 2>&1; true").stdout
}
