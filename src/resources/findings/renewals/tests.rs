// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]

use std::fs;

use crate::host::RealHost;
use crate::model::{Location, Mode, Origin};
use crate::resources::Content;
use crate::resources::file::What;

use super::*;

/// A token of which `exp` is 2026-12-10T12:00:00Z, and which holds what must never be shown.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTY5MDQwMDAsInBhc3MiOiJodW50ZXIyIn0.c2VjcmV0";

/// One that expires with the year 9999.
const FAR_OFF: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjI1MzQwMjMwMDc5OSwicGFzcyI6Imh1bnRlcjIifQ.c2VjcmV0";

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

fn length(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap()
}

fn every(every: &str, warn: &str) -> Renew {
    Renew { every: Some(length(every)), expiry: None, warn: length(warn) }
}

fn expiry(expiry: Expiry, warn: &str) -> Renew {
    Renew { every: None, expiry: Some(expiry), warn: length(warn) }
}

fn dated(changed: &str, content: &str) -> Dated {
    Dated { changed: at(changed), touched: at(changed), size: content.len() as u64, begin: content.as_bytes().to_vec() }
}

fn judged(renew: &Renew, dated: &Dated, now: &str) -> Judged {
    // As the daemon's memory does it: the begin of the day is told, and whether a time has come.
    let begin = at(&format!("{}T00:00:00Z", &now[..10]));
    judge(renew, dated, &|time| at(now) >= time, &|| begin)
}

