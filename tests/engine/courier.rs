// SPDX-License-Identifier: Apache-2.0
//! A courier that is dead, slow, huge or lies costs a hindrance, and never more.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hostwrit::engine::{Cycle, Report};
use hostwrit::model::chain;
use hostwrit::model::git::{ObjectError, ObjectType, Objects as _, Oid, RawObject};
use hostwrit::source::wire::{self, Answer, Backlog, Request};
use hostwrit::source::{Ask, Courier, FetchError, Fetched, HashKind, Limits, Probe, SOCKET, Source as _, Trial};
use proptest::prelude::*;

use crate::site::Site;

const MOTD: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n";
static GO: AtomicBool = AtomicBool::new(false);

/// A courier that answers every request with what `answer` makes of it; `None` hangs up.
fn courier(limits: Limits, answer: impl Fn(Request) -> Option<Vec<u8>> + Send + 'static) -> Courier {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(theirs, answer));
    Courier::at(ours, HashKind::Sha1, limits)
}

fn serve(mut stream: UnixStream, answer: impl Fn(Request) -> Option<Vec<u8>>) {
    while let Ok(Some((tag, body))) = wire::read_frame(&mut stream, wire::MAX_REQUEST) {
        let Some(bytes) = answer(Request::parse(tag, &body).unwrap()) else { return };
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn id(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

fn ask() -> Ask {
    Ask {
        remote: "/nowhere".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        beside: None,
        hint: None,
        max_quiet: 0,
        limits: Limits::default(),
    }
}

/// Returns why a courier with these answers to everything is of no use, asked for an object and to fetch.
fn troubles(answer: impl Fn(Request) -> Option<Vec<u8>> + Clone + Send + 'static) -> [String; 2] {
    let object = courier(Limits::default(), answer.clone()).object(&id('1')).map(drop).unwrap_err();
    let fetch = courier(Limits::default(), answer).fetch(&ask(), &GO).unwrap_err();
    [chain(&object), chain(&fetch)]
}

#[test]
fn answers_that_are_none_are_refused() {
    let frame = |tag: u8, length: u32, body: &[u8]| [&[tag][..], &length.to_be_bytes(), body].concat();
    for bytes in [
        vec![],
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        frame(b'O', u32::MAX, b"blob "),
        frame(b'O', 4, b"blob"),
        frame(b'O', 9, b"nonsense "),
        frame(b'F', 3, b"a b"),
        frame(b'F', 81, format!("{} {}", id('1'), "z".repeat(40)).as_bytes()),
        frame(b'L', 2, b"-1"),
        frame(b'E', 2, &[0xff, 0xfe]),
        frame(b'?', 0, b""),
    ] {
        let shown = format!("{bytes:?}");
        let [object, fetch] = troubles(move |_| if bytes.is_empty() { None } else { Some(bytes.clone()) });
        assert!(object.contains("courier") && fetch.contains("courier"), "{shown}: {object}; {fetch}");
    }
}

#[test]
fn a_frame_is_not_believed_to_be_as_long_as_it_says() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[b'O', 0xff, 0xff, 0xff, 0xff]).unwrap();
    let error = wire::read_frame(&mut ours, 1024).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 4294967295 bytes, where 1024 are allowed");
    let small = Limits { object_bytes: 10, ..Limits::default() };
    let long = Answer::Object(RawObject { kind: ObjectType::Blob, data: vec![0; 100] }).to_bytes();
    assert!(matches!(
        courier(small, move |_| Some(long.clone())).object(&id('1')),
        Err(ObjectError::Unreadable { .. })
    ));
}

#[test]
fn an_answer_to_another_question_is_refused_and_ends_the_talk() {
    let fetched = Answer::Fetched(Fetched { tip: id('1'), beside: None }).to_bytes();
    let object = Answer::Object(RawObject { kind: ObjectType::Blob, data: vec![] }).to_bytes();
    let liar = courier(Limits::default(), move |request| {
        Some(if matches!(request, Request::Fetch(..)) { object.clone() } else { fetched.clone() })
    });
    assert!(liar.object(&id('1')).is_err());
    assert!(liar.fetch(&ask(), &GO).is_err());

    // After a broken frame the next answer could be the one to an older question.
    let once = AtomicBool::new(true);
    let stutterer = courier(Limits::default(), move |_| {
        let first = once.swap(false, std::sync::atomic::Ordering::Relaxed);
        Some(if first { b"?\0\0\0\0".to_vec() } else { Answer::Missing.to_bytes() })
    });
    assert!(matches!(stutterer.object(&id('1')), Err(ObjectError::Unreadable { .. })));
    assert!(matches!(stutterer.object(&id('1')), Err(ObjectError::Unreadable { .. })));
}

#[test]
fn a_courier_that_drips_is_given_up_in_time() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let _ = theirs.read(&mut [0; 1024]);
        // A byte now and then would renew a limit that counts from the last one.
        for byte in Answer::Fetched(Fetched { tip: id('1'), beside: None }).to_bytes().iter().cycle() {
            thread::sleep(Duration::from_millis(400));
            if theirs.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    let error = Courier::at(ours, HashKind::Sha1, limits).fetch(&Ask { limits, ..ask() }, &GO).unwrap_err();
    assert!(chain(&error).contains("took more than"), "{}", chain(&error));
}

#[test]
fn whoever_waits_for_a_courier_can_be_stopped() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stop = AtomicBool::new(true);
    let error = Courier::at(ours, HashKind::Sha1, Limits::default()).fetch(&ask(), &stop).unwrap_err();
    assert!(chain(&error).contains("stop"), "{}", chain(&error));
    drop(theirs);
}

