// SPDX-License-Identifier: Apache-2.0
//! A real login: an administrator's, to the host's own sshd with its own configuration, PAM, names and shell, and on to root by sudo.
//!
//! That sshd answers with its banner says nothing about what comes after it. So another sshd is started as a service of systemd's, in a
//! network of its own that has the administrator's address and the host's; its one difference is that it takes a key that was
//! made for this login and is gone with the service. The packet filter has no part in it, which is why only ways are tried that
//! the lockout guard finds open.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::engine::guard::lockout::{self, WayIn};
use crate::host::WriteHost;
use crate::model::chain;

/// How many ways are tried; each may take as long as [`LIMIT`].
const MOST_WAYS: usize = 4;

/// How long one login may take, from the start of its service.
const LIMIT: Duration = Duration::from_secs(20);

/// Logs in as `$1` from `$2` to `$3`, which is `$4` as a socket, port `$5`, and runs `$6`. `AllowUsers` may be about addresses and names
/// alike; it was judged by the guard.
const SCRIPT: &str = r#"set -e
ip link set lo up
ip address replace "$2" dev lo
ip address replace "$3" dev lo
ssh-keygen -q -t ed25519 -N '' -C hostwrit -f /tmp/key
export SYSTEMD_LOG_LEVEL=err
systemd-socket-activate --accept --inetd --listen="$4" /usr/sbin/sshd -i -e -o LogLevel=ERROR -o "AllowUsers=$1" \
    -o 'AuthorizedKeysCommand=/usr/bin/cat /tmp/key.pub' -o AuthorizedKeysCommandUser=root \
    -o PubkeyAcceptedAlgorithms=+ssh-ed25519 &
exec ssh -F /dev/null -n -T -b "$2" -p "$5" -l "$1" -i /tmp/key -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null -o LogLevel=ERROR \
    -o ConnectTimeout=5 -o ConnectionAttempts=10 "$3" "$6"
"#;

/// Logs in as one of the administrators and becomes root, as far as sudo asks for no password. Returns who it was; `None` where
/// sshd asks all of them for more than a key, which nobody is here to give.
///
/// # Errors
/// Why none of them comes so far.
pub(super) fn log_in(host: &dyn WriteHost, own: &BTreeSet<IpAddr>) -> Result<Option<String>, String> {
    let ways = lockout::ways_in(host).map_err(|error| format!("administrators cannot be found: {}", chain(&error)))?;
    if !ways.is_empty() && !ways.iter().any(|way| way.by_key) {
        return Ok(None);
    }
    let mut refusals = Vec::new();
    for way in ways.into_iter().filter(|way| way.by_key).take(MOST_WAYS) {
        // The host's own address does not matter where it has none of the kind: sshd is asked in a network of its own.
        let at = own.iter().find(|at| at.is_ipv4() == way.from.is_ipv4() && **at != way.from);
        let Some(at) = at else { continue };
        match attempt(&way, SocketAddr::new(*at, way.port), host) {
            Ok(()) if way.asks => {
                return Ok(Some(format!("{} from {}, whom sudo asks for a password", way.user, way.from)));
            }
            Ok(()) => return Ok(Some(format!("{} from {}", way.user, way.from))),
            Err(why) => refusals.push(format!("{} from {}: {why}", way.user, way.from)),
        }
    }
    if refusals.is_empty() {
        refusals.push("there is no administrator for whom the way is open".to_owned());
    }
    Err(refusals.join("; "))
}

fn attempt(way: &WayIn, at: SocketAddr, host: &dyn WriteHost) -> Result<(), String> {
    // Nobody is here who could give a password. It prints a number, which is 0 for root.
    let command = if way.user == "root" || way.asks { "id -u" } else { "sudo -n id -u" };
    let limit = format!("--property=RuntimeMaxSec={}", LIMIT.as_secs());
    let (from, address, socket, port) =
        (way.from.to_string(), at.ip().to_string(), at.to_string(), at.port().to_string());
    let mut words = vec!["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"];
    words.extend(["--description=hostwrit: proves that administrators can log in", &limit]);
    words.extend([
        "--property=PrivateNetwork=yes",
        "--property=PrivateTmp=yes",
        "--",
        "/bin/sh",
        "-c",
        SCRIPT,
        "login",
    ]);
    words.extend([&way.user, &from, &address, &socket, &port, command]);
    // Twice as long for systemd itself, which may be busy.
    let output = host.run_within(LIMIT * 2, "systemd-run", &words).map_err(|error| chain(&error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_wanted = |number: &str| number == "0" || way.asks && number.parse::<u32>().is_ok();
    if output.success && said.lines().next_back().is_some_and(is_wanted) {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let mut why: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if why.is_empty() {
        why.push(&output.status);
    }
    Err(why[why.len().saturating_sub(3)..].join(", "))
}
