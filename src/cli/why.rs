// SPDX-License-Identifier: Apache-2.0

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use crate::control::client::{self, ClientError};
use crate::control::protocol::Code;
use crate::control::{self, Ask};
use crate::engine::Cycle;
use crate::engine::why::{Happening, LoggedOrder, Why as Answer};
use crate::model::ObjectId;

use super::{CommandError, Exit, courier, open, output};

/// How long the daemon may take: it reads the audit log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Show which file, line, commit and signer put an object on this host, and when it last changed or drifted
///
/// Asks the daemon, so that members of hostwrit-admin may; without one, root's own eyes see to it.
#[derive(Debug, Args)]
pub struct Why {
    /// The object, such as user:deploy or file:/etc/motd
    #[arg(value_name = "OBJECT")]
    object: ObjectId,
    /// Print the answer as JSON (schemas/why.json)
    #[arg(long)]
    json: bool,
}

impl Why {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let ask = Ask::Why { object: self.object.clone() };
        let answer = match client::ask(root, &ask, Some(PATIENCE), &mut |_| {}) {
            Ok(control::Answer::Why { why }) => {
                serde_json::from_value(why).map_err(|error| ClientError::Malformed(error).into())
            }
            Ok(control::Answer::Refused { code: Code::Forbidden | Code::Failed, message }) => {
                Err(CommandError::new(Exit::Failed, message))
            }
            // Nobody listens, or it is a version that does not know the question.
            Ok(_) | Err(_) => self.by_itself(root),
        }?;
        if self.json {
            output::answer(serde_json::to_string_pretty(&answer).unwrap_or_default());
        } else {
            lines(&answer).iter().for_each(output::answer);
        }
        Ok(Exit::Done)
    }

    /// Reads the last good commit and the log, which only root may.
    fn by_itself(&self, root: &Path) -> Result<Answer, CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let desired = Cycle::begin(&config, &host, &source, &stop)?.last_good()?;
        Answer::of(&self.object, &desired, &config.host, &host).map_err(|error| CommandError::new(Exit::Failed, error))
    }
}

fn lines(answer: &Answer) -> Vec<String> {
    let mut lines = vec![answer.object.to_string(), format!("  declared  {}", answer.declared)];
    lines.extend(answer.fields.iter().map(|(field, place)| format!("    {field:<12} {place}")));
    lines.push(format!("  commit    {}", answer.commit));
    lines.extend(answer.signers.iter().map(|signer| {
        format!("    {} signed by {} ({})", output::short(&signer.commit), signer.principal, signer.key)
    }));
    if let Some(LoggedOrder { order, nonce, key, reason }) = &answer.order {
        lines.push(format!("    by the {order} {nonce} of {key}: {}", reason.escape_debug()));
    }
    lines.push(format!("  changed   {}", happened(answer.changed.as_ref(), "never by hostwrit")));
    lines.push(format!("  drifted   {}", happened(answer.drifted.as_ref(), "never")));
    lines
}

fn happened(happening: Option<&Happening>, never: &str) -> String {
    match happening {
        None => never.to_owned(),
        Some(Happening { time, entry, commit, action, fields }) => {
            let action = format!("{action:?}").to_lowercase();
            let fields = if fields.is_empty() { String::new() } else { format!(" of {}", fields.join(", ")) };
            format!("{time}, {action}{fields}, for commit {} (log entry {entry})", output::short(commit))
        }
    }
}
