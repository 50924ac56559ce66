// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use clap::Args;

use crate::host::{ReadHost as _, RealHost};
use crate::trust::HEARTBEAT_REF;

use super::clone::GitClone;
use super::{CommandError, Exit, output};

/// Say, with a signature, that what is checked out here is the newest there is
///
/// Makes a commit on refs/hostwrit/heartbeat with the key that git signs with, and prints its id. Hosts whose policy has
/// `freshness` raise an alarm when the newest such statement is older than its `max_age`. For a job that runs often, with
/// a key that may do nothing else.
#[derive(Debug, Args)]
pub struct Heartbeat {
    /// The clone of the infra repo
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Push it there: a remote of the clone, or a URL
    #[arg(long, value_name = "REMOTE")]
    push: Option<String>,
}

impl Heartbeat {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let usage = |text: String| CommandError::new(Exit::Usage, text);
        if let Some(remote) = self.push.as_deref().filter(|remote| remote.is_empty() || remote.starts_with('-')) {
            return Err(usage(format!("--push \"{remote}\": name a remote of the clone, or a URL")));
        }
        let clone = GitClone::open(&self.dir)?;
        let tip = clone.commit("HEAD")?;
        let place = clone.place(&tip)?;
        // CI checks out a commit and no branch; a person on another branch would vouch for what hosts do not follow.
        if let Some(branch) = clone.branch()?.filter(|branch| *branch != place.git_ref) {
            let wanted = place.git_ref.trim_start_matches("refs/heads/");
            return Err(usage(format!(
                "{branch} is checked out, and hosts follow {}; run git switch {wanted}",
                place.git_ref
            )));
        }
        let now = humantime::format_rfc3339_seconds(RealHost::open(Path::new("/"))?.now());
        let message = format!(
            "Heartbeat\n\nHostwrit-Repo: {}\nHostwrit-Ref: {HEARTBEAT_REF}\nHostwrit-Heartbeat: {now}",
            place.fleet
        );
        let made = clone.signed_commit(&clone.tree(&tip)?, &[tip], &message)?;
        clone.ask(&["update-ref", "-m", "hostwrit heartbeat", HEARTBEAT_REF, &made.to_string()])?;
        if let Some(remote) = &self.push {
            // Each is made on top of the tip and not of the one before it, so this is no fast-forward.
            clone.ask_attended(&["push", "--quiet", remote, &format!("+{HEARTBEAT_REF}:{HEARTBEAT_REF}")])?;
        }
        output::answer(made.to_string());
        Ok(Exit::Done)
    }
}
