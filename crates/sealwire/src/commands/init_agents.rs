//! `init --agents`: a team of agents, who of them may send to whom, their keys.

use clap::ValueEnum;
use sealwire::config::SecureMcpConfig;
use sealwire_audit::ChangeKind;
use sealwire_identity::files;

use super::init::Report;
use super::issuing::{Presence, Target, Terms, open_authority};
use super::key;
use crate::cli::{Context, Failure};
use crate::control::note;

/// The agents that `init` can make.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Team {
    /// Eight with a task each, and a matrix of who may send to whom
    Standard,
}

/// Each agent of the standard team, and to whom it may send.
const STANDARD: [(&str, &[&str]); 8] = [
    ("CodeExpert", &["General", "TestingExpert", "DocsExpert"]),
    ("SecurityExpert", &["*"]),
    ("TestingExpert", &["CodeExpert", "General"]),
    ("DocsExpert", &["General"]),
    ("DeepResearcher", &["General"]),
    ("DebugExpert", &["General"]),
    ("PerformanceExpert", &["General"]),
    ("General", &["*"]),
];

impl Team {
    /// Adds the tables, unless the configuration has these agents, and makes what keys and
    /// certificates are missing.
    pub(super) fn make(self, context: &Context, report: &mut Report) -> Result<(), Failure> {
        let Self::Standard = self;
        let config = context.load_config()?;
        let has =
            |name: &str| config.agent_security.agents.iter().any(|agent| agent.as_str() == name);
        let config = if STANDARD.iter().all(|(name, _)| has(name)) {
            config
        } else {
            add_tables(&config)?;
            report.note(format!("{} agents added to sealwire.toml", STANDARD.len()));
            context.load_config()?
        };
        for agent in key::make_missing(&config)? {
            report.note(format!("agent {agent} has keys now"));
        }
        certificates(&config, report)
    }
}

/// Writes the tables after what is in the configuration, if all of it is valid then.
fn add_tables(config: &SecureMcpConfig) -> Result<(), Failure> {
    let file = &config.file;
    let before = files::read_public(file)?;
    let mut text = String::from_utf8_lossy(&before).into_owned();
    text.push_str(&tables());
    if let Err(error) = SecureMcpConfig::parse(&config.home, &text) {
        let mut failure = Failure::new("the configuration says something of agents already")
            .at(file.display())
            .fix("add the agents by hand, or use another --home");
        for problem in error.problems() {
            failure = failure.because(problem.statement());
        }
        return Err(failure);
    }
    Ok(files::write_atomic(file, text.as_bytes(), files::PRIVATE_FILE)?)
}

/// The tables of the standard team.
fn tables() -> String {
    let list = |names: &[&str]| {
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    };
    let names: Vec<&str> = STANDARD.iter().map(|(name, _)| *name).collect();
    let members = list(&names);
    let mut text = format!(
        "\n[agent_security]\nagents = [{members}]\n\n\
         [agent_security.trust]                   # nobody may send but as it is said here\n\
         privileged_agents = [\"SecurityExpert\"]   # these alone may send shutdown\n"
    );
    for (name, recipients) in STANDARD {
        let recipients = list(recipients);
        text.push_str(&format!(
            "[agent_security.trust.{name}]\ncan_communicate_with = [{recipients}]\n"
        ));
    }
    text.push_str(&format!(
        "\n[mailbox.groups.all]                     # raise version when members change\n\
         version = 1\nmembers = [{members}]\n"
    ));
    text
}

fn certificates(config: &SecureMcpConfig, report: &mut Report) -> Result<(), Failure> {
    let home = config.layout();
    if !home.has_authority() {
        report.note("this home has no authority, so the agents have no certificates");
        return Ok(());
    }
    let authority = open_authority(config)?;
    for agent in &config.agent_security.agents {
        let kind = Some(sealwire_names::Kind::Agent);
        let target = Target::new(config, agent.as_str(), kind)?;
        if target.presence()? == Presence::Absent {
            let leaf = target.issue(&authority, &Terms::default())?;
            let detail = format!("until {}", leaf.not_after);
            note(config, ChangeKind::CertificateIssued, &target.id, &detail);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sealwire::config::Recipients;

    use super::*;

    #[test]
    fn the_standard_team_is_the_documented_one() {
        let config = SecureMcpConfig::parse(Path::new("/h"), &tables()).unwrap();
        let agents = &config.agent_security;
        assert_eq!(agents.agents.len(), 8);
        assert_eq!(agents.trust.can_communicate_with.len(), 8);
        assert_eq!(agents.trust.privileged, ["SecurityExpert".parse().unwrap()]);
        for (name, to) in &agents.trust.can_communicate_with {
            match to {
                Recipients::Everybody => {
                    assert!(["SecurityExpert", "General"].contains(&name.as_str()), "{name}");
                }
                Recipients::These(to) => {
                    assert!(to.iter().all(|to| agents.agents.contains(to)), "{name}: {to:?}");
                    assert!(to.iter().any(|to| to.as_str() == "General"), "{name}");
                }
            }
        }
        assert_eq!(config.mailbox.groups.len(), 1);
        let manual = include_str!("../../../../docs/agents.md");
        for (name, _) in STANDARD {
            assert!(manual.contains(name), "docs/agents.md lacks {name}");
        }
    }
}
