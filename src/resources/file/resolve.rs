// SPDX-License-Identifier: Apache-2.0
//! From what the repo says to what shall be, or every fault in it.

use std::path::PathBuf;

use crate::model::{Fault, Faults, Origin};
use crate::resources::Contents;
use crate::resources::content::ContentSpec;

use super::{Account, Desired, FileType, Spec, What, renew};

pub(super) fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<Desired, Faults> {
    let mut faults = Faults::default();
    if let Some((message, hint)) = fault_of_path(name) {
        faults.push(Fault::new(origin.object.clone(), message).hint(hint));
    }
    let mut take = |field: &str, result: Result<Option<Account>, String>| {
        result.unwrap_or_else(|why| {
            faults.push(Fault::new(origin.of(field).clone(), why).hint("name it, or give its number in quotes"));
            None
        })
    };
    let mut owner = take("owner", spec.owner.as_deref().map(|text| account(text, "user")).transpose());
    let mut group = take("group", spec.group.as_deref().map(|text| account(text, "group")).transpose());
    let mut mode = spec.mode.as_deref().map(permission_bits).transpose().unwrap_or_else(|(message, hint)| {
        faults.push(Fault::new(origin.of("mode").clone(), message).hint(hint));
        None
    });
    let file_type = spec.file_type.unwrap_or_default();
    faults.extend(misplaced(&spec, file_type, origin));

    let mut renew = None;
    let (what, default_mode) = match file_type {
        FileType::File => {
            let body = ContentSpec { content: spec.content, source: spec.source, template: spec.template };
            let has_body = body != ContentSpec::default();
            let content = body.resolve(None, origin, contents).unwrap_or_else(|found| {
                faults.extend(found);
                None
            });
            if let Some(words) = &spec.validate {
                faults.extend(
                    fault_of_check(words, has_body)
                        .map(|(message, hint)| Fault::new(origin.of("validate").clone(), message).hint(hint)),
                );
            }
            renew = spec.renew.and_then(|spec| renew::resolve(&spec, has_body, origin, &mut faults));
            let default_mode = content.is_some().then_some(0o644);
            (What::File { content, check: spec.validate }, default_mode)
        }
        FileType::Directory => {
            let exact = spec.exact.unwrap_or(false);
            if exact && needed_by_the_system(name) {
                faults.push(
                    Fault::new(origin.of("exact").clone(), format!("{name} holds what the system itself needs"))
                        .hint("declare exact only for directories further down"),
                );
            }
            (What::Directory { exact }, Some(0o755))
        }
        FileType::Link => {
            let target = spec.target.unwrap_or_default();
            if target.is_empty() || target.contains('\0') || target.len() > 4095 {
                faults.push(
                    Fault::new(origin.of("target").clone(), "a link needs a target")
                        .hint("set target to the path that the link points to"),
                );
            }
            (What::Link { target: PathBuf::from(target) }, None)
        }
    };
    if default_mode.is_some() {
        owner.get_or_insert(Account::Number(0));
        group.get_or_insert(Account::Number(0));
        mode = mode.or(default_mode);
    }
    faults.or(Desired { what, owner, group, mode, renew })
}

/// Fields that say nothing of this type of file.
fn misplaced(spec: &Spec, file_type: FileType, origin: &Origin) -> Vec<Fault> {
    let (file, directory, link) = (FileType::File, FileType::Directory, FileType::Link);
    [
        ("content", spec.content.is_some(), &[file][..], "a file"),
        ("source", spec.source.is_some(), &[file], "a file"),
        ("template", spec.template.is_some(), &[file], "a file"),
        ("validate", spec.validate.is_some(), &[file], "a file"),
        ("renew", spec.renew.is_some(), &[file], "a file"),
        ("exact", spec.exact.is_some(), &[directory], "a directory"),
        ("target", spec.target.is_some(), &[link], "a link"),
        ("mode", spec.mode.is_some(), &[file, directory], "a file or directory"),
    ]
    .into_iter()
    .filter(|(_, is_set, types, _)| *is_set && !types.contains(&file_type))
    .map(|(field, _, _, owner)| {
        Fault::new(origin.of(field).clone(), format!("only {owner} has {field}, and this is {}", named(file_type)))
            .hint(format!("remove {field}, or set type"))
    })
    .collect()
}

fn named(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "a file",
        FileType::Directory => "a directory",
        FileType::Link => "a link",
    }
}

