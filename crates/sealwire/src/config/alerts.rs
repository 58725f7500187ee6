//! `[audit.alerts]`: who is told of what, and how.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::path;
use super::document::{Located, Section};
use super::error::Problems;
use super::schema;
use super::secret::{Secret, variable};
use crate::home::Home;

/// `[audit.alerts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Whether anything is sent.
    pub enabled: bool,
    /// Whether security events are told: incidents, quarantine, revocations, blocked
    /// definitions. That the program itself fails in something is told in any case.
    pub on_security_events: bool,
    /// A Slack-compatible incoming webhook: its URL is a secret.
    pub slack: Option<Secret>,
    /// A webhook whose requests are signed.
    pub webhook: Option<WebhookConfig>,
    /// Mail.
    pub email: Option<EmailConfig>,
    /// Whether loopback and private addresses may be sent to. Link-local ones, where clouds
    /// keep their metadata, never are.
    pub allow_private: bool,
    /// The authorities that servers are checked by, in place of the system's.
    pub ca_cert: Option<PathBuf>,
    /// The same alert again within this time is counted, not sent.
    pub repeat_after: Duration,
    /// An alert that could not be delivered for this long is given up.
    pub give_up_after: Duration,
}

/// A webhook of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where it is.
    pub url: WebhookUrl,
    /// What requests are signed with.
    pub secret: Secret,
}

/// The URL of a webhook, which may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookUrl {
    /// It is not.
    Plain(String),
    /// It is.
    Secret(Secret),
}

/// Mail by SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailConfig {
    /// Who gets it.
    pub to: Vec<String>,
    /// Who sends it.
    pub from: String,
    /// The server: a DNS name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// A name and a password, where the server wants one.
    pub login: Option<(String, Secret)>,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// By `STARTTLS`; nothing is sent to a server that does not offer it.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all: for a server on this machine alone.
    None,
}

/// What holds where the configuration says nothing.
impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            on_security_events: true,
            slack: None,
            webhook: None,
            email: None,
            allow_private: false,
            ca_cert: None,
            repeat_after: Duration::from_secs(10 * 60),
            give_up_after: Duration::from_secs(24 * 3600),
        }
    }
}

impl AlertsConfig {
    /// Each secret, with the key that names it.
    pub fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        let webhook = self.webhook.iter().flat_map(|webhook| {
            let url = match &webhook.url {
                WebhookUrl::Secret(url) => Some(("alert_webhook", url)),
                WebhookUrl::Plain(_) => None,
            };
            url.into_iter().chain([("alert_webhook_secret", &webhook.secret)])
        });
        let login = self.email.iter().filter_map(|email| email.login.as_ref());
        let passwords = login.map(|(_, password)| ("password", password));
        let slack = self.slack.iter().map(|url| ("alert_slack_webhook", url));
        slack.chain(webhook).chain(passwords).collect()
    }

    /// The files that it names: secrets, and authorities.
    pub fn files(&self) -> Vec<PathBuf> {
        let file = |(_, secret): (_, &Secret)| match secret {
            Secret::File(file) => Some(file.clone()),
            Secret::Variable(_) => None,
        };
        self.secrets().into_iter().filter_map(file).chain(self.ca_cert.clone()).collect()
    }

    pub(super) fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        let mut secrets: Vec<&mut Secret> = self.slack.iter_mut().collect();
        if let Some(WebhookConfig { url, secret }) = &mut self.webhook {
            if let WebhookUrl::Secret(url) = url {
                secrets.push(url);
            }
            secrets.push(secret);
        }
        let login = self.email.as_mut().and_then(|email| email.login.as_mut());
        secrets.extend(login.map(|(_, password)| password));
        let mut files: Vec<&mut PathBuf> = self.ca_cert.iter_mut().collect();
        for secret in secrets {
            if let Secret::File(file) = secret {
                files.push(file);
            }
        }
        files
    }
}

/// A secret as typed: `{ file = "…" }`, `"${NAME}"`, or a text that is neither.
#[derive(Clone, Debug)]
pub(crate) enum TypedSecret {
    File(Located<String>),
    Text(Located<String>),
}

/// `[audit.alerts]`, as typed.
#[derive(Debug, Default)]
pub(crate) struct TypedAlerts {
    enabled: Option<Located<bool>>,
    on_security_events: Option<Located<bool>>,
    slack: Option<TypedSecret>,
    webhook: Option<TypedSecret>,
    webhook_secret: Option<TypedSecret>,
    email: Option<Located<Vec<String>>>,
    allow_private: Option<Located<bool>>,
    ca_cert: Option<Located<String>>,
    repeat_after: Option<Located<Duration>>,
    give_up_after: Option<Located<Duration>>,
    smtp: Option<TypedSmtp>,
}

