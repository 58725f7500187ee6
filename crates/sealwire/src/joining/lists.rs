//! What is revoked, told to other machines as soon as it is: the service's side.
//!
//! A list is made when something was revoked, and before the last one is too old to go by. Whoever
//! has asked for lists gets each, by a connection that stays.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sealwire::Snapshot;
use sealwire::config::SecureMcpConfig;
use sealwire::denylist::{Denylist, Edition};
use sealwire::revocations::ListFiles;
use sealwire::state::State;
use sealwire_identity::join::verify_peer;
use sealwire_identity::{Revocation, Revocations, StatementKind, VerifiedPeer};
use sealwire_names::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::grants::Refused;
use super::seats::Seats;
use super::service::anchors;
use super::wire::{self, Lists, ListsAnswer, ListsRequest, VERSION, Why};
use super::{CRL_FILE, DEADLINE};
use crate::cli::Failure;
use crate::commands::{FileWatch, KeptList, open_authority, renew_revocation_list};

/// How often it is looked whether something was revoked, where nobody tells.
const LOOK: Duration = Duration::from_secs(1);
/// A list is made anew after that part of the time for which one may be gone by.
const PARTS: u32 = 4;

/// The latest lists, and who is told of them.
pub(super) struct Publisher {
    config: SecureMcpConfig,
    latest: watch::Sender<Option<Arc<Published>>>,
    held: Mutex<Held>,
    seats: Seats,
}

/// What is looked at again and again.
#[derive(Default)]
struct Held {
    state: Option<State>,
    /// The files of the list of RFC 5280 before it was read.
    files: Snapshot,
    crl: Option<KeptList>,
    /// What was wrong with it.
    failed: Option<String>,
}

/// What is told.
struct Published {
    edition: Edition,
    /// The files of the authority that has signed it.
    authority: Snapshot,
    revocations: Revocations,
    revoked: Vec<Revocation>,
    lists: Lists,
}

impl Publisher {
    pub(super) fn new(config: SecureMcpConfig) -> Self {
        let (held, seats) = (Mutex::default(), Seats::default());
        Self { config, latest: watch::Sender::new(None), held, seats }
    }

