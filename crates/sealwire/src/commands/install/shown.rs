//! What becomes of each entry, for people and for programs.

use sealwire::config::ServerRole;
use serde_json::{Value, json};

use super::plan::{Change, Planner, Step};
use crate::cli::{printable, shell_word};
use crate::clients::Client;
use crate::clients::document::{self, Other, Remote, Shape};

impl Step {
    pub(super) fn server(&self) -> Option<&str> {
        match &self.change {
            Change::None(_) => None,
            Change::Add { server }
            | Change::Program { server, .. }
            | Change::Whole { server, .. } => Some(server),
        }
    }

    /// What is shown before anything is written. Of an entry that is replaced as a whole only the
    /// URL and the names of its keys are: their values may be secrets.
    pub(super) fn shown(&self, client: Client, planner: &Planner<'_>) -> String {
        let place = printable(&document::title(&self.table, &self.name));
        let mut lines = Vec::new();
        match &self.change {
            Change::None(why) => return format!("  {place}: left alone: {}\n", printable(why)),
            Change::Add { .. } => {}
            Change::Whole { found, .. } => {
                if let Shape::Remote(remote) = &found.shape {
                    let url = remote.url.split(['?', '#']).next().unwrap_or_default();
                    lines.push(format!("- url {}", without_user(url)));
                    let (_, lost) = kept_and_lost(client, remote);
                    lines.extend(lost.iter().map(|key| format!("- {key} …")));
                }
            }
            Change::Program { program, .. } => {
                lines.push(format!("- command {}", document::string(client, &program.command)));
                if program.args_at.is_some() {
                    lines.push(format!("- args {}", document::list(client, &program.args)));
                }
            }
        }
        let Some(server) = self.server() else { return String::new() };
        let (command, args) = planner.invocation(server);
        lines.push(format!("+ command {}", document::string(client, &command)));
        lines.push(format!("+ args {}", document::list(client, &args)));
        if let Change::Whole { found, .. } = &self.change
            && let Shape::Remote(remote) = &found.shape
            && let (kept, _) = kept_and_lost(client, remote)
            && !kept.is_empty()
        {
            lines.push(format!("  keeps {}", kept.join(", ")));
        }
        if self.is_off() {
            lines.push(format!("  stays turned off in {}", client.name()));
        }
        lines.push(format!("  runs {}", runs(server, planner)));
        let missing = self.does_not_get(planner);
        if !missing.is_empty() {
            lines
                .push(format!("  {server} does not get {}: it runs elsewhere", missing.join(", ")));
        }
        let lines: Vec<_> = lines.iter().map(|line| format!("    {}\n", printable(line))).collect();
        format!("  {place}:\n{}", lines.concat())
    }

    fn is_off(&self) -> bool {
        match &self.change {
            Change::None(_) | Change::Add { .. } => false,
            Change::Program { program, .. } => program.is_off,
            Change::Whole { found, .. } => {
                matches!(&found.shape, Shape::Remote(remote) if remote.is_off)
            }
        }
    }

    /// What the entry goes on to say, and its server has no use of: that is not started here.
    fn does_not_get(&self, planner: &Planner<'_>) -> Vec<String> {
        let Change::Program { server, program } = &self.change else { return Vec::new() };
        let role = planner.config.servers.get(server).map(|entry| &entry.role);
        if matches!(role, None | Some(ServerRole::Local { .. })) {
            return Vec::new();
        }
        let names = program.env.iter().map(|(name, _)| name).chain(&program.env_vars);
        let mut missing: Vec<_> = names.map(|name| format!("env {name}")).collect();
        for (key, is_there) in [("envFile", program.env_file), ("cwd", program.cwd.is_some())] {
            if is_there {
                missing.push(key.to_owned());
            }
        }
        missing
    }

    /// The same for programs.
    pub(super) fn json(&self, client: Client, planner: &Planner<'_>) -> Value {
        let (change, why, before) = match &self.change {
            Change::None(why) => ("none", Some(why), Value::Null),
            Change::Add { .. } => ("added", None, Value::Null),
            Change::Program { program, .. } => {
                ("program", None, json!({ "command": program.command, "args": program.args }))
            }
            Change::Whole { found, .. } => {
                let (kept, lost) = match &found.shape {
                    Shape::Remote(remote) => kept_and_lost(client, remote),
                    Shape::Program(_) | Shape::Unknown(_) => Default::default(),
                };
                ("whole", None, json!({ "kept": kept, "lost": lost }))
            }
        };
        let after = self.server().map(|server| {
            let (command, args) = planner.invocation(server);
            json!({
                "server": server,
                "command": command,
                "args": args,
                "runs": runs(server, planner),
                "is_off": self.is_off(),
                "does_not_get": self.does_not_get(planner),
            })
        });
        json!({
            "entry": document::title(&self.table, &self.name),
            "change": change,
            "why": why,
            "before": before,
            "after": after,
        })
    }
}

/// The keys of an entry that its client goes on to heed, and those that go with the URL.
fn kept_and_lost(client: Client, remote: &Remote) -> (Vec<String>, Vec<String>) {
    let (kept, lost): (Vec<&Other>, Vec<&Other>) =
        remote.others.iter().partition(|other| other.is_kept(client));
    let names = |others: Vec<&Other>| others.into_iter().map(Other::name).collect();
    (names(kept), names(lost))
}

/// What is started, or reached, in the end.
fn runs(server: &str, planner: &Planner<'_>) -> String {
    let line = |command: &str, args: &[String]| {
        let words: Vec<_> = std::iter::once(command)
            .chain(args.iter().map(String::as_str))
            .map(shell_word)
            .collect();
        words.join(" ")
    };
    if let Some(new) = planner.new_servers.iter().find(|new| new.name == server) {
        return line(&new.command, &new.args);
    }
    match planner.config.servers.get(server).map(|entry| &entry.role) {
        Some(ServerRole::Local { command, args, .. }) => line(command, args),
        Some(ServerRole::Connect { endpoint, .. }) => {
            format!("nothing here: it reaches {endpoint}")
        }
        Some(ServerRole::Serve { command, args, .. }) => {
            format!("nothing itself: `serve` runs {}", line(command, args))
        }
        None => String::new(),
    }
}

/// A URL without what may be a password.
fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(start), Some(at)) if at > start => format!("{}…{}", &url[..start + 3], &url[at..]),
        _ => url.to_owned(),
    }
}
