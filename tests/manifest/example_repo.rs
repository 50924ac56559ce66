// SPDX-License-Identifier: Apache-2.0
//! `example-repo/` is what people copy, so it is always sound.

use super::{Files, in_repo};

#[test]
fn the_example_repo_is_sound() {
    let checked = hostwrit::manifest::check(&Files::read(&in_repo("example-repo")));
    assert_eq!(checked.faults.to_string(), "");
    assert_eq!(checked.hosts, 2);
    assert!(checked.objects > 30, "{} objects", checked.objects);
}
