//! The command line: options, logging, exit codes, errors.
//!
//! A new subcommand is a file in [`crate::commands`], a variant of [`OfHome`] or [`Alone`] and a
//! line in its `run`.

mod context;
mod failure;
mod json;
mod logging;
mod memory;
mod output;
mod page;
mod secret;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use sealwire::config::{LogConfig, LogFormat, LogLevel};

pub(crate) use context::Context;
pub(crate) use failure::Failure;
pub(crate) use json::write_compact;
pub(crate) use logging::{LogSettings, lost as lost_log_lines};
pub(crate) use output::{print, print_json, printable, shell_word};
pub(crate) use page::Page;
pub(crate) use secret::ask_secret;

use crate::commands::{
    agent, alerts, audit, ca, cert, completions, config, connect, demo, demo_server, doctor,
    health, import, init, install, invite, join, key, man, pins, policy, quarantine, reload,
    report, serve, status, uninstall,
};

/// Identity and protection on every wire an AI agent uses: MCP over mutual TLS 1.3.
#[derive(Debug, Parser)]
#[command(name = "sealwire", version, max_term_width = 100, after_help = EXAMPLE)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Examples:
  sealwire init                       make ~/.sealwire: authority, certificate, configuration
  sealwire cert issue --all           certificates for what the configuration serves
  sealwire serve                      serve them over mutual TLS
  sealwire connect NAME               what an MCP client runs to reach one
  sealwire install --client codex     have a client reach its servers through sealwire
  sealwire cert bundle laptop         the one file another machine needs
  sealwire doctor                     what is wrong, and what to do about it

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration.";

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// The home directory [default: ~/.sealwire]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The configuration file [default: sealwire.toml in the home]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A directory of files handed over by a service manager: where it has one of the
    /// configuration's certificates or keys, under its path in the home with `_` for `/`,
    /// or sealwire.toml, that is read in its place
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) credentials: Option<PathBuf>,
    /// What to log [default: [log] in the configuration and info for serve, else warn]
    #[arg(long, global = true, value_name = "LEVEL", value_enum)]
    pub(crate) log_level: Option<LogLevel>,
    /// How to write the log [default: [log] in the configuration for serve, else text]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Append the log to this file (mode 0600) instead of writing it to standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfHome(Box<OfHome>),
    #[command(flatten)]
    Alone(Alone),
}

/// What is about a home.
#[derive(Debug, Subcommand)]
enum OfHome {
    Init(Box<init::Arguments>),
    Cert(cert::Arguments),
    Ca(ca::Arguments),
    Invite(invite::Arguments),
    Join(join::Arguments),
    Key(key::Arguments),
    Agent(agent::Arguments),
    Serve(serve::Arguments),
    Connect(connect::Arguments),
    Install(install::Arguments),
    Uninstall(uninstall::Arguments),
    Import(import::Arguments),
    Config(config::Arguments),
    Policy(policy::Arguments),
    Quarantine(quarantine::Arguments),
    Alerts(alerts::Arguments),
    Audit(audit::Arguments),
    Report(report::Arguments),
    Status(status::Arguments),
    Reload(reload::Arguments),
    Pins(pins::Arguments),
    Doctor(doctor::Arguments),
    Health(health::Arguments),
}

