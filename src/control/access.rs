// SPDX-License-Identifier: Apache-2.0
//! Who may ask what. Pure: the server brings what the kernel and the account files say.

use crate::model::actor::name_of;

use super::Ask;

/// Members of this group may do what root may, as far as the control socket goes.
pub const GROUP: &str = "hostwrit-admin";

/// The user at the other end, by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
}

/// Whether this user may ask this. `own` is the daemon's user; `passwd` and `group` are the texts of the account files.
///
/// Every local user may ask for the status. The rest is for root, for the daemon's own user, and for members of
/// `hostwrit-admin` if there is such a group. Only `/etc/passwd` and `/etc/group` are asked: a directory service could
/// keep the daemon waiting.
pub fn may(ask: &Ask, peer: Peer, own: u32, passwd: &str, group: &str) -> bool {
    matches!(ask, Ask::Status) || peer.uid == 0 || peer.uid == own || is_admin(peer, passwd, group)
}

fn is_admin(peer: Peer, passwd: &str, group: &str) -> bool {
    let Some(user) = name_of(peer.uid, passwd) else { return false };
    group.lines().filter_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':')).any(|rest| {
        let mut fields = rest.split(':').skip(1);
        let gid = fields.next().and_then(|gid| gid.parse().ok());
        let mut members = fields.next().unwrap_or_default().split(',');
        gid.is_some_and(|gid: u32| gid == peer.gid || members.any(|member| member == user))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:990::/:/bin/sh\neve:x:1002:1002::/:/bin/sh\n";
    const ADMINS: &str = "users:x:100:eve\nhostwrit-administrators:x:5:eve\nhostwrit-admin:x:990:alice,carol\n";
    const OWN: u32 = 0;

    fn sync(uid: u32, gid: u32, group: &str) -> bool {
        may(&Ask::Sync { wait: false }, Peer { uid, gid }, OWN, PASSWD, group)
    }

    #[test]
    fn everybody_may_ask_for_the_status() {
        assert!(may(&Ask::Status, Peer { uid: 65534, gid: 65534 }, OWN, "", ""));
    }

    #[test]
    fn why_is_for_admins_as_it_has_the_daemon_read_the_whole_log() {
        let why = |uid| {
            let ask = Ask::Why { object: crate::model::ObjectId::new("file", "/etc/motd") };
            may(&ask, Peer { uid, gid: uid }, OWN, PASSWD, ADMINS)
        };
        assert_eq!([why(0), why(1000), why(1002)], [true, true, false]);
    }

    #[test]
    fn only_root_and_admins_may_ask_for_more() {
        assert!(sync(0, 0, ""));
        assert!(sync(1000, 1000, ADMINS), "alice is a member");
        assert!(sync(1001, 990, ADMINS), "it is bob's own group");
        assert!(!sync(1002, 1002, ADMINS), "eve is in other groups only");
        assert!(!sync(1000, 1000, ""), "there is no such group");
        assert!(!sync(1003, 1003, ADMINS), "nobody knows 1003");
    }

    #[test]
    fn lines_that_are_broken_let_nobody_in() {
        for group in ["hostwrit-admin", "hostwrit-admin:", "hostwrit-admin:x", "hostwrit-admin:x::alice", "\u{0}:::"] {
            assert!(!sync(1000, 1000, group), "{group:?}");
        }
        let nameless =
            may(&Ask::Resume { claims: None }, Peer { uid: 5, gid: 5 }, OWN, "::5:\n", "hostwrit-admin:x:990:\n");
        assert!(!nameless, "an empty list of members does not hold a user without a name");
    }
}
