// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use tempfile::TempDir;

use super::*;
use crate::host::{Check, NewFile, Owner};

struct Temp {
    directory: TempDir,
    root: Root,
}

impl Temp {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        Self { directory, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.strip_prefix('/').unwrap())
    }

    fn put(&self, path: &str, content: &str) {
        fs::write(self.at(path), content).unwrap();
    }

    fn dir(&self, path: &str) {
        fs::create_dir(self.at(path)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    fn content(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.at(path)).unwrap().permissions().mode() & 0o7777
    }

    fn names(&self, path: &str) -> Vec<OsString> {
        list(&self.root, Path::new(path)).unwrap().unwrap()
    }

    fn replace(&self, path: &str, content: &str) -> Result<(), HostError> {
        replace(&self.root, Path::new(path), &file(content))
    }
}

fn file(content: &str) -> NewFile<'_> {
    NewFile { content: content.as_bytes(), owner: None, mode: 0o644, check: None }
}

/// The whole chain of an error, as it is printed at the edge.
fn chain(error: &HostError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn is_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("NOT TESTED, for that needs root: {what}");
    }
    root
}

#[test]
fn links_resolve_inside_the_root_and_never_leave_it() {
    let temp = Temp::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    temp.put("/etc/inside", "inside");
    temp.link("/absolute", "/etc/inside");
    temp.link("/up", "../../../../../../etc/inside");
    temp.link("/away", outside.path().to_str().unwrap());

    assert_eq!(read(&temp.root, Path::new("/absolute")).unwrap().unwrap(), b"inside");
    assert_eq!(read(&temp.root, Path::new("/up")).unwrap().unwrap(), b"inside");
    assert_eq!(read(&temp.root, Path::new("/../../etc/inside")).unwrap().unwrap(), b"inside");
    assert_eq!(read(&temp.root, Path::new("/away/file")).unwrap(), None);
    assert_eq!(stat(&temp.root, Path::new("/away/file")).unwrap(), None);

    temp.replace("/away/file", "new").unwrap_err();
    remove(&temp.root, Path::new("/away/file")).unwrap();
    remove_tree(&temp.root, Path::new("/away/file")).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "outside");
}

#[test]
fn a_write_follows_trusted_links_on_the_way_inside_the_root() {
    let temp = Temp::new();
    temp.dir("/data");
    temp.dir("/data/deep");
    temp.link("/absolute", "/data/deep");
    temp.link("/data/deep/up", "../..");
    temp.link("/chain", "absolute/up/../data");
    temp.replace("/absolute/one", "1").unwrap();
    temp.replace("/absolute/up/two", "2").unwrap();
    temp.replace("/chain/three", "3").unwrap();
    assert_eq!(temp.content("/data/deep/one"), "1");
    assert_eq!(temp.content("/two"), "2");
    assert_eq!(temp.content("/data/three"), "3");

    temp.link("/loop", "loop");
    let error = temp.replace("/loop/x", "").unwrap_err();
    assert!(chain(&error).starts_with("cannot replace /loop/x: Too many levels of symbolic links"), "{error:?}");
}

