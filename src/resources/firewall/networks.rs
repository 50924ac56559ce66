// SPDX-License-Identifier: Apache-2.0
//! Addresses as people write them, and as the packet filter is told them: sorted ranges that neither overlap nor touch, so
//! that one set of addresses has one form only, whoever wrote it down.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::resources::digest::{Digestible, Sum};

use super::statement::Expression;

/// An address, or a network in CIDR form: `10.0.0.0/8`, `2001:db8::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

impl Network {
    /// Whether these are all addresses of a family.
    pub fn is_everything(self) -> bool {
        self.length == 0
    }
}

impl FromStr for Network {
    /// What is wrong with it, and what would be right.
    type Err = (String, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            let hint = "write an address such as 192.0.2.7, or a network such as 10.0.0.0/8 or 2001:db8::/32";
            (format!("\"{text}\" is neither an address nor a network"), hint.to_owned())
        };
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = match length {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if length > bits {
            let hint = format!("a network of this family has a length from 0 to {bits}");
            return Err((format!("\"{text}\" is longer than an address"), hint));
        }
        let first = match address {
            IpAddr::V4(address) => IpAddr::V4((u32::from(address) & mask_v4(length)).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & mask_v6(length)).into()),
        };
        if first != address {
            let hint = format!("write {first}/{length}, or {address} for the one address");
            return Err((format!("\"{text}\" is an address inside of a network"), hint));
        }
        Ok(Self { first, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one = self.length == if self.first.is_ipv4() { 32 } else { 128 };
        if is_one { write!(f, "{}", self.first) } else { write!(f, "{}/{}", self.first, self.length) }
    }
}

fn mask_v4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask_v6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// Which of the two families an address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Any number of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Whether there is no address at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Returns the number of ranges.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether the address is among them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => is_in(&self.v4, address.into()),
            IpAddr::V6(address) => is_in(&self.v6, address.into()),
        }
    }

    /// Returns those of one family.
    pub fn of(&self, family: Family) -> Self {
        match family {
            Family::V4 => Self { v4: self.v4.clone(), v6: Vec::new() },
            Family::V6 => Self { v4: Vec::new(), v6: self.v6.clone() },
        }
    }

    /// Returns both together.
    pub fn and(mut self, other: Self) -> Self {
        self.v4.extend(other.v4);
        self.v6.extend(other.v6);
        Self { v4: joined(self.v4, |end| end.checked_add(1)), v6: joined(self.v6, |end| end.checked_add(1)) }
    }

    /// Whether these are all addresses of the family.
    pub fn is_whole(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4 == [(0, u32::MAX)],
            Family::V6 => self.v6 == [(0, u128::MAX)],
        }
    }

    /// Returns all addresses of the family.
    pub fn whole(family: Family) -> Self {
        match family {
            Family::V4 => Self { v4: vec![(0, u32::MAX)], v6: Vec::new() },
            Family::V6 => Self { v4: Vec::new(), v6: vec![(0, u128::MAX)] },
        }
    }

    /// Returns no network at all, which stands for anywhere, where these are all addresses of both families.
    pub fn or_anywhere(self) -> Self {
        if Family::ALL.iter().all(|family| self.is_whole(*family)) { Self::default() } else { self }
    }

    /// Returns the networks as the right side of a match: one by itself, or a set.
    pub fn expression(&self) -> Expression {
        // Addresses and lengths can always become JSON, and all JSON is an expression.
        let elements: Vec<Expression> = serde_json::to_value(self).and_then(serde_json::from_value).unwrap_or_default();
        match <[Expression; 1]>::try_from(elements) {
            Ok([one]) => one,
            Err(set) => Expression::Set { set },
        }
    }

    /// Returns the networks that are the right side of a match; `None` if it is something else.
    pub fn of_expression(expression: &Expression) -> Option<Self> {
        let elements = match expression {
            Expression::Set { set } => set.clone(),
            one => vec![one.clone()],
        };
        serde_json::to_value(elements).and_then(serde_json::from_value).ok()
    }

    /// Returns every range by its first and last address.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        let v4 = self.v4.iter().map(|(first, last)| Range(Ipv4Addr::from(*first).into(), Ipv4Addr::from(*last).into()));
        let v6 = self.v6.iter().map(|(first, last)| Range(Ipv6Addr::from(*first).into(), Ipv6Addr::from(*last).into()));
        v4.chain(v6)
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        networks
            .into_iter()
            .map(|Network { first, length }| match first {
                IpAddr::V4(address) => Range(first, Ipv4Addr::from(u32::from(address) | !mask_v4(length)).into()),
                IpAddr::V6(address) => Range(first, Ipv6Addr::from(u128::from(address) | !mask_v6(length)).into()),
            })
            .collect()
    }
}

