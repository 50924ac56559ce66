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
//! | `armor`, `signature` | one form of an OpenPGP signature, and what makes it count |
//! | `policy` | `policy/policy.yaml` and the keys that it names |
//! | `walk` | which commits are new, oldest first |

pub mod anchor;
mod armor;
mod authenticate;
mod authorize;
mod commit;
mod objects;
pub mod policy;
pub mod refusal;
mod signature;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub use anchor::{Anchor, NotASigner, Signer};
pub use authenticate::{AuthenticTree, Signature, authenticate};
pub use authorize::{Authorized, authorize};
pub use policy::PolicyFile;
pub use refusal::{Code, Refusal};
