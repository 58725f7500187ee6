//! What exists in two languages says the same.

use super::page::Page;

/// Blocks without their comments, which are in the language of the page.
fn code(path: &str) -> Vec<(String, Vec<String>)> {
    let page = Page::read(path);
    let blocks = page.blocks.iter().filter(|block| block.language != "text");
    blocks
        .map(|block| {
            let lines = block.code.lines().map(|line| line.split(" #").next().unwrap().trim_end());
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            (block.language.clone(), lines.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn both_languages_have_the_same_commands() {
    for (english, japanese) in [
        ("README.md", "README.ja.md"),
        ("docs/five-minutes.md", "docs/ja/five-minutes.md"),
        ("docs/fifteen-minutes.md", "docs/ja/fifteen-minutes.md"),
    ] {
        let (here, there) = (code(english), code(japanese));
        for (number, (ours, theirs)) in here.iter().zip(&there).enumerate() {
            assert_eq!(ours, theirs, "block {number} of {english} and of {japanese}");
        }
        assert_eq!(here.len(), there.len(), "{english} and {japanese}");
        assert!(!here.is_empty(), "{english}");
    }
}
