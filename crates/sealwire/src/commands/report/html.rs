//! A report as one page, without scripts and without anything from elsewhere.

use serde_json::Value;

use crate::cli::printable;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1a1a1a;background:#fff}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;\
border-bottom:1px solid #ddd}td.n{text-align:right;font-variant-numeric:tabular-nums}\
code{font-size:.85em;overflow-wrap:anywhere}.q{color:#555;font-size:.85em}.bad{color:#a00;font-weight:600}\
@media(prefers-color-scheme:dark){body{background:#111;color:#eee}th,td{border-color:#333}.q{color:#aaa}\
.bad{color:#f77}}";

/// The page.
pub(super) fn page(report: &Value) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Evidence from the log of {origin}</title><style>{STYLE}</style></head><body>\n\
         <h1>Evidence from the log of {origin}</h1>\n",
        origin = text(&report["origin"]),
    );
    let from =
        if report["from"].is_null() { "the first entry".into() } else { text(&report["from"]) };
    out += &format!("<p>From {from} to {}", text(&report["to"]));
    if report["first_entry"].is_null() {
        out += ": no entries.</p>\n";
    } else {
        let (first, last) = (text(&report["first_entry"]), text(&report["last_entry"]));
        out += &format!(": entries {first} to {last}.</p>\n");
    }
    verification(&mut out, &report["verification"]);
    out += "<h2>What this is evidence for</h2>\n";
    for control in items(&report["controls"]) {
        let (name, title) = (text(&control["evidence_for"]), text(&control["title"]));
        out += &format!("<h3>Evidence for {name}: {title}</h3>\n<table>\n");
        for id in items(&control["figures"]) {
            figure(&mut out, id.as_str().unwrap_or_default(), &report["figures"]);
        }
        if name.ends_with("A.5.14") || name.ends_with("tenet 2") {
            share(&mut out, &report["mutual_tls_share"]);
        }
        let not = text(&control["does_not_cover"]);
        out += &format!("</table>\n<p class=\"q\">Does not cover {not}.</p>\n");
    }
    certificates(&mut out, &report["certificates"]);
    keys(&mut out, &report["keys"]);
    out += "<h2>What this does not cover</h2>\n<ul>\n";
    for what in items(&report["does_not_cover"]) {
        out += &format!("<li>{}</li>\n", text(what));
    }
    let (made, program) = (text(&report["made"]), text(&report["program"]));
    out += &format!("</ul>\n<p class=\"q\">Made {made} by {program}.</p>\n</body></html>\n");
    out
}

fn verification(out: &mut String, found: &Value) {
    out.push_str("<h2>The log</h2>\n<table>\n");
    let state = if found["whole"] == true { "whole" } else { "not what was signed" };
    let class = if found["whole"] == true { "" } else { " class=\"bad\"" };
    out.push_str(&format!("<tr><th>verified</th><td{class}>{state}</td></tr>\n"));
    for (title, name) in [
        ("entries", "tree_size"),
        ("first entry that is kept", "first_entry"),
        ("entries that are signed", "signed_tree_size"),
        ("root hash", "root_hash"),
        ("checkpoints that fit", "checkpoints"),
    ] {
        out.push_str(&format!(
            "<tr><th>{title}</th><td><code>{}</code></td></tr>\n",
            text(&found[name])
        ));
    }
    let elsewhere = &found["checkpoints_elsewhere"];
    out.push_str(&format!(
        "<tr><th>checkpoints kept elsewhere that fit</th><td>{} of {}</td></tr>\n</table>\n",
        text(&elsewhere["confirmed"]),
        text(&elsewhere["given"])
    ));
    for problem in items(&found["problems"]) {
        let (what, entry) = (text(&problem["what"]), text(&problem["entry"]));
        out.push_str(&format!("<p class=\"bad\">Entry {entry}: {what}</p>\n"));
    }
    for what in items(&found["not_proven"]) {
        out.push_str(&format!("<p class=\"q\">Not proven: {}.</p>\n", text(what)));
    }
}

fn figure(out: &mut String, id: &str, figures: &Value) {
    let Value::Object(found) = &figures[id] else { return };
    let title = text(&found["title"]);
    let query = text(&found["query"]);
    let value = match &found["value"] {
        Value::Object(groups) if groups.is_empty() => "none".to_owned(),
        Value::Object(groups) => groups
            .iter()
            .map(|(name, count)| {
                let name = if name.is_empty() { "(none)".to_owned() } else { escape(name) };
                format!("<code>{name}</code>: {}", text(count))
            })
            .collect::<Vec<_>>()
            .join("<br>"),
        other => text(other),
    };
    out.push_str(&format!(
        "<tr><th>{title}<br><span class=\"q\"><code>{id}</code>: {query}</span></th>\
         <td>{value}</td></tr>\n"
    ));
}

fn share(out: &mut String, share: &Value) {
    let shown =
        share.as_f64().map_or("no connections".to_owned(), |s| format!("{:.1} %", s * 100.0));
    out.push_str(&format!(
        "<tr><th>share of mutual TLS<br><span class=\"q\"><code>connections.mutual</code> of \
         <code>connections</code></span></th><td>{shown}</td></tr>\n"
    ));
}

fn certificates(out: &mut String, certificates: &Value) {
    out.push_str(
        "<h2>Certificates in the home, now</h2>\n<table>\n<tr><th>name</th><th>status</th>\
                  <th>until</th><th>key</th></tr>\n",
    );
    for certificate in items(certificates) {
        // The authorities of a trust domain have one URI among them.
        let uri = certificate["uris"].get(0).filter(|_| certificate["is_ca"] != true);
        let name = uri.unwrap_or(&certificate["subject"]);
        let cells = [
            name,
            &certificate["status"],
            &certificate["not_after"],
            &certificate["key_algorithm"],
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", text(cell))).collect();
        out.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    out.push_str("</table>\n");
}

fn keys(out: &mut String, keys: &Value) {
    out.push_str(
        "<h2>Keys of agents, now</h2>\n<table>\n<tr><th>agent</th><th>fingerprint</th>\
         <th>state</th><th>since</th><th>days</th><th>rotation due</th></tr>\n",
    );
    let row = |out: &mut String, of: &Value, columns: &[&str]| {
        let cell = |column: &&str| format!("<td>{}</td>", text(&of[*column]));
        let cells: String = columns.iter().map(cell).collect();
        out.push_str(&format!("<tr>{cells}</tr>\n"));
    };
    for key in items(&keys["agents"]) {
        let columns = ["agent", "signing_kid", "state", "not_before", "age_days", "due"];
        row(out, key, &columns);
    }
    out.push_str("</table>\n");
    if keys["agents"].is_null() {
        out.push_str("<p class=\"q\">Not known: there is no configuration.</p>\n");
    }
    out.push_str(
        "<h2>Keys that sign for the installation, now</h2>\n<table>\n<tr><th>for</th>\
         <th>fingerprint</th><th>since, by its file</th><th>days</th></tr>\n",
    );
    for key in items(&keys["signing"]) {
        row(out, key, &["signs_for", "fingerprint", "file_since", "age_days"]);
    }
    out.push_str("</table>\n");
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Null => "none".to_owned(),
        other => escape(&other.to_string()),
    }
}

/// Names in the log are chosen by whom it is about.
fn escape(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_root_and_its_issuing_authority_are_told_apart() {
        let certificate = |subject: &str, uri: &str, is_ca: bool| json!({"subject": subject, "uris": [uri], "is_ca": is_ca});
        let domain = "spiffe://x.example";
        let list = [
            certificate("CN=root", domain, true),
            certificate("CN=issuing", domain, true),
            certificate("CN=core", "spiffe://x.example/core/core", false),
        ];
        let mut out = String::new();
        certificates(&mut out, &json!(list));
        let names = ["CN=root", "CN=issuing", "spiffe://x.example/core/core"];
        for name in names.map(|name| format!("<td>{name}</td>")) {
            assert_eq!(out.matches(&name).count(), 1, "{name}: {out}");
        }
    }

    #[test]
    fn nothing_in_a_report_becomes_markup() {
        let evil = "</td><script>alert(1)</script>\u{202e}";
        let report = json!({
            "origin": evil, "to": evil, "certificates": [{"subject": evil, "uris": []}],
            "figures": {"incidents": {"title": evil, "query": evil, "value": {evil: 1}}},
            "controls": [{"evidence_for": evil, "title": evil, "figures": ["incidents"], "does_not_cover": evil}],
            "keys": {"agents": [{"agent": evil}], "signing": [{"signs_for": evil}]},
            "verification": {"problems": [{"what": evil}]}, "does_not_cover": [evil],
        });
        let page = page(&report);
        assert!(!page.contains("<script") && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains("&lt;/td&gt;&lt;script&gt;"));
    }
}
