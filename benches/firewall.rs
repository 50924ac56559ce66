// SPDX-License-Identifier: Apache-2.0
//! What 1,000 ports and a block list of 100,000 networks cost, beside nft itself with the same ruleset in the same run.
//!
//! In a network namespace of its own, with an empty /var/lib of its own: nothing of the machine is touched. Needs root and
//! nft. `make bench`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures from outside")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwrit::host::{ReadHost, RealHost};
use hostwrit::model::{Declared, Location, Mode, Origin, Owned};
use hostwrit::resources::blocklist::{self, Blocklist};
use hostwrit::resources::firewall::{Network, Owner, Place};
use hostwrit::resources::port::{self, Port};
use hostwrit::resources::{Contents, Resource};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

const PORTS: u32 = 1_000;
const NETWORKS: u32 = 100_000;
const INSIDE: &str = "--inside";
const LIST: [&str; 3] = ["--json", "list", "ruleset"];

fn main() {
    if std::env::args().any(|word| word == INSIDE) {
        return inside();
    }
    let script = format!("mount -t tmpfs none /var/lib && exec \"$0\" {INSIDE}");
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", &script]).arg(program);
    match command.status() {
        Ok(status) if status.success() => {}
        status => {
            assert!(std::env::var_os("CI").is_none(), "unshare and nft must work under CI, as root: {status:?}");
            println!("SKIP: unshare and nft need root ({status:?})");
        }
    }
}

struct Repo {
    list: Arc<[u8]>,
}

impl Contents for Repo {
    fn source(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Ok(Arc::clone(&self.list))
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        Err(place.to_string())
    }
}

/// Networks that neither overlap nor touch, the first of which is another one in each list.
fn list(first: u8) -> Repo {
    let mut text = format!("198.51.{first}.0/24\n");
    for number in 1..NETWORKS {
        let address = Ipv4Addr::from(0x0b00_0000 + number * 512);
        let length = if number.is_multiple_of(2) { 32 } else { 24 };
        writeln!(text, "{address}/{length}").unwrap();
    }
    Repo { list: text.into_bytes().into() }
}

fn declared<R: Resource>(name: &str, spec: R::Spec, repo: &Repo) -> Declared<R::Desired> {
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    let want = Some(R::resolve(name, spec, &origin, repo).unwrap());
    Declared { name: name.to_owned(), mode: Mode::Enforce, want, origin }
}

fn ports(repo: &Repo) -> Vec<Declared<<Port as Resource>::Desired>> {
    let spec = |number: u32| port::Spec {
        from: number.is_multiple_of(2).then(|| vec!["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()]),
        rate: number.is_multiple_of(10).then(|| "60/minute".to_owned()),
        ..port::Spec::default()
    };
    (0..PORTS).map(|number| declared::<Port>(&format!("{}/tcp", 1000 + number * 2), spec(number), repo)).collect()
}

fn lists(repo: &Repo) -> Vec<Declared<<Blocklist as Resource>::Desired>> {
    let spec = blocklist::Spec { file: Some("list".to_owned()), ..blocklist::Spec::default() };
    vec![declared::<Blocklist>("list", spec, repo)]
}

/// Carries out what is to be done; returns how many steps that were.
fn converge<R: Resource>(desired: &[Declared<R::Desired>], host: &RealHost) -> usize {
    let observed = R::observe(desired, &Owned::default(), host).unwrap();
    let steps = R::diff(desired, &observed, &Owned::default());
    steps.iter().for_each(|step| R::apply(&step.operation, host).unwrap());
    steps.len()
}

struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// Measures the best of some runs, with the processes that they start.
fn best(runs: usize, mut work: impl FnMut(usize)) -> Cost {
    let costs = (0..runs).map(|run| {
        let (cpu, wall) = (cpu(), Instant::now());
        work(run);
        Cost { wall: wall.elapsed(), cpu: self::cpu() - cpu }
    });
    costs.min_by_key(|cost| cost.cpu).unwrap()
}

fn cpu() -> Duration {
    let of = |usage: Usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let used = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| of(getrusage(who).unwrap()));
    Duration::from_micros(used.iter().sum::<i64>().try_into().unwrap())
}

fn nft(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("nft").args(arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}");
    output.stdout
}

fn show(what: &str, cost: &Cost, peer: Option<(&str, &Cost)>) {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let (wall, cpu) = (milliseconds(cost.wall), milliseconds(cost.cpu));
    let ratio = peer.map(|(name, peer)| format!("{:>8.4}  of the CPU of {name}", cpu / milliseconds(peer.cpu)));
    println!("{what:<58}  {wall:>9.2}  {cpu:>9.2}  {}", ratio.unwrap_or_default());
}

fn inside() {
    let host = RealHost::open(Path::new("/")).unwrap();
    let repos = [list(100), list(102)];
    let (ports, lists) = (ports(&repos[0]), [lists(&repos[0]), lists(&repos[1])]);
    println!("{PORTS} ports and a block list of {NETWORKS} networks; the best of some runs");
    println!("{:<58}  {:>9}  {:>9}", "", "wall ms", "CPU ms");

    let read = best(3, |_| drop(self::lists(&repos[0])));
    let first = best(1, |_| assert_eq!(converge::<Blocklist>(&lists[0], &host), 1));
    let first_ports = best(1, |_| assert_eq!(converge::<Port>(&ports, &host), PORTS as usize));
    fs::write("/var/lib/all.nft", nft(&["list", "ruleset"])).unwrap();
    // The same by itself, as somebody would do it by hand: one file, one transaction.
    let text = fs::read_to_string("/var/lib/all.nft").unwrap();
    fs::write("/var/lib/replace.nft", format!("table inet hostwrit\ndelete table inet hostwrit\n{text}")).unwrap();

    let list_ruleset = best(3, |_| drop(nft(&LIST)));
    let agreement = best(50, |_| {
        host.ruleset_generation().unwrap();
        [Owner::Ports, Owner::Blocklists].iter().for_each(|owner| drop(host.read(&owner.kept()).unwrap()));
    });
    let observe = best(3, |_| {
        // As between two cycles.
        host.forget_ruleset();
        assert_eq!(converge::<Port>(&ports, &host), 0);
        assert_eq!(converge::<Blocklist>(&lists[0], &host), 0);
    });
    let outline = best(3, |_| assert_eq!(converge::<Port>(&ports, &host), 0));
    let replace = best(4, |run| {
        host.forget_ruleset();
        assert_eq!(converge::<Blocklist>(&lists[(run + 1) % 2], &host), 1);
    });
    let again = best(3, |_| {
        host.forget_ruleset();
        assert_eq!(converge::<Blocklist>(&lists[0], &host), 0);
    });
    let by_hand = best(3, |_| drop(nft(&["--file", "/var/lib/replace.nft"])));

    let by_list = Some(("nft -j list ruleset", &list_ruleset));
    let by_load = Some(("nft -f of all of it", &by_hand));
    show("nft -j list ruleset", &list_ruleset, None);
    show("nft -f of all of it, in place of what was there", &by_hand, None);
    show("reading the list from the repo", &read, by_load);
    show("no change: generation, and what is kept for the boot", &agreement, by_list);
    show("no change: all observed and compared", &observe, by_list);
    show("no change: ports alone observed and compared", &outline, by_list);
    show("the block list loaded first: look, load, keep", &first, by_load);
    show("the ports loaded first: look, load, keep", &first_ports, by_load);
    show("the block list replaced: look, load, keep", &replace, by_load);
    show("the block list looked at once more, as after that", &again, by_load);
}
