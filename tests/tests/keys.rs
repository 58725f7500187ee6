//! The keys that agents sign and read messages with: made, listed, replaced, exchanged.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use sealwire_testkit::{Home, Output, run};
use serde_json::Value;

const AGENTS: &str = "[agent_security]\nagents = [\"Ann\", \"Bob\"]\n";

/// A home with two agents that have keys.
fn home() -> Home {
    let home = Home::with_config(AGENTS);
    home.run(&["key", "new", "--all"]).ok();
    home
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn list(home: &Home) -> Vec<Value> {
    json(&home.run(&["key", "list", "--json"]).ok()).as_array().unwrap().clone()
}

/// The rows of one agent, newest first.
fn of(home: &Home, agent: &str) -> Vec<Value> {
    list(home).into_iter().filter(|row| row["agent"] == agent).collect()
}

/// `sealwire` at another time.
fn later(home: &Home, time: &str, args: &[&str]) -> Output {
    let mut command = Command::new("faketime");
    command.arg("-f").arg(time).arg(sealwire_testkit::bin("sealwire"));
    command.arg("--home").arg(home.path()).args(args);
    run(command, b"")
}

fn refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output}");
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?} in {output}");
    }
    assert!(output.stderr.contains("to fix: "), "no remedy: {output}");
}

#[test]
fn keys_are_private_and_never_made_twice() {
    let home = home();
    assert_eq!(fs::metadata(home.file("keys/agents")).unwrap().mode() & 0o777, 0o700);
    for (file, mode) in [
        ("Ann-signing", 0o600),
        ("Ann-signing.pub", 0o644),
        ("Ann-recipient", 0o600),
        ("Ann-recipient.pub", 0o644),
        ("Ann-bundle", 0o600),
    ] {
        let metadata = fs::metadata(home.file(&format!("keys/agents/{file}"))).unwrap();
        assert_eq!(metadata.mode() & 0o777, mode, "{file}");
    }
    let before = fs::read(home.file("keys/agents/Ann-signing")).unwrap();
    refused(&home.run(&["key", "new", "Ann"]), 1, &["Ann has keys already", "key rotate Ann"]);
    home.run(&["key", "new", "--all"]).ok();
    assert!(fs::read(home.file("keys/agents/Ann-signing")).unwrap() == before);
    refused(&home.run(&["key", "new", "Eve"]), 2, &["no agent \"Eve\"", "Ann, Bob"]);

    // OpenSSL reads all four, and finds the same public halves.
    for key in ["Ann-signing", "Ann-recipient"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-pubout", "-in"]).arg(home.file(&format!("keys/agents/{key}")));
        let derived = run(openssl, b"").ok().stdout;
        let public = fs::read_to_string(home.file(&format!("keys/agents/{key}.pub"))).unwrap();
        assert_eq!(derived.trim(), public.trim(), "{key}");
    }
}

#[test]
fn what_is_listed_is_to_be_read_aloud() {
    let home = home();
    let rows = list(&home);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let text = home.run(&["key", "list"]).ok().stdout;
    let mut seen = BTreeSet::new();
    for row in &rows {
        let fingerprint = row["fingerprint"].as_str().unwrap();
        assert!(fingerprint.len() <= 24 && seen.insert(fingerprint.to_owned()), "{row}");
        assert!(text.contains(fingerprint), "{text}");
        assert_eq!((&row["state"], &row["own"]), (&"current".into(), &true.into()), "{row}");
    }
}

#[test]
fn keys_that_are_too_open_or_not_theirs_are_refused() {
    let home = home();
    let signing = home.file("keys/agents/Ann-signing");
    home.chmod("keys/agents/Ann-signing", 0o640);
    let import =
        |file: &Path| home.run(&["key", "import", file.to_str().unwrap(), "--agent", "Bob"]);
    refused(&import(&signing), 1, &["wider than 0600", "chmod 600"]);
    home.chmod("keys/agents/Ann-signing", 0o600);
    // The doctor sees that the keys are not those of the bundle.
    fs::copy(home.file("keys/agents/Bob-recipient"), home.file("keys/agents/Ann-recipient"))
        .unwrap();
    let report = json(&home.run(&["doctor", "--offline", "--json"]));
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["id"] == "agent_keys_unusable");
    let found = found.unwrap_or_else(|| panic!("{report:#}"));
    assert!(found["where"].as_str().unwrap().contains("Ann"), "{found}");
}

