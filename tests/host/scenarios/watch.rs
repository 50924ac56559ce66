// SPDX-License-Identifier: Apache-2.0
//! The daemon sees drift as it happens: nothing waits for a pull or a full check.

use std::time::Duration;

use crate::fleet::{start_units, status};
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::process::Output;
use crate::scenarios::drift::DRIFTS;
use crate::site::{Site, WEB1, configure};

const UNIT: &str = "[Service]
Type=exec
ExecStart=/usr/bin/hostwrit daemon
";

/// A fight is told after some rounds, which come ever less often.
const LATE: Duration = Duration::from_secs(240);

/// So often, and no oftener, is one object changed before the daemon would take it for a fight.
const ROUNDS: usize = 4;

/// Prints how many milliseconds after the change the host is as declared.
const MEASURE: &str = r#"
started=$(date +%s%3N)
{ CHANGE; } >/dev/null
for round in $(seq 1000); do
    if [ "$(LOOK)" = "$WANTED" ]; then echo $(($(date +%s%3N) - started)); exit 0; fi
    sleep 0.01
done
echo "is still: $(LOOK)"; exit 1
"#;

/// Starts the daemon anew, which forgets what was fought over, and waits until it watches.
fn start(web1: &Machine<'_>) {
    web1.sh("systemctl stop hostwrit; rm -f /run/hostwrit/status.json; systemctl start hostwrit").ok();
    eventually("the first cycle ends", || web1.exists("/run/hostwrit/status.json"));
    // The bus is asked for the units after that.
    std::thread::sleep(std::time::Duration::from_millis(700));
}

/// Lets systemd start the daemon of a host that agrees, whose next pull is an hour away.
pub fn start_first(site: &Site<'_>) {
    configure(&site.web1, &site.infra, site.remote.url(), "1h");
    site.web1.write("/etc/systemd/system/hostwrit.service", UNIT);
    site.web1.sh("systemctl daemon-reload").ok();
    start(&site.web1);
}

fn measure(web1: &Machine<'_>, change: &str, look: &str, wanted: &str) -> Output {
    let script = MEASURE.replace("CHANGE", change).replace("LOOK", look);
    web1.sh(&format!("WANTED='{wanted}'\n{script}"))
}

/// Each kind of drift is put right within seconds by a daemon whose next pull is an hour away, with the remote gone.
pub fn is_seen(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let web1 = &site.web1;
    configure(web1, &site.infra, site.remote.url(), "1h");
    web1.write("/etc/systemd/system/hostwrit.service", UNIT);
    web1.sh("systemctl daemon-reload").ok();
    web1.unplug();
    let mut faults = Vec::new();
    for (number, (change, object, look, wanted)) in DRIFTS.iter().enumerate() {
        if number % ROUNDS == 0 {
            start(web1);
        }
        let repairs = || {
            web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default().matches("\"cause\":\"drift\"").count()
        };
        let before = repairs();
        let measured = measure(web1, change, look, wanted);
        println!("{:>8} ms  {object}: {change}", measured.text());
        if measured.code != 0 || repairs() == before {
            faults.push(format!("{change}: not put right by itself, wanted {wanted}:\n{measured}"));
        }
    }
    assert!(faults.is_empty(), "{} of {} drifts:\n{}", faults.len(), DRIFTS.len(), faults.join("\n\n"));
    web1.run(&["systemctl", "stop", "hostwrit"]).ok();
    web1.plug();
    site.demand_convergence();
}

/// What changes a file, a user and a unit, as fast as they are put right.
const FIGHTER: &str = "while :; do echo x >/etc/motd; echo x >/etc/audited; usermod -s /bin/sh deploy; systemctl stop hello; sleep 1; done";

/// What changes a file that it names nowhere in its arguments, and has it open for most of the time.
const WRITER: &str = "while :; do exec 3>/etc/written; echo x >&3; sleep 1; done\n";

const FOUGHT: &str = "files:
  /etc/written: {content: \"as declared\\n\", owner: nobody}
  /etc/audited: {content: \"as declared\\n\"}
";

/// What auditd writes of one change.
const AUDITED: &str = "\
type=SYSCALL msg=audit(1700000000.123:7): arch=c000003e syscall=257 success=yes exit=3 ppid=1 pid=812 auid=1000 uid=0 gid=0 \
comm=\"vi\" exe=\"/usr/bin/vi\" key=\"audited\"
type=PATH msg=audit(1700000000.123:7): item=1 name=\"/etc/audited\" inode=2 nametype=NORMAL
";

/// Of what is fought over, the status says who does it: by auditd's log, the journal, a process that has the file open, or the arguments
/// of one that lives. The steward is confined as the package has it.
pub fn names_who_fights(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let web1 = &site.web1;
    site.infra.write("profiles/fought.yaml", FOUGHT);
    site.infra.replace(WEB1, "profiles: [base]", "profiles: [base, fought]");
    site.infra.publish("what is fought over", Signer::Alice);
    site.apply().ok();
    configure(web1, &site.infra, site.remote.url(), "1h");
    start_units(web1);
    within(LATE, "the first cycle ends", || status(web1)["health"] == "converged");
    // There is one audit daemon for a kernel, so none here; its log is what it would be.
    web1.write("/var/log/audit/audit.log", AUDITED);
    web1.run(&["chmod", "-R", "go=", "/var/log/audit"]).ok();
    web1.write("/usr/local/bin/writer", WRITER);
    web1.run(&["systemd-run", "--unit=fighter", "sh", "-c", FIGHTER]).ok();
    web1.run(&["systemd-run", "--unit=writer", "--uid=nobody", "sh", "/usr/local/bin/writer"]).ok();
    let process = |unit: &str| web1.run(&["systemctl", "show", "-P", "MainPID", unit]).ok().text().to_owned();
    let (fighter, writer) = (process("fighter"), process("writer"));
    let nobody = web1.run(&["id", "-u", "nobody"]).ok().text().to_owned();
    let fought = |object: &str, by: &str| {
        let status = site.status();
        let mut problems = status["problems"].as_array().into_iter().flatten();
        problems.any(|problem| {
            problem["code"] == "fought-over"
                && problem["object"] == object
                && problem["message"].as_str().unwrap_or_default().starts_with(by)
        })
    };
    let named = format!("perhaps process {fighter} (sh, uid 0), which names it in its arguments, changes");
    for (object, by) in [
        ("file:/etc/motd", named.as_str()),
        ("service:hello", &named),
        ("user:deploy", "usermod (process "),
        ("file:/etc/written", &format!("process {writer} (sh, uid {nobody}) changes")),
        ("file:/etc/audited", "process 812 (vi, uid 0, login uid 1000; auditd) changes"),
    ] {
        within(LATE, &format!("who changes {object} is named"), || fought(object, by));
    }
    web1.run(&["systemctl", "stop", "fighter", "writer", "hostwrit"]).ok();
    site.apply().ok();
    site.demand_convergence();
}
