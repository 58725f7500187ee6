//! A page of the documentation: its blocks of code, what is said of them, its headings and links.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block of code.
pub struct Block {
    /// Its language: the first word after the fence.
    pub language: String,
    /// What it holds.
    pub code: String,
    /// The line of its fence, counted from 1.
    pub line: usize,
    /// What comments above it say of it.
    pub said: Vec<String>,
}

impl Block {
    /// What a comment `<!-- word: … -->` above it says; empty for `<!-- word -->`.
    pub fn said(&self, word: &str) -> Option<&str> {
        self.said.iter().find_map(|comment| {
            let rest = comment.strip_prefix(word)?;
            if rest.is_empty() { Some("") } else { Some(rest.strip_prefix(':')?.trim()) }
        })
    }
}

/// A page.
pub struct Page {
    /// Its path below the repository.
    pub path: String,
    /// Its blocks, in their order.
    pub blocks: Vec<Block>,
    /// What is to be done before the first of them: `<!-- before: … -->`.
    pub before: String,
    /// Its text without blocks and comments, by line.
    pub prose: Vec<(usize, String)>,
    /// What breaks the rules for code in pages.
    pub faults: Vec<String>,
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every page: those of `docs`, and those at the top that users read.
pub fn all() -> Vec<String> {
    let mut pages: Vec<_> = ["README.md", "README.ja.md", "CONTRIBUTING.md", "SECURITY.md"]
        .into_iter()
        .chain(["ARCHITECTURE.md", "CHANGELOG.md", "bench/README.md"])
        .map(str::to_owned)
        .collect();
    let mut directories = vec![repository().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(repository()).unwrap();
                pages.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

impl Page {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(repository().join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut page = Self {
            path: path.to_owned(),
            blocks: Vec::new(),
            before: String::new(),
            prose: Vec::new(),
            faults: Vec::new(),
        };
        page.parse(&text);
        page
    }

    fn parse(&mut self, text: &str) {
        let mut lines = text.lines().zip(1..);
        let mut said = Vec::new();
        // The last line that begins at the margin, and whether a blank one came after it.
        let (mut margin, mut blank) = ("", true);
        while let Some((line, number)) = lines.next() {
            if let Some(comment) = line.trim_start().strip_prefix("<!--") {
                let mut comment = comment.to_owned();
                while !comment.contains("-->") {
                    let (line, _) = lines.next().expect("a comment ends");
                    comment = format!("{comment}\n{line}");
                }
                let comment = comment.split("-->").next().unwrap().trim();
                match comment.strip_prefix("before:") {
                    Some(script) => self.before.push_str(&format!("{}\n", script.trim())),
                    None => said.push(comment.to_owned()),
                }
            } else if let Some(language) = line.trim_start().strip_prefix("```") {
                let indent = line.len() - line.trim_start().len();
                let mut code = String::new();
                for (line, _) in lines.by_ref().take_while(|(line, _)| line.trim() != "```") {
                    code.push_str(line.get(indent..).unwrap_or(line.trim_start()));
                    code.push('\n');
                }
                let language = language.split_whitespace().next().unwrap_or("").to_owned();
                if language.is_empty() {
                    self.fault(number, "a block without a language");
                }
                self.blocks.push(Block { language, code, line: number, said });
                said = Vec::new();
            } else {
                let in_list = margin.starts_with(['-', '*'])
                    || margin.starts_with(|first: char| first.is_ascii_digit());
                if blank && line.starts_with("    ") && !in_list {
                    self.fault(number, "an indented block: fence it, with a language");
                }
                blank = line.trim().is_empty();
                if !blank {
                    said.clear();
                    if !line.starts_with(' ') {
                        margin = line;
                    }
                }
                self.prose.push((number, line.to_owned()));
            }
        }
    }

    fn fault(&mut self, line: usize, what: &str) {
        self.faults.push(format!("{}:{line}: {what}", self.path));
    }

    /// Where a reader can jump to: its headings as GitHub and mdBook name them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        let mut anchors: Vec<String> = Vec::new();
        for (_, line) in headings {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let earlier = anchors.iter().filter(|other| **other == anchor).count();
            anchors.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
        }
        anchors
    }

    /// What its links and pictures lead to, with their line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.prose {
            // Code is no link: what is between backticks goes.
            let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            for (_, rest) in outside.match_indices("](").map(|(at, _)| outside.split_at(at + 2)) {
                if let Some(end) = rest.find(')') {
                    links.push((*number, rest[..end].to_owned()));
                }
            }
        }
        links
    }
}
