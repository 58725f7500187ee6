//! What the servers are given to work with.

use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_testkit::{Home, HttpServer, MockModel, bin, install, quoted, run};
use serde_json::json;

/// What the servers work with; all of it is in the home of the test or on loopback.
pub struct Place {
    root: PathBuf,
    pub page: HttpServer,
    pub model: MockModel,
}

/// The title of the page on loopback.
pub const TITLE: &str = "A page on loopback";
/// A text that is not only ASCII.
pub const NAME: &str = "Gra\u{e7}a \u{2713} \u{1f980}";

impl Place {
    pub fn new(home: &Home) -> Self {
        let page = format!("<!doctype html><title>{TITLE}</title><h1>{NAME}</h1>");
        let page = HttpServer::start(move |request, _| {
            (request == "GET /").then(|| ("text/html; charset=utf-8", page.clone()))
        });
        let model = MockModel::calling("tools", "echo", &json!({"text": NAME}));
        let place = Self { root: home.file("place"), page, model };
        for folder in ["home", "tmp", "files", "project", "papers", "codex"] {
            std::fs::create_dir_all(place.root.join(folder)).expect("folder");
        }
        home.write("place/project/seal.py", "def seal(letter):\n    return letter\n");
        home.write("place/files/page.html", format!("<h1>{NAME}</h1><ul><li>one</ul>"));
        let gemini = home.write("place/bin/gemini.sh", "#!/bin/sh\necho \"the model heard: $2\"\n");
        install(&gemini, &home.file("place/bin/gemini"));
        let repository = place.path("repository");
        let mut git = Command::new("git");
        git.args(["init", "--quiet", "--initial-branch=trunk", &repository]);
        run(git, b"").ok();
        home.write("place/repository/untracked.txt", "new");
        home.write("place/codex/config.toml", codex_config(&place.model.base_url()));
        place
    }

    /// The variables that every server is started with.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("HOME", self.path("home")), ("TMPDIR", self.path("tmp"))]
    }

    pub fn path(&self, relative: &str) -> String {
        self.root.join(relative).to_str().expect("UTF-8").to_owned()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// An agent that has `sealwire demo-server` for its own tools.
fn codex_config(base_url: &str) -> String {
    let program = quoted(bin("sealwire"));
    format!(
        "model = \"gpt-5\"\nmodel_provider = \"mock\"\n\
         approval_policy = \"never\"\nsandbox_mode = \"read-only\"\n\
         [model_providers.mock]\nname = \"mock\"\nbase_url = \"{base_url}\"\n\
         wire_api = \"responses\"\nrequest_max_retries = 0\nstream_max_retries = 0\n\
         [mcp_servers.tools]\ncommand = {program}\nargs = [\"demo-server\"]\n\
         default_tools_approval_mode = \"approve\"\n"
    )
}
