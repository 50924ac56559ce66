// SPDX-License-Identifier: Apache-2.0
//! The data types of RFC 4251, section 5, each in its one form.

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// Reads a positive `mpint` and returns its digits without the zero that keeps the sign apart. The shortest form
    /// is the only one.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => Some(digits),
            digits @ [1..=0x7f, ..] => Some(digits),
            _ => None,
        }
    }

    /// Succeeds when all was read.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// What was written so far.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn string(self, string: &[u8]) -> Self {
        // All that is written here was read from less than 16 KB, or is a digest.
        let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
        self.bytes(&length.to_be_bytes()).bytes(string)
    }

    pub(super) fn positive(self, digits: &[u8]) -> Self {
        if digits.first().is_some_and(|first| *first >= 0x80) {
            self.string(&[&[0], digits].concat())
        } else {
            self.string(digits)
        }
    }
}
