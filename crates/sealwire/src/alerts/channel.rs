//! The ways by which alerts go out, ready to be used: secrets read, URLs parsed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealwire::config::{
    AlertsConfig, EmailConfig, Secret, SecureMcpConfig, SmtpSecurity, WebhookConfig, WebhookUrl,
};
use sealwire_names::Timestamp;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::alert::Alert;
use super::dial::{Dialer, Undelivered};
use super::http::Webhook;
use super::smtp::{Mail, Server};
use super::text::{self, Source};
use crate::cli::Failure;

/// Longest time for one delivery.
const PATIENCE: Duration = Duration::from_secs(30);
/// Shortest secret that requests are signed with, in bytes, as Standard Webhooks has it.
const SHORTEST_KEY: usize = 24;
/// How a secret begins that is base64.
const KEY_PREFIX: &str = "whsec_";

/// What `[audit.alerts]` asks for, ready to be used.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(super) on_security_events: bool,
    pub(super) repeat_after: Duration,
    pub(super) give_up_after: Duration,
    pub(super) channels: BTreeMap<&'static str, Arc<Channel>>,
}

/// One way.
pub(crate) struct Channel {
    way: Way,
    source: Source,
    dialer: Dialer,
}

enum Way {
    Slack(Webhook),
    Signed(Webhook, Box<hmac::Key>),
    Mail { server: Server, from: String, to: Vec<String> },
}

impl Setup {
    /// Reads every secret; `None` if nothing is to be sent.
    ///
    /// # Errors
    /// If one cannot be used, or a URL: nobody would be told, and nobody would notice.
    pub(crate) fn load(config: &SecureMcpConfig) -> Result<Option<Self>, Failure> {
        let alerts = &config.alerts;
        if !alerts.enabled {
            return Ok(None);
        }
        let (dialer, source) = (dialer(alerts)?, source(config));
        let channel = |way| {
            let (source, dialer) = (source.clone(), dialer.clone());
            Arc::new(Channel { way, source, dialer })
        };
        let mut channels = BTreeMap::new();
        if let Some(secret) = &alerts.slack {
            let key = "alert_slack_webhook";
            let url = read(secret, key)?;
            let webhook = parse(&url, key, config)?;
            channels.insert("slack", channel(Way::Slack(webhook)));
        }
        if let Some(WebhookConfig { url, secret }) = &alerts.webhook {
            let url = match url {
                WebhookUrl::Plain(url) => Zeroizing::new(url.clone()),
                WebhookUrl::Secret(secret) => read(secret, "alert_webhook")?,
            };
            let webhook = parse(&url, "alert_webhook", config)?;
            let key = signing_key(&read(secret, "alert_webhook_secret")?)?;
            channels.insert("webhook", channel(Way::Signed(webhook, Box::new(key))));
        }
        if let Some(email) = &alerts.email {
            channels.insert("email", channel(mail(email)?));
        }
        Ok(Some(Self {
            on_security_events: alerts.on_security_events,
            repeat_after: alerts.repeat_after,
            give_up_after: alerts.give_up_after,
            channels,
        }))
    }

    /// Each channel by its name.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (&'static str, &Arc<Channel>)> {
        self.channels.iter().map(|(name, channel)| (*name, channel))
    }
}

impl Channel {
    /// Delivers all of them in one message, or none.
    pub(crate) async fn deliver(&self, alerts: &[Alert]) -> Result<(), Undelivered> {
        match timeout(PATIENCE, self.send(alerts)).await {
            Ok(done) => done,
            Err(_) => Err(Undelivered::new(format!("not done within {PATIENCE:?}"))),
        }
    }

    /// Goes as far as something could be sent, and sends nothing.
    pub(crate) async fn try_out(&self) -> Result<(), Undelivered> {
        match &self.way {
            Way::Slack(webhook) | Way::Signed(webhook, _) => {
                webhook.connect(&self.dialer).await.map(drop)
            }
            Way::Mail { server, .. } => server.try_out(&self.dialer).await,
        }
    }

    /// Who is written to, without anything secret.
    pub(crate) fn receiver(&self) -> String {
        match &self.way {
            Way::Slack(webhook) | Way::Signed(webhook, _) => webhook.authority().to_owned(),
            Way::Mail { server, to, .. } => {
                format!("{} by {}:{}", to.join(", "), server.host, server.port)
            }
        }
    }

