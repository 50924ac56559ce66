// SPDX-License-Identifier: Apache-2.0
//! Everything arrives, once a receiver lets it, and nobody waits for a receiver that does not.

use std::time::Instant;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use super::server::Act;
use super::*;

#[test]
fn after_a_5xx_an_entry_is_delivered_once_and_not_before_its_time() {
    let server = Server::scripted(&[Act::status(503), Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    let shipped = post.ship();
    assert_eq!((shipped.sent(), shipped.waiting()), (0, 1));
    assert_eq!(Post::problem(&shipped), "it answers 503");
    let next = shipped.next.unwrap();
    assert!(next >= now() + Duration::from_secs(1) && next <= now() + Duration::from_secs(2));
    post.ship();
    assert_eq!(server.received().len(), 1, "it was asked again at once");
    let shipped = post.shipper.run_once(next);
    assert_eq!((shipped.sent(), shipped.waiting(), shipped.next), (1, 0, None));
    assert_eq!(Post::problem(&shipped), "");
    post.ship_later(600);
    assert_eq!(messages(&server), [["a"], ["a"]]);
    let id = |at: usize| server.received()[at].json()[0]["id"].clone();
    assert_eq!(id(0), id(1));
}

#[test]
fn waits_double_up_to_ten_minutes_and_a_receiver_may_ask_for_more() {
    let server = Server::scripted(&[Act::status(500)]);
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    let mut time = now();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let next = post.shipper.run_once(time).next.unwrap();
        waits.push(next.duration_since(time).unwrap().as_secs_f64());
        time = next;
    }
    for (at, wait) in waits.iter().enumerate() {
        let full = (2.0 * f64::from(1 << at)).min(600.0);
        assert!(*wait <= full && *wait >= (full / 2.0).max(1.0), "{waits:?}");
    }
    for (asked, least, most) in [("90", 90, 600), ("Sun, 01 Mar 2026 23:00:00 GMT", 3600, 3600), ("soon", 0, 600)] {
        let mut post = Post::of(&webhook(&server));
        server.otherwise(Act::Answer(
            429,
            Box::leak(format!("retry-after: {asked}\r\n").into_boxed_str()),
            String::new(),
        ));
        post.push(Kind::Drift, "a");
        let wait = post.ship().next.unwrap().duration_since(now()).unwrap().as_secs();
        assert!((least..=most).contains(&wait), "{asked}: {wait}");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_a_sink() {
    let server = Server::scripted(&[Act::status(500), Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    post.ship();
    let shipped = post.shipper.run_once(now() - Duration::from_secs(24 * 60 * 60));
    assert_eq!(shipped.sent(), 1);
}

#[test]
fn a_server_that_answers_a_byte_at_a_time_costs_one_timeout() {
    let server = Server::scripted(&[Act::Trickle, Act::status(200)]);
    let mut post = Post::of(&webhook(&server).replace("timeout: 2s", "timeout: 300ms"));
    post.push(Kind::Drift, "a");
    let start = Instant::now();
    let shipped = post.ship();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((shipped.waiting(), Post::problem(&shipped)), (1, "it did not answer in time"));
    assert_eq!(post.ship_later(1).sent(), 1);
}

#[test]
fn an_endless_answer_is_cut_off() {
    let server = Server::scripted(&[Act::Endless]);
    let mut post = Post::of(&webhook(&server).replace("timeout: 2s", "timeout: 20s"));
    post.push(Kind::Drift, "a");
    let start = Instant::now();
    assert_eq!(post.ship().sent(), 1);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_connection_that_closes_or_is_refused_is_tried_again() {
    let server = Server::scripted(&[Act::Close, Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    assert_eq!(post.ship().waiting(), 1);
    assert_eq!(post.ship_later(1).sent(), 1);
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut post = Post::of(&format!("- {{webhook: {{url: 'http://{free}/'}}, proxy: none}}"));
    post.push(Kind::Drift, "a");
    let shipped = post.ship();
    assert_eq!(shipped.waiting(), 1);
    assert!(Post::problem(&shipped).starts_with("cannot connect: "), "{}", Post::problem(&shipped));
}

#[test]
fn a_dead_sink_holds_neither_the_others_nor_a_push() {
    let (dead, alive) = (Server::scripted(&[Act::After(Duration::from_secs(8))]), Server::start());
    let both = webhook(&dead).replace("{webhook", "{name: dead, webhook").replace("2s", "3s") + &webhook(&alive);
    let mut post = Post::of(&both);
    post.push(Kind::Drift, "a");
    let spool = post.spool.clone();
    let (start, shipping) = (Instant::now(), std::thread::spawn(move || (post.ship(), post)));
    while alive.received().is_empty() || dead.received().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(start.elapsed() < Duration::from_millis(2500), "the living one was not served");
    }
    spool.push(&entry(Kind::Drift, "b")).unwrap();
    assert!(start.elapsed() < Duration::from_millis(2500), "the push has waited for the network");
    let (shipped, mut post) = shipping.join().unwrap();
    let by_name = |shipped: &Shipped, name: &str| {
        let sink = shipped.sinks.iter().find(|sink| sink.name == name).unwrap();
        (sink.sent, sink.waiting)
    };
    assert_eq!(by_name(&shipped, "dead"), (0, 2));
    assert!(by_name(&shipped, "webhook").0 >= 1);
    post.ship();
    assert_eq!(messages(&alive).concat(), ["a", "b"]);
    assert_eq!(dead.received().len(), 1, "the dead one was asked before its time");
}

#[test]
fn a_push_wakes_the_shipper_and_it_ends_when_nobody_can_wake_it() {
    let server = Server::scripted(&[Act::status(200), Act::status(503), Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    let spool = post.spool.clone();
    let (wake, woken) = std::sync::mpsc::channel();
    let shipping = std::thread::spawn(move || {
        let mut sent = 0;
        post.shipper.run(&woken, |shipped| sent += shipped.sent());
        sent
    });
    let start = Instant::now();
    for (count, text) in [(1, "a"), (3, "b")] {
        spool.push(&entry(Kind::Drift, text)).unwrap();
        wake.send(()).unwrap();
        // The second is refused at first, and sent again without being woken.
        while server.received().len() < count || spool.waiting() > 0 {
            std::thread::sleep(Duration::from_millis(5));
            assert!(start.elapsed() < Duration::from_secs(10), "{text} was not sent");
        }
    }
    drop(wake);
    assert_eq!(shipping.join().unwrap(), 2);
}

#[test]
fn a_backlog_goes_in_batches_in_order_and_not_too_fast() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    let numbers: Vec<String> = (0..12_000).map(|number| number.to_string()).collect();
    let entries: Vec<Entry> = numbers.iter().map(|number| entry(Kind::Drift, number)).collect();
    post.spool.push_all(&entries).unwrap();
    let shipped = post.ship();
    assert_eq!((shipped.sent(), shipped.waiting()), (5_000, 7_000));
    assert_eq!(shipped.next, Some(now() + Duration::from_secs(1)));
    assert_eq!(post.shipper.run_once(now() + Duration::from_secs(3)).sent(), 1_500);
    assert_eq!(post.ship_later(1).sent(), 5_000);
    assert_eq!(post.ship_later(2).sent(), 500);
    let batches = messages(&server);
    assert!(batches.iter().all(|batch| batch.len() <= 500));
    assert_eq!(batches.concat(), numbers);
    // Large ones fill a request before there are so many.
    let large = "x".repeat(50_000);
    post.spool.push_all(&vec![entry(Kind::Drift, &large); 30]).unwrap();
    post.ship_later(3);
    let sizes: Vec<usize> = server.received().iter().map(|request| request.body.len()).collect();
    assert!(sizes.iter().all(|size| *size < 600_000), "{sizes:?}");
    assert_eq!(post.spool.waiting(), 0);
}

/// Makes a certificate for `name`, signed by itself.
fn certificate(name: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut made = X509::builder().unwrap();
    made.set_version(2).unwrap();
    made.set_subject_name(&subject).unwrap();
    made.set_issuer_name(&subject).unwrap();
    made.set_pubkey(&key).unwrap();
    made.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    made.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    made.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns(name).build(&made.x509v3_context(None, None)).unwrap();
    made.append_extension(names).unwrap();
    made.sign(&key, MessageDigest::sha256()).unwrap();
    (made.build(), key)
}

#[test]
fn only_certificates_of_the_named_authority_are_accepted() {
    let (certificate, key) = certificate("localhost");
    let mut tls = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    tls.set_certificate(&certificate).unwrap();
    tls.set_private_key(&key).unwrap();
    let server = Server::new(&[], Act::status(200), Some(tls.build()));
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (own, other) = (file("own.pem", &certificate.to_pem().unwrap()), {
        let (other, _) = self::certificate("localhost");
        file("other.pem", &other.to_pem().unwrap())
    });
    let empty = file("empty.pem", b"no certificate");
    let ship = |host: &str, ca: &str| {
        let url = format!("https://{host}:{}/", server.port());
        let mut post = Post::of(&format!("- {{webhook: {{url: '{url}'}}, proxy: none{ca}}}"));
        post.push(Kind::Drift, "a");
        post.ship()
    };
    let shipped = ship("localhost", &format!(", ca: {own}"));
    assert_eq!(shipped.sent(), 1, "{shipped:?}");
    for (host, ca) in [
        // Not among the system's authorities, signed by another one, and for another name.
        ("localhost", String::new()),
        ("localhost", format!(", ca: {other}")),
        ("127.0.0.1", format!(", ca: {own}")),
    ] {
        let shipped = ship(host, &ca);
        assert!(Post::problem(&shipped).starts_with("no secure connection: "), "{host} {ca}: {shipped:?}");
    }
    // Without an authority of its own, those of the system count, which OpenSSL lets the environment name.
    let reports = format!("- {{webhook: {{url: 'https://localhost:{}/system'}}, proxy: none}}", server.port());
    let post = Post::of(&reports);
    post.push(Kind::Drift, "a");
    let post = post.close();
    kill::command("ship", &post, &reports).env("SSL_CERT_FILE", files.path().join("own.pem")).status().unwrap();
    assert_eq!(post.open().spool.waiting(), 0);
    assert_eq!(server.received().pop().unwrap().line, "POST /system HTTP/1.1");
    let shipped = ship("localhost", &format!(", ca: {empty}"));
    assert_eq!(Post::problem(&shipped), format!("{empty} has no certificate in it; it must be a PEM file"));
    let shipped = ship("localhost", ", ca: /nowhere.pem");
    assert!(Post::problem(&shipped).starts_with("cannot read /nowhere.pem: No such file"), "{shipped:?}");
    assert_eq!(server.received().len(), 2);
}

#[test]
fn the_proxy_of_the_configuration_or_of_the_environment_is_asked_for_the_way() {
    let proxy = Server::start();
    let reports = format!("- {{webhook: {{url: 'http://receiver.example:8080/hook'}}, proxy: '{}'}}", proxy.url());
    let mut post = Post::of(&reports);
    post.push(Kind::Drift, "a");
    assert_eq!(post.ship().sent(), 1);
    let lines: Vec<String> = proxy.received().into_iter().map(|request| request.line).collect();
    assert_eq!(lines, ["CONNECT receiver.example:8080 HTTP/1.1", "POST /hook HTTP/1.1"]);
    // Without one, the environment's, unless it is not wanted.
    let direct = Server::start();
    for (reports, through) in
        [("- {webhook: {url: 'http://receiver.example:8080/hook'}, timeout: 5s}".to_owned(), 4), (webhook(&direct), 4)]
    {
        let post = Post::of(&reports);
        post.push(Kind::Drift, "a");
        let post = post.close();
        let mut command = kill::command("ship", &post, &reports);
        command.env("ALL_PROXY", proxy.url()).env_remove("NO_PROXY").env_remove("no_proxy").status().unwrap();
        assert_eq!((post.open().spool.waiting(), proxy.received().len()), (0, through));
    }
    assert_eq!(direct.received().len(), 1);
}