#[test]
fn a_write_refuses_a_link_of_a_user_that_leads_to_somebody_elses_directory() {
    if !is_root("links of other users") {
        return;
    }
    let temp = Temp::new();
    for path in ["/home", "/home/eve", "/home/eve/real", "/home/bob"] {
        temp.dir(path);
    }
    for (path, uid) in [("/home/eve", 4001), ("/home/eve/real", 4001), ("/home/bob", 4002)] {
        chown(temp.at(path), Some(uid), Some(uid)).unwrap();
    }
    for (path, target) in [
        ("/home/eve/etc", "/etc"),
        ("/home/eve/bob", "../bob"),
        ("/home/eve/own", "real"),
        ("/home/eve/abs", "/home/eve/real"),
    ] {
        temp.link(path, target);
        std::os::unix::fs::lchown(temp.at(path), Some(4001), Some(4001)).unwrap();
    }

    let error = temp.replace("/home/eve/etc/shadow", "root::").unwrap_err();
    assert_eq!(
        error.to_string(),
        "will not go through /home/eve/etc: this symbolic link belongs to user 4001 and leads to a directory that belongs \
         to user 0"
    );
    assert!(!temp.at("/etc/shadow").exists());
    temp.put("/home/bob/file", "bob's");
    for error in [
        temp.replace("/home/eve/bob/file", "x").unwrap_err(),
        remove(&temp.root, Path::new("/home/eve/bob/file")).unwrap_err(),
        remove_tree(&temp.root, Path::new("/home/eve/bob/file")).unwrap_err(),
        make_dir(&temp.root, Path::new("/home/eve/bob/dir"), None, 0o755).unwrap_err(),
        make_link(&temp.root, Path::new("/home/eve/bob/link"), Path::new("x"), None).unwrap_err(),
        set_attributes(&temp.root, Path::new("/home/eve/bob/file"), None, Some(0o600)).unwrap_err(),
    ] {
        assert!(matches!(error, HostError::UnsafePath { .. }), "{error:?}");
    }
    assert_eq!(temp.names("/home/bob"), ["file"]);

    temp.replace("/home/eve/own/fine", "1").unwrap();
    temp.replace("/home/eve/abs/fine", "2").unwrap();
    assert_eq!(temp.content("/home/eve/real/fine"), "2");
}