#[test]
fn the_words_of_a_courier_cannot_steer_a_terminal() {
    let words = Answer::Failed(format!("\x1b[2J{}\n", "x".repeat(10_000))).to_bytes();
    let Err(FetchError::Told(words)) = courier(Limits::default(), move |_| Some(words.clone())).fetch(&ask(), &GO)
    else {
        panic!("the words are lost");
    };
    assert!(!words.contains(char::is_control) && words.len() <= wire::MAX_WORDS, "{words}");
}

/// Runs a cycle with a courier that knows the site's objects and answers fetches so.
fn cycle_with(site: &Site, answer: impl Fn(Request) -> Option<Vec<u8>> + Send + 'static) -> Report {
    let (host, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let source = courier(Limits::default(), answer);
    Cycle::begin(&config, &host, &source, &stop).unwrap().apply(&mut |_, _| {}).unwrap()
}

#[test]
fn without_a_courier_the_last_good_state_is_enforced() {
    let site = Site::new(&[("hosts/web1.yaml", MOTD)]);
    site.converge();
    // All that is left is what the host itself has kept.
    fs::remove_dir_all(site.mirror()).unwrap();
    for round in 0..2 {
        site.put("/etc/motd", "bad\n");
        let report = cycle_with(&site, |_| None);
        assert_eq!(report.hindrance.as_ref().map(|hindrance| hindrance.code()), Some("fetch-failed"), "round {round}");
        assert!(report.converged());
        assert_eq!(site.get("/etc/motd").as_deref(), Some("good\n"));
    }
}

#[test]
fn a_courier_that_names_a_commit_and_does_not_have_it_changes_nothing() {
    let site = Site::new(&[("hosts/web1.yaml", MOTD)]);
    site.converge();
    let report = cycle_with(&site, |request| {
        Some(match request {
            Request::Fetch(..) => Answer::Fetched(Fetched { tip: id('1'), beside: None }).to_bytes(),
            _ => Answer::Missing.to_bytes(),
        })
    });
    assert_eq!(report.hindrance.as_ref().map(|hindrance| hindrance.code()), Some("object-missing"));
    assert!(report.converged() && site.get("/etc/motd").as_deref() == Some("good\n"));
}

#[test]
fn a_courier_that_gives_other_objects_than_it_is_asked_for_is_found_out() {
    let site = Site::new(&[("hosts/web1.yaml", MOTD)]);
    site.converge();
    let tip = site.host_file("files:\n  /etc/motd: {content: \"next\\n\"}\n");
    let (source, other) = (site.repo.path().join(".git"), site.repo.git(&["rev-parse", "HEAD~1"]));
    let other: Oid = other.trim().parse().unwrap();
    let store = if source.is_dir() { source } else { site.repo.path().to_owned() };
    let report = cycle_with(&site, move |request| {
        let mirror = hostwrit::source::Mirror::reopen(&store, HashKind::Sha1, Limits::default()).unwrap();
        Some(match request {
            Request::Fetch(..) => Answer::Fetched(Fetched { tip, beside: None }).to_bytes(),
            _ => Answer::Object(mirror.object(&other).unwrap()).to_bytes(),
        })
    });
    assert_eq!(report.hindrance.as_ref().map(|hindrance| hindrance.code()), Some("object-mismatch"));
    assert_eq!(site.get("/etc/motd").as_deref(), Some("good\n"));
}

#[test]
fn where_something_listens_no_other_courier_is_started() {
    let site = Site::new(&[("hosts/web1.yaml", MOTD)]);
    site.put("/run/hostwrit/.keep", "");
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream, |_| Some(Answer::Failed("the words of this one".to_owned()).to_bytes()));
        }
    });
    let ran = site.run(&["plan"]);
    assert!(ran.stderr.contains("the words of this one"), "{ran:?}");
    assert!(!site.mirror().exists());
}