#[test]
fn a_bundle_is_believed_with_its_fingerprint_alone() {
    let (here, there) =
        (Home::with_config(AGENTS), Home::with_config("[agent_security]\nagents = [\"Cyd\"]\n"));
    for home in [&here, &there] {
        home.run(&["key", "new", "--all"]).ok();
    }
    let exported = there.run(&["key", "export", "Cyd"]).ok();
    let fingerprint = of(&there, "Cyd")[0]["fingerprint"].as_str().unwrap().to_owned();
    assert!(exported.stderr.contains(&fingerprint), "{exported}");
    assert!(!exported.stdout.contains(&fingerprint) && !exported.stdout.contains("PRIVATE"));
    let file = here.write("cyd.bundle", exported.stdout + "\n");
    let import = |arguments: &[&str]| {
        here.run(&[&["key", "import", file.to_str().unwrap()], arguments].concat())
    };
    // Standard input is no terminal, so nobody is asked, and the file does not vouch for itself.
    let asked = import(&[]);
    let why = "not signed by an authority that is trusted here";
    refused(&asked, 2, &["the fingerprint of Cyd is missing", why]);
    assert!(!asked.stderr.contains(&fingerprint), "{asked}");
    let other = of(&here, "Ann")[0]["fingerprint"].as_str().unwrap().to_owned();
    let cyd = |fingerprint: &str| import(&["--agent", "Cyd", "--fingerprint", fingerprint]);
    refused(&cyd(&other), 1, &["does not have that fingerprint"]);
    refused(&cyd(&fingerprint[..fingerprint.len() - 1]), 1, &["does not have that fingerprint"]);
    refused(&import(&["--fingerprint", &fingerprint, "--agent", "Ann"]), 1, &["bundle of Cyd"]);
    assert_eq!(of(&here, "Cyd").len(), 0);
    // Read aloud: in capitals, with spaces.
    let spoken = fingerprint.to_uppercase().replace('-', " ");
    // Whose fingerprint it is, the file does not say either.
    refused(&import(&["--fingerprint", &spoken]), 2, &["bundle of Cyd, and --agent is missing"]);
    import(&["--agent", "Cyd", "--fingerprint", &spoken]).ok();
    import(&["--agent", "Cyd", "--fingerprint", &fingerprint]).ok();
    let known = of(&here, "Cyd");
    assert_eq!((known.len(), &known[0]["own"]), (1, &false.into()));

    // A bundle that was changed holds for nobody.
    let text = fs::read_to_string(&file).unwrap();
    let is_short = |line: &str| line.starts_with('-') || line.len() < 9;
    let changed = text.lines().map(|line| match is_short(line) {
        true => line.to_owned(),
        false => line.replacen(&line[8..9], if &line[8..9] == "A" { "B" } else { "A" }, 1),
    });
    let changed = here.write("changed.bundle", changed.collect::<Vec<_>>().join("\n") + "\n");
    let changed = changed.to_str().unwrap();
    let output =
        here.run(&["key", "import", changed, "--agent", "Cyd", "--fingerprint", &fingerprint]);
    refused(&output, 1, &["changed.bundle"]);

    // The successor is believed only when it is confirmed, and then the one before is gone
    // by for good.
    there.run(&["key", "rotate", "Cyd"]).ok();
    let next = there.file("next.bundle");
    there.run(&["key", "export", "Cyd", "--out", next.to_str().unwrap()]).ok();
    let import = |agent: &str, file: &Path, fingerprint: &str| {
        let file = file.to_str().unwrap();
        here.run(&["key", "import", file, "--agent", agent, "--fingerprint", fingerprint])
    };
    refused(&import("Cyd", &next, &fingerprint), 1, &["does not have that fingerprint"]);
    let newer = of(&there, "Cyd")[0]["fingerprint"].as_str().unwrap().to_owned();
    import("Cyd", &next, &newer).ok();
    refused(&import("Cyd", &file, &fingerprint), 1, &["it has been replaced"]);
    let states: Vec<_> = of(&here, "Cyd").iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["current", "replaced"]);
    // Nobody elsewhere speaks for an agent of this home.
    let ann = here.run(&["key", "export", "Ann"]).ok().stdout + "\n";
    let (ann, fingerprint) =
        (here.write("ann.bundle", ann), of(&here, "Ann")[0]["fingerprint"].clone());
    let told = fingerprint.as_str().unwrap();
    refused(&import("Ann", &ann, told), 1, &["Ann is an agent of this home"]);
}

