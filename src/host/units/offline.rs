// SPDX-License-Identifier: Apache-2.0
//! Unit files and the links between them under a root where nothing runs: the part of `systemctl --root` that hostwrit
//! needs, for hosts without systemctl and for ordinary users.
//!
//! As systemd.unit(5) has it: `[Install]` with `WantedBy=`, `RequiredBy=`, `Alias=` and `Also=`. `DefaultInstance=` is
//! ignored, for a template itself is never enabled here, only its instances.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{UnitAction, UnitState};
use crate::host::files::{self, Root};
use crate::host::{FileKind, HostError};

/// Where the administrator's unit files and all links of `enable` and `mask` are.
const CONFIG: &str = "/etc/systemd/system";
const RUNTIME: &str = "/run/systemd/system";
/// Where unit files are looked for; the first hit counts.
const SEARCH: [&str; 5] =
    [CONFIG, RUNTIME, "/usr/local/lib/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];

pub(super) fn states(root: &Root, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
    // Links that a package brings, below /usr, do not make a unit "enabled": only those that `enable` makes do.
    let (links, at_run_time) = (links(root, CONFIG)?, links(root, RUNTIME)?);
    names
        .iter()
        .map(|&name| {
            let file_state = file_state(root, name, &links, &at_run_time)?;
            let load = if file_state.is_empty() { "not-found" } else { "loaded" }.to_owned();
            Ok(UnitState {
                name: name.to_owned(),
                load,
                active: None,
                file_state: file_state.to_owned(),
                needs_reload: false,
            })
        })
        .collect()
}

pub(super) fn act(root: &Root, action: UnitAction, unit: &str) -> Result<(), HostError> {
    match action {
        UnitAction::Enable => enable(root, unit, &mut BTreeSet::new()),
        UnitAction::Disable => disable(root, unit, &mut BTreeSet::new()),
        UnitAction::Mask => mask(root, unit),
        UnitAction::Unmask => unmask(root, unit),
        _ => Err(action.failed(unit)("nothing runs under another root than /")),
    }
}

/// What stands behind the name of a unit.
enum Found {
    Missing,
    /// A link to /dev/null or an empty file, which mean the same.
    Masked {
        runtime: bool,
    },
    /// A link to a unit file of another name.
    Alias(String),
    File {
        path: PathBuf,
        install: Install,
        /// The file lies elsewhere, with a link in the search path.
        linked: bool,
    },
}

fn find(root: &Root, unit: &str) -> Result<Found, HostError> {
    let template = template_of(unit);
    for name in [Some(unit), template.as_deref()].into_iter().flatten() {
        for dir in SEARCH {
            let path = Path::new(dir).join(name);
            let Some(stat) = files::stat(root, &path)? else { continue };
            if stat.kind != FileKind::Link {
                return if stat.size == 0 { Ok(masked(dir)) } else { read(root, unit, path, false) };
            }
            let Some(target) = files::read_link(root, &path)? else { continue };
            if target == Path::new("/dev/null") {
                return Ok(masked(dir));
            }
            match target.file_name().and_then(OsStr::to_str) {
                Some(base) if base == name => return read(root, unit, Path::new(dir).join(target), true),
                // A link from an instance to its template is no alias.
                Some(base) if template.as_deref() == Some(base) => break,
                Some(base) => return Ok(Found::Alias(base.to_owned())),
                None => {}
            }
        }
    }
    Ok(Found::Missing)
}

fn masked(dir: &str) -> Found {
    Found::Masked { runtime: dir == RUNTIME }
}

fn read(root: &Root, unit: &str, path: PathBuf, linked: bool) -> Result<Found, HostError> {
    let Some(text) = files::read(root, &path)? else { return Ok(Found::Missing) };
    let mut install = Install::default();
    install.read(&String::from_utf8_lossy(&text));
    for text in drop_ins(root, unit)? {
        install.read(&text);
    }
    Ok(Found::File { path, install, linked })
}

/// Returns the contents of the unit's drop-ins, which may have an `[Install]` section too.
fn drop_ins(root: &Root, unit: &str) -> Result<Vec<String>, HostError> {
    let mut names = BTreeSet::new();
    let mut texts = Vec::new();
    for dir in SEARCH {
        for owner in [Some(unit), template_of(unit).as_deref()].into_iter().flatten() {
            let dir = Path::new(dir).join(format!("{owner}.d"));
            for name in files::list(root, &dir)?.unwrap_or_default() {
                if Path::new(&name).extension() == Some(OsStr::new("conf")) && names.insert(name.clone()) {
                    texts.push((name.clone(), files::read(root, &dir.join(&name))?.unwrap_or_default()));
                }
            }
        }
    }
    texts.sort();
    Ok(texts.into_iter().map(|(_, text)| String::from_utf8_lossy(&text).into_owned()).collect())
}

/// The `[Install]` section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Install {
    pub(super) wanted_by: Vec<String>,
    pub(super) required_by: Vec<String>,
    pub(super) alias: Vec<String>,
    pub(super) also: Vec<String>,
}

