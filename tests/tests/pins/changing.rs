//! A server that says something else from one moment to the next, and its clients.

use std::fs;

use sealwire_testkit::{Connect, Home, Output, Serve, server_table, tool};
use serde_json::{Value, json};

/// A server of the Python SDK whose listing is a file in the home.
pub(crate) struct Changing {
    pub(crate) home: Home,
}

impl Changing {
    /// `keys` are more of its table.
    pub(crate) fn new(keys: &str) -> Self {
        let home = Home::initialized();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/listing.py");
        let folder = home.path().to_str().unwrap().to_owned();
        let table = server_table("notes", tool("venv/bin/python"), &[script, &folder]);
        home.configure(&format!("{table}{keys}\n"));
        home.run(&["cert", "issue", "--all"]).ok();
        let this = Self { home };
        this.list(&[&[("read", "Reads a note."), ("write", "Writes a note.")]], "Be brief.");
        this
    }

    /// From now on, the server says this: pages of tools and their descriptions.
    pub(crate) fn list(&self, pages: &[&[(&str, &str)]], instructions: &str) {
        let tool = |(name, description): &(&str, &str)| json!({"name": name, "description": description, "inputSchema": {"type": "object"}});
        let page = |page: &&[(&str, &str)]| page.iter().map(tool).collect::<Value>();
        let pages: Value = pages.iter().map(page).collect();
        let listing = json!({"instructions": instructions, "pages": pages}).to_string();
        // At once: a server that is listing now must not see half of it.
        let new = self.home.write("listing.new", listing);
        fs::rename(new, self.home.file("listing.json")).unwrap();
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.home.file("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// A client at a `connect` that does not look at pins itself.
    pub(crate) fn client(&self, serve: &Serve) -> Connect {
        self.client_with(serve, "pins = \"off\"")
    }

    pub(crate) fn client_with(&self, serve: &Serve, keys: &str) -> Connect {
        Connect::spawn(self.home.connect_command("notes", serve.address(), keys))
    }

    pub(crate) fn pins(&self, args: &[&str]) -> Output {
        self.home.run(&[&["pins"], args].concat())
    }

    /// What waits for approval: kind, name, and hash.
    pub(crate) fn waiting(&self) -> Vec<(String, String, String)> {
        let diff = self.pins(&["diff", "notes", "--json"]).ok();
        let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = diff.as_array().unwrap().iter();
        entries
            .map(|entry| {
                let hash = text(&entry["pending"]["sha256"]);
                (text(&entry["kind"]), text(&entry["name"]), hash)
            })
            .collect()
    }

    /// Approves what waits, all of it.
    pub(crate) fn approve(&self) {
        self.home.approve_pins("notes");
    }
}

/// The tools that a client finds, page by page.
pub(crate) fn listed(client: &mut Connect) -> Vec<String> {
    let (mut names, mut params) = (Vec::new(), json!({}));
    loop {
        let answer = client.request("tools/list", &params);
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        let next = &answer["result"]["nextCursor"];
        if next.is_null() {
            return names;
        }
        params = json!({ "cursor": next });
    }
}

/// The error word of a call, or nothing.
pub(crate) fn call(client: &mut Connect, tool: &str) -> Option<String> {
    let answer = client.request("tools/call", &json!({"name": tool, "arguments": {}}));
    let error = &answer["error"];
    if error.is_null() {
        return None;
    }
    // The peer is told no more than the word and a sentence.
    assert!(!answer.to_string().contains("SHA-256"), "{answer}");
    Some(error["data"]["sealwire"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

pub(crate) const CHANGED: Option<&str> = Some("pin_changed");
pub(crate) const ADDED: Option<&str> = Some("pin_added");
pub(crate) const UNAPPROVED: Option<&str> = Some("pin_unapproved");
