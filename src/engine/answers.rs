// SPDX-License-Identifier: Apache-2.0
//! Where the cache of `trust` is kept between two cycles. Losing it costs the time to prove the history again.

use std::path::Path;

use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::Digest;
use crate::trust::Cache;

/// Where the answers live on the host, in a directory where only root can write.
const ANSWERS: &str = "/var/lib/hostwrit/trust-cache";

/// The first line, with the version: another one may ask in other words, or judge differently.
const HEAD: &[u8] = concat!("hostwrit trust cache ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();

/// How many answers are kept. Each stands for itself, so any of them may be left out.
const MAX_ANSWERS: usize = 65_536;

/// Reads the answers of earlier cycles; what cannot be read or is of another version is as good as none.
pub fn read(host: &dyn ReadHost) -> Cache {
    let text = host.read(Path::new(ANSWERS)).ok().flatten().unwrap_or_default();
    let Some(digests) = text.strip_prefix(HEAD) else { return Cache::default() };
    let (digests, rest) = digests.as_chunks::<32>();
    if !rest.is_empty() || digests.len() > MAX_ANSWERS {
        return Cache::default();
    }
    Cache::of(digests.iter().map(|bytes| Digest::from_bytes(*bytes)))
}

/// Keeps the answers for the next cycle.
///
/// # Errors
/// They cannot be written.
pub fn write(cache: &Cache, host: &dyn WriteHost) -> Result<(), HostError> {
    let mut text = HEAD.to_vec();
    cache.proven().take(MAX_ANSWERS).for_each(|digest| text.extend_from_slice(digest.as_bytes()));
    let file = NewFile { content: &text, owner: None, mode: 0o600, check: None };
    host.replace_file(Path::new(ANSWERS), &file)
}
