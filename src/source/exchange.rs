// SPDX-License-Identifier: Apache-2.0
//! One exchange with a Git server, which may hang, and send what it likes.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gix::bstr::BString;
use gix::credentials::helper::Action;
use gix::protocol::transport::client::TransportWithoutIO as _;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::fetch::Tags;
use gix::remote::{Connection, Direction};
use gix::url::Scheme;

use super::access::Access;
use super::advertisement::{self, Advertised, Advertisement, Heard};
use super::fetch::Fetched;
use super::ssh;

/// Where the remote's ref is put. It follows the remote wherever it goes: what it may mean, trust decides.
const INCOMING: &str = "refs/hostwrit/incoming";
/// Where the second ref is put, so that its objects stay.
const BESIDE: &str = "refs/hostwrit/beside";

/// What is asked for, and of whom.
pub(super) struct Exchange {
    pub(super) options: gix::open::Options,
    pub(super) directory: PathBuf,
    pub(super) url: gix::Url,
    pub(super) access: Access,
    /// How long one request over HTTP may take: longer than whoever watches waits, so that the reason is told by him.
    pub(super) time: Duration,
    pub(super) advertised: Advertised,
    pub(super) git_ref: String,
    pub(super) beside: Option<String>,
    pub(super) interrupt: Arc<AtomicBool>,
}

/// How far it came.
pub(super) enum Failure {
    Connect(gix::Error),
    MissingRef,
    Receive(gix::Error),
}

impl Exchange {
    /// Fetches, and does without asking the server what it can do if that is known.
    pub(super) fn receive(&self) -> Result<Fetched, Failure> {
        if let Some(known) = self.advertised.by(&self.url) {
            let fetched = self.receive_by(Some(&known));
            if fetched.is_ok() || self.interrupt.load(Ordering::Relaxed) {
                return fetched;
            }
            // Whatever it was: what is known may be true no more, and the usual way tells what is wrong.
            self.advertised.forget();
        }
        self.receive_by(None)
    }

    fn receive_by(&self, known: Option<&Advertisement>) -> Result<Fetched, Failure> {
        let repo = self.options.clone().open(&self.directory).map_err(Failure::Receive)?.to_thread_local();
        // Without the plus a remote that was rewound would look like one without news.
        let mut refspecs = vec![format!("+{}:{INCOMING}", self.git_ref)];
        refspecs.extend(self.beside.iter().map(|beside| format!("+{beside}:{BESIDE}")));
        let remote = repo
            .remote_at(self.url.clone())
            .and_then(|remote| {
                remote.with_fetch_tags(Tags::None).with_refspecs(refspecs.iter().map(String::as_str), Direction::Fetch)
            })
            .map_err(Failure::Connect)?;
        let (heard, asks_who) = (Heard::default(), Cell::new(false));
        let fetch = self
            .connect(&remote, known, &heard)
            .map_err(Failure::Connect)?
            .with_credentials(|action| {
                asks_who.set(true);
                self.access.identity(&self.url, action)
            })
            .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
            .map_err(Failure::Connect)?;
        // A ref that the remote lacks has no mapping; the library does not mind.
        let id_of = |place: &str| {
            let mut mappings = fetch.ref_map().mappings.iter();
            let mapping = mappings.find(|mapping| mapping.local.as_ref().is_some_and(|local| *local == place))?;
            mapping.remote.as_id().map(ToOwned::to_owned)
        };
        let tip = id_of(INCOMING).ok_or(Failure::MissingRef)?;
        let beside = id_of(BESIDE);
        fetch.receive(gix::progress::Discard, &self.interrupt).map_err(Failure::Receive)?;
        if known.is_none() {
            self.advertised.remember(&self.url, &heard, asks_who.get());
        }
        Ok(Fetched { tip, beside })
    }

    /// Returns the way to the server. Over HTTP it does without asking for what is `known`, and notes down what is `heard`.
    fn connect<'remote, 'repo>(
        &self,
        remote: &'remote gix::Remote<'repo>,
        known: Option<&Advertisement>,
        heard: &Heard,
    ) -> gix::Result<Connection<'remote, 'static, 'repo, Box<dyn Transport + Send>>> {
        if self.url.scheme == Scheme::Ssh {
            ssh::forget_words(&self.directory).map_err(gix::Error::from_error)?;
        }
        if !matches!(self.url.scheme, Scheme::Http | Scheme::Https) {
            return remote.connect(Direction::Fetch);
        }
        let (url, version) = remote.sanitized_url_and_version(Direction::Fetch)?;
        let address: BString = url.to_bstring();
        let mut transport = advertisement::connect(url, version, self.time, known, heard);
        // A server that asked who is there would ask again.
        if known.is_some_and(|known| known.asks_who)
            && let Some(outcome) = self.access.identity(&self.url, Action::get_for_url(address))?
        {
            transport.set_identity(outcome.identity).map_err(gix::Error::from_error)?;
        }
        Ok(remote.to_connection_with_transport(Box::new(transport)))
    }
}
