//! The servers that are served here: can they be started, and do they answer?

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwire::config::ServerRole;
use sealwire::serving::child_config;
use sealwire_relay::{ChildConfig, Trial, TrialEnd};

use super::Case;
use super::finding::{Finding, Id};
use super::progress::Checks;
use super::remedies;
use super::report::Report;
use crate::cli::shell_word;
use crate::commands::mcp::{self, Answered, Fault};

/// How long a server may take to end once its input has ended.
const GRACE: Duration = Duration::from_secs(2);
/// Lines shown of what a server wrote to standard error.
const LINES: usize = 10;

/// Looks at the commands without starting any.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    for entry in case.entries() {
        let (ServerRole::Serve { command, args, env, cwd, .. }
        | ServerRole::Local { command, args, env, cwd, .. }) = &entry.role
        else {
            continue;
        };
        let place = case.table(entry);
        let mark = report.mark();
        if let Some(cwd) = cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            let what = format!("the working directory {} is not there", cwd.display());
            let found = Finding::error(Id::WorkingDirectory, what).at(&place);
            report.found(if cwd.exists() {
                found.fix(format!("name a directory: {} is a file; correct cwd", cwd.display()))
            } else {
                found.run(format!("mkdir -p {}", remedies::word(cwd)))
            });
        }
        program(&place, command, env, cwd.as_deref(), report);
        expansion(&place, args, env, report);
        report.adjust(mark, |finding| finding.of(&entry.name));
    }
}

/// Adds a start of each server whose program and directory are there.
pub(super) fn start_all(case: &Case<'_>, report: &Report, checks: &mut Checks) {
    let Some(config) = &case.config else { return };
    for entry in case.entries() {
        let cannot_start = [Id::WorkingDirectory, Id::CommandNotFound, Id::CommandNotExecutable];
        let cannot_start = |id: &str| cannot_start.iter().any(|known| id == <&str>::from(*known));
        let known = report
            .findings()
            .any(|found| found.server.as_ref() == Some(&entry.name) && cannot_start(found.id));
        if let Some(child) = child_config(&entry.role).filter(|_| !known) {
            let trial = Start {
                name: entry.name.clone(),
                place: case.table(entry),
                child,
                max_message: config.listen.max_message_size,
                patience: case.patience,
            };
            checks.add(entry.name.clone(), trial.run());
        }
    }
}

fn program(
    place: &str,
    command: &str,
    env: &BTreeMap<String, String>,
    cwd: Option<&Path>,
    report: &mut Report,
) {
    let Some(file) = find(command, env, cwd) else {
        let (what, remedy) = if command.contains('/') {
            (format!("{command} is not there"), "correct command, or install the program".into())
        } else {
            let what = format!("{command} is in no directory of PATH");
            let find = format!("`which {}` where it is found", shell_word(command));
            (what, format!("install it, or write its full path in command ({find})"))
        };
        return report.found(Finding::error(Id::CommandNotFound, what).at(place).fix(remedy));
    };
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode();
    let path = remedies::word(&file);
    if metadata.is_dir() {
        let what = format!("{command} is a directory");
        let remedy = "write the program's path in command";
        report.found(Finding::error(Id::CommandNotExecutable, what).at(place).fix(remedy));
    } else if mode & 0o111 == 0 {
        let what = format!("{} is not executable", file.display());
        let found = Finding::error(Id::CommandNotExecutable, what).at(place);
        report.found(found.run(format!("chmod u+x {path}")));
    } else if mode & 0o002 != 0 {
        let what =
            format!("every user of this machine can change {}, which is run", file.display());
        let found = Finding::warning(Id::CommandExposed, what).at(place);
        report.found(found.run(format!("chmod o-w {path}")));
    }
}

/// The program as it will be found: the `PATH` of its own environment counts.
fn find(command: &str, env: &BTreeMap<String, String>, cwd: Option<&Path>) -> Option<PathBuf> {
    if command.contains('/') {
        let file = cwd.map_or_else(|| PathBuf::from(command), |cwd| cwd.join(command));
        return file.exists().then_some(file);
    }
    let path = match env.get("PATH") {
        Some(path) => path.into(),
        None => std::env::var_os("PATH").unwrap_or_default(),
    };
    let candidates: Vec<PathBuf> =
        std::env::split_paths(&path).map(|dir| dir.join(command)).filter(|f| f.is_file()).collect();
    let is_executable =
        |file: &&PathBuf| file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    candidates.iter().find(is_executable).or(candidates.first()).cloned()
}

/// Without a shell nothing is expanded, and what other programs would expand arrives as it
/// is written.
fn expansion(place: &str, args: &[String], env: &BTreeMap<String, String>, report: &mut Report) {
    let is_meant =
        |text: &str| text.starts_with("~/") || text.contains("${") || text.starts_with("$HOME");
    let mut found = |which: String| {
        let what = format!("{which} is passed as it is written: no shell expands ~ or ${{…}}");
        let remedy = "write the value itself, or let a shell expand it: command = \"sh\", \
                      args = [\"-c\", \"exec PROGRAM ARGUMENTS\"]";
        report.found(Finding::warning(Id::NotExpanded, what).at(place).fix(remedy));
    };
    // A value of env may be a secret, and is not shown.
    for name in env.iter().filter(|(_, value)| is_meant(value)).map(|(name, _)| name) {
        found(format!("env.{name}"));
    }
    // What a shell is given to run, it expands.
    let shell = args.iter().any(|arg| arg == "-c");
    for arg in args.iter().filter(|arg| !shell && is_meant(arg)) {
        found(format!("{arg:?} in args"));
    }
}

