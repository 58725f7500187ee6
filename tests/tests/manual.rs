//! The manual pages: one for each command, and nothing in them that troff stumbles over.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use sealwire_testkit::{Home, bin, run};

/// Every command, found by asking each for its help.
fn commands(home: &Home, parents: &[&str], found: &mut BTreeSet<String>) {
    found.insert([&["sealwire"], parents].concat().join("-"));
    let help = home.run(&[parents, &["--help"]].concat()).ok().stdout;
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return };
    let lines = list.lines().take_while(|line| !line.is_empty());
    for line in lines.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            commands(home, &[parents, &[name]].concat(), found);
        }
    }
}

/// What `groff` prints of a page, and whether it complains.
fn formatted(page: &Path) -> String {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-ww", "-Tutf8", "-Kutf8", "-P-cbou"]).arg(page);
    let output = run(groff, b"").ok();
    assert_eq!(output.stderr, "", "{}", page.display());
    output.stdout
}

/// Whoever makes a package has no home.
#[test]
fn pages_and_completions_need_no_home() {
    let home = Home::empty();
    let out = home.file("man");
    for arguments in [&["completions", "bash"][..], &["man", "--out", out.to_str().unwrap()]] {
        let mut command = Command::new(bin("sealwire"));
        command.current_dir(home.path()).env_clear().env("HOME", "relative").args(arguments);
        let output = run(command, b"").ok();
        assert!(!output.stdout.is_empty(), "{output}");
    }
    let made: Vec<_> = fs::read_dir(home.path()).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(made, [out]);
}

#[test]
fn every_command_has_a_page_and_groff_reads_it() {
    let home = Home::empty();
    let out = home.file("share/man");
    let output = home.run(&["man", "--out", out.to_str().unwrap()]).ok();
    let pages: Vec<_> =
        fs::read_dir(out.join("man1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(output.stdout.starts_with(&format!("{} pages", pages.len() + 1)), "{output}");

    let mut expected = BTreeSet::new();
    commands(&home, &[], &mut expected);
    assert!(expected.len() > 10 && expected.contains("sealwire-cert-issue"), "{expected:?}");
    let stem = |path: &std::path::PathBuf| {
        path.file_name().unwrap().to_str().unwrap().strip_suffix(".1").unwrap().to_owned()
    };
    assert_eq!(pages.iter().map(stem).collect::<BTreeSet<_>>(), expected);
    for page in &pages {
        let text = formatted(page);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"] {
            assert!(text.contains(&format!("\n{section}\n")), "{section}: {text}");
        }
    }
    let serve = formatted(&out.join("man1/sealwire-serve.1"));
    // Each example is a line of its own.
    assert!(serve.lines().any(|line| line.trim().starts_with("sealwire serve github")), "{serve}");

    let config = formatted(&out.join("man5/sealwire.toml.5"));
    for part in ["[mcp_servers.<name>]", "max_connections_per_peer", "\nNAME\n", "drain_timeout"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    assert!(!config.contains("](") && !config.contains("| "), "{config}");
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let home = Home::empty();
    home.write("file", "");
    let output = home.run(&["man", "--out", home.file("file/man").to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("to fix:"), "{output}");
}
