// SPDX-License-Identifier: Apache-2.0
//! The account databases as shadow-utils keeps them: its locks, its backups, its atomic replace.

/// The four files as bytes; `None` where a host has no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFiles {
    pub passwd: Option<Vec<u8>>,
    pub shadow: Option<Vec<u8>>,
    pub group: Option<Vec<u8>>,
    pub gshadow: Option<Vec<u8>>,
}

pub(super) fn edit(
    _: &super::files::Root,
    _: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
) -> Result<(), super::HostError> {
    todo!()
}
