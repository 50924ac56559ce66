// SPDX-License-Identifier: Apache-2.0
//! Servers that stand where the Git server stood and do not mean well.
//!
//! Each runs in the fabric as a process of its own: this test program with [`ARGUMENT`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The first argument that makes this program a hostile server; the name of the manner and the address follow.
pub const ARGUMENT: &str = "--serve-hostile";

/// What the server does with whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes connections and says nothing.
    Silent,
    /// Answers, a byte now and then.
    SlowLoris,
    /// Answers with what is no HTTP.
    Garbage,
    /// Has more refs than there can be.
    EndlessRefs,
    /// Sends objects without end.
    EndlessPack,
    /// Sends one object without end, so that none is ever whole.
    EndlessObject,
    /// Says that four thousand million objects follow.
    HugeCount,
    /// Sends a pack of noise.
    GarbagePack,
}

impl Manner {
    pub const ALL: &[Self] = &[
        Self::Silent,
        Self::SlowLoris,
        Self::Garbage,
        Self::EndlessRefs,
        Self::EndlessPack,
        Self::EndlessObject,
        Self::HugeCount,
        Self::GarbagePack,
    ];

    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Returns what the host may say of it: one of these.
    pub fn words(self) -> &'static [&'static str] {
        const TOO_LONG: &str = "took more than";
        // Told to end by its limit of memory, the courier cannot say why any more.
        const OUT_OF_MEMORY: &str = "the courier does not answer";
        match self {
            Self::Silent | Self::SlowLoris => &[TOO_LONG],
            Self::Garbage => &["cannot reach"],
            Self::EndlessRefs | Self::EndlessObject => &[TOO_LONG, OUT_OF_MEMORY],
            Self::EndlessPack => &["would bring more than", TOO_LONG],
            Self::HugeCount | Self::GarbagePack => &["cannot fetch"],
        }
    }
}

/// The commit that the server says it has.
const TIP: &str = "4c9a5f1b0e3d2c7a8b6f4e1d9c0a7b5e3f2d1c6a";

/// Serves at an address in the manner of that name until it is killed.
pub fn serve(manner: &str, address: &str) -> io::Result<()> {
    let manner = Manner::ALL.iter().copied().find(|known| known.name() == manner);
    let manner = manner.ok_or_else(|| io::Error::other("no such manner"))?;
    let listener = TcpListener::bind(address)?;
    println!("listening");
    serve_on(&listener, manner)
}

/// Serves in the manner until the process ends.
pub fn serve_on(listener: &TcpListener, manner: Manner) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // That a client hangs up is what it should do.
            let _ = answer(manner, &stream);
        });
    }
    Ok(())
}

fn answer(manner: Manner, mut stream: &TcpStream) -> io::Result<()> {
    if manner == Manner::Garbage {
        return stream.write_all(&noise(100_000));
    }
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = Vec::new();
    (&mut reader).take(length.unwrap_or(0)).read_to_end(&mut body)?;
    if length.is_none() && head.starts_with("POST") {
        // In chunks; whatever they say, the last one is empty.
        while !body.ends_with(b"0\r\n\r\n") && reader.read_until(b'\n', &mut body)? > 0 {}
    }
    let asks_for = |what: &str| String::from_utf8_lossy(&body).contains(what);
    let kind = if head.starts_with("GET") { "advertisement" } else { "result" };
    let http = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\n\
         Content-Type: application/x-git-upload-pack-{kind}\r\n\r\n"
    );
    match manner {
        Manner::Silent => {
            stream.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        Manner::SlowLoris => {
            for byte in http.bytes().chain(std::iter::repeat(b'0')) {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(300));
            }
        }
        _ => stream.write_all(http.as_bytes())?,
    }
    if head.starts_with("GET") {
        packet(stream, b"# service=git-upload-pack\n")?;
        stream.write_all(b"0000")?;
        for line in ["version 2\n", "agent=git/2.39.0\n", "ls-refs=unborn\n", "fetch=shallow\n", "object-format=sha1\n"]
        {
            packet(stream, line.as_bytes())?;
        }
        return stream.write_all(b"0000");
    }
    if asks_for("command=ls-refs") {
        packet(stream, format!("{TIP} refs/heads/main\n").as_bytes())?;
        if manner == Manner::EndlessRefs {
            let mut out = io::BufWriter::new(stream);
            for number in 0_u64.. {
                packet(&mut out, format!("{TIP} refs/heads/main-{number:0>200}\n").as_bytes())?;
            }
        }
        return stream.write_all(b"0000");
    }
    if !asks_for("done") {
        packet(stream, b"acknowledgments\n")?;
        packet(stream, b"ready\n")?;
        stream.write_all(b"0001")?;
    }
    packet(stream, b"packfile\n")?;
    pack(manner, &mut Band(stream))
}

/// Writes a pack, which ends when nobody wants it any more.
fn pack(manner: Manner, out: &mut impl Write) -> io::Result<()> {
    let head = |count: u32| [b"PACK\0\0\0\x02".as_slice(), &count.to_be_bytes()].concat();
    match manner {
        Manner::HugeCount => {
            out.write_all(&head(u32::MAX))?;
            objects(out, u32::MAX)
        }
        Manner::GarbagePack => {
            out.write_all(&head(100))?;
            out.write_all(&noise(1_000_000))
        }
        Manner::EndlessObject => {
            out.write_all(&head(1))?;
            out.write_all(&entry_head(1 << 40))?;
            out.write_all(&[0x78, 0x01])?;
            let data = noise(0xffff);
            loop {
                out.write_all(&stored(&data, false))?;
            }
        }
        _ => {
            // More than 10 GiB; of a higher number the Git library would not believe the head already.
            out.write_all(&head(200_000))?;
            objects(out, 200_000)
        }
    }
}

/// Writes blobs that do not compress.
fn objects(out: &mut impl Write, count: u32) -> io::Result<()> {
    let mut data = noise(0xffff);
    for number in 0..count {
        data[..4].copy_from_slice(&number.to_be_bytes());
        out.write_all(&entry_head(data.len() as u64))?;
        out.write_all(&[0x78, 0x01])?;
        out.write_all(&stored(&data, true))?;
        out.write_all(&adler32(&data).to_be_bytes())?;
    }
    Ok(())
}

/// Returns the head of a blob in a pack: type and size.
fn entry_head(mut size: u64) -> Vec<u8> {
    const BLOB: u8 = 3;
    let mut bytes = vec![BLOB << 4 | (size & 0x0f) as u8];
    size >>= 4;
    while size > 0 {
        *bytes.last_mut().expect("there is the first one") |= 0x80;
        bytes.push((size & 0x7f) as u8);
        size >>= 7;
    }
    bytes
}

/// Returns a block of RFC 1951 that is not compressed.
fn stored(data: &[u8], is_last: bool) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a block has less than 64 KiB");
    [&[u8::from(is_last)][..], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat()
}

fn adler32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

/// Writes one packet of Git's protocol.
fn packet(mut out: impl Write, data: &[u8]) -> io::Result<()> {
    out.write_all(format!("{:04x}", data.len() + 4).as_bytes())?;
    out.write_all(data)
}

/// The side band on which a pack goes.
struct Band<'s>(&'s TcpStream);

impl Write for Band<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let part = &data[..data.len().min(65_000)];
        packet(self.0, &[b"\x01", part].concat())?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns bytes without a pattern; the same ones each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
