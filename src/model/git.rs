// SPDX-License-Identifier: Apache-2.0
//! Git objects as bytes, and the seam through which they are asked for.

pub use gix::ObjectId as Oid;
pub use gix::object::Kind as ObjectType;

/// An object as a store gave it: not yet proven to have the id that it was asked for by.
#[derive(Clone, Debug)]
pub struct RawObject {
    pub kind: ObjectType,
    /// The content, without Git's `type length\0` header.
    pub data: Vec<u8>,
}

/// Gives the object with this id. Whoever asks must hash what comes, for a store may lie.
pub trait Objects {
    /// Returns the object `id`.
    ///
    /// # Errors
    /// The store lacks the object, cannot read it, or it is larger than the store's cap.
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError>;
}

/// Why a store did not give an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the store has no object {id}")]
    Missing { id: Oid },
    #[error("object {id} is larger than the {limit} bytes allowed")]
    TooLarge { id: Oid, limit: u64 },
    #[error("cannot read object {id} from the store")]
    Unreadable {
        id: Oid,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
