// SPDX-License-Identifier: Apache-2.0
//! What people ask of the daemon, and what they are told: between the control socket and the loop.
//!
//! A status is answered at once. The rest waits for the loop: a pull for the next cycle to begin, a pause for the step
//! that is under way to end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::audit::OutcomeResult;
use crate::control::protocol::Code;
use crate::control::server::QUEUE;
use crate::control::{Answer, Answers, Ask, Demand, Live, Server};
use crate::host::{ReadHost, RealHost};
use crate::model::{Actor, Maintenance, ObjectId, Step, chain};
use crate::resources::Operation;

use super::Pause;
use super::apply::Outcome;
use super::enforced::Enforced;
use super::status::Status;
use super::why::Why;

/// Takes what is asked and remembers who waits for what.
#[derive(Debug)]
pub struct Demands {
    queue: mpsc::Receiver<Demand>,
    /// Held so that the channel never ends, even where there is no socket.
    _sender: mpsc::Sender<Demand>,
    since: SystemTime,
    /// The next cycle was asked for.
    pull: bool,
    /// Who waits for a cycle that has not begun.
    waiting: Vec<Answers>,
    /// Who waits for the cycle that is under way.
    served: Vec<Answers>,
    deeds: Vec<Deed>,
    cycle_since: Option<SystemTime>,
    next_pull: Option<SystemTime>,
    last: Option<Status>,
    /// What the host is held to, and the host's name.
    enforced: Option<(Enforced, String)>,
    host: Arc<RealHost>,
}

/// What the loop must do about what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It was answered.
    Nothing,
    /// Run a cycle as soon as none is under way.
    Cycle,
    /// The same, and a cycle that is under way shall finish its step and leave the rest.
    Hold,
}

/// A pause or its end, to be carried out before a cycle.
#[derive(Debug)]
struct Deed {
    /// `None` ends the pause.
    pause: Option<(Duration, String)>,
    by: Actor,
    answers: Answers,
}

/// What goes along with a cycle.
#[derive(Debug)]
pub struct Errand {
    /// Somebody asked for a cycle: a pull that finds nothing new is not enough.
    pub asked: bool,
    deeds: Vec<Deed>,
    watchers: Vec<Answers>,
}

