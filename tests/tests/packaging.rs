//! What is handed out beside the program says nothing that the program does not know.
//!
//! `scripts/package` builds the packages; here are the files that go into them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealwire_testkit::{GUARD, Home, Serve, bin, quoted, run};
use sealwire_tests::{echo_table, honest_session};
use serde_json::Value;

fn packaging(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A command line is accepted as far as it goes; `--help` keeps it from being carried out.
fn is_accepted(words: &[String]) {
    let (program, arguments) = words.split_first().unwrap();
    assert!(program.ends_with("sealwire"), "{words:?}");
    let mut command = Command::new(bin("sealwire"));
    command.args(arguments).arg("--help");
    let output = run(command, b"").ok();
    let subcommand = arguments
        .iter()
        .find(|word| ["serve", "health", "init", "connect", "doctor"].contains(&word.as_str()));
    let subcommand = subcommand.unwrap_or_else(|| panic!("{words:?} does nothing"));
    assert!(output.stdout.contains(&format!("sealwire {subcommand}")), "{words:?}: {output}");
}

/// The unit's settings, in their order.
fn unit() -> Vec<(String, String)> {
    let text = packaging("systemd/sealwire.service");
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty());
    let setting = |line: &str| {
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
        (key.to_owned(), value.to_owned())
    };
    lines.map(setting).collect()
}

fn setting(key: &str) -> String {
    let found = unit().into_iter().find(|(name, _)| name == key);
    found.unwrap_or_else(|| panic!("the unit has no {key}")).1
}

/// What systemd does with the unit, as far as this user can: the credentials in a directory,
/// the command line, the environment, the socket.
#[test]
fn the_unit_starts_a_service_from_its_credentials() {
    // /etc/sealwire would have its state in the unit's directory: see state_directory.rs.
    assert_eq!(setting("StateDirectory"), "sealwire");
    let state = Home::empty();
    let config = format!("[state]\ndirectory = {}\n{}", quoted(state.path()), echo_table());
    let home = Home::with_config(&config);
    let credentials = home.file("credentials");
    fs::create_dir(&credentials).unwrap();
    let loads = unit().into_iter().filter(|(key, _)| key == "LoadCredential");
    for (_, load) in loads {
        let (id, path) = load.split_once(':').unwrap();
        let source = home.file(path.strip_prefix("/etc/sealwire/").expect("of the home"));
        // systemd.exec(5): files of a directory are named after it, with `_` between.
        let files = if source.is_dir() {
            let entries = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().file_name());
            let names = entries.map(|name| name.into_string().unwrap());
            names.map(|name| (source.join(&name), format!("{id}_{name}"))).collect()
        } else {
            vec![(source, id.to_owned())]
        };
        for (file, id) in files {
            fs::copy(file, credentials.join(id)).unwrap();
        }
    }
    assert!(!fs::read_dir(&credentials).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.contains("ca-key") || name.contains("issuing-key")
    }));
    let line = setting("ExecStart").replace("%d", credentials.to_str().unwrap());
    let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
    assert_eq!(words[0], "/usr/bin/sealwire");
    let socket = UnixDatagram::bind(home.file("notify")).unwrap();
    socket.set_read_timeout(Some(GUARD)).unwrap();
    // The home of the unit is not here, and would be closed to the service.
    assert!(words.contains(&"/etc/sealwire".to_owned()));
    let mut command = Command::new(bin("sealwire"));
    command.args(words[1..].iter().map(|word| word.replace("/etc/sealwire", "/nonexistent")));
    command.env("NOTIFY_SOCKET", home.file("notify"));
    let serve = Serve::spawn(command);
    let mut message = [0; 256];
    let length = socket.recv(&mut message).unwrap();
    assert!(message[..length].starts_with(b"READY=1\n"));
    assert_eq!(setting("Type"), "notify");
    honest_session(&home, serve.address());
    assert_eq!(serve.stop().code(), Some(0));
}

