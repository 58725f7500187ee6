//! The servers: how each is started, and what is asked of it that needs no internet.
//!
//! Where a server only passes questions on to a service, it is called with arguments that
//! it refuses by itself, so that nothing leaves the machine even if it could.

use std::path::PathBuf;

use sealwire_testkit::{TOOL_SAID, tool};
use sealwire_tests::compatibility::Package;
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::place::{NAME, Place, TITLE};

/// A server, and what it is for the table.
pub struct Server {
    pub name: &'static str,
    pub package: Package,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// What its environment has that those of all have not.
    pub env: Vec<(&'static str, String)>,
    /// Calls its tools and checks what they answer.
    pub call: fn(&mut Conversation, &Place),
}

/// All of them, in the table's order.
pub fn servers(place: &Place) -> Vec<Server> {
    let mut servers = reference(place);
    servers.extend(of_services());
    servers.extend(browsers());
    servers.extend(others(place));
    servers
}

fn reference(place: &Place) -> Vec<Server> {
    vec![
        npm("everything", "@modelcontextprotocol/server-everything", "mcp-server-everything")
            .args(&["stdio"])
            .calling(|server, _| {
                assert_eq!(server.call("echo", json!({"message": NAME})), format!("Echo: {NAME}"));
                let sum = server.call("get-sum", json!({"a": 17, "b": 25}));
                assert_eq!(sum, "The sum of 17 and 25 is 42.");
            }),
        npm("filesystem", "@modelcontextprotocol/server-filesystem", "mcp-server-filesystem")
            .args(&[&place.path("files")])
            .calling(|server, place| {
                let file = place.path("files/note.txt");
                server.call("write_file", json!({"path": file, "content": NAME}));
                assert_eq!(std::fs::read_to_string(&file).expect("written"), NAME);
                assert_eq!(server.call("read_text_file", json!({"path": file})), NAME);
                let outside = json!({"path": place.path("codex/config.toml")});
                let refusal = server.call_in_vain("read_text_file", outside);
                assert!(refusal.contains("outside allowed directories"), "{refusal}");
            }),
        npm("memory", "@modelcontextprotocol/server-memory", "mcp-server-memory")
            .env("MEMORY_FILE_PATH", place.path("memory.json"))
            .calling(|server, _| {
                let ada = json!({"name": NAME, "entityType": "person", "observations": ["first"]});
                server.call("create_entities", json!({"entities": [ada]}));
                let graph = parse(&server.call("read_graph", json!({})));
                assert_eq!(graph["entities"], json!([ada]));
            }),
        npm(
            "sequential-thinking",
            "@modelcontextprotocol/server-sequential-thinking",
            "mcp-server-sequential-thinking",
        )
        .calling(|server, _| {
            for number in 1..=2 {
                let thought = json!({
                    "thought": NAME, "thoughtNumber": number, "totalThoughts": 2,
                    "nextThoughtNeeded": number < 2,
                });
                let state = parse(&server.call("sequentialthinking", thought));
                assert_eq!(state["thoughtHistoryLength"], json!(number));
            }
        }),
        pypi("time", "venv-reference", "mcp-server-time", "mcp-server-time")
            .args(&["--local-timezone=UTC"])
            .calling(|server, _| {
                let noon = json!({
                    "source_timezone": "Asia/Kolkata", "time": "12:00",
                    "target_timezone": "Asia/Tokyo",
                });
                let answer = parse(&server.call("convert_time", noon));
                assert_eq!(answer["time_difference"], json!("+3.5h"));
            }),
        pypi("git", "venv-reference", "mcp-server-git", "mcp-server-git").calling(
            |server, place| {
                let here = json!({"repo_path": place.path("repository")});
                let status = server.call("git_status", here);
                assert!(status.contains("On branch trunk"), "{status}");
                assert!(status.contains("untracked.txt"), "{status}");
            },
        ),
    ]
}

/// Servers that pass questions on to services of others.
fn of_services() -> Vec<Server> {
    vec![
        npm("github", "@modelcontextprotocol/server-github", "mcp-server-github").calling(
            |server, _| {
                let refusal = server.call_in_vain("get_issue", json!({"owner": "nobody"}));
                assert!(refusal.contains("issue_number"), "{refusal}");
            },
        ),
        npm("brave-search", "@modelcontextprotocol/server-brave-search", "mcp-server-brave-search")
            .env("BRAVE_API_KEY", "none".to_owned())
            .calling(|server, _| {
                let refusal = server.call_in_vain("brave_web_search", json!({"count": 1}));
                assert!(refusal.contains("Invalid arguments"), "{refusal}");
            }),
        npm("brave", "@brave/brave-search-mcp-server", "brave-search-mcp-server")
            .env("BRAVE_API_KEY", "none".to_owned())
            .calling(|server, _| {
                let refusal = server.call_in_vain("brave_web_search", json!({"count": 1}));
                assert!(refusal.contains("query"), "{refusal}");
            }),
        npm("context7", "@upstash/context7-mcp", "context7-mcp").calling(|server, _| {
            let refusal = server.call_in_vain("resolve-library-id", json!({}));
            assert!(refusal.contains("libraryName"), "{refusal}");
        }),
        npm(
            "youtube",
            "@kimtaeyoon83/mcp-server-youtube-transcript",
            "mcp-server-youtube-transcript",
        )
        .calling(|server, _| {
            let refusal = server.call_in_vain("get_transcript", json!({"lang": "en"}));
            assert!(refusal.contains("URL"), "{refusal}");
        }),
    ]
}

fn browsers() -> Vec<Server> {
    let browser = tool("browser").to_str().expect("UTF-8").to_owned();
    vec![
        npm("chrome-devtools", "chrome-devtools-mcp", "chrome-devtools-mcp")
            .args(&["--headless", "--isolated", "--executablePath", &browser])
            .args(&["--chromeArg=--no-sandbox", "--chromeArg=--disable-background-networking"])
            .args(&["--usageStatistics=false", "--performanceCrux=false"])
            .env("CHROME_DEVTOOLS_MCP_NO_UPDATE_CHECKS", "1".to_owned())
            .calling(|server, place| {
                let pages = server.call("new_page", json!({"url": place.page.url("/")}));
                assert!(pages.contains(&format!("2: {TITLE}")), "{pages}");
                let script = json!({
                    "pageId": 2, "function": "() => document.querySelector('h1').innerText",
                });
                let answer = server.call("evaluate_script", script);
                assert!(answer.contains(NAME), "{answer}");
            }),
        npm("playwright", "@playwright/mcp", "playwright-mcp")
            .args(&["--headless", "--isolated", "--no-sandbox", "--browser", "chrome"])
            .args(&["--executable-path", &browser])
            .calling(|server, place| {
                let page = server.call("browser_navigate", json!({"url": place.page.url("/")}));
                assert!(page.contains(&format!("Page Title: {TITLE}")), "{page}");
                let script = json!({"function": "() => document.querySelector('h1').innerText"});
                let answer = server.call("browser_evaluate", script);
                assert!(answer.contains(NAME), "{answer}");
            }),
    ]
}

fn others(place: &Place) -> Vec<Server> {
    let path = std::env::var("PATH").expect("PATH");
    vec![
        pypi("markitdown", "venv-markitdown", "markitdown-mcp", "markitdown-mcp").calling(
            |server, place| {
                let uri = format!("file://{}", place.path("files/page.html"));
                let text = server.call("convert_to_markdown", json!({"uri": uri}));
                assert_eq!(text, format!("# {NAME}\n\n* one"));
            },
        ),
        pypi("arxiv", "venv-arxiv", "arxiv-mcp-server", "arxiv-mcp-server")
            .args(&["--storage-path", &place.path("papers")])
            .calling(|server, _| {
                server.call("watch_topic", json!({"topic": "mutual TLS"}));
                let watched = server.call("list_watches", json!({}));
                assert!(watched.contains("mutual TLS"), "{watched}");
            }),
        pypi("serena", "venv-serena", "serena-agent", "serena")
            .args(&["start-mcp-server", "--enable-web-dashboard", "false"])
            .args(&["--agent-interface", "tools", "--project", &place.path("project")])
            .env("SERENA_USAGE_REPORTING", "false".to_owned())
            .calling(|server, _| {
                server.call("write_memory", json!({"memory_name": "note", "content": NAME}));
                assert_eq!(server.call("read_memory", json!({"memory_name": "note"})), NAME);
                let pattern = json!({"substring_pattern": "def seal"});
                let found = server.call("search_for_pattern", pattern);
                assert!(found.contains("seal.py"), "{found}");
            }),
        npm("gemini", "@choplin/mcp-gemini-cli", "mcp-gemini-cli")
            .env("PATH", format!("{}:{path}", place.path("bin")))
            .calling(|server, _| {
                let answer = server.call("geminiChat", json!({"prompt": NAME}));
                assert_eq!(answer, format!("the model heard: {NAME}\n"));
            }),
        npm("codex", "codex-mcp-server", "../codex-mcp-server/bin/codex.js")
            .args(&["mcp-server"])
            .env("CODEX_HOME", place.path("codex"))
            .calling(|server, place| {
                let answer = server.call("codex", json!({"prompt": "call echo"}));
                assert_eq!(place.model.refusals(), [""; 0], "{answer}");
                assert!(answer.starts_with(TOOL_SAID) && answer.contains(NAME), "{answer}");
            }),
    ]
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn npm(name: &'static str, folder: &str, program: &str) -> Server {
    let program = tool(&format!("node/node_modules/.bin/{program}"));
    Server::new(name, Package::npm(folder), program)
}

fn pypi(name: &'static str, venv: &str, package: &str, program: &str) -> Server {
    let program = tool(&format!("{venv}/bin/{program}"));
    Server::new(name, Package::pypi(venv, package), program)
}

impl Server {
    fn new(name: &'static str, package: Package, program: PathBuf) -> Self {
        Self { name, package, program, args: Vec::new(), env: Vec::new(), call: |_, _| {} }
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn env(mut self, name: &'static str, value: String) -> Self {
        self.env.push((name, value));
        self
    }

    fn calling(mut self, call: fn(&mut Conversation, &Place)) -> Self {
        self.call = call;
        self
    }
}
