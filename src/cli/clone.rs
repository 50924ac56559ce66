// SPDX-License-Identifier: Apache-2.0
//! A person's own clone of the infra repo, by that person's own git: with its configuration, its keys and its questions.

use std::path::{Path, PathBuf};

use crate::host::command::{run_as_caller, run_attended};
use crate::model::RepoFiles;
use crate::model::files::FileError;
use crate::model::git::{ObjectError, Objects, Oid, RawObject};
use crate::yaml;

use super::{CommandError, Exit};

const POLICY: &str = "policy/policy.yaml";

/// A clone of the infra repo.
pub struct GitClone {
    dir: String,
    /// What all work trees of the clone share: `.git`, as a rule.
    git_dir: PathBuf,
}

/// Where a commit of a fleet belongs, as its policy says.
pub struct Place {
    pub fleet: String,
    /// In full: `refs/heads/main`.
    pub git_ref: String,
}

impl GitClone {
    /// Opens the clone that `dir` lies in.
    pub fn open(dir: &Path) -> Result<Self, CommandError> {
        let dir = dir.to_str().ok_or_else(|| usage(format!("{} is not named in UTF-8", dir.display())))?;
        let mut clone = Self { dir: dir.to_owned(), git_dir: PathBuf::new() };
        clone.git_dir = clone.ask(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?.into();
        Ok(clone)
    }

    /// Returns the directory that all work trees share.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Returns what git answers, without the line break at its end.
    pub fn ask(&self, args: &[&str]) -> Result<String, CommandError> {
        let output = run_as_caller("git", &self.with_dir(args))?;
        if !output.success {
            return Err(failed(args, &output.stderr));
        }
        Ok(text(output.stdout))
    }

    /// Like [`ask`](Self::ask), where git may have no answer.
    pub fn ask_whether(&self, args: &[&str]) -> Result<Option<String>, CommandError> {
        let output = run_as_caller("git", &self.with_dir(args))?;
        Ok(output.success.then(|| text(output.stdout)))
    }

    /// Like [`ask`](Self::ask), where git or what it starts may ask the person something, such as a passphrase.
    pub fn ask_attended(&self, args: &[&str]) -> Result<String, CommandError> {
        let output = run_attended("git", &self.with_dir(args))?;
        if !output.success {
            return Err(failed(args, b""));
        }
        Ok(text(output.stdout))
    }

    fn with_dir<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        // Replaced objects would show something else than what is signed.
        [&["--no-replace-objects", "-C", &self.dir], args].concat()
    }

    /// Returns the commit that `name` stands for.
    pub fn commit(&self, name: &str) -> Result<Oid, CommandError> {
        let object = format!("{name}^{{commit}}");
        let found = self.ask_whether(&["rev-parse", "--verify", "--quiet", "--end-of-options", &object])?;
        found.and_then(|id| id.parse().ok()).ok_or_else(|| usage(format!("there is no commit \"{name}\" here")))
    }

    /// Returns the tree of a commit.
    pub fn tree(&self, commit: &Oid) -> Result<String, CommandError> {
        self.ask(&["rev-parse", "--verify", &format!("{commit}^{{tree}}")])
    }

    /// Returns the full name of the branch that is checked out, if one is.
    pub fn branch(&self) -> Result<Option<String>, CommandError> {
        self.ask_whether(&["symbolic-ref", "--quiet", "HEAD"])
    }

    /// Returns where a commit belongs.
    pub fn place(&self, commit: &Oid) -> Result<Place, CommandError> {
        let text = self.ask_whether(&["cat-file", "blob", &format!("{commit}:{POLICY}")])?;
        let text = text.ok_or_else(|| usage(format!("{commit} has no {POLICY}: this is no infra repo")))?;
        let node = yaml::parse(POLICY, text.as_bytes()).map_err(|faults| CommandError::new(Exit::Unsound, faults))?;
        let value = |key: &str| match node.get(key).map(|node| &node.value) {
            Some(yaml::Value::String(value)) => Ok(value.clone()),
            _ => Err(CommandError::new(Exit::Unsound, format!("{POLICY} has no {key}"))),
        };
        Ok(Place { fleet: value("fleet")?, git_ref: value("ref")? })
    }