    /// Whether it is done without TLS, on this machine.
    pub(crate) fn is_in_clear(&self) -> bool {
        match &self.way {
            Way::Slack(webhook) | Way::Signed(webhook, _) => webhook.is_in_clear(),
            Way::Mail { server, .. } => server.security == SmtpSecurity::None,
        }
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), Undelivered> {
        let now: Timestamp = SystemTime::now().into();
        match &self.way {
            Way::Slack(webhook) => {
                let body = text::slack(&self.source, alerts).to_string();
                webhook.post(&self.dialer, &[], body.into_bytes()).await
            }
            Way::Signed(webhook, key) => {
                let body = text::object(&self.source, alerts).to_string();
                let headers = signed(key, &message_id(alerts), now, &body);
                webhook.post(&self.dialer, &headers, body.into_bytes()).await
            }
            Way::Mail { server, from, to } => {
                let id = message_id(alerts);
                let text = text::mail(
                    &self.source,
                    alerts,
                    (from.as_str(), to.as_slice(), id.as_str()),
                    now,
                );
                server.send(&self.dialer, &Mail { from, to, text: &text }).await
            }
        }
    }
}

/// The headers by which a receiver knows that the body is ours and new, as Standard Webhooks
/// 1.0 has them.
fn signed(key: &hmac::Key, id: &str, now: Timestamp, body: &str) -> [(&'static str, String); 3] {
    let seconds = now.unix_millis().div_euclid(1_000);
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag))),
    ]
}

/// The same for the same alerts, so that a message that comes twice is known again.
fn message_id(alerts: &[Alert]) -> String {
    let ids: String = alerts.iter().map(|alert| alert.id.as_str()).collect();
    let hash = digest(&SHA256, ids.as_bytes());
    let hash = hash.as_ref().iter().take(16);
    format!("msg_{}", hash.map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn dialer(alerts: &AlertsConfig) -> Result<Dialer, Failure> {
    Dialer::new(alerts.allow_private, alerts.ca_cert.as_deref())
}

fn source(config: &SecureMcpConfig) -> Source {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Source { host, trust_domain: config.trust_domain.to_string() }
}

fn read(secret: &Secret, key: &str) -> Result<Zeroizing<String>, Failure> {
    secret.read().map_err(|(what, remedy)| {
        Failure::config(format!("[audit.alerts] {key} cannot be used")).because(what).fix(remedy)
    })
}

fn parse(url: &str, key: &str, config: &SecureMcpConfig) -> Result<Webhook, Failure> {
    let wrong = |what: &str| {
        Failure::config(format!("[audit.alerts] {key} cannot be used")).because(what).fix(
            "give a URL that begins with https://; http:// is for a receiver on this machine \
             alone, at localhost, 127.0.0.1 or [::1]",
        )
    };
    let webhook = Webhook::parse(url).map_err(wrong)?;
    if webhook.is_in_clear() && config.zero_trust_mode {
        return Err(wrong("zero_trust_mode sends nothing in the clear"));
    }
    if webhook.is_in_clear() && !webhook.is_here() {
        return Err(wrong("it would be sent in the clear"));
    }
    Ok(webhook)
}

fn signing_key(secret: &str) -> Result<hmac::Key, Failure> {
    let wrong = |what: String| {
        Failure::config("[audit.alerts] alert_webhook_secret cannot be used").because(what).fix(
            "make one, and give it to the receiver too: echo whsec_$(head -c 32 /dev/urandom | base64)",
        )
    };
    let bytes = match secret.strip_prefix(KEY_PREFIX) {
        Some(rest) => STANDARD
            .decode(rest)
            .map_err(|_| wrong(format!("after {KEY_PREFIX} comes no base64")))?,
        None => secret.as_bytes().to_vec(),
    };
    let bytes = Zeroizing::new(bytes);
    if bytes.len() < SHORTEST_KEY {
        return Err(wrong(format!("it is shorter than {SHORTEST_KEY} bytes")));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn mail(email: &EmailConfig) -> Result<Way, Failure> {
    let EmailConfig { to, from, host, port, security, login } = email;
    let login = match login {
        Some((name, secret)) => Some((name.clone(), read(secret, "smtp.password")?)),
        None => None,
    };
    let server = Server { host: host.clone(), port: *port, security: *security, login };
    Ok(Way::Mail { server, from: from.clone(), to: to.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::alert::Kind;
    use super::*;

    /// The example of Standard Webhooks 1.0, "Verifying signatures".
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let now = Timestamp::from_unix_millis(1_614_265_330_000);
        let headers = signed(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, "{\"test\": 2432232314}");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers[1].1, "1614265330");
        for bad in ["tiny-one", "whsec_!", "whsec_AAAA"] {
            let failure = signing_key(bad).err().unwrap().one_line();
            assert!(!failure.contains(bad), "{failure}");
        }
    }

    #[test]
    fn a_message_is_known_again_by_what_it_holds() {
        let (one, other) = (Alert::new(Kind::Test), Alert::new(Kind::Test));
        let both = [one.clone(), other.clone()];
        assert_eq!(message_id(&both), message_id(&both));
        assert_ne!(message_id(&both), message_id(&[one]));
        assert_ne!(message_id(&both), message_id(&[other]));
    }
}
