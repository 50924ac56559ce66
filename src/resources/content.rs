// SPDX-License-Identifier: Apache-2.0
//! Contents of files, written in the object itself or beside it in the infra repo.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Digest, Fault, Faults, Origin};

use super::digest::{Digestible, Sum};
use super::firewall::{Network, Place};

/// Gives contents that the infra repo keeps beside the objects. Errors are texts: what is wrong, without the place.
pub trait Contents {
    /// Returns the file `files/PATH` of the infra repo.
    ///
    /// # Errors
    /// There is no such file, or it is too large.
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String>;

    /// Returns `templates/PATH` of the infra repo, rendered for this host.
    ///
    /// # Errors
    /// There is no such template, or it cannot be rendered; the text names its line and column.
    fn template(&self, path: &str) -> Result<Arc<[u8]>, String>;

    /// Returns the addresses that the infra repo knows by a word: those of a zone, of a host, of all hosts with a label.
    ///
    /// # Errors
    /// The repo does not know it, or a host has no address.
    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String>;
}

/// Content as the repo writes it: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContentSpec {
    /// The content itself.
    pub content: Option<String>,
    /// A file below `files/` of the infra repo.
    pub source: Option<String>,
    /// A Handlebars template below `templates/` of the infra repo.
    pub template: Option<String>,
}

impl ContentSpec {
    /// Returns the content, or `None` if none of the three is set.
    ///
    /// `field` is the key that holds the three in the object, or `None` where they are the object's own fields.
    ///
    /// # Errors
    /// More than one of the three is set, or the repo cannot give the content.
    pub fn resolve(
        &self,
        field: Option<&str>,
        origin: &Origin,
        contents: &dyn Contents,
    ) -> Result<Option<Content>, Faults> {
        let at = |key: &str| origin.of(field.unwrap_or(key)).clone();
        match (&self.content, &self.source, &self.template) {
            (None, None, None) => Ok(None),
            (Some(text), None, None) => Ok(Some(Content::new(text.as_bytes().into()))),
            (None, Some(path), None) => match contents.source(path) {
                Ok(bytes) => Ok(Some(Content::new(bytes))),
                Err(why) => Err(Fault::new(at("source"), why).into()),
            },
            (None, None, Some(path)) => match contents.template(path) {
                Ok(bytes) => Ok(Some(Content::new(bytes))),
                Err(why) => Err(Fault::new(at("template"), why).into()),
            },
            _ => Err(Fault::new(
                at(if self.template.is_some() { "template" } else { "source" }),
                "more than one of content, source and template is set",
            )
            .hint("keep exactly one of the three")
            .into()),
        }
    }
}

/// The bytes that a file shall hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Arc<[u8]>);

impl Content {
    pub fn new(bytes: Arc<[u8]>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl Digestible for Content {
    fn add_to(&self, sum: &mut Sum) {
        let Self(bytes) = self;
        sum.bytes(bytes);
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}", self.0.len(), self.digest())
    }
}
