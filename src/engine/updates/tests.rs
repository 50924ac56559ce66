// SPDX-License-Identifier: Apache-2.0
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

/// As apt 2.6 answers on Debian 12; the names of some packages are shortened.
const ANSWER: &str = "\
Reading package lists...
Building dependency tree...
Reading state information...
Calculating upgrade...
The following NEW packages will be installed:
  linux-image-6.1.0-32-amd64
The following packages have been kept back:
  heldp
The following packages will be upgraded:
  base-files docker-ce libgcrypt20 libgcrypt20-dev linux-image-amd64 tiny
6 upgraded, 1 newly installed, 0 to remove and 1 not upgraded.
Inst base-files [12.4+deb12u11] (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Conf base-files (12.4+deb12u15 Debian:12.15/oldstable [amd64])
Inst docker-ce [5:24.0.5-1] (5:24.0.7-1 Docker CE:bookworm [amd64])
Inst libgcrypt20-dev [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [amd64]) []
Inst libgcrypt20:i386 [1.10.1-3] (1.10.1-3+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [i386])
Inst linux-image-6.1.0-32-amd64 (6.1.129-1 Debian-Security:12/oldstable-security [amd64])
Inst linux-image-amd64 [6.1.90-1] (6.1.129-1 Debian-Security:12/oldstable-security [amd64]) [a:amd64 on b:amd64]
Inst tiny [1.0] (2.0 localhost [all])
Conf tiny (2.0 localhost [all])
";

#[test]
fn what_would_be_replaced_is_counted_and_what_only_comes_with_it_is_not() {
    assert_eq!(read(ANSWER), Some(Pending { security: 3, other: 3, kept_back: 1 }));
    assert_eq!(
        read("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"),
        Some(Pending::default()),
        "nothing waits"
    );
    let pinned = "0 upgraded, 0 newly installed, 1 reinstalled, 1 downgraded, 2 to remove and 3 not upgraded.
Inst a [2] (1 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [all])
Inst b [2] (2 Weird (label), x [amd64]):my [all])";
    assert_eq!(read(pinned), Some(Pending { security: 1, other: 1, kept_back: 3 }), "a pin may ask for an older one");
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    let without = |line: &str| ANSWER.lines().filter(|found| !found.contains(line)).collect::<Vec<_>>().join("\n");
    for answer in [
        String::new(),
        without("not upgraded."),
        without("Inst tiny"),
        ANSWER.replace("[1.0] (2.0", "[1.0] <2.0"),
        ANSWER.replace("6 upgraded", "many upgraded"),
        ANSWER.replace("6 upgraded", "18446744073709551615 upgraded, 2 downgraded"),
        ANSWER.replace("0 to remove", "1 to enchant, 0 to remove"),
        ANSWER.replace("1 not upgraded", "-1 not upgraded"),
    ] {
        assert_eq!(read(&answer), None, "{answer}");
    }
}

fn output(success: bool, stdout: &str, stderr: &str) -> Output {
    let status = format!("exit status: {}", if success { 0 } else { 100 });
    Output { success, status, stdout: stdout.into(), stderr: stderr.into() }
}

#[test]
fn what_apt_complains_about_is_no_number() {
    let said = |success, stdout, stderr| understand(&output(success, stdout, stderr));
    assert!(said(true, ANSWER, "W: Target Packages is configured multiple times\n").is_ok());
    assert_eq!(said(false, "", "E: Unmet dependencies.\nmore\n").unwrap_err(), "E: Unmet dependencies.");
    assert_eq!(said(false, ANSWER, "").unwrap_err(), "apt-get ended with exit status: 100");
    let unreadable = "W: Unable to read /etc/apt/preferences - open (13: Permission denied)";
    assert_eq!(said(true, ANSWER, unreadable).unwrap_err(), unreadable, "a pin that is not seen is not obeyed");
    assert!(said(true, "Lecture des listes de paquets...", "").unwrap_err().contains("not answer in the way"));
    assert_eq!(said(false, "", &format!("E: {}", "ä".repeat(9999))).unwrap_err().chars().count(), LONGEST_WORD);
}

