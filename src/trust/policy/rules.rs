// SPDX-License-Identifier: Apache-2.0
//! Rules: who must sign for a changed object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::ObjectId;

/// One rule of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trust) struct Rule {
    /// Its place among the rules, from 1.
    pub(in crate::trust) number: usize,
    pub(super) change: Vec<Pattern>,
    pub(super) hosts: BTreeMap<String, String>,
    pub(in crate::trust) role: String,
    /// The principals of the role.
    pub(in crate::trust) members: BTreeSet<String>,
    /// How many of them must sign.
    pub(in crate::trust) signers: usize,
}

/// Where an object is.
#[derive(Clone, Copy, Debug)]
pub(in crate::trust) enum Place<'a> {
    /// The policy is everybody's.
    Fleet,
    /// A host with these labels.
    Host(&'a BTreeMap<String, String>),
}

impl Rule {
    /// Whether the rule is about this object.
    pub(super) fn matches(&self, object: &ObjectId, place: Place<'_>) -> bool {
        let here = match place {
            Place::Fleet => self.hosts.is_empty(),
            Place::Host(labels) => self.hosts.iter().all(|(key, value)| labels.get(key) == Some(value)),
        };
        here && self.change.iter().any(|pattern| pattern.matches(object))
    }
}

/// Which objects a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Everything,
    /// All objects of the policy, whatever their kind.
    Policy,
    /// `kind:name`, with `*` for any run of characters.
    Glob(String),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Everything),
            "policy" => Some(Self::Policy),
            _ => text
                .split_once(':')
                .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
                .map(|_| Self::Glob(text.to_owned())),
        }
    }

    pub(super) fn matches(&self, object: &ObjectId) -> bool {
        match self {
            Self::Everything => true,
            Self::Policy => object.kind() == "policy" || object.kind().starts_with("policy."),
            Self::Glob(glob) => matches_glob(glob.as_bytes(), object.to_string().as_bytes()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "*",
            Self::Policy => "policy",
            Self::Glob(glob) => glob,
        })
    }
}

/// Whether `text` is `glob`, where `*` stands for any run of bytes. Takes no more than the product of the lengths.
fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where to go on when a later part does not fit: behind the last star, one byte further than it was tried.
    let mut retry: Option<(usize, usize)> = None;
    while pos < text.len() {
        if glob.get(at) == Some(&b'*') {
            retry = Some((at + 1, pos));
            at += 1;
        } else if glob.get(at) == Some(&text[pos]) {
            at += 1;
            pos += 1;
        } else if let Some((star, tried)) = retry {
            retry = Some((star, tried + 1));
            at = star;
            pos = tried + 1;
        } else {
            return false;
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (glob, text, fits) in [
            ("file:/etc/ssh/*", "file:/etc/ssh/sshd_config", true),
            ("file:/etc/ssh/*", "file:/etc/ssh/a/b", true),
            ("file:/etc/ssh/*", "file:/etc/ssh", false),
            ("file:*.conf", "file:/a.conf.d/x.conf", true),
            ("file:*.conf", "file:/a.conf.d/x", false),
            ("user:a*b*c", "user:abbc", true),
            ("user:a*b*c", "user:acb", false),
            ("user:deploy", "user:deploy2", false),
            ("user:deploy", "user:deplo", false),
            ("user:**", "user:x", true),
        ] {
            assert_eq!(matches_glob(glob.as_bytes(), text.as_bytes()), fits, "{glob} {text}");
        }
    }

    #[test]
    fn the_word_policy_means_every_part_of_it() {
        let policy = Pattern::parse("policy").unwrap();
        assert!(policy.matches(&ObjectId::new("policy", "roles")));
        assert!(policy.matches(&ObjectId::new("policy.add_key", "bob")));
        assert!(!policy.matches(&ObjectId::new("policykit", "x")));
        for text in ["user", ":x", "user:", ""] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }
}
