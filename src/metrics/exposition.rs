// SPDX-License-Identifier: Apache-2.0
//! The text format that Prometheus reads, version 0.0.4.

use std::fmt::Write as _;

use super::family::{Family, Kind};

/// What goes into the `Content-Type` header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics under way.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Writes one family. Each sample has the values of the labels, in the family's order. A family without samples is
    /// left out.
    pub fn put<'s>(&mut self, family: &Family, samples: impl IntoIterator<Item = (Vec<&'s str>, f64)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(family);
        for (values, number) in samples {
            debug_assert_eq!(values.len(), family.labels.len(), "{}", family.name);
            self.text.push_str(family.name);
            let mut open = '{';
            for (label, value) in family.labels.iter().zip(values) {
                self.text.push(open);
                open = ',';
                self.text.push_str(label);
                self.text.push_str("=\"");
                escape(value, true, &mut self.text);
                self.text.push('"');
            }
            if !family.labels.is_empty() {
                self.text.push('}');
            }
            self.number("", number);
        }
    }

    /// Writes one family without labels, if its value is known.
    pub fn put_one(&mut self, family: &Family, number: impl Into<Option<f64>>) {
        self.put(family, number.into().map(|number| (Vec::new(), number)));
    }

    /// Writes a summary without quantiles.
    pub fn put_summary(&mut self, family: &Family, sum: f64, count: u64) {
        debug_assert_eq!(family.kind, Kind::Summary);
        self.head(family);
        self.text.push_str(family.name);
        self.number("_sum", sum);
        self.text.push_str(family.name);
        self.number("_count", count as f64);
    }

    /// Returns the page.
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, family: &Family) {
        let Family { name, kind, help, .. } = family;
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} ");
        escape(help, false, &mut self.text);
        let _ = writeln!(self.text, "\n# TYPE {name} {}", kind.as_str());
    }

    fn number(&mut self, suffix: &str, number: f64) {
        let _ = writeln!(self.text, "{suffix} {number}");
    }
}

/// Appends `text` so that it ends neither its line nor, in a label, its value.
fn escape(text: &str, is_label: bool, into: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if is_label => into.push_str("\\\""),
            _ => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELLED: Family =
        Family { name: "x", kind: Kind::Gauge, labels: &["a", "b"], help: "Two \\ lines\nof \"it\"." };
    const PLAIN: Family = Family { name: "y_total", kind: Kind::Counter, labels: &[], help: "Y." };
    const SUMMARY: Family = Family { name: "z_seconds", kind: Kind::Summary, labels: &[], help: "Z." };

    #[test]
    fn what_could_end_a_value_or_a_line_is_escaped() {
        let mut page = Page::default();
        page.put(&LABELLED, [(vec!["say \"hi\"\\", "two\nlines"], 1.0)]);
        assert_eq!(
            page.into_text(),
            "# HELP x Two \\\\ lines\\nof \"it\".\n# TYPE x gauge\nx{a=\"say \\\"hi\\\"\\\\\",b=\"two\\nlines\"} 1\n"
        );
    }

    #[test]
    fn what_is_not_known_is_not_written() {
        let mut page = Page::default();
        page.put(&LABELLED, []);
        page.put_one(&PLAIN, None);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn numbers_are_written_in_full() {
        let mut page = Page::default();
        page.put_one(&PLAIN, 1_763_850_000.0);
        page.put_summary(&SUMMARY, 0.25, 3);
        assert_eq!(
            page.into_text(),
            "# HELP y_total Y.\n# TYPE y_total counter\ny_total 1763850000\n\
             # HELP z_seconds Z.\n# TYPE z_seconds summary\nz_seconds_sum 0.25\nz_seconds_count 3\n"
        );
    }
}
