// SPDX-License-Identifier: Apache-2.0
//! The names of ports and egress: `22/tcp`, `8000-8010/udp`.

use std::fmt;
use std::str::FromStr;

use crate::resources::digest::{Digestible, Sum};

use super::statement::Expression;

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Both protocols.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Returns the number that IANA gave the protocol.
    pub fn number(self) -> u64 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Returns the name in lower case, as the repo and nft write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One or several ports of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

impl Ports {
    /// Whether a port is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }

    /// Whether this port is among them.
    pub fn contains(self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }

    /// Returns the port, or the range, as a key of a map.
    pub fn expression(self) -> Expression {
        let number = |port: u16| Expression::Number(port.into());
        if self.first == self.last {
            return number(self.first);
        }
        Expression::Range { range: (Box::new(number(self.first)), Box::new(number(self.last))) }
    }

    /// Returns what [`Ports::expression`] was made of.
    pub fn of_expression(protocol: Protocol, expression: &Expression) -> Option<Self> {
        let number = |expression: &Expression| match expression {
            Expression::Number(number) => u16::try_from(*number).ok(),
            _ => None,
        };
        let (first, last) = match expression {
            Expression::Range { range } => (number(&range.0)?, number(&range.1)?),
            one => (number(one)?, number(one)?),
        };
        Some(Self { protocol, first, last })
    }

    /// Returns the name as a part of names in the packet filter: `22_tcp`, `8000_8010_udp`.
    pub fn identifier(self) -> String {
        self.to_string().replace(['-', '/'], "_")
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, first, last } = self;
        let protocol = protocol.name();
        if first == last { write!(f, "{first}/{protocol}") } else { write!(f, "{first}-{last}/{protocol}") }
    }
}

impl FromStr for Ports {
    /// What is wrong with it, and what would be right.
    type Err = (String, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str, hint: &str| Err((format!("\"{text}\" is no port: {why}"), hint.to_owned()));
        let Some((numbers, protocol)) = text.split_once('/') else {
            return wrong("it has no protocol", "write 443/tcp, 53/udp or 8000-8010/tcp");
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return wrong("its protocol is not known", "the protocols are tcp and udp, in lower case"),
        };
        let (first, last) = numbers.split_once('-').map_or((numbers, numbers), |(first, last)| (first, last));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return wrong("it is no number from 1 to 65535", "write 443/tcp, 53/udp or 8000-8010/tcp");
        };
        match first {
            _ if first > last => wrong("the range ends before it begins", "write the lower number first"),
            _ if first == last && numbers.contains('-') => {
                wrong("the range is one port", "write the number once, without a hyphen")
            }
            _ => Ok(Self { protocol, first, last }),
        }
    }
}

/// Reads a number of which there is one way to write it: two names for one object would be two objects.
fn number(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

impl Digestible for Ports {
    fn add_to(&self, sum: &mut Sum) {
        self.to_string().add_to(sum);
    }
}
