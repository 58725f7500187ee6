//! What a message does, as far as policy is concerned.

use crate::{Direction, Level};

/// What a pattern of a rule is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Methods on their way to the server.
    Method,
    /// Tools.
    Tool,
    /// Prompts.
    Prompt,
    /// Resources, by URI.
    Resource,
    /// Methods on their way to the client.
    ClientMethod,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 5] =
        [Self::Method, Self::Tool, Self::Prompt, Self::Resource, Self::ClientMethod];

    /// The key under which rules list such patterns.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Method | Self::ClientMethod => "methods",
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
        }
    }

    /// One of them.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Method | Self::ClientMethod => "method",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }

    /// The method that a list of these is about: what is called, or read.
    pub const fn method(self) -> Option<&'static str> {
        match self {
            Self::Tool => Some("tools/call"),
            Self::Prompt => Some("prompts/get"),
            Self::Resource => Some("resources/read"),
            Self::Method | Self::ClientMethod => None,
        }
    }
}

/// What an operation needs before rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// This level, whoever the server is.
    Fixed(Level),
    /// The level of the tool, prompt, resource or method of that name.
    Named(Space),
    /// Nothing: it is news for the client.
    Nothing,
    /// A rule that allows it.
    Rule,
}

/// What `method` needs. Unknown methods of the client's are like tools that nothing lists;
/// unknown ones of the server's are like sampling.
///
/// The method alone decides, not whether there is an id: a server may well carry out a call
/// that is written as a notification.
pub(crate) fn needs(direction: Direction, method: &str) -> Needs {
    if direction == Direction::ToClient {
        let harmless = method.starts_with("notifications/") || method == "ping";
        return if harmless { Needs::Nothing } else { Needs::Rule };
    }
    match method {
        "tools/call" => Needs::Named(Space::Tool),
        "prompts/get" => Needs::Named(Space::Prompt),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            Needs::Named(Space::Resource)
        }
        "initialize"
        | "ping"
        | "server/discover"
        | "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list"
        | "logging/setLevel" => Needs::Fixed(Level::Public),
        "completion/complete"
        | "subscriptions/listen"
        | "tasks/get"
        | "tasks/list"
        | "tasks/result"
        | "tasks/cancel"
        | "tasks/update" => Needs::Fixed(Level::Authenticated),
        _ if method.starts_with("notifications/") => Needs::Fixed(Level::Public),
        _ => Needs::Named(Space::Method),
    }
}
