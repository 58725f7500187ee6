//! Every table and key that the configuration knows. A key is listed here only when
//! it has an effect, so a key from a newer release is refused like a misspelt one.

use super::retired;

/// One table of `sealwire.toml`.
#[derive(Debug)]
pub(crate) struct Table {
    /// As messages and docs/config.md show it, e.g. `[listen]`; the top level is `top level`.
    pub(crate) title: &'static str,
    /// The keys that hold values.
    pub(crate) keys: &'static [&'static str],
    /// The keys that hold tables.
    pub(crate) tables: &'static [&'static str],
}

pub(crate) const TOP: Table = Table {
    title: "top level",
    keys: &["include"],
    tables: &[
        "security",
        "listen",
        "defaults",
        "mcp_servers",
        "agent_security",
        "mailbox",
        "state",
        "admin",
        "ca",
        "pkcs11",
        "log",
        "policy",
        "incidents",
        "audit",
    ],
};

/// A table in which the user chooses every name.
pub(crate) const NAMES: Table = Table { title: "a table of tables", keys: &[], tables: &[] };

/// What an included file may hold.
pub(crate) const INCLUDED: Table =
    Table { title: "top level of an included file", keys: &[], tables: &["mcp_servers"] };

pub(crate) const SECURITY: Table = Table {
    title: "[security]",
    keys: &["trust_domain", "tls_version", "zero_trust_mode"],
    tables: &["certificates", "signing", "encryption", "replay_protection", "rate_limiting"],
};

pub(crate) const CERTIFICATES: Table = Table {
    title: "[security.certificates]",
    keys: &["ca_cert", "client_cert", "client_key", "renew_from", "crl"],
    tables: &[],
};

pub(crate) const SIGNING: Table =
    Table { title: "[security.signing]", keys: &["algorithm"], tables: &[] };

pub(crate) const ENCRYPTION: Table = Table {
    title: "[security.encryption]",
    keys: &["algorithm", "key_derivation", "key_rotation_days"],
    tables: &[],
};

pub(crate) const REPLAY_PROTECTION: Table = Table {
    title: "[security.replay_protection]",
    keys: &["enabled", "nonce_store", "timestamp_tolerance_sec"],
    tables: &[],
};

pub(crate) const LISTEN: Table = Table {
    title: "[listen]",
    keys: &[
        "address",
        "max_connections",
        "max_connections_per_peer",
        "max_detached_per_peer",
        "handshake_timeout",
        "idle_timeout",
        "max_message_size",
        "connect_timeout",
        "reconnect_timeout",
        "resume_window",
        "drain_timeout",
    ],
    tables: &[],
};

pub(crate) const DEFAULTS: Table = Table {
    title: "[defaults]",
    keys: &["env", "cwd", "trusted_ca", "default_level", "auth_method", "pins"],
    tables: &[],
};

pub(crate) const SERVER: Table = Table {
    title: "[mcp_servers.<name>]",
    keys: &[
        "transport",
        "command",
        "args",
        "env",
        "env_vars",
        "cwd",
        "endpoint",
        "server_name",
        "bind_address",
        "tls_cert",
        "tls_key",
        "trusted_ca",
        "expected_cn",
        "default_level",
        "auth_method",
        "pins",
    ],
    tables: &["policy", "rate_limiting"],
};

pub(crate) const RATE_LIMITING: Table = Table {
    title: "[security.rate_limiting]",
    keys: &[
        "enabled",
        "max_requests_per_sec",
        "burst_size",
        "total_requests_per_sec",
        "total_burst_size",
        "refuse_unregistered",
        "peers",
    ],
    tables: &[],
};

pub(crate) const SERVER_RATE_LIMITING: Table = Table {
    title: "[mcp_servers.<name>.rate_limiting]",
    keys: &["max_requests_per_sec", "burst_size", "tools"],
    tables: &[],
};

/// One limit of a peer or a tool.
pub(crate) const RATE: Table = Table {
    title: "[security.rate_limiting.peers.<peer>]",
    keys: &["max_requests_per_sec", "burst_size"],
    tables: &[],
};

pub(crate) const POLICY: Table =
    Table { title: "[policy]", keys: &["ceilings", "allow", "deny"], tables: &[] };

pub(crate) const SERVER_POLICY: Table = Table {
    title: "[mcp_servers.<name>.policy]",
    keys: &["tools", "prompts", "resources", "ceilings", "allow", "deny"],
    tables: &[],
};

/// One rule of either.
pub(crate) const RULE: Table = Table {
    title: "[[policy.allow]]",
    keys: &["peers", "servers", "direction", "methods", "tools", "prompts", "resources"],
    tables: &[],
};

pub(crate) const AGENT_SECURITY: Table = Table {
    title: "[agent_security]",
    keys: &["agents", "encryption_enabled", "signing_enabled"],
    tables: &["encryption", "signing", "rate_limiting", "trust"],
};

pub(crate) const AGENT_ENCRYPTION: Table = Table {
    title: "[agent_security.encryption]",
    keys: &["algorithm", "key_exchange"],
    tables: &[],
};