/// A home whose agents are those, which trusts the authority of `first` and has not its key.
fn below(first: &Home, name: &str, agents: &str) -> Home {
    let bundle = first.file(&format!("{name}.sealwire-bundle"));
    let path = bundle.to_str().unwrap();
    first.run(&["cert", "bundle", name, "--endpoint", "localhost:7443", "--out", path]).ok();
    let home = Home::empty();
    home.run(&["init", "--from-bundle", path]).ok();
    let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("{config}\n[agent_security]\nagents = [{agents}]\n"));
    home.run(&["key", "new", "--all"]).ok();
    home
}

#[test]
fn a_bundle_that_the_authority_vouches_for_needs_no_fingerprint() {
    let first = home();
    let (here, there) = (below(&first, "here", "\"Bea\""), below(&first, "there", "\"Cyd\""));
    let export = |home: &Home, agent: &str| home.run(&["key", "export", agent]).ok().stdout + "\n";
    let take = |home: &Home, name: &str, text: &str| {
        let file = home.write(name, text);
        home.run(&["key", "import", file.to_str().unwrap()])
    };
    // Of the home that has the authority's key.
    let ann = export(&first, "Ann");
    take(&here, "ann", &ann).ok();
    assert_eq!(of(&here, "Ann").len(), 1);
    // Of one that has not: its owner is asked once, where the authority is.
    let plain = export(&there, "Cyd");
    refused(&take(&here, "cyd", &plain), 2, &["the fingerprint of Cyd is missing"]);
    let told = of(&there, "Cyd")[0]["fingerprint"].as_str().unwrap().to_owned();
    let vouch = |home: &Home, text: &str, fingerprint: &str| {
        let file = home.write("asked", text);
        let file = file.to_str().unwrap();
        home.run(&["key", "vouch", file, "--agent", "Cyd", "--fingerprint", fingerprint])
    };
    let other = of(&first, "Ann")[0]["fingerprint"].as_str().unwrap().to_owned();
    refused(&vouch(&first, &plain, &other), 1, &["does not have that fingerprint"]);
    refused(&vouch(&there, &plain, &told), 1, &["ca-key.pem"]);
    let old = vouch(&first, &plain, &told).ok().stdout + "\n";
    let foreign = home();
    let theirs = vouch(&foreign, &plain, &told).ok().stdout + "\n";
    refused(&take(&here, "cyd", &theirs), 2, &["not signed by an authority that is trusted"]);
    // The word for one is no word for another.
    let (_, word) = old.split_at(old.find("-----BEGIN SEALWIRE AGENT STATEMENT").unwrap());
    let other = export(&below(&first, "other", "\"Dan\""), "Dan");
    refused(&take(&here, "dan", &format!("{other}{word}")), 2, &["agent Cyd, and this is Dan"]);
    assert_eq!(of(&here, "Cyd").len() + of(&here, "Dan").len(), 0);

    // The highest number wins, and the successor takes the authority's word, too.
    there.run(&["key", "rotate", "--all"]).ok();
    let newer = export(&there, "Cyd");
    refused(&take(&here, "cyd", &format!("{newer}{word}")), 2, &["vouches for number"]);
    let told = of(&there, "Cyd")[0]["fingerprint"].as_str().unwrap().to_owned();
    let new = vouch(&first, &newer, &told).ok().stdout + "\n";
    take(&here, "cyd", &old).ok();
    take(&here, "cyd", &new).ok();
    let states: Vec<_> = of(&here, "Cyd").iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["current", "replaced"]);
    refused(&take(&here, "cyd", &old), 1, &["it has been replaced"]);
    here.run(&["agent", "list"]).ok();
}

