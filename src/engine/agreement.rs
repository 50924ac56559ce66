// SPDX-License-Identifier: Apache-2.0
//! What a host looked like when it last agreed, so that the next look need not compile the repo again.
//!
//! Planning is deterministic: the same commit, state and facts, and the same answers of the host to the same questions,
//! give the same plan. So the questions of an empty plan are kept, with one digest over all their answers. As long as the
//! host still gives those answers the plan is still empty, and neither the repo nor its contents need be read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::sha::Sha256;
use serde::{Deserialize, Serialize};

use crate::host::{
    Dated, HostError, Listening, NewFile, Process, ReadHost, Ruleset, Session, Stat, Tables, UnitState, WriteHost,
};
use crate::manifest::Facts;
use crate::model::{Digest, Maintenance};
use crate::resources::findings::{self, Found};
use crate::resources::{Desired, ObserveError};

use super::state::{STATE, State};
use super::{Config, Plan};

/// Where the agreement lives on the host. Losing it costs one compilation.
const AGREEMENT: &str = "/var/lib/hostwrit/agreement.json";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The questions of an empty plan, and the answers' digest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Agreement {
    /// Digest of all else that the plan depends on.
    key: Digest,
    /// Number of declared objects.
    pub objects: usize,
    /// Number of declared objects of each kind.
    #[serde(default)]
    pub kinds: BTreeMap<String, usize>,
    /// When the host is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// What was found around what is declared: it follows from the answers as well.
    pub found: Found,
    /// In the order in which they were asked.
    questions: Vec<Question>,
    answers: Digest,
}

/// One call of a [`ReadHost`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Question {
    #[serde(rename = "s")]
    Stat(String),
    #[serde(rename = "r")]
    Read(String),
    /// The age of a file, and so many of its bytes.
    #[serde(rename = "a")]
    Dated(String, usize),
    #[serde(rename = "k")]
    ReadLink(String),
    #[serde(rename = "l")]
    List(String),
    #[serde(rename = "u")]
    Units(Vec<String>),
    #[serde(rename = "d")]
    Day,
    #[serde(rename = "t")]
    HasCome(SystemTime),
    #[serde(rename = "p")]
    Listening,
    #[serde(rename = "o")]
    SessionsBefore(BTreeMap<String, SystemTime>),
    /// Whatever was read of the packet filter: that its generation is the same is enough.
    #[serde(rename = "n")]
    Ruleset,
}

impl Agreement {
    /// Plans once more, looks around, and keeps the questions; `None` unless there is nothing at all to do or to list, or where
    /// the surroundings cannot be looked at.
    ///
    /// # Errors
    /// The host cannot be observed.
    pub fn find(
        config: &Config,
        desired: &Desired,
        commit: &str,
        state: &State,
        host: &dyn ReadHost,
    ) -> Result<Option<Self>, ObserveError> {
        let Some(key) = key(config, host)? else { return Ok(None) };
        let recorder = Recorder::new(host);
        let plan = Plan::make(commit, desired, state, &recorder)?;
        let differs = [&plan.steps, &plan.reported, &plan.held].iter().any(|steps| !steps.is_empty());
        if differs || !plan.unmanaged.is_empty() {
            return Ok(None);
        }
        let found = findings::of(desired, &recorder);
        if !found.is_whole() {
            return Ok(None);
        }
        let Recorded { questions, answers } = recorder.recorded.into_inner();
        Ok(questions.map(|questions| Self {
            key,
            found,
            objects: desired.objects().len(),
            kinds: desired.kinds(),
            maintenance: desired.maintenance.clone(),
            questions,
            answers: answers.digest(),
        }))
    }

