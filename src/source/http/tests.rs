// SPDX-License-Identifier: Apache-2.0

use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::*;

const TIME: Duration = Duration::from_secs(30);
const ASKED: &str = "/info/refs?service=git-upload-pack";

/// A server that gives these answers, one a connection, and returns what it was asked.
fn server(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked =
        thread::spawn(move || answers.iter().map(|answer| serve(&listener.accept().unwrap().0, answer)).collect());
    (address, asked)
}

fn serve(mut stream: &TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream);
    let mut asked = String::new();
    while !asked.ends_with("\r\n\r\n") {
        reader.read_line(&mut asked).unwrap();
    }
    let length = asked.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut text = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut text).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    asked + &String::from_utf8(text).unwrap()
}

fn read(mut reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader.read_to_string(&mut text).map(|_| text)
}

fn get(client: &mut Client, base: &str) -> gix::Result<(io::Result<String>, String)> {
    let headers = ["Authorization: Basic c2VjcmV0", "Git-Protocol: version=2"];
    let GetResponse { headers, body } = client.get(&format!("{base}{ASKED}"), base, headers)?;
    Ok((read(headers), read(body).unwrap()))
}

fn post(client: &mut Client, base: &str) -> (io::Result<String>, io::Result<String>) {
    let kind = PostBodyDataKind::Unbounded;
    let PostResponse { mut post_body, headers, body } =
        client.post(&format!("{base}/git-upload-pack"), base, ["Accept: a/b"], kind).unwrap();
    post_body.write_all(b"0000").unwrap();
    post_body.write_all(b"0001").unwrap();
    drop(post_body);
    (read(headers), read(body))
}

#[test]
fn what_is_asked_comes_with_its_headers_and_is_sent_once() {
    let (address, asked) = server(&[
        "HTTP/1.1 200 OK\r\ncontent-type: x/y\r\ncontent-length: 3\r\nconnection: close\r\n\r\none",
        "HTTP/1.1 200 OK\r\nContent-Type: z\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n",
    ]);
    let base = format!("http://me:hidden@{address}/a.git");
    let mut client = Client::new(TIME);
    let (headers, body) = get(&mut client, &base).unwrap();
    assert_eq!((headers.unwrap().as_str(), body.as_str()), ("Content-Type: x/y\n", "one"));
    let (headers, body) = post(&mut client, &base);
    assert_eq!((headers.unwrap().as_str(), body.unwrap().as_str()), ("Content-Type: z\n", "two"));
    assert_eq!(client.redirected_base_url(), None);
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("GET /a.git/info/refs?service=git-upload-pack HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].to_lowercase().contains("\r\ngit-protocol: version=2\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("POST /a.git/git-upload-pack HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].to_lowercase().contains("\r\naccept: a/b\r\n"), "{asked:?}");
    assert!(asked[1].ends_with("\r\n\r\n00000001"), "{asked:?}");
    assert!(!asked.concat().contains("hidden"), "who is there is the library's to say: {asked:?}");
}

#[test]
fn a_server_that_asks_who_is_there_is_told_from_one_that_fails() {
    let (address, _) = server(&[
        "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ]);
    let mut client = Client::new(TIME);
    let error = get(&mut client, &format!("http://{address}/a.git")).unwrap().0.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let asks: &AuthenticationRequired = error.get_ref().unwrap().downcast_ref().unwrap();
    assert_eq!(asks.www_authenticate, ["Basic realm=\"a\""]);
    let (headers, body) = post(&mut client, &format!("http://{address}/a.git"));
    assert_eq!(headers.unwrap_err().to_string(), "Received HTTP status 503");
    assert_eq!(body.unwrap(), "");
}

#[test]
fn the_first_question_may_be_passed_on_and_the_token_stays() {
    let (there, asked) = server(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]);
    let sends = format!("HTTP/1.1 302 There\r\nLocation: http://{there}/b.git{ASKED}\r\ncontent-length: 0\r\n\r\n");
    let (here, _) = server(vec![&*sends.leak()].leak());
    let mut client = Client::new(TIME);
    get(&mut client, &format!("http://{here}/a.git")).unwrap().0.unwrap();
    assert_eq!(client.redirected_base_url(), Some(format!("http://{there}/b.git")));
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("GET /b.git/info/refs?service=git-upload-pack "), "{asked:?}");
    assert!(!asked[0].to_lowercase().contains("authorization"), "{asked:?}");
}

#[test]
fn a_place_that_is_no_repo_is_not_taken_for_one() {
    let (address, _) = server(&[
        "HTTP/1.1 302 There\r\nLocation: /login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ]);
    let error = get(&mut Client::new(TIME), &format!("http://{address}/a.git")).unwrap_err().to_string();
    assert!(error.contains(&format!("http://{address}/login")), "{error}");
}

#[test]
fn no_other_question_is_passed_on() {
    let (address, _) = server(&["HTTP/1.1 307 There\r\nLocation: /b.git\r\ncontent-length: 0\r\n\r\n"]);
    let (headers, _) = post(&mut Client::new(TIME), &format!("http://{address}/a.git"));
    assert_eq!(headers.unwrap_err().to_string(), "Received HTTP status 307");
}

#[test]
fn whoever_was_asked_in_secret_does_not_send_to_where_all_can_read() {
    // That the answer came encrypted needs no server here: what is asked of ureq is refused before a byte is sent.
    let agent = Client::new(TIME).agent;
    let request = agent.get("http://127.0.0.1:9/").config().https_only(true).build();
    assert!(matches!(request.call(), Err(ureq::Error::RequireHttpsOnly(_))));
}

#[test]
fn a_server_that_never_ends_costs_no_more_than_the_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let held = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(&stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome");
        stream
    });
    let mut client = Client::new(Duration::from_millis(300));
    let base = format!("http://{address}/a.git");
    let GetResponse { body, .. } = client.get(&format!("{base}{ASKED}"), &base, [""; 0]).unwrap();
    let error = read(body).unwrap_err().to_string();
    assert!(error.contains("timeout"), "{error}");
    drop(held.join().unwrap());
}
