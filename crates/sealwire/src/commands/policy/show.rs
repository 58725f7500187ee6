use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire_guard::{
    DEFAULT_LEVEL, DEFAULT_LOCAL_CEILING, DEFAULT_PEER_CEILING, Level, PeerPattern, Policy, Rate,
    RateLimits, Rule, ServerLimits, ServerPolicy, Space,
};
use serde_json::{Value, json};

use crate::cli::{Context, Failure, print, print_json};

/// Show the effective policy: ceilings, levels, rules and limits, defaults filled in
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire policy show
  sealwire policy show github
  sealwire policy show --json | jq .servers.github.tools")]
pub(crate) struct Arguments {
    /// Only what holds for this server
    server: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let policy = narrowed(&config, arguments.server.as_deref())?;
    if arguments.json {
        print_json(&as_json(&policy, &config))
    } else {
        print(&(text(&policy, &config) + &limits_text(config.rate_limits.as_ref())))
    }
}

/// The policy, or the part of it that one server goes by.
fn narrowed(config: &SecureMcpConfig, server: Option<&str>) -> Result<Policy, Failure> {
    let mut policy = config.policy.clone();
    if let Some(name) = server {
        super::tools::entry(config, name)?;
        policy.servers.retain(|server| server.entry == name);
        policy.rules.retain(|rule| rule.is_at(name));
    }
    Ok(policy)
}

fn text(policy: &Policy, config: &SecureMcpConfig) -> String {
    let limits = config.rate_limits.as_ref();
    let mut text = String::from("ceilings\n");
    ceilings(&mut text, &policy.ceilings);
    let (peers, local) = unstated(policy);
    text.push_str(&format!("  {:40} {}\n", "peers that nothing names", ceiling(peers)));
    text.push_str(&format!("  {:40} {}\n", "local, if nothing names it", ceiling(local)));
    for server in &policy.servers {
        text.push_str(&format!("\nserver {}\n", server.entry));
        if let Some(hash) = config.policy_hash(&server.entry) {
            text.push_str(&format!("  {:40} {hash}\n", "hash of what holds here"));
        }
        if server.auth_method != sealwire_guard::AuthMethod::Mtls {
            let method = server.auth_method.as_str();
            text.push_str(&format!("  {:40} {method}, from level 2 on\n", "asks for"));
        }
        for (space, pattern, level) in &server.levels {
            let what = format!("{} {pattern}", space.noun());
            text.push_str(&format!("  {what:40} {level}\n"));
        }
        let default = server.default_level.unwrap_or(DEFAULT_LEVEL);
        let stated =
            if server.default_level.is_some() { "" } else { ", as no default_level is given" };
        text.push_str(&format!("  {:40} {default}{stated}\n", "what is not listed"));
        for (what, rate) in limits_of(limits, server).into_iter().flat_map(of_server_limits) {
            text.push_str(&format!("  {what:40} {}\n", rate_text(rate)));
        }
        if !server.ceilings.is_empty() {
            text.push_str("  ceilings here\n");
            ceilings(&mut text, &server.ceilings);
        }
    }
    text.push_str("\nrules, of which those that deny win\n");
    if policy.rules.is_empty() {
        text.push_str("  none\n");
    }
    for rule in &policy.rules {
        text.push_str(&format!(
            "  {} {}\n    to {} at {}: {}\n",
            rule.effect.as_str(),
            rule.label,
            list(&rule.peers),
            list(&rule.servers),
            objects(rule).join(", ")
        ));
    }
    text
}

/// The limits that no server has for itself.
fn limits_text(limits: Option<&RateLimits>) -> String {
    let Some(limits) = limits else {
        return "\nlimits\n  none: [security.rate_limiting] is not enabled\n".to_owned();
    };
    let mut text = String::from("\nlimits, of requests\n");
    let mut line = |what: String, rate: String| text.push_str(&format!("  {what:40} {rate}\n"));
    for (pattern, rate) in &limits.peers {
        line(format!("each peer {pattern}"), rate_text(*rate));
    }
    let each = match (limits.refuse_unregistered, limits.each_peer) {
        (true, _) => "refused: refuse_unregistered is on".to_owned(),
        (false, rate) => rate.map_or_else(|| "none".to_owned(), rate_text),
    };
    line("each peer that nothing names".to_owned(), each);
    let total = limits.total.map_or_else(|| "none".to_owned(), rate_text);
    line("all together".to_owned(), total);
    text
}

fn rate_text(rate: Rate) -> String {
    format!("{} a second, {} at once", rate.per_second(), rate.burst())
}

fn limits_of<'l>(
    limits: Option<&'l RateLimits>,
    server: &ServerPolicy,
) -> Option<&'l ServerLimits> {
    limits?.servers.iter().find(|limited| limited.entry == server.entry)
}