/// What is about none: whoever makes a package, or only looks, need not have one.
#[derive(Debug, Subcommand)]
enum Alone {
    Demo(demo::Arguments),
    DemoServer(demo_server::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

impl Command {
    fn run(self, global: &GlobalOptions) -> Result<(), Failure> {
        match self {
            Self::OfHome(command) => {
                let context = Context::new(global)?;
                if command.has_agent_keys() {
                    memory::keep_private()?;
                }
                logging::start(&command.log_settings(global, &context)?)?;
                match *command {
                    // It lasts, and with it all that stands under it on the stack: not what any
                    // command might need there.
                    OfHome::Connect(arguments) => connect::run(arguments, &context),
                    command => command.run(&context),
                }
            }
            Self::Alone(command) => {
                if matches!(command, Alone::Demo(_)) {
                    memory::keep_private()?;
                }
                let log = LogSettings::new(global, &LogConfig::default(), LogLevel::Warn);
                logging::start(&log)?;
                command.run()
            }
        }
    }
}

impl OfHome {
    /// How this command logs. Only `serve` asks the configuration: others are started by
    /// people and MCP clients, whose terminal or log is no business of the daemon's.
    fn log_settings(
        &self,
        options: &GlobalOptions,
        context: &Context,
    ) -> Result<LogSettings, Failure> {
        Ok(match self {
            Self::Serve(_) => {
                LogSettings::new(options, &context.load_config()?.log, LogLevel::Info)
            }
            // Its log is nobody else's file: `serve` of the same home may have that open.
            Self::Ca(arguments) if arguments.serves() => {
                LogSettings::new(options, &LogConfig::default(), LogLevel::Info)
            }
            Self::Agent(_) => {
                LogSettings::new(options, &LogConfig::default(), LogLevel::Warn).own_only()
            }
            _ => LogSettings::new(options, &LogConfig::default(), LogLevel::Warn),
        })
    }

    /// Whether it reads the keys with which agents sign and read messages, or messages.
    fn has_agent_keys(&self) -> bool {
        match self {
            Self::Agent(_) | Self::Key(_) => true,
            Self::Init(arguments) => arguments.makes_agents(),
            _ => false,
        }
    }

    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Init(arguments) => init::run(*arguments, context),
            Self::Cert(arguments) => cert::run(arguments, context),
            Self::Ca(arguments) => ca::run(&arguments, context),
            Self::Invite(arguments) => invite::run(&arguments, context),
            Self::Join(arguments) => join::run(arguments, context),
            Self::Key(arguments) => key::run(&arguments, context),
            Self::Agent(arguments) => agent::run(&arguments, context),
            Self::Serve(arguments) => serve::run(&arguments, context),
            Self::Connect(arguments) => connect::run(arguments, context),
            Self::Install(arguments) => install::run(&arguments, context),
            Self::Uninstall(arguments) => uninstall::run(&arguments, context),
            Self::Import(arguments) => import::run(&arguments, context),
            Self::Config(arguments) => config::run(&arguments, context),
            Self::Policy(arguments) => policy::run(&arguments, context),
            Self::Quarantine(arguments) => quarantine::run(&arguments, context),
            Self::Alerts(arguments) => alerts::run(&arguments, context),
            Self::Audit(arguments) => audit::run(&arguments, context),
            Self::Report(arguments) => report::run(&arguments, context),
            Self::Status(arguments) => status::run(&arguments, context),
            Self::Reload(arguments) => reload::run(&arguments, context),
            Self::Pins(arguments) => pins::run(&arguments, context),
            Self::Doctor(arguments) => doctor::run(&arguments, context),
            Self::Health(arguments) => health::run(&arguments, context),
        }
    }
}

impl Alone {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Demo(arguments) => demo::run(&arguments),
            Self::DemoServer(arguments) => demo_server::run(&arguments),
            Self::Completions(arguments) => completions::run(&arguments),
            Self::Man(arguments) => man::run(&arguments),
        }
    }
}

/// The command line of `connect` alone. A `connect` stays in memory for as long as its client
/// runs, once for each server, and with it all code that it has run: that which describes the
/// options of all other commands is not to be among it.
#[derive(Debug, Parser)]
struct Connecting {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Connect,
}

#[derive(Debug, Subcommand)]
enum Connect {
    Connect(connect::Arguments),
}

/// What a `connect` of ours would connect to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connects {
    pub(crate) home: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) server: String,
}

/// What a program of ours connects to that is started with these arguments; `None` if it does
/// something else.
pub(crate) fn connects(arguments: &[String]) -> Option<Connects> {
    let words = std::iter::once("sealwire").chain(arguments.iter().map(String::as_str));
    let Connecting { global, command: Connect::Connect(arguments) } =
        Connecting::try_parse_from(words).ok()?;
    let server = arguments.server()?.to_owned();
    Some(Connects { home: global.home, config: global.config, server })
}

