mod update;

use clap::{Args, Subcommand};
use sealwire::config::{CheckedFiles, ConfigError, Problem, Secret, SecureMcpConfig, ServerRole};
use serde_json::json;

use crate::alerts::Setup;
use crate::cli::{Context, Failure, print, print_json};

/// Check the configuration, or bring it to the form of this version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire config check
  sealwire config update --dry-run")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every rule, every certificate and every key; bind and start nothing
    ///
    /// Ends with exit code 78 if anything is wrong, and names all of it.
    #[command(after_help = "\
Examples:
  sealwire config check
  sealwire config check --json | jq .problems")]
    Check {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    Update(update::Arguments),
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let json = match &arguments.command {
        Command::Check { json } => *json,
        Command::Update(arguments) => return update::run(arguments, context),
    };
    let checked = SecureMcpConfig::load_file(context.home.root(), &context.config_file)
        .map(|config| context.with_credentials(config))
        .and_then(|config| config.check_files().map(|files| (config, files)))
        .and_then(|(config, files)| check_alerts(&config).map(|()| (config, files)));
    if json {
        print_json(&match &checked {
            Ok((config, files)) => good(config, files, context),
            Err(error) => bad(error),
        })?;
        return checked.map(drop).map_err(Failure::from);
    }
    let (config, files) = checked?;
    print(&text(&config, &files, context))
}

/// What `serve` will make of `[audit.alerts]`, as far as its secrets are here.
fn check_alerts(config: &SecureMcpConfig) -> Result<(), ConfigError> {
    let is_set = |secret: &Secret| matches!(secret, Secret::File(_)) || secret.read().is_ok();
    if !config.alerts.secrets().into_iter().all(|(_, secret)| is_set(secret)) {
        return Ok(());
    }
    let wrong = |failure: Failure| {
        ConfigError::from(Problem {
            file: config.file.clone(),
            line: None,
            key: String::new(),
            what: failure.one_line(),
            remedy: "correct it as docs/alerts.md says".to_owned(),
        })
    };
    Setup::load(config).map(drop).map_err(wrong)
}

fn text(config: &SecureMcpConfig, files: &CheckedFiles, context: &Context) -> String {
    let mut text = format!("{} is good\n", context.config_file.display());
    for entry in config.servers.values() {
        if let ServerRole::Local { command, .. } = &entry.role {
            text.push_str(&format!("  {}: {command}, started here by connect\n", entry.name));
        }
    }
    for server in &files.servers {
        let role = config.servers.get(&server.name).map(|entry| &entry.role);
        let end = match role {
            Some(ServerRole::Serve { bind_address, .. }) => {
                format!("served at {}", bind_address.unwrap_or(config.listen.address))
            }
            Some(ServerRole::Connect { endpoint, .. }) => format!("connected to at {endpoint}"),
            Some(ServerRole::Local { .. }) | None => continue,
        };
        let (name, id, until) = (&server.name, &server.presents, server.not_after);
        text.push_str(&format!("  {name}: {end}, as {id} until {until}\n"));
    }
    for warning in &files.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

fn good(config: &SecureMcpConfig, files: &CheckedFiles, context: &Context) -> serde_json::Value {
    let servers: Vec<_> = files
        .servers
        .iter()
        .filter_map(|server| {
            let entry = config.servers.get(&server.name)?;
            let (role, address) = match &entry.role {
                ServerRole::Serve { bind_address, .. } => {
                    ("serve", bind_address.unwrap_or(config.listen.address).to_string())
                }
                ServerRole::Connect { endpoint, .. } => ("connect", endpoint.clone()),
                ServerRole::Local { .. } => return None,
            };
            Some(json!({
                "name": server.name,
                "server_name": entry.server_name,
                "role": role,
                "address": address,
                "presents": server.presents.to_string(),
                "not_after": server.not_after.to_string(),
            }))
        })
        .collect();
    json!({
        "ok": true,
        "file": context.config_file,
        "trust_domain": config.trust_domain.as_str(),
        "servers": servers,
        "warnings": files.warnings,
    })
}

fn bad(error: &ConfigError) -> serde_json::Value {
    let problems: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| {
            json!({
                "file": problem.file,
                "line": problem.line,
                "key": problem.key,
                "what": problem.what,
                "remedy": problem.remedy,
            })
        })
        .collect();
    json!({ "ok": false, "problems": problems })
}
