// SPDX-License-Identifier: Apache-2.0
//! The evil dotfiles of git's `t/t7450-bad-git-dotfiles.sh`.
//!
//! Nothing is checked out here, so none of them could do what it does there; they are refused all the same.

use super::*;

fn with_entry(fleet: &Fleet, mode: &str, name: &str, id: &Oid) -> Oid {
    let mut entries = vec![(mode, name, *id)];
    entries.push(("40000", "policy", fleet.repo.id(&format!("{}:policy", fleet.root))));
    entries.sort_by_key(|(mode, name, _)| if *mode == "40000" { format!("{name}/") } else { (*name).to_owned() });
    let data: Vec<_> = entries
        .iter()
        .map(|(mode, name, id)| [format!("{mode} {name}\0").as_bytes(), id.as_slice()].concat())
        .collect();
    let tree = fleet.repo.object("tree", &data.concat());
    let commit = sign(fleet, &fleet.alice, &payload(&tree, &[fleet.root], "change"));
    fleet.repo.object("commit", commit.as_bytes())
}

#[test]
fn links_in_the_guise_of_dotfiles_are_refused() {
    let fleet = Fleet::new();
    let target = fleet.repo.object("blob", b"[foo]bar=true");
    for base in ["gitmodules", "gitattributes", "gitignore", "mailmap"] {
        for name in [format!(".{base}"), format!(".{base} ."), format!(".\u{200c}{base}")] {
            refused(&fleet, None, &with_entry(&fleet, "120000", &name, &target), Code::MalformedTree);
        }
    }
    for name in [".gitattributes", ".gitignore", ".mailmap"] {
        accepted(&fleet, None, &with_entry(&fleet, "100644", name, &target));
    }
}

#[test]
fn submodules_and_what_names_them_are_refused() {
    let fleet = Fleet::new();
    let evil = fleet.repo.object("blob", b"[submodule \"../../modules/evil\"]\n\tpath = evil\n\turl = .\n");
    let tree = fleet.repo.id(&format!("{}:policy/keys", fleet.root));
    for (mode, name, id) in [
        ("100644", ".gitmodules", &evil),
        ("40000", ".gitmodules", &tree),
        ("100644", ".GitModules", &evil),
        ("100644", "gitmod~1", &evil),
        ("160000", "evil", &fleet.root),
        ("160000", "sub\r", &fleet.root),
        ("160000", "d\\a", &fleet.root),
        ("100644", "sub\r", &evil),
        ("40000", "d\\a", &tree),
        ("40000", ".git", &tree),
    ] {
        refused(&fleet, None, &with_entry(&fleet, mode, name, id), Code::MalformedTree);
    }
    accepted(&fleet, None, &with_entry(&fleet, "100644", "gitmodules", &evil));
    accepted(&fleet, None, &with_entry(&fleet, "40000", "modules", &tree));
}
