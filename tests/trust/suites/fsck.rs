// SPDX-License-Identifier: Apache-2.0
//! The malformed objects of git's `t/t1450-fsck.sh`: what `git fsck` calls an error or a warning, we refuse.
//!
//! Git is asked each time: `git hash-object` without `--literally` makes the checks of `git fsck --strict`.

use super::*;

/// Makes a fault in a commit.
type Change<'c> = &'c dyn Fn(&str) -> String;

fn git_refuses(fleet: &Fleet, kind: &str, data: &[u8]) -> bool {
    !fleet.repo.says_yes(&["hash-object", "-t", kind, "--stdin"], data)
}

/// A commit that alice signed as malformed as it is, so that only its form is at fault.
fn signed_commit(fleet: &Fleet, change: &dyn Fn(&str) -> String) -> String {
    sign(fleet, &fleet.alice, &change(&unsigned(fleet)))
}

#[test]
fn a_commit_that_fsck_refuses_is_refused() {
    let fleet = Fleet::new();
    let faults: [(&str, Change<'_>); 15] = [
        ("missing < delimiter", &|commit| commit.replacen('<', "", 1)),
        ("missing email", &|commit| commit.replacen("Test <test@example.org>", "", 1)),
        ("NUL in the header", &|commit| commit.replacen("author T", "author \0", 1)),
        ("NUL in the message", &|commit| commit.replace("change", "ch\0nge")),
        ("two authors", &|commit| {
            let author = commit.lines().find(|line| line.starts_with("author ")).unwrap();
            commit.replacen(author, &format!("{author}\n{author}"), 1)
        }),
        ("no author", &|commit| {
            let author = commit.lines().find(|line| line.starts_with("author ")).unwrap();
            commit.replacen(&format!("{author}\n"), "", 1)
        }),
        ("no committer", &|commit| {
            let committer = commit.lines().find(|line| line.starts_with("committer ")).unwrap();
            commit.replacen(&format!("{committer}\n"), "", 1)
        }),
        ("no tree", &|commit| commit[46..].to_owned()),
        ("a tree that is no id", &|commit| commit.replacen("tree ", "tree z", 1)),
        ("a parent that is no id", &|commit| commit.replacen("parent ", "parent 12", 1)),
        ("no time", &|commit| commit.replacen(" 1700000000 +0000", "", 1)),
        ("no zone", &|commit| commit.replacen(" +0000", "", 1)),
        ("a time that is no number", &|commit| commit.replacen("1700000000", "-1", 1)),
        ("a zone that is none", &|commit| commit.replacen("+0000", "+00:00", 1)),
        ("committer before author", &|commit| {
            let (author, committer) = ("author Test", "committer Test");
            commit.replacen(author, "X", 1).replacen(committer, author, 1).replacen('X', committer, 1)
        }),
    ];
    for (fault, change) in faults {
        let commit = signed_commit(&fleet, change);
        assert!(git_refuses(&fleet, "commit", commit.as_bytes()), "git takes a commit with {fault}");
        let id = fleet.repo.object("commit", commit.as_bytes());
        let refusal = refused(&fleet, None, &id, Code::MalformedCommit);
        assert_eq!(refusal.commit(), Some(&id), "{fault}");
    }
    for fine in [|commit: &str| commit.to_owned(), |commit: &str| commit.replace('@', "AT")] {
        let commit = signed_commit(&fleet, &fine);
        assert!(!git_refuses(&fleet, "commit", commit.as_bytes()));
        accepted(&fleet, None, &fleet.repo.object("commit", commit.as_bytes()));
    }
}

#[test]
fn a_name_or_time_that_fsck_refuses_is_refused() {
    let fleet = Fleet::new();
    let faults: [(&str, Change<'_>); 6] = [
        ("a > within the email", &|commit| commit.replacen("@e", "@>e", 1)),
        ("a > within the name", &|commit| commit.replacen(" <", "> <", 1)),
        ("a < within the name", &|commit| commit.replacen("Test", "Te<st", 1)),
        ("no space before the email", &|commit| commit.replacen(" <", "<", 1)),
        ("a time beyond 64 bits", &|commit| commit.replacen("1700000000", "18446744073709551617", 1)),
        ("a time with a zero before it", &|commit| commit.replacen("1700000000", "01700000000", 1)),
    ];
    for (fault, change) in faults {
        let commit = signed_commit(&fleet, change);
        assert!(git_refuses(&fleet, "commit", commit.as_bytes()), "git takes a commit with {fault}");
        refused(&fleet, None, &fleet.repo.object("commit", commit.as_bytes()), Code::MalformedCommit);
    }
}

/// A tree, entry by entry: mode, name, id.
fn tree(entries: &[(&str, &str, &Oid)]) -> Vec<u8> {
    let entry = |(mode, name, id): &(&str, &str, &Oid)| [format!("{mode} {name}\0").as_bytes(), id.as_slice()].concat();
    entries.iter().map(entry).collect::<Vec<_>>().concat()
}

/// Signs a commit that has a tree of these bytes, below a directory of an otherwise good tree.
fn with_tree(fleet: &Fleet, data: &[u8]) -> Oid {
    let bad = fleet.repo.object("tree", data);
    let policy = fleet.repo.id(&format!("{}:policy", fleet.root));
    let top = fleet.repo.object("tree", &tree(&[("40000", "files", &bad), ("40000", "policy", &policy)]));
    let commit = sign(fleet, &fleet.alice, &payload(&top, &[fleet.root], "change"));
    fleet.repo.object("commit", commit.as_bytes())
}

#[test]
fn a_tree_that_fsck_refuses_is_refused() {
    let fleet = Fleet::new();
    let blob = &fleet.repo.object("blob", b"blob");
    let dir = &fleet.repo.object("tree", &tree(&[("100644", "x.2", blob)]));
    let (file, directory) = ("100644", "40000");
    let mut bad = vec![
        tree(&[(file, "x", blob), (file, "x", blob)]),
        tree(&[(file, "x", blob), (file, "x.1", blob), (directory, "x", dir)]),
        tree(&[(file, "x", blob), (file, "x.1.2", blob), (directory, "x.1", dir), (directory, "x", dir)]),
        tree(&[(file, "x", blob), (file, "x.1", blob), (file, "x.1.2", blob), (directory, "x", dir)]),
        tree(&[(file, "y", blob), (file, "x", blob)]),
        tree(&[(directory, "x", dir), (file, "x.1", blob)]),
        tree(&[("040000", "x", dir)]),
        tree(&[("0100644", "x", blob)]),
        tree(&[("160000", "x", &Oid::null(blob.kind()))]),
        b"100644 \0twenty-bytes-of-junk".to_vec(),
        b"100644 x\0short".to_vec(),
        b"not a tree".to_vec(),
    ];
    let names =
        [".", "..", ".git", ".GIT", ".Git", ".gI\u{200c}T", "git~1", ".git.", ".\\.GIT\\foobar", ".git\\foobar"];
    for name in names.iter().chain(&["a/b"]) {
        bad.push(tree(&[(file, name, blob)]));
        bad.push(tree(&[(directory, name, dir)]));
    }
    for data in bad {
        let shown = String::from_utf8_lossy(&data).escape_debug().to_string();
        assert!(git_refuses(&fleet, "tree", &data), "git takes {shown}");
        let tip = with_tree(&fleet, &data);
        let refusal = judge(&fleet.repo.store(), &fleet.anchor(), None, &tip).err();
        assert_eq!(refusal.map(|refusal| refusal.code()), Some(Code::MalformedTree), "{shown}");
    }
    for fine in [tree(&[(file, "x", blob), (file, "x.1", blob)]), tree(&[(file, "x.1", blob), (directory, "x", dir)])] {
        assert!(!git_refuses(&fleet, "tree", &fine));
        accepted(&fleet, None, &with_tree(&fleet, &fine));
    }
}

/// Fsck only looks at the bytes of one object; these are seen when the entry is followed.
#[test]
fn a_tree_entry_that_leads_astray_is_refused() {
    let fleet = Fleet::new();
    let blob = &fleet.repo.object("blob", b"blob");
    let null = &Oid::null(blob.kind());
    let as_directory = with_tree(&fleet, &tree(&[("40000", "dir", blob), ("100644", "file", blob)]));
    refused(&fleet, None, &as_directory, Code::WrongObjectType);
    refused(&fleet, None, &with_tree(&fleet, &tree(&[("40000", "dir", null)])), Code::ObjectMissing);
    // Fsck tolerates modes that git itself never wrote.
    for mode in ["100000", "100664", "100777", "100640", "40755"] {
        refused(&fleet, None, &with_tree(&fleet, &tree(&[(mode, "foo", blob)])), Code::MalformedTree);
    }
    // A file is proven when it is read, and none has this id.
    let null_file = with_tree(&fleet, &tree(&[("100644", "file", null)]));
    let store = fleet.repo.store();
    let proven = judge(&store, &fleet.anchor(), None, &null_file).unwrap();
    assert!(hostwrit::model::RepoFiles::read(&proven, "files/file").is_err());
}

#[test]
fn swapped_objects_are_noticed() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.change("one"), fleet.change("two"));
    let mut store = fleet.repo.store();
    let (first, second) = (store.objects[&one].data.clone(), store.objects[&two].data.clone());
    store.objects.get_mut(&one).unwrap().data = second;
    store.objects.get_mut(&two).unwrap().data = first;
    refused_by(&store, &fleet.anchor(), None, &two, Code::ObjectMismatch);
    refused_by(&store, &fleet.anchor(), None, &fleet.repo.id("HEAD^{tree}"), Code::WrongObjectType);
    accepted(&fleet, None, &two);
}
