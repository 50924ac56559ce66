// SPDX-License-Identifier: Apache-2.0
//! The daemon sees drift as it happens: nothing waits for a pull or a full check.

use std::time::Duration;

use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::process::Output;
use crate::scenarios::drift::DRIFTS;
use crate::site::{Site, configure};

const UNIT: &str = "[Service]
Type=exec
ExecStart=/usr/bin/hostwrit daemon
";

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
const FIGHTER: &str = "while :; do echo x >/etc/motd; usermod -s /bin/sh deploy; systemctl stop hello; sleep 1; done";

/// Of what is fought over, the status says who does it: by the journal, or by the arguments of a process that lives.
pub fn names_who_fights(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let web1 = &site.web1;
    start_first(&site);
    web1.run(&["systemd-run", "--unit=fighter", "sh", "-c", FIGHTER]).ok();
    let pid = web1.run(&["systemctl", "show", "-P", "MainPID", "fighter"]).ok().text().to_owned();
    let perhaps = format!("perhaps process {pid} (sh, uid 0), which names it in its arguments, changes");
    let fought = |object: &str, by: &str| {
        let status = site.status();
        let mut problems = status["problems"].as_array().into_iter().flatten();
        problems.any(|problem| {
            problem["code"] == "fought-over"
                && problem["object"] == object
                && problem["message"].as_str().unwrap_or_default().starts_with(by)
        })
    };
    let eventually = |what: &str, is_so: &dyn Fn() -> bool| within(Duration::from_secs(180), what, is_so);
    eventually("the writer of the file is named", &|| fought("file:/etc/motd", &perhaps));
    eventually("the stopper of the unit is named", &|| fought("service:hello", &perhaps));
    eventually("the changer of the user is named", &|| fought("user:deploy", "usermod (process "));
    web1.run(&["systemctl", "stop", "fighter"]).ok();
    web1.run(&["systemctl", "stop", "hostwrit"]).ok();
    site.apply().ok();
    site.demand_convergence();
}
