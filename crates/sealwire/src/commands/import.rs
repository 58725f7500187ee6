mod tables;

use std::path::PathBuf;

use clap::Args;

use super::install::{NewServer, add_servers, client_file, left_alone, read, server_table, usable};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure, print, printable};
use crate::clients::document::{self, Shape};
use crate::clients::{Client, Syntax};

/// Take over servers that an MCP client has, and settings that stand in its file
///
/// Each server that the client starts becomes one of this home, with transport = "stdio", its
/// variables with their values. Of Codex's config.toml the tables [security], [agent_security] and
/// [audit] are read, too: what they say is taken where sealwire knows it and its own configuration
/// says nothing, and what means another thing here is told. The client's file is not changed.
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
    /// Show what would be taken over, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let client = arguments.client;
    let _lock = HomeLock::acquire(&context.home)?;
    let config = context.load_config()?;
    let path = client_file(client, arguments.from.as_deref())?;
    let original = read(client, &path)?;
    if !original.is_there() {
        return Err(Failure::new("the client has no file there")
            .at(path.display())
            .fix("name it with --from"));
    }
    let found = document::read(client, original.text()).map_err(|why| left_alone(&path, why))?;
    let mut servers: Vec<NewServer> = Vec::new();
    let mut text = format!("{}: {}\n", client.name(), path.display());
    for one in found {
        let name = usable(&one.name);
        let program = match &one.shape {
            Shape::Program(program) => Ok(program),
            Shape::Remote(_) => Err("its server is at a URL: sealwire reaches servers by their \
                                     `endpoint`"
                .to_owned()),
            Shape::Unknown(why) => Err(why.clone()),
        };
        let taken = program.and_then(|program| {
            if config.servers.contains_key(&name) || servers.iter().any(|new| new.name == name) {
                return Err(format!("sealwire has a server {name:?} already"));
            }
            if program.args.iter().any(|arg| arg == "connect")
                && program.command.ends_with("sealwire")
            {
                return Err("it starts sealwire already".to_owned());
            }
            let mut server = NewServer::of(client, &name, program)?;
            // Here, nobody else gives them.
            server.env_vars.clone_from(&program.env_vars);
            server.env.clone_from(&program.env);
            server.cwd = program.cwd.clone().filter(|cwd| cwd.starts_with('/'));
            Ok(server)
        });
        match taken {
            Ok(server) => servers.push(server),
            Err(why) => {
                text.push_str(&format!(
                    "  {}: not taken: {}\n",
                    printable(&one.name),
                    printable(&why)
                ));
            }
        }
    }
    let settings = match client.syntax() {
        Syntax::Toml => tables::of(original.text(), context)?,
        Syntax::Json => tables::Settings::default(),
    };
    for server in &servers {
        // Values of variables may be secrets, and may have several lines.
        let env = server.env.iter().map(|(name, _)| (name.clone(), "…".to_owned())).collect();
        let shown = NewServer { env, ..server.clone() };
        for line in server_table(&shown, config.zero_trust_mode).lines() {
            text.push_str(&format!("  + {}\n", printable(line)));
        }
    }
    text.push_str(&settings.shown());
    print(&text)?;
    if servers.is_empty() && settings.is_empty() {
        return print("Nothing to take over.\n");
    }
    if arguments.dry_run {
        return print("Nothing was written.\n");
    }
    settings.write(context)?;
    add_servers(context, &config, &servers)?;
    print(&format!("Written to {}. Next: sealwire config check\n", context.config_file.display()))
}
