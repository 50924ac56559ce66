// SPDX-License-Identifier: Apache-2.0
//! Package updates that wait: what the steward, confined by the unit of the package, learns of the host's own apt.

use std::time::Duration;

use crate::fleet::start_units;
use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::site::{Site, configuration};

/// Where node_exporter would read.
const TEXTFILE: &str = "/var/lib/metrics/hostwrit.prom";

/// What apt said last.
const ANSWER: &str = "/run/hostwrit/updates.json";

/// It is waited until apt is left alone for some seconds, and then asked.
const ASKED: Duration = Duration::from_secs(120);

/// Has a version of a package that does nothing in an archive that is made anew.
const PUBLISH: &str = r#"
    set -eu
    version=$1 label=$2
    mkdir -p /srv/archive /tmp/tiny/DEBIAN
    cat >/tmp/tiny/DEBIAN/control <<END
Package: tiny
Version: $version
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: does nothing
END
    cd /srv/archive
    dpkg-deb --root-owner-group --build /tmp/tiny "tiny_$version.deb" >/dev/null
    {
        dpkg-deb --field "tiny_$version.deb"
        echo "Filename: ./tiny_$version.deb"
        echo "Size: $(stat -c %s "tiny_$version.deb")"
        echo "SHA256: $(sha256sum "tiny_$version.deb" | cut -d' ' -f1)"
    } >Packages
    {
        printf 'Label: %s\nSuite: stable\nDate: Sat, 28 Nov 2026 07:00:00 UTC\nSHA256:\n' "$label"
        echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"
    } >Release
    apt-get --allow-releaseinfo-change update"#;

/// Holds the locks that whoever installs packages holds (struct flock of x86-64 and arm64).
const HOLD_LOCKS: &str = r#"
    for (qw(lock-frontend lock)) {
        open my $file, "+>>", "/var/lib/dpkg/$_" or die $!;
        my $lock = pack "s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0;
        fcntl $file, F_SETLK, $lock or die $!;
        push @files, $file;
    }
    open my $held, ">", "/run/locks-held" or die $!;
    sleep 600;"#;

/// They are counted as apt counts them, never under a lock and without rights; and what is not known has no number.
pub fn are_counted(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    // No pull and no full check comes in between: what somebody does with apt is seen as it happens.
    let configuration = configuration(&site.infra, web1.name(), site.remote.url(), "1h");
    web1.write("/etc/hostwrit/config.yaml", configuration + &format!("metrics: {{textfile: {TEXTFILE}}}\n"));
    web1.sh(&format!("mkdir -p $(dirname {TEXTFILE})")).ok();
    web1.write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/archive ./\n");
    publish(web1, "1.0", "Tiny");
    web1.sh("apt-get -y install tiny").ok();
    start_units(web1);
    expect(web1, "nothing waits", &[("security", "0"), ("other", "0"), ("kept-back", "0")]);
    let lists = metric(web1, "hostwrit_package_lists_timestamp_seconds");
    assert_eq!(lists.as_deref(), Some("1795849200"), "the archive says when its list was made");

    // Somebody installs something meanwhile, for long.
    web1.write("/run/hold-locks.pl", HOLD_LOCKS);
    web1.run(&["systemd-run", "--unit=locks", "perl", "-MFcntl", "/run/hold-locks.pl"]).ok();
    eventually("the locks are held", || web1.exists("/run/locks-held"));
    publish(web1, "2.0", "Tiny");
    web1.sh("apt-get -y install tiny").exits(100).says("Could not get lock");
    expect(web1, "an update waits", &[("security", "0"), ("other", "1"), ("kept-back", "0")]);
    web1.run(&["systemctl", "stop", "locks"]).ok();
    site.hostwrit(&["status"]).ok().says("0 of security, 1 others, 0 kept back; package lists of 2026-11-28T07:00:00Z");
    assert_eq!(site.status()["updates"]["pending"]["other"], 1);
    publish(web1, "2.1", "Debian-Security");
    expect(web1, "an update of security waits", &[("security", "1"), ("other", "0"), ("kept-back", "0")]);

    // What somebody holds, and what a pin says, is as apt has it.
    web1.run(&["apt-mark", "hold", "tiny"]).ok();
    expect(web1, "it is held", &[("security", "0"), ("other", "0"), ("kept-back", "1")]);
    web1.run(&["apt-mark", "unhold", "tiny"]).ok();
    expect(web1, "it is free again", &[("security", "1"), ("kept-back", "0")]);
    web1.write("/etc/apt/preferences.d/tiny", "Package: tiny\nPin: version 1.0\nPin-Priority: 999\n");
    expect(web1, "it is pinned", &[("security", "0"), ("other", "0"), ("kept-back", "0")]);
    web1.run(&["rm", "/etc/apt/preferences.d/tiny"]).ok();
    expect(web1, "it is pinned no more", &[("security", "1")]);

    // apt is asked without any right, and as root where only root may read its configuration.
    assert!(web1.sh("ls /var/cache/apt/*.bin").ok().stdout.contains("pkgcache.bin"));
    let before = web1.read(ANSWER);
    web1.sh("rm /var/cache/apt/*.bin && chmod 600 /etc/apt/sources.list").ok();
    within(ASKED, "apt was asked again", || web1.read(ANSWER) != before);
    expect(web1, "the same waits", &[("security", "1"), ("other", "0"), ("kept-back", "0")]);
    assert_eq!(web1.sh("ls /var/cache/apt").ok().text(), "archives", "asking apt writes nothing");

    // Where apt does not know, neither does anybody else.
    web1.write("/etc/apt/sources.list.d/broken.list", "no such line\n");
    within(ASKED, "it is not known", || metric(web1, r#"hostwrit_pending_updates{sort="security"}"#).is_none());
    site.hostwrit(&["status"]).ok().says("not known: E: Type 'no' is not known on line 1 in source list");
    web1.run(&["rm", "/etc/apt/sources.list.d/broken.list"]).ok();
    expect(web1, "it is known again", &[("security", "1")]);

    web1.sh("apt-get -y install tiny").ok();
    expect(web1, "nothing waits any more", &[("security", "0"), ("other", "0"), ("kept-back", "0")]);
    web1.sh("rm /var/lib/apt/lists/*_*").ok();
    within(ASKED, "without lists it is not known", || {
        metric(web1, r#"hostwrit_pending_updates{sort="other"}"#).is_none()
    });
    site.hostwrit(&["status"]).ok().says("not known: there are no package lists");
    assert_eq!(site.status()["health"], "converged");
}

fn publish(host: &Machine<'_>, version: &str, label: &str) {
    host.run(&["sh", "-c", PUBLISH, "publish", version, label]).ok();
}

fn expect(host: &Machine<'_>, what: &str, counts: &[(&str, &str)]) {
    let is = |(sort, count): &(&str, &str)| {
        metric(host, &format!("hostwrit_pending_updates{{sort=\"{sort}\"}}")).as_deref() == Some(*count)
    };
    within(ASKED, what, || counts.iter().all(is));
}

/// Returns the value of a series on the host's page.
fn metric(host: &Machine<'_>, series: &str) -> Option<String> {
    let page = host.read(TEXTFILE)?;
    page.lines().find_map(|line| Some(line.strip_prefix(series)?.trim().to_owned()))
}
