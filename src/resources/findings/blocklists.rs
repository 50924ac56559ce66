// SPDX-License-Identifier: Apache-2.0
//! Lists of blocked addresses that nobody has renewed for too long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::{Declared, ObjectId};
use crate::resources::Resource as _;
use crate::resources::blocklist::{Blocklist, DesiredList, WhenOld};

use super::{Code, Finding};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the lists that are older than they may be.
pub fn old(lists: &[Declared<DesiredList>], now: SystemTime) -> Vec<Finding> {
    let today = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY.as_secs());
    let finding = |list: &Declared<DesiredList>| {
        let want = list.want.as_ref()?;
        let days = want.too_old(today)?;
        let so = match want.when_old {
            WhenOld::Warn => "it is loaded all the same",
            WhenOld::Refuse => "it is not loaded any more",
        };
        Some(Finding {
            code: Code::BlocklistOld,
            object: Some(ObjectId::new(Blocklist::KIND, &list.name)),
            place: None,
            process: None,
            message: format!(
                "the list is {} older than its max_age, and {so}; renew its file and the day under updated",
                if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
            ),
        })
    };
    lists.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Location, Mode, Origin};
    use crate::resources::firewall::Networks;

    #[test]
    fn a_list_is_too_old_from_the_day_after_its_last() {
        let list = |updated: Option<&str>, max_age, when_old| {
            let updated = updated.map(|day| day.parse().unwrap());
            let want = Some(DesiredList {
                file: Some("drop.txt".to_owned()),
                networks: Networks::default(),
                updated,
                max_age,
                when_old,
            });
            let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: [].into() };
            Declared { name: "drop".to_owned(), mode: Mode::Enforce, origin, want }
        };
        let at = |text: &str| humantime::parse_rfc3339(text).unwrap();
        let said = |list: &Declared<DesiredList>, now: &str| {
            old(std::slice::from_ref(list), at(now)).first().map(ToString::to_string)
        };
        let warned = list(Some("2026-11-01"), Some(7), WhenOld::Warn);
        assert_eq!(said(&warned, "2026-11-08T23:59:59Z"), None);
        assert_eq!(
            said(&warned, "2026-11-09T00:00:00Z").unwrap(),
            "blocklist:drop: the list is 1 day older than its max_age, and it is loaded all the same; renew its file and the \
             day under updated [blocklist-old]"
        );
        let refused = list(Some("2026-11-01"), Some(7), WhenOld::Refuse);
        assert!(
            said(&refused, "2026-12-01T00:00:00Z").unwrap().contains("23 days older than its max_age, and it is not")
        );
        assert_eq!(said(&list(Some("2020-01-01"), None, WhenOld::Warn), "2026-12-01T00:00:00Z"), None);
    }
}