    /// Makes lists for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        let stamp = self.config.layout().quarantine_stamp();
        let mut watch = FileWatch::new();
        let mut told = None;
        loop {
            // Before it is looked: what changes meanwhile is heard of.
            watch.follow(std::slice::from_ref(&stamp), &[]);
            let this = Arc::clone(&self);
            let made = tokio::task::spawn_blocking(move || this.look()).await;
            let failed = match made {
                Ok(made) => made.err().map(|failure| failure.one_line()),
                Err(error) => Some(error.to_string()),
            };
            if failed != told {
                if let Some(error) = &failed {
                    tracing::error!(error, "what is revoked cannot be told to other machines");
                }
                told = failed;
            }
            let pause = LOOK.min(self.config.ca.list_max_age / PARTS / 2);
            tokio::select! {
                () = watch.stirred() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Makes another list if there is anything new, or the last one has aged.
    fn look(&self) -> Result<(), Failure> {
        let home = self.config.layout();
        let now: Timestamp = SystemTime::now().into();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let crl = self.crl(&mut held, now);
        let state = match &mut held.state {
            Some(state) => state,
            none => none.insert(State::open(&home)?),
        };
        let revoked = state.revoked()?;
        let max_age = self.config.ca.list_max_age;
        // Whoever comes is shown a certificate of the authority of now, and believes no list of another.
        let files = Snapshot::take(home.authority_files());
        let is_new = |last: &Arc<Published>| {
            let age = last.edition.issued.until(now).unwrap_or_default();
            last.authority != files
                || last.revoked != revoked
                || last.lists.crl != crl
                || age >= max_age / PARTS
        };
        if !self.latest.borrow().as_ref().is_none_or(is_new) {
            return Ok(());
        }
        let authority = open_authority(&self.config)?;
        let edition = state.next_denylist(now, max_age)?;
        let list = Denylist { edition, revoked };
        let text = list.text(&self.config.trust_domain).map_err(|error| {
            Failure::new("the list of what is revoked cannot be written").because(error)
        })?;
        let signature = authority.authority().state(StatementKind::Revocations, &text)?;
        let signature = wire::encode(&signature);
        let lists = Lists { text, signature, crl };
        let Denylist { revoked, .. } = list;
        let revocations = Revocations::new(revoked.iter().cloned());
        let published = Published { edition, authority: files, revocations, revoked, lists };
        self.latest.send_replace(Some(Arc::new(published)));
        Ok(())
    }

    /// The list of RFC 5280, PEM, if there is one. Without it, what is revoked is told all the same.
    fn crl(&self, held: &mut Held, now: Timestamp) -> Option<String> {
        let home = self.config.layout();
        let list = home.ca_dir().join(CRL_FILE);
        // Before it is read: what a command writes meanwhile is seen the next time.
        let files = Snapshot::take(home.authority_files().into_iter().chain([list]));
        let is_due = held.crl.as_ref().is_some_and(|list| now >= list.due);
        if is_due || held.files != files {
            let failed = match renew_revocation_list(&self.config, now) {
                Ok(list) => {
                    held.crl = list;
                    None
                }
                Err(failure) => Some(failure.one_line()),
            };
            if let Some(reason) = failed.as_ref().filter(|_| failed != held.failed) {
                tracing::error!(reason, "the revocation list (RFC 5280) is not written anew");
            }
            held.failed = failed;
            held.files = files;
        }
        held.crl.as_ref().map(|list| list.pem.clone())
    }

    /// Whether another authority issues than has signed the latest list.
    fn is_by_another_authority(&self) -> bool {
        let latest = self.latest.borrow().clone();
        let files = || Snapshot::take(self.config.layout().authority_files());
        latest.is_some_and(|latest| latest.authority != files())
    }

    /// Who asks, if he may be told.
    pub(super) fn admit(
        &self,
        request: &ListsRequest,
        chain: &[CertificateDer<'static>],
    ) -> Result<VerifiedPeer, Refused> {
        if request.version != VERSION {
            return Err(Refused::stranger(Why::Malformed, "it is of another version"));
        }
        if self.is_by_another_authority() {
            self.look().map_err(|why| Refused::failed(why.one_line()))?;
        }
        let anchors = anchors(&self.config).map_err(|why| Refused::failed(why.one_line()))?;
        let now = SystemTime::now().into();
        let verified = verify_peer(&anchors, chain, now);
        let peer = verified.map_err(|refusal| Refused::stranger(Why::Malformed, refusal))?;
        let lists = ListFiles::of(&self.config).load(now).map_err(Refused::failed)?;
        Revocations::default()
            .with_lists(lists)
            .check_peer(&peer, now)
            .map_err(|refusal| Refused::stranger(Why::Revoked, refusal))?;
        Ok(peer)
    }

    /// Tells a peer of each list until it goes, its certificate expires, or is revoked.
    pub(super) async fn tell(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: &VerifiedPeer,
        address: IpAddr,
    ) -> std::io::Result<()> {
        let (mut heard, mut told) = tokio::io::split(stream);
        let Some(seat) = self.seats.take(&peer.id, address) else {
            tracing::warn!(peer = %peer.id, "too many want to be told what is revoked");
            return wire::write(&mut told, &ListsAnswer::Refused { why: Why::Failed }).await;
        };
        let now: Timestamp = SystemTime::now().into();
        let valid = now.until(peer.not_after).unwrap_or_default();
        let telling = async {
            let mut latest = self.latest.subscribe();
            loop {
                let published = latest.borrow_and_update().clone();
                if let Some(published) = published {
                    let now = SystemTime::now().into();
                    let refusal = published.revocations.check_peer(peer, now).err();
                    // Of its authority it is told: else it would let in who has stolen that one's key.
                    let by_authority = published.revocations.check_authorities(peer).is_err();
                    let lists = ListsAnswer::Lists(published.lists.clone());
                    let lists = (refusal.is_none() || by_authority).then_some(lists);
                    let refused = refusal.map(|refusal| {
                        tracing::warn!(peer = %peer.id, %refusal, "no longer told what is revoked");
                        ListsAnswer::Refused { why: Why::Revoked }
                    });
                    for answer in lists.iter().chain(&refused) {
                        let written = timeout(DEADLINE, wire::write(&mut told, answer)).await;
                        written
                            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
                    }
                    if refused.is_some() {
                        return Ok(());
                    }
                }
                if latest.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        let mut more = [0; 1];
        tokio::select! {
            told = telling => told,
            // It has nothing more to say.
            _ = heard.read(&mut more) => Ok(()),
            () = sleep(valid) => Ok(()),
            // It comes again, and is refused then if it has more than others still.
            () = seat.lost() => {
                tracing::warn!(peer = %peer.id, "its place is another's, who has fewer");
                Ok(())
            }
        }
    }
}
