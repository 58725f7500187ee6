use clap::Args;
use clap_complete::Shell;

use crate::cli::{Failure, definition, print};

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire completions bash > ~/.local/share/bash-completion/completions/sealwire
  sealwire completions zsh > ~/.zfunc/_sealwire
  sealwire completions fish > ~/.config/fish/completions/sealwire.fish")]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut definition(), "sealwire", &mut script);
    print(&String::from_utf8_lossy(&script))
}
