//! Decisions in words: the reason for the log, and the explanation for whoever asks.

use std::fmt::Write as _;

use sealwire_names::{Refusal, RefusalCode};

use crate::table::{CeilingSource, Judged, Lacks, LevelSource, Table};
use crate::{Decision, Effect, Gate, Level, Principal, Request};

/// Most of a name that others chose which is shown, in bytes.
const SHOWN: usize = 256;

/// A decision with all that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision, as a gate would give it.
    pub decision: Decision,
    /// What is asked for, in a few words.
    pub operation: String,
    /// The level of the operation; `None` where levels do not count, on the way to the client.
    pub level: Option<Level>,
    /// Why it has that level.
    pub level_source: Option<String>,
    /// The peer's ceiling; `None` if it has none, or where ceilings do not count.
    pub ceiling: Option<Level>,
    /// Why it has that ceiling.
    pub ceiling_source: Option<String>,
    /// The rule that decided, if one did, and what it does.
    pub rule: Option<(Effect, String)>,
    /// What the request lacks; empty if it passes, or if a rule denies it.
    pub missing: Vec<Missing>,
}

/// Something that a request would need to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// There is no such server.
    Server,
    /// A ceiling as high as the level, or a rule that allows it.
    Ceiling,
    /// A rule that allows it.
    Rule,
    /// A rule that names the peer and the tool, prompt or resource exactly.
    ExactRule,
    /// A token of the agent on whose behalf the peer calls.
    AgentToken,
    /// A person's approval.
    Approval,
}

impl Missing {
    /// The word for it, which never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Ceiling => "ceiling",
            Self::Rule => "rule",
            Self::ExactRule => "exact_rule",
            Self::AgentToken => "agent_token",
            Self::Approval => "approval",
        }
    }

    /// What would have to be there.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Server => "a server of that name in the configuration",
            Self::Ceiling => "a ceiling of that level, or a rule that allows it",
            Self::Rule => "a rule that allows it in this direction",
            Self::ExactRule => "a rule that allows it and names the peer and the object exactly",
            Self::AgentToken => "an agent token, which cannot be presented yet",
            Self::Approval => "a person's approval, which cannot be given yet",
        }
    }
}

impl Table {
    /// Decides about `request` and tells why.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let judged = self.judge(request);
        let (level_source, ceiling_source) = self.sources(request, &judged);
        let deny = judged.ruled.deny.map(|rule| (Effect::Deny, rule));
        let rule = deny.or(judged.grant.map(|rule| (Effect::Allow, rule)));
        let denied = judged.ruled.deny.is_some();
        let decision = if self.allows(request) {
            Decision::Allow
        } else {
            Decision::Deny(self.refusal(request, &judged))
        };
        Explanation {
            decision,
            operation: operation(request),
            level: judged.level.map(|(level, _)| level),
            level_source,
            ceiling: judged.ceiling.and_then(|(ceiling, _)| ceiling),
            ceiling_source,
            rule: rule.map(|(effect, rule)| (effect, self.label(rule).to_owned())),
            missing: if denied { Vec::new() } else { missing(judged.lacks) },
        }
    }

    #[cold]
    pub(crate) fn refusal(&self, request: &Request<'_>, judged: &Judged) -> Refusal {
        let what = operation(request);
        if let Some(rule) = judged.ruled.deny {
            let reason = format!("{what}: denied by {}", self.label(rule));
            return Refusal::new(RefusalCode::NotAuthorized, reason);
        }
        let Lacks { server, ceiling, rule, agent_token, .. } = judged.lacks;
        let code = if server || ceiling || rule {
            RefusalCode::NotAuthorized
        } else if agent_token {
            RefusalCode::AgentTokenRequired
        } else {
            // By the server, or by level 3, which no rule names exactly.
            RefusalCode::ApprovalRequired
        };
        let mut reason = what;
        let (level_source, ceiling_source) = self.sources(request, judged);
        if let (Some((level, _)), Some(source)) = (judged.level, level_source) {
            write!(reason, " is of level {level}, {source}").unwrap_or_default();
        }
        if ceiling && let Some(source) = ceiling_source {
            match judged.ceiling.and_then(|(ceiling, _)| ceiling) {
                Some(own) => write!(reason, "; the ceiling is {own}, {source}"),
                None => write!(reason, "; the peer has no ceiling, {source}"),
            }
            .unwrap_or_default();
        }
        let wanted: Vec<_> = missing(judged.lacks).into_iter().map(Missing::describe).collect();
        write!(reason, "; it lacks {}", wanted.join("; ")).unwrap_or_default();
        Refusal::new(code, reason)
    }

    fn sources(&self, request: &Request<'_>, judged: &Judged) -> (Option<String>, Option<String>) {
        let level = judged.level.map(|(_, source)| match source {
            LevelSource::Method => "as is fixed for this method".to_owned(),
            LevelSource::Listed(index) => match self.listed(request.server, index) {
                Some(pattern) => format!("as the server's policy lists {:?}", pattern.to_string()),
                None => "as the server's policy lists it".to_owned(),
            },
            LevelSource::ServerDefault => "by the server's default_level".to_owned(),
            LevelSource::Unstated => {
                "as neither the server's policy nor a default_level gives it another".to_owned()
            }
        });
        let ceiling = judged.ceiling.map(|(ceiling, source)| {
            match (self.ceiling_pattern(request.server, source), source) {
                (Some(pattern), CeilingSource::Server(_)) => {
                    format!("as the server's ceilings give {:?}", pattern.to_string())
                }
                (Some(pattern), _) => {
                    format!("as [policy.ceilings] gives {:?}", pattern.to_string())
                }
                (None, _) if ceiling.is_none() => {
                    "as zero_trust_mode is on and no ceiling names it".to_owned()
                }
                (None, _) => "as no ceiling names it".to_owned(),
            }
        });
        (level, ceiling)
    }
}

fn missing(lacks: Lacks) -> Vec<Missing> {
    let Lacks { server, ceiling, rule, exact_rule, agent_token, approval } = lacks;
    let all = [
        (server, Missing::Server),
        // An exact rule takes the place of a ceiling, too.
        (ceiling && !exact_rule, Missing::Ceiling),
        (rule, Missing::Rule),
        (exact_rule, Missing::ExactRule),
        (agent_token, Missing::AgentToken),
        (approval, Missing::Approval),
    ];
    all.into_iter().filter(|(lacks, _)| *lacks).map(|(_, missing)| missing).collect()
}

/// What is asked for: `tools/call "create_issue" on github by spiffe://…`.
fn operation(request: &Request<'_>) -> String {
    let mut text = shown(request.method);
    if let Some(subject) = request.subject {
        text.push_str(&format!(" \"{}\"", shown(subject)));
    }
    text.push_str(&format!(" on {}", request.server));
    match request.peer {
        Principal::Peer(peer) => text.push_str(&format!(" for {peer}")),
        Principal::Local => text.push_str(" for the local client"),
    }
    text
}

/// As much of what others chose as is shown, so that it cannot steer a terminal.
fn shown(name: &str) -> String {
    name[..name.floor_char_boundary(SHOWN)].escape_debug().to_string()
}
