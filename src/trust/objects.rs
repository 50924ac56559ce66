// SPDX-License-Identifier: Apache-2.0
//! Objects that have the id that they were asked for by.

use crate::model::git::{ObjectError, ObjectType, Objects, Oid};

use super::refusal::{Code, Refusal};

/// A store whose every answer is hashed before anybody sees it.
#[derive(Clone, Copy)]
pub(super) struct Proven<'o>(&'o dyn Objects);

impl<'o> Proven<'o> {
    pub(super) fn new(objects: &'o dyn Objects) -> Self {
        Self(objects)
    }

    /// Returns the content of the object `id`, which is a `kind` and has at most `limit` bytes.
    pub(super) fn read(self, id: &Oid, kind: ObjectType, limit: usize) -> Result<Vec<u8>, Refusal> {
        let object = self.0.object(id).map_err(|error| {
            let code = match error {
                ObjectError::Missing { .. } => Code::ObjectMissing,
                ObjectError::TooLarge { .. } => Code::ObjectTooLarge,
                ObjectError::Unreadable { .. } => Code::ObjectUnreadable,
            };
            Refusal::new(code, format!("{kind} {id} is needed and was not to be had")).caused_by(error)
        })?;
        if object.data.len() > limit {
            let size = object.data.len();
            return Err(Refusal::new(
                Code::ObjectTooLarge,
                format!("{kind} {id} has {size} bytes; {limit} are allowed"),
            ));
        }
        // The type is part of what is hashed, so a store cannot lie about it either. For SHA-1 the hash detects the
        // known collision attacks and then gives an error instead of an id.
        match gix::objs::compute_hash(id.kind(), object.kind, &object.data) {
            Ok(actual) if actual == *id => {}
            Ok(actual) => {
                let detail = format!("the store was asked for {id} and gave the content of {actual}");
                return Err(Refusal::new(Code::ObjectMismatch, detail));
            }
            Err(_) => {
                return Err(Refusal::new(Code::ObjectMismatch, format!("object {id} is a forged hash collision")));
            }
        }
        if object.kind != kind {
            let detail = format!("object {id} is a {}, and a {kind} was needed", object.kind);
            return Err(Refusal::new(Code::WrongObjectType, detail));
        }
        Ok(object.data)
    }
}