#[test]
fn apt_is_asked_again_when_something_changed_or_when_it_did_not_answer_for_an_hour() {
    let (basis, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let kept = |pending| {
        let asked = format_rfc3339_seconds(at(10_000)).to_string();
        Kept { basis, updates: Updates { asked, pending, ..Updates::default() } }
    };
    let known = kept(Some(Pending::default()));
    assert!(known.holds(&basis, at(10_000)) && known.holds(&basis, at(99_999_999)));
    assert!(!known.holds(&other, at(10_000)));
    let unknown = kept(None);
    assert!(unknown.holds(&basis, at(13_599)) && !unknown.holds(&basis, at(13_600)));
    assert!(!unknown.holds(&basis, at(9_999)), "the clock was set back");
    assert!(!unknown.holds(&other, at(10_000)));
}

#[test]
fn a_list_is_as_old_as_its_archive_says() {
    let at = |text| parse_rfc3339(text).ok();
    let signed =
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nDate: Wed, 25 Nov 2026 22:33:12 UTC\n";
    assert_eq!(date(signed), at("2026-11-25T22:33:12Z"));
    assert_eq!(date("Date:  Sat,  1 Aug 2026  7:00:00 +0000"), at("2026-08-01T07:00:00Z"));
    for other in ["", "Origin: Debian", "Date: ", "Date: yesterday", "Date: Wed, 25 Nov 2026 22:33:12 +0200"] {
        assert_eq!(date(other), None, "{other}");
    }
    assert_eq!(date("Date: Wed, 99 Nov 2026 22:33:12 UTC"), None);
}

#[test]
fn the_newest_list_counts_and_another_root_has_no_apt() {
    let root = tempfile::tempdir().unwrap();
    let host = RealHost::open(root.path()).unwrap();
    assert_eq!(Lists::read(&host).unwrap(), Lists::default());
    host.ensure_dir(Path::new(LISTS), 0o755).unwrap();
    for (name, year) in [("a_InRelease", 2024), ("b_Release", 2026), ("c_Release.gpg", 2027), ("d_Packages.lz4", 2028)]
    {
        assert!(!Lists::read(&host).unwrap().are_there, "of an archive without a list nothing is known");
        let content = format!("Date: Thu, 01 Jan {year} 00:00:00 UTC\n");
        let file = NewFile { content: content.as_bytes(), owner: None, mode: 0o644, check: None };
        host.replace_file(&Path::new(LISTS).join(name), &file).unwrap();
    }
    let newest = parse_rfc3339("2026-01-01T00:00:00Z").ok();
    assert_eq!(Lists::read(&host).unwrap(), Lists { are_there: true, newest });
    look(&host).unwrap();
    assert_eq!(Updates::read(&host), None);
}

/// One package that would be replaced, and whether a security archive has the new version.
fn package() -> impl Strategy<Value = (String, bool)> {
    let word = "[A-Za-z0-9+.~-]{1,12}";
    let tail = prop_oneof![Just(""), Just(" []"), Just(" [a:amd64 ]"), Just(" [a:amd64 on b:amd64] [c:all ]")];
    (word, word, word, "[A-Za-z ()-]{0,9}", "[a-z]{1,9}", any::<bool>(), any::<bool>(), tail).prop_map(
        |(name, old, new, label, archive, by_label, by_archive, tail)| {
            let label = if by_label { "Debian-Security" } else { &label };
            let archive = if by_archive { format!("{archive}-security") } else { archive };
            let line = format!("Inst {name} [{old}] ({new} First:1/x, {label}:12/{archive} [amd64]){tail}");
            (line, by_label || by_archive)
        },
    )
}

proptest! {
    #[test]
    fn whatever_waits_is_counted(
        packages in prop::collection::vec(package(), 0..20),
        added in 0..5usize,
        kept_back in 0..1000u64,
    ) {
        let replaced = packages.len();
        let mut answer = format!("{replaced} upgraded, {added} newly installed, 0 to remove and {kept_back} not upgraded.\n");
        answer.extend(packages.iter().map(|(line, _)| format!("{line}\n")));
        answer.extend((0..added).map(|number| format!("Inst new{number} (1 Debian:12/stable-security [all])\n")));
        let security = packages.iter().filter(|(_, is_of_security)| *is_of_security).count() as u64;
        let expected = Pending { security, other: replaced as u64 - security, kept_back };
        prop_assert_eq!(read(&answer), Some(expected));
        // One that is lost on the way is missed.
        if let Some((first, _)) = packages.first() {
            prop_assert_eq!(read(&answer.replacen(first, "", 1)), None);
        }
    }

    #[test]
    fn no_answer_is_too_strange(
        lines in prop::collection::vec(prop_oneof!["(Inst |Date:)?\\PC{0,60}", "Inst [a\\[\\]() :,/ä]{0,30}"], 0..8)
    ) {
        let answer = lines.join("\n");
        let (_, _) = (read(&answer), date(&answer));
        prop_assert!(understand(&output(true, &answer, &answer)).is_err() || answer.contains(" not upgraded."));
    }
}
