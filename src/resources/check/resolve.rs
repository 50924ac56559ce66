// SPDX-License-Identifier: Apache-2.0
//! Checks a check as the repo writes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Fault, Faults, Origin};

use super::{Desired, Spec, Way};

/// A name is a word, as it stands in `check:NAME`.
const NAME_MAX: usize = 64;
/// The path of a socket has no more bytes: `sun_path` of unix(7).
const SOCKET_MAX: usize = 107;
const MINUTE: Duration = Duration::from_secs(60);
const RETRIES_MAX: u32 = 60;
/// No check keeps a cycle longer than this, at the worst.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn resolve(name: &str, spec: Spec, origin: &Origin) -> Result<Desired, Faults> {
    let mut faults = Faults::default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_word) {
        let fault =
            Fault::new(origin.object.clone(), format!("\"{}\" cannot be the name of a check", name.escape_debug()));
        faults.push(fault.hint("names have at most 64 letters, digits, dots, hyphens and underscores"));
    }
    let length = |field: &str, text: Option<&String>, default, least, faults: &mut Faults| match text {
        None => default,
        Some(text) => match humantime::parse_duration(text) {
            Ok(length) if (least..=MINUTE).contains(&length) => length,
            _ => {
                let fault =
                    Fault::new(origin.of(field).clone(), format!("{field} \"{}\" cannot be used", text.escape_debug()));
                faults.push(fault.hint("write a number and a unit, up to one minute: 500ms, 5s"));
                default
            }
        },
    };
    let second = Duration::from_secs(1);
    let timeout = length("timeout", spec.timeout.as_ref(), 5 * second, Duration::from_millis(1), &mut faults);
    let every = length("every", spec.every.as_ref(), 2 * second, Duration::ZERO, &mut faults);
    let retries = spec.retries.unwrap_or(5);
    if retries > RETRIES_MAX {
        let fault = Fault::new(origin.of("retries").clone(), format!("{retries} retries are too many"));
        faults.push(fault.hint("write 60 at the most"));
    } else if timeout * (retries + 1) + every * retries > LONGEST {
        let fault = Fault::new(origin.object.clone(), "the check may take longer than 5 minutes");
        faults.push(fault.hint("it takes timeout once more than retries, and every in between; make one of them less"));
    }
    let way = way(&spec, origin, &mut faults);
    faults.or(Desired { way, timeout, retries, every })
}

/// Returns how the check is made, if the repo says, and notes what is wrong with that.
fn way(spec: &Spec, origin: &Origin, faults: &mut Faults) -> Option<Way> {
    let Spec { http, status, tcp, unix, command, .. } = spec;
    let mut ways: Vec<(&str, Result<Way, &str>)> = Vec::new();
    ways.extend(http.as_ref().map(|url| ("http", of_url(url, status.unwrap_or(200)))));
    ways.extend(tcp.as_ref().map(|address| ("tcp", of_address(address))));
    ways.extend(unix.as_ref().map(|path| ("unix", of_path(path))));
    ways.extend(command.as_ref().map(|command| ("command", of_command(command))));
    if status.is_some_and(|status| !(100..=599).contains(&status)) {
        let fault = Fault::new(origin.of("status").clone(), "this is not a status of HTTP");
        faults.push(fault.hint("write a number from 100 to 599"));
    }
    if status.is_some() && http.is_none() {
        let fault = Fault::new(origin.of("status").clone(), "only a check by http has a status");
        faults.push(fault.hint("remove the field, or write http: with a URL"));
    }
    if let [_, .., (field, _)] = ways.as_slice() {
        let fault = Fault::new(origin.of(field).clone(), "there is more than one way to check");
        faults.push(fault.hint("write one of http, tcp, unix and command"));
    }
    let mut found = None;
    for (field, way) in ways {
        match way {
            Ok(way) => found = Some(way),
            Err(hint) => {
                let fault = Fault::new(origin.of(field).clone(), format!("{field} cannot be used"));
                faults.push(fault.hint(hint));
            }
        }
    }
    found
}

/// The courier, which asks, reads the URL as a whole; here is what can be said without it.
fn of_url(url: &str, status: u32) -> Result<Way, &'static str> {
    let hint = "write a URL of a web server without a user or a password: http://127.0.0.1/health";
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or(hint)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && url.len() <= 2048;
    if authority.is_empty() || authority.contains('@') || !is_plain {
        return Err(hint);
    }
    Ok(Way::Http { url: url.to_owned(), status })
}

fn of_address(address: &str) -> Result<Way, &'static str> {
    let hint = "write HOST:PORT, such as 127.0.0.1:5432, or [::1]:5432";
    let (host, port) = address.rsplit_once(':').ok_or(hint)?;
    let is_bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match is_bracketed {
        Some(number) => number.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    // One way to write a number.
    let is_port = port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
    if is_host && is_port { Ok(Way::Tcp(address.to_owned())) } else { Err(hint) }
}

fn of_path(path: &str) -> Result<Way, &'static str> {
    let is_usable = is_absolute(path) && path.len() <= SOCKET_MAX;
    if is_usable { Ok(Way::Unix(PathBuf::from(path))) } else { Err("write an absolute path of at most 107 bytes") }
}

fn of_command(command: &[String]) -> Result<Way, &'static str> {
    match command.first() {
        Some(program) if is_absolute(program) && !command.iter().any(|part| part.contains('\0')) => {
            Ok(Way::Command(command.to_vec()))
        }
        _ => Err("write a list of a program, by its absolute path, and its arguments: [/usr/bin/test, -f, /run/ready]"),
    }
}

fn is_absolute(path: &str) -> bool {
    Path::new(path).is_absolute() && !path.contains('\0')
}
