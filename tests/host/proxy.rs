// SPDX-License-Identifier: Apache-2.0
//! A web proxy that passes connections on (RFC 9110, section 9.3.6) and says to whom. A process of its own, like the servers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The first argument that makes this program a proxy; its address follows.
pub const ARGUMENT: &str = "--serve-proxy";

/// Passes on until it is killed.
pub fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = pass_on(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn pass_on(mut client: TcpStream) -> io::Result<()> {
    // Whoever wants to speak TLS waits for the answer, so nothing that belongs to the server is in this buffer.
    let mut head = BufReader::new(client.try_clone()?).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    eprintln!("{request}");
    let ["CONNECT", target, _] = request.split(' ').collect::<Vec<_>>()[..] else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\n\r\n");
    };
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)?;
    up.join().expect("copying does not panic")?;
    Ok(())
}
