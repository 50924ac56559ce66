// SPDX-License-Identifier: Apache-2.0
//! Named sets of the packet filter and what is in them, from the kernel itself: `nft` needs twice as long to write a hundred
//! thousand networks down, and they must then be read.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::netlink::{attributes, dump, family, nested, number, text};
use super::{Elements, TABLE};

const NFT_MSG_GETSET: u16 = 10;
const NFT_MSG_GETSETELEM: u16 = 13;

/// The family `inet`, of both IPv4 and IPv6.
const NFPROTO_INET: u8 = 1;

const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFT_SET_ANONYMOUS: u32 = 0x1;
const NFT_SET_INTERVAL: u32 = 0x4;
const NFT_SET_MAP: u32 = 0x8;

const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_SET_ELEM_INTERVAL_END: u32 = 0x1;

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// As in linux/netfilter.h.
    pub family: u8,
    pub table: String,
    pub name: String,
    pub flags: u32,
    /// In bytes.
    pub key_length: u32,
}

/// Returns what is in those sets of hostwrit's table that hold ranges, by the name of the set.
pub(super) fn of_own_table() -> io::Result<BTreeMap<String, Elements>> {
    let is_own = |set: &Named| (set.family, set.table.as_str()) == (NFPROTO_INET, TABLE);
    let ranges = named()?.into_iter().filter(|set| is_own(set) && set.flags & NFT_SET_INTERVAL != 0);
    ranges.map(|set| elements(&set).map(|elements| (set.name, elements))).collect()
}

/// Returns how many elements the named sets of the tables with these names hold together, whatever the tables' family. A range
/// is one; a table without such a set is left out.
pub(super) fn sizes(tables: &[&str]) -> io::Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for set in named()?.into_iter().filter(|set| tables.contains(&set.table.as_str()) && set.flags & NFT_SET_MAP == 0) {
        let mut elements = 0;
        ask_elements(&set, |message| elements += size(message))?;
        *sizes.entry(set.table).or_default() += elements;
    }
    Ok(sizes)
}

/// Counts the elements of one message.
pub(super) fn size(message: &[u8]) -> u64 {
    let ends = |element: &[u8]| {
        let flags = nested(element).find(|(kind, _)| *kind == NFTA_SET_ELEM_FLAGS).and_then(|(_, value)| number(value));
        flags.unwrap_or_default() & NFT_SET_ELEM_INTERVAL_END != 0
    };
    elements_of(message).filter(|element| !ends(element)).count() as u64
}

/// Returns the named sets of all tables.
fn named() -> io::Result<Vec<Named>> {
    let mut sets = Vec::new();
    dump(NFT_MSG_GETSET, 0, &[], |message| sets.extend(set(message)))?;
    sets.retain(|set| set.flags & NFT_SET_ANONYMOUS == 0);
    Ok(sets)
}

/// Takes a set from the kernel's message about it.
pub(super) fn set(message: &[u8]) -> Option<Named> {
    let found: BTreeMap<u16, &[u8]> = attributes(message).collect();
    let name = |kind: u16| text(found.get(&kind)?).map(str::to_owned);
    Some(Named {
        family: family(message),
        table: name(NFTA_SET_TABLE)?,
        name: name(NFTA_SET_NAME)?,
        flags: found.get(&NFTA_SET_FLAGS).and_then(|value| number(value)).unwrap_or_default(),
        key_length: found.get(&NFTA_SET_KEY_LEN).and_then(|value| number(value)).unwrap_or_default(),
    })
}

/// Asks for what is in one set of ranges.
fn elements(set: &Named) -> io::Result<Elements> {
    let mut bounds = Bounds::new(set.key_length);
    ask_elements(set, |message| bounds.add(message))?;
    Ok(bounds.elements())
}

fn ask_elements(set: &Named, take: impl FnMut(&[u8])) -> io::Result<()> {
    let zero_ended = |name: &str| [name.as_bytes(), b"\0"].concat();
    let (table, name) = (zero_ended(&set.table), zero_ended(&set.name));
    let of_set = [(NFTA_SET_ELEM_LIST_TABLE, table.as_slice()), (NFTA_SET_ELEM_LIST_SET, name.as_slice())];
    dump(NFT_MSG_GETSETELEM, set.family, &of_set, take)
}

fn elements_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lists = attributes(message).filter(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_ELEMENTS);
    let elements = lists.flat_map(|(_, list)| nested(list)).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
    elements.map(|(_, element)| element)
}

/// Where ranges begin and end: the kernel tells them one by one, in an order of its own.
pub(super) struct Bounds {
    key_length: u32,
    /// An address, and whether a range begins with it; else the one before is the last of a range.
    bounds: Vec<(u128, bool)>,
    are_addresses: bool,
}

impl Bounds {
    /// `key_length` is in bytes.
    pub(super) fn new(key_length: u32) -> Self {
        Self { key_length, bounds: Vec::new(), are_addresses: true }
    }

    /// Takes the elements of one message.
    pub(super) fn add(&mut self, message: &[u8]) {
        for element in elements_of(message) {
            match self.bound(element) {
                Some(bound) => self.bounds.push(bound),
                None => self.are_addresses = false,
            }
        }
    }

    /// Takes one element; `None` if it is more than an address, or stands for all.
    fn bound(&self, element: &[u8]) -> Option<(u128, bool)> {
        let (mut at, mut flags) = (None, 0);
        for (kind, value) in nested(element) {
            match kind {
                NFTA_SET_ELEM_KEY => at = self.address(value),
                NFTA_SET_ELEM_FLAGS => flags = number(value)?,
                // A comment, and words of nft to itself.
                NFTA_SET_ELEM_USERDATA => {}
                _ => return None,
            }
        }
        (flags & !NFT_SET_ELEM_INTERVAL_END == 0).then_some((at?, flags == 0))
    }

    fn address(&self, key: &[u8]) -> Option<u128> {
        let (_, bytes) = nested(key).find(|(kind, _)| *kind == NFTA_DATA_VALUE)?;
        match self.key_length {
            4 => number(bytes).map(u128::from),
            16 => Some(u128::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// Returns the ranges, as a packet meets them.
    pub(super) fn elements(mut self) -> Elements {
        if !self.are_addresses {
            return Elements::Other;
        }
        // Of two at one address the beginning comes last, and counts: one range ends where the next one begins.
        self.bounds.sort_unstable();
        let mut ranges = Vec::with_capacity(self.bounds.len() / 2);
        let mut open = None;
        for (at, begins) in self.bounds {
            match open {
                None if begins => open = Some(at),
                Some(first) if !begins => {
                    ranges.push((first, at.saturating_sub(1)));
                    open = None;
                }
                _ => {}
            }
        }
        let last = if self.key_length == 4 { u128::from(u32::MAX) } else { u128::MAX };
        ranges.extend(open.map(|first| (first, last)));
        let address = |number: u128| match self.key_length {
            4 => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
            _ => IpAddr::V6(number.into()),
        };
        Elements::Ranges(ranges.into_iter().map(|(first, last)| (address(first), address(last))).collect())
    }
}
