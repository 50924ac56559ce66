// SPDX-License-Identifier: Apache-2.0
//! Where sq-git says yes to a chain and hostwrit says no, on purpose.

use hostwrit::trust::Code;

/// The refusal, and why it is right. Each must occur in the generated chains.
pub const INTENDED: &[(Code, &str)] = &[
    (Code::ArmorNotCanonical, "only gpg's own armor: any other gives one signed commit two ids"),
    (
        Code::MalformedSignature,
        "one version 4 signature of a binary document: text mode and a second packet make other ids of the same",
    ),
    (Code::WeakSignature, "SHA-256 and RSA of 3072 bits at least; sq-git takes SHA-224 and RSA of 2048 bits"),
    (Code::MalformedCommit, "no header that git and its libraries would read differently"),
    (Code::SignatureFromFuture, "five minutes for clocks that differ; sq-git allows thirty"),
    (Code::PolicyRollback, "the version of the policy never goes down; sq-git's policy has no such number"),
    (Code::PolicyMissing, "a commit without a policy is refused at once; in sq-git nobody may build on it"),
    (Code::PolicyUnreadable, "so is one whose policy knows nobody"),
    (Code::TimeBackwards, "signatures never go back in time along parents, or an old key could be made to count"),
    (Code::RevocationDropped, "a revocation stays in the policy; in sq-git whoever may retire people may take it out"),
    (Code::UnknownSigner, "a new subkey signs from the next commit on, like any new key; in sq-git at once"),
    (Code::KeyExpired, "the key of the tip must be valid today, not only when it signed"),
    (Code::KeyRevoked, "and it must not be revoked today"),
];
