// SPDX-License-Identifier: Apache-2.0
//! The objects of one commit that a host needs to enforce it, kept by the host itself.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::model::git::{ObjectError, ObjectType, Objects, Oid, RawObject};

/// The first line of the file.
const HEAD: &[u8] = b"hostwrit objects 1\n";

/// Objects by id.
#[derive(Debug, Default)]
pub struct Kept {
    objects: BTreeMap<Oid, RawObject>,
}

impl Kept {
    /// Reads what [`Recorder::to_bytes`] wrote. What is cut off, cannot be read or is not what its id says is left out, and has
    /// to be asked of somebody else.
    pub fn read(&mut self, text: &[u8]) {
        let Some(mut rest) = text.strip_prefix(HEAD) else { return };
        // ID TYPE LENGTH, a line, and then so many bytes.
        while let Some(end) = rest.iter().take(128).position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            let mut words = line.split(' ');
            let id = words.next().and_then(|id| Oid::from_hex(id.as_bytes()).ok());
            let kind = words.next().and_then(|kind| ObjectType::from_bytes(kind.as_bytes()).ok());
            let length = words.next().and_then(|length| length.parse::<usize>().ok());
            let (Some(id), Some(kind), Some(length)) = (id, kind, length) else { return };
            let Some((data, after)) = rest[end + 1..].split_at_checked(length) else { return };
            if gix::objs::compute_hash(id.kind(), kind, data).is_ok_and(|actual| actual == id) {
                self.objects.insert(id, RawObject { kind, data: data.to_vec() });
            }
            rest = after;
        }
    }

    /// Returns the object `id`, if it is there.
    pub fn get(&self, id: &Oid) -> Option<&RawObject> {
        self.objects.get(id)
    }
}

/// A store that remembers what was read of it.
pub struct Recorder<'o> {
    store: &'o dyn Objects,
    read: RefCell<BTreeMap<Oid, RawObject>>,
}

impl<'o> Recorder<'o> {
    /// Returns a recorder that has seen nothing yet.
    pub fn new(store: &'o dyn Objects) -> Self {
        Self { store, read: RefCell::default() }
    }

    /// Returns all that was read, to be kept in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = HEAD.to_vec();
        for (id, RawObject { kind, data }) in self.read.borrow().iter() {
            text.extend_from_slice(format!("{id} {kind} {}\n", data.len()).as_bytes());
            text.extend_from_slice(data);
        }
        text
    }
}

impl Objects for Recorder<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        let object = self.store.object(id)?;
        self.read.borrow_mut().insert(*id, object.clone());
        Ok(object)
    }
}
