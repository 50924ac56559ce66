// SPDX-License-Identifier: Apache-2.0
//! The proxy that the courier goes through: by its environment, as libcurl reads it (libcurl-env(3)).

use std::collections::BTreeMap;
use std::path::Path;

use crate::host::{ReadHost, RealHost, WriteHost};
use crate::model::chain;
use crate::source::{Place, RemoteKind};

use super::Check;

const NAME: &str = "proxy";

/// What the unit of the courier reads its environment from.
const FILE: &str = "/etc/default/hostwrit";

const ADVICE: &str =
    "write https_proxy=http://HOST:PORT into /etc/default/hostwrit, then systemctl restart hostwrit-courier";

/// Which proxy the courier uses for its remote.
#[derive(Debug, PartialEq, Eq)]
pub enum Via {
    /// It has no use for one.
    NoMatter,
    Nothing,
    /// One is set, and not for this server.
    Excepted,
    /// `HOST:PORT`, and whether the port is one that nobody wrote.
    Server(String, bool),
    /// The variable that holds it, and what is wrong with that.
    Wrong(&'static str, &'static str),
    /// Its environment cannot be read.
    Unknown(String),
}

impl Via {
    /// Returns the server that everything goes through, if there is one.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Server(server, _) => Some(server),
            _ => None,
        }
    }
}

/// Finds out which proxy is used.
pub fn of_courier(host: &RealHost, place: Option<&Place>) -> Via {
    let Some(place) = place.filter(|place| place.kind == RemoteKind::Http) else { return Via::NoMatter };
    match environment(host) {
        Ok(environment) => choose(&environment, place),
        Err(why) => Via::Unknown(why),
    }
}

/// Says what was found.
pub fn check(via: &Via, place: Option<&Place>) -> Check {
    let server = place.and_then(|place| place.host.as_deref()).unwrap_or("the server");
    match via {
        Via::NoMatter => Check::skipped(NAME, "the remote is not reached by HTTP"),
        Via::Nothing => Check::ok(NAME, "the courier uses none"),
        Via::Excepted => Check::ok(NAME, format!("no_proxy has {server} reached without one")),
        Via::Server(proxy, false) => Check::ok(NAME, format!("{server} is reached by way of {proxy}")),
        Via::Server(proxy, true) => Check::warning(
            NAME,
            format!("{proxy} is used: the port of the proxy is not named, and that is the default"),
            ADVICE,
        ),
        Via::Wrong(variable, why) => Check::failed(NAME, format!("{variable} {why}"), ADVICE),
        Via::Unknown(why) => Check::warning(NAME, why.clone(), format!("look at {FILE}, and at the service manager")),
    }
}

/// Returns the environment of the courier: what its unit sets, and what the file says, which counts more.
fn environment(host: &RealHost) -> Result<BTreeMap<String, String>, String> {
    let mut environment = BTreeMap::new();
    if host.is_live() {
        let args = ["show", "--property=Environment", "--value", "hostwrit-courier.service"];
        let output = host.run("systemctl", &args).map_err(|error| chain(&error))?;
        let set = String::from_utf8_lossy(&output.stdout).into_owned();
        environment.extend(set.split_whitespace().filter_map(assignment));
    }
    let file = host.read(Path::new(FILE)).map_err(|error| chain(&error))?.unwrap_or_default();
    environment.extend(String::from_utf8_lossy(&file).lines().filter_map(assignment));
    Ok(environment)
}

/// Reads `NAME=VALUE` as a line of an EnvironmentFile (systemd.exec(5)).
fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().split_once('=')?;
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    (!name.starts_with(['#', ';'])).then(|| (name.trim().to_owned(), unquoted.unwrap_or(value).to_owned()))
}

fn choose(environment: &BTreeMap<String, String>, place: &Place) -> Via {
    // HTTP_PROXY is what a CGI program is given by whoever asks, so it does not count.
    let names: &[&'static str] = match place.is_encrypted {
        true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    let set = |name: &&str| environment.get(*name).filter(|value| !value.is_empty());
    let Some((variable, value)) = names.iter().find_map(|name| Some((*name, set(name)?))) else { return Via::Nothing };
    let excepted = ["no_proxy", "NO_PROXY"].iter().find_map(set).map(String::as_str).unwrap_or_default();
    if place.host.as_deref().is_some_and(|host| is_excepted(host, excepted)) {
        return Via::Excepted;
    }
    match server(value) {
        Ok((server, is_default)) => Via::Server(server, is_default),
        Err(why) => Via::Wrong(variable, why),
    }
}

fn is_excepted(host: &str, excepted: &str) -> bool {
    let is_it = |name: &str| {
        let name = name.trim_start_matches('.');
        !name.is_empty() && (host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
    };
    excepted.split([',', ' ']).any(|name| name == "*" || is_it(name))
}

/// Returns `HOST:PORT` of a proxy without the password that may stand before it, and whether nobody named the port.
fn server(value: &str) -> Result<(String, bool), &'static str> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if !["http", "https", "socks4", "socks4a", "socks5", "socks5h"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err("names a way to the proxy that there is not: it is http, https or socks5h");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    if server.is_empty() || !server.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte)) {
        return Err("does not name a server");
    }
    let port = match server.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => Some(port),
        _ => None,
    };
    match port {
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok((server.to_owned(), false)),
        Some(_) => Err("has no number from 1 to 65535 where the port stands"),
        // libcurl's default; of a proxy with TLS it is another.
        None if scheme.eq_ignore_ascii_case("https") => Ok((format!("{server}:443"), true)),
        None => Ok((format!("{server}:1080"), true)),
    }
}

#[cfg(test)]
mod tests;
