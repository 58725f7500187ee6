//! What a client goes by beside the file that is read: its own one, where another was named, and
//! what a command of its has turned off.

use std::fs::canonicalize;
use std::path::Path;

use super::document::{self, Found};
use super::file::Original;
use super::{Client, Place, json};

/// The file beside its own one in which Gemini CLI keeps which servers `/mcp disable` has turned
/// off, of whatever file they are.
const SWITCHES: &str = "mcp-server-enablement.json";

/// Turns off those of `file` that the client does not start by what stands elsewhere. What of that
/// is not understood comes back, for people: it turns nothing off.
pub(crate) fn heed(
    client: Client,
    place: &Place<'_>,
    file: &Original,
    found: &mut [Found],
) -> Vec<String> {
    if client != Client::Gemini {
        return Vec::new();
    }
    let mut doubts = Vec::new();
    let mut note = |path: &Path, heeded: Result<(), String>| {
        doubts.extend(heeded.err().map(|why| {
            let path = path.display();
            format!(
                "{path} is not understood ({why}): what is turned off there counts as turned on"
            )
        }));
    };
    let own = place.file(client);
    if canonicalize(&own).ok() != canonicalize(&file.path).ok() {
        let read = Original::read(&own);
        note(&own, read.and_then(|own| json::turn_off(found, file.text(), own.text())));
    }
    let switches = own.with_file_name(SWITCHES);
    let heeded = Original::read(&switches).and_then(|read| match read.is_there() {
        true => document::switch_off(found, read.text()),
        false => Ok(()),
    });
    note(&switches, heeded);
    doubts
}
