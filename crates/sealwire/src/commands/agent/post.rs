//! An agent's way to the mailbox, that goes by the configuration and keys of now.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealwire::Snapshot;
use sealwire::agents::{KeyStore, directory, open_channel, open_mailbox, settings, trust_matrix};
use sealwire::config::SecureMcpConfig;
use sealwire_envelope::{DEFAULT_TTL, Draft, MessageId};
use sealwire_guard::Power;
use sealwire_mailbox::{ChannelError, Delivery, Recipient, SecureAgentChannel, SqliteTransport};
use sealwire_names::{AgentId, RefusalCode};
use serde::Serialize;
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::block_on;
use crate::cli::{Context, Failure};
use crate::commands::key::own_agent;
use crate::commands::watch::{FileWatch, SLOW};
use crate::control::{OwnCounting, counting, recorder};

/// Time from the first sign of a change to looking at it: files are replaced together.
const SETTLE: Duration = Duration::from_millis(100);

/// The channel of one agent of this home.
pub(super) struct Post {
    context: Context,
    agent: AgentId,
    mailbox: SqliteTransport,
    channel: SecureAgentChannel<SqliteTransport>,
    incidents: Arc<OwnCounting>,
    state: Mutex<State>,
}

/// What the channel goes by, and the files it was read from.
struct State {
    config: SecureMcpConfig,
    seen: Snapshot,
    /// Only where somebody waits.
    watch: Option<FileWatch>,
}

/// Why a message was not sent.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) code: Option<RefusalCode>,
    what: String,
    remedy: Option<String>,
}

impl Post {
    /// Opens the mailbox as this agent of the home.
    pub(super) fn open(context: &Context, agent: &str) -> Result<Self, Failure> {
        let config = context.load_config()?;
        let agent = own_agent(&config, agent)?.clone();
        let store = KeyStore::of(&config);
        store.destroy_outdated(std::time::SystemTime::now().into())?;
        // Before it is read: what changes meanwhile is seen the next time.
        let seen = Snapshot::take(files(&config));
        let mailbox = block_on(async { open_mailbox(&config).await.map_err(Self::failed) })?;
        let incidents = Arc::new(counting(&config, recorder(&config)));
        let channel = open_channel(&config, &agent, mailbox.clone())?;
        let channel = channel.with_audit(Arc::clone(&incidents) as _);
        let state = Mutex::new(State { config, seen, watch: None });
        Ok(Self { context: context.clone(), agent, mailbox, channel, incidents, state })
    }

    /// The agent.
    pub(super) fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// How long a message may wait if nobody says.
    pub(super) async fn default_ttl(&self) -> Duration {
        self.state.lock().await.config.mailbox.retention.min(DEFAULT_TTL)
    }

    /// Sends to an agent, to a group, or to several agents with commas between their names.
    /// When this returns, the message is on disk.
    pub(super) async fn send(&self, to: &str, draft: &Draft<'_>) -> Result<MessageId, Unsent> {
        self.refresh().await;
        let to = self.recipient(to).await?;
        let sent = self.channel.send_secure(to.clone(), draft).await;
        sent.map_err(|error| self.unsent(&to, &error))
    }

    /// The next message; with `wait`, as soon as there is one.
    pub(super) async fn next(
        &self,
        wait: bool,
    ) -> Result<Option<Delivery<SqliteTransport>>, Failure> {
        self.refresh().await;
        if !wait {
            return self.channel.try_receive().await.map_err(Self::failed);
        }
        let stirred = self.watch().await;
        loop {
            tokio::select! {
                biased;
                // With or without a sign: network file systems give none.
                _ = timeout(SLOW, stirred.notified()) => {
                    sleep(SETTLE).await;
                    self.refresh().await;
                }
                delivery = self.channel.receive_secure() => {
                    return delivery.map(Some).map_err(Self::failed);
                }
            }
        }
    }

    /// Who is there, and what waits.
    pub(super) async fn overview(&self) -> Result<Overview, Failure> {
        self.refresh().await;
        let state = self.state.lock().await;
        overview_of(&state.config, &self.mailbox).await
    }

