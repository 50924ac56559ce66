// SPDX-License-Identifier: Apache-2.0
//! Which commit counts: the remote's tip if it is proven and sound, else the last good one.

use std::time::{Duration, SystemTime};

use crate::host::{HostError, ReadHost};
use crate::manifest::{Effects, Facts, OneHost, rollout};
use crate::model::Faults;
use crate::model::git::{Objects, Oid};
use crate::resources::Desired;
use crate::source::FetchError;
use crate::trust::{self, Anchor, AuthenticTree, Authorized, Cache, Refusal, Revocations};

use super::Config;
use super::guard::Objection;
use super::hold::HeldCommit;
use super::pin::Pin;
use super::revocations::{self, RevocationsError};
use super::rollout::{Hold, Turn, Waiting};
use crate::model::chain;

/// The desired state that a cycle enforces.
#[derive(Debug)]
pub struct Selected {
    pub desired: Authorized<Desired>,
    /// Why this is the last good state and not the remote's tip; `None` if it is the tip.
    pub hindrance: Option<Hindrance>,
    pub times: Times,
    /// The ring of the host by the commit that is enforced.
    pub ring: Option<String>,
    /// What the pin says of when this host follows the commit; `None` where that does not wait.
    pub turn: Option<Turn>,
    /// What the host has seen and does not follow yet.
    pub waiting: Option<Waiting>,
    /// The desired state of a commit that waits for its turn.
    pub held: Option<Authorized<Desired>>,
}

/// What the enforced commit says of time.
#[derive(Debug, Default)]
pub struct Times {
    /// When the commit was made at the earliest, by what its signers say.
    pub signed: Option<SystemTime>,
    /// How old the newest statement may be.
    pub max_age: Option<Duration>,
    /// The time of the heartbeat, or why it does not count; `None` if there is none.
    pub heartbeat: Option<Result<SystemTime, Box<Refusal>>>,
}

/// What keeps a host from following the remote.
#[derive(Debug, thiserror::Error)]
pub enum Hindrance {
    #[error("the remote cannot be pulled")]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    #[error("nothing new is accepted without the list of revocations")]
    Revocations(#[from] RevocationsError),
    #[error("nothing new is accepted while it is not clear what was accepted last: {0}")]
    PinConflict(String),
    #[error(
        "nothing new is accepted by this clock: it shows {}, and a trusted key has signed for {}",
        humantime::format_rfc3339_seconds(*now), humantime::format_rfc3339_seconds(*newest)
    )]
    ClockSuspect { now: SystemTime, newest: SystemTime },
    #[error("cannot gather the facts of this host")]
    Facts(#[from] HostError),
    /// Neither the tip nor the last good commit can be enforced.
    #[error("{}\nand the last good state cannot be read", chain(tip.as_ref()))]
    NoLastGood {
        tip: Box<Hindrance>,
        #[source]
        source: Box<Hindrance>,
    },
    /// The tip counts, and it is not this host's turn.
    #[error(transparent)]
    Rollout(#[from] Box<Hold>),
    /// The tip was accepted and put back.
    #[error(transparent)]
    Held(Box<HeldCommit>),
    /// The tip counts, and a guard refuses what it would do.
    #[error("commit {commit} is not begun: {objection}")]
    Guard { commit: Oid, objection: Objection },
    #[error("commit {commit} is proven, but the repo is not sound:\n{faults}")]
    Unsound { commit: Oid, faults: Faults },
}

impl Hindrance {
    /// Returns a stable word for programs: `fetch-failed`, `unsound`, or the refusal's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch-failed",
            Self::Refused(refusal) => refusal.code().as_str(),
            Self::Revocations(_) => "revocations-unreadable",
            Self::PinConflict(_) => "pin-conflict",
            Self::ClockSuspect { .. } => "clock-suspect",
            Self::Facts(_) => "facts-unreadable",
            Self::NoLastGood { tip, .. } => tip.code(),
            Self::Rollout(hold) if hold.is_wrong() => "gate-silent",
            Self::Rollout(_) => "rollout",
            Self::Held(_) => "held",
            Self::Guard { objection, .. } => objection.code,
            Self::Unsound { .. } => "unsound",
        }
    }

    /// Returns the commit that is held back, if it is known.
    pub fn commit(&self) -> Option<Oid> {
        match self {
            Self::Fetch(_)
            | Self::Revocations(_)
            | Self::PinConflict(_)
            | Self::ClockSuspect { .. }
            | Self::Facts(_) => None,
            Self::Refused(refusal) => refusal.commit().copied(),
            Self::NoLastGood { tip, .. } => tip.commit(),
            Self::Rollout(hold) => Some(hold.commit),
            Self::Held(held) => Oid::from_hex(held.commit.as_bytes()).ok(),
            Self::Guard { commit, .. } | Self::Unsound { commit, .. } => Some(*commit),
        }
    }
}

/// What commits are judged with.
pub struct Judge<'j> {
    pub config: &'j Config,
    pub objects: &'j dyn Objects,
    pub host: &'j dyn ReadHost,
    pub cache: &'j mut Cache,
    /// The commit at the heartbeat ref, if there is one.
    pub heartbeat: Option<Oid>,
}