/// Whoever had its key could have said of any keys whose they are.
#[test]
fn an_authority_that_is_revoked_vouches_for_nobody_any_more() {
    let first = home();
    let trust = "[agent_security.trust.Bea]\ncan_communicate_with = [\"Ann\"]\n";
    let (here, there) = (below(&first, "here", "\"Bea\""), below(&first, "there", "\"Cyd\""));
    let config = fs::read_to_string(here.file("sealwire.toml")).unwrap();
    let send = || {
        let mut command = here.sealwire();
        command.args(["agent", "send", "--from", "Bea", "--to", "Ann"]);
        run(command, b"text")
    };
    let bundle = first.run(&["key", "export", "Ann"]).ok().stdout + "\n";
    let take = |home: &Home, more: &[&str]| {
        let file = home.write("ann", &bundle);
        home.run(&[&["key", "import", file.to_str().unwrap()], more].concat())
    };
    here.write("sealwire.toml", format!("{config}{trust}"));
    take(&here, &[]).ok();
    send().ok();
    first.run(&["ca", "renew-issuing", "--new-key"]).ok();
    first.run(&["cert", "crl"]).ok();
    for home in [&here, &there] {
        fs::copy(first.file("certs/ca/ca-crl.pem"), home.file("crl.pem")).unwrap();
        let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
        let head = "[security.certificates]\n";
        assert!(config.contains(head), "{config}");
        home.write("sealwire.toml", config.replace(head, &format!("{head}crl = \"crl.pem\"\n")));
    }
    // What is new is not taken, and what was taken counts no more.
    refused(&take(&there, &[]), 2, &["statement does not count", "revoked"]);
    let sent = send();
    assert!(sent.code == Some(1) && sent.stderr.contains("no key of Ann is known"), "{sent}");
    assert_eq!(of(&here, "Ann")[0]["state"], "revoked");
    // Its owner says himself that it is his, or the authority of now does.
    let told = of(&first, "Ann")[0]["fingerprint"].as_str().unwrap().to_owned();
    take(&here, &["--agent", "Ann", "--fingerprint", &told]).ok();
    assert_eq!(of(&here, "Ann")[0]["state"], "current");
    send().ok();
}

/// With the name go the keys that it had, and the mail that is under way with them.
#[test]
fn an_agent_whose_name_is_revoked_is_believed_no_more() {
    let trust = "[agent_security.trust.Ann]\ncan_communicate_with = [\"Bob\"]\n\
                 [agent_security.trust.Bob]\ncan_communicate_with = [\"Ann\"]\n";
    let home = Home::with_config(&format!("{AGENTS}{trust}"));
    home.run(&["key", "new", "--all"]).ok();
    let send = |from: &str, to: &str| {
        let mut command = home.sealwire();
        command.args(["agent", "send", "--from", from, "--to", to]);
        run(command, b"before")
    };
    send("Ann", "Bob").ok();
    let bundle = home.run(&["key", "export", "Ann"]).ok().stdout + "\n";
    home.run(&["cert", "revoke", "agent/Ann"]).ok();
    let listed = home.run(&["key", "list"]).ok().stdout;
    assert!(listed.contains("revoked: sealwire key rotate Ann --compromised"), "{listed}");
    assert_eq!(of(&home, "Bob")[0]["state"], "current");
    // Mail that waits is not delivered, and is there for an operator to look at.
    let received = home.run(&["agent", "recv", "--as", "Bob"]);
    assert!(!received.stdout.contains("before"), "{received}");
    let dead = home.run(&["agent", "dead-letters", "list", "--as", "Bob"]).ok().stdout;
    assert!(dead.contains("sender_key_revoked"), "{dead}");
    let sent = send("Ann", "Bob");
    assert_eq!(sent.code, Some(1), "{sent}");
    assert!(sent.stderr.contains("Ann is revoked"), "{sent}");
    assert!(sent.stderr.contains("key rotate Ann --compromised"), "{sent}");
    assert_eq!(send("Bob", "Ann").code, Some(1));
    // Nobody vouches for what is revoked, nor takes it.
    refused(&home.run(&["key", "export", "Ann"]), 1, &["Ann is revoked"]);
    let other = Home::with_config("");
    other.run(&["cert", "revoke", "agent/Ann"]).ok();
    let file = other.write("ann", bundle);
    refused(&other.run(&["key", "import", file.to_str().unwrap()]), 1, &["Ann is revoked"]);

    // What is made since counts, from the next whole second on.
    home.run(&["key", "rotate", "Ann", "--compromised"]).ok();
    sealwire_testkit::wait_until("mail of the new keys", || {
        send("Ann", "Bob").code == Some(0)
            && home.run(&["agent", "recv", "--as", "Bob"]).stdout.contains("before")
    });
    assert_eq!(of(&home, "Ann")[0]["state"], "current");
}

