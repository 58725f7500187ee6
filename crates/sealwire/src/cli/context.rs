use std::path::PathBuf;

use sealwire::config::SecureMcpConfig;
use sealwire::home::Home;

use super::{Failure, GlobalOptions, shell_word};

/// What every command knows: which home and which configuration file are meant.
#[derive(Debug)]
pub(crate) struct Context {
    /// The home directory, which need not exist.
    pub(crate) home: Home,
    /// The configuration file.
    pub(crate) config_file: PathBuf,
    /// `sealwire` with the options that choose this home, for commands shown to the user.
    pub(crate) invocation: String,
}

impl Context {
    pub(crate) fn new(options: &GlobalOptions) -> Result<Self, Failure> {
        let home = match &options.home {
            Some(root) => Home::at(root),
            None => Home::default_location(),
        };
        let home = home.map_err(|error| {
            Failure::usage(format!("the home directory is unusable: {error}"))
                .fix("name it with --home DIR, as an absolute path")
        })?;
        let mut invocation = "sealwire".to_owned();
        let given = [("--home", &options.home), ("--config", &options.config)];
        for (option, value) in given.into_iter().filter_map(|(o, v)| Some((o, v.as_ref()?))) {
            invocation.push_str(&format!(" {option} {}", shell_word(&value.to_string_lossy())));
        }
        let config_file = options.config.clone().unwrap_or_else(|| home.config_file());
        Ok(Self { home, config_file, invocation })
    }

    /// The configuration.
    pub(crate) fn load_config(&self) -> Result<SecureMcpConfig, Failure> {
        Ok(SecureMcpConfig::load_file(self.home.root(), &self.config_file)?)
    }
}
