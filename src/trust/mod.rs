// SPDX-License-Identifier: Apache-2.0
//! Who signed, and may they? Works on bytes that it is given: no I/O, no host.
//!
//! [`authenticate()`] turns objects that it hashed itself into an [`AuthenticTree`], or into a [`Refusal`];
//! [`authorize()`] alone makes the [`Authorized`] value that the engine accepts. The rest is what they stand on:
//!
//! | module | what it knows |
//! |---|---|
//! | `anchor` | what the host was told out of band |
//! | `objects` | objects that have the id that they were asked for by |
//! | `commit`, `tree` | the closed grammars |
//! | `signature/` | OpenPGP and SSH signatures: the one form, and what makes one count |
//! | `key_name`, `revocation` | keys by their fingerprints, and those that count no more |
//! | `policy/` | `policy/policy.yaml` and the keys that it names |
//! | `cache` | what was proven before |
//! | `claim` | what a commit says of itself, for people who look |
//! | `trailers` | what binds a commit to its place |
//! | `walk`, `history` | which commits are new, oldest first, and what was judged of them |
//! | `verify` | the mathematics, on all cores |
//! | `heartbeat` | up to when the ref is known, by a key that may say nothing else |
//! | `order` | what the owners tell one host past its repo |

pub mod anchor;
mod authenticate;
mod authorize;
mod cache;
mod claim;
mod commit;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod heartbeat;
mod history;
pub mod key_name;
mod objects;
pub mod order;
pub mod policy;
pub mod refusal;
pub mod revocation;
mod signature;
mod trailers;
mod tree;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

pub use anchor::Anchor;
pub use authenticate::{AuthenticTree, Signature, authenticate};
pub use authorize::{Allowance, Authorized, Compile, Decision, Urgency, authorize};
pub use cache::Cache;
pub use claim::{Claim, claim, parents};
pub use heartbeat::{HEARTBEAT_REF, heartbeat};
pub use key_name::{KeyName, NotAKeyName};
pub use order::Order;
pub use policy::PolicyFile;
pub use policy::view::PolicyView;
pub use refusal::{Code, Refusal};
pub use revocation::Revocations;
pub use walk::descends;
