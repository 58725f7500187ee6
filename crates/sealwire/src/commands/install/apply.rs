//! What was decided is written.

use sealwire::config::SecureMcpConfig;

use super::plan::{Change, Planner, Step};
use super::program::{gets_level, with_servers};
use super::{left_alone, not_written};
use crate::cli::{Context, Failure};
use crate::clients::Client;
use crate::clients::document::{self, Found, Program, Shape, Splice};
use crate::clients::file::Original;
use crate::clients::installed::{Installed, Put, Replaced, Was};

/// Writes sealwire's own entries, then what is replaced, then the client's file: whatever comes in
/// between, the client has what it had, or what goes on.
pub(super) fn apply(
    client: Client,
    original: &Original,
    steps: &[Step],
    planner: &Planner<'_>,
    own: &Original,
    context: &Context,
) -> Result<(), Failure> {
    let home = planner.config.layout();
    let unknown = |why: String| {
        Failure::new("what is installed cannot be kept")
            .because(why)
            .fix("see to the state directory")
    };
    let before = Installed::load(&home).map_err(unknown)?;
    let writer = Writer { client, original, planner };
    let (text, replaced) =
        writer.rewritten(steps).map_err(|why| left_alone(&original.path, why))?;
    let mut installed = before.clone();
    replaced.into_iter().for_each(|one| installed.note(one));
    add_servers(context, own, planner)?;
    installed.store(&home).map_err(unknown)?;
    original.replace(&text).map_err(|error| {
        // Nothing was replaced, so there is nothing to put back.
        let forgotten = before.store(&home).err();
        if let Some(error) = forgotten {
            tracing::warn!(error, "what was not installed is still noted");
        }
        not_written(&original.path, &error)
    })
}

struct Writer<'w, 'c> {
    client: Client,
    original: &'w Original,
    planner: &'w Planner<'c>,
}

impl Writer<'_, '_> {
    /// The client's file as it will be, and what was there.
    fn rewritten(&self, steps: &[Step]) -> Result<(String, Vec<Replaced>), String> {
        let text = self.original.text();
        let (mut splices, mut replaced) = (Vec::new(), Vec::new());
        for step in steps {
            match &step.change {
                Change::None(_) | Change::Add { .. } => {}
                Change::Program { server, program } => {
                    splices.extend(self.program(server, program));
                    let kept = |at: &std::ops::Range<usize>| text[at.clone()].to_owned();
                    let was = Was::Program {
                        command: kept(&program.command_at),
                        args: program.args_at.as_ref().map(kept),
                    };
                    replaced.push(self.replaced(step, server, was, None));
                }
                Change::Whole { server, found } => {
                    let splice = self.whole(server, found)?;
                    let was = Was::Whole(text[splice.at.clone()].to_owned());
                    replaced.push(self.replaced(step, server, was, Some(splice.text.clone())));
                    splices.push(splice);
                }
            }
        }
        let mut text = document::spliced(text, splices);
        for step in steps {
            if let Change::Add { server } = &step.change {
                let (command, args) = self.planner.invocation(server);
                let added = document::add(self.client, &text, &step.name, &command, &args)?;
                let put = Some(Put::of(&text, &added));
                let was = Was::Nothing { file: self.original.is_there(), put };
                replaced.push(self.replaced(step, server, was, None));
                text = added;
            }
        }
        self.check(&text, &replaced)?;
        Ok((text, replaced))
    }

    /// Whether the client will start what it is to start: nothing is written otherwise.
    fn check(&self, text: &str, replaced: &[Replaced]) -> Result<(), String> {
        let found = document::read(self.client, text)?;
        for one in replaced {
            let entry = found.iter().find(|it| it.table == one.table && it.name == one.name);
            let is_right = matches!(
                entry.map(|entry| &entry.shape),
                Some(Shape::Program(it)) if (&it.command, &it.args) == (&one.command, &one.args)
            );
            if !is_right {
                return Err(format!("{:?} is written in a way that cannot be changed", one.name));
            }
        }
        Ok(())
    }

    /// Another command and other arguments.
    fn program(&self, server: &str, program: &Program) -> [Splice; 2] {
        let (command, args) = self.planner.invocation(server);
        let list = document::list(self.client, &args);
        let command = document::string(self.client, &command);
        let args = match &program.args_at {
            Some(at) => Splice { at: at.clone(), text: list },
            None => {
                let (at, before, after) = &program.args_place;
                Splice { at: *at..*at, text: format!("{before}{list}{after}") }
            }
        };
        [Splice { at: program.command_at.clone(), text: command }, args]
    }

    /// Another entry.
    fn whole(&self, server: &str, found: &Found) -> Result<Splice, String> {
        let (command, args) = self.planner.invocation(server);
        let at = document::whole(found)?;
        let was = &self.original.text()[at.clone()];
        let text = document::entry(self.client, found, was, &command, &args)?;
        Ok(Splice { at, text })
    }

    fn replaced(&self, step: &Step, server: &str, was: Was, wrote: Option<String>) -> Replaced {
        let (command, args) = self.planner.invocation(server);
        Replaced {
            client: self.client.word().to_owned(),
            file: self.original.path.clone(),
            table: step.table.clone(),
            name: step.name.clone(),
            server: server.to_owned(),
            was,
            command,
            args,
            wrote,
        }
    }
}

/// Adds servers to `sealwire.toml`, as text at its end.
fn add_servers(context: &Context, own: &Original, planner: &Planner<'_>) -> Result<(), Failure> {
    if planner.new_servers.is_empty() {
        return Ok(());
    }
    let path = &context.config_file;
    let text = with_servers(own.text(), &planner.new_servers, gets_level(&planner.config));
    SecureMcpConfig::load_text(context.home.root(), path, &text)?;
    if let Some(why) = own.obstacle() {
        return Err(unwritable(context, &why)
            .fix("put that right, or write these entries yourself, and run this again"));
    }
    own.replace(&text)
        .map_err(|error| unwritable(context, &error.to_string()).fix("run this again"))
}

pub(super) fn unwritable(context: &Context, why: &str) -> Failure {
    Failure::config("the configuration cannot be added to")
        .at(context.config_file.display())
        .because(why)
}
