//! sealwire.toml(5), from docs/config.md: as much Markdown as that file uses.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// A link to docs/config.md, so that a published crate has it too.
const MANUAL: &str = include_str!("../../../config.md");

/// The page.
pub(super) fn page() -> String {
    let mut page = Roff::new();
    let version = concat!("sealwire ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["sealwire.toml", "5", "", version, "sealwire"]);
    page.control("SH", ["NAME"]);
    page.text([roman("sealwire.toml - the configuration of "), bold("sealwire"), roman("(1)")]);
    page.control("SH", ["DESCRIPTION"]);
    let mut writer = Writer { page, paragraph: String::new(), code: false };
    MANUAL.lines().filter(|line| !line.starts_with("# ")).for_each(|line| writer.line(line));
    writer.end_paragraph();
    let mut page = writer.page;
    page.control("SH", ["SEE ALSO"]).text([bold("sealwire"), roman("(1)")]);
    page.to_roff()
}

struct Writer {
    page: Roff,
    /// What has been read of the paragraph.
    paragraph: String,
    /// Within a fenced block.
    code: bool,
}

impl Writer {
    fn line(&mut self, line: &str) {
        if line.starts_with("```") {
            self.end_paragraph();
            self.code = !self.code;
            let controls = if self.code { ["RS", "nf"] } else { ["fi", "RE"] };
            for control in controls {
                self.page.control(control, []);
            }
        } else if self.code {
            self.page.text([roman(line)]);
        } else if let Some(title) = line.strip_prefix("## ") {
            self.end_paragraph();
            self.page.control("SH", [title.trim_matches('`')]);
        } else if let Some(item) = line.strip_prefix("- ") {
            self.end_paragraph();
            self.page.control("IP", ["\\(bu", "2"]);
            item.clone_into(&mut self.paragraph);
        } else if let Some(row) = line.strip_prefix('|') {
            self.row(row);
        } else if line.trim().is_empty() {
            self.end_paragraph();
            self.page.control("PP", []);
        } else {
            self.paragraph.push(' ');
            self.paragraph.push_str(line.trim());
        }
    }

    /// A row of a table: a key, its default where the table has defaults, and a text.
    fn row(&mut self, row: &str) {
        let cells: Vec<&str> = row.trim_end_matches('|').splitn(3, '|').map(str::trim).collect();
        let (key, text) = match cells[..] {
            [key, ..] if key.starts_with("--") => {
                // Below the names of the columns, which need none here.
                return;
            }
            ["key", ..] | ["what changes", ..] => return,
            [key, "", text] | [key, text] => (key, text.to_owned()),
            [key, default, text] => (key, format!("{text} Default: {default}.")),
            _ => return,
        };
        self.page.control("TP", []).text(inlines(key));
        self.paragraph = text;
        self.end_paragraph();
    }

    fn end_paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        if !paragraph.trim().is_empty() {
            self.page.text(inlines(paragraph.trim()));
        }
    }
}

/// Code becomes bold, as do the words that are; of links only the text remains.
fn inlines(text: &str) -> Vec<Inline> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, special) = rest.split_at(at);
        found.push(roman(before));
        let inline = enclosed(special, "`", "`")
            .map(|(code, rest)| (bold(code), rest))
            .or_else(|| enclosed(special, "**", "**").map(|(word, rest)| (bold(word), rest)))
            .or_else(|| link(special).map(|(text, rest)| (italic(text), rest)));
        let (inline, after) =
            inline.unwrap_or_else(|| (roman(&special[..1]), special.split_at(1).1));
        found.push(inline);
        rest = after;
    }
    found.push(roman(rest));
    found
}

fn enclosed<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(open)?.split_once(close)
}

fn link(text: &str) -> Option<(&str, &str)> {
    let (shown, rest) = enclosed(text, "[", "](")?;
    Some((shown, rest.split_once(')')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_its_keys_are_there() {
        let page = page();
        let rows = MANUAL.lines().filter(|line| line.starts_with("| ")).count();
        let heads = MANUAL.lines().filter(|line| line.starts_with("|--")).count();
        assert_eq!(page.matches(".TP\n").count(), rows - heads);
        assert!(!page.contains("what changes") && page.contains("drain_timeout"), "{page}");
        assert!(page.contains(".SH [admin]\n") || page.contains(".SH \"[admin]\"\n"), "{page}");
        assert!(!page.contains("```") && !page.contains("](") && !page.contains('|'), "{page}");
    }

    #[test]
    fn brackets_are_not_always_links() {
        let text = "in `[log]`, [there](config.md#x), an [a] and **so** on";
        let mut page = Roff::new();
        page.text(inlines(text));
        assert_eq!(page.to_roff(), "in \\fB[log]\\fR, \\fIthere\\fR, an [a] and \\fBso\\fR on\n");
    }
}
