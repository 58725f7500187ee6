mod candidate;
mod entries;
mod report;
mod settings;
mod weaker;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use toml_edit::DocumentMut;

use self::candidate::Candidate;
use self::report::Report;
use super::install::{Consent, Proposal, client_file, entries as entries_of, read, warnings};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure};
use crate::clients::{Client, Syntax};

/// Take over servers that an MCP client has, and settings that stand in its file
///
/// Each server that the client starts becomes one of this home, with transport = "stdio", its
/// variables with their values. Of Codex's config.toml the tables [security], [agent_security] and
/// [audit] are read, too, and what an entry says to sealwire: that is taken where sealwire knows it
/// and its own configuration says nothing. What is taken, what is not, what means another thing
/// here and what weakens this home is shown first, and asked. The client's file is not changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire import --client codex --dry-run
  sealwire import --client claude-desktop
  sealwire import --client codex --from ./config.toml

More: docs/clients.md")]
pub(crate) struct Arguments {
    /// The client
    #[arg(long, value_enum, default_value = "codex")]
    client: Client,
    /// Its file [default: the one in the user's own directory]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    arguments.consent.check()?;
    let client = arguments.client;
    let (_lock, before) = HomeLock::with_config(context)?;
    let path = client_file(client, arguments.from.as_deref(), "--from")?;
    let original = read(client, &path)?;
    if !original.is_there() {
        return Err(Failure::new("the client has no file there")
            .at(path.display())
            .fix("name it with --from"));
    }
    let (found, doubts) = entries_of(client, &original)?;
    let file = match client.syntax() {
        Syntax::Json => None,
        Syntax::Toml => original.text().parse::<DocumentMut>().ok(),
    };
    let mut candidate = Candidate::of_now(context)?;
    let mut report = Report::default();
    // Whether levels may be given to whole servers depends on them.
    if let Some(file) = &file {
        settings::take(file, &mut candidate, &mut report)?;
    }
    entries::take(client, &found, file.as_ref(), &mut candidate, &mut report);
    report.weaker = weaker::weaker(&before, candidate.plain(), candidate.config());
    let question = match report.weaker.len() {
        0 => "Write this?".to_owned(),
        1 => "Write this, weaker in 1 point?".to_owned(),
        points => format!("Write this, weaker in {points} points?"),
    };
    let proposal = Proposal {
        shown: format!(
            "{}: {}\n{}{}",
            client.name(),
            path.display(),
            report.text(candidate.config()),
            warnings(&doubts)
        ),
        obstacle: None,
        idle: report.is_empty().then(|| "Nothing to take over.\n".to_owned()),
        question,
    };
    let done = arguments.consent.settle(
        proposal,
        || candidate.write(),
        |done| {
            let mut result = report.json(done.is_some());
            result["warnings"] = json!(doubts);
            result["client"] = json!(client.word());
            result["file"] = json!(path);
            result["config_file"] = json!(context.config_file);
            result
        },
        |done| match done {
            None => "Nothing was written.\n".to_owned(),
            Some(()) => {
                let (file, command) = (context.config_file.display(), &context.invocation);
                format!("Written to {file}. Next: {command} config check\n")
            }
        },
    );
    done.map(drop)
}