    /// Returns the agreement that was kept, if all that it depends on is as it was and the host gives the same answers.
    ///
    /// # Errors
    /// The host cannot be asked.
    pub fn that_holds(config: &Config, host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        let Some(text) = host.read(Path::new(AGREEMENT))? else { return Ok(None) };
        // One that cannot be understood was written by another version: as good as none.
        let Ok(agreement) = serde_json::from_slice::<Self>(&text) else { return Ok(None) };
        if key(config, host)? != Some(agreement.key) {
            return Ok(None);
        }
        let mut answers = Answers::new();
        for question in &agreement.questions {
            match question {
                Question::Stat(path) => answers.stat(host.stat(Path::new(path))?),
                Question::Read(path) => answers.bytes(host.read(Path::new(path))?.as_deref()),
                Question::Dated(path, most) => answers.dated(host.dated(Path::new(path), *most)?.as_ref()),
                Question::ReadLink(path) => answers.link(host.read_link(Path::new(path))?.as_deref()),
                Question::List(path) => answers.list(host.list(Path::new(path))?.as_deref()),
                Question::Units(names) => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    answers.units(&host.units(&names)?);
                }
                Question::Day => answers.number(day(host.now())),
                Question::HasCome(time) => answers.number(host.has_come(*time).into()),
                Question::Listening => answers.listening(host.listening()?.as_ref()),
                Question::SessionsBefore(times) => answers.sessions(&host.sessions_before(times)?),
                Question::Ruleset => answers.bytes(Some(host.ruleset_generation()?.as_bytes())),
            }
        }
        Ok((answers.digest() == agreement.answers).then_some(agreement))
    }

    /// Keeps the agreement for the next cycle.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, host: &dyn WriteHost) -> Result<(), HostError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let file = NewFile { content: &text, owner: None, mode: 0o600, check: None };
        host.replace_file(Path::new(AGREEMENT), &file)
    }
}

/// Returns the digest of what a plan depends on beside the host's answers, or `None` where there is no state, or no list of
/// revocations where there must be one.
///
/// The state names the commit, and holds ownership and owed restarts.
fn key(config: &Config, host: &dyn ReadHost) -> Result<Option<Digest>, HostError> {
    let Some(state) = host.read(Path::new(STATE))? else { return Ok(None) };
    let facts = serde_json::to_string(&Facts::gather(host, &config.host)?).unwrap_or_default();
    let mut answers = Answers::new();
    let anchor = &config.anchor;
    let root = anchor.root.to_string();
    for part in [env!("CARGO_PKG_VERSION"), &config.host, &anchor.fleet, &anchor.git_ref, &root, &facts] {
        answers.bytes(Some(part.as_bytes()));
    }
    // What is revoked from now on may concern what this host agrees with.
    let revocations = config.revocations.as_deref().map(|path| host.read(path)).transpose()?.flatten();
    answers.bytes(revocations.as_deref());
    if config.revocations.is_some() && revocations.is_none() {
        return Ok(None);
    }
    answers.bytes(Some(&state));
    Ok(Some(answers.digest()))
}

/// The days since 1970: all that a plan may know of the time.
fn day(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY.as_secs())
}

/// A digest over answers, each with its length, so that no two series of answers look the same.
struct Answers(Sha256);

impl Answers {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.0.update(&[0]),
            Some(bytes) => {
                self.0.update(&[1]);
                self.0.update(&(bytes.len() as u64).to_be_bytes());
                self.0.update(bytes);
            }
        }
    }

    fn stat(&mut self, stat: Option<Stat>) {
        self.bytes(stat.map(|stat| format!("{stat:?}")).as_deref().map(str::as_bytes));
    }

    fn dated(&mut self, dated: Option<&Dated>) {
        self.bytes(
            dated
                .map(|dated| format!("{:?} {:?} {}", dated.changed, dated.touched, dated.size))
                .as_deref()
                .map(str::as_bytes),
        );
        self.bytes(dated.map(|dated| dated.begin.as_slice()));
    }

    fn link(&mut self, target: Option<&Path>) {
        self.bytes(target.map(|target| target.as_os_str().as_bytes()));
    }

    fn list(&mut self, names: Option<&[OsString]>) {
        let Some(names) = names else { return self.bytes(None) };
        self.number(names.len() as u64);
        names.iter().for_each(|name| self.bytes(Some(name.as_bytes())));
    }

    fn units(&mut self, units: &[UnitState]) {
        self.bytes(Some(format!("{units:?}").as_bytes()));
    }

    fn listening(&mut self, listening: Option<&Listening>) {
        self.bytes(listening.map(|listening| format!("{listening:?}")).as_deref().map(str::as_bytes));
    }

    fn sessions(&mut self, sessions: &[Session]) {
        self.bytes(Some(format!("{sessions:?}").as_bytes()));
    }

    fn number(&mut self, number: u64) {
        self.bytes(Some(&number.to_be_bytes()));
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.0.finish())
    }
}

