//! `sealwire demo`: what is promised, shown on this machine with the
//! program's own commands and real connections.

mod calls;
mod cutter;
mod facts;
mod mail;
mod stage;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Failure, print, print_json};
use stage::Stage;

/// Longest that the whole demonstration may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Show a tool call over mutual TLS, a message between agents, and what is refused
///
/// In temporary homes: makes an authority and two certificates, serves `demo-server` on
/// loopback, calls its tools, tries to get in without a certificate and with a stranger's,
/// and cuts the connection in mid-call. Then one agent sends another a message, and copies
/// of it are tried. Ends with 0 only if everything held. Nothing is left behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire demo
  sealwire demo --json | jq .tls")]
pub(crate) struct Arguments {
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// What was seen. Every figure is measured in this run.
#[derive(Debug, Serialize)]
struct Report {
    tls: Tls,
    client: String,
    server: String,
    tool_call: ToolCall,
    refused: Vec<Refused>,
    resumed: Resumed,
    added_latency_us: i64,
    message: mail::Message,
    ok: bool,
}

/// What the two sides agreed on.
#[derive(Debug, Serialize)]
struct Tls {
    version: String,
    suite: String,
    group: String,
}

#[derive(Debug, Serialize)]
struct ToolCall {
    ok: bool,
    tools: usize,
}

/// An attempt that was to be refused.
#[derive(Debug, Serialize)]
struct Refused {
    case: &'static str,
    /// The code in the serving side's log; `None` if it let the attempt through.
    reason: Option<String>,
    /// What the one who tried was told.
    told: Option<String>,
}

/// What cutting the network did.
#[derive(Debug, Serialize)]
struct Resumed {
    cuts: u64,
    /// Calls, of which the server's own count tells how many were carried out.
    calls: u64,
    lost: u64,
    duplicated: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let report = runtime.block_on(async {
        let late = |_| Failure::new(format!("the demonstration took more than {LIMIT:?}"));
        tokio::time::timeout(LIMIT, show(!arguments.json)).await.map_err(late)?
    })?;
    if arguments.json {
        print_json(&report)?;
    }
    if report.ok {
        return Ok(());
    }
    Err(Failure::new("not everything held; see what has no tick above").fix("report it as a bug"))
}

async fn show(aloud: bool) -> Result<Report, Failure> {
    let teller = Teller { aloud };
    let mut stage = Stage::set().await?;
    teller.tell(true, &format!("serving demo-server on {} behind mutual TLS", stage.address))?;

    let (tls, server) = facts::handshake(&mut stage).await?;
    teller.tell(tls.version == "TLSv1.3", &format!("TLS version {}", tls.version))?;
    teller.tell(true, &format!("cipher suite {}", tls.suite))?;
    teller.tell(tls.group == "X25519MLKEM768", &format!("key exchange {}", tls.group))?;

    let conversation = calls::Conversation::open(&stage).await?;
    let client = conversation.client.clone();
    teller.tell(server == stage::SERVER, &format!("server verified: {server}"))?;
    teller.tell(client == stage::CLIENT, &format!("client verified: {client}"))?;

    let tool_call = conversation.list_and_call().await?;
    let text = format!("{} tools listed, one called and its answer checked", tool_call.tools);
    teller.tell(tool_call.ok, &text)?;

    let mut refused = Vec::new();
    let mut strangers_refused = true;
    for attempt in facts::Attempt::ALL {
        let outcome = attempt.make(&mut stage).await?;
        strangers_refused &= teller.refused(&outcome, attempt.expected())?;
        refused.push(outcome);
    }

    let resumed = conversation.cut_and_resume(&stage).await?;
    let text = format!(
        "connection cut {} times in mid-call: {} calls, {} lost, {} carried out twice",
        resumed.cuts, resumed.calls, resumed.lost, resumed.duplicated
    );
    let held = resumed.cuts > 0 && resumed.lost == 0 && resumed.duplicated == 0;
    teller.tell(held, &text)?;
    conversation.close().await;

    let added_latency_us = calls::added_latency(&stage).await?;
    teller.tell(true, &format!("latency added to a call: {added_latency_us} µs (median)"))?;

    let (message, copies) = mail::exchange(&stage.team().await?).await?;
    let text = "message from CodeExpert to General: signed, sealed, delivered once";
    teller.tell(message.ok, text)?;
    let mut copies_refused = true;
    for (outcome, (_, expected)) in copies.into_iter().zip(mail::COPIES) {
        copies_refused &= teller.refused(&outcome, expected.as_str())?;
        refused.push(outcome);
    }
    stage.strike().await;

    let ok = tls.version == "TLSv1.3"
        && tls.group == "X25519MLKEM768"
        && server == stage::SERVER
        && client == stage::CLIENT
        && tool_call.ok
        && held
        && strangers_refused
        && message.ok
        && copies_refused;
    Ok(Report { tls, client, server, tool_call, refused, resumed, added_latency_us, message, ok })
}

/// Tells a person what was seen, a ticked line each.
struct Teller {
    aloud: bool,
}

impl Teller {
    /// Tells what became of an attempt, and whether it was refused for the reason expected.
    fn refused(&self, outcome: &Refused, expected: &str) -> Result<bool, Failure> {
        let held = outcome.reason.as_deref() == Some(expected);
        let text = match &outcome.reason {
            Some(reason) => format!("{}: refused ({reason})", outcome.case),
            None => format!("{}: let through", outcome.case),
        };
        self.tell(held, &text)?;
        Ok(held)
    }

    fn tell(&self, held: bool, text: &str) -> Result<(), Failure> {
        if !self.aloud {
            return Ok(());
        }
        print(&format!("{} {text}\n", if held { "✓" } else { "✗" }))
    }
}
