//! `sealwire doctor` finds what is wrong, says what to do, and raises no false alarm. Each
//! test plants one fault in a home that is otherwise in order; where the remedy is a command,
//! most run it and ask the doctor again.

mod due;
mod endpoints;
mod files;
mod listeners;
mod servers;
mod settings;
mod weak;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use sealwire_testkit::{Home, Output, bin, run};
use sealwire_tests::echo_table;
use serde_json::Value;

/// What the doctor said.
struct Examination {
    output: Output,
    json: Value,
}

impl Examination {
    /// What was found, from warnings up.
    fn grave(&self) -> Vec<&Value> {
        self.findings().filter(|finding| finding["severity"] != "note").collect()
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.json["findings"].as_array().expect("findings").iter()
    }

    fn notes(&self) -> Vec<&str> {
        let notes = self.findings().filter(|finding| finding["severity"] == "note");
        notes.filter_map(|finding| finding["id"].as_str()).collect()
    }

    /// Nothing is wrong, and nothing weak.
    #[track_caller]
    fn content(&self) -> &Self {
        assert_eq!(self.grave(), Vec::<&Value>::new(), "{}", self.output);
        assert_eq!(self.output.code, Some(0), "{}", self.output);
        self
    }

    /// Exactly one thing is wrong or weak; its remedy and place hold each of `parts`.
    #[track_caller]
    fn one(&self, severity: &str, id: &str, parts: &[&str]) -> &Value {
        let grave = self.grave();
        let [finding] = grave.as_slice() else { panic!("not one finding: {grave:#?}") };
        assert_eq!(
            (&finding["severity"], &finding["id"]),
            (&severity.into(), &id.into()),
            "{finding:#}"
        );
        let text = format!("{} {}", text(&finding["where"]), text(&finding["remedy"]));
        for part in parts {
            assert!(text.contains(part), "{part:?} missing: {finding:#}");
        }
        assert_eq!(self.output.code, Some(i32::from(severity == "error")), "{}", self.output);
        finding
    }

    /// Something was looked at and found in order that holds each of `parts`.
    #[track_caller]
    fn passed(&self, parts: &[&str]) {
        let checks = self.json["checks"].as_array().expect("checks");
        let holds = |check: &&Value| {
            let text = format!("{} {}", text(&check["what"]), text(&check["where"]));
            parts.iter().all(|part| text.contains(part))
        };
        assert!(checks.iter().any(|check| holds(&check)), "no {parts:?} in {checks:#?}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs the doctor, for machines. What it writes must have the documented form.
#[track_caller]
fn doctor(home: &Home, args: &[&str]) -> Examination {
    doctor_with(home, &[], args)
}

/// The same with options before the subcommand.
#[track_caller]
fn doctor_with(home: &Home, options: &[&str], args: &[&str]) -> Examination {
    let mut command = home.sealwire();
    command.args(options).args(["doctor", "--json"]).args(args);
    examined(run(command, b""))
}

#[track_caller]
fn examined(output: Output) -> Examination {
    let json: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("not JSON: {error}: {output}"));
    assert_eq!(json["schema"], "sealwire-doctor/1");
    let counted = |severity: &str| {
        let findings = json["findings"].as_array().expect("findings").iter();
        findings.filter(|finding| finding["severity"] == severity).count()
    };
    for (severity, count) in [("error", "errors"), ("warning", "warnings"), ("note", "notes")] {
        assert_eq!(json["summary"][count], counted(severity), "{output}");
    }
    for finding in json["findings"].as_array().expect("findings") {
        for member in ["id", "severity", "what", "where", "remedy"] {
            assert!(!text(&finding[member]).is_empty(), "no {member}: {finding:#}");
        }
        if let Some(command) = finding["command"].as_str() {
            assert!(text(&finding["remedy"]).contains(command), "{finding:#}");
        }
    }
    Examination { output, json }
}

/// A home in order that serves `echo`, with agents. Port 0 is a note.
fn healthy() -> Home {
    let home =
        Home::with_config(&format!("{}\n[agent_security]\nagents = [\"A\"]\n", echo_table()));
    doctor(&home, &["--offline"]).content();
    home
}

/// Plants one fault in a home in order, and expects it alone to be found offline.
#[track_caller]
fn finds(
    plant: impl FnOnce(&Home),
    severity: &str,
    id: &str,
    parts: &[&str],
) -> (Home, Examination) {
    let home = healthy();
    plant(&home);
    let examination = doctor(&home, &["--offline"]);
    examination.one(severity, id, parts);
    // What keeps `serve` from starting is never less than an error here.
    let refused = home.run(&["config", "check"]).code == Some(78);
    assert!(!refused || severity == "error", "{}", examination.output);
    (home, examination)
}

/// The same, and the remedy is a command that puts it right.
#[track_caller]
fn heals(plant: impl FnOnce(&Home), severity: &str, id: &str, parts: &[&str]) {
    let (home, examination) = finds(plant, severity, id, parts);
    let grave = examination.grave();
    remedy(grave[0]);
    doctor(&home, &["--offline"]).content();
}

/// Runs the command of a remedy as a user who pastes it.
#[track_caller]
fn remedy(finding: &Value) {
    let script = finding["command"].as_str().unwrap_or_else(|| panic!("no command: {finding:#}"));
    let programs = bin("sealwire").parent().expect("a folder").to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(programs).chain(env::split_paths(&path)));
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("PATH", path.expect("paths"));
    run(command, b"").ok();
}

/// Everything in a folder: path to content and time of change.
fn snapshot(dir: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        let modified = path.metadata().and_then(|meta| meta.modified()).expect("time");
        if path.is_dir() {
            all.extend(snapshot(&path));
        }
        let content = fs::read(&path).unwrap_or_default();
        all.insert(path.display().to_string(), (content, modified));
    }
    all
}

