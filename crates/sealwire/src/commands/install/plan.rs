//! What becomes of each entry, decided before anything is written.

use std::path::{Path, PathBuf};

use sealwire::config::{Problem, SecureMcpConfig, ServerRole};
use sealwire::home::Home;

use super::program::{NewServer, gets_level, usable, with_servers};
use crate::cli::{Connects, Context, Failure, connects};
use crate::clients::Client;
use crate::clients::document::{Found, Program, Shape};

/// Decides, and knows by what command a server of this home is reached.
pub(super) struct Planner<'c> {
    client: Client,
    pub(super) config: SecureMcpConfig,
    context: &'c Context,
    /// The text of its file.
    text: String,
    program: String,
    options: Vec<String>,
    /// Servers that the configuration does not have yet.
    pub(super) new_servers: Vec<NewServer>,
    /// Those that the client reaches already.
    pub(super) reached: Vec<String>,
}

/// What becomes of one entry.
pub(super) struct Step {
    pub(super) table: Vec<String>,
    pub(super) name: String,
    pub(super) change: Change,
}

/// What is written.
pub(super) enum Change {
    /// Nothing; why.
    None(String),
    /// An entry that there was not.
    Add { server: String },
    /// Its command and arguments.
    Program { server: String, program: Program },
    /// All of it.
    Whole { server: String, found: Found },
}

impl<'c> Planner<'c> {
    pub(super) fn new(
        client: Client,
        config: &SecureMcpConfig,
        text: &str,
        context: &'c Context,
    ) -> Result<Self, Failure> {
        let unusable = |error: std::io::Error| {
            Failure::new("it is not known where this program is").because(error)
        };
        let program = own_path().map_err(unusable)?;
        let in_utf8 = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| {
                Failure::new("a path is not UTF-8, and cannot stand in the client's file")
                    .at(path.display())
            })
        };
        let mut options = Vec::new();
        let default = Home::default_location().ok();
        if default.is_none_or(|default| default.root() != context.home.root()) {
            options.extend(["--home".to_owned(), in_utf8(context.home.root())?]);
        }
        if context.config_file != context.home.config_file() {
            let file = std::path::absolute(&context.config_file).map_err(unusable)?;
            options.extend(["--config".to_owned(), in_utf8(&file)?]);
        }
        let program = in_utf8(&program)?;
        if let Some(path) = options.iter().chain([&program]).find(|text| client.expands(text)) {
            let what = format!("{} would put values into {path:?}", client.name());
            return Err(Failure::new(what).fix(
                "have sealwire, its home and its configuration where no $ is in their paths: a \
                 link will do",
            ));
        }
        let config = config.clone();
        let (new_servers, reached) = (Vec::new(), Vec::new());
        let text = text.to_owned();
        Ok(Self { client, config, context, text, program, options, new_servers, reached })
    }

    pub(super) fn config_file(&self) -> &Path {
        &self.context.config_file
    }

    /// The program and the arguments by which a client reaches a server.
    pub(super) fn invocation(&self, server: &str) -> (String, Vec<String>) {
        let mut args = self.options.clone();
        args.extend(["connect".to_owned(), server.to_owned()]);
        (self.program.clone(), args)
    }

    /// An entry for a server that the client does not have.
    pub(super) fn add(&self, server: &str) -> Step {
        let table = vec![self.client.table().to_owned()];
        let change = Change::Add { server: server.to_owned() };
        Step { table, name: server.to_owned(), change }
    }

    /// What becomes of an entry that the client has.
    pub(super) fn rewrite(&mut self, found: Found) -> Step {
        let (table, name) = (found.table.clone(), found.name.clone());
        let change = self.decide(found).unwrap_or_else(Change::None);
        Step { table, name, change }
    }

    fn decide(&mut self, found: Found) -> Result<Change, String> {
        let program = match &found.shape {
            Shape::Unknown(why) => return Err(why.clone()),
            Shape::Remote(_) if self.config.servers.contains_key(&found.name) => {
                return Ok(Change::Whole { server: found.name.clone(), found });
            }
            Shape::Remote(_) => {
                return Err(format!(
                    "its server is at a URL, which the client reaches by itself, and sealwire has \
                     no server {:?}",
                    found.name
                ));
            }
            Shape::Program(program) => program.clone(),
        };
        if let Some(why) = self.is_ours(&program) {
            return Err(why);
        }
        let server = self.server_for(&found.name, &program)?;
        Ok(Change::Program { server, program })
    }

    /// Whether the entry starts sealwire already, and what it does then.
    fn is_ours(&mut self, program: &Program) -> Option<String> {
        let connects = connects(&program.args);
        let is_this = is_this(&program.command, &self.program);
        let has_name = Path::new(&program.command).file_stem().is_some_and(|it| it == "sealwire");
        // Under another name it may be a server of its own, such as `demo-server`.
        if !(has_name || is_this && connects.is_some()) {
            return None;
        }
        if !is_this {
            return Some(format!(
                "it starts another program of the name sealwire, {}, and this one is {}: if that \
                 is an older one, `{} uninstall` and install it again",
                program.command, self.program, self.context.invocation
            ));
        }
        let Some(Connects { home, config, server }) = connects else {
            return Some("it starts sealwire itself, and not as `connect NAME`".to_owned());
        };
        let home = match home {
            Some(home) => Home::at(&home).ok(),
            None => Home::default_location().ok(),
        };
        let Some(home) = home.filter(|home| home.root() == self.context.home.root()) else {
            return Some("it starts sealwire with another home".to_owned());
        };
        let file = config.unwrap_or_else(|| home.config_file());
        if std::path::absolute(file).ok() != std::path::absolute(&self.context.config_file).ok() {
            return Some("it starts sealwire with another configuration".to_owned());
        }
        if !self.config.servers.contains_key(&server) {
            return Some(format!(
                "it starts `sealwire connect {server}`, and sealwire has no server of that name"
            ));
        }
        self.reached.push(server);
        Some("it is installed already".to_owned())
    }

    /// The server that the entry is to reach: one that there is, or a new one.
    fn server_for(&mut self, name: &str, program: &Program) -> Result<String, String> {
        let plain = usable(name);
        let is_elsewhere = |role: &ServerRole| !matches!(role, ServerRole::Local { .. });
        if self.config.servers.get(name).is_some_and(|entry| is_elsewhere(&entry.role)) {
            return Ok(name.to_owned());
        }
        let own = format!("{plain}-{}", self.client.word());
        for name in [plain.clone(), own] {
            let server = NewServer::of(self.client, &name, program)?;
            if server.is(&self.config) || self.new_servers.contains(&server) {
                return Ok(name);
            }
            let is_taken =
                self.config.servers.values().any(|entry| {
                    entry.name == name || entry.server_name.eq_ignore_ascii_case(&name)
                }) || self.new_servers.iter().any(|other| other.name.eq_ignore_ascii_case(&name));
            if !is_taken {
                // One that cannot stand there is left alone by itself.
                self.check(&server)?;
                self.new_servers.push(server);
                return Ok(name);
            }
        }
        Err(format!("sealwire has other servers of the name {plain:?}: rename the entry"))
    }
}

