// SPDX-License-Identifier: Apache-2.0
//! Which commit counts: the remote's tip if it is proven and sound, else the last good one.

use crate::host::{HostError, ReadHost};
use crate::manifest::{Effects, Facts};
use crate::model::Faults;
use crate::model::git::Oid;
use crate::resources::Desired;
use crate::source::{FetchError, Mirror};
use crate::trust::{self, Authorized, Cache, Refusal};

use super::Config;
use super::apply::chain;

/// The desired state that a cycle enforces.
#[derive(Debug)]
pub struct Selected {
    pub desired: Authorized<Desired>,
    /// Why this is the last good state and not the remote's tip; `None` if it is the tip.
    pub hindrance: Option<Hindrance>,
}

/// What keeps a host from following the remote.
#[derive(Debug, thiserror::Error)]
pub enum Hindrance {
    #[error("the remote cannot be pulled")]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    #[error("cannot gather the facts of this host")]
    Facts(#[from] HostError),
    /// Neither the tip nor the last good commit can be enforced.
    #[error("{}\nand the last good state cannot be read", chain(tip.as_ref()))]
    NoLastGood {
        tip: Box<Hindrance>,
        #[source]
        source: Box<Hindrance>,
    },
    #[error("commit {commit} is proven, but the repo is not sound:\n{faults}")]
    Unsound { commit: Oid, faults: Faults },
}

impl Hindrance {
    /// Returns a stable word for programs: `fetch-failed`, `unsound`, or the refusal's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch-failed",
            Self::Refused(refusal) => refusal.code().as_str(),
            Self::Facts(_) => "facts-unreadable",
            Self::NoLastGood { tip, .. } => tip.code(),
            Self::Unsound { .. } => "unsound",
        }
    }

    /// Returns the commit that is held back, if it is known.
    pub fn commit(&self) -> Option<Oid> {
        match self {
            Self::Fetch(_) | Self::Facts(_) => None,
            Self::Refused(refusal) => refusal.commit().copied(),
            Self::NoLastGood { tip, .. } => tip.commit(),
            Self::Unsound { commit, .. } => Some(*commit),
        }
    }
}

/// The commit that this host accepted last.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    pub commit: Oid,
    /// It was accepted under the root commit that the configuration names today. If not, its history is proven anew.
    pub same_root: bool,
}

/// Returns the desired state of the remote's tip, or of the pin where the tip does not count.
///
/// # Errors
/// The tip does not count, and there is no pin to fall back to, or it cannot be read any more.
pub fn select(
    config: &Config,
    mirror: &Mirror,
    tip: Result<Oid, FetchError>,
    pin: Option<Pin>,
    host: &dyn ReadHost,
) -> Result<Selected, Hindrance> {
    let hindrance = match tip.map_err(Hindrance::from).and_then(|tip| judge(config, mirror, pin, &tip, host)) {
        Ok(desired) => return Ok(Selected { desired, hindrance: None }),
        Err(hindrance) => hindrance,
    };
    match pin {
        Some(pin) => match last_good(config, mirror, pin, host) {
            Ok(desired) => Ok(Selected { desired, hindrance: Some(hindrance) }),
            Err(source) => Err(Hindrance::NoLastGood { tip: Box::new(hindrance), source: Box::new(source) }),
        },
        None => Err(hindrance),
    }
}

/// Returns the desired state of the commit that this host accepted last, without asking the remote.
///
/// # Errors
/// The mirror lacks an object of it, or this version of hostwrit cannot compile it.
pub fn last_good(
    config: &Config,
    mirror: &Mirror,
    pin: Pin,
    host: &dyn ReadHost,
) -> Result<Authorized<Desired>, Hindrance> {
    judge(config, mirror, Some(pin), &pin.commit, host)
}

/// Proves the commit, compiles its tree for this host and asks whether its signers may.
fn judge(
    config: &Config,
    mirror: &Mirror,
    pin: Option<Pin>,
    tip: &Oid,
    host: &dyn ReadHost,
) -> Result<Authorized<Desired>, Hindrance> {
    if pin.is_some_and(|pin| !pin.same_root) {
        trust::authenticate(mirror, &config.anchor, None, tip, host.now(), &mut Cache::default()).map_err(Box::new)?;
    }
    let pin = pin.map(|pin| pin.commit);
    let tree = trust::authenticate(mirror, &config.anchor, pin.as_ref(), tip, host.now(), &mut Cache::default())
        .map_err(Box::new)?;
    let facts = Facts::gather(host, &config.host)?;
    let mut effects = Effects::of_host(&config.host, facts);
    let desired = effects.desired(&tree).map_err(|faults| Hindrance::Unsound { commit: *tip, faults })?;
    Ok(trust::authorize(&tree, desired, &mut effects).map_err(Box::new)?)
}
