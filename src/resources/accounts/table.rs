// SPDX-License-Identifier: Apache-2.0
//! One file of lines whose fields are separated by colons.

use std::collections::BTreeMap;

/// The lines of one of the four files. Lines that are no entries are kept and otherwise ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Each with its line feed; only the last line of a file may lack it.
    lines: Vec<Vec<u8>>,
    columns: usize,
    /// Columns that hold a number in every entry; glibc ignores a line where one does not.
    numeric: &'static [usize],
}

impl Table {
    pub fn passwd(bytes: &[u8]) -> Self {
        Self::parse(bytes, 7, &[super::passwd::UID, super::passwd::GID])
    }

    pub fn shadow(bytes: &[u8]) -> Self {
        Self::parse(bytes, 9, &[])
    }

    pub fn group(bytes: &[u8]) -> Self {
        Self::parse(bytes, 4, &[super::group::GID])
    }

    pub fn gshadow(bytes: &[u8]) -> Self {
        Self::parse(bytes, 4, &[])
    }

    fn parse(bytes: &[u8], columns: usize, numeric: &'static [usize]) -> Self {
        Self { lines: bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(), columns, numeric }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.lines.concat()
    }

    /// Returns name and fields of a line, or `None` if glibc would take it for no entry. Missing fields are empty.
    fn entry<'a>(&self, line: &'a [u8]) -> Option<(&'a str, Vec<&'a [u8]>)> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields: Vec<&[u8]> = line.splitn(self.columns, |byte| *byte == b':').collect();
        if fields.len() < 2 {
            return None;
        }
        fields.resize(self.columns, b"");
        let name = std::str::from_utf8(fields[0]).ok()?;
        if name.is_empty() || name.starts_with(['+', '-', '#']) {
            return None;
        }
        let is_number = |column: &usize| super::number(fields[*column]).is_some();
        self.numeric.iter().all(is_number).then_some((name, fields))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, Vec<&[u8]>)> {
        self.lines.iter().filter_map(|line| self.entry(line))
    }

    /// Returns the line of the entry called `name`; of several, the first.
    fn find(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| self.entry(line).is_some_and(|(found, _)| found == name))
    }

    /// Turns each entry into a value, by name.
    pub(super) fn collect<T>(&self, value: impl Fn(&[&[u8]]) -> Option<T>) -> BTreeMap<String, T> {
        let mut values = BTreeMap::new();
        for (name, fields) in self.entries() {
            if let Some(value) = value(&fields) {
                values.entry(name.to_owned()).or_insert(value);
            }
        }
        values
    }

    /// Returns name and number of each entry, in the order of the file.
    pub(super) fn numbers(&self, column: usize) -> impl Iterator<Item = (String, u32)> {
        self.entries().filter_map(move |(name, fields)| Some((name.to_owned(), super::number(fields[column])?)))
    }

    /// Returns the names of all entries, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.entries().map(|(name, _)| name.to_owned()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns one field of the entry called `name`.
    pub fn field(&self, name: &str, column: usize) -> Option<Vec<u8>> {
        let (_, fields) = self.entry(&self.lines[self.find(name)?])?;
        Some(fields[column].to_vec())
    }

    /// Replaces one field of the entry called `name`, if there is such an entry, and leaves its other fields.
    pub fn set(&mut self, name: &str, column: usize, value: &[u8]) {
        let Some(place) = self.find(name) else { return };
        let line = &self.lines[place];
        let Some((_, mut fields)) = self.entry(line) else { return };
        if fields[column] == value {
            return;
        }
        fields[column] = value;
        let mut edited = fields.join(&b':');
        if line.ends_with(b"\n") {
            edited.push(b'\n');
        }
        self.lines[place] = edited;
    }

    /// Adds a line after the others, but before the entries of NIS: those must stay last to be searched last.
    pub fn add(&mut self, line: &str) {
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with(b"\n")
        {
            last.push(b'\n');
        }
        let nis = |line: &Vec<u8>| line.starts_with(b"+") || line.starts_with(b"-");
        let place = self.lines.iter().position(nis).unwrap_or(self.lines.len());
        self.lines.insert(place, format!("{line}\n").into_bytes());
    }

    /// Removes every entry called `name`, or a second one would come to light.
    pub fn remove(&mut self, name: &str) {
        let lines = std::mem::take(&mut self.lines);
        self.lines = lines.into_iter().filter(|line| self.entry(line).is_none_or(|(found, _)| found != name)).collect();
    }
}
