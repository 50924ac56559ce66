// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a file that people wrote, and what would be right.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::Location;

/// One fault: where, what is wrong, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub struct Fault {
    pub at: Location,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right, where that can be said.
    pub hint: Option<String>,
}

impl Fault {
    /// Returns a fault without a hint.
    pub fn new(at: Location, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    /// Adds what would be right.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `file:line:column: message`, as compilers write it and editors jump to it; the hint stands on a line of its own.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, &self.at.to_string())?;
        if self.at.line > 0 {
            write!(f, ":{}", self.at.column)?;
        }
        f.write_str(": ")?;
        shown(f, &self.message)?;
        if let Some(hint) = &self.hint {
            f.write_str("\n  ")?;
            shown(f, hint)?;
        }
        Ok(())
    }
}

/// Writes text that may repeat what somebody else wrote, so that it cannot steer the terminal.
fn shown(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    // Controls, and the characters that turn the direction of writing.
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().try_for_each(|c| if steers(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

/// All that is wrong with a repo or a file, sorted by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one fault, unless the same one is there already.
    pub fn push(&mut self, fault: Fault) {
        if let Err(place) = self.0.binary_search(&fault) {
            self.0.insert(place, fault);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// Returns `value` if there is no fault, else the faults.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        faults.into_iter().for_each(|fault| self.push(fault));
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Returns the candidate that `word` is probably a misspelling of, for "did you mean".
///
/// Near is: at most a third of the longer word's letters differ, and two at most; a swap of neighbours is one difference.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |word: &str| word.chars().count();
    let limit = |candidate: &str| (letters(word).max(letters(candidate)) / 3).clamp(1, 2);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit(candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out, replaced or swapped with a neighbour to make one word of the other.
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    // Bounds the work on hostile input; such words are not near.
    if one.len().abs_diff(two.len()) > 2 || one.len() > 256 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=two.len()).collect();
    for (i, left) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in two.iter().enumerate() {
            let mut best = (above[j] + usize::from(left != right)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == two[j - 1] && one[i - 1] == *right {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[two.len()]
}

/// Returns an error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Fault, Location, closest};

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let fault = Fault::new(Location::file("a\u{1b}[2J.yaml"), "\"\u{202e}x\r\" is wrong").hint("é\n");
        assert_eq!(fault.to_string(), "a\\u{1b}[2J.yaml: \"\\u{202e}x\\r\" is wrong\n  é\\n");
    }

    #[test]
    fn a_swapped_or_missing_letter_is_close_and_another_word_is_not() {
        let known = ["groups", "group", "shell", "ssh_keys"];
        assert_eq!(closest("shlel", known), Some("shell"));
        assert_eq!(closest("ssh_key", known), Some("ssh_keys"));
        assert_eq!(closest("grop", known), Some("group"));
        assert_eq!(closest("shel", known), Some("shell"));
        assert_eq!(closest("home", known), None);
        assert_eq!(closest("x", known), None);
        assert_eq!(closest("", known), None);
    }
}