/// What is said at a time, with the code first.
fn said(renew: &Renew, dated: &Dated, now: &str) -> String {
    let lines = judged(renew, dated, now).said.into_iter().map(|(code, message)| format!("{code}: {message}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_is_due_so_long_after_its_last_change() {
    let renew = every("30d", "5d");
    let file = dated("2026-11-01T10:00:00Z", "");
    let place = "put a new one in its place";
    let of = "it is of 2026-11-01T10:00:00Z and";
    for (now, expected) in [
        ("2026-11-01T10:00:00Z", String::new()),
        ("2026-11-26T09:59:59Z", String::new()),
        (
            "2026-11-26T10:00:00Z",
            format!("renew-soon: {of} must be replaced by 2026-12-01T10:00:00Z, in 5 days; {place}"),
        ),
        (
            "2026-11-30T23:59:59Z",
            format!("renew-soon: {of} must be replaced by 2026-12-01T10:00:00Z, tomorrow; {place}"),
        ),
        ("2026-12-01T09:59:59Z", format!("renew-soon: {of} must be replaced by 2026-12-01T10:00:00Z, today; {place}")),
        (
            "2026-12-01T10:00:00Z",
            format!("renew-overdue: {of} had to be replaced by 2026-12-01T10:00:00Z, today; {place}"),
        ),
        (
            "2026-12-02T00:00:00Z",
            format!("renew-overdue: {of} had to be replaced by 2026-12-01T10:00:00Z, yesterday; {place}"),
        ),
        (
            "2027-01-01T00:00:00Z",
            format!("renew-overdue: {of} had to be replaced by 2026-12-01T10:00:00Z, 31 days ago; {place}"),
        ),
    ] {
        assert_eq!(said(&renew, &file, now), expected, "{now}");
        let due = judged(&renew, &file, now).due;
        assert_eq!(due, Some(Due { by: at("2026-12-01T10:00:00Z"), warn: at("2026-11-26T10:00:00Z") }));
    }
}

#[test]
fn what_is_in_it_says_when_it_ends() {
    let file = dated("2026-11-01T00:00:00Z", TOKEN);
    let renew = expiry(Expiry::Jwt, "14d");
    for (now, expected) in [
        ("2026-11-26T11:59:59Z", ""),
        (
            "2026-11-26T12:00:00Z",
            "renew-soon: the token in it expires at 2026-12-10T12:00:00Z, in 14 days; put a new one in its place",
        ),
        (
            "2026-12-12T00:00:00Z",
            "renew-overdue: the token in it expired at 2026-12-10T12:00:00Z, 2 days ago; put a new one in its place",
        ),
    ] {
        assert_eq!(said(&renew, &file, now), expected, "{now}");
    }
    let certificate = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    assert_eq!(
        said(&expiry(Expiry::Certificate, "14d"), &dated("2026-11-01T00:00:00Z", certificate), "2026-11-26T12:00:00Z"),
        "renew-unknown: a certificate in it is damaged; put a sound one there, or take expiry: certificate out of the repo"
    );
    let by = at("2026-12-10T12:00:00Z");
    for (now, is_over, expected) in [
        ("2026-12-01T00:00:00Z", false, "ends at 2026-12-10T12:00:00Z, in 9 days"),
        ("2026-12-12T00:00:00Z", true, "ended at 2026-12-10T12:00:00Z, 2 days ago"),
    ] {
        let said = message(Cause::Expiry(Expiry::Certificate), by, at(now), is_over);
        assert_eq!(said, format!("a certificate in it {expected}; put a renewed one in its place"));
    }
}

#[test]
fn of_age_and_expiry_the_earlier_counts() {
    let both = |every: &str| Renew { every: Some(length(every)), expiry: Some(Expiry::Jwt), warn: length("1d") };
    let file = dated("2026-11-01T00:00:00Z", TOKEN);
    let by = |renew: &Renew| shown(judged(renew, &file, "2026-11-02T00:00:00Z").due.unwrap().by);
    assert_eq!(by(&both("30d")), "2026-12-01T00:00:00Z");
    assert_eq!(by(&both("90d")), "2026-12-10T12:00:00Z");
    // What is known counts where the other is not.
    let file = dated("2026-11-01T00:00:00Z", "no token");
    let unknown =
        "renew-unknown: there is no JSON Web Token in it; put one with exp there, or take expiry: jwt out of the repo";
    assert_eq!(said(&both("30d"), &file, "2026-11-02T00:00:00Z"), unknown);
    assert!(judged(&both("30d"), &file, "2026-11-02T00:00:00Z").due.is_some());
    assert!(said(&both("30d"), &file, "2027-11-02T00:00:00Z").starts_with(&format!("{unknown}\nrenew-overdue: ")));
    assert_eq!(judged(&expiry(Expiry::Jwt, "1d"), &file, "2027-11-02T00:00:00Z").due, None);
}

#[test]
fn a_file_that_is_too_large_is_not_looked_into() {
    let renew = expiry(Expiry::Jwt, "1d");
    let mut file = dated("2026-11-01T00:00:00Z", TOKEN);
    file.size = 65_536;
    assert_eq!(said(&renew, &file, "2026-11-02T00:00:00Z"), "");
    file.size = 65_537;
    assert_eq!(
        said(&renew, &file, "2026-11-02T00:00:00Z"),
        "renew-unknown: it has 65537 bytes, and in no more than 65536 an expiry is looked for"
    );
    // Its age is known all the same.
    assert!(judged(&every("30d", "1d"), &file, "2026-11-02T00:00:00Z").due.is_some());
}

#[test]
fn a_file_of_tomorrow_is_not_young_for_ever() {
    let renew = every("30d", "1d");
    let now = "2026-11-02T00:00:00Z";
    assert_eq!(said(&renew, &dated("2026-11-03T00:00:00Z", ""), now), "", "clocks differ");
    assert_eq!(
        said(&renew, &dated("2026-11-03T00:00:01Z", ""), now),
        "renew-unknown: by its own word it was last changed at 2026-11-03T00:00:01Z, which is yet to come; put that right with touch"
    );
    // As late as a file system can write.
    let last = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
    let judged = judged(&renew, &Dated { changed: last, ..dated(now, "") }, now);
    assert!(judged.due.is_none() && judged.said[0].1.contains("9999-12-31T23:59:59Z"), "{judged:?}");
}

#[test]
fn time_alone_turns_what_is_said() {
    let renew = every("30d", "5d");
    let file = dated("2026-11-01T10:00:00Z", "");
    let turn = |now: &str| judged(&renew, &file, now).turn.map(shown);
    assert_eq!(turn("2026-11-20T00:00:00Z").as_deref(), Some("2026-11-26T10:00:00Z"));
    assert_eq!(turn("2026-11-26T10:00:00Z").as_deref(), Some("2026-12-01T10:00:00Z"));
    assert_eq!(turn("2026-12-01T10:00:00Z"), None);
    let long = Renew { warn: Duration::from_secs(u64::MAX), ..renew };
    assert_eq!(judged(&long, &file, "2026-11-02T00:00:00Z").due.unwrap().warn, UNIX_EPOCH);
}

#[test]
fn times_stand_in_the_status_as_text() {
    let due = Due { by: at("2026-12-01T10:00:00Z"), warn: at("2026-11-26T10:00:00Z") };
    let text = serde_json::to_string(&due).unwrap();
    assert_eq!(text, r#"{"by":"2026-12-01T10:00:00Z","warn":"2026-11-26T10:00:00Z"}"#);
    assert_eq!(serde_json::from_str::<Due>(&text).unwrap(), due);
}

/// Looks at files of a temporary root, of which each is declared with the content that the repo has for it.
fn found(root: &Path, declared: &[(&str, Renew, Option<&str>)]) -> Found {
    let file = |(path, renew, content): &(&str, Renew, Option<&str>)| {
        let content = content.map(|content| Content::new(content.as_bytes().into()));
        let what = What::File { content, check: None };
        let want = Some(file::Desired { what, owner: None, group: None, mode: None, renew: Some(renew.clone()) });
        let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: [].into() };
        Declared { name: (*path).to_owned(), mode: Mode::Enforce, want, origin }
    };
    let files: Vec<_> = declared.iter().map(file).collect();
    let mut found = Found::default();
    find(&files, &RealHost::open(root).unwrap(), &mut found);
    found
}

#[test]
fn the_files_of_a_host_are_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8], changed: Option<&str>| {
        let path = root.path().join(name);
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(changed.map_or_else(SystemTime::now, at)).unwrap();
    };
    put("old", b"", Some("2020-01-01T00:00:00Z"));
    put("new", b"", None);
    put("large", &vec![b'a'; READ_MAX + 1], None);
    put("token", FAR_OFF.as_bytes(), None);
    std::os::unix::fs::symlink("new", root.path().join("link")).unwrap();
    let (age, jwt) = (every("30d", "5d"), expiry(Expiry::Jwt, "0s"));
    let found = found(
        root.path(),
        &[
            ("/old", age.clone(), None),
            ("/new", age.clone(), None),
            ("/large", jwt.clone(), None),
            ("/link", age.clone(), None),
            ("/nothing", age.clone(), None),
            ("/written", jwt.clone(), Some("x")),
            ("/token", jwt, None),
        ],
    );
    let subject = |finding: &Finding| (finding.code, finding.object.as_ref().unwrap().name().to_owned());
    let about: Vec<_> = found.findings.iter().map(subject).collect();
    let expected = [("/old", Code::RenewOverdue), ("/large", Code::RenewUnknown)];
    let expected = expected.into_iter().chain([("/link", Code::RenewUnknown), ("/nothing", Code::RenewUnknown)]);
    assert_eq!(about, expected.map(|(path, code)| (code, path.to_owned())).collect::<Vec<_>>());
    assert_eq!(
        found.findings[2].message,
        "cannot read /link: it is a symbolic link; put a regular file there, or take renew out of the repo"
    );
    let due: Vec<&str> = found.due.keys().map(ObjectId::name).collect();
    assert_eq!(due, ["/new", "/old", "/token"]);
    assert!(found.turns.is_some_and(|turns| turns > SystemTime::now()));
    let said = format!("{found:?}");
    assert!(!said.contains("hunter2") && !said.contains("eyJ"), "{said}");
}

#[test]
fn a_host_that_has_nothing_to_renew_is_asked_nothing() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(found(root.path(), &[]), Found::default());
}
