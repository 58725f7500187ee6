//! What a configuration could say once, and cannot any more. An entry here is added in the same
//! commit that takes a key away, or narrows what it accepts; none is ever removed.

/// One such change of the form of `sealwire.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The table, as a reader finds it.
    pub table: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// What became of it.
    pub now: Replacement,
    /// Why, in half a sentence.
    pub why: &'static str,
}

/// What takes the place of what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Nothing: the key has no effect, and is refused.
    Gone,
    /// A number that is not above this one.
    AtMost(i64),
}

/// All of them, the oldest first.
pub const RETIRED: [Retired; 2] = [
    Retired {
        table: "mailbox",
        key: "max_message_size",
        now: Replacement::Gone,
        why: "a message between agents has at most 1 MiB, whatever the mailbox says",
    },
    Retired {
        table: "mailbox",
        key: "retention_days",
        now: Replacement::AtMost(30),
        why: "no message is valid for more than 30 days, so none was kept for longer",
    },
];

/// What to do about a key that is not known any more.
pub(super) fn remedy(title: &str, key: &str) -> Option<String> {
    let is_it = |one: &&Retired| format!("[{}]", one.table) == title && one.key == key;
    let one = RETIRED.iter().filter(|one| one.now == Replacement::Gone).find(is_it)?;
    Some(format!(
        "it was one once, and has no effect now: {}; `sealwire config update` removes it",
        one.why
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::SecureMcpConfig;

    #[test]
    fn each_is_refused_as_it_was_and_accepted_as_it_is() {
        let read = |Retired { table, key, .. }: Retired, value: &str| {
            let text = format!("[{table}]\n{key} = {value}\n");
            SecureMcpConfig::parse(Path::new("/h"), &text)
        };
        for one in RETIRED {
            match one.now {
                Replacement::Gone => {
                    let error = read(one, "1").unwrap_err().to_string();
                    assert!(error.contains(one.why) && error.contains("config update"), "{error}");
                }
                Replacement::AtMost(most) => {
                    read(one, &most.to_string()).unwrap();
                    read(one, &(most + 1).to_string()).unwrap_err();
                }
            }
        }
    }
}