type Why = (String, &'static str);

/// Says why `path` cannot be that of a declared file, and what would be right.
fn fault_of_path(path: &str) -> Option<Why> {
    let part_is = |wrong: &[&str]| path.split('/').skip(1).any(|part| wrong.contains(&part));
    if !path.starts_with('/') {
        Some((format!("\"{}\" is not an absolute path", path.escape_debug()), "write the whole path, from / on"))
    } else if path == "/" {
        Some(("the root directory cannot be declared".to_owned(), "declare what is in it"))
    } else if path.contains(char::is_control) {
        Some((format!("\"{}\" has a control character in it", path.escape_debug()), "remove the character"))
    } else if part_is(&["", ".", ".."]) {
        Some((
            format!("\"{}\" is not written in the shortest way", path.escape_debug()),
            "write the path without //, /./, /../ and a / at the end: each object has one name",
        ))
    } else if path.len() > 4000 || path.split('/').any(|part| part.len() > 255) {
        Some((format!("the path has {} bytes, or a part of more than 255", path.len()), "use a shorter path"))
    } else if is_aside(path) {
        Some((format!("{path} is where hostwrit prepares new content"), "use another name"))
    } else {
        reserved(path)
    }
}

/// Says why the file kind leaves this path alone, if it does.
pub(super) fn reserved(path: &str) -> Option<Why> {
    const OWN: [&str; 5] =
        ["/etc/hostwrit", "/var/lib/hostwrit", "/var/log/hostwrit", "/run/hostwrit", "/var/run/hostwrit"];
    const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
    let is_below = |places: &[&str]| {
        places.iter().any(|place| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    if is_below(&OWN) {
        Some((format!("{path} is hostwrit's own"), "leave it out: no commit may change what hostwrit itself rests on"))
    } else if is_below(&KERNEL) {
        Some((
            format!("{path} belongs to the kernel"),
            "files there do not last; look for the setting's own file in /etc",
        ))
    } else if is_account_file(path) {
        Some((format!("{path} is managed by users and groups"), "declare users and groups instead"))
    } else if path.starts_with("/etc/sudoers.d/hostwrit-") {
        Some((format!("{path} is managed by users"), "set sudo in the user instead"))
    } else {
        None
    }
}

/// Whether new content is prepared under such a name.
fn is_aside(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('.') && name.ends_with(".hostwrit-new"))
}

fn is_account_file(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/etc/") else { return false };
    let database = |name: &str| matches!(name, "passwd" | "shadow" | "group" | "gshadow");
    let stem = ["-", "+", ".lock", ".edit"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    name == ".pwd.lock" || database(stem)
}

/// Whether a directory that held nothing but declared files would take the system down.
fn needed_by_the_system(path: &str) -> bool {
    const NEEDED: [&str; 21] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/root",
        "/run",
        "/sbin",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/log",
        "/var/run",
        "/var/spool",
    ];
    let is_part_of_usr = path.strip_prefix("/usr/").is_some_and(|rest| !rest.contains('/'));
    NEEDED.contains(&path) || is_part_of_usr
}

fn account(text: &str, what: &str) -> Result<Account, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            // (uid_t) -1 stands for "leave as it is" in chown(2).
            Ok(number) if number != u32::MAX => Ok(Account::Number(number)),
            _ => Err(format!("{text} is not the number of a {what}")),
        };
    }
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '\\');
    if text.is_empty() || text.starts_with('-') || !text.chars().all(is_fine) {
        return Err(format!("\"{}\" is not the name of a {what}", text.escape_debug()));
    }
    Ok(Account::Name(text.to_owned()))
}

fn permission_bits(text: &str) -> Result<u32, (String, String)> {
    let digits = if text.len() == 5 { text.strip_prefix('0').unwrap_or(text) } else { text };
    let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if is_octal && digits.len() == 4 => Ok(mode),
        _ => Err((
            format!("\"{}\" is not a mode", text.escape_debug()),
            if is_octal && text.len() == 3 {
                format!("write it with four octal digits, in quotes: \"0{text}\"")
            } else {
                "write four octal digits, in quotes: \"0644\"".to_owned()
            },
        )),
    }
}

fn fault_of_check(words: &[String], has_content: bool) -> Option<Why> {
    let Some((program, args)) = words.split_first() else {
        return Some(("validate has no command in it".to_owned(), "write it as a list: [visudo, -cf, \"{}\"]"));
    };
    if !has_content {
        Some(("there is no content to validate".to_owned(), "set content, source or template, or remove validate"))
    } else if program.is_empty() || program.contains('/') && !program.starts_with('/') {
        Some((
            format!("\"{}\" is not a program", program.escape_debug()),
            "name the program, or give its absolute path",
        ))
    } else if words.iter().any(|word| word.contains('\0')) {
        Some(("validate has a NUL character in it".to_owned(), "remove the character"))
    } else if !args.iter().any(|word| word.contains("{}")) {
        Some((
            "validate does not say where the new content goes".to_owned(),
            "write {} in the argument where the command takes the path of the file",
        ))
    } else {
        None
    }
}
