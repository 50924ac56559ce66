// SPDX-License-Identifier: Apache-2.0
//! Text to nodes, through the YAML library's event stream.
//!
//! The events are used rather than the library's own serde layer because only they tell a quoted scalar from a plain
//! one, show tags and anchors, and let reading go on after a fault, so that all faults are reported at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml::granit_parser::{
    ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use crate::model::{Fault, Faults, Location};

use super::{Entry, Node, Value};

/// Files of people are a few KiB; this is where reading stops.
const MAX_BYTES: usize = 1024 * 1024;
/// How many values a file may hold, those that aliases repeat included.
const MAX_NODES: usize = 100_000;
/// How deep values may stand in each other. Everything that walks nodes relies on it.
const MAX_DEPTH: usize = 64;

/// Parses one document.
///
/// # Errors
/// Every fault up to the first that leaves the rest of the text without meaning.
pub fn parse(file: &str, text: &[u8]) -> Result<Node, Faults> {
    let file: Arc<str> = file.into();
    let whole = Location { file: Arc::clone(&file), line: 0, column: 0 };
    if text.len() > MAX_BYTES {
        return Err(Fault::new(whole, "the file is larger than 1 MiB").hint("split it").into());
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(file, text, error.valid_up_to()).into()),
    };
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { file, parser, faults: Faults::default(), anchors: BTreeMap::new(), nodes: 0 };
    match reader.document() {
        Ok(node) => reader.faults.or(node),
        Err(Stop(fault)) => {
            reader.faults.push(*fault);
            Err(reader.faults)
        }
    }
}

/// A fault after which nothing more can be read.
struct Stop(Box<Fault>);

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self(Box::new(fault))
    }
}

struct Reader<'t> {
    file: Arc<str>,
    parser: Parser<'t, StrInput<'t>>,
    faults: Faults,
    anchors: BTreeMap<usize, Built>,
    nodes: usize,
}

/// A node with what an alias to it would add.
#[derive(Clone)]
struct Built {
    node: Node,
    /// Number of nodes, this one included.
    nodes: usize,
    /// 1 for a scalar.
    height: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Stop> {
        let start = Location { file: Arc::clone(&self.file), line: 1, column: 1 };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root.unwrap_or(Node { value: Value::Null, at: start })),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Fault::new(self.at(&span), "a second document begins here")
                        .hint(
                            "a file holds one document; remove the --- line or move what follows to a file of its own",
                        )
                        .into());
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, &span, 1)?.node),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => Err(scan_fault(location(&self.file, error.marker()), &error).into()),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn at(&self, span: &Span) -> Location {
        location(&self.file, &span.start)
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Built, Stop> {
        let at = self.at(span);
        self.count(1, depth, &at)?;
        let (value, anchor, nodes, height) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (scalar(text, style), anchor, 1, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let (mut items, mut nodes, mut height) = (Vec::new(), 1, 1);
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    let item = self.node(event, &span, depth + 1)?;
                    nodes += item.nodes;
                    height = height.max(item.height + 1);
                    items.push(item.node);
                }
                (Value::List(items), anchor, nodes, height)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let (entries, nodes, height) = self.map(depth)?;
                (Value::Map(entries), anchor, nodes, height)
            }
            Event::Alias(id) => return self.alias(id, at, depth),
            // The other events occur between nodes only.
            _ => (Value::Null, 0, 1, 1),
        };
        let built = Built { node: Node { value, at }, nodes, height };
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn map(&mut self, depth: usize) -> Result<(Vec<Entry>, usize, usize), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: BTreeMap<String, Location> = BTreeMap::new();
        let (mut nodes, mut height) = (1, 1);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries, nodes, height));
            }
            let key_at = self.at(&span);
            let key = self.key(event, &span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            nodes += value.nodes + 1;
            height = height.max(value.height + 1);
            let Some(key) = key else { continue };
            if let Some(first) = seen.get(&key) {
                self.faults.push(
                    Fault::new(key_at, format!("\"{key}\" is written twice in one map"))
                        .hint(format!("the first is on line {}; keep one of the two", first.line)),
                );
                continue;
            }
            seen.insert(key.clone(), key_at.clone());
            entries.push(Entry { key, key_at, value: value.node });
        }
    }

    /// Returns the key, or `None` if it is none that can be used, which is then a fault.
    fn key(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Option<String>, Stop> {
        let at = self.at(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, depth, &at)?;
                self.refuse_tag(tag.as_deref(), span);
                if anchor != 0 {
                    self.faults.push(Fault::new(at, "a key cannot have an anchor").hint("put the anchor at the value"));
                } else if style == ScalarStyle::Plain && text == "<<" {
                    let fault = Fault::new(at, "merge keys (<<) are not accepted: they hide where a field was written");
                    self.faults.push(fault.hint("write the fields out, or move what is shared to a profile"));
                } else if style == ScalarStyle::Plain && text.is_empty() {
                    self.faults.push(Fault::new(at, "a key is missing before the colon"));
                } else {
                    return Ok(Some(text.into_owned()));
                }
                Ok(None)
            }
            event => {
                self.node(event, span, depth + 1)?;
                self.faults.push(Fault::new(at, "a key must be plain text, not a list, a map or an alias"));
                Ok(None)
            }
        }
    }

    fn alias(&mut self, id: usize, at: Location, depth: usize) -> Result<Built, Stop> {
        // Counted before it is copied, so that nested aliases cannot blow up.
        if let Some((nodes, height)) = self.anchors.get(&id).map(|built| (built.nodes, built.height)) {
            self.count(nodes, depth + height - 1, &at)?;
        }
        match self.anchors.get(&id) {
            Some(Built { node, nodes, height }) => {
                Ok(Built { node: Node { value: node.value.clone(), at }, nodes: *nodes, height: *height })
            }
            // The parser knows the anchor, so it is one that is still open.
            None => Err(Fault::new(at, "an alias stands inside the value that it repeats")
                .hint("write the value out")
                .into()),
        }
    }

    fn count(&mut self, nodes: usize, depth: usize, at: &Location) -> Result<(), Stop> {
        self.nodes += nodes;
        if depth > MAX_DEPTH {
            Err(Fault::new(at.clone(), format!("values are nested deeper than {MAX_DEPTH} levels")).into())
        } else if self.nodes > MAX_NODES {
            Err(Fault::new(
                at.clone(),
                format!("the file holds more than {MAX_NODES} values, counting what aliases repeat"),
            )
            .into())
        } else {
            Ok(())
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &Span) {
        if let Some(tag) = tag {
            let at = location(&self.file, &span.tag_start().unwrap_or(span.start));
            let fault = Fault::new(at, format!("tags such as {} are not accepted", tag.original()));
            self.faults.push(fault.hint("remove the tag; quotes make a value text"));
        }
    }
}

