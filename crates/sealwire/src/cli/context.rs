use std::path::PathBuf;

use sealwire::config::SecureMcpConfig;
use sealwire::home::{CONFIG_FILE, Home};

use super::{Failure, GlobalOptions, shell_word};

/// What every command knows: which home and which configuration file are meant.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The home directory, which need not exist.
    pub(crate) home: Home,
    /// The configuration file.
    pub(crate) config_file: PathBuf,
    /// Where a service manager hands over files.
    pub(crate) credentials: Option<PathBuf>,
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
        let given = [
            ("--home", &options.home),
            ("--config", &options.config),
            ("--credentials", &options.credentials),
        ];
        for (option, value) in given.into_iter().filter_map(|(o, v)| Some((o, v.as_ref()?))) {
            invocation.push_str(&format!(" {option} {}", shell_word(&value.to_string_lossy())));
        }
        let credentials = options.credentials.as_ref().map(std::path::absolute).transpose();
        let credentials = credentials.map_err(|error| {
            Failure::usage(format!("the directory of --credentials is unusable: {error}"))
                .fix("name it by an absolute path")
        })?;
        // The home's own files must not be used because of a misspelt directory.
        if let Some(directory) = credentials.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(Failure::usage("--credentials names no directory that can be entered")
                .at(directory.display())
                .fix("name the directory that the service manager made, as %d in a systemd unit"));
        }
        let handed_over = credentials.as_ref().map(|directory| directory.join(CONFIG_FILE));
        let config_file = options
            .config
            .clone()
            .or_else(|| handed_over.filter(|file| file.exists()))
            .unwrap_or_else(|| home.config_file());
        Ok(Self { home, config_file, credentials, invocation })
    }

    /// The configuration.
    pub(crate) fn load_config(&self) -> Result<SecureMcpConfig, Failure> {
        let config = SecureMcpConfig::load_file(self.home.root(), &self.config_file)?;
        Ok(self.with_credentials(config))
    }

    /// The home, with its state where the configuration has put it. A configuration that is not
    /// in order does not say where that is; what runs by an earlier one is found where it is if
    /// nothing says otherwise.
    pub(crate) fn state_home(&self) -> Result<Home, Failure> {
        match self.load_config() {
            Ok(config) => Ok(config.layout()),
            Err(_) if self.home.control_socket().exists() => Ok(self.home.clone()),
            Err(failure) => Err(failure),
        }
    }

    /// The same, found also by a configuration that is not in order: of that what `[state]` says is
    /// taken if it can be read, and else where the state is by default. What is wrong with it comes
    /// with the answer.
    pub(crate) fn likely_state_home(&self) -> (Home, Option<Failure>) {
        let failure = match self.load_config() {
            Ok(config) => return (config.layout(), None),
            Err(failure) => failure,
        };
        let text = std::fs::read_to_string(&self.config_file).unwrap_or_default();
        let read: Option<toml::Table> = text.parse().ok();
        let said = read.as_ref().and_then(|read| read.get("state")?.get("directory")?.as_str());
        let home = match said.and_then(|said| self.home.resolve(said).ok()) {
            Some(directory) => self.home.clone().with_state_dir(directory),
            None => self.home.clone(),
        };
        (home, Some(failure))
    }

    /// `config`, with the files that were handed over.
    pub(crate) fn with_credentials(&self, config: SecureMcpConfig) -> SecureMcpConfig {
        match &self.credentials {
            Some(directory) => config.with_credentials(directory),
            None => config,
        }
    }
}
