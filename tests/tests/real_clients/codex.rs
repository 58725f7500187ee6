//! The real Codex CLI, with a model of ours: what the tool says goes from the server
//! through `connect` to the model, and the model's last words are printed.

use std::process::Command;

use sealwire_testkit::{MockModel, TOOL_SAID, run, tool};
use sealwire_tests::compatibility::{Package, snippet};
use serde_json::json;

use crate::record;
use crate::user::User;

#[test]
fn codex_exec() {
    let user = User::new();
    let text = "h\u{e9}llo \u{1f980}";
    let model = MockModel::calling("demo", "echo", &json!({ "text": text }));
    let config = format!(
        "model = \"gpt-5\"\nmodel_provider = \"mock\"\n\
         approval_policy = \"never\"\nsandbox_mode = \"read-only\"\n\
         [model_providers.mock]\nname = \"mock\"\nbase_url = \"{}\"\n\
         wire_api = \"responses\"\nrequest_max_retries = 0\nstream_max_retries = 0\n\n{}",
        model.base_url(),
        snippet("codex")
    );
    user.write(".codex/config.toml", &config);
    user.write("work/README", "nothing\n");

    let mut command = Command::new(tool("node/node_modules/.bin/codex"));
    command.args(["exec", "--strict-config", "--skip-git-repo-check", "--cd"]);
    command.arg(user.file("work")).arg("call echo");
    let output = run(user.with(command), b"");
    assert_eq!(model.refusals(), [""; 0], "{output}");
    let output = output.ok();
    assert!(output.stdout.contains(TOOL_SAID), "{output}");
    assert!(output.stdout.contains(text), "{output}");

    let package = Package::npm("@openai/codex");
    let revisions = user.revisions_of_demo();
    record("Codex CLI", &package, &revisions, "demo", "list, call by the model in `codex exec`");
}
