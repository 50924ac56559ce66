// SPDX-License-Identifier: Apache-2.0
//! What the courier may show to a remote: files that systemd puts where only it can read them.

#![expect(clippy::disallowed_methods, reason = "these files are the courier's own, and no part of the managed host")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use gix::credentials::helper::Action;
use gix::credentials::protocol::Outcome;
use gix::sec::identity::Account;

use crate::model::Secret;

/// The longest token that is read.
const MAX_TOKEN: u64 = 64 * 1024;

/// Credentials for the remote. Without any, SSH asks as it would for the user, and HTTP without a name.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The private key that is shown, and no other.
    ssh_key: Option<PathBuf>,
    /// The keys of the SSH servers that are known, and no other.
    known_hosts: Option<PathBuf>,
    /// `USER:PASSWORD`, or a token alone.
    token: Option<Secret>,
}

impl Access {
    /// Looks for `ssh-key`, `known-hosts` and `git-token` in the directory of systemd's credentials (systemd.exec(5)).
    ///
    /// An empty line is no credential: that is what hostwrit-courier.service puts where the host has none.
    ///
    /// # Errors
    /// The token cannot be read.
    pub fn in_directory(directory: &Path) -> io::Result<Self> {
        let is_there = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 1);
        let file = |name: &str| Some(directory.join(name)).filter(is_there);
        let token = match file("git-token") {
            Some(path) if fs::metadata(&path)?.len() > MAX_TOKEN => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "git-token is too long to be one"));
            }
            Some(path) => Some(Secret::new(fs::read_to_string(path)?.trim_end_matches(['\r', '\n']).to_owned())),
            None => None,
        };
        Ok(Self { ssh_key: file("ssh-key"), known_hosts: file("known-hosts"), token })
    }

    /// Returns the command that connects to an SSH server, and writes its `words`. Nobody is there to answer a question.
    pub(super) fn ssh_command(&self, words: &Path) -> String {
        let mut command = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=yes".to_owned();
        command.push_str(&format!(" -E {}", quoted(words)));
        if let Some(key) = &self.ssh_key {
            command.push_str(&format!(" -o IdentitiesOnly=yes -i {}", quoted(key)));
        }
        if let Some(known) = &self.known_hosts {
            // ssh splits the value at spaces by itself.
            let file = quoted(known);
            command.push_str(&format!(" -o UserKnownHostsFile={file} -o GlobalKnownHostsFile=/dev/null"));
        }
        command
    }

    /// Answers the Git library, which asks when the server of `remote` wants to know who is there. No other server, to which
    /// that one may have redirected, gets an answer.
    pub(super) fn identity(&self, remote: &gix::Url, action: Action) -> gix::Result<Option<Outcome>> {
        let (Action::Get(context), Some(token)) = (action, &self.token) else {
            // The library would run `git credential`, which may ask a person or run any program.
            return Ok(None);
        };
        let asking = context.url.as_ref().and_then(|url| gix::url::parse(url.as_bstr()).ok());
        let server = (remote.host(), remote.port, &remote.scheme);
        if asking.is_none_or(|url| (url.host(), url.port, &url.scheme) != server) {
            return Ok(None);
        }
        let (username, password) = match token.expose().split_once(':') {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            // GitHub, GitLab, Gitea and Forgejo take a token as the password of any user.
            None => ("token".to_owned(), token.expose().to_owned()),
        };
        let identity = Account { username, password, oauth_refresh_token: None };
        Ok(Some(Outcome { identity, next: context.into() }))
    }
}

/// Returns the path as a shell takes it: the command is given to one.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
