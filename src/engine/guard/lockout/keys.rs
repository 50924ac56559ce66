// SPDX-License-Identifier: Apache-2.0
//! Which lines of authorized_keys let somebody in who wants a shell: sshd(8), AUTHORIZED_KEYS FILE FORMAT. Pure.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::resources::firewall::Range;
use crate::resources::user::Key;

use super::patterns::{lists_address, nets};
use super::sshd::Settings;

/// Says why the file lets nobody in from `address` to a shell; `None` if it does.
pub fn obstacle(content: &[u8], address: IpAddr, settings: &Settings, now: SystemTime) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut why = "holds no key".to_owned();
    for line in lines {
        match line_obstacle(line, address, settings, now) {
            None => return None,
            Some(obstacle) => why = obstacle,
        }
    }
    Some(why)
}

fn line_obstacle(line: &str, address: IpAddr, settings: &Settings, now: SystemTime) -> Option<String> {
    let Ok(key) = Key::parse(line) else { return Some("holds a line that is no key".to_owned()) };
    if !settings.takes(key.kind()) {
        return Some(format!("holds a key of the type {}, which PubkeyAcceptedAlgorithms leaves out", key.kind()));
    }
    let (mut terminal, mut elsewhere) = (true, None);
    for option in options(key.options()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "command" => return Some("holds a key that may only run a command".to_owned()),
            "restrict" | "no-pty" => terminal = false,
            "pty" => terminal = true,
            "from" if !lists_address(value, address) => elsewhere = Some(value.to_owned()),
            "expiry-time" if expiry(value).is_none_or(|expiry| expiry <= now) => {
                return Some(format!("holds a key that expired at {value}"));
            }
            _ => {}
        }
    }
    match elsewhere {
        _ if !terminal => Some("holds a key that gets no terminal".to_owned()),
        Some(value) => Some(format!("holds a key that counts only from {value}")),
        None => None,
    }
}

/// Returns the networks that the file's `from` options name.
pub fn sources(content: &[u8]) -> Vec<Range> {
    let text = String::from_utf8_lossy(content);
    let keys = text.lines().filter_map(|line| Key::parse(line).ok());
    let mut found = Vec::new();
    for key in keys {
        for option in options(key.options()) {
            if let Some(value) = option.strip_prefix("from=") {
                found.extend(nets(value.trim_matches('"')));
            }
        }
    }
    found
}

/// Splits options at the commas outside of quotation marks.
fn options(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let is_end = |c: char| {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        c == ',' && !quoted
    };
    text.split(is_end).filter(|option| !option.is_empty()).collect()
}

/// Reads `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without a Z. Without one sshd means local time; here it is
/// UTC all the same, so near its end a key may be judged some hours wrong.
fn expiry(text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or("00");
    let [year, month, day] = [digits.get(0..4)?, digits.get(4..6)?, digits.get(6..8)?];
    let [hours, minutes, seconds] = match digits.len() {
        8 => ["00"; 3],
        12 | 14 => [part(8..10), part(10..12), part(12..14)],
        _ => return None,
    };
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hours}:{minutes}:{seconds}Z")).ok()
}