impl FromIterator<Range> for Networks {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut networks = Self::default();
        for range in ranges {
            match range {
                Range(IpAddr::V4(first), IpAddr::V4(last)) => networks.v4.push((first.into(), last.into())),
                Range(IpAddr::V6(first), IpAddr::V6(last)) => networks.v6.push((first.into(), last.into())),
                // No range leads from one family to the other.
                Range(..) => {}
            }
        }
        networks.and(Self::default())
    }
}

impl Digestible for Networks {
    fn add_to(&self, sum: &mut Sum) {
        let Self { v4, v6 } = self;
        let mut bytes = Vec::with_capacity(v4.len() * 8 + v6.len() * 32);
        v4.iter().for_each(|(first, last)| bytes.extend([first.to_be_bytes(), last.to_be_bytes()].concat()));
        sum.bytes(&bytes);
        bytes.clear();
        v6.iter().for_each(|(first, last)| bytes.extend([first.to_be_bytes(), last.to_be_bytes()].concat()));
        sum.bytes(&bytes);
    }
}

fn is_in<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|place| ranges.get(place)).is_some_and(|(_, last)| address <= *last)
}

/// Sorts ranges, and joins those that overlap or touch.
fn joined<T: Ord + Copy>(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if after(*end).is_none_or(|next| first <= next) => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The addresses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub IpAddr, pub IpAddr);

impl Range {
    /// Returns the length of the prefix, if the range is a network.
    pub fn prefix(self) -> Option<u8> {
        let (first, last, bits) = match self {
            Self(IpAddr::V4(first), IpAddr::V4(last)) => (u128::from(u32::from(first)), u32::from(last).into(), 32),
            Self(IpAddr::V6(first), IpAddr::V6(last)) => (first.into(), u128::from(last), 128),
            Self(..) => return None,
        };
        let hosts: u128 = first ^ last;
        let free = 128 - hosts.leading_zeros();
        let is_network = hosts.checked_add(1).is_none_or(u128::is_power_of_two) && first & hosts == 0;
        is_network.then(|| u8::try_from(bits - free).unwrap_or_default())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(length) => Network { first: self.0, length }.fmt(f),
            None => write!(f, "{}-{}", self.0, self.1),
        }
    }
}

/// As an element of a set in libnftables-json(5): `"10.0.0.1"`, `{"prefix": ..}`, `{"range": [..]}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Element {
    One(IpAddr),
    Prefix {
        prefix: Prefix,
    },
    Between {
        range: (IpAddr, IpAddr),
    },
    /// One with a comment or a time to live.
    Wrapped {
        elem: Wrapped,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Prefix {
    addr: IpAddr,
    len: u8,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Wrapped {
    val: Box<Element>,
}

impl Element {
    pub(super) fn range(&self) -> Result<Range, String> {
        match self {
            Self::One(address) => Ok(Range(*address, *address)),
            Self::Prefix { prefix: Prefix { addr, len } } => {
                let network = Network::from_str(&format!("{addr}/{len}")).map_err(|(what, _)| what)?;
                Networks::from_iter([network]).ranges().next().ok_or_else(String::new)
            }
            Self::Between { range: (first, last) } if Family::of(*first) == Family::of(*last) && first <= last => {
                Ok(Range(*first, *last))
            }
            Self::Between { .. } => Err("a range ends before it begins".to_owned()),
            Self::Wrapped { elem } => elem.val.range(),
        }
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ranges().map(|range| match range {
            Range(first, last) if first == last => Element::One(first),
            range => match range.prefix() {
                Some(len) => Element::Prefix { prefix: Prefix { addr: range.0, len } },
                None => Element::Between { range: (range.0, range.1) },
            },
        }))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements = Vec::<Element>::deserialize(deserializer)?;
        elements.iter().map(Element::range).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}