impl Install {
    /// Adds what one more file says; an empty value takes back what was said before it.
    pub(super) fn read(&mut self, text: &str) {
        let joined = text.replace("\\\n", " ");
        let mut inside = false;
        for line in joined.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';'])) else {
                continue;
            };
            let list = match key.trim_end() {
                "WantedBy" => &mut self.wanted_by,
                "RequiredBy" => &mut self.required_by,
                "Alias" => &mut self.alias,
                "Also" => &mut self.also,
                _ => continue,
            };
            if value.trim().is_empty() {
                list.clear();
            }
            list.extend(value.split_whitespace().map(str::to_owned));
        }
    }

    fn has_rules(&self) -> bool {
        !(self.wanted_by.is_empty() && self.required_by.is_empty() && self.alias.is_empty())
    }
}

/// One link in a directory of units or in one of its `.wants` and `.requires`.
struct UnitLink {
    path: PathBuf,
    name: String,
    /// The last part of the target.
    target: String,
    /// In a `.wants` or `.requires` directory.
    dependency: bool,
}

impl UnitLink {
    /// Whether the link enables the unit: by a dependency on it, or as another name for it.
    fn enables(&self, unit: &str) -> bool {
        if self.dependency {
            self.name == unit || self.target == unit
        } else {
            self.name != unit && self.target == unit
        }
    }
}

fn links(root: &Root, dir: &str) -> Result<Vec<UnitLink>, HostError> {
    let mut found = Vec::new();
    for path in children(root, Path::new(dir))? {
        let suffix = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if matches!(suffix, "wants" | "requires") {
            for path in children(root, &path)? {
                found.extend(link(root, path, true)?);
            }
        } else {
            found.extend(link(root, path, false)?);
        }
    }
    Ok(found)
}

fn children(root: &Root, dir: &Path) -> Result<Vec<PathBuf>, HostError> {
    match files::stat(root, dir)? {
        // A link such as /lib leads to a directory that is in the list itself; a link to one is listed like one.
        Some(stat) if matches!(stat.kind, FileKind::Directory | FileKind::Link) => {}
        _ => return Ok(Vec::new()),
    }
    let names = files::list(root, dir)?.unwrap_or_default();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn link(root: &Root, path: PathBuf, dependency: bool) -> Result<Option<UnitLink>, HostError> {
    let is_link = files::stat(root, &path)?.is_some_and(|stat| stat.kind == FileKind::Link);
    let Some(target) = (if is_link { files::read_link(root, &path)? } else { None }) else { return Ok(None) };
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).map(str::to_owned);
    Ok(text(path.file_name()).zip(text(target.file_name())).map(|(name, target)| UnitLink {
        path,
        name,
        target,
        dependency,
    }))
}

fn file_state(
    root: &Root,
    unit: &str,
    links: &[UnitLink],
    at_run_time: &[UnitLink],
) -> Result<&'static str, HostError> {
    let (install, linked) = match find(root, unit)? {
        Found::Missing => return Ok(""),
        Found::Masked { runtime: true } => return Ok("masked-runtime"),
        Found::Masked { runtime: false } => return Ok("masked"),
        Found::Alias(_) => return Ok("alias"),
        Found::File { install, linked, .. } => (install, linked),
    };
    let enabled_by = |links: &[UnitLink]| links.iter().any(|link| link.enables(unit));
    Ok(match () {
        () if enabled_by(links) => "enabled",
        () if enabled_by(at_run_time) => "enabled-runtime",
        () if linked => "linked",
        () if install.has_rules() => "disabled",
        () if !install.also.is_empty() => "indirect",
        () => "static",
    })
}