    /// How many messages wait for the agent.
    pub(super) async fn waiting(&self) -> Result<u64, Failure> {
        self.mailbox.waiting(self.agent.clone()).await.map_err(Self::failed)
    }

    /// What went wrong with the mailbox.
    pub(super) fn failed(error: impl fmt::Display) -> Failure {
        Failure::new(format!("the mailbox failed: {error}"))
            .fix("see `sealwire doctor`; what was acknowledged is on disk")
    }

    /// Goes by the configuration and the keys of now, if they are in order; else by those of
    /// before, and says so.
    async fn refresh(&self) {
        let mut state = self.state.lock().await;
        let now = Snapshot::take(files(&state.config));
        if now == state.seen {
            return;
        }
        state.seen = now;
        let loaded = self.context.load_config().and_then(|config| {
            let agent = own_agent(&config, self.agent.as_str())?;
            let settings = settings(&config, agent)?;
            Ok((config, settings))
        });
        match loaded {
            Ok((config, settings)) => {
                self.channel.replace(settings);
                self.incidents.replace(config.incidents.clone());
                state.config = config;
                tracing::info!(agent = %self.agent, "configuration reloaded");
                if let State { config, watch: Some(watch), .. } = &mut *state {
                    follow(watch, config);
                }
            }
            Err(failure) => {
                let reason = failure.one_line();
                tracing::error!(agent = %self.agent, reason, "reload refused; what was in force stays");
            }
        }
    }

    /// Tells when a file may have changed.
    async fn watch(&self) -> Arc<Notify> {
        let State { config, watch, .. } = &mut *self.state.lock().await;
        let watch = watch.get_or_insert_with(|| {
            let mut watch = FileWatch::new();
            follow(&mut watch, config);
            watch
        });
        watch.signal()
    }

    async fn recipient(&self, to: &str) -> Result<Recipient, Unsent> {
        let groups = &self.state.lock().await.config.mailbox.groups;
        let parse = |name: &str| {
            name.trim().parse::<AgentId>().map_err(|error| Unsent {
                code: None,
                what: format!("{name:?} is no agent's name: {error}"),
                remedy: Some("see `sealwire agent list`".to_owned()),
            })
        };
        if to.contains(',') {
            let names = to.split(',').map(parse).collect::<Result<_, _>>()?;
            return Ok(Recipient::Agents(names));
        }
        let name = parse(to)?;
        let is_group = groups.contains_key(&name);
        Ok(if is_group { Recipient::Group(name) } else { Recipient::Agent(name) })
    }