pub(crate) const AGENT_SIGNING: Table = Table {
    title: "[agent_security.signing]",
    keys: &["algorithm", "keys_directory"],
    tables: &[],
};

pub(crate) const AGENT_RATE_LIMITING: Table = Table {
    title: "[agent_security.rate_limiting]",
    keys: &["max_messages_per_sec", "burst_size"],
    tables: &[],
};

/// Every other key in it is the name of an agent, and a [`TRUSTED_AGENT`].
pub(crate) const TRUST: Table =
    Table { title: "[agent_security.trust]", keys: &["privileged_agents"], tables: &[] };

pub(crate) const TRUSTED_AGENT: Table =
    Table { title: "[agent_security.trust.<agent>]", keys: &["can_communicate_with"], tables: &[] };

pub(crate) const MAILBOX: Table = Table {
    title: "[mailbox]",
    keys: &["file", "retention_days", "max_messages_per_agent"],
    tables: &["groups"],
};

pub(crate) const GROUP: Table =
    Table { title: "[mailbox.groups.<name>]", keys: &["version", "members"], tables: &[] };

pub(crate) const STATE: Table = Table { title: "[state]", keys: &["directory"], tables: &[] };

pub(crate) const ADMIN: Table = Table { title: "[admin]", keys: &["address"], tables: &[] };

pub(crate) const CA: Table =
    Table { title: "[ca]", keys: &["address", "leaf_lifetime", "list_max_age"], tables: &[] };

pub(crate) const PKCS11: Table = Table { title: "[pkcs11]", keys: &["module"], tables: &[] };

pub(crate) const LOG: Table =
    Table { title: "[log]", keys: &["level", "format", "file"], tables: &[] };

/// Its tables are the kinds, each an [`INCIDENT`].
pub(crate) const INCIDENTS: Table = Table {
    title: "[incidents]",
    keys: &[],
    tables: &[
        "failed_handshakes",
        "protocol_violations",
        "denied_requests",
        "rate_limited",
        "bad_signatures",
        "replays",
        "untrusted_mail",
        "pin_changes",
        "pin_additions",
    ],
};

pub(crate) const INCIDENT: Table = Table {
    title: "[incidents.<kind>]",
    keys: &["trigger", "window", "action", "expiry"],
    tables: &[],
};

pub(crate) const AUDIT: Table = Table {
    title: "[audit]",
    keys: &[
        "enabled",
        "log_dir",
        "include_mcp_calls",
        "include_agent_messages",
        "include_security_events",
        "format",
        "rotation",
        "retention_days",
        "durability",
        "max_total_size",
    ],
    tables: &["alerts"],
};

pub(crate) const ALERTS: Table = Table {
    title: "[audit.alerts]",
    keys: &[
        "enabled",
        "alert_on_security_events",
        "alert_slack_webhook",
        "alert_webhook",
        "alert_webhook_secret",
        "alert_email",
        "allow_private",
        "ca_cert",
        "repeat_after",
        "give_up_after",
    ],
    tables: &["smtp"],
};

pub(crate) const SMTP: Table = Table {
    title: "[audit.alerts.smtp]",
    keys: &["host", "port", "security", "from", "username", "password"],
    tables: &[],
};

/// A value that is elsewhere.
pub(crate) const SECRET: Table = Table { title: "a secret", keys: &["file"], tables: &[] };

/// Every table of the main file.
pub(crate) const TABLES: [&Table; 33] = [
    &TOP,
    &SECURITY,
    &CERTIFICATES,
    &SIGNING,
    &ENCRYPTION,
    &REPLAY_PROTECTION,
    &LISTEN,
    &DEFAULTS,
    &SERVER,
    &AGENT_SECURITY,
    &AGENT_ENCRYPTION,
    &AGENT_SIGNING,
    &AGENT_RATE_LIMITING,
    &TRUST,
    &TRUSTED_AGENT,
    &MAILBOX,
    &GROUP,
    &STATE,
    &ADMIN,
    &CA,
    &PKCS11,
    &LOG,
    &POLICY,
    &SERVER_POLICY,
    &RULE,
    &RATE_LIMITING,
    &SERVER_RATE_LIMITING,
    &RATE,
    &INCIDENTS,
    &INCIDENT,
    &AUDIT,
    &ALERTS,
    &SMTP,
];

/// The section of docs/config.md about a table, as forges and the book name it in links. `key`
/// begins with the table as a file has it, `[mcp_servers.x] command`, say.
pub(crate) fn section(key: &str) -> Option<String> {
    let table = key.trim_start_matches('[').split(']').next().filter(|_| key.starts_with('['))?;
    let fits = |title: &str| {
        let title = title.trim_matches(['[', ']']);
        match (title.find('<'), title.find('>')) {
            (Some(start), Some(end)) => table
                .strip_prefix(&title[..start])
                .and_then(|it| it.strip_suffix(&title[end + 1..]))
                .is_some_and(|name| !name.is_empty()),
            _ => table == title,
        }
    };
    // Names may have dots in them: of those that fit, the one that says most.
    let titles = TABLES.iter().map(|table| table.title).filter(|title| title.starts_with('['));
    let title = titles.filter(|title| fits(title)).max_by_key(|title| title.len())?;
    Some(
        title.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect(),
    )
}

