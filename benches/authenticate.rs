// SPDX-License-Identifier: Apache-2.0
//! What it costs to authenticate a chain of signed commits, beside the bare signature checks and the peers.
//!
//! Cold is from the root; warm is one new commit on top of a pin. The bound does nothing but the mathematics: the same
//! payloads, signatures and keys, parsed already, on all cores. Each proof has a process of its own, for sequoia remembers
//! the signatures that a process has verified; what a process does once, whatever it proves, is done before. All is measured in the same run, several times in turn; what is printed is the
//! median. `make bench`; `HOSTWRIT_BENCH_CHAINS=100,1000` leaves out the longest chain.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures from outside")]

#[path = "authenticate/chain.rs"]
mod chain;
#[path = "authenticate/peers.rs"]
mod peers;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use hostwrit::model::git::Oid;
use hostwrit::source::{HashKind, Limits, Mirror};
use hostwrit::trust::{Anchor, Cache, Revocations, authenticate};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use chain::{Chain, Scheme};

const ROUNDS: usize = 5;
/// Tells a process of this program to prove one chain and to print what that took.
const PROVE: &str = "prove-chain";
/// `git log` starts two programs a commit, which takes minutes for a long chain.
const LONGEST_FOR_GIT: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == PROVE) {
        return prove(&arguments[at + 1..]);
    }
    let sizes = std::env::var("HOSTWRIT_BENCH_CHAINS").unwrap_or_else(|_| "100,1000,10000".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.trim().parse().expect("numbers with commas")).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "authenticating a chain of N commits, cold from the root; milliseconds of wall time (of the processor) on {cores} cores"
    );
    println!(
        "{:>16} {:>6}  {:>17}  {:>17}  {:>6}  {:>9}  {:>17}  {:>17}",
        "", "N", "bound", "authenticate", "ratio", "one new", "sq-git log", "git log %G?"
    );
    for scheme in [Scheme::OpenPgpEd25519, Scheme::Ssh, Scheme::OpenPgpRsa4096] {
        for &size in &sizes {
            let chain = Chain::new(scheme, size);
            let rounds = if size > 1_000 { 3 } else { ROUNDS };
            let (mut bounds, mut colds, mut warms, mut sqs) = (vec![], vec![], vec![], vec![]);
            for _ in 0..rounds {
                bounds.push(spent(UsageWho::RUSAGE_SELF, || chain.bare_checks(cores)));
                let [cold, warm] = in_a_process_of_its_own(&chain);
                colds.push(cold);
                warms.push(warm);
                sqs.extend(
                    peers::sq_git(&chain).map(|mut log| spent(UsageWho::RUSAGE_CHILDREN, || peers::run(&mut log))),
                );
            }
            let git = (size <= LONGEST_FOR_GIT).then(|| peers::git_log(&chain)).flatten();
            let git = git.map(|mut log| spent(UsageWho::RUSAGE_CHILDREN, || peers::run(&mut log)));
            let (bound, cold) = (median(bounds), median(colds));
            println!(
                "{scheme:>16} {size:>6}  {:>17}  {:>17}  {:>6.2}  {:>9.2}  {:>17}  {:>17}",
                show(Some(bound)),
                show(Some(cold)),
                cold.wall.as_secs_f64() / bound.wall.as_secs_f64(),
                ms(median(warms).wall),
                show((!sqs.is_empty()).then(|| median(sqs))),
                show(git),
            );
        }
    }
    println!(
        "sq-git reads keys and rights from each parent, as authenticate does; git asks only whether a key of the key ring signed."
    );
}

/// What something took. Ordered by wall time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

fn spent(who: UsageWho, work: impl FnOnce()) -> Spent {
    let used = || {
        let usage = getrusage(who).unwrap();
        Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds().try_into().unwrap())
    };
    let (before, start) = (used(), Instant::now());
    work();
    Spent { wall: start.elapsed(), cpu: used() - before }
}

fn show(spent: Option<Spent>) -> String {
    spent.map_or("-".to_owned(), |spent| format!("{:.1} ({:.1})", ms(spent.wall), ms(spent.cpu)))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort();
    values[values.len() / 2]
}

/// Returns what it took to prove the chain from the root, and then one new commit.
fn in_a_process_of_its_own(chain: &Chain) -> [Spent; 2] {
    let [cold, warm] = [chain.tip(), chain.before_tip()].map(|last| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let ids = [&chain.anchor().root, last, chain.tip()].map(ToString::to_string);
        command.arg(PROVE).arg(chain.path()).args(ids).arg(chain.anchor().signers[0].to_string());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    let read = |line: Option<&str>| {
        let numbers: Vec<u64> = line.unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        Spent { wall: Duration::from_nanos(numbers[0]), cpu: Duration::from_nanos(numbers[1]) }
    };
    [read(cold.lines().next()), read(warm.lines().nth(1))]
}

/// As a host does it: from the root to `last` without a pin and knowing nothing, and then, with that as the pin and the cache
/// that was kept, to the tip. Opening the store is start-up, and not counted.
fn prove(arguments: &[String]) {
    let [path, root, last, tip, signer] = arguments else { panic!("{arguments:?}") };
    let [root, last, tip] = [root, last, tip].map(|id| id.parse::<Oid>().unwrap());
    let anchor = Anchor {
        fleet: chain::FLEET.to_owned(),
        git_ref: chain::REF.to_owned(),
        root,
        signers: vec![signer.parse().unwrap()],
        revoked: Revocations::default(),
    };
    let open = || Mirror::open(Path::new(path), HashKind::Sha1, Limits::default()).unwrap();
    let mut cache = Cache::default();
    let show = |spent: Spent| println!("{} {}", spent.wall.as_nanos(), spent.cpu.as_nanos());
    // The bound's process is warm too: OpenSSL has read its configuration, and the program is in memory.
    authenticate(&open(), &anchor, None, &root, SystemTime::now(), &mut Cache::default()).unwrap();
    let mirror = open();
    show(spent(UsageWho::RUSAGE_SELF, || {
        let tree = authenticate(&mirror, &anchor, None, &last, SystemTime::now(), &mut cache).unwrap();
        assert!(!tree.signers().is_empty());
    }));
    let mirror = open();
    show(spent(UsageWho::RUSAGE_SELF, || {
        let tree = authenticate(&mirror, &anchor, Some(&last), &tip, SystemTime::now(), &mut cache).unwrap();
        assert_eq!(tree.signers().len(), usize::from(last != tip));
    }));
}
