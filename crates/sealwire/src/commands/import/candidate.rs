//! `sealwire.toml` as it would be: whatever is put into it, it is in order as a whole, and it is
//! written once.

use std::path::{Path, PathBuf};

use sealwire::config::{ConfigError, Problem, SecureMcpConfig};
use sealwire_names::Kind;
use toml_edit::{DocumentMut, Item, Table, TableLike};

use crate::cli::{Context, Failure};
use crate::clients::file::{Original, with_line_ends_of};

/// Keys in one file, or one entry, beyond which it is no configuration.
pub(super) const MOST: usize = 500;
/// Keys of a table among which one is looked for that has to be given with another.
const MOST_PARTNERS: usize = 32;

/// A key, by the tables that lead to it, and its value.
pub(super) type Leaf = (Vec<String>, Item);

/// The configuration that is about to be written.
pub(super) struct Candidate<'c> {
    context: &'c Context,
    original: Original,
    /// What it says now, with the settings that are put into its tables.
    document: DocumentMut,
    /// The tables of new servers, which go to its end.
    servers: Vec<DocumentMut>,
    config: SecureMcpConfig,
    /// The tables of new servers, as long as nothing but their programs was said, and what that
    /// comes to.
    plain_servers: Vec<DocumentMut>,
    plain: SecureMcpConfig,
}

/// Where something is put.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Into the tables that there are.
    Settings,
    /// Into that of a new server.
    Server(usize),
}

impl<'c> Candidate<'c> {
    /// What stands there now.
    pub(super) fn of_now(context: &'c Context) -> Result<Self, Failure> {
        let original =
            Original::read(&context.config_file).map_err(|why| unwritable(context, &why))?;
        let config = read(context, original.text())?;
        let document = original
            .text()
            .parse::<DocumentMut>()
            .map_err(|error| unwritable(context, error.message()))?;
        let plain = config.clone();
        let (servers, plain_servers) = (Vec::new(), Vec::new());
        Ok(Self { context, original, document, servers, config, plain_servers, plain })
    }

    /// What it comes to.
    pub(super) const fn config(&self) -> &SecureMcpConfig {
        &self.config
    }

    /// The same without what is said of new servers beyond their programs.
    pub(super) const fn plain(&self) -> &SecureMcpConfig {
        &self.plain
    }

    /// Whether it has a value, or a table, there.
    pub(super) fn says(&self, path: &[String]) -> bool {
        lookup(&self.document, path).is_some()
    }

    /// Adds the table of a server.
    ///
    /// # Errors
    /// Why that would not be in order.
    pub(super) fn add_server(&mut self, table: DocumentMut) -> Result<Target, String> {
        let mut servers = self.servers.clone();
        let mut plain_servers = self.plain_servers.clone();
        plain_servers.push(without_level(&table));
        servers.push(table);
        let plain = self.check(&self.document, &plain_servers)?;
        self.config = self.check(&self.document, &servers)?;
        (self.servers, self.plain_servers, self.plain) = (servers, plain_servers, plain);
        Ok(Target::Server(self.servers.len() - 1))
    }

    /// The table of a server that was added.
    pub(super) fn server(&self, target: Target) -> Option<&DocumentMut> {
        match target {
            Target::Settings => None,
            Target::Server(index) => self.servers.get(index),
        }
    }

    /// Takes as many of these as can be: all of them; else each by itself, or with one other of its
    /// table, as a certificate goes with its key. What was taken, and what was not, with the reason.
    pub(super) fn take(
        &mut self,
        target: Target,
        leaves: Vec<Leaf>,
    ) -> (Vec<Leaf>, Vec<(Leaf, String)>) {
        if self.put(target, &leaves).is_ok() {
            return (leaves, Vec::new());
        }
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        let mut waiting = leaves;
        loop {
            let before = taken.len();
            while !waiting.is_empty() {
                let leaf = waiting.remove(0);
                let Err(why) = self.put(target, std::slice::from_ref(&leaf)) else {
                    taken.push(leaf);
                    continue;
                };
                let is_partner = |other: &Leaf| parent(other) == parent(&leaf);
                let partner = (0..waiting.len().min(MOST_PARTNERS)).find(|&at| {
                    is_partner(&waiting[at])
                        && self.put(target, &[leaf.clone(), waiting[at].clone()]).is_ok()
                });
                match partner {
                    Some(at) => taken.extend([leaf, waiting.remove(at)]),
                    None => left.push((leaf, why)),
                }
            }
            // What was taken may be what others were in want of.
            if taken.len() == before || left.is_empty() {
                return (taken, left);
            }
            waiting.extend(std::mem::take(&mut left).into_iter().map(|(leaf, _)| leaf));
        }
    }