#[derive(Debug, Default)]
struct TypedSmtp {
    host: Option<Located<String>>,
    port: Option<Located<u64>>,
    security: Option<Located<String>>,
    from: Option<Located<String>>,
    username: Option<Located<String>>,
    password: Option<TypedSecret>,
}

impl TypedAlerts {
    pub(crate) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        let smtp = section.section("smtp", &schema::SMTP, problems);
        Self {
            enabled: section.boolean("enabled", problems),
            on_security_events: section.boolean("alert_on_security_events", problems),
            slack: secret(section, "alert_slack_webhook", problems),
            webhook: secret(section, "alert_webhook", problems),
            webhook_secret: secret(section, "alert_webhook_secret", problems),
            email: section.string_or_strings("alert_email", problems),
            allow_private: section.boolean("allow_private", problems),
            ca_cert: section.string("ca_cert", problems),
            repeat_after: section.duration("repeat_after", problems),
            give_up_after: section.duration("give_up_after", problems),
            smtp: smtp.map(|smtp| TypedSmtp {
                host: smtp.string("host", problems),
                port: smtp.integer("port", 1..=65_535, problems),
                security: smtp.string("security", problems),
                from: smtp.string("from", problems),
                username: smtp.string("username", problems),
                password: secret(&smtp, "password", problems),
            }),
        }
    }
}

fn secret(section: &Section<'_>, key: &str, problems: &mut Problems) -> Option<TypedSecret> {
    if !section.is_table(key) {
        return section.string(key, problems).map(TypedSecret::Text);
    }
    let table = section.part(key, &schema::SECRET, problems)?;
    table.string("file", problems).map(TypedSecret::File)
}

/// Checks `[audit.alerts]`.
pub(crate) fn check(
    home: &Home,
    typed: &TypedAlerts,
    zero_trust: bool,
    problems: &mut Problems,
) -> AlertsConfig {
    let default = AlertsConfig::default();
    let is = |given: &Option<Located<bool>>, default| given.as_ref().map_or(default, |it| it.value);
    let time = |given: &Option<Located<Duration>>, default| {
        given.as_ref().map_or(default, |given| given.value)
    };
    let slack = typed.slack.as_ref().and_then(|given| only_secret(home, given, problems));
    let webhook = webhook(home, typed, problems);
    let email = email(home, typed, zero_trust, problems);
    let has_channel = typed.slack.is_some() || typed.webhook.is_some() || typed.email.is_some();
    if let Some(enabled) = typed.enabled.as_ref().filter(|enabled| enabled.value && !has_channel) {
        let remedy = "give alert_slack_webhook, alert_webhook or alert_email";
        problems.push(enabled.at.problem("there is nobody to tell", remedy));
    }
    AlertsConfig {
        enabled: is(&typed.enabled, has_channel),
        on_security_events: is(&typed.on_security_events, default.on_security_events),
        slack,
        webhook,
        email,
        allow_private: is(&typed.allow_private, default.allow_private),
        ca_cert: typed.ca_cert.as_ref().and_then(|given| path(home, given, problems)),
        repeat_after: time(&typed.repeat_after, default.repeat_after),
        give_up_after: time(&typed.give_up_after, default.give_up_after),
    }
}

/// What must not be written in the file itself: that is shown, copied and put under version
/// control.
fn only_secret(home: &Home, given: &TypedSecret, problems: &mut Problems) -> Option<Secret> {
    match given {
        TypedSecret::File(file) => path(home, file, problems).map(Secret::File),
        TypedSecret::Text(text) => {
            let name = variable(&text.value);
            if name.is_none() {
                let remedy = "put it into a file of mode 0600 and write { file = \"NAME\" }, or \
                              write \"${NAME}\" for a variable of the environment";
                problems.push(text.at.problem("is a secret, and does not belong here", remedy));
            }
            name.map(|name| Secret::Variable(name.to_owned()))
        }
    }
}