fn location(file: &Arc<str>, marker: &Marker) -> Location {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Location {
        file: Arc::clone(file),
        line: count(marker.line()).max(1),
        column: count(marker.col()).saturating_add(1),
    }
}

fn not_utf8(file: Arc<str>, text: &[u8], place: usize) -> Fault {
    let before = text.get(..place).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(begin..).unwrap_or_default()).chars().count();
    let at = location(&file, &Marker::new(place, line, column));
    Fault::new(at, "the file is not UTF-8 text").hint("save it as UTF-8")
}

/// Gives a scalar its type, by the core schema of YAML 1.2.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.into_owned());
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(text.into_owned()),
        _ => Value::String(text.into_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    exponent.is_none_or(digits)
        && (digits(whole) && (fraction.is_empty() || digits(fraction)) || whole.is_empty() && digits(fraction))
}

/// Says what the parser could not read in words that do not presuppose its grammar.
fn scan_fault(at: Location, error: &ScanError) -> Fault {
    let say = |message: &str| Fault::new(at.clone(), message);
    match error.kind() {
        ErrorKind::TabInIndentation
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => say("a tab stands where only spaces can").hint("indent with spaces"),
        ErrorKind::UnclosedQuotedScalar => say("a quote is opened and never closed"),
        ErrorKind::UnclosedFlowCollection { open } => say(&format!("\"{open}\" is opened and never closed")),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => say(&format!("\"{open}\" is closed by \"{close}\"")),
        ErrorKind::MisplacedFlowCollectionEnd => say("a bracket is closed that was not opened"),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => say("a colon stands where no key can")
            .hint("text that holds \": \" needs quotes; or a colon or bracket is missing on a line before"),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            say("a colon is missing after this key").hint("write \"key: value\"")
        }
        ErrorKind::ExpectedBlockMappingKey => {
            say("a key was expected here").hint("indent the line as far as the keys that it belongs to")
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            say("a list item was expected here").hint("begin it with \"- \", indented as far as the items before it")
        }
        ErrorKind::InvalidIndentation => say("the line is indented like none of those before it"),
        ErrorKind::UnknownAnchor => say("the alias repeats an anchor that no value before it has"),
        ErrorKind::UnexpectedCharacter { character } => {
            say(&format!("text cannot begin with \"{}\"", character.escape_default())).hint("put the text in quotes")
        }
        ErrorKind::ExpectedFlowSequenceSeparator => say("a comma or \"]\" is missing here"),
        ErrorKind::ExpectedFlowMappingSeparator => say("a comma or \"}\" is missing here"),
        ErrorKind::UnknownQuotedScalarEscape => {
            say("an unknown escape sequence").hint("single quotes take a backslash as it stands")
        }
        ErrorKind::DirectiveDisallowed => say("YAML directives (lines that begin with %) are not accepted"),
        ErrorKind::RecursionLimitExceeded => say(&format!("values are nested deeper than {MAX_DEPTH} levels")),
        other => say(&format!("not valid YAML: {other}")),
    }
}