impl Demands {
    /// Opens the control socket. Without one the daemon goes on, and says so.
    ///
    /// Must be called within the runtime.
    pub fn open(host: &Arc<RealHost>) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        match Server::listen(Arc::clone(host)) {
            Ok(server) => drop(tokio::spawn(server.serve(sender.clone()))),
            Err(error) => warn!(code = "no-control-socket", "nobody can ask the daemon anything: {}", chain(&error)),
        }
        Self::of(queue, sender, Arc::clone(host))
    }

    fn of(queue: mpsc::Receiver<Demand>, sender: mpsc::Sender<Demand>, host: Arc<RealHost>) -> Self {
        let since = host.now();
        Self {
            queue,
            _sender: sender,
            since,
            pull: false,
            waiting: Vec::new(),
            served: Vec::new(),
            deeds: Vec::new(),
            cycle_since: None,
            next_pull: None,
            last: None,
            enforced: None,
            host,
        }
    }

    /// Notes what the host that is called `name` is held to.
    pub fn enforce(&mut self, enforced: Option<Enforced>, name: &str) {
        self.enforced = enforced.map(|enforced| (enforced, name.to_owned()));
    }

    /// Waits for the next demand. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Demand {
        match self.queue.recv().await {
            Some(demand) => demand,
            None => std::future::pending().await,
        }
    }

    /// Answers a demand, or keeps it for the next cycle.
    pub fn take(&mut self, demand: Demand) -> Wish {
        let Demand { ask, by, answers } = demand;
        if ask != Ask::Status {
            info!(ask = ask.name(), by = %by, "asked");
        }
        match ask {
            Ask::Status => {
                let status = self.last.as_ref().and_then(|status| serde_json::to_value(status).ok());
                answers.send(Answer::Status { daemon: Box::new(self.live()), status });
                return Wish::Nothing;
            }
            Ask::Why { object } => {
                self.explain(object, answers);
                return Wish::Nothing;
            }
            Ask::Sync { wait: true } => self.waiting.push(answers),
            Ask::Sync { wait: false } => answers.send(Answer::Pulling),
            Ask::Pause { seconds, reason, .. } => {
                self.deeds.push(Deed { pause: Some((Duration::from_secs(seconds), reason)), by, answers });
                self.pull = true;
                return Wish::Hold;
            }
            Ask::Resume { .. } => self.deeds.push(Deed { pause: None, by, answers }),
        }
        self.pull = true;
        Wish::Cycle
    }

    /// Whether somebody asked for a cycle that has not begun.
    pub fn wants_cycle(&self) -> bool {
        self.pull
    }

    /// Notes that a cycle begins, and returns what goes along with it.
    pub fn begin(&mut self, now: SystemTime) -> Errand {
        let asked = std::mem::take(&mut self.pull);
        self.cycle_since = Some(now);
        self.next_pull = None;
        self.served.append(&mut self.waiting);
        Errand { asked, deeds: std::mem::take(&mut self.deeds), watchers: self.served.clone() }
    }

    /// Notes what a cycle came to, and tells those who waited for it.
    pub fn end(&mut self, status: &Status) {
        self.cycle_since = None;
        for answers in self.served.drain(..) {
            answers.send(Answer::Synced { status: serde_json::to_value(status).unwrap_or_default() });
        }
        self.last = Some(status.clone());
    }

    /// Notes what the status has become between two cycles.
    pub fn learn(&mut self, status: &Status) {
        self.last = Some(status.clone());
    }

    /// Notes that the next pull is `planned` from now, or earlier if a pause or maintenance ends before that; returns how long
    /// to wait.
    pub fn rest(&mut self, planned: Duration, now: SystemTime) -> Duration {
        let ends_of = |status: &Status| {
            let pause = status.paused.as_ref().and_then(Pause::ends);
            pause.into_iter().chain(status.maintenance.as_ref().and_then(Maintenance::ends)).min()
        };
        let ends = self.last.as_ref().and_then(ends_of);
        let wait = match ends.and_then(|ends| ends.duration_since(now).ok()) {
            // By a second, for whole seconds are written down.
            Some(left) => planned.min(left + Duration::from_secs(1)),
            None => planned,
        };
        self.next_pull = now.checked_add(wait);
        wait
    }

    /// Answers where an object comes from. The log may be long, so it is read in a thread of its own.
    fn explain(&self, object: ObjectId, answers: Answers) {
        let Some((enforced, name)) = self.enforced.clone() else {
            answers.send(Answer::refused(Code::Failed, "no commit is enforced yet: no cycle has ended"));
            return;
        };
        let host = Arc::clone(&self.host);
        tokio::task::spawn_blocking(move || {
            answers.send(match Why::of_kept(&object, &enforced, &name, host.as_ref()) {
                Ok(why) => Answer::Why { why: serde_json::to_value(why).unwrap_or_default() },
                Err(error) => Answer::refused(Code::Failed, chain(&error)),
            });
        });
    }

    fn live(&self) -> Live {
        let text = |time: SystemTime| format_rfc3339_seconds(time).to_string();
        Live {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: text(self.since),
            cycle_since: self.cycle_since.map(text),
            next_pull: self.next_pull.map(text),
        }
    }
}

impl Errand {
    /// Begins and ends pauses, as was asked, and answers. To be called before the cycle takes the run lock.
    pub fn carry_out(&mut self, host: &RealHost) {
        for Deed { pause, by, answers } in self.deeds.drain(..) {
            let done = match pause {
                Some((length, reason)) => Pause::new(length, &reason, by, host.now()).and_then(|pause| {
                    pause.begin(host)?;
                    info!("{pause}");
                    Ok(Answer::Paused { until: pause.until })
                }),
                None => Pause::end(host, by).map(|was| Answer::Resumed { was_paused: was.is_some() }),
            };
            answers.send(done.unwrap_or_else(|error| Answer::refused(Code::Failed, chain(&error))));
        }
    }

    /// Tells those who wait for the cycle how a step ended.
    pub fn tell(&self, step: &Step<Operation>, outcome: &Outcome) {
        for answers in &self.watchers {
            answers.send(Answer::Step {
                object: step.object.to_string(),
                action: step.action.sign().to_string(),
                result: match outcome.result {
                    OutcomeResult::Done => "done",
                    OutcomeResult::Failed => "failed",
                    OutcomeResult::Skipped | OutcomeResult::Interrupted => "skipped",
                }
                .to_owned(),
                message: outcome.message.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn demands() -> Demands {
        let (sender, queue) = mpsc::channel(1);
        Demands::of(queue, sender, Arc::new(RealHost::open(&std::env::temp_dir()).unwrap()))
    }

    fn asked(demands: &mut Demands, ask: Ask) -> (Wish, UnboundedReceiver<Answer>) {
        let (answers, spoken) = Answers::new();
        let by = Actor { uid: 0, user: None, login: None, claims: None };
        (demands.take(Demand { ask, by, answers }), spoken)
    }

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "time": "2026-01-01T00:00:00Z", "host": "web1", "fleet": "f", "kinds": {}, "remote": "r", "ref": "m", "commit": null, "health": "converged",
            "objects": 0, "done": 0, "cause": null, "problems": [], "reported": [], "unmanaged": [],
        }))
        .unwrap()
    }

