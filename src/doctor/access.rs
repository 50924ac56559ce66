// SPDX-License-Identifier: Apache-2.0
//! What the courier shows to the remote, and what it knows the remote by. Of a secret nothing is repeated.

use std::path::{Path, PathBuf};

use crate::host::{ReadHost, RealHost, WriteHost};
use crate::model::chain;
use crate::source::{CREDENTIALS as DIRECTORY, Place, RemoteKind};

use super::Check;

/// Where systemd shows them to the courier while it runs.
const SHOWN: &str = "/run/credentials/hostwrit-courier.service";

/// What ssh knows servers by where there is no credential.
const KNOWN_TO_ALL: &str = "/etc/ssh/ssh_known_hosts";

const RESTART: &str = "systemctl restart hostwrit-courier";

/// Looks at the credential that this way to the remote takes.
pub fn credentials(host: &RealHost, place: Option<&Place>) -> Check {
    const NAME: &str = "credentials";
    let Some(place) = place else { return Check::skipped(NAME, "without a remote none is needed") };
    let file = match place.kind {
        RemoteKind::Ssh => "ssh-key",
        RemoteKind::Http => "git-token",
        RemoteKind::Path | RemoteKind::Git => {
            return Check::skipped(NAME, "nobody is asked for one on the way to the remote");
        }
    };
    let path = Path::new(DIRECTORY).join(file);
    let shown = host.read(&Path::new(SHOWN).join(file)).ok().flatten().filter(|content| content.len() > 1);
    let content = match host.read(&path) {
        Ok(content) => content,
        Err(error) => return Check::failed(NAME, chain(&error), format!("look at {DIRECTORY}, as root")),
    };
    let shows = path.display();
    match (content, shown) {
        (None, Some(_)) => Check::ok(NAME, format!("the courier has {file} from elsewhere than {DIRECTORY}")),
        (None, None) if place.kind == RemoteKind::Ssh => Check::warning(
            NAME,
            format!("there is no {shows}, so the courier has no key but those of its user"),
            format!(
                "ssh-keygen -t ed25519 -N '' -f {shows}, register the public half with the Git server, then {RESTART}"
            ),
        ),
        (None, None) => Check::ok(NAME, format!("there is no {shows}: the server is asked without a name")),
        (Some(content), shown) => {
            let wrong = open_to_others(host, &path).or_else(|| match place.kind {
                RemoteKind::Ssh => unusable_key(host, &path),
                _ => unusable_token(&path, &content, place),
            });
            wrong.unwrap_or_else(|| match shown {
                Some(shown) if shown != content => {
                    Check::warning(NAME, format!("{shows} has changed since the courier was started"), RESTART)
                }
                _ => Check::ok(NAME, format!("{shows} can be used")),
            })
        }
    }
}

fn open_to_others(host: &RealHost, path: &Path) -> Option<Check> {
    let mode = host.stat(path).ok().flatten()?.mode;
    let found = format!("{} has mode {mode:04o}, so others can read it", path.display());
    (mode & 0o077 != 0).then(|| Check::failed("credentials", found, format!("chmod 0600 {}", path.display())))
}

/// Has ssh-keygen say whether ssh, which has nobody to type a passphrase, can use the key.
fn unusable_key(host: &RealHost, path: &Path) -> Option<Check> {
    const NAME: &str = "credentials";
    let there = below_root(host, path);
    let output = match host.run("ssh-keygen", &["-y", "-P", "", "-f", &there.to_string_lossy()]) {
        Ok(output) if output.success => return None,
        Ok(output) => output,
        Err(error) => return Some(without_ssh(NAME, &chain(&error))),
    };
    let path = path.display();
    Some(if String::from_utf8_lossy(&output.stderr).contains("incorrect passphrase") {
        let advice = format!("take it off: ssh-keygen -p -N '' -f {path}; or use another key");
        Check::failed(NAME, format!("{path} has a passphrase, and nobody is there to type it"), advice)
    } else {
        let advice =
            "put the private key there as ssh-keygen wrote it, with its last line end and without others' line ends";
        Check::failed(NAME, format!("{path} is no private key that ssh can read"), advice)
    })
}

fn unusable_token(path: &Path, content: &[u8], place: &Place) -> Option<Check> {
    const NAME: &str = "credentials";
    let path = path.display();
    let token = String::from_utf8_lossy(content);
    let token = token.trim_end_matches(['\r', '\n']);
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let found = format!("{path} is not one line without spaces");
        return Some(Check::failed(NAME, found, "write the token, or USER:PASSWORD, and nothing else into it"));
    }
    (!place.is_encrypted).then(|| {
        let advice = "use https:// in `remote`, and then another token: this one may have been read";
        Check::warning(NAME, format!("what is in {path} is sent for everybody on the way to read"), advice)
    })
}

/// Looks whether ssh would know the server.
pub fn host_key(host: &RealHost, place: Option<&Place>) -> Check {
    const NAME: &str = "host-key";
    let Some(Place { kind: RemoteKind::Ssh, host: Some(server), port, .. }) = place else {
        return Check::skipped(NAME, "the remote is not reached by SSH");
    };
    // As ssh writes it: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
    let name = port.filter(|port| *port != 22).map_or_else(|| server.clone(), |port| format!("[{server}]:{port}"));
    let option = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let own = Path::new(DIRECTORY).join("known-hosts");
    let is_there = |path: &Path| host.stat(path).is_ok_and(|stat| stat.is_some());
    let scan =
        format!("ssh-keyscan {option}{server} >>{}, compare with one that you trust, then {RESTART}", own.display());
    let Some(path) = [own.as_path(), Path::new(KNOWN_TO_ALL)].into_iter().find(|path| is_there(path)) else {
        let is_shown = is_there(&Path::new(SHOWN).join("known-hosts"));
        let found = format!("there is neither {} nor {KNOWN_TO_ALL}", own.display());
        // Where systemd has it from elsewhere, only the courier can tell.
        return if is_shown { Check::warning(NAME, found, scan) } else { Check::failed(NAME, found, scan) };
    };
    let there = below_root(host, path);
    let output = match host.run("ssh-keygen", &["-F", &name, "-f", &there.to_string_lossy()]) {
        Ok(output) => output,
        Err(error) => return without_ssh(NAME, &chain(&error)),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let keys = said.lines().filter(|line| !line.starts_with('#') && !line.starts_with("@revoked")).count();
    match keys {
        0 => Check::failed(NAME, format!("{} has no key of {name}", path.display()), scan),
        1 => Check::ok(NAME, format!("{} has a key of {name}", path.display())),
        keys => Check::ok(NAME, format!("{} has {keys} keys of {name}", path.display())),
    }
}

fn without_ssh(name: &'static str, why: &str) -> Check {
    Check::failed(name, format!("without ssh there is no way to the remote: {why}"), "apt-get install openssh-client")
}

/// Returns where the path is for a program of the running system.
fn below_root(host: &RealHost, path: &Path) -> PathBuf {
    host.root().join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests;