/// What to say about a key that `table` does not know.
pub(crate) fn suggest(table: &Table, key: &str) -> String {
    if let Some(remedy) = retired::remedy(table.title, key) {
        return remedy;
    }
    // Others' files have one, and a number that has no effect would only look like a promise.
    if table.title == TOP.title && matches!(key, "version" | "config_version") {
        return "a sealwire.toml has no version: remove it; `sealwire config update` knows an older \
                one by what it says"
            .to_owned();
    }
    let mut homes =
        TABLES.iter().filter(|table| table.keys.contains(&key) || table.tables.contains(&key));
    // Words that many tables use, or might, say nothing about where they belong.
    if let (Some(home), None, false) = (homes.next(), homes.next(), key == "enabled")
        && home.title != table.title
    {
        return format!("{key} belongs to {}: move it there", place(home));
    }
    let known = || table.keys.iter().chain(table.tables);
    match known().max_by(|a, b| closeness(a, key).total_cmp(&closeness(b, key))) {
        Some(nearest) if known().count() > 1 => format!(
            "the nearest known key is {nearest}; {} knows {}",
            table.title,
            known().copied().collect::<Vec<_>>().join(", ")
        ),
        Some(only) => format!("the only known key here is {only}"),
        None => "remove it".to_owned(),
    }
}

fn place(table: &Table) -> String {
    if table.title == TOP.title {
        "the top of the main file, before the first [table]".to_owned()
    } else {
        table.title.to_owned()
    }
}

fn closeness(known: &str, typed: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(known, &typed.to_ascii_lowercase())
        .max(strsim::jaro_winkler(known, &typed.to_ascii_lowercase()) * 0.8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_the_section_of_their_table() {
        for (key, expected) in [
            ("[listen] address", Some("listen")),
            ("[mcp_servers.a.b] command", Some("mcp_serversname")),
            ("[mcp_servers.a.policy] tools", Some("mcp_serversnamepolicy")),
            ("[security.certificates]", Some("securitycertificates")),
            ("[[policy.allow]] tools", Some("policyallow")),
            ("include", None),
            ("", None),
        ] {
            assert_eq!(section(key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn names_the_nearest_key_of_the_same_table() {
        for (table, typed, nearest) in [
            (&LISTEN, "adress", "address"),
            (&LISTEN, "idle_timout", "idle_timeout"),
            (&LISTEN, "max-connections", "max_connections"),
            (&SERVER, "comand", "command"),
            (&SERVER, "tls_certificate", "tls_cert"),
            (&SERVER, "bindaddress", "bind_address"),
            (&TOP, "mcp_server", "mcp_servers"),
            (&TOP, "mcpServers", "mcp_servers"),
            (&CERTIFICATES, "client_certificate", "client_cert"),
        ] {
            let advice = suggest(table, typed);
            assert!(
                advice.contains(&format!("nearest known key is {nearest};")),
                "{typed}: {advice}"
            );
        }
    }

    #[test]
    fn every_kind_of_incident_has_its_table() {
        assert_eq!(
            INCIDENTS.tables,
            sealwire_guard::IncidentKind::ALL.map(sealwire_guard::IncidentKind::as_str)
        );
    }

    #[test]
    fn names_the_table_a_misplaced_key_belongs_to() {
        assert!(suggest(&TOP, "trust_domain").contains("belongs to [security]"));
        assert!(suggest(&SERVER, "include").contains("the top of the main file"));
    }

    #[test]
    fn each_key_of_the_code_is_in_the_manual_and_the_reverse() {
        let manual = include_str!("../../config.md");
        let mut documented: Vec<(String, String)> = Vec::new();
        let mut table = None;
        for line in manual.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                table = TABLES.iter().find(|t| heading.trim_matches('`') == t.title);
                assert!(
                    table.is_some() || !heading.starts_with('`'),
                    "docs/config.md describes {heading}, which the code does not know"
                );
            } else if let (Some(table), Some(row)) = (table, line.strip_prefix("| `")) {
                let key = row.split('`').next().unwrap_or_default();
                documented.push((table.title.to_owned(), key.to_owned()));
            }
        }
        let known: Vec<(String, String)> = TABLES
            .iter()
            .flat_map(|t| t.keys.iter().map(|k| (t.title.to_owned(), (*k).to_owned())))
            .collect();
        for entry in &known {
            assert!(documented.contains(entry), "docs/config.md lacks {entry:?}");
        }
        for entry in &documented {
            assert!(known.contains(entry), "docs/config.md lists {entry:?}, unknown to the code");
        }
        assert_eq!(known.len(), documented.len(), "a key is documented twice");
    }
}