impl Planner<'_> {
    fn check(&self, server: &NewServer) -> Result<(), String> {
        let servers = std::slice::from_ref(server);
        let text = with_servers(&self.text, servers, gets_level(&self.config));
        let context = self.context;
        let read = SecureMcpConfig::load_text(context.home.root(), &context.config_file, &text);
        read.map(drop).map_err(|error| {
            let first = error.problems().first();
            let what = first.map_or_else(String::new, Problem::statement);
            format!("sealwire.toml cannot have it: {what}")
        })
    }
}

/// Whether a client that starts `command` starts the program at `path`.
fn is_this(command: &str, path: &str) -> bool {
    let Ok(real) = Path::new(path).canonicalize() else { return false };
    let is_real = |file: &Path| file.canonicalize().is_ok_and(|file| file == real);
    if command.contains(['/', '\\']) {
        return Path::new(command).is_absolute() && is_real(Path::new(command));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(command));
    // The first one is started.
    files.find(|file| file.is_file()).is_some_and(|file| is_real(&file))
}

/// The path by which this program is to be started: the one in `PATH` where that is this program,
/// as an upgrade puts the next one there.
fn own_path() -> std::io::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let real = exe.canonicalize()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = real.file_name().unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.canonicalize().is_ok_and(|file| file == real));
    Ok(found.unwrap_or(exe))
}
