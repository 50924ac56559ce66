// SPDX-License-Identifier: Apache-2.0
//! Gets objects from Git as bytes; knows nothing of trust or of resources.

pub use crate::model::git::{ObjectError, Objects, Oid, RawObject};
