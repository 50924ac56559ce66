// SPDX-License-Identifier: Apache-2.0
//! The number of the ruleset's generation, from the kernel itself: each transaction that changes anything counts it up.

use std::io;
use std::path::Path;

use super::netlink::{self, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, attributes, broken, kind};
use super::{KEPT, is_live, unanswered};
use crate::host::HostError;
use crate::host::files::{self, Root};
use crate::model::Digest;

const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns a text that is another one whenever the ruleset may be another one. It changes no ruleset to ask.
pub fn generation(root: &Root) -> Result<String, HostError> {
    if !is_live(root) {
        return of_kept(root);
    }
    let number = number().map_err(unanswered)?;
    // The kernel counts from the start of the system.
    let boot = files::read(root, Path::new(BOOT_ID))?.unwrap_or_default();
    Ok(format!("{} {number}", String::from_utf8_lossy(&boot).trim()))
}

fn of_kept(root: &Root) -> Result<String, HostError> {
    let mut all = Vec::new();
    for name in files::list(root, Path::new(KEPT))?.unwrap_or_default() {
        let content = files::read(root, &Path::new(KEPT).join(&name))?.unwrap_or_default();
        all.extend_from_slice(format!("{name:?} {}\n", content.len()).as_bytes());
        all.extend(content);
    }
    Ok(Digest::of(&all).to_string())
}

/// Asks the kernel for the number.
pub(super) fn number() -> io::Result<u32> {
    let mut found = None;
    netlink::ask(NFT_MSG_GETGEN, |message| found = found.or(answer(message)))?;
    found.ok_or_else(broken)
}

/// Takes the number from the kernel's answer.
pub(super) fn answer(message: &[u8]) -> Option<u32> {
    if kind(message) != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        return None;
    }
    attributes(message).find(|(kind, _)| *kind == NFTA_GEN_ID).and_then(|(_, value)| netlink::number(value))
}