/// Calls under way are finished only if the signal is for sealwire alone, and a bad
/// configuration is not tried again and again.
#[test]
fn the_unit_lets_calls_finish() {
    assert_eq!(setting("KillMode"), "mixed");
    assert_eq!(setting("RestartPreventExitStatus"), "78");
    assert!(setting("TimeoutStopSec").trim_end_matches('s').parse::<u64>().unwrap() > 18);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let home = Home::empty();
    let program = bin("sealwire");
    let text = packaging("systemd/sealwire.service");
    let text = text.replace("/usr/bin/sealwire", program.to_str().unwrap());
    let unit = home.write("sealwire.service", text);
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).arg(&unit).stdin(Stdio::null()).stdout(Stdio::null());
    if analyze.status().is_err() {
        println!("not tried: there is no systemd-analyze here");
        return;
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).arg(&unit);
    let output = run(analyze, b"").ok();
    assert!(!output.stderr.contains("sealwire.service"), "{output}");
}

/// The container file's instructions, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = packaging("container/Containerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap();
        (word.to_owned(), rest.trim().to_owned())
    };
    lines.map(split).collect()
}

fn words(array: &str) -> Vec<String> {
    serde_json::from_str(array).unwrap_or_else(|error| panic!("{error}: {array}"))
}

#[test]
fn the_container_runs_what_exists() {
    let instructions = instructions();
    let one = |word: &str| {
        let found: Vec<_> = instructions.iter().filter(|(name, _)| name == word).collect();
        assert_eq!(found.len(), 1, "{word}");
        found[0].1.clone()
    };
    let entry = words(&one("ENTRYPOINT"));
    // Process 1 has to wait for orphans, which `serve` does not do.
    assert_eq!(entry[..2], ["/usr/bin/tini", "--"]);
    assert!(instructions.iter().any(|(name, run)| name == "RUN" && run.contains(" tini ")));
    is_accepted(&[&entry[2..], &words(&one("CMD"))].concat());
    let probe = one("HEALTHCHECK");
    is_accepted(&words(probe.split_once("CMD ").unwrap().1));
    assert!(one("USER").split(':').all(|id| id.parse::<u32>().unwrap() > 0));

    let stages: Vec<_> = instructions.iter().filter(|(name, _)| name == "FROM").collect();
    assert_eq!(stages.len(), 2);
    // The toolchain is the one that the project is built with.
    let toolchain = include_str!("../../rust-toolchain.toml");
    let version = stages[0].1.split([':', '-']).nth(1).unwrap();
    assert!(toolchain.contains(&format!("\"{version}.")), "{version} and {toolchain}");
    // A home in /etc/sealwire has its state there.
    assert_eq!(one("VOLUME"), "/var/lib/sealwire");
    // What is built is what is copied, and what is copied is there.
    let build = instructions.iter().find(|(name, _)| name == "RUN").unwrap();
    assert!(build.1.contains("--release --locked -p sealwire"), "{build:?}");
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (_, copied) in instructions.iter().filter(|(name, _)| name == "COPY") {
        if copied.starts_with("--from") {
            assert!(copied.ends_with(" /src/target/release/sealwire /usr/bin/sealwire"));
            continue;
        }
        let files: Vec<_> = copied.split(' ').collect();
        for file in &files[..files.len() - 1] {
            assert!(top.join(file).exists(), "{file}");
        }
    }
    // Without this file the entropy source would be the slow one, so it must not be ignored.
    let ignored = fs::read_to_string(top.join(".containerignore")).unwrap();
    assert!(!ignored.contains(".cargo") && top.join(".cargo/config.toml").exists());
}

