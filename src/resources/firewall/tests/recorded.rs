// SPDX-License-Identifier: Apache-2.0
//! What versions of nft list that are not installed here, recorded: all that hostwrit makes of the packet filter, once.

use super::super::{Filter, Networks, Table};
use super::real::{all_kinds, known, together};
use crate::host::Ruleset;
use crate::resources::blocklist::Blocklist;
use crate::resources::egress::{Egress, Way};
use crate::resources::port::{Opening, Port};

/// What `nft --json list table inet hostwrit` of nftables 1.1.3 (Debian 13) wrote of what the test below wants; line ends were put
/// between the objects. Unlike 1.0.6 it says of every dynamic set that it is, and lists chains before sets.
const LISTED_BY_1_1_3: &str = include_str!("nft-1.1.3.json");

fn networks(list: &[&str]) -> Networks {
    list.iter().map(|text| text.parse::<super::super::Network>().unwrap()).collect()
}

#[test]
fn what_another_version_lists_is_read_as_it_was_meant() {
    let opening = |ports: &str| Opening::for_all(ports.parse().unwrap());
    let from = networks(&["10.9.0.0/16", "192.0.2.7", "2001:db8:9::/48"]).or_anywhere();
    let rate = Some("6/minute".parse().unwrap());
    let openings = [
        Opening { from: from.clone(), rate, connections: Some(3), log: true, ..opening("22/tcp") },
        Opening { connections: Some(4), ..opening("8000-8010/udp") },
        opening("443/tcp"),
    ];
    let openings = openings.map(|opening| (opening.ports.to_string(), opening)).into();
    let way = |ports: &str, to| (ports.to_owned(), Way { ports: ports.parse().unwrap(), to });
    let ways = [way("443/tcp", networks(&[]).or_anywhere()), way("53/udp", from)].into();
    let lists = [("bad".to_owned(), networks(&["198.51.100.0/24", "203.0.113.9", "2001:db8:bad::/48"]))].into();

    let wanted = together([Port::table(&openings), Egress::table(&ways), Blocklist::table(&lists)]);
    let listed = Table::read(&Ruleset::new(LISTED_BY_1_1_3.to_owned())).unwrap();
    assert_eq!(listed, wanted);
    assert_eq!(all_kinds(&listed), (known(&openings), known(&ways), known(&lists)));
}