    fn unsent(&self, to: &Recipient, error: &ChannelError) -> Unsent {
        let code = match error {
            ChannelError::Refused(refusal) => Some(refusal.code),
            ChannelError::TooFast { .. } => Some(RefusalCode::AgentRateLimited),
            ChannelError::Transport(error) => error.refusal().map(|refusal| refusal.code),
            _ => None,
        };
        let me = &self.agent;
        let remedy = match code {
            Some(RefusalCode::NotTrusted) => Some(format!(
                "if it should be allowed, change [agent_security.trust] or \
                 [agent_security.trust.{me}]"
            )),
            Some(RefusalCode::RecipientUnknown | RefusalCode::RosterUnknown) => Some(
                "see `sealwire agent list`; an agent needs keys (`sealwire key new`), one elsewhere \
                 its bundle (`sealwire key import`)"
                    .to_owned(),
            ),
            Some(RefusalCode::MailboxFull) => {
                Some(format!("have {to} receive what waits, or raise max_messages_per_agent"))
            }
            Some(RefusalCode::AgentRateLimited) => Some("send it again later".to_owned()),
            Some(RefusalCode::SenderKeyExpired) => {
                Some("replace the keys: sealwire key rotate --due".to_owned())
            }
            Some(RefusalCode::MessageLifetime) => {
                Some("choose a shorter time, or raise retention_days".to_owned())
            }
            _ => None,
        };
        Unsent { code, what: error.to_string(), remedy }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<Unsent> for Failure {
    fn from(unsent: Unsent) -> Self {
        let failure = Self::new("the message was not sent").because(&unsent);
        match unsent.remedy {
            Some(remedy) => failure.fix(remedy),
            None => failure,
        }
    }
}

/// Who is there.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    pub(super) agents: Vec<AgentRow>,
    pub(super) groups: Vec<GroupRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct AgentRow {
    pub(super) name: String,
    /// Whether it is of this home.
    pub(super) own: bool,
    pub(super) has_keys: bool,
    pub(super) privileged: bool,
    pub(super) may_send_to: Vec<String>,
    /// Messages that wait for it; of an agent elsewhere too, if they wait here.
    pub(super) waiting: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupRow {
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) members: Vec<String>,
}

/// Who is there, as no agent in particular.
pub(super) async fn overview(config: &SecureMcpConfig) -> Result<Overview, Failure> {
    overview_of(config, &open_mailbox(config).await.map_err(Post::failed)?).await
}

async fn overview_of(
    config: &SecureMcpConfig,
    mailbox: &SqliteTransport,
) -> Result<Overview, Failure> {
    let store = KeyStore::of(config);
    let now = std::time::SystemTime::now().into();
    let known = directory(config, &store, now)?;
    let matrix = trust_matrix(&config.agent_security);
    let own = &config.agent_security.agents;
    let mut names: Vec<&AgentId> = own.iter().chain(known.agents()).collect();
    names.sort();
    names.dedup();
    let mut agents = Vec::new();
    for name in &names {
        let may = |to: &&&AgentId| {
            *to != name && known.knows(to) && matrix.check(name, to, Power::Ordinary, now).is_ok()
        };
        let waiting = mailbox.waiting((*name).clone()).await.map_err(Post::failed)?;
        agents.push(AgentRow {
            name: name.to_string(),
            own: own.contains(name),
            has_keys: known.knows(name),
            privileged: config.agent_security.trust.privileged.contains(name),
            may_send_to: names.iter().filter(may).map(ToString::to_string).collect(),
            waiting: (own.contains(name) || waiting > 0).then_some(waiting),
        });
    }
    let groups = config.mailbox.groups.iter().map(|(name, group)| GroupRow {
        name: name.to_string(),
        version: group.version,
        members: group.members.iter().map(ToString::to_string).collect(),
    });
    Ok(Overview { agents, groups: groups.collect() })
}

/// What is in a file, or comes on standard input, if it is no longer than `most`.
pub(super) fn read_input(file: Option<&Path>, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = file.filter(|file| *file != Path::new("-"));
    let place = file.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let cannot = |error| {
        Failure::new("cannot read the message")
            .at(&place)
            .because(error)
            .fix("name a file that can be read, or `-` for standard input")
    };
    // Sized once: a buffer that grows leaves copies behind that are never wiped.
    let mut content = Zeroizing::new(Vec::with_capacity(most + 1));
    let limit = most as u64 + 1;
    match file {
        Some(file) => {
            std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut content))
        }
        None => std::io::stdin().lock().take(limit).read_to_end(&mut content),
    }
    .map_err(cannot)?;
    if content.len() > most {
        return Err(Failure::new(format!("it is longer than {most} bytes"))
            .at(&place)
            .fix("no message is longer; name the place where the rest is, or split it"));
    }
    Ok(content)
}

/// All that the channel's settings are read from.
fn files(config: &SecureMcpConfig) -> Vec<PathBuf> {
    let mut files = config.source_files();
    files.extend(KeyStore::of(config).files_there());
    files.push(config.layout().quarantine_stamp());
    files
}

fn follow(watch: &mut FileWatch, config: &SecureMcpConfig) {
    let store = KeyStore::of(config);
    let mut directories = config.include_dirs();
    directories.extend([store.directory().to_owned(), store.known_dir()]);
    watch.follow(&files(config), &directories);
}
