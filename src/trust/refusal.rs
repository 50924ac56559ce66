// SPDX-License-Identifier: Apache-2.0
//! Why a commit does not count: a stable code, the commit, the reason, and what would make it right.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::git::{ObjectError, Oid};

/// Declares the codes once: the variant, the text that outsiders see, and what would make it right.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $hint:literal;)+) => {
        /// Why a commit was refused. The texts are stable: logs, monitoring and other programs rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Returns what would make it right.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

codes! {
    /// The commit carries no signature.
    Unsigned = "unsigned", "sign it: git commit --amend -S, or git rebase --exec 'git commit --amend --no-edit -S' for several";
    /// The signature is of a kind that cannot be checked.
    UnsupportedSignature = "unsupported-signature", "sign with OpenPGP or SSH: git config gpg.format openpgp, or ssh";
    /// The key is not in the policy of every parent.
    UnknownSigner = "unknown-signer", "have a principal of the policy sign it; a new key counts from the commit after the one that adds it";
    /// The signature does not fit the commit.
    BadSignature = "bad-signature", "the commit was altered after it was signed; fetch it again from its author";
    /// The signature is not one OpenPGP signature in the form that gpg writes.
    MalformedSignature = "malformed-signature", "sign again with gpg, with one key: git commit --amend -S";
    /// The armor has headers, other line breaks or other text around it.
    ArmorNotCanonical = "armor-not-canonical", "sign again without comment or emit-version in gpg.conf; any other armor would give one signed commit two ids";
    /// The hash or the key is too weak.
    WeakSignature = "weak-signature", "sign with SHA-256 or longer and with Ed25519, NIST P-256 or longer, or RSA of 3072 bits or more";
    /// The signature says that it was made after now.
    SignatureFromFuture = "signature-from-future", "set the clocks of the signer and of this host right";
    /// The key had expired when it signed, or has by now.
    KeyExpired = "key-expired", "extend the key and commit the new certificate, signed by a key that is valid; then commit again";
    /// The key was revoked.
    KeyRevoked = "key-revoked", "have another principal of the policy sign it";
    /// The key could not sign at that time for another reason.
    KeyUnusable = "key-unusable", "sign with a key of the certificate that is made for signing, within its time";
    /// The commit is on a list of revocations.
    CommitRevoked = "commit-revoked", "nothing: build on another commit";
    /// The key may sign heartbeats and nothing else.
    HeartbeatKey = "heartbeat-key", "have a principal who is not under freshness.heartbeat sign it";
    /// The signature says that it was made before a parent's.
    TimeBackwards = "time-backwards", "set the signer's clock right and sign again: git commit --amend -S";
    /// None of the anchor's signers signed the root commit.
    RootSigner = "root-signer", "compare trust.root and trust.signers of the configuration with what the owners of the fleet say";
    /// The commit object is outside the grammar.
    MalformedCommit = "malformed-commit", "make the commit again with plain git: no merge of a signed tag, no notes in its header";
    /// The commit has more than two parents.
    Octopus = "octopus", "merge one branch at a time";
    /// A tree has a name or an entry that is not allowed.
    MalformedTree = "malformed-tree", "keep to plain files and directories named by letters, digits and . _ @ -";
    /// The object has another type than its place asks for.
    WrongObjectType = "wrong-object-type", "the ref must name a commit, not a tag";
    /// The store lacks an object.
    ObjectMissing = "object-missing", "fetch again; if that does not help, remove the mirror, and it is fetched anew";
    /// The store gave other bytes than the id stands for, or a forged collision.
    ObjectMismatch = "object-mismatch", "the store lies or is damaged: remove the mirror and look at who can write it";
    /// An object is larger than allowed.
    ObjectTooLarge = "object-too-large", "keep large files out of the infra repo";
    /// The store could not read an object.
    ObjectUnreadable = "object-unreadable", "look at the disk; then remove the mirror, and it is fetched anew";
    /// The history does not go back to where trust begins, or to what was accepted.
    NotDescendant = "not-descendant", "build on the last accepted commit; unrelated or rewritten history is never followed";
    /// The tip is older than what was accepted.
    Rollback = "rollback", "to go back, revert: git revert makes a new commit";
    /// There are more commits to prove than the limit.
    TooLong = "too-long", "give this host a newer trust.root";
    /// The tree has no policy.
    PolicyMissing = "policy-missing", "keep policy/policy.yaml in every commit";
    /// The policy has faults.
    PolicyUnreadable = "policy-unreadable", "correct the policy; `hostwrit check` shows its faults before a commit does";
    /// The policy's version is lower than a parent's.
    PolicyRollback = "policy-rollback", "give policy/policy.yaml a version that is at least that of every parent";
    /// The policy un-makes a revocation.
    RevocationDropped = "revocation-dropped", "keep every revocation: in the certificate, or in the list revoked of the policy";
    /// The policy is another fleet's.
    WrongFleet = "wrong-fleet", "fleet must be the same in the configuration and in the policy";
    /// The policy is another ref's.
    WrongRef = "wrong-ref", "ref must be the same in the configuration and in the policy";
    /// The trailers cannot be read.
    MalformedTrailers = "malformed-trailers", "write each trailer once, in the last paragraph of the message; the hook of `hostwrit init` does";
    /// The policy requires trailers, and there are none.
    TrailersMissing = "trailers-missing", "install the hook that writes them, `hostwrit init --hooks`, and sign again: git commit --amend -S";
    /// The trailers name another fleet or ref.
    Teleport = "teleport", "merge the branch into the ref: git merge --no-ff -S; a commit counts only where it was made for";
    /// The number of the commit is not above its first parent's.
    Sequence = "sequence", "sign again on top of the ref, so that the hook counts anew: git commit --amend -S";
    /// No rule of the policy is about what was changed.
    NoRule = "no-rule", "add a rule for such objects to policy/policy.yaml: what no rule allows is refused";
    /// The signer is not in the role that the rule names.
    NotAuthorized = "not-authorized", "have somebody of that role make the change";
    /// Too few of the role have signed.
    NeedsApproval = "needs-approval", "have another of that role approve the branch: hostwrit approve BRANCH";
    /// Too few have signed the removal of something that is protected.
    Protected = "protected", "have another of that role approve the branch: hostwrit approve BRANCH; nobody removes alone what protect of the policy names";
    /// An object changed, and no commit accounts for it.
    Unexplained = "unexplained-change", "report this with the commits: the rules were applied to every commit, and yet something slipped through";
    /// The heartbeat is not signed by somebody who may.
    HeartbeatSigner = "heartbeat-signer", "sign heartbeats with a key of a principal under freshness.heartbeat";
    /// The heartbeat stands on another commit than the ref's, or changes something.
    HeartbeatPlace = "heartbeat-place", "make it with `hostwrit heartbeat` on the tip of the ref";
    /// The order is not one that can be read.
    OrderMalformed = "order-malformed", "write it as docs/how-to/break-glass.md shows, and sign it again";
    /// None of the keys that the host obeys signed the order.
    OrderSigner = "order-signer", "sign it with a key of trust.break_glass of the host's configuration";
    /// The order is for another host or fleet.
    OrderElsewhere = "order-elsewhere", "write and sign one for this host";
    /// It is not the order's time, or its time is too long.
    OrderExpired = "order-expired", "write and sign a new one, for 4 hours at the most; times are in UTC";
    /// The host has obeyed the order before.
    OrderUsed = "order-used", "write and sign a new one, with another nonce";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A commit that does not count, and why.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    commit: Option<Oid>,
    detail: String,
    source: Option<ObjectError>,
}

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, commit: None, detail: detail.into(), source: None }
    }

    pub(super) fn caused_by(mut self, source: ObjectError) -> Self {
        self.source = Some(source);
        self
    }

    /// Says which commit this is about, unless that was said nearer to the fault.
    pub(super) fn of(mut self, commit: &Oid) -> Self {
        self.commit.get_or_insert(*commit);
        self
    }

    /// Returns the stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the commit that was refused, where it is one commit.
    pub fn commit(&self) -> Option<&Oid> {
        self.commit.as_ref()
    }

    /// Returns why, in words for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns what would make it right.
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }
}

/// What was refused and why; the hint stands on a line of its own.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.commit {
            Some(commit) => write!(f, "commit {commit} refused ({}): {}", self.code, self.detail)?,
            None => write!(f, "refused ({}): {}", self.code, self.detail)?,
        }
        write!(f, "\n  {}", self.hint())
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