/// What is limited of a server, and how.
fn of_server_limits(limits: &ServerLimits) -> Vec<(String, Rate)> {
    let total = limits.total.map(|rate| ("all its requests together".to_owned(), rate));
    let tools = limits.tools.iter();
    let tools = tools.map(|(pattern, rate)| (format!("calls of tool {pattern}"), *rate));
    total.into_iter().chain(tools).collect()
}

fn ceilings(text: &mut String, ceilings: &[(PeerPattern, Level)]) {
    for (pattern, level) in ceilings {
        text.push_str(&format!("  {:40} {level}\n", pattern.to_string()));
    }
}

/// The ceilings of peers, and of the local client, that nothing names.
fn unstated(policy: &Policy) -> (Option<Level>, Option<Level>) {
    if policy.zero_trust {
        (None, None)
    } else {
        (Some(DEFAULT_PEER_CEILING), Some(DEFAULT_LOCAL_CEILING))
    }
}

fn ceiling(level: Option<Level>) -> String {
    level.map_or_else(|| "none: zero_trust_mode is on".to_owned(), |level| level.to_string())
}

fn list<T: ToString>(patterns: &[T]) -> String {
    patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn objects(rule: &Rule) -> Vec<String> {
    let word = |(space, pattern): &(Space, _)| {
        let back = if *space == Space::ClientMethod { " to the client" } else { "" };
        format!("{} {pattern}{back}", space.noun())
    };
    rule.objects.iter().map(word).collect()
}

fn as_json(policy: &Policy, config: &SecureMcpConfig) -> Value {
    let limits = config.rate_limits.as_ref();
    let (peers, local) = unstated(policy);
    let of_server = |server: &ServerPolicy| {
        let mut of_server = of_server(server, limits_of(limits, server));
        of_server["policy"] = config.policy_hash(&server.entry).map(|hash| hash.to_string()).into();
        of_server
    };
    let servers = policy.servers.iter().map(|server| (server.entry.clone(), of_server(server)));
    json!({
        "zero_trust_mode": policy.zero_trust,
        "ceilings": by_pattern(&policy.ceilings),
        "unnamed": { "peers": peers.map(Level::number), "local": local.map(Level::number) },
        "servers": servers.collect::<serde_json::Map<_, _>>(),
        "rules": policy.rules.iter().map(of_rule).collect::<Vec<_>>(),
        "limits": limits.map(limits_json),
    })
}

fn limits_json(limits: &RateLimits) -> Value {
    json!({
        "refuse_unregistered": limits.refuse_unregistered,
        "each_peer": limits.each_peer.map(rate_json),
        "peers": rates_json(&limits.peers),
        "total": limits.total.map(rate_json),
    })
}

/// As in the configuration.
fn rate_json(rate: Rate) -> Value {
    json!({"max_requests_per_sec": rate.per_second(), "burst_size": rate.burst()})
}

fn rates_json<T: ToString>(rates: &[(T, Rate)]) -> Value {
    let entry = |(pattern, rate): &(T, Rate)| (pattern.to_string(), rate_json(*rate));
    Value::Object(rates.iter().map(entry).collect())
}

fn by_pattern(ceilings: &[(PeerPattern, Level)]) -> Value {
    let entry = |(pattern, level): &(PeerPattern, Level)| {
        (pattern.to_string(), Value::from(level.number()))
    };
    Value::Object(ceilings.iter().map(entry).collect())
}

fn of_server(server: &ServerPolicy, limits: Option<&ServerLimits>) -> Value {
    let levels = |space: Space| -> Value {
        let of_space = server.levels.iter().filter(|(of, _, _)| *of == space);
        let entry = |(_, pattern, level): &(Space, _, Level)| {
            let pattern: &sealwire_guard::NamePattern = pattern;
            (pattern.to_string(), Value::from(level.number()))
        };
        Value::Object(of_space.map(entry).collect())
    };
    json!({
        "auth_method": server.auth_method.as_str(),
        "default_level": server.default_level.unwrap_or(DEFAULT_LEVEL).number(),
        "default_level_given": server.default_level.is_some(),
        "tools": levels(Space::Tool),
        "prompts": levels(Space::Prompt),
        "resources": levels(Space::Resource),
        "ceilings": by_pattern(&server.ceilings),
        "limits": limits.map(|limits| json!({
            "total": limits.total.map(rate_json),
            "tools": rates_json(&limits.tools),
        })),
    })
}

fn of_rule(rule: &Rule) -> Value {
    let patterns = |space: Space| -> Vec<String> {
        let of_space = rule.objects.iter().filter(|(of, _)| *of == space);
        of_space.map(|(_, pattern)| pattern.to_string()).collect()
    };
    json!({
        "rule": rule.label,
        "effect": rule.effect.as_str(),
        "peers": rule.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "servers": rule.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "methods": patterns(Space::Method),
        "tools": patterns(Space::Tool),
        "prompts": patterns(Space::Prompt),
        "resources": patterns(Space::Resource),
        "client_methods": patterns(Space::ClientMethod),
    })
}
