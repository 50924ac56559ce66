// SPDX-License-Identifier: Apache-2.0
//! What a host remembers of its objects, as text in which one is found without reading the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ownership::{OwnershipChange, Parts};
use super::{Digest, ObjectId, Owned};

/// What hostwrit made of each object, and which were there before: one JSON object a line, sorted by kind and name.
///
/// It is as long as a host has objects, and seldom changes. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    text: Arc<str>,
    digest: Digest,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    object: ObjectId,
    /// The parts that hostwrit made.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    owned: Parts,
    /// It was there before hostwrit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    altered: bool,
}

/// Why a text is no record.
#[derive(Debug, thiserror::Error)]
pub enum NotARecord {
    #[error("line {line} is not what hostwrit writes there")]
    Malformed {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("line {line} is not in its place, or does not end")]
    Unsorted { line: usize },
}

impl Default for Record {
    fn default() -> Self {
        Self::from_text(String::new())
    }
}

impl Record {
    /// Writes the record of these objects.
    pub fn of(owned: &Owned, altered: &BTreeSet<ObjectId>) -> Self {
        let mut text = String::new();
        lines(owned, altered).iter().for_each(|line| write(line, &mut text));
        Self::from_text(text)
    }

    /// Reads what [`Record::text`] gave.
    ///
    /// # Errors
    /// The text is not of that form, as a whole and in its order.
    pub fn parse(text: &str) -> Result<Self, NotARecord> {
        let mut before: Option<ObjectId> = None;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let read: Line =
                serde_json::from_str(line).map_err(|source| NotARecord::Malformed { line: number, source })?;
            if before.is_some_and(|before| before >= read.object) || !line.ends_with('\n') {
                return Err(NotARecord::Unsorted { line: number });
            }
            before = Some(read.object);
        }
        Ok(Self::from_text(text.to_owned()))
    }

    fn from_text(text: String) -> Self {
        Self { digest: Digest::of(text.as_bytes()), text: text.into() }
    }

    /// Returns the record as it is kept in a file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the digest of the text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it tells of no object at all.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns all that hostwrit made, and all that was there before it.
    pub fn all(&self) -> (Owned, BTreeSet<ObjectId>) {
        sorted(self.lines_from(0))
    }

    /// Returns what hostwrit made of these objects, and which of them were there before it.
    pub fn only(&self, objects: &BTreeSet<ObjectId>) -> (Owned, BTreeSet<ObjectId>) {
        sorted(objects.iter().filter_map(|object| self.find(object)))
    }

    /// Returns the objects of `kind` of which hostwrit made at least a part.
    pub fn owned_of_kind<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = ObjectId> + 'r {
        self.owned_below(kind, "")
    }

    /// Returns those of them whose name begins so.
    pub fn owned_below<'r>(&'r self, kind: &'r str, prefix: &'r str) -> impl Iterator<Item = ObjectId> + 'r {
        self.lines_from(self.place_of(kind, prefix))
            .take_while(move |line| line.object.kind() == kind && line.object.name().starts_with(prefix))
            .filter(|line| !line.owned.is_empty())
            .map(|line| line.object)
    }

    /// Returns what hostwrit made of the objects of all other kinds.
    pub fn owned_but(&self, kind: &str) -> Owned {
        let first = self.place_of(kind, "");
        // No name of a kind comes after this.
        let after = self.place_of(kind, "\u{10ffff}");
        let before = self.text[..first].lines().filter_map(|line| serde_json::from_str(line).ok());
        sorted(before.chain(self.lines_from(after))).0
    }

    /// Returns the record in which these objects stand as given, and all others as they did.
    #[must_use]
    pub fn replaced(&self, objects: &BTreeSet<ObjectId>, owned: &Owned, altered: &BTreeSet<ObjectId>) -> Self {
        let others = self.lines_from(0).filter(|line| !objects.contains(&line.object));
        let mut all: Vec<Line> = others.chain(lines(owned, altered)).collect();
        all.sort_by(|a, b| a.object.cmp(&b.object));
        let mut text = String::with_capacity(self.text.len());
        all.iter().for_each(|line| write(line, &mut text));
        Self::from_text(text)
    }

    fn find(&self, object: &ObjectId) -> Option<Line> {
        let line = self.lines_from(self.place_of(object.kind(), object.name())).next()?;
        (line.object == *object).then_some(line)
    }

    /// Returns where the first line begins that is not before this object.
    fn place_of(&self, kind: &str, name: &str) -> usize {
        let text = self.text.as_bytes();
        let is_end = |byte: &u8| *byte == b'\n';
        let (mut low, mut high) = (0, text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = text[low..middle].iter().rposition(is_end).map_or(low, |newline| low + newline + 1);
            let end = text[middle..high].iter().position(is_end).map_or(high, |newline| middle + newline + 1);
            if is_before(&text[start..end], kind, name) {
                low = end;
            } else {
                high = start;
            }
        }
        low
    }

    fn lines_from(&self, place: usize) -> impl Iterator<Item = Line> {
        // Every line was parsed or written here.
        self.text.get(place..).unwrap_or_default().lines().filter_map(|line| serde_json::from_str(line).ok())
    }
}

