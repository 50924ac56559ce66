// SPDX-License-Identifier: Apache-2.0
mod admits;
mod networks;
mod places;
pub(in crate::resources) mod real;
mod recorded;
mod table;
