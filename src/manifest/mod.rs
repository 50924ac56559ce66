// SPDX-License-Identifier: Apache-2.0
//! Files of an authentic tree to desired state: every parse and every cross-file check.
pub mod facts;
mod template;