/// With two, nobody of the home could be believed any more.
#[test]
fn a_signing_key_is_one_agents() {
    let (here, there) =
        (home(), Home::with_config("[agent_security]\nagents = [\"Cyd\", \"Dan\"]\n"));
    let signing = |agent: &str| {
        let file = here.file(&format!("keys/agents/{agent}-signing"));
        file.to_str().unwrap().to_owned()
    };
    let (ann, old) = (signing("Ann"), here.file("old").to_str().unwrap().to_owned());
    refused(&here.run(&["key", "import", &ann, "--agent", "Bob"]), 1, &["one that Ann has"]);
    fs::copy(&ann, &old).unwrap();
    here.run(&["key", "rotate", "Ann"]).ok();
    for agent in ["Ann", "Bob"] {
        let output = here.run(&["key", "import", &old, "--agent", agent]);
        refused(&output, 1, &["one that Ann has, or had"]);
    }
    // Elsewhere it is done by hand: the first agent's files are away meanwhile.
    there.run(&["key", "new", "Cyd"]).ok();
    let cyd = there.run(&["key", "export", "Cyd"]).ok().stdout + "\n";
    let told = of(&there, "Cyd")[0]["fingerprint"].as_str().unwrap().to_owned();
    let (keys, away) = (there.file("keys/agents"), there.file("away"));
    fs::rename(&keys, &away).unwrap();
    let file = away.join("Cyd-signing");
    there.run(&["key", "import", file.to_str().unwrap(), "--agent", "Dan"]).ok();
    let dan = there.run(&["key", "export", "Dan"]).ok().stdout + "\n";
    let import = |agent: &str, bundle: &str| {
        let file = here.write("bundle", bundle);
        let file = file.to_str().unwrap();
        here.run(&["key", "import", file, "--agent", agent, "--fingerprint", &told])
    };
    import("Cyd", &cyd).ok();
    refused(&import("Dan", &dan), 1, &["one that Cyd has"]);
    here.run(&["agent", "list"]).ok();
}

#[test]
fn a_rotation_overlaps_and_then_the_old_key_is_destroyed() {
    let home = home();
    let first = of(&home, "Ann")[0].clone();
    home.run(&["key", "rotate", "Ann"]).ok();
    let rows = of(&home, "Ann");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_ne!(rows[0]["fingerprint"], first["fingerprint"]);
    assert_ne!(rows[0]["recipient_kid"], first["recipient_kid"]);
    assert!(rows[0]["number"].as_u64() > first["number"].as_u64(), "{rows:?}");
    assert_eq!(
        (&rows[1]["fingerprint"], &rows[1]["state"]),
        (&first["fingerprint"], &"replaced".into())
    );
    let old = home.file(&format!("keys/agents/Ann-recipient.{}", first["number"]));
    assert_eq!(fs::metadata(&old).unwrap().mode() & 0o777, 0o600);

    // As long as mail may wait, and not longer.
    later(&home, "+29d", &["key", "list"]).ok();
    assert!(old.exists());
    later(&home, "+31d", &["key", "list"]).ok();
    assert!(!old.exists(), "the old recipient key outlives its time");
    assert_eq!(of(&home, "Ann").len(), 1);
    assert!(home.file("keys/agents/Ann-recipient").exists());

    // Of keys that somebody else has, nothing is kept.
    home.run(&["key", "rotate", "Ann", "--compromised"]).ok();
    assert_eq!(of(&home, "Ann").len(), 1);
    let kept = fs::read_dir(home.file("keys/agents")).unwrap();
    let kept = kept.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("Ann-recipient.") && !name.ends_with(".pub")
    });
    assert_eq!(kept.count(), 0);
}

