// SPDX-License-Identifier: Apache-2.0
//! Whether the courier can fetch, and what its words mean.

use std::sync::atomic::AtomicBool;

use crate::engine::{Config, cycle};
use crate::host::RealHost;
use crate::model::chain;
use crate::source::{Courier, Source as _};

use super::Check;

/// Has the courier fetch, as the daemon does; by way of `proxy`, if there is one.
pub fn remote(host: &RealHost, config: Option<&Config>, proxy: Option<&str>) -> Check {
    const NAME: &str = "remote";
    let Some(config) = config else { return Check::skipped(NAME, "without a configuration there is none") };
    let courier = Courier::of(host.root(), config.anchor.root.kind());
    let mut ask = cycle::ask(config);
    // Only a real fetch shows that fetching works.
    ask.hint = None;
    match courier.fetch(&ask, &AtomicBool::new(false)) {
        Ok(fetched) => Check::ok(NAME, format!("{} is at {}", config.anchor.git_ref, fetched.tip)),
        Err(error) => {
            let words = chain(&error);
            let advice = advice(&words, proxy);
            Check::failed(NAME, words, advice)
        }
    }
}

/// Words that libraries and programs use, in lower case, and what is behind them.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &["could not resolve", "name or service not known", "name resolution", "failed to lookup", "host not found"],
        "look at the host's name in `remote`, and whether this host has a name server: getent hosts NAME",
    ),
    (
        &["proxy"],
        "look at the proxy: the courier takes it from its environment (systemctl edit hostwrit-courier: Environment=https_proxy=...)",
    ),
    (
        &["host key verification", "known_hosts", "no matching host key"],
        "put the server's key where the courier looks for it, after comparing it with one that you trust: ssh-keyscan HOST",
    ),
    (
        &["certificate", "ssl", "tls"],
        "the server's certificate is not trusted: install the authority's certificate (update-ca-certificates), and look at the clock",
    ),
    (
        &["permission denied", "publickey"],
        "the server does not take the courier's SSH key: register its public half there, and look at the credential ssh-key",
    ),
    (
        // Not "password" or "credential": what is said to every trouble over HTTP has these words.
        &["401", "403", "were not accepted", "no credentials were"],
        "the server wants a password: look at the credential git-token",
    ),
    (&["404", "not found", "no such file"], "look at the path in `remote`"),
    (
        UNREACHED,
        "look at the network between this host and the server, or the proxy that it goes through, and at its firewall",
    ),
    (&["has no refs/"], "push the ref, or correct `ref` in the configuration"),
    (&["courier"], "look at the courier: systemctl status hostwrit-courier"),
];

/// Words that stand for a server that is not reached. Where there is a proxy it is that one.
const UNREACHED: &[&str] =
    &["connection refused", "connect to", "timed out", "timeout", "unreachable", "no route", "took more than"];

fn advice(words: &str, proxy: Option<&str>) -> String {
    let words = words.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    if let Some(proxy) = proxy.filter(|_| says(UNREACHED)) {
        return format!("look at the proxy {proxy}, and at the network and the firewalls on the way to it");
    }
    let known = MEANINGS.iter().find(|(signs, _)| says(signs));
    known
        .map_or("look at `remote` in the configuration, and try git ls-remote with it", |(_, advice)| *advice)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_say_leads_to_what_can_be_done() {
        for (words, wanted) in [
            ("io: failed to lookup address information: Name or service not known", "name server"),
            ("host not found", "name server"),
            (
                "native-tls: error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed",
                "update-ca-certificates",
            ),
            ("ssh: Host key verification failed.", "ssh-keyscan"),
            ("git@example.org: Permission denied (publickey)", "ssh-key"),
            ("Received HTTP status 401", "git-token"),
            ("Credentials provided for \"https://a\" were not accepted by the remote", "git-token"),
            ("No credentials were returned at all", "git-token"),
            ("or take the credential git-token: Received HTTP status 404", "path"),
            ("ask for no password: Transport handshake failed: timeout: global", "firewall"),
            ("io: Connection refused (os error 111)", "firewall"),
            ("cannot reach the courier at /run/hostwrit/courier.sock", "systemctl status hostwrit-courier"),
            ("io: failed to lookup address information: Temporary failure in name resolution", "name server"),
            ("CONNECT proxy failed: 407 Proxy Authentication Required", "proxy"),
            ("something new", "git ls-remote"),
        ] {
            assert!(advice(words, None).contains(wanted), "{words}: {}", advice(words, None));
        }
        let advice = advice("Failed to connect to 192.0.2.1 port 3128: Connection refused", Some("192.0.2.1:3128"));
        assert!(advice.starts_with("look at the proxy 192.0.2.1:3128"), "{advice}");
    }
}
