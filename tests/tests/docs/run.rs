//! A page is one script: its `sh` blocks from top to bottom, in a fresh root with a fresh home.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sealwire_testkit::{Home, bin, install};

use super::page::{Block, Page, repository};

/// What is in the root beside the page.
#[derive(Clone, Copy, PartialEq)]
pub enum System {
    /// A shell, a few programs of coreutils, and `sealwire`: what every machine has.
    Minimal,
    /// All of this machine's `/usr`.
    Usr,
}

/// Programs that a page calls and the root has not: what each does is told in it.
const STAND_INS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/stand-ins");

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Runs the page, and compares what it prints with the blocks marked `<!-- printed -->`.
pub fn runs(path: &str, system: System) {
    let page = Page::read(path);
    let work = Home::empty();
    let doc = work.file("doc");
    let stand_ins = doc.join("stand-ins");
    fs::create_dir_all(&stand_ins).unwrap();
    for entry in fs::read_dir(STAND_INS).unwrap() {
        let path = entry.unwrap().path();
        let copy = stand_ins.join(path.file_name().unwrap());
        install(&path, &copy);
    }
    // For pages about them.
    let templates = doc.join("templates");
    fs::create_dir(&templates).unwrap();
    for entry in fs::read_dir(repository().join("docs/templates")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, templates.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(doc.join("page.sh"), script(&page, &doc)).unwrap();

    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/root.sh");
    let sealwire = bin("sealwire");
    let (code, output) = patiently(&[
        "unshare",
        "--map-root-user",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        root,
        work.path().to_str().unwrap(),
        sealwire.to_str().unwrap(),
        if system == System::Minimal { "minimal" } else { "usr" },
        "/doc/page.sh",
    ]);
    assert_eq!(code, Some(0), "{path}: {output}");
    printed(&page, &doc);
}

/// Runs a program that does as much as many others: with what it says, and a time after which it
/// is taken to hang.
pub fn patiently(words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    let output = command.arg("600").args(words).stdin(Stdio::null()).output().expect("timeout");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The page as a script. Its blocks are files of their own in `doc`.
fn script(page: &Page, doc: &Path) -> String {
    let mut script = format!(
        "set -eu\n. /doc/stand-ins/machine.sh\nbefore() {{ :\n{}\n}}\nbegin before\n",
        page.before
    );
    for block in &page.blocks {
        let Block { code, line, .. } = block;
        if let Some(file) = block.said("into") {
            let (file, below) = match file.split_once(" below ") {
                Some((file, line)) => (file, quoted(line)),
                None => (file, String::new()),
            };
            let there = match file.strip_prefix("~/") {
                Some(rest) => format!("$HOME/{rest}"),
                None => file.to_owned(),
            };
            let name = format!("block-{line}.txt");
            fs::write(doc.join(&name), code).unwrap();
            let machine = block.said("on").unwrap_or("me");
            writeln!(script, "on {machine}; into /doc/{name} \"{there}\" {below}").unwrap();
            continue;
        }
        if block.language != "sh" || block.said("tested by").is_some() {
            continue;
        }
        fs::write(doc.join(format!("block-{line}.sh")), code).unwrap();
        writeln!(
            script,
            "at {}; on {}",
            quoted(&format!("{}:{line}", page.path)),
            block.said("on").unwrap_or("me")
        )
        .unwrap();
        for comment in &block.said {
            if let Some(rule) = comment.strip_prefix("stands for:") {
                let (literal, pattern) = rule.split_once(" = ").expect("LITERAL = PATTERN");
                writeln!(
                    script,
                    "stands_for {line} {} {}",
                    quoted(literal.trim()),
                    quoted(pattern.trim())
                )
                .unwrap();
            }
        }
        if let Some(command) = block.said("first") {
            writeln!(script, "{command}").unwrap();
        }
        let how = if let Some(sign) = block.said("keeps running") {
            format!("keeps_running {line} {}", quoted(sign))
        } else if let Some(code) = block.said("fails") {
            format!("fails {line} {code}")
        } else {
            // In this very shell, so that what one block defines the next can use.
            format!(". /doc/block-{line}.sh >/doc/block-{line}.out 2>&1 </dev/null")
        };
        writeln!(script, "{how}\nlast=/doc/block-{line}.out").unwrap();
    }
    script.push_str("end\n");
    script
}

/// Each line of a block `<!-- printed -->` is among what the `sh` block before it printed;
/// `…` stands for anything.
fn printed(page: &Page, doc: &Path) {
    let mut output = String::new();
    for block in &page.blocks {
        if block.language == "sh" {
            let file = doc.join(format!("block-{}.out", block.line));
            output = fs::read_to_string(file).unwrap_or_default();
        } else if block.said("printed").is_some() {
            for line in block.code.lines().filter(|line| !line.trim().is_empty()) {
                assert!(
                    output.lines().any(|said| matches(line.trim(), said.trim())),
                    "{}:{}: nothing like {line:?} in:\n{output}",
                    page.path,
                    block.line
                );
            }
        }
    }
}

/// Whether `said` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, said: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = said.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The programs and scripts of the repository that pages call as `scripts/…` are there.
pub fn repository_scripts(page: &Page) {
    for block in page.blocks.iter().filter(|block| block.language == "sh") {
        for line in block.code.lines() {
            let word = line.split_whitespace().next().unwrap_or_default();
            if word.starts_with("scripts/") || word.starts_with(".ci/") {
                let mode = fs::metadata(repository().join(word))
                    .unwrap_or_else(|error| panic!("{}: {word}: {error}", page.path))
                    .permissions()
                    .mode();
                assert!(mode & 0o111 != 0, "{word} cannot be run");
            }
        }
    }
}
