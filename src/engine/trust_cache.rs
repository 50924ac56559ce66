// SPDX-License-Identifier: Apache-2.0
//! Where the cache of `trust` is kept between two cycles. Losing it costs the time to prove the history again.

use std::path::Path;

use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::Digest;
use crate::trust::Cache;

/// Where the answers live on the host, in a directory where only root can write.
const PATH: &str = "/var/lib/hostwrit/trust-cache";

/// The first line, with the version: another one may ask in other words, or judge differently.
const HEAD: &[u8] = concat!("hostwrit trust cache ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();

/// How many answers are kept. Each stands for itself, so any of them may be left out.
const MAX_ANSWERS: usize = 65_536;

/// Reads the answers of earlier cycles; what cannot be read or is of another version is as good as none.
pub fn read(host: &dyn ReadHost) -> Cache {
    let text = host.read(Path::new(PATH)).ok().flatten().unwrap_or_default();
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
    host.replace_file(Path::new(PATH), &file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "damages a temporary root by hand")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::host::RealHost;

    fn scene() -> (tempfile::TempDir, RealHost, Cache) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/lib/hostwrit")).unwrap();
        let host = RealHost::open(root.path()).unwrap();
        let cache = Cache::of([Digest::of(b"one"), Digest::of(b"two")]);
        write(&cache, &host).unwrap();
        (root, host, cache)
    }

    #[test]
    fn answers_are_kept_where_only_root_can_read_them() {
        let (root, host, cache) = scene();
        assert_eq!(read(&host), cache);
        let mode = fs::metadata(root.path().join(&PATH[1..])).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn what_is_missing_damaged_or_foreign_is_as_good_as_none() {
        let (root, host, _) = scene();
        let path = root.path().join(&PATH[1..]);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let left = read(&host);
            // A cut between two answers leaves whole answers, each of which stands for itself.
            assert!(left.proven().count() < 2 && left.proven().all(|digest| read_of(&whole).contains(digest)));
        }
        fs::write(&path, [b"hostwrit trust cache 0.0.0\n", &whole[HEAD.len()..]].concat()).unwrap();
        assert_eq!(read(&host), Cache::default(), "another version may ask in other words");
        fs::write(&path, [HEAD, &vec![7; 32 * (MAX_ANSWERS + 1)]].concat()).unwrap();
        assert_eq!(read(&host), Cache::default(), "no cycle wrote so much");
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&host), Cache::default());
    }

    fn read_of(text: &[u8]) -> Vec<Digest> {
        text[HEAD.len()..].as_chunks::<32>().0.iter().map(|bytes| Digest::from_bytes(*bytes)).collect()
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let (_root, host, _) = scene();
        let many = (0..MAX_ANSWERS as u64 + 10).map(|number| Digest::of(&number.to_be_bytes()));
        write(&Cache::of(many), &host).unwrap();
        assert_eq!(read(&host).proven().count(), MAX_ANSWERS);
    }
}