    #[test]
    fn who_waits_is_told_by_a_cycle_that_began_after_he_asked() {
        let mut demands = demands();
        demands.begin(NOW);
        let (wish, mut late) = asked(&mut demands, Ask::Sync { wait: true });
        assert_eq!(wish, Wish::Cycle);
        demands.end(&status());
        assert!(late.try_recv().is_err(), "the cycle that ended had pulled before he asked");
        assert!(demands.wants_cycle());
        drop(demands.begin(NOW));
        assert!(!demands.wants_cycle());
        demands.end(&status());
        assert!(matches!(late.try_recv().unwrap(), Answer::Synced { .. }));
    }

    #[test]
    fn a_status_tells_what_is_going_on_without_a_cycle() {
        let mut demands = demands();
        let (wish, mut spoken) = asked(&mut demands, Ask::Status);
        assert_eq!((wish, demands.wants_cycle()), (Wish::Nothing, false));
        let Answer::Status { daemon, status: None } = spoken.try_recv().unwrap() else { panic!() };
        assert_eq!((daemon.cycle_since, daemon.next_pull), (None, None));
        drop(demands.begin(NOW));
        let (_, mut spoken) = asked(&mut demands, Ask::Status);
        let Answer::Status { daemon, .. } = spoken.try_recv().unwrap() else { panic!() };
        assert_eq!(daemon.cycle_since.as_deref(), Some("1970-01-01T00:00:00Z"));
        demands.end(&status());
        assert_eq!(demands.rest(Duration::from_secs(300), NOW), Duration::from_secs(300));
        let (_, mut spoken) = asked(&mut demands, Ask::Status);
        let Answer::Status { daemon, status: Some(_) } = spoken.try_recv().unwrap() else { panic!() };
        assert_eq!(daemon.next_pull.as_deref(), Some("1970-01-01T00:05:00Z"));
    }

    #[test]
    fn the_daemon_wakes_when_a_pause_ends() {
        let mut demands = demands();
        let by = Actor { uid: 0, user: None, login: None, claims: None };
        let mut paused = status();
        paused.paused = Some(Pause::new(Duration::from_secs(60), "x", by, NOW).unwrap());
        demands.begin(NOW);
        demands.end(&paused);
        assert_eq!(demands.rest(Duration::from_secs(300), NOW), Duration::from_secs(61));
        assert_eq!(demands.rest(Duration::from_secs(5), NOW), Duration::from_secs(5));
        assert_eq!(demands.rest(Duration::from_secs(300), NOW + Duration::from_secs(90)), Duration::from_secs(300));
    }

    #[test]
    fn why_is_refused_before_anything_is_enforced_and_calls_for_no_cycle() {
        let mut demands = demands();
        let (wish, mut spoken) = asked(&mut demands, Ask::Why { object: ObjectId::new("file", "/etc/motd") });
        assert_eq!((wish, demands.wants_cycle()), (Wish::Nothing, false));
        assert!(matches!(spoken.try_recv().unwrap(), Answer::Refused { code: Code::Failed, .. }));
    }

    #[test]
    fn the_daemon_wakes_when_maintenance_ends() {
        let mut demands = demands();
        let maintenance = serde_json::json!({
            "from": "1970-01-01T00:00:00Z", "until": "1970-01-01T00:02:00Z", "reason": "x",
        });
        demands.begin(NOW);
        demands.end(&Status { maintenance: Some(serde_json::from_value(maintenance).unwrap()), ..status() });
        assert_eq!(demands.rest(Duration::from_secs(300), NOW), Duration::from_secs(121));
    }

    #[test]
    fn a_pause_stops_the_cycle_and_a_deed_that_fails_is_told() {
        let mut demands = demands();
        let (wish, mut spoken) = asked(&mut demands, Ask::Pause { seconds: 0, reason: String::new(), claims: None });
        assert_eq!(wish, Wish::Hold);
        let root = tempfile::tempdir().unwrap();
        demands.begin(NOW).carry_out(&RealHost::open(root.path()).unwrap());
        assert!(matches!(spoken.try_recv().unwrap(), Answer::Refused { code: Code::Failed, .. }));
    }
}