    /// Writes it.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let has_values = self.servers.iter().any(|table| table.to_string().contains("env = {"));
        if has_values && self.original.is_readable_by_others() {
            return Err(unwritable(
                self.context,
                "others may read it, and values of variables, \
                       which may be secrets, would be in it",
            )
            .fix(format!("chmod 600 {}", self.original.path.display())));
        }
        if let Some(why) = self.original.obstacle() {
            return Err(unwritable(self.context, &why)
                .fix("put that right, or write what is shown yourself"));
        }
        let text = with_line_ends_of(self.original.text(), &text(&self.document, &self.servers));
        self.original.replace(&text).map_err(|error| {
            unwritable(self.context, &error.to_string()).fix("see to the file, and run this again")
        })
    }

    /// All of these at once, or none; why not.
    fn put(&mut self, target: Target, leaves: &[Leaf]) -> Result<(), String> {
        let (mut document, mut servers) = (self.document.clone(), self.servers.clone());
        let into = match target {
            Target::Settings => &mut document,
            Target::Server(index) => servers.get_mut(index).ok_or("there is no such server")?,
        };
        let is_put = leaves.iter().all(|(path, value)| insert(into, path, value.clone()));
        // In some tables, such as those within braces, not everything can stand.
        let written = into.to_string().parse::<DocumentMut>().ok();
        let stands =
            |(path, _): &Leaf| written.as_ref().is_some_and(|it| lookup(it, path).is_some());
        if !is_put || !leaves.iter().all(stands) {
            return Err("sealwire.toml is written such that there is no place for it".to_owned());
        }
        let config = self.check(&document, &servers)?;
        self.check_files(&config)?;
        (self.document, self.servers, self.config) = (document, servers, config);
        Ok(())
    }

    fn check(
        &self,
        document: &DocumentMut,
        servers: &[DocumentMut],
    ) -> Result<SecureMcpConfig, String> {
        read(self.context, &text(document, servers)).map_err(|error| reason(error.problems()))
    }

    /// Files that are named now, and were not before, have to be there, and in order.
    fn check_files(&self, config: &SecureMcpConfig) -> Result<(), String> {
        // Certificates of agents are made later.
        let of_agents = self.context.home.pair(Kind::Agent, "x").cert;
        let is_of_agents = |file: &Path| file.parent() == of_agents.parent();
        let known = self.config.identity_files();
        let new: Vec<PathBuf> = config
            .identity_files()
            .into_iter()
            .filter(|file| !known.contains(file) && !is_of_agents(file))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        if let Some(gone) = new.iter().find(|file| !file.exists()) {
            return Err(format!("it names {}, which is not there", gone.display()));
        }
        let problems = |config: &SecureMcpConfig| match config.check_files() {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().to_vec(),
        };
        let known = problems(&self.config);
        let new: Vec<_> =
            problems(config).into_iter().filter(|problem| !known.contains(problem)).collect();
        if new.is_empty() { Ok(()) } else { Err(reason(&new)) }
    }
}

/// The table of a server without the level that is given where nothing is said.
fn without_level(table: &DocumentMut) -> DocumentMut {
    let mut table = table.clone();
    let servers = table.get_mut("mcp_servers").and_then(Item::as_table_like_mut);
    for (_, server) in servers.into_iter().flat_map(|servers| servers.iter_mut()) {
        server.as_table_like_mut().map(|server| server.remove("default_level"));
    }
    table
}

fn read(context: &Context, text: &str) -> Result<SecureMcpConfig, ConfigError> {
    SecureMcpConfig::load_text(context.home.root(), &context.config_file, text)
}

/// The first thing that is wrong, in one line.
fn reason(problems: &[Problem]) -> String {
    problems
        .first()
        .map_or_else(String::new, |problem| format!("{}; {}", problem.what, problem.remedy))
}

fn unwritable(context: &Context, why: &str) -> Failure {
    Failure::config("the configuration cannot be added to")
        .at(context.config_file.display())
        .because(why)
}

fn text(document: &DocumentMut, servers: &[DocumentMut]) -> String {
    let mut text = document.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for server in servers {
        text.push('\n');
        text.push_str(&server.to_string());
    }
    text
}

fn parent((path, _): &Leaf) -> &[String] {
    path.split_last().map_or(&[], |(_, tables)| tables)
}

/// Every key of a table that has a value, not a table.
pub(super) fn leaves(table: &dyn TableLike, path: &mut Vec<String>, found: &mut Vec<Leaf>) {
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item.as_table_like() {
            Some(inner) => leaves(inner, path, found),
            None => {
                let mut item = item.clone();
                // Not with the comments that stand behind it.
                if let Some(value) = item.as_value_mut() {
                    value.decor_mut().clear();
                }
                found.push((path.clone(), item));
            }
        }
        path.pop();
    }
}

fn lookup<'d>(document: &'d DocumentMut, path: &[String]) -> Option<&'d Item> {
    let mut item = document.as_item();
    for key in path {
        item = item.as_table_like()?.get(key)?;
    }
    Some(item)
}

/// Whether there is a place for it.
pub(super) fn insert(document: &mut DocumentMut, path: &[String], value: Item) -> bool {
    let Some((last, tables)) = path.split_last() else { return false };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, key) in tables.iter().enumerate() {
        let fresh = || {
            let mut fresh = Table::new();
            // Without a header of its own unless something stands in it.
            fresh.set_implicit(depth + 1 < tables.len());
            Item::Table(fresh)
        };
        let Some(inner) = table.entry(key).or_insert_with(fresh).as_table_like_mut() else {
            return false;
        };
        table = inner;
    }
    table.insert(last, value);
    true
}