#[test]
fn a_second_name_that_a_user_gave_to_a_file_keeps_its_attributes() {
    let temp = Temp::new();
    temp.put("/etc/secret", "");
    fs::set_permissions(temp.at("/etc/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    temp.dir("/tmp");
    fs::set_permissions(temp.at("/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(temp.at("/etc/secret"), temp.at("/tmp/mine")).unwrap();

    let error = set_attributes(&temp.root, Path::new("/tmp/mine"), None, Some(0o666)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "will not go through /tmp/mine: the file has other names (hard links), and users other than root may write in its \
         directory"
    );
    assert_eq!(temp.mode("/etc/secret"), 0o600);

    temp.replace("/tmp/mine", "new").unwrap();
    assert_eq!(temp.content("/etc/secret"), "", "another name of the file is replaced, not written through");
}

#[test]
fn reading_opens_regular_files_only() {
    let temp = Temp::new();
    nix::unistd::mkfifo(&temp.at("/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    temp.link("/to-fifo", "fifo");
    for path in ["/fifo", "/to-fifo"] {
        let error = read(&temp.root, Path::new(path)).unwrap_err();
        assert_eq!(chain(&error), format!("cannot read {path}: it is a device, socket or FIFO"));
    }
    assert_eq!(stat(&temp.root, Path::new("/fifo")).unwrap().unwrap().kind, FileKind::Special);
    assert_eq!(chain(&read(&temp.root, Path::new("/etc")).unwrap_err()), "cannot read /etc: is a directory");
    assert_eq!(chain(&temp.replace("/fifo", "").unwrap_err()), "cannot replace /fifo: it is a device, socket or FIFO");
}

#[test]
fn a_file_that_would_fill_the_memory_is_not_read() {
    let temp = Temp::new();
    fs::File::create(temp.at("/huge")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        chain(&read(&temp.root, Path::new("/huge")).unwrap_err()),
        "cannot read /huge: it has 1099511627776 bytes, and 268435456 is the most that is read"
    );
}

#[test]
fn a_file_whose_size_the_kernel_does_not_tell_is_read_whole() {
    let live = Root::open(Path::new("/")).unwrap();
    let path = Path::new("/proc/self/status");
    assert_eq!(stat(&live, path).unwrap().unwrap().size, 0);
    assert!(read(&live, Path::new("/proc/version")).unwrap().unwrap().starts_with(b"Linux version"));
}

#[test]
fn the_running_systems_own_root_is_looked_at_in_the_same_way() {
    let temp = Temp::new();
    temp.put("/etc/file", "12345");
    temp.link("/link", "etc/file");
    temp.link("/way", "etc");
    let live = Root::open(Path::new("/")).unwrap();
    for path in ["/etc/file", "/link", "/etc", "/way/file", "/nothing", "/etc/file/below"] {
        assert_eq!(stat(&live, &temp.at(path)).unwrap(), stat(&temp.root, Path::new(path)).unwrap(), "{path}");
        assert_eq!(list(&live, &temp.at(path)).ok(), list(&temp.root, Path::new(path)).ok(), "{path}");
    }
    assert_eq!(chain(&stat(&live, Path::new("etc")).unwrap_err()), "cannot look at etc: the path is not absolute");
}

#[test]
fn what_is_not_there_is_none_and_no_error() {
    let temp = Temp::new();
    temp.put("/etc/file", "");
    for path in ["/nothing", "/no/such/way", "/etc/file/below"] {
        let path = Path::new(path);
        assert_eq!(stat(&temp.root, path).unwrap(), None);
        assert_eq!(read(&temp.root, path).unwrap(), None);
        assert_eq!(read_link(&temp.root, path).unwrap(), None);
        assert_eq!(list(&temp.root, path).unwrap(), None);
        remove(&temp.root, path).unwrap();
        remove_tree(&temp.root, path).unwrap();
    }
    assert_eq!(
        chain(&read_link(&temp.root, Path::new("/etc/file")).unwrap_err()),
        "cannot read the link /etc/file: it is not a symbolic link"
    );
    let error = list(&temp.root, Path::new("/etc/file")).unwrap_err();
    assert!(chain(&error).starts_with("cannot list /etc/file: Not a directory"), "{error:?}");
}

#[test]
fn a_status_is_of_the_link_itself() {
    let temp = Temp::new();
    temp.put("/etc/file", "12345");
    temp.link("/link", "etc/file");
    let file = stat(&temp.root, Path::new("/etc/file")).unwrap().unwrap();
    assert_eq!((file.kind, file.size), (FileKind::File, 5));
    assert_eq!(stat(&temp.root, Path::new("/link")).unwrap().unwrap().kind, FileKind::Link);
    assert_eq!(read_link(&temp.root, Path::new("/link")).unwrap().unwrap(), Path::new("etc/file"));
    assert_eq!(stat(&temp.root, Path::new("/")).unwrap().unwrap().kind, FileKind::Directory);
    assert_eq!(
        chain(&stat(&temp.root, Path::new("etc/file")).unwrap_err()),
        "cannot look at etc/file: the path is not absolute"
    );
}

#[test]
fn a_replaced_file_has_the_content_and_the_mode_and_leaves_nothing_beside_it() {
    let temp = Temp::new();
    temp.put("/etc/.motd.hostwrit-new", "left by a killed run");
    temp.replace("/etc/motd", "one").unwrap();
    assert_eq!((temp.content("/etc/motd").as_str(), temp.mode("/etc/motd")), ("one", 0o644));
    replace(&temp.root, Path::new("/etc/motd"), &NewFile { mode: 0o4750, ..file("two") }).unwrap();
    assert_eq!((temp.content("/etc/motd").as_str(), temp.mode("/etc/motd")), ("two", 0o4750));
    assert_eq!(temp.names("/etc"), ["motd"]);
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let temp = Temp::new();
    temp.put("/etc/target", "old");
    temp.link("/etc/link", "target");
    temp.replace("/etc/link", "new").unwrap();
    assert_eq!(temp.content("/etc/target"), "old");
    assert_eq!(stat(&temp.root, Path::new("/etc/link")).unwrap().unwrap().kind, FileKind::File);
}

#[test]
fn a_directory_is_not_replaced_by_a_file() {
    let temp = Temp::new();
    let error = temp.replace("/etc", "").unwrap_err();
    assert_eq!(chain(&error), "cannot replace /etc: is a directory");
    assert_eq!(temp.names("/"), ["etc"]);
    let error = temp.replace("/", "").unwrap_err();
    assert_eq!(chain(&error), "cannot replace /: the path has no last part");
}

#[test]
fn a_parent_that_does_not_exist_is_an_error() {
    let temp = Temp::new();
    let error = temp.replace("/srv/file", "").unwrap_err();
    assert!(chain(&error).starts_with("cannot replace /srv/file: No such file or directory"), "{error:?}");
}

#[test]
fn the_longest_name_can_be_replaced() {
    let temp = Temp::new();
    let path = format!("/etc/{}", "n".repeat(255));
    temp.replace(&path, "one").unwrap();
    temp.replace(&path, "two").unwrap();
    assert_eq!(temp.content(&path), "two");
    assert_eq!(temp.names("/etc").len(), 1);
}

#[test]
fn a_directory_in_the_way_of_the_new_content_is_named() {
    let temp = Temp::new();
    temp.dir("/etc/.motd.hostwrit-new");
    let error = temp.replace("/etc/motd", "").unwrap_err();
    assert_eq!(chain(&error), "cannot replace /etc/motd: .motd.hostwrit-new is in the way: Is a directory");
}

#[test]
fn a_check_sees_the_new_content_and_its_refusal_leaves_the_old() {
    let temp = Temp::new();
    temp.put("/etc/conf", "old");
    let words = |script: &str| ["sh", "-c", script, "sh", "{}"].map(str::to_owned).to_vec();

    let refuse = words("echo \"bad: $(cat $1)\" >&2; exit 1");
    let error =
        replace(&temp.root, Path::new("/etc/conf"), &NewFile { check: Some(Check::Declared(&refuse)), ..file("new") });
    assert_eq!(
        error.unwrap_err().to_string(),
        "the new content of /etc/conf was refused by its check: sh -c echo \"bad: $(cat $1)\" >&2; exit 1 sh {}: exit \
         status: 1 bad: new"
    );
    assert_eq!(temp.content("/etc/conf"), "old");
    assert_eq!(temp.names("/etc"), ["conf"]);

    let accept = words("grep -qx new \"$1\"");
    let own = Check::Own(&["grep", "-qx", "newer", "{}"]);
    for (content, check) in [("new", Check::Declared(&accept)), ("newer", own)] {
        replace(&temp.root, Path::new("/etc/conf"), &NewFile { check: Some(check), ..file(content) }).unwrap();
        assert_eq!(temp.content("/etc/conf"), content);
    }
    assert!(replace(&temp.root, Path::new("/etc/conf"), &NewFile { check: Some(own), ..file("new") }).is_err());
}

#[test]
fn an_unset_owner_keeps_the_owner_and_a_set_owner_keeps_the_set_id_bits() {
    if !is_root("changes of owner") {
        return;
    }
    let temp = Temp::new();
    let owner = |path| {
        let meta = fs::symlink_metadata(temp.at(path)).unwrap();
        (meta.uid(), meta.gid())
    };
    let other = Some(Owner { uid: 4001, gid: 4002 });
    let path = Path::new("/etc/tool");
    replace(&temp.root, path, &NewFile { owner: other, mode: 0o6755, ..file("one") }).unwrap();
    assert_eq!((owner("/etc/tool"), temp.mode("/etc/tool")), ((4001, 4002), 0o6755));
    temp.replace("/etc/tool", "two").unwrap();
    assert_eq!(owner("/etc/tool"), (4001, 4002));
    set_attributes(&temp.root, path, Some(Owner { uid: 0, gid: 0 }), Some(0o4755)).unwrap();
    assert_eq!((owner("/etc/tool"), temp.mode("/etc/tool")), ((0, 0), 0o4755));

    make_link(&temp.root, Path::new("/etc/link"), Path::new("tool"), other).unwrap();
    assert_eq!((owner("/etc/link"), owner("/etc/tool")), ((4001, 4002), (0, 0)));
    make_dir(&temp.root, Path::new("/etc/dir"), other, 0o2775).unwrap();
    assert_eq!((owner("/etc/dir"), temp.mode("/etc/dir")), ((4001, 4002), 0o2775));
}

#[test]
fn the_callers_own_ownership_can_be_set_without_being_root() {
    let temp = Temp::new();
    let own = stat(&temp.root, Path::new("/etc")).unwrap().unwrap().owner;
    replace(&temp.root, Path::new("/etc/a"), &NewFile { owner: Some(own), ..file("") }).unwrap();
    make_dir(&temp.root, Path::new("/etc/b"), Some(own), 0o700).unwrap();
    make_link(&temp.root, Path::new("/etc/c"), Path::new("a"), Some(own)).unwrap();
    set_attributes(&temp.root, Path::new("/etc/a"), Some(own), Some(0o400)).unwrap();
    assert_eq!(temp.mode("/etc/a"), 0o400);
}

#[test]
fn a_directory_is_made_once_and_then_only_its_mode_is_set() {
    let temp = Temp::new();
    let path = Path::new("/etc/conf.d");
    make_dir(&temp.root, path, None, 0o1777).unwrap();
    temp.put("/etc/conf.d/file", "kept");
    assert_eq!(temp.mode("/etc/conf.d"), 0o1777);
    make_dir(&temp.root, path, None, 0o750).unwrap();
    assert_eq!((temp.mode("/etc/conf.d"), temp.content("/etc/conf.d/file").as_str()), (0o750, "kept"));

    temp.link("/etc/link", "conf.d");
    let error = make_dir(&temp.root, Path::new("/etc/link"), None, 0o700).unwrap_err();
    assert_eq!(chain(&error), "cannot make the directory /etc/link: something else than a directory is there");
    assert_eq!(temp.mode("/etc/conf.d"), 0o750);
}

#[test]
fn a_link_replaces_a_link_and_nothing_else() {
    let temp = Temp::new();
    let path = Path::new("/etc/link");
    make_link(&temp.root, path, Path::new("one"), None).unwrap();
    make_link(&temp.root, path, Path::new("/two"), None).unwrap();
    assert_eq!(read_link(&temp.root, path).unwrap().unwrap(), Path::new("/two"));
    temp.put("/etc/file", "kept");
    let error = make_link(&temp.root, Path::new("/etc/file"), Path::new("x"), None).unwrap_err();
    assert_eq!(chain(&error), "cannot make the link /etc/file: something else than a symbolic link is there");
    assert_eq!(temp.names("/etc"), ["file", "link"]);
}

#[test]
fn attributes_are_never_set_through_a_link() {
    let temp = Temp::new();
    temp.put("/etc/file", "");
    temp.link("/etc/link", "file");
    let before = temp.mode("/etc/file");
    let error = set_attributes(&temp.root, Path::new("/etc/link"), None, Some(0o777)).unwrap_err();
    assert_eq!(chain(&error), "cannot set owner and mode of /etc/link: it is a symbolic link");
    assert_eq!(temp.mode("/etc/file"), before);
}

#[test]
fn removing_takes_files_links_and_empty_directories() {
    let temp = Temp::new();
    temp.put("/etc/file", "kept");
    temp.link("/link", "etc");
    temp.dir("/empty");
    for path in ["/link", "/empty"] {
        remove(&temp.root, Path::new(path)).unwrap();
    }
    let error = remove(&temp.root, Path::new("/etc")).unwrap_err();
    assert!(chain(&error).starts_with("cannot remove /etc: Directory not empty"), "{error:?}");
    assert_eq!(temp.names("/"), ["etc"]);
    remove(&temp.root, Path::new("/etc/file")).unwrap();
    assert_eq!(temp.names("/etc").len(), 0);
}

#[test]
fn removing_a_tree_follows_no_link() {
    let temp = Temp::new();
    temp.put("/etc/file", "kept");
    for path in ["/tree", "/tree/a", "/tree/a/b"] {
        temp.dir(path);
    }
    temp.put("/tree/a/b/c", "");
    temp.link("/tree/a/to-etc", "../../etc");
    remove_tree(&temp.root, Path::new("/tree")).unwrap();
    assert_eq!(temp.names("/"), ["etc"]);
    assert_eq!(temp.content("/etc/file"), "kept");

    temp.link("/link", "etc");
    remove_tree(&temp.root, Path::new("/link")).unwrap();
    assert_eq!(temp.content("/etc/file"), "kept");
}

#[test]
fn removing_a_tree_refuses_mount_points() {
    // /dev/shm and /proc are mount points nearly everywhere; only the directory is asked, nothing is removed.
    let root = std::fs::File::open("/").unwrap();
    let error = remove::open_directory(&root, OsStr::new("proc")).unwrap_err();
    assert_eq!(error.to_string(), "it is a mount point");
    assert!(remove::open_directory(&root, OsStr::new("etc")).unwrap().is_some());
}

#[test]
fn removing_a_tree_gives_up_on_one_that_is_too_deep_instead_of_failing_hard() {
    let temp = Temp::new();
    temp.dir("/tree");
    let mut deep = temp.at("/tree");
    for _ in 0..300 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    let error = remove_tree(&temp.root, Path::new("/tree")).unwrap_err();
    assert!(chain(&error).ends_with("it lies more than 256 directories deep"), "{}", chain(&error));
}

#[test]
fn opening_a_root_that_is_no_directory_says_so() {
    let temp = Temp::new();
    temp.put("/file", "");
    let error = Root::open(&temp.at("/file")).unwrap_err();
    assert!(chain(&error).contains("Not a directory"), "{error:?}");
}

#[test]
fn the_age_of_a_file_comes_with_no_more_of_it_than_was_asked_for() {
    let temp = Temp::new();
    temp.put("/etc/token", "abcdef");
    let set = |seconds: u64| {
        let file = fs::File::options().write(true).open(temp.at("/etc/token")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    set(1_800_000_000);
    let begun = SystemTime::now();
    let look = |path: &str, most| {
        let dated = dated(&temp.root, Path::new(path), most)?;
        // What the kernel notes is never what somebody has set, and never before the change.
        assert!(dated.as_ref().is_none_or(|dated| dated.touched > begun - Duration::from_secs(1)), "{dated:?}");
        Ok::<_, HostError>(dated.map(|dated| Dated { touched: UNIX_EPOCH, ..dated }))
    };
    let of = |begin: &[u8]| Dated {
        changed: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        touched: UNIX_EPOCH,
        size: 6,
        begin: begin.to_vec(),
    };
    for (most, begin) in [(0, &b""[..]), (4, b"abcd"), (6, b"abcdef"), (100, b"abcdef")] {
        assert_eq!(look("/etc/token", most).unwrap(), Some(of(begin)));
    }
    // Rights and owner are not what is in it.
    fs::set_permissions(temp.at("/etc/token"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(look("/etc/token", 0).unwrap(), Some(of(b"")));
    temp.link("/on-the-way", "/etc");
    assert_eq!(look("/on-the-way/token", 4).unwrap(), Some(of(b"abcd")));
    assert_eq!(look("/etc/nothing", 4).unwrap(), None);
    assert_eq!(look("/etc/token/nothing", 4).unwrap(), None);
    let before_1970 = fs::File::options().write(true).open(temp.at("/etc/token")).unwrap();
    before_1970.set_modified(UNIX_EPOCH - Duration::from_secs(10)).unwrap();
    assert_eq!(look("/etc/token", 0).unwrap().unwrap().changed, UNIX_EPOCH);
}

#[test]
fn what_is_no_regular_file_has_no_age() {
    let temp = Temp::new();
    temp.put("/etc/token", "abcdef");
    temp.link("/link", "/etc/token");
    temp.dir("/dir");
    nix::unistd::mkfifo(&temp.at("/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, why) in
        [("/link", "it is a symbolic link"), ("/dir", "is a directory"), ("/fifo", "it is a device, socket or FIFO")]
    {
        for most in [0, 4] {
            let error = dated(&temp.root, Path::new(path), most).unwrap_err();
            assert_eq!(chain(&error), format!("cannot read {path}: {why}"));
        }
    }
}