/// A host that keeps what it is asked.
struct Recorder<'h> {
    host: &'h dyn ReadHost,
    recorded: RefCell<Recorded>,
}

struct Recorded {
    /// `None` once a question was asked that cannot be kept.
    questions: Option<Vec<Question>>,
    answers: Answers,
}

impl<'h> Recorder<'h> {
    fn new(host: &'h dyn ReadHost) -> Self {
        Self { host, recorded: RefCell::new(Recorded { questions: Some(Vec::new()), answers: Answers::new() }) }
    }

    fn keep(&self, question: Option<Question>, answer: impl FnOnce(&mut Answers)) {
        let mut recorded = self.recorded.borrow_mut();
        answer(&mut recorded.answers);
        match (question, &mut recorded.questions) {
            (Some(question), Some(questions)) => questions.push(question),
            _ => recorded.questions = None,
        }
    }

    /// Keeps a question about a path; one that is not UTF-8 cannot be kept.
    fn keep_path(&self, question: fn(String) -> Question, path: &Path, answer: impl FnOnce(&mut Answers)) {
        self.keep(path.to_str().map(|path| question(path.to_owned())), answer);
    }
}

impl ReadHost for Recorder<'_> {
    fn is_live(&self) -> bool {
        self.host.is_live()
    }

    fn sets_owners(&self) -> bool {
        self.host.sets_owners()
    }

    /// Returns the begin of the day: what a plan is told must be what is kept.
    fn now(&self) -> SystemTime {
        let day = day(self.host.now());
        self.keep(Some(Question::Day), |answers| answers.number(day));
        UNIX_EPOCH + DAY * u32::try_from(day).unwrap_or(u32::MAX)
    }

    fn has_come(&self, time: SystemTime) -> bool {
        let has_come = self.host.has_come(time);
        self.keep(Some(Question::HasCome(time)), |answers| answers.number(has_come.into()));
        has_come
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        let stat = self.host.stat(path)?;
        self.keep_path(Question::Stat, path, |answers| answers.stat(stat));
        Ok(stat)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let bytes = self.host.read(path)?;
        self.keep_path(Question::Read, path, |answers| answers.bytes(bytes.as_deref()));
        Ok(bytes)
    }

    /// A failure cannot be kept: whoever asks may take it for an answer.
    fn dated(&self, path: &Path, most: usize) -> Result<Option<Dated>, HostError> {
        let dated = self.host.dated(path, most);
        match &dated {
            Ok(answer) => {
                let question = path.to_str().map(|path| Question::Dated(path.to_owned(), most));
                self.keep(question, |answers| answers.dated(answer.as_ref()));
            }
            Err(_) => self.keep(None, |_| {}),
        }
        dated
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let target = self.host.read_link(path)?;
        self.keep_path(Question::ReadLink, path, |answers| answers.link(target.as_deref()));
        Ok(target)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        let names = self.host.list(path)?;
        self.keep_path(Question::List, path, |answers| answers.list(names.as_deref()));
        Ok(names)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let units = self.host.units(names)?;
        let question = Question::Units(names.iter().map(|&name| name.to_owned()).collect());
        self.keep(Some(question), |answers| answers.units(&units));
        Ok(units)
    }

    fn listening(&self) -> Result<Option<Listening>, HostError> {
        let listening = self.host.listening()?;
        self.keep(Some(Question::Listening), |answers| answers.listening(listening.as_ref()));
        Ok(listening)
    }

    /// Is not kept: no step follows from a process, and another process seldom takes over the same socket.
    fn holders(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        self.host.holders(inodes)
    }

    fn sessions_before(&self, times: &BTreeMap<String, SystemTime>) -> Result<Vec<Session>, HostError> {
        let sessions = self.host.sessions_before(times)?;
        self.keep(Some(Question::SessionsBefore(times.clone())), |answers| answers.sessions(&sessions));
        Ok(sessions)
    }

    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError> {
        // Asked before it is read: a change between the two then counts as one since.
        self.ruleset_generation()?;
        self.host.ruleset(tables)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        let generation = self.host.ruleset_generation()?;
        self.keep(Some(Question::Ruleset), |answers| answers.bytes(Some(generation.as_bytes())));
        Ok(generation)
    }
}

#[cfg(test)]
mod tests;
