// SPDX-License-Identifier: Apache-2.0
//! Stands between client and server, and counts.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex};
use std::thread;

/// What went through, without the headers of TCP.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub connections: u64,
    /// How often the server had its turn: what the way there and back is paid for.
    pub exchanges: u64,
    pub up: u64,
    pub down: u64,
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            exchanges: self.exchanges - before.exchanges,
            up: self.up - before.up,
            down: self.down - before.down,
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        self.connections += more.connections;
        self.exchanges += more.exchanges;
        self.up += more.up;
        self.down += more.down;
    }
}

/// A port that leads to a server on another one.
pub struct Relay {
    pub port: u16,
    count: Arc<Mutex<Count>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Relay {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), count: Arc::default() };
        let count = Arc::clone(&relay.count);
        thread::spawn(move || {
            for client in listener.incoming() {
                count.lock().unwrap().connections += 1;
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let turn = Arc::new(Mutex::new(Direction::Down));
                for (from, to, direction) in [(&client, &server, Direction::Up), (&server, &client, Direction::Down)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (turn, count) = (Arc::clone(&turn), Arc::clone(&count));
                    thread::spawn(move || pass(from, to, direction, &turn, &count));
                }
            }
        });
        relay
    }

    pub fn count(&self) -> Count {
        *self.count.lock().unwrap()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, direction: Direction, turn: &Mutex<Direction>, count: &Mutex<Count>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        {
            let (mut count, mut turn) = (count.lock().unwrap(), turn.lock().unwrap());
            match direction {
                Direction::Up => count.up += length as u64,
                Direction::Down => count.down += length as u64,
            }
            count.exchanges += u64::from(direction == Direction::Down && *turn == Direction::Up);
            *turn = direction;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
