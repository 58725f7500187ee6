//! What a reload changes, for the log. What is not found here to have changed is not
//! replaced, so everything that `serve` goes by must be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sealwire::config::{
    CheckedServer, ListenConfig, LogConfig, SecureMcpConfig, ServerEntry, ServerRole,
};

use sealwire_guard::{Rule, ServerPolicy};

use super::reload::Loaded;

/// Each change in a few words; empty if nothing changed that `serve` goes by. `names` are
/// the servers it is restricted to, if it is.
pub(super) fn changes(old: &Loaded, new: &Loaded, names: &[String]) -> Vec<String> {
    let (before, after) = (&old.config, &new.config);
    let mut changes = listen(before, after);
    let touched = new.identity.changed_since(&old.identity);
    let has_touched = |file: &PathBuf| touched.contains(&file.as_path());
    if before.alerts != after.alerts || after.alerts.files().iter().any(has_touched) {
        changes.push("alerts".to_owned());
    }
    if before.crl != after.crl || after.crl.iter().any(has_touched) {
        changes.push("revocation lists".to_owned());
    }
    let all: BTreeSet<&String> = before.servers.keys().chain(after.servers.keys()).collect();
    for name in all.into_iter().filter(|name| names.is_empty() || names.contains(name)) {
        match (served(before, name), served(after, name)) {
            (None, Some(_)) => changes.push(format!("{name}: added")),
            (Some(_), None) => changes.push(format!("{name}: removed")),
            (Some(was), Some(is)) => {
                let mut what = server(was, is, &touched);
                if of_server(before, name) != of_server(after, name) {
                    what.push("policy");
                }
                if !what.is_empty() {
                    changes.push(format!("{name}: {}", what.join(", ")));
                }
                let certificates = (certificate(old, name), certificate(new, name));
                if let (Some(was), Some(is)) = certificates
                    && was.fingerprint != is.fingerprint
                {
                    changes.push(format!(
                        "{name}: certificate {} until {} -> {} until {}",
                        was.fingerprint, was.not_after, is.fingerprint, is.not_after
                    ));
                }
            }
            (None, None) => {}
        }
    }
    changes
}

/// What the policy says of one server alone.
fn of_server<'c>(config: &'c SecureMcpConfig, name: &str) -> Option<&'c ServerPolicy> {
    config.policy.servers.iter().find(|server| server.entry == name)
}

/// The rules without their labels, which tell where they stand: that is no change.
fn rules(config: &SecureMcpConfig) -> Vec<Rule> {
    let bare = |rule: &Rule| Rule { label: String::new(), ..rule.clone() };
    config.policy.rules.iter().map(bare).collect()
}

fn served<'c>(config: &'c SecureMcpConfig, name: &str) -> Option<&'c ServerEntry> {
    config.servers.get(name).filter(|entry| matches!(entry.role, ServerRole::Serve { .. }))
}

fn certificate<'l>(loaded: &'l Loaded, name: &str) -> Option<&'l CheckedServer> {
    loaded.checked.servers.iter().find(|server| server.name == name)
}

/// What differs between two states of a served server, by the names of its keys.
fn server(was: &ServerEntry, is: &ServerEntry, touched: &[&Path]) -> Vec<&'static str> {
    let mut what = Vec::new();
    let mut note = |differs: bool, key| {
        if differs {
            what.push(key);
        }
    };
    let (
        ServerRole::Serve { command, args, env, cwd, bind_address, tls_cert, tls_key },
        ServerRole::Serve {
            command: new_command,
            args: new_args,
            env: new_env,
            cwd: new_cwd,
            bind_address: new_bind_address,
            tls_cert: new_cert,
            tls_key: new_key,
        },
    ) = (&was.role, &is.role)
    else {
        return what;
    };
    note(was.server_name != is.server_name, "server_name");
    note(command != new_command, "command");
    note(args != new_args, "args");
    note(env != new_env, "env");
    note(cwd != new_cwd, "cwd");
    note(bind_address != new_bind_address, "bind_address");
    let other = |old: &Path, new: &Path| old != new || touched.contains(&new);
    note(other(tls_cert, new_cert), "tls_cert");
    note(other(tls_key, new_key), "tls_key");
    note(other(&was.trusted_ca, &is.trusted_ca), "trust anchors");
    note(was.pins != is.pins, "pins");
    what
}

/// What differs in what all servers share.
fn listen(before: &SecureMcpConfig, after: &SecureMcpConfig) -> Vec<String> {
    let mut changes = Vec::new();
    let mut note = |key: &str, was: String, is: String| {
        if was != is {
            changes.push(format!("{key} {was} -> {is}"));
        }
    };
    note("trust_domain", before.trust_domain.to_string(), after.trust_domain.to_string());
    let ListenConfig {
        address,
        max_connections,
        max_connections_per_peer,
        max_detached_per_peer,
        handshake_timeout,
        idle_timeout,
        max_message_size,
        // Of those who connect.
        connect_timeout: _,
        reconnect_timeout: _,
        resume_window,
        drain_timeout,
    } = &before.listen;
    let now = &after.listen;
    note("zero_trust_mode", before.zero_trust_mode.to_string(), after.zero_trust_mode.to_string());
    let admin = |of: &SecureMcpConfig| {
        of.admin.address.map_or_else(|| "none".to_owned(), |address| address.to_string())
    };
    note("[admin] address", admin(before), admin(after));
    let renewal = |of: &SecureMcpConfig| of.renew_from.clone().unwrap_or_else(|| "none".to_owned());
    note("renew_from", renewal(before), renewal(after));
    note("address", address.to_string(), now.address.to_string());
    for (key, was, is) in [
        ("max_connections", max_connections, now.max_connections),
        ("max_connections_per_peer", max_connections_per_peer, now.max_connections_per_peer),
        ("max_detached_per_peer", max_detached_per_peer, now.max_detached_per_peer),
        ("max_message_size", max_message_size, now.max_message_size),
    ] {
        note(key, was.to_string(), is.to_string());
    }
    for (key, was, is) in [
        ("handshake_timeout", handshake_timeout, now.handshake_timeout),
        ("idle_timeout", idle_timeout, now.idle_timeout),
        ("resume_window", resume_window, now.resume_window),
        ("drain_timeout", drain_timeout, now.drain_timeout),
    ] {
        note(key, format!("{was:?}"), format!("{is:?}"));
    }
    if before.policy.ceilings != after.policy.ceilings || rules(before) != rules(after) {
        changes.push("policy".to_owned());
    }
    if before.rate_limits != after.rate_limits {
        changes.push("rate limits".to_owned());
    }
    if before.incidents != after.incidents {
        changes.push("incidents".to_owned());
    }
    // The rest of it cannot change.
    if before.audit.rules != after.audit.rules {
        changes.push("audit".to_owned());
    }
    changes
}

/// The keys whose values differ from what the process was started with, and that it cannot
/// go by while it runs.
pub(super) fn later(started: &LogConfig, now: &LogConfig) -> Vec<&'static str> {
    let LogConfig { level, format, file } = started;
    let keys = [
        ("[log] level", *level != now.level),
        ("[log] format", *format != now.format),
        ("[log] file", *file != now.file),
    ];
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}