fn documents(file: &str) -> Vec<Value> {
    let text = packaging(&format!("kubernetes/{file}"));
    let documents = serde_saphyr::from_multiple(&text);
    documents.unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// Every list of words in `value` that is a command or the arguments of our image.
fn command_lines(value: &Value, found: &mut Vec<Vec<String>>) {
    let list = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    if let Some(members) = value.as_object() {
        let command = members.get("command").map(&list).unwrap_or_default();
        if command.first().is_some_and(|program| program.ends_with("/sealwire")) {
            found.push(command);
        } else if members.contains_key("args") {
            found.push([vec!["sealwire".to_owned()], list(&members["args"])].concat());
        }
        members.values().for_each(|value| command_lines(value, found));
    }
    value.as_array().into_iter().flatten().for_each(|value| command_lines(value, found));
}

#[test]
fn kubernetes_runs_what_exists() {
    for (file, expected) in [("server.yaml", 3), ("client.yaml", 2)] {
        let mut found = Vec::new();
        documents(file).iter().for_each(|document| command_lines(document, &mut found));
        assert_eq!(found.len(), expected, "{file}: {found:?}");
        found.iter().for_each(|line| is_accepted(line));
    }
}

/// The volumes together are a home: the configuration in it is good, and each secret is
/// where it is looked for.
#[test]
fn the_volumes_make_a_home() {
    let documents = documents("server.yaml");
    let config = of_kind(&documents, "ConfigMap")["data"]["sealwire.toml"].as_str().unwrap();
    let whole = Home::initialized();
    whole.write("sealwire.toml", config);
    whole.run(&["cert", "issue", "--all"]).ok();

    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "home").unwrap();
    let mounted = Home::empty();
    let mut files = BTreeMap::new();
    for source in volume["projected"]["sources"].as_array().unwrap() {
        let source = source.as_object().unwrap().values().next().unwrap();
        for item in source["items"].as_array().unwrap() {
            files.insert(item["key"].as_str().unwrap(), item["path"].as_str().unwrap());
        }
    }
    assert_eq!(files.len(), 4);
    // All that is written is in volumes of its own, and state in one that stays.
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap();
    let state = mounts.iter().find(|mount| mount["mountPath"] == "/var/lib/sealwire").unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == state["name"]).unwrap();
    let claim = of_kind(&documents, "PersistentVolumeClaim");
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    for path in files.values() {
        mounted.write(path, fs::read(whole.file(path)).unwrap());
        mounted.chmod(path, 0o400);
    }
    let check = mounted.run(&["config", "check"]).ok();
    assert!(check.stdout.contains("mcp-server/time"), "{check}");
    assert!(!mounted.file("certs/ca/ca-key.pem").exists());
    assert!(!mounted.file("certs/ca/issuing-key.pem").exists());

    // The probes ask where the configuration says that there is somebody.
    let mut lines = Vec::new();
    command_lines(pod, &mut lines);
    let asked = lines.iter().filter(|line| line.contains(&"health".to_owned()));
    for line in asked {
        let address = line.last().unwrap();
        assert!(config.contains(&format!("[admin]\naddress = \"{address}\"")), "{line:?}");
    }
    // A pod is given longer to end than it takes.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > 18);
}

/// The client's init container makes an identity that reaches the server of the other file.
#[test]
fn the_client_is_initialized_from_a_bundle() {
    let home = Home::with_config("[mcp_servers.time]\ncommand = \"cat\"\n");
    let made = home.file("reviewer.sealwire-bundle");
    let made = made.to_str().unwrap();
    let bundle = ["cert", "bundle", "reviewer", "--kind", "agent", "--endpoint", "mcp-time:7443"];
    home.run(&[&bundle[..], &["--out", made]].concat()).ok();
    let service = documents("server.yaml");
    let service = of_kind(&service, "Service");
    assert_eq!(service["metadata"]["name"], "mcp-time");
    assert_eq!(service["spec"]["ports"][0]["port"], 7443);

    let client = documents("client.yaml");
    let containers = client[0]["spec"]["initContainers"].as_array().unwrap();
    let identity = containers.iter().find(|container| container["name"] == "identity").unwrap();
    let root = Home::empty();
    let place = |word: &Value| match word.as_str().unwrap() {
        "/sealwire/home" => root.file("home"),
        "/bundle/reviewer.sealwire-bundle" => PathBuf::from(made),
        other => PathBuf::from(other),
    };
    let mut command = Command::new(bin("sealwire"));
    command.args(identity["args"].as_array().unwrap().iter().map(place));
    run(command, b"").ok();
    let mut check = Command::new(bin("sealwire"));
    check.arg("--home").arg(root.file("home")).args(["config", "check", "--json"]);
    let checked: Value = serde_json::from_str(&run(check, b"").ok().stdout).unwrap();
    assert_eq!(checked["servers"][0]["address"], "mcp-time:7443", "{checked}");
    assert_eq!(checked["servers"][0]["name"], "time", "{checked}");
}

#[test]
fn the_example_configuration_is_good() {
    let home = Home::initialized();
    home.write("sealwire.toml", packaging("examples/sealwire.toml"));
    home.run(&["cert", "issue", "--all"]).ok();
    home.run(&["config", "check"]).ok();
}