    /// Returns the number that a commit after `commit` carries in its trailer `Hostwrit-Seq`.
    pub fn next_number(&self, commit: &Oid) -> Result<u64, CommandError> {
        let format = "--format=%(trailers:key=Hostwrit-Seq,valueonly)";
        let commit = commit.to_string();
        let found = self.ask(&["-c", "log.showSignature=false", "log", "-1", format, &commit, "--"])?;
        Ok(found.lines().rev().find_map(|line| line.trim().parse::<u64>().ok()).unwrap_or(0).saturating_add(1))
    }

    /// Makes a commit signed with the key that git is configured to sign with. Moves no branch.
    pub fn signed_commit(&self, tree: &str, parents: &[Oid], message: &str) -> Result<Oid, CommandError> {
        let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
        let mut args = vec!["commit-tree", "-S", "-m", message];
        parents.iter().for_each(|parent| args.extend(["-p", parent]));
        args.push(tree);
        let made = self.ask_attended(&args)?;
        made.parse().map_err(|_| CommandError::new(Exit::Failed, format!("git commit-tree answered \"{made}\"")))
    }

    /// Opens the objects of the clone.
    pub fn objects(&self) -> Result<CloneObjects, CommandError> {
        // Nothing of the clone's own configuration is needed to read objects.
        let options = gix::open::Options::isolated().open_path_as_is(true).config_overrides([
            "core.useReplaceRefs=false",
            "core.commitGraph=false",
            "gitoxide.objects.allocLimit=67108864",
        ]);
        let repo = options.open(&self.git_dir).map_err(|error| CommandError::new(Exit::Failed, error))?;
        Ok(CloneObjects { repo: repo.to_thread_local() })
    }
}

/// The objects of a clone, by id. What they are worth, trust finds out.
pub struct CloneObjects {
    repo: gix::Repository,
}

impl Objects for CloneObjects {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        if id.kind() != self.repo.object_hash() {
            return Err(ObjectError::Missing { id: *id });
        }
        let found = self.repo.try_find_object(*id);
        let found = found.map_err(|error| ObjectError::Unreadable { id: *id, source: error.to_string().into() })?;
        let mut object = found.ok_or(ObjectError::Missing { id: *id })?.detach();
        Ok(RawObject { kind: object.kind, data: std::mem::take(&mut object.data) })
    }
}

/// The files of one commit of a clone.
pub struct CommitFiles<'c> {
    pub objects: &'c CloneObjects,
    pub commit: Oid,
}

impl RepoFiles for CommitFiles<'_> {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        let failed = |error: gix::Error| FileError { path: String::new(), source: error.to_string().into() };
        let tree = self.objects.repo.find_object(self.commit).map_err(failed)?.peel_to_tree().map_err(failed)?;
        let entries = tree.traverse().breadthfirst.files().map_err(failed)?;
        Ok(entries.into_iter().filter(|entry| entry.mode.is_blob()).map(|entry| entry.filepath.to_string()).collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let failed = |error: gix::Error| FileError { path: path.to_owned(), source: error.to_string().into() };
        let tree = self.objects.repo.find_object(self.commit).map_err(failed)?.peel_to_tree().map_err(failed)?;
        match tree.lookup_entry_by_path(path).map_err(failed)? {
            Some(entry) if entry.mode().is_blob() => Ok(Some(entry.object().map_err(failed)?.detach().data)),
            _ => Ok(None),
        }
    }
}

fn usage(text: String) -> CommandError {
    CommandError::new(Exit::Usage, text)
}

fn failed(args: &[&str], stderr: &[u8]) -> CommandError {
    // What git is asked to do, without the settings before it.
    let verb = args.iter().find(|arg| !arg.starts_with('-') && !arg.contains('=')).unwrap_or(&"git");
    let said = String::from_utf8_lossy(stderr);
    let said = said.trim();
    let colon = if said.is_empty() { "" } else { ": " };
    CommandError::new(Exit::Failed, format!("git {verb} failed{colon}{said}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
}
