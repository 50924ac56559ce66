// SPDX-License-Identifier: Apache-2.0
use std::path::PathBuf;

use super::*;

/// A responder on a unix socket under a temporary root.
struct Scene {
    root: tempfile::TempDir,
    published: Arc<Published>,
}

const SOCKET: &str = "/run/metrics.sock";

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("run")).unwrap();
        let scene = Self { root, published: Arc::default() };
        let listener = scene.listen().open(scene.root.path()).unwrap();
        let published = Arc::clone(&scene.published);
        thread::spawn(move || serve(&listener, &published));
        scene
    }

    fn listen(&self) -> Listen {
        Listen::Unix(SOCKET.into())
    }

    fn path(&self) -> PathBuf {
        self.root.path().join(&SOCKET[1..])
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }

    /// Returns all that is answered to these bytes.
    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn status(&self, request: &[u8]) -> String {
        let answer = self.ask(request);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn the_page_that_was_handed_over_last_is_the_answer() {
    let scene = Scene::new();
    assert_eq!(scene.status(GET), "503", "nothing was handed over yet");
    scene.published.put(b"one 1\n").unwrap();
    scene.published.put(b"two 2\n").unwrap();
    assert_eq!(
        scene.ask(GET),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 6\r\n\
         Connection: close\r\n\r\ntwo 2\n"
    );
}

#[test]
fn a_page_that_is_too_long_is_not_taken() {
    let scene = Scene::new();
    scene.published.put(&vec![b'a'; LONGEST_PAGE]).unwrap();
    assert!(scene.published.put(&vec![b'b'; LONGEST_PAGE + 1]).is_err());
    let answer = scene.ask(GET);
    assert!(answer.len() > LONGEST_PAGE && answer.ends_with("aaaa"));
}

#[test]
fn tcp_is_answered_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let published = Arc::new(Published::default());
    published.put(b"one 1\n").unwrap();
    thread::spawn(move || serve(&Listener::Tcp(listener), &published));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(GET).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\none 1\n"), "{answer}");
}

#[test]
fn all_but_get_metrics_is_refused() {
    let scene = Scene::new();
    scene.published.put(b"one 1\n").unwrap();
    for (status, request) in [
        ("200", "GET /metrics?name=x HTTP/1.0\r\n\r\n"),
        ("200", "GET /metrics HTTP/1.1\n\n"),
        ("404", "GET / HTTP/1.1\r\n\r\n"),
        ("404", "GET /metrics/../etc/shadow HTTP/1.1\r\n\r\n"),
        ("404", "GET http://localhost/metrics HTTP/1.1\r\n\r\n"),
        ("405", "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
        ("405", "HEAD /metrics HTTP/1.1\r\n\r\n"),
        ("400", "GET /metrics HTTP/2.0\r\n\r\n"),
        ("400", "GET /metrics\r\n\r\n"),
        ("400", "GET  /metrics HTTP/1.1\r\n\r\n"),
        ("400", "\r\n\r\n"),
    ] {
        assert_eq!(scene.status(request.as_bytes()), status, "{request:?}");
    }
    assert_eq!(scene.status(b"\xff\xfe\x16\x03\x01\r\n\r\n"), "400");
}

#[test]
fn a_long_request_is_refused_while_it_is_still_being_sent() {
    let scene = Scene::new();
    let mut stream = scene.connect();
    let long = [b"GET /metrics HTTP/1.1\r\nX: ", vec![b'x'; 2 * LONGEST_HEAD].as_slice()].concat();
    stream.write_all(&long).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn a_request_that_ends_too_early_is_refused() {
    let scene = Scene::new();
    let mut stream = scene.connect();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn one_too_many_is_closed_at_once_and_the_slow_make_room_again() {
    let scene = Scene::new();
    scene.published.put(b"one 1\n").unwrap();
    let mut slow: Vec<UnixStream> = (0..MOST_CONNECTIONS).map(|_| scene.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /met").unwrap();
    }
    // Connections are taken in order, so this one comes after all of the slow ones.
    let mut extra = scene.connect();
    let mut answer = Vec::new();
    let _ = extra.write_all(GET);
    let _ = extra.read_to_end(&mut answer);
    assert_eq!(answer, b"", "there is no place left");
    drop(slow);
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(20));
        let mut stream = scene.connect();
        let mut answer = String::new();
        stream.write_all(GET).is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")
    });
    assert!(gone, "places of connections that ended are free again");
}

#[test]
fn who_sends_a_byte_at_a_time_is_cut_off_by_the_time_of_the_whole() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let drip = thread::spawn(move || {
        // Each byte comes in time; all of them together do not.
        while theirs.write_all(b"G").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut connection = Connection::Unix(ours);
    let until = Instant::now() + Duration::from_millis(200);
    let error = connection.answer(&Published::default(), until).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
    assert!(Instant::now() >= until);
    drop(connection);
    drip.join().unwrap();
}

#[test]
fn a_socket_that_was_left_is_replaced_and_only_its_group_may_connect() {
    let scene = Scene::new();
    scene.listen().open(scene.root.path()).unwrap();
    let mode = fs::metadata(scene.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("run")).unwrap();
    fs::write(root.path().join("run/metrics.sock"), "precious").unwrap();
    let error = Listen::Unix(SOCKET.into()).open(root.path()).unwrap_err();
    assert!(matches!(error, ServeError::Occupied { .. }), "{error}");
    assert_eq!(fs::read(root.path().join("run/metrics.sock")).unwrap(), b"precious");
}
