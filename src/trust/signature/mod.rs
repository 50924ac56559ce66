// SPDX-License-Identifier: Apache-2.0
//! What a `gpgsig` header may hold: one OpenPGP or one SSH signature, each in the one form that its own program writes.

mod armor;
pub(super) mod openpgp;
pub(super) mod ssh;

pub(super) use openpgp::OpenPgp;
pub(super) use ssh::Ssh;

#[cfg(any(fuzzing, test))]
pub(super) use armor::{decode as decode_armor, encode as encode_armor};
