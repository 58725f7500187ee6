//! Blocks of configuration: ours is checked by the program, others' is parsed.

use std::fs;
use std::process::Command;

use sealwire_testkit::{Home, bin, run};
use serde_json::Value;

use super::page::{self, Block, Page, repository};

/// `sealwire config check` accepts it, in a home that has the certificates it needs.
fn accepted(what: &str, config: &str) {
    let table: toml::Table = config.parse().unwrap_or_else(|error| panic!("{what}: {error}"));
    let domain = table.get("security").and_then(|security| security.get("trust_domain")?.as_str());
    let home = Home::empty();
    home.run(&["init", "--trust-domain", domain.unwrap_or("sealwire.internal")]).ok();
    home.write("sealwire.toml", config);
    let issued = home.run(&["cert", "issue", "--all"]);
    let checked = home.run(&["config", "check"]);
    assert_eq!(checked.code, Some(0), "{what}\n{issued}\n{checked}");
}

/// Where an MCP client's file starts `sealwire`, it does so in a way that the program accepts.
fn commands(what: &str, value: &Value, found: &mut usize) {
    match value {
        Value::Object(members) => {
            if members.get("command").is_some_and(|command| command == "sealwire") {
                let mut command = Command::new(bin("sealwire"));
                let args = members["args"].as_array().expect("args");
                command.args(args.iter().map(|arg| arg.as_str().unwrap())).arg("--help");
                let output = run(command, b"");
                assert_eq!(output.code, Some(0), "{what}: {output}");
                *found += 1;
            }
            members.values().for_each(|member| commands(what, member, found));
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| commands(what, element, found));
        }
        _ => {}
    }
}

/// A part of the file of an MCP client.
fn of_a_client(what: &str, block: &Block) {
    let value = if block.language == "toml" {
        let value: toml::Table = block.code.parse().unwrap_or_else(|e| panic!("{what}: {e}"));
        serde_json::to_value(value).unwrap()
    } else {
        serde_json::from_str(&block.code).unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let mut found = 0;
    commands(what, &value, &mut found);
    assert!(found > 0, "{what}: nothing in it starts sealwire");
}

#[test]
fn each_block_of_configuration_is_accepted() {
    let mut checked = 0;
    for path in page::all() {
        for block in &Page::read(&path).blocks {
            let what = format!("{path}:{}", block.line);
            if block.said("file").is_some() {
                of_a_client(&what, block);
            } else if block.language == "toml"
                && block.said("tested by").is_none()
                && block.said("into").is_none()
            {
                let before = block.said("with").unwrap_or_default();
                accepted(&what, &format!("{before}\n{}", block.code));
                checked += 1;
            } else if block.language == "json" {
                // One text, or one on each line.
                let texts = serde_json::Deserializer::from_str(&block.code).into_iter::<Value>();
                let parsed: Result<Vec<_>, _> = texts.collect();
                assert!(parsed.is_ok_and(|texts| !texts.is_empty()), "{what} is not JSON");
            }
        }
    }
    assert!(checked > 10, "{checked}");
}

/// The configurations that are there to be copied.
#[test]
fn each_template_is_accepted() {
    let mut checked = 0;
    for directory in ["packaging/examples", "docs/templates"] {
        for entry in fs::read_dir(repository().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                accepted(&path.display().to_string(), &fs::read_to_string(&path).unwrap());
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "{checked}");
}

/// That each key of the code is there, and the reverse, is a test of `config::schema`.
#[test]
fn each_key_has_a_default_and_a_reason() {
    let page = fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let (mut keys, mut inside) = (0, false);
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            inside = heading.starts_with('`');
        } else if inside && line.starts_with("| `") {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            assert!(cells.len() >= 3 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
            keys += 1;
        }
    }
    assert!(keys > 80, "{keys}");
}