#[test]
fn a_home_in_order_is_left_as_it_is() {
    let home = healthy();
    let before = snapshot(home.path());
    let examination = doctor(&home, &[]);
    let notes: Vec<&str> =
        examination.content().notes().into_iter().filter(|id| *id != "file_limit_low").collect();
    let expected = ["port_zero", "rule_broad"];
    assert_eq!(notes, expected, "{}", examination.output);
    for parts in [
        ["core/core", "core-cert.pem"],
        ["mcp-server/echo", "echo-cert.pem"],
        ["agent/A", "A-cert.pem"],
        ["authority", "issuing-key.pem"],
        ["configuration is valid", "sealwire.toml"],
        ["3 tools", "[mcp_servers.echo]"],
    ] {
        examination.passed(&parts);
    }
    assert_eq!(snapshot(home.path()), before, "the doctor changed something");
}

#[test]
fn a_fresh_home_is_in_order() {
    let home = Home::initialized();
    let examination = doctor(&home, &[]);
    assert_eq!(examination.content().notes(), ["no_servers"]);
}

#[test]
fn a_home_from_a_bundle_is_in_order() {
    let first = healthy();
    let bundle = first.file("b.sealwire-bundle");
    let path = bundle.to_str().unwrap();
    let args = ["cert", "bundle", "b", "--endpoint", "localhost:7443", "--out", path];
    first.run(&args).ok();
    let second = Home::empty();
    second.run(&["init", "--from-bundle", path]).ok();
    doctor(&second, &["--offline"]).content();

    // The authority is elsewhere, and so is the remedy.
    fs::remove_file(second.file("certs/b/b-cert.pem")).unwrap();
    let examination = doctor(&second, &["--offline"]);
    examination.one("error", "file_missing", &["cert bundle", "init --from-bundle"]);
}

#[test]
fn people_read_the_same_with_the_gravest_last() {
    let home = healthy();
    home.chmod("certs/ca/ca-key.pem", 0o644);
    let output = home.run(&["doctor"]);
    assert_eq!(output.code, Some(1), "{output}");
    let key = home.file("certs/ca/ca-key.pem");
    let lines: Vec<&str> = output.stdout.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("error ")).expect("an error line");
    assert!(lines[at].contains("has mode 0644") && lines[at].contains(key.to_str().unwrap()));
    assert_eq!(lines[at + 1].trim(), format!("to fix: run: chmod 400 {}", key.display()));
    assert_eq!(lines[at + 2].trim(), "[mode_too_wide]");
    assert!(lines[at + 3].starts_with("1 error, 0 warnings, "), "{output}");
    assert_eq!(lines.len(), at + 4, "{output}");
    assert!(!output.stdout.contains('\u{1b}'), "colours in a pipe: {output}");
    assert!(output.stderr.starts_with("error: found 1 error"), "{output}");
}

#[test]
fn warnings_fail_only_where_asked() {
    let home = healthy();
    home.run(&["cert", "issue", "echo", "--force", "--days", "20"]).ok();
    let calm = doctor(&home, &["--offline"]);
    calm.one("warning", "certificate_expires_soon", &["echo-cert.pem"]);
    let strict = doctor(&home, &["--offline", "--strict"]);
    assert_eq!(strict.output.code, Some(1), "{}", strict.output);
}

#[test]
fn a_server_can_be_looked_at_alone() {
    let home = Home::with_config(&format!(
        "{}\n[mcp_servers.away]\nendpoint = \"127.0.0.1:1\"\n",
        echo_table()
    ));
    doctor(&home, &["echo"]).content();
    doctor(&home, &["away"]).one("error", "endpoint_closed", &[]);

    let unknown = home.run(&["doctor", "eco"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.stderr.contains("echo"), "{unknown}");
    let bad = home.run(&["doctor", "--timeout", "soon"]);
    assert_eq!(bad.code, Some(2), "{bad}");
}