/// Whether a line comes before that of this object. A search asks this of many lines, so no more of them is read than that takes.
fn is_before(line: &[u8], kind: &str, name: &str) -> bool {
    let plain = line.strip_prefix(br#"{"object":""#).and_then(|rest| {
        let id = rest.get(..rest.iter().position(|byte| *byte == b'"')?)?;
        // Where a character is escaped the line must be read as JSON.
        (!id.contains(&b'\\')).then(|| std::str::from_utf8(id).ok()?.split_once(':'))?
    });
    match plain {
        Some(object) => object < (kind, name),
        None => serde_json::from_slice::<Line>(line)
            .is_ok_and(|line| (line.object.kind(), line.object.name()) < (kind, name)),
    }
}

fn lines(owned: &Owned, altered: &BTreeSet<ObjectId>) -> Vec<Line> {
    let objects: BTreeSet<&ObjectId> = owned.objects().chain(altered).collect();
    let line = |object: &ObjectId| Line {
        object: object.clone(),
        owned: owned.parts(object).map(str::to_owned).collect(),
        altered: altered.contains(object),
    };
    objects.into_iter().map(line).collect()
}

fn sorted(lines: impl Iterator<Item = Line>) -> (Owned, BTreeSet<ObjectId>) {
    let (mut owned, mut altered) = (Owned::default(), BTreeSet::new());
    for Line { object, owned: claims, altered: was_there } in lines {
        owned.claim(&object, &OwnershipChange { claims, gives_up: Parts::new() });
        if was_there {
            altered.insert(object);
        }
    }
    (owned, altered)
}

fn write(line: &Line, text: &mut String) {
    // Strings and a truth value: there is nothing in it that JSON cannot hold.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn objects() -> impl Strategy<Value = BTreeSet<ObjectId>> {
        let kind = prop_oneof![Just("file"), Just("user"), Just("user.sudo")];
        let name = prop_oneof!["/[a-c]{1,2}(/[a-c]{1,2}){0,2}", "[a-zé\"\\\\ ]{1,3}"];
        prop::collection::btree_set((kind, name).prop_map(|(kind, name)| ObjectId::new(kind, name)), 0..20)
    }

    fn owned(objects: &BTreeSet<ObjectId>) -> Owned {
        let mut owned = Owned::default();
        for (number, object) in objects.iter().enumerate() {
            let claims = if number % 3 == 0 {
                ["whole", "drop-in:a b"].map(str::to_owned).into()
            } else {
                ["whole".to_owned()].into()
            };
            owned.claim(object, &OwnershipChange { claims, gives_up: Parts::new() });
        }
        owned
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(made in objects(), altered in objects()) {
            let record = Record::of(&owned(&made), &altered);
            prop_assert_eq!(record.all(), (owned(&made), altered));
            prop_assert_eq!(Record::parse(record.text()).unwrap(), record);
        }

        #[test]
        fn one_object_is_found_among_the_others_or_is_not_there(made in objects(), asked in objects()) {
            let record = Record::of(&owned(&made), &BTreeSet::new());
            let (found, _) = record.only(&asked);
            prop_assert_eq!(found, owned(&made).only(&asked));
            for kind in ["file", "user", "group"] {
                let of_kind: Vec<ObjectId> = owned(&made).of_kind(kind).cloned().collect();
                prop_assert_eq!(record.owned_of_kind(kind).collect::<Vec<_>>(), of_kind);
            }
            let mut others = owned(&made);
            made.iter().filter(|object| object.kind() == "file").for_each(|object| others.forget(object));
            prop_assert_eq!(record.owned_but("file"), others);
            let below = made.iter().filter(|object| object.kind() == "file" && object.name().starts_with("/a/"));
            prop_assert_eq!(record.owned_below("file", "/a/").collect::<Vec<_>>(), below.cloned().collect::<Vec<_>>());
        }

        #[test]
        fn a_part_is_replaced_and_the_rest_stays(made in objects(), asked in objects(), now in objects()) {
            let record = Record::of(&owned(&made), &made);
            let now: BTreeSet<ObjectId> = asked.intersection(&now).cloned().collect();
            let replaced = record.replaced(&asked, &owned(&now), &BTreeSet::new());
            prop_assert_eq!(replaced.only(&asked), (owned(&now), BTreeSet::new()));
            let others: BTreeSet<ObjectId> = made.difference(&asked).cloned().collect();
            prop_assert_eq!(replaced.only(&others), record.only(&others));
            prop_assert_eq!(Record::parse(replaced.text()).unwrap(), replaced);
        }
    }

    #[test]
    fn a_text_that_is_no_record_is_refused() {
        let good = "{\"object\":\"file:/a\",\"owned\":[\"whole\"]}\n{\"object\":\"file:/b\",\"altered\":true}\n";
        assert_eq!(Record::parse(good).unwrap().text(), good);
        let (first, second) = good.split_at(good.find('\n').unwrap() + 1);
        assert!(matches!(Record::parse(&format!("{second}{first}")), Err(NotARecord::Unsorted { line: 2 })));
        assert!(matches!(Record::parse(&format!("{first}{first}")), Err(NotARecord::Unsorted { line: 2 })));
        assert!(matches!(Record::parse(good.trim_end()), Err(NotARecord::Unsorted { line: 2 })));
        assert!(matches!(Record::parse(&good[..good.len() - 3]), Err(NotARecord::Malformed { line: 2, .. })));
        assert!(matches!(
            Record::parse("{\"object\":\"file:/a\",\"more\":1}\n"),
            Err(NotARecord::Malformed { line: 1, .. })
        ));
        assert!(matches!(Record::parse("\n"), Err(NotARecord::Malformed { line: 1, .. })));
    }
}
