//! The files in which MCP clients name their servers: where they are, what they say, and how they
//! are changed without anything else in them changing.
//!
//! A file is never written anew from what was understood of it. What changes is replaced in its
//! text ([`document`]), so that comments, order and spelling stay; and what was there before is
//! kept ([`installed`]), so that it comes back as it was.

pub(crate) mod document;
pub(crate) mod elsewhere;
pub(crate) mod file;
mod halves;
pub(crate) mod installed;
mod json;
mod place;
mod toml;

use clap::ValueEnum;

pub(crate) use place::{Place, System};

/// An MCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Client {
    /// Codex CLI
    Codex,
    /// Claude Code
    ClaudeCode,
    /// Claude Desktop
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    #[value(name = "vscode")]
    VsCode,
    /// Gemini CLI
    Gemini,
}

/// How a client's file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// TOML.
    Toml,
    /// JSON, with comments and trailing commas where the client takes them.
    Json,
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Codex,
        Self::ClaudeCode,
        Self::ClaudeDesktop,
        Self::Cursor,
        Self::VsCode,
        Self::Gemini,
    ];

    /// The word by which the command line names it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Codex => "codex",
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Gemini => "gemini",
        }
    }

    /// The client of that word.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.word() == word)
    }

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Codex => "Codex CLI",
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Cursor => "Cursor",
            Self::VsCode => "Visual Studio Code",
            Self::Gemini => "Gemini CLI",
        }
    }

    pub(crate) const fn syntax(self) -> Syntax {
        match self {
            Self::Codex => Syntax::Toml,
            _ => Syntax::Json,
        }
    }

    /// The table of servers that holds for all projects.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Codex => "mcp_servers",
            Self::VsCode => "servers",
            _ => "mcpServers",
        }
    }

    /// Whether an entry says by which transport its server is reached.
    pub(crate) const fn states_type(self) -> bool {
        matches!(self, Self::ClaudeCode | Self::VsCode)
    }

    /// The keys of an entry that say nothing of how its server is reached, and mean the same to the
    /// client whether it starts a program or goes to a URL. Of a word that a client does not know
    /// here nothing follows, in either.
    pub(crate) const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Codex => &[
                "default_tools_approval_mode",
                "disabled_tools",
                "enabled",
                "enabled_tools",
                "name",
                "required",
                "startup_timeout_ms",
                "startup_timeout_sec",
                "supports_parallel_tool_calls",
                "tool_timeout_sec",
                "tools",
            ],
            _ => &[
                "alwaysAllow",
                "alwaysLoad",
                "autoApprove",
                "description",
                "disabled",
                "disabledTools",
                "enabled",
                "enabledTools",
                "excludeTools",
                "includeTools",
                "name",
                "timeout",
                "trust",
            ],
        }
    }

    /// Whether a program that it starts gets the client's whole environment, as far as is known.
    pub(crate) const fn passes_environment(self) -> bool {
        !matches!(self, Self::Codex)
    }

    /// What the client itself puts in the place of `text` before it starts anything; `None` if it
    /// is taken as it stands.
    pub(crate) fn expands(self, text: &str) -> bool {
        match self {
            Self::Codex | Self::ClaudeDesktop => false,
            Self::ClaudeCode | Self::Cursor | Self::VsCode => text.contains("${"),
            Self::Gemini => {
                let mut rest = text;
                while let Some(at) = rest.find('$') {
                    rest = &rest[at + 1..];
                    if rest.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic()) {
                        return true;
                    }
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_command_line() {
        for client in Client::ALL {
            let value = client.to_possible_value().unwrap();
            assert_eq!(value.get_name(), client.word());
            assert_eq!(Client::named(client.word()), Some(client));
        }
    }

    #[test]
    fn what_a_client_expands_is_known() {
        assert!(Client::VsCode.expands("${workspaceFolder}/x"));
        assert!(Client::Gemini.expands("a$HOME") && !Client::Gemini.expands("cost: 5$ or $5"));
        assert!(!Client::Codex.expands("${HOME}"));
    }
}
