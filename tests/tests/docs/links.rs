//! Links lead somewhere: files are there, and headings are.

use super::page::{self, Page, repository};

#[test]
fn each_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for path in page::all() {
        let page = Page::read(&path);
        for (line, link) in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                let below = repository().join(&path).parent().unwrap().join(file);
                match below.canonicalize() {
                    Ok(found) => match found.strip_prefix(repository().canonicalize().unwrap()) {
                        Ok(inside) => inside.to_str().unwrap().to_owned(),
                        Err(_) => {
                            broken.push(format!("{path}:{line}: {link} leads out"));
                            continue;
                        }
                    },
                    Err(_) => {
                        broken.push(format!("{path}:{line}: {link} is not there"));
                        continue;
                    }
                }
            };
            followed += 1;
            if !anchor.is_empty()
                && target.ends_with(".md")
                && !Page::read(&target).anchors().iter().any(|known| known == anchor)
            {
                broken.push(format!("{path}:{line}: {target} has no heading #{anchor}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 100, "{followed}");
}

/// The book has every page of `docs`, and nothing that is not there.
#[test]
fn every_page_is_in_the_book() {
    let summary = Page::read("docs/SUMMARY.md");
    let listed: Vec<_> =
        summary.links().into_iter().map(|(_, link)| format!("docs/{link}")).collect();
    for path in page::all() {
        // Decisions are added where the book is built.
        let inside = path.starts_with("docs/") && !path.starts_with("docs/decisions/");
        if inside && path != "docs/SUMMARY.md" {
            assert!(listed.contains(&path), "docs/SUMMARY.md lacks {path}");
        }
    }
}