fn enable(root: &Root, unit: &str, done: &mut BTreeSet<String>) -> Result<(), HostError> {
    if !done.insert(unit.to_owned()) {
        return Ok(());
    }
    let failed = |why: String| Err(UnitAction::Enable.failed(unit)(why));
    let (path, install) = match find(root, unit)? {
        Found::Missing => return failed("it has no unit file".to_owned()),
        Found::Masked { .. } => return failed("it is masked".to_owned()),
        Found::Alias(of) => return failed(format!("it is another name for {of}; declare that")),
        Found::File { path, install, .. } => (path, install),
    };
    for (targets, suffix) in [(&install.wanted_by, "wants"), (&install.required_by, "requires")] {
        for target in targets {
            let dir = Path::new(CONFIG).join(format!("{}.{suffix}", expand(target, unit)));
            make_dirs(root, &dir)?;
            place_link(root, &dir.join(unit), &path, unit)?;
        }
    }
    for alias in install.alias.iter().map(|alias| expand(alias, unit)).filter(|alias| alias != unit) {
        make_dirs(root, Path::new(CONFIG))?;
        place_link(root, &Path::new(CONFIG).join(alias), &path, unit)?;
    }
    install.also.iter().try_for_each(|also| enable(root, &expand(also, unit), done))
}

/// Makes the link, unless another unit has the place.
fn place_link(root: &Root, path: &Path, target: &Path, unit: &str) -> Result<(), HostError> {
    match files::stat(root, path)? {
        None => {}
        Some(stat) if stat.kind == FileKind::Link => {
            let present = files::read_link(root, path)?.unwrap_or_default();
            if present.file_name() != target.file_name() {
                let why = format!("{} already points to {}", path.display(), present.display());
                return Err(UnitAction::Enable.failed(unit)(why));
            }
        }
        Some(_) => return Err(UnitAction::Enable.failed(unit)(format!("{} is no link", path.display()))),
    }
    files::make_link(root, path, target, None)
}

fn disable(root: &Root, unit: &str, done: &mut BTreeSet<String>) -> Result<(), HostError> {
    if !done.insert(unit.to_owned()) {
        return Ok(());
    }
    let install = match find(root, unit)? {
        Found::File { install, .. } => install,
        _ => Install::default(),
    };
    for link in links(root, CONFIG)? {
        // A linked unit file goes too, as systemctl has it; a mask is a matter of its own.
        let is_linked_file = !link.dependency && link.name == unit && link.target == unit;
        if link.enables(unit) || is_linked_file {
            files::remove(root, &link.path)?;
            if let Some(dir) = link.path.parent().filter(|_| link.dependency)
                && children(root, dir)?.is_empty()
            {
                files::remove(root, dir)?;
            }
        }
    }
    install.also.iter().try_for_each(|also| disable(root, &expand(also, unit), done))
}

fn mask(root: &Root, unit: &str) -> Result<(), HostError> {
    let path = Path::new(CONFIG).join(unit);
    match files::stat(root, &path)? {
        None => {}
        Some(stat) if stat.kind == FileKind::Link && is_mask(root, &path)? => return Ok(()),
        Some(_) => return Err(UnitAction::Mask.failed(unit)(format!("{} is in the way", path.display()))),
    }
    make_dirs(root, Path::new(CONFIG))?;
    files::make_link(root, &path, Path::new("/dev/null"), None)
}

fn unmask(root: &Root, unit: &str) -> Result<(), HostError> {
    for dir in [CONFIG, RUNTIME] {
        let path = Path::new(dir).join(unit);
        let is_link = files::stat(root, &path)?.is_some_and(|stat| stat.kind == FileKind::Link);
        if is_link && is_mask(root, &path)? {
            files::remove(root, &path)?;
        }
    }
    Ok(())
}

fn is_mask(root: &Root, path: &Path) -> Result<bool, HostError> {
    Ok(files::read_link(root, path)?.as_deref() == Some(Path::new("/dev/null")))
}

/// Makes the directory with those above it that are missing.
fn make_dirs(root: &Root, dir: &Path) -> Result<(), HostError> {
    if files::stat(root, dir)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(root, parent)?;
    }
    files::make_dir(root, dir, None, 0o755)
}

/// Returns `backup@.service` for `backup@home.service`, and nothing for a unit that is no instance.
fn template_of(unit: &str) -> Option<String> {
    let (prefix, rest) = unit.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// Fills in the specifiers that `[Install]` sections of instances use: `%i`, `%p`, `%n`, `%N`.
fn expand(text: &str, unit: &str) -> String {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    text.replace("%i", instance).replace("%p", prefix).replace("%n", unit).replace("%N", stem)
}