fn webhook(home: &Home, typed: &TypedAlerts, problems: &mut Problems) -> Option<WebhookConfig> {
    let place = |given: &TypedSecret| match given {
        TypedSecret::File(text) | TypedSecret::Text(text) => text.at.clone(),
    };
    match (&typed.webhook, &typed.webhook_secret) {
        (None, None) => None,
        (Some(url), None) => {
            let what = "given without alert_webhook_secret, by which its receiver knows us";
            problems.push(place(url).problem(what, "give alert_webhook_secret too"));
            None
        }
        (None, Some(key)) => {
            let what = "given without alert_webhook";
            problems.push(place(key).problem(what, "give alert_webhook too"));
            None
        }
        (Some(url), Some(key)) => {
            let url = match url {
                TypedSecret::Text(text) if variable(&text.value).is_none() => {
                    Some(WebhookUrl::Plain(text.value.clone()))
                }
                other => only_secret(home, other, problems).map(WebhookUrl::Secret),
            };
            let secret = only_secret(home, key, problems);
            Some(WebhookConfig { url: url?, secret: secret? })
        }
    }
}

fn email(
    home: &Home,
    typed: &TypedAlerts,
    zero_trust: bool,
    problems: &mut Problems,
) -> Option<EmailConfig> {
    let Some(to) = &typed.email else {
        let smtp = typed.smtp.as_ref()?;
        if let Some(given) = smtp.host.as_ref().or(smtp.from.as_ref()) {
            let what = "has no effect without alert_email";
            problems.push(given.at.problem(what, "name who gets the mail: alert_email = \"…\""));
        }
        return None;
    };
    if to.value.is_empty() {
        problems.push(to.at.problem("is empty", "name who gets the mail, or leave it out"));
    }
    for address in &to.value {
        check_address(address, to, problems);
    }
    let smtp = typed.smtp.as_ref();
    let given = smtp.and_then(|smtp| Some((smtp.host.as_ref()?, smtp.from.as_ref()?)));
    let (Some(smtp), Some((host, from))) = (smtp, given) else {
        let remedy = "add [audit.alerts.smtp] with host = \"mail.example.org\" and \
                      from = \"sealwire@example.org\"";
        problems.push(to.at.problem("given without a mail server and a sender", remedy));
        return None;
    };
    check_address(&from.value, from, problems);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    if host.value.is_empty() || !host.value.bytes().all(is_host) {
        let what = format!("{:?} is neither a DNS name nor an IP address", host.value);
        problems.push(host.at.problem(what, "write it like \"mail.example.org\""));
    }
    let security = security(smtp, &host.value, zero_trust, problems)?;
    let port = smtp.port.as_ref().and_then(|port| u16::try_from(port.value).ok());
    let usual = match security {
        SmtpSecurity::StartTls => 587,
        SmtpSecurity::Tls => 465,
        SmtpSecurity::None => 25,
    };
    Some(EmailConfig {
        to: to.value.clone(),
        from: from.value.clone(),
        host: host.value.clone(),
        port: port.unwrap_or(usual),
        security,
        login: login(home, smtp, security, problems),
    })
}

fn security(
    smtp: &TypedSmtp,
    host: &str,
    zero_trust: bool,
    problems: &mut Problems,
) -> Option<SmtpSecurity> {
    let Some(given) = &smtp.security else { return Some(SmtpSecurity::StartTls) };
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let (what, remedy) = match &*given.value {
        "starttls" => return Some(SmtpSecurity::StartTls),
        "tls" => return Some(SmtpSecurity::Tls),
        "none" if zero_trust => {
            ("zero_trust_mode sends nothing in the clear", "write \"starttls\" or \"tls\"")
        }
        "none" if is_here => return Some(SmtpSecurity::None),
        "none" => (
            "only a mail server on this machine is spoken to in the clear",
            "write \"starttls\" or \"tls\", or host = \"localhost\"",
        ),
        _ => ("is not one of them", "write one of \"starttls\", \"tls\", \"none\""),
    };
    problems.push(given.at.problem(format!("{:?}: {what}", given.value), remedy));
    None
}

fn login(
    home: &Home,
    smtp: &TypedSmtp,
    security: SmtpSecurity,
    problems: &mut Problems,
) -> Option<(String, Secret)> {
    let (name, password) = match (&smtp.username, &smtp.password) {
        (None, None) => return None,
        (Some(name), Some(password)) => (name, password),
        (Some(name), None) => {
            problems.push(name.at.problem("given without password", "give password too"));
            return None;
        }
        (None, Some(TypedSecret::File(given) | TypedSecret::Text(given))) => {
            problems.push(given.at.problem("given without username", "give username too"));
            return None;
        }
    };
    if security == SmtpSecurity::None {
        let remedy = "write security = \"starttls\" or \"tls\", or leave username and password out";
        problems.push(name.at.problem("a password is not sent in the clear", remedy));
    }
    Some((name.value.clone(), only_secret(home, password, problems)?))
}

