//! `sealwire man`: the manual pages, made from what the program says of itself and from
//! the manual of the configuration.

mod configuration;

use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{Failure, definition, print};

/// Write the manual pages
///
/// One for each command, and sealwire.toml(5) for the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire man --out ~/.local/share/man    then `man sealwire`, `man sealwire-serve`
  man -l share/man/man5/sealwire.toml.5    one of them, wherever it is")]
pub(crate) struct Arguments {
    /// The directory for man1/ and man5/, which are made if they are missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut pages = Vec::new();
    let mut command = definition().disable_help_subcommand(true);
    command.build();
    command_pages(&command, &mut pages)?;
    pages.push(("man5/sealwire.toml.5".to_owned(), configuration::page().into_bytes()));
    for (name, page) in &pages {
        write(&arguments.out.join(name), page)?;
    }
    print(&format!("{} pages in {}\n", pages.len(), arguments.out.display()))
}

/// The page of `command`, and of each command below it.
fn command_pages(
    command: &clap::Command,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), Failure> {
    let subcommands: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    let man = Man::new(command.clone()).manual("sealwire");
    let mut page = Vec::new();
    let rendered = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page))
        .and_then(|()| match subcommands.is_empty() {
            true => Ok(()),
            false => man.render_subcommands_section(&mut page),
        })
        .and_then(|()| last_sections(command).to_writer(&mut page));
    rendered.map_err(|error| Failure::new("cannot make a manual page").because(error))?;
    pages.push((format!("man1/{}", man.get_filename()), page));
    subcommands.into_iter().try_for_each(|sub| command_pages(sub, pages))
}

/// The examples as they are in the help, line by line, and where to read on.
fn last_sections(command: &clap::Command) -> Roff {
    let mut page = Roff::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = help.split_once(":\n").filter(|(title, _)| title.starts_with("Example"));
    if let Some((_, examples)) = examples {
        page.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.lines() {
            page.text([roman(line)]);
        }
        page.control("fi", []);
    }
    page.control("SH", ["SEE ALSO"]);
    let further = match command.get_name() {
        "sealwire" => "sealwire.toml(5)",
        _ => "sealwire(1), sealwire.toml(5)",
    };
    page.text([roman(further)]);
    page
}

fn write(path: &Path, page: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, page)).map_err(|error| {
        Failure::new("cannot write a manual page")
            .at(path.display())
            .because(error)
            .fix("name a directory that this user may write to")
    })
}
