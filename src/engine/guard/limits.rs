// SPDX-License-Identifier: Apache-2.0
//! How much one run may take away. Whoever loses a profile by mistake does not say so in the same commit.

use std::collections::BTreeSet;

use crate::resources::order;
use crate::trust::Allowance;

use super::{Objection, Proposal};

/// The code of the objection.
pub const CODE: &str = "too-many-removals";

/// So many of the objects are named.
const SHOWN: usize = 5;

/// Counts what the plan removes.
///
/// # Errors
/// They are more than the limit and more than what the commit allows.
pub(super) fn judge(proposal: &Proposal<'_>) -> Result<(), Objection> {
    // An object may have several steps.
    let removed: BTreeSet<String> = proposal.plan.steps.iter().flat_map(order::removals).collect();
    let (count, limit) = (removed.len() as u64, proposal.desired.limits.removals);
    let allowed = match proposal.allowance {
        Allowance::Granted(number) => limit.max(*number),
        Allowance::Unasked | Allowance::Denied(_) => limit,
    };
    if count <= allowed || proposal.is_way_back {
        return Ok(());
    }
    let mut names: Vec<String> =
        removed.iter().take(SHOWN).map(|name| name.replace(char::is_control, "\u{fffd}")).collect();
    names.extend(removed.len().checked_sub(SHOWN).filter(|more| *more > 0).map(|more| format!("{more} more")));
    let mut message = format!("it removes {count} objects, and {allowed} at a time are allowed: {}", names.join(", "));
    if let Allowance::Denied(why) = proposal.allowance {
        message.push_str(&format!("\n  it asks for more, which does not count: {why}"));
    }
    message.push_str(&format!(
        "\n  if they shall go, sign a commit on top with the trailer Hostwrit-Allow-Removals: {count}"
    ));
    Err(Objection { code: CODE, message })
}