/// A plain address, as it is written into commands and headers: nothing in it may end either.
fn check_address<T>(address: &str, given: &Located<T>, problems: &mut Problems) {
    let is_word = |text: &str| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>()[],;:\\\"@".contains(&byte);
        !text.is_empty() && text.bytes().all(is_plain)
    };
    let is_address = |(local, domain): (&str, &str)| is_word(local) && is_word(domain);
    if address.len() > 254 || !address.split_once('@').is_some_and(is_address) {
        let what = format!("{address:?} is not a plain mail address");
        problems.push(given.at.problem(what, "write it like \"security@example.org\""));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::SecureMcpConfig;

    fn parse(text: &str) -> Result<AlertsConfig, String> {
        let text = format!("[audit.alerts]\n{text}");
        let parsed = SecureMcpConfig::parse(Path::new("/h"), &text);
        parsed.map(|config| config.alerts).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_named_and_never_written() {
        let config = parse("alert_slack_webhook = { file = \"slack\" }").unwrap();
        assert_eq!(config.slack, Some(Secret::File("/h/slack".into())));
        assert!(config.enabled && config.on_security_events && !config.allow_private);
        let config = parse("enabled = false\nalert_slack_webhook = \"${SLACK}\"").unwrap();
        assert_eq!(config.slack, Some(Secret::Variable("SLACK".to_owned())));
        assert!(!config.enabled);
        let error = parse("alert_slack_webhook = \"https://hooks.example/T0/secret\"").unwrap_err();
        assert!(error.contains("is a secret") && !error.contains("T0/secret"), "{error}");
        let hook = "alert_webhook = \"https://a.example/\"\n";
        let error = parse(&format!("{hook}alert_webhook_secret = \"abc123\"")).unwrap_err();
        assert!(error.contains("is a secret") && !error.contains("abc123"), "{error}");
        let config = parse(&format!("{hook}alert_webhook_secret = {{ file = \"k\" }}")).unwrap();
        assert_eq!(config.files(), [Path::new("/h/k")]);
    }

    #[test]
    fn what_lacks_its_partner_is_refused() {
        let smtp = "[audit.alerts.smtp]\nhost = \"m.example\"\nfrom = \"s@m.example\"\n";
        for (text, part) in [
            ("enabled = true", "nobody to tell"),
            ("alert_webhook = \"https://a.example\"", "without alert_webhook_secret"),
            ("alert_webhook_secret = \"${A}\"", "without alert_webhook"),
            ("alert_email = \"a@b\"", "without a mail server"),
            (smtp, "no effect without alert_email"),
            (&format!("alert_email = []\n{smtp}"), "is empty"),
            (&format!("alert_email = \"a@b\"\n{smtp}username = \"u\""), "without password"),
            (&format!("alert_email = \"a@b\"\n{smtp}password = \"${{P}}\""), "without username"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_one_word_of_a_command() {
        let smtp = "[audit.alerts.smtp]\nhost = \"m.example\"\nfrom = \"s@m.example\"\n";
        for bad in ["a", "@b", "a@", "a b@c", "a@b>", "a@b\\r\\nX: y", "a@b,c@d", "ä@b", "a@b@c"] {
            let error = parse(&format!("alert_email = \"{bad}\"\n{smtp}")).unwrap_err();
            assert!(error.contains("not a plain mail address"), "{bad}: {error}");
        }
    }

    #[test]
    fn nothing_leaves_this_machine_in_the_clear() {
        let smtp = |host: &str, rest: &str| {
            let from = "from = \"s@m.example\"\nsecurity = \"none\"\n";
            parse(&format!(
                "alert_email = \"a@b\"\n[audit.alerts.smtp]\nhost = {host:?}\n{from}{rest}"
            ))
        };
        let email = smtp("127.0.0.1", "").unwrap().email.unwrap();
        assert_eq!((email.security, email.port), (SmtpSecurity::None, 25));
        assert!(smtp("m.example", "").unwrap_err().contains("in the clear"));
        let error = smtp("::1", "username = \"u\"\npassword = \"${P}\"").unwrap_err();
        assert!(error.contains("not sent in the clear"), "{error}");
        let error = smtp("::1", "[security]\nzero_trust_mode = true").unwrap_err();
        assert!(error.contains("zero_trust_mode"), "{error}");
    }
}