impl Judge<'_> {
    /// Returns the desired state of the remote's tip, judged from the pin, or that of `ground` where the tip does not count.
    ///
    /// # Errors
    /// The tip does not count, and there is nothing to fall back to, or it cannot be read any more.
    pub fn select(
        &mut self,
        tip: Result<Oid, Hindrance>,
        pin: Option<Pin>,
        ground: Option<Pin>,
    ) -> Result<Selected, Hindrance> {
        match tip.and_then(|tip| self.accept(pin, &tip)) {
            Ok(selected) => Ok(selected),
            Err(hindrance) => self.fall_back(hindrance, ground),
        }
    }

    /// Returns the desired state of `ground`, because of what hinders the tip.
    ///
    /// # Errors
    /// There is nothing to fall back to, or it cannot be read any more.
    pub fn fall_back(&mut self, hindrance: Hindrance, ground: Option<Pin>) -> Result<Selected, Hindrance> {
        let Some(ground) = ground else { return Err(hindrance) };
        match self.last_good(ground) {
            Ok(selected) => Ok(Selected { hindrance: Some(hindrance), ..selected }),
            Err(source) => Err(Hindrance::NoLastGood { tip: Box::new(hindrance), source: Box::new(source) }),
        }
    }

    /// Proves that the commit counts, by all that this host was told.
    ///
    /// # Errors
    /// It does not count, or the host's own list of revocations cannot be gone by.
    pub fn accept(&mut self, pin: Option<Pin>, tip: &Oid) -> Result<Selected, Hindrance> {
        let revoked = revocations::read(self.config.revocations.as_deref(), self.host)?;
        self.judge(&Anchor { revoked, ..self.config.anchor.clone() }, pin, tip)
    }

    /// Returns the desired state of the commit that this host accepted last, without asking the remote.
    ///
    /// What was revoked since then does not undo it: a host does not go back by itself.
    ///
    /// # Errors
    /// An object of it cannot be had, or this version of hostwrit cannot compile it.
    pub fn last_good(&mut self, pin: Pin) -> Result<Selected, Hindrance> {
        let anchor = Anchor { revoked: Revocations::default(), ..self.config.anchor.clone() };
        self.judge(&anchor, Some(pin), &pin.commit)
    }

    /// Proves the commit, compiles its tree for this host and asks whether its signers may.
    fn judge(&mut self, anchor: &Anchor, pin: Option<Pin>, tip: &Oid) -> Result<Selected, Hindrance> {
        let now = self.host.now();
        let mut effects = Effects::of_host(&self.config.host, Facts::gather(self.host, &self.config.host)?);
        if pin.is_some_and(|pin| !pin.same_root) {
            let whole = trust::authenticate(self.objects, anchor, None, tip, now, self.cache).map_err(Box::new)?;
            trust::authorize(&whole, (), &mut effects).map_err(Box::new)?;
        }
        let pin = pin.map(|pin| pin.commit);
        let host = &self.config.host;
        let tree = trust::authenticate(self.objects, anchor, pin.as_ref(), tip, now, self.cache).map_err(Box::new)?;
        let desired = effects.desired(&tree).map_err(|faults| Hindrance::Unsound { commit: *tip, faults })?;
        let desired = trust::authorize(&tree, desired, &mut effects).map_err(Box::new)?;
        let times = Times {
            signed: tree.time(self.cache).map_err(Box::new)?,
            max_age: tree.freshness().map(|freshness| freshness.max_age),
            heartbeat: self.heartbeat.map(|commit| trust::heartbeat(&tree, &commit, now).map_err(Box::new)),
        };
        let turn = match pin.filter(|pin| pin != tip) {
            Some(pin) => self.turn(pin, &tree, &mut effects)?,
            // A host that has accepted nothing yet has nothing to keep to meanwhile.
            None => None,
        };
        let ring = rollout::ring(&tree, host).map(|ring| ring.name);
        Ok(Selected { desired, hindrance: None, times, ring, turn, waiting: None, held: None })
    }

    /// Returns what the pinned commit says of when this host follows `tree`.
    fn turn(
        &mut self,
        pin: Oid,
        tree: &AuthenticTree<'_>,
        effects: &mut Effects<OneHost>,
    ) -> Result<Option<Turn>, Hindrance> {
        // What was revoked since then does not undo it.
        let anchor = Anchor { revoked: Revocations::default(), ..self.config.anchor.clone() };
        let now = self.host.now();
        let pinned = trust::authenticate(self.objects, &anchor, Some(&pin), &pin, now, self.cache).map_err(Box::new)?;
        let Some(ring) = rollout::ring(&pinned, &self.config.host) else { return Ok(None) };
        // One that this version cannot compile cannot be enforced meanwhile.
        let Some(has) = effects.wants(&pinned) else { return Ok(None) };
        Ok(Some(Turn { ring, has, wants: effects.wants(tree) }))
    }
}
