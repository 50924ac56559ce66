// SPDX-License-Identifier: Apache-2.0
//! An image that is built with `--root`, and the machines that boot from it.

use std::fs;
use std::time::Duration;

use crate::git_server::GitServer;
use crate::infra::{Infra, Signer};
use crate::lab::Lab;
use crate::machine::within;
use crate::package::Package;
use crate::site::{configuration, demand_convergence, hostwrit, project};

/// The first cycle of a daemon that has just been started.
const FIRST_CYCLE: Duration = Duration::from_secs(90);

/// Builds the image as docs/how-to/bootstrap.md says. What is different from the base is the layer `$2`.
const BUILD: &str = r#"
    base=$1 layer=$2 package=$3 config=$4 hostwrit=$5
    mount --make-rprivate /
    mount -t tmpfs -o size=1G tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/image
    mount -t overlay -o "lowerdir=$base,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/image
    cd /mnt
    cp "$package" image/var/cache/hostwrit.deb
    chroot image dpkg --install /var/cache/hostwrit.deb
    install -D -m 644 "$config" image/etc/hostwrit/config.yaml
    "$hostwrit" --root image plan && exit 9
    "$hostwrit" --root image apply
    "$hostwrit" --root image plan
    "$hostwrit" --root image audit verify
    sed -i '/^host:/d' image/etc/hostwrit/config.yaml
    cp -a upper/. "$layer"
"#;

/// Users, files and enabled services are there before the first boot; at it, only what a running system has is left to do. A machine of
/// another name follows a file of its own.
pub fn image(lab: &Lab<'_>) {
    let infra = Infra::new(lab, &project().join("example-repo"));
    let remote = GitServer::git(lab, &infra);
    let (layer, config) = (lab.dir().join("layer"), lab.dir().join("config.yaml"));
    fs::create_dir(&layer).expect("the folder for temporary files can be written");
    fs::write(&config, configuration(&infra, "web1", remote.url(), "1h")).expect("so can a file in it");
    let mut build = lab.fabric().command("unshare");
    build.args(["--mount", "sh", "-euc", BUILD, "build"]).arg(lab.image()).arg(&layer);
    build.arg(Package::of_this_program().path()).arg(&config).arg(env!("CARGO_BIN_EXE_hostwrit"));
    lab.run(build, "[fabric] build the image".to_owned()).ok().says("nothing to do");

    let there = |path: &str| fs::symlink_metadata(layer.join(path)).is_ok();
    let passwd = fs::read_to_string(layer.join("etc/passwd")).expect("it was changed");
    assert!(passwd.contains("\nalice:") && passwd.contains("\nhello:"), "{passwd}");
    for path in [
        "home/alice/.ssh/authorized_keys",
        "etc/motd",
        "etc/hello/sites.d/main",
        "srv/www/current",
        "etc/systemd/system/hello.service",
        "etc/systemd/system/multi-user.target.wants/hello.service",
        "etc/systemd/system/multi-user.target.wants/hostwrit.service",
    ] {
        assert!(there(path), "{path} is not in the image");
    }

    let web1 = lab.boot_layer("web1", &layer);
    // The same image under another name: nothing is removed, not even what it has no use for.
    let db1 = lab.boot_layer("db1", &layer);
    let before = fs::read_to_string(layer.join("var/log/hostwrit/audit/log.jsonl")).expect("apply wrote it");
    within(FIRST_CYCLE, "the machine agrees at its first boot", || {
        hostwrit(&web1, &["status", "--json"]).stdout.contains("\"health\": \"converged\"")
    });
    assert_eq!(web1.run(&["systemctl", "is-active", "hello.service"]).text(), "active");
    let now = web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    let new = now.strip_prefix(&before).expect("the log goes on where the image ended");
    let intents: Vec<&str> = new.lines().filter(|line| line.contains("\"intent\"")).collect();
    // systemd starts what is enabled; the steward may come before it.
    assert!(intents.iter().all(|line| line.contains("\"service:")), "more than to start services: {intents:#?}");
    demand_convergence(&web1);
    let modes =
        web1.run(&["stat", "-c", "%U %a", "/var/lib/hostwrit", "/var/log/hostwrit/audit", "/var/lib/hostwrit-courier"]);
    assert_eq!(modes.text(), "root 700\nroot 700\nhostwrit 700");

    within(FIRST_CYCLE, "the other machine says that too much would go", || {
        hostwrit(&db1, &["status", "--json"]).stdout.contains("too-many-removals")
    });
    assert!(db1.exists("/etc/hello/hello.conf") && !db1.exists("/srv/dumps"), "something was changed");

    infra.replace("hosts/web1.yaml", "shop.example.org", "news.example.org");
    infra.publish("another site\n\nHostwrit-Allow-Removals: 20", Signer::Alice);
    for machine in [&web1, &db1] {
        machine.run(&["systemctl", "reload", "hostwrit.service"]).ok();
    }
    within(FIRST_CYCLE, "the machine follows", || {
        web1.read("/etc/hello/sites.d/main").is_some_and(|text| text.contains("news.example.org"))
    });
    within(FIRST_CYCLE, "the other machine becomes what its own file says", || {
        hostwrit(&db1, &["status", "--json"]).stdout.contains("\"health\": \"converged\"")
    });
    for gone in ["/etc/hello", "/srv/www", "/usr/local/bin/hello", "/etc/systemd/system/hello.service"] {
        assert!(!db1.exists(gone), "{gone} is still there");
    }
    assert!(db1.exists("/srv/dumps") && db1.exists("/home/alice/.ssh/authorized_keys"));
    let passwd = db1.read("/etc/passwd").unwrap_or_default();
    assert!(!passwd.contains("\nhello:") && passwd.contains("\nbob:"), "{passwd}");
    demand_convergence(&db1);
}