/// One server, started as `serve` starts it, asked, and ended.
struct Start {
    name: String,
    place: String,
    child: ChildConfig,
    max_message: usize,
    patience: Duration,
}

impl Start {
    async fn run(self) -> Report {
        let mut report = Report::default();
        match Trial::start(&self.child) {
            Err(error) => {
                let what = format!("{} cannot be started: {error}", self.child.command);
                let remedy = format!("see what it says by hand: {}", by_hand(&self.child));
                let remedy = match error.kind() {
                    // The file itself was found.
                    std::io::ErrorKind::NotFound => {
                        format!("install the interpreter that its first line (#!) names; {remedy}")
                    }
                    _ => remedy,
                };
                report.found(Finding::error(Id::ServerStart, what).at(&self.place).fix(remedy));
            }
            Ok((trial, stdout, stdin)) => {
                let answer = mcp::ask(stdout, stdin, self.max_message, self.patience).await;
                // The pipes are closed: the server has seen the end of its input.
                let end = trial.end(GRACE).await;
                match answer {
                    Ok(answered) => answers(&answered, &self.place, &mut report),
                    Err(failed) => {
                        if let Some(stray) = failed.stray {
                            report.found(stray_output(&stray).at(&self.place));
                        }
                        report.found(self.fault(&failed.fault, &end));
                    }
                }
            }
        }
        report.adjust(0, |finding| finding.of(&self.name));
        report
    }

    fn fault(&self, fault: &Fault, end: &TrialEnd) -> Finding {
        let by_hand = format!("see what it says by hand: {}", by_hand(&self.child));
        let (what, finding): (String, fn(String) -> Finding) = match (fault, end.status) {
            (Fault::Ended(method), Some(status)) => {
                (format!("the server ended ({status}) before it answered {method}"), |what| {
                    Finding::error(Id::ServerEnded, what)
                })
            }
            (fault, _) => (
                fault.to_string(),
                match fault {
                    Fault::Silent(_) => |what| Finding::error(Id::ServerSilent, what),
                    Fault::Ended(_) => |what| Finding::error(Id::ServerEnded, what),
                    _ => |what| Finding::error(Id::ServerRefuses, what),
                },
            ),
        };
        let remedy = match fault {
            Fault::Silent(_) => format!(
                "if it only needs longer than {:?}, as a first download does: --timeout 120s; \
                 else {by_hand}",
                self.patience
            ),
            Fault::TooLong(_) => {
                "raise max_message_size under [listen], here and at the clients".into()
            }
            _ => by_hand,
        };
        finding(what + &tail(&end.stderr)).at(&self.place).fix(remedy)
    }
}

/// What a server that works says.
pub(super) fn answers(answered: &Answered, place: &str, report: &mut Report) {
    let Answered { server, protocol, tools, stray } = answered;
    if let Some(stray) = stray {
        report.found(stray_output(stray).at(place));
    }
    let count = match tools.as_ref().map(Vec::len) {
        Some(0) => {
            let what = format!("{server} answers, and lists no tools");
            let remedy = "see whether it needs a setting or a key to offer some";
            report.found(Finding::note(Id::ServerWithoutTools, what).at(place).fix(remedy));
            return;
        }
        Some(1) => "1 tool".to_owned(),
        Some(count) => format!("{count} tools"),
        None => "offers no tools".to_owned(),
    };
    report.passed(format!("{server} answers: MCP {protocol}, {count}"), place);
}

fn stray_output(line: &str) -> Finding {
    let what = format!(
        "writes to standard output what is no MCP message: {line:?}; such lines are dropped and \
         logged as refused"
    );
    let remedy = "let it write banners and logs to standard error; many have an option or an \
                  environment variable for that";
    Finding::warning(Id::ServerOutput, what).fix(remedy)
}

/// A command that starts it in a shell, without the values of `env`, which may be secrets.
fn by_hand(child: &ChildConfig) -> String {
    let words = std::iter::once(&child.command).chain(&child.args);
    let words: Vec<String> = words.map(|word| shell_word(word)).collect();
    let mut command = words.join(" ");
    if let Some(cwd) = &child.cwd {
        command = format!("cd {} && {command}", remedies::word(cwd));
    }
    if !child.env.is_empty() {
        let names: Vec<&str> = child.env.keys().map(String::as_str).collect();
        command.push_str(&format!("  (with {} set as in env)", names.join(", ")));
    }
    command
}

/// The last lines that a server wrote to standard error, to follow what is said of it.
fn tail(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "; it wrote nothing to standard error".to_owned();
    }
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n  | ");
    format!("; the end of its standard error:\n  | {last}")
}
