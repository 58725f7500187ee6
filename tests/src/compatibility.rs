//! The tables of `docs/compatibility.md`, which the tests write: a row of theirs that
//! differs from what a test found fails it, and with `SEALWIRE_BLESS=1` is rewritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sealwire_testkit::tool;

/// Tests of one program run at the same time.
static WRITING: Mutex<()> = Mutex::new(());

/// A package as it is installed for the tests.
pub struct Package {
    /// Its name in its registry.
    pub name: String,
    /// The version that is installed.
    pub version: String,
}

impl Package {
    /// The npm package in this folder of `node_modules`.
    pub fn npm(folder: &str) -> Self {
        let file = tool(&format!("node/node_modules/{folder}/package.json"));
        let text = fs::read_to_string(file).expect("package.json");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let member = |name: &str| json[name].as_str().expect("a string").to_owned();
        Self { name: member("name"), version: member("version") }
    }

    /// The PyPI package `name` in this Python environment.
    pub fn pypi(venv: &str, name: &str) -> Self {
        let prefix = format!("{}-", name.replace('-', "_"));
        let is_info = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            Some(file.strip_prefix(&prefix)?.strip_suffix(".dist-info")?.to_owned())
        };
        let mut pythons = fs::read_dir(tool(&format!("{venv}/lib"))).expect("lib");
        let packages = pythons.next().expect("a Python").expect("readable").path();
        let version = fs::read_dir(packages.join("site-packages"))
            .expect("site-packages")
            .find_map(|entry| is_info(entry.expect("readable")));
        let version = version.unwrap_or_else(|| panic!("{name} is not installed in {venv}"));
        Self { name: name.to_owned(), version }
    }
}

fn document() -> String {
    fs::read_to_string(path()).expect("docs/compatibility.md")
}

/// Checks that the table `table` says exactly this of what the first cell names, and has
/// rows for `names` only, in their order; or makes it so.
///
/// # Panics
/// If the document says something else, with what it says.
pub fn row(table: &str, names: &[&str], cells: &[&str]) {
    assert!(names.contains(&cells[0]), "{} is not among {names:?}", cells[0]);
    let row = format!("| {} |", cells.join(" | "));
    let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let document = document();
    let (before, written, after) = parts(&document, table);
    let others = written.iter().copied().filter(|line| first_cell(line) != cells[0]);
    let mut rows: Vec<&str> = others.chain([row.as_str()]).collect();
    let place = |line: &str| names.iter().position(|name| *name == first_cell(line));
    rows.retain(|line| place(line).is_some());
    rows.sort_by_key(|line| place(line));
    if rows == written {
        return;
    }
    let only_in = |these: &[&str], those: &[&str], sign: &str| -> String {
        let differing = these.iter().filter(|line| !those.contains(line));
        differing.map(|line| format!("{sign} {line}\n")).collect()
    };
    assert!(
        blessing(),
        "docs/compatibility.md is not what was found (SEALWIRE_BLESS=1 rewrites it)\n{}{}",
        only_in(&written, &rows, "-"),
        only_in(&rows, &written, "+")
    );
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path(), format!("{before}{rows}{after}")).expect("docs/compatibility.md");
}

/// The code block that follows the comment `<!-- name -->`, without its fences.
///
/// # Panics
/// If there is none.
pub fn snippet(name: &str) -> String {
    let document = document();
    let found = document.split_once(&format!("<!-- {name} -->\n```")).and_then(|(_, rest)| {
        let (_language, rest) = rest.split_once('\n')?;
        Some(rest.split_once("```")?.0.to_owned())
    });
    found.unwrap_or_else(|| panic!("docs/compatibility.md has no code block after <!-- {name} -->"))
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md")
}

fn blessing() -> bool {
    std::env::var_os("SEALWIRE_BLESS").is_some_and(|value| value == "1")
}

fn first_cell(line: &str) -> &str {
    let cells = line.strip_prefix("| ").unwrap_or(line);
    cells.split_once(" | ").map_or(cells, |(first, _)| first)
}

/// The document before the rows of a table, the rows, and what follows them.
fn parts<'a>(document: &'a str, table: &str) -> (&'a str, Vec<&'a str>, &'a str) {
    let start = format!("<!-- {table}: written by the tests -->\n");
    let begin = document.find(&start).unwrap_or_else(|| panic!("no {start}")) + start.len();
    // The head of the table and the line below it.
    let rows = begin + document[begin..].split_inclusive('\n').take(2).map(str::len).sum::<usize>();
    let length = document[rows..]
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('|'))
        .map(str::len)
        .sum::<usize>();
    let (before, rest) = document.split_at(rows);
    let (rows, after) = rest.split_at(length);
    (before, rows.lines().collect(), after)
}