/// Parses the command line. Whatever is not `connect`, and whatever is wrong or asks for help, is
/// answered by the whole of it.
fn parse(arguments: &[OsString]) -> Result<(GlobalOptions, Command), clap::Error> {
    if arguments.iter().any(|argument| argument == "connect")
        && let Ok(Connecting { global, command }) = Connecting::try_parse_from(arguments)
    {
        let Connect::Connect(arguments) = command;
        return Ok((global, Command::OfHome(Box::new(OfHome::Connect(arguments)))));
    }
    Cli::try_parse_from(arguments).map(|Cli { global, command }| (global, command))
}

/// Parses the command line, runs the command and reports how it ended.
///
/// Wrong usage ends here with exit code 2, and `--help` and `--version` with 0.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let page = Page::of_command(word(&arguments));
    let (global, command) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error, page),
    };
    let done = command.run(&global);
    logging::finish();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.or_see(page).report(),
    }
}

/// Tells what is wrong with the command line, and where that is explained; or what was asked for.
fn refused(error: &clap::Error, page: Page) -> ExitCode {
    // That nobody reads it is no reason to end in another way.
    let _told = error.print();
    if error.use_stderr() {
        let _told = writeln!(std::io::stderr().lock(), "\n  see: {}", page.path());
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The word for the command: the first one that neither is an option nor goes with one. All
/// options before it take something.
fn word(arguments: &[OsString]) -> &str {
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            return word;
        }
        if word.starts_with("--") && !word.contains('=') {
            words.next();
        }
    }
    ""
}

/// The whole command line, for completions.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_consistent() {
        definition().debug_assert();
        Connecting::command().debug_assert();
    }

    #[test]
    fn connect_is_parsed_by_itself_and_all_else_by_the_whole() {
        let parse = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let whole = Cli::try_parse_from(&words);
            let alone = Connecting::try_parse_from(&words).is_ok();
            (parse(&words), whole, alone)
        };
        for line in [
            "sealwire connect files",
            "sealwire --home /h connect --log-level debug files",
            "sealwire connect files --config c.toml",
        ] {
            let (parsed, whole, alone) = parse(line);
            let ((global, command), whole) = (parsed.unwrap(), whole.unwrap());
            assert!(alone, "{line}");
            let debug = format!("{global:?} {command:?}");
            assert_eq!(debug, format!("{:?} {:?}", whole.global, whole.command));
        }
        for line in ["sealwire serve connect", "sealwire status --home connect"] {
            let (parsed, whole, alone) = parse(line);
            assert!(parsed.is_ok() && whole.is_ok() && !alone, "{line}");
        }
        for line in ["sealwire connect", "sealwire connect --help", "sealwire connect a --hom x"] {
            let (parsed, whole, _) = parse(line);
            assert_eq!(parsed.unwrap_err().to_string(), whole.unwrap_err().to_string(), "{line}");
        }
    }

    #[test]
    fn each_command_has_its_page() {
        for command in definition().get_subcommands() {
            let expected = matches!(command.get_name(), "completions" | "man");
            let is_none = Page::of_command(command.get_name()) == Page::Errors;
            assert_eq!(is_none, expected, "{}", command.get_name());
        }
        for (line, expected) in [
            ("sealwire --home serve --log-level=info audit --home x", "audit"),
            ("sealwire audit verify --bad", "audit"),
            ("sealwire --bad", ""),
            ("sealwire", ""),
        ] {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert_eq!(word(&words), expected, "{line}");
        }
    }

    #[test]
    fn what_a_connect_connects_to_is_known() {
        let connects = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            connects(&words)
        };
        let to = |home: Option<&str>, server: &str| {
            let (home, server) = (home.map(PathBuf::from), server.to_owned());
            Some(Connects { home, config: None, server })
        };
        assert_eq!(connects("connect files"), to(None, "files"));
        assert_eq!(connects("--home /h connect files"), to(Some("/h"), "files"));
        assert_eq!(connects("connect --log-level debug files"), to(None, "files"));
        for other in ["serve files", "demo-server", "connect", "connect a b", "agent mcp --as A"] {
            assert_eq!(connects(other), None, "{other}");
        }
    }

    #[test]
    fn the_help_of_each_command_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("sealwire"), "{} has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&definition());
    }
}