#[test]
fn what_was_kept_and_then_damaged_is_asked_for_again() {
    let site = Site::new(&[("hosts/web1.yaml", MOTD)]);
    let tip = site.repo.git(&["rev-parse", "HEAD"]);
    site.converge();
    let file = format!("/var/lib/hostwrit/last-good/{}", tip.trim());
    let whole = fs::read(site.path(&file)).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(site.path(&file), &whole[..cut]).unwrap();
        site.put("/etc/motd", "bad\n");
        assert_eq!(site.run(&["apply"]).code, 0, "cut at {cut}");
        assert_eq!(site.get("/etc/motd").as_deref(), Some("good\n"));
    }
    // Another content under the same id is not believed.
    let (from, to) = (b"good".as_slice(), b"evil".as_slice());
    let at = whole.windows(from.len()).position(|part| part == from).unwrap();
    let forged = [&whole[..at], to, &whole[at + from.len()..]].concat();
    fs::write(site.path(&file), forged).unwrap();
    site.put("/etc/motd", "bad\n");
    assert_eq!(site.run(&["apply"]).code, 0);
    assert_eq!(site.get("/etc/motd").as_deref(), Some("good\n"));
}

#[test]
fn a_courier_that_lies_about_a_probe_is_no_answer_and_one_that_hangs_is_waited_for_no_longer_than_until_stop() {
    let probe = Probe { what: Trial::Tcp { address: "127.0.0.1:1".to_owned(), banner: None }, time: 1000 };
    let answered = |bytes: Vec<u8>| courier(Limits::default(), move |_| Some(bytes.clone())).probe(&probe, &GO);
    assert_eq!(answered(Answer::Probed.to_bytes()), Ok(()));
    for (bytes, words) in [
        (Answer::Failed("it is\u{1b} gone".to_owned()).to_bytes(), "it is  gone"),
        (Answer::Missing.to_bytes(), "asked for one thing and sent another"),
        (b"P\0\0\0\x01x".to_vec(), "no answer"),
    ] {
        let told = answered(bytes).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    let silent = courier(Limits::default(), |_| {
        STOP.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_secs(60));
        None
    });
    assert!(silent.probe(&probe, &STOP).is_err());
}

fn answers() -> impl Strategy<Value = Answer> {
    let oid = any::<[u8; 20]>().prop_map(|bytes| Oid::from_bytes_or_panic(&bytes));
    let kind = prop_oneof![Just(ObjectType::Blob), Just(ObjectType::Tree), Just(ObjectType::Commit)];
    prop_oneof![
        (oid.clone(), proptest::option::of(oid)).prop_map(|(tip, beside)| Answer::Fetched(Fetched { tip, beside })),
        (kind, any::<Vec<u8>>()).prop_map(|(kind, data)| Answer::Object(RawObject { kind, data })),
        Just(Answer::Missing),
        Just(Answer::Probed),
        any::<f64>().prop_filter("no number", |number| !number.is_nan()).prop_map(Answer::Number),
        any::<u64>().prop_map(Answer::TooLarge),
        any::<[u64; 3]>().prop_map(|[waiting, audit, lost]| Answer::Taken(Backlog { waiting, audit, lost })),
        "[a-z ]{0,40}".prop_map(Answer::Failed),
    ]
}

proptest! {
    #[test]
    fn answers_arrive_as_they_were_sent(answer in answers()) {
        let bytes = answer.to_bytes();
        let (tag, body) = wire::read_frame(&mut bytes.as_slice(), usize::MAX).unwrap().unwrap();
        let arrived = Answer::parse(tag, body, HashKind::Sha1).unwrap();
        prop_assert_eq!(format!("{answer:?}"), format!("{arrived:?}"));
    }

    #[test]
    fn what_is_to_be_tried_arrives_as_it_was_asked_for(address: String, banner: Option<String>, status: u16, time: u64) {
        for what in [Trial::Tcp { address: address.clone(), banner }, Trial::Http { url: address, status }] {
            let request = Request::Probe(Probe { what, time });
            let bytes = request.to_bytes();
            let (tag, body) = wire::read_frame(&mut bytes.as_slice(), wire::MAX_REQUEST).unwrap().unwrap();
            prop_assert_eq!(Request::parse(tag, &body).unwrap(), request);
        }
    }

    #[test]
    fn no_bytes_make_either_side_panic(tag: u8, body: Vec<u8>) {
        let _ = Answer::parse(tag, body.clone(), HashKind::Sha1);
        let _ = Request::parse(tag, &body);
    }
}