#[test]
fn the_doctor_reminds_of_keys_that_are_due_and_rotate_due_finds_them() {
    let home = home();
    let ids = |output: &Output| -> Vec<String> {
        let report = json(output);
        let findings = report["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    };
    let doctor = ["doctor", "--offline", "--json"];
    let due = "agent_keys_due".to_owned();
    assert!(!ids(&home.run(&doctor)).contains(&due));
    assert!(!ids(&later(&home, "+89d", &doctor)).contains(&due));
    assert!(ids(&later(&home, "+91d", &doctor)).contains(&due));
    assert!(ids(&later(&home, "+121d", &doctor)).contains(&"agent_keys_expired".to_owned()));
    home.run(&["key", "rotate", "--due"]).ok();
    assert_eq!(list(&home).len(), 2, "rotated too early");
    later(&home, "+91d", &["key", "rotate", "--due"]).ok();
    assert_eq!(list(&home).len(), 4);
    // A shorter rule holds for keys that are there already.
    home.write("sealwire.toml", format!("[security.encryption]\nkey_rotation_days = 1\n{AGENTS}"));
    assert!(ids(&later(&home, "+93d", &doctor)).contains(&due));
}

#[test]
fn a_key_of_openssh_or_pkcs8_becomes_the_signing_key() {
    let home = home();
    let file = home.file("mine");
    let path = file.to_str().unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", path]);
    run(keygen, b"").ok();
    refused(&home.run(&["key", "import", path]), 2, &["--agent is missing"]);
    home.run(&["key", "import", path, "--agent", "Ann"]).ok();
    refused(&home.run(&["key", "import", path, "--agent", "Ann"]), 1, &["that is the signing key"]);
    // The public half that OpenSSH has ends in the 32 bytes of ours.
    let public = fs::read_to_string(home.file("mine.pub")).unwrap();
    let tail = public.split_whitespace().nth(1).unwrap();
    let ours = fs::read_to_string(home.file("keys/agents/Ann-signing.pub")).unwrap();
    let key = |base64: &str| {
        let mut hex = Command::new("sh");
        hex.args([
            "-c",
            &format!("printf %s '{base64}' | openssl base64 -d -A | tail -c 32 | od -An -tx1"),
        ]);
        run(hex, b"").ok().stdout
    };
    assert_eq!(key(tail), key(ours.lines().nth(1).unwrap()));

    let pkcs8 = home.file("other");
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "ED25519", "-out"]).arg(&pkcs8);
    run(openssl, b"").ok();
    home.chmod("other", 0o600);
    home.run(&["key", "import", pkcs8.to_str().unwrap(), "--agent", "Bob"]).ok();
    assert_eq!(of(&home, "Bob").len(), 2);

    for (arguments, reason) in [
        (&["-t", "rsa", "-b", "2048", "-N", ""][..], "only Ed25519"),
        (&["-t", "ed25519", "-N", "secret"][..], "encrypted with a passphrase"),
    ] {
        let file = home.file(if reason.contains("only") { "rsa" } else { "locked" });
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-q").args(arguments).arg("-f").arg(&file);
        run(keygen, b"").ok();
        let output = home.run(&["key", "import", file.to_str().unwrap(), "--agent", "Bob"]);
        refused(&output, 1, &[reason]);
    }
}

#[test]
fn a_rotation_that_a_crash_left_half_done_is_finished() {
    let home = home();
    let (now, next) = (home.file("keys/agents"), Home::with_config(AGENTS));
    // Ann's next generation, made elsewhere, in the state in which a rotation is decided
    // upon: written, and nothing renamed yet.
    next.run(&["key", "new", "Ann"]).ok();
    next.run(&["key", "rotate", "Ann"]).ok();
    let before = of(&home, "Ann")[0].clone();
    for what in ["signing", "recipient", "bundle"] {
        let file = next.file(&format!("keys/agents/Ann-{what}"));
        fs::copy(file, now.join(format!("Ann-{what}.next"))).unwrap();
    }
    let after = of(&home, "Ann");
    assert_eq!(after[0]["fingerprint"], of(&next, "Ann")[0]["fingerprint"]);
    assert_eq!(after[1]["fingerprint"], before["fingerprint"]);
    let report = json(&home.run(&["doctor", "--offline", "--json"]));
    assert!(!report.to_string().contains("agent_keys_unusable"), "{report}");
    let left = fs::read_dir(now).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().ends_with(".next")));
}

#[test]
fn the_standard_team_has_all_it_needs() {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    home.run(&["config", "check"]).ok();
    let rows = list(&home);
    assert_eq!(rows.len(), 8, "{rows:?}");
    let check = json(&home.run(&["config", "check", "--json"]).ok());
    assert_eq!(check["warnings"], serde_json::json!([]), "{check}");
    let before = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.run(&["init", "--agents", "standard"]).ok();
    assert_eq!(fs::read_to_string(home.file("sealwire.toml")).unwrap(), before);
    assert_eq!(list(&home), rows);

    // What is in a configuration stays, and what contradicts is not written over.
    let home = Home::with_config("[log]\nlevel = \"warn\"\n");
    home.run(&["init", "--agents", "standard"]).ok();
    let text = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    assert!(
        text.contains("[log]\nlevel = \"warn\"\n") && text.contains("DeepResearcher"),
        "{text}"
    );
    let home = Home::with_config(AGENTS);
    let before = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    refused(
        &home.run(&["init", "--agents", "standard"]),
        1,
        &["says something of agents already", "sealwire.toml"],
    );
    assert_eq!(fs::read_to_string(home.file("sealwire.toml")).unwrap(), before);
}
