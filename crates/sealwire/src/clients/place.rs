//! Where a client has its file.

use std::path::{Path, PathBuf};

use super::Client;

/// A machine, as far as that decides where files are.
pub(crate) struct Place<'a> {
    /// Its system.
    pub(crate) system: System,
    /// The user's home directory.
    pub(crate) home: &'a Path,
    /// Variables of the environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<PathBuf>,
}

/// A system with places of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Linux,
    MacOs,
    Windows,
}

impl System {
    /// This one. Others of the kind of Unix do as Linux does.
    pub(crate) const fn this() -> Self {
        if cfg!(target_os = "macos") {
            Self::MacOs
        } else if cfg!(windows) {
            Self::Windows
        } else {
            Self::Linux
        }
    }
}

impl Place<'_> {
    /// The file in which the client names the servers of all projects. It need not exist.
    pub(crate) fn file(&self, client: Client) -> PathBuf {
        let home = self.home;
        match client {
            Client::Codex => {
                let codex = (self.variable)("CODEX_HOME").unwrap_or_else(|| home.join(".codex"));
                codex.join("config.toml")
            }
            Client::ClaudeCode => {
                let directory = (self.variable)("CLAUDE_CONFIG_DIR");
                directory.unwrap_or_else(|| home.to_owned()).join(".claude.json")
            }
            Client::ClaudeDesktop => {
                self.settings().join("Claude").join("claude_desktop_config.json")
            }
            Client::Cursor => home.join(".cursor").join("mcp.json"),
            Client::VsCode => self.settings().join("Code").join("User").join("mcp.json"),
            Client::Gemini => {
                let above = (self.variable)("GEMINI_CLI_HOME");
                let above = above.unwrap_or_else(|| home.to_owned());
                above.join(".gemini").join("settings.json")
            }
        }
    }

    /// Where programs with windows keep their settings.
    fn settings(&self) -> PathBuf {
        let (variable, otherwise) = match self.system {
            System::Linux => ("XDG_CONFIG_HOME", self.home.join(".config")),
            System::MacOs => return self.home.join("Library").join("Application Support"),
            System::Windows => ("APPDATA", self.home.join("AppData").join("Roaming")),
        };
        // A relative one is to be ignored (XDG Base Directory Specification).
        (self.variable)(variable).filter(|path| path.has_root()).unwrap_or(otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(system: System, client: Client, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| PathBuf::from(value))
        };
        let place = Place { system, home: Path::new("/u"), variable: &variable };
        place.file(client).to_str().unwrap().to_owned()
    }

    #[test]
    fn each_client_has_its_file_on_each_system() {
        use System::{Linux, MacOs, Windows};
        for (client, linux, mac, windows) in [
            (Client::Codex, ".codex/config.toml", ".codex/config.toml", ".codex/config.toml"),
            (Client::ClaudeCode, ".claude.json", ".claude.json", ".claude.json"),
            (
                Client::ClaudeDesktop,
                ".config/Claude/claude_desktop_config.json",
                "Library/Application Support/Claude/claude_desktop_config.json",
                "AppData/Roaming/Claude/claude_desktop_config.json",
            ),
            (Client::Cursor, ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
            (
                Client::VsCode,
                ".config/Code/User/mcp.json",
                "Library/Application Support/Code/User/mcp.json",
                "AppData/Roaming/Code/User/mcp.json",
            ),
            (
                Client::Gemini,
                ".gemini/settings.json",
                ".gemini/settings.json",
                ".gemini/settings.json",
            ),
        ] {
            for (system, expected) in [(Linux, linux), (MacOs, mac), (Windows, windows)] {
                assert_eq!(file(system, client, &[]), format!("/u/{expected}"), "{system:?}");
            }
        }
    }

    #[test]
    fn variables_say_otherwise_where_the_client_heeds_them() {
        let codex = [("CODEX_HOME", "/c")];
        assert_eq!(file(System::Linux, Client::Codex, &codex), "/c/config.toml");
        let claude = [("CLAUDE_CONFIG_DIR", "/c")];
        assert_eq!(file(System::MacOs, Client::ClaudeCode, &claude), "/c/.claude.json");
        let xdg = [("XDG_CONFIG_HOME", "/x"), ("APPDATA", "/a")];
        assert_eq!(file(System::Linux, Client::VsCode, &xdg), "/x/Code/User/mcp.json");
        assert_eq!(file(System::Windows, Client::VsCode, &xdg), "/a/Code/User/mcp.json");
        assert!(file(System::MacOs, Client::VsCode, &xdg).starts_with("/u/Library/"));
        let relative = [("XDG_CONFIG_HOME", "x")];
        assert!(file(System::Linux, Client::VsCode, &relative).starts_with("/u/.config/"));
    }
}
