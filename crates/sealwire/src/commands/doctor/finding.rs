//! What the doctor can find: a stable word for each, how grave it is, and the remedy.

use std::fmt;

use sealwire_identity::Error;
use sealwire_names::RefusalCode;
use serde::Serialize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It works as it is meant to, and should be known.
    Note,
    /// It works, and will not for long, or is weaker than it need be.
    Warning,
    /// Something does not work, or must not be relied on.
    Error,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One fault, weakness or peculiarity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// A stable word: one of [`Id`], or the refusal code of the rule that a certificate breaks.
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// What is wrong.
    pub(super) what: String,
    /// Where: `file:line`, a path, an address or a server.
    #[serde(rename = "where")]
    pub(super) place: String,
    /// What to do.
    pub(super) remedy: String,
    /// The command in `remedy` to be pasted into a shell, if one puts it right.
    pub(super) command: Option<String>,
    /// The entry of the configuration that is concerned, if it is one alone.
    pub(super) server: Option<String>,
    /// Why a connection was refused: a code of docs/errors.md.
    pub(super) code: Option<String>,
}

impl Finding {
    pub(super) fn error(id: impl Into<&'static str>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, id.into(), what.into())
    }

    pub(super) fn warning(id: impl Into<&'static str>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, id.into(), what.into())
    }

    pub(super) fn note(id: impl Into<&'static str>, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, id.into(), what.into())
    }

    /// Where it is.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self { place: place.to_string(), ..self }
    }

    /// What to do, in words.
    pub(super) fn fix(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// What to do: a command.
    pub(super) fn run(self, command: impl Into<String>) -> Self {
        let command = command.into();
        Self { remedy: format!("run: {command}"), command: Some(command), ..self }
    }

    /// Why a connection was refused.
    pub(super) fn because(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// Whose it is.
    pub(super) fn of(self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), ..self }
    }

    /// The same, as less grave.
    pub(super) fn at_most(self, severity: Severity) -> Self {
        Self { severity: self.severity.min(severity), ..self }
    }

    fn new(severity: Severity, id: &'static str, what: String) -> Self {
        Self {
            id,
            severity,
            what,
            place: String::new(),
            remedy: String::new(),
            command: None,
            server: None,
            code: None,
        }
    }
}

/// What kind of thing an error of a key or certificate file is.
pub(super) fn id_of(error: &Error) -> &'static str {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Id::FileMissing
        }
        Error::Io { .. } | Error::FileType { .. } | Error::TooLarge { .. } => Id::FileUnreadable,
        Error::Mode { .. } => Id::ModeTooWide,
        Error::Pem { .. } => Id::PemDamaged,
        Error::Certificate { refusal, .. } => return id_of_code(refusal.code),
        Error::KeyMismatch { .. } => Id::KeyMismatch,
        _ => Id::KeyUnusable,
    }
    .into()
}

/// A certificate's refusal as a finding. That it is another peer's has a word of its own,
/// since the certificate itself is good.
pub(super) fn id_of_code(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::PeerName => Id::NameMismatch.into(),
        code if CERTIFICATE_CODES.contains(&code) => code.as_str(),
        _ => RefusalCode::CertificatePath.as_str(),
    }
}

/// The refusal codes that are findings, too: rules that a certificate of ours may break.
pub(super) const CERTIFICATE_CODES: [RefusalCode; 16] = [
    RefusalCode::CertificateMalformed,
    RefusalCode::UnknownIssuer,
    RefusalCode::CertificateExpired,
    RefusalCode::CertificateNotYetValid,
    RefusalCode::CertificateRevoked,
    RefusalCode::RevocationUnknown,
    RefusalCode::CertificateSignature,
    RefusalCode::SanMissing,
    RefusalCode::SanMultiple,
    RefusalCode::SpiffeSyntax,
    RefusalCode::TrustDomain,
    RefusalCode::CommonName,
    RefusalCode::CaAsLeaf,
    RefusalCode::KeyUsage,
    RefusalCode::WeakKey,
    RefusalCode::CertificatePath,
];

macro_rules! ids {
    ($($variant:ident => $text:literal,)+) => {
        /// The stable words of findings, in the order of docs/doctor.md, which tells what each
        /// means. Like refusal codes they are never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Id {
            $($variant,)+
        }

        impl Id {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),+];
        }

        impl From<Id> for &'static str {
            fn from(id: Id) -> Self {
                match id {
                    $(Id::$variant => $text,)+
                }
            }
        }
    };
}

ids! {
    HomeMissing => "home_missing",
    HomeUnusable => "home_unusable",
    HomeOwner => "home_owner",
    ModeTooWide => "mode_too_wide",
    ConfigMissing => "config_missing",
    ConfigInvalid => "config_invalid",
    IncludeEmpty => "include_empty",
    ConfigExposed => "config_exposed",
    NoServers => "no_servers",
    ClockBehind => "clock_behind",
    FileMissing => "file_missing",
    FileUnreadable => "file_unreadable",
    PemDamaged => "pem_damaged",
    KeyUnusable => "key_unusable",
    KeyMismatch => "key_mismatch",
    NotAnAuthority => "not_an_authority",
    NameMismatch => "name_mismatch",
    ExpiresSoon => "certificate_expires_soon",
    ExpiresThisWeek => "certificate_expires_this_week",
    LongLived => "certificate_long_lived",
    RevocationListDue => "revocation_list_due",
    RotationBegun => "rotation_begun",
    AuthorityDue => "authority_due",
    AgentKeysMissing => "agent_keys_missing",
    AgentKeysUnusable => "agent_keys_unusable",
    AgentKeysDue => "agent_keys_due",
    AgentKeysExpired => "agent_keys_expired",
    AgentUnknown => "agent_unknown",
    AlertsOff => "alerts_off",
    AlertsSecret => "alerts_secret",
    AlertsUnusable => "alerts_unusable",
    AlertsInClear => "alerts_in_clear",
    AlertsUnreachable => "alerts_unreachable",
    CommandNotFound => "command_not_found",
    CommandNotExecutable => "command_not_executable",
    CommandExposed => "command_exposed",
    WorkingDirectory => "working_directory",
    NotExpanded => "not_expanded",
    ServerStart => "server_start",
    ServerEnded => "server_ended",
    ServerSilent => "server_silent",
    ServerOutput => "server_output",
    ServerRefuses => "server_refuses",
    ServerWithoutTools => "server_without_tools",
    PortZero => "port_zero",
    AddressOverlap => "address_overlap",
    AddressUnavailable => "address_unavailable",
    AddressInUse => "address_in_use",
    ServeOutdated => "serve_outdated",
    ServeNotReady => "serve_not_ready",
    ServeSilent => "serve_silent",
    EndpointUnresolved => "endpoint_unresolved",
    EndpointClosed => "endpoint_closed",
    EndpointUnreachable => "endpoint_unreachable",
    EndpointSilent => "endpoint_silent",
    EndpointNotTls => "endpoint_not_tls",
    EndpointNotSealwire => "endpoint_not_sealwire",
    EndpointCertificate => "endpoint_certificate",
    EndpointUnknownServer => "endpoint_unknown_server",
    EndpointRejectsUs => "endpoint_rejects_us",
    EndpointDeclines => "endpoint_declines",
    EndpointBroken => "endpoint_broken",
    ClockSkew => "clock_skew",
    ListenExposed => "listen_exposed",
    AuthorityKeyExposed => "authority_key_exposed",
    RootKeyHere => "root_key_here",
    RootListMissing => "root_list_missing",
    ManyAuthorities => "many_authorities",
    AgentsShareUser => "agents_share_user",
    ResumeWindowShort => "resume_window_short",
    TimeoutUnusual => "timeout_unusual",
    MessageSizeSmall => "message_size_small",
    PeerTakesAll => "peer_takes_all",
    FileLimitLow => "file_limit_low",
    LogUnwritable => "log_unwritable",
    AuditNearlyFull => "audit_nearly_full",
    AuditUnwritable => "audit_unwritable",
    AuditOff => "audit_off",
    AuditPartial => "audit_partial",
    AuditInterval => "audit_interval",
    AuditShort => "audit_short",
    CheckpointHereAlone => "checkpoint_here_alone",
    RuleBroad => "rule_broad",
    CeilingBroad => "ceiling_broad",
    DefaultLevelLow => "default_level_low",
    PinsOff => "pins_off",
    LimitsOff => "limits_off",
    AlertsMissing => "alerts_missing",
    AlertsPartial => "alerts_partial",
    IncidentOff => "incident_off",
    SecretInClear => "secret_in_clear",
    SecretInArguments => "secret_in_arguments",
    ListMaxAgeLong => "list_max_age_long",
    RevocationNotTold => "revocation_not_told",
    KeyRotationSlow => "key_rotation_slow",
    ToleranceWide => "tolerance_wide",
    TrustsEverybody => "trusts_everybody",
    RuleContradicted => "rule_contradicted",
    RuleNeverApplies => "rule_never_applies",
    CeilingWithoutEffect => "ceiling_without_effect",
    NothingCallable => "nothing_callable",
    AuthMethodUnavailable => "auth_method_unavailable",
    NameUnknown => "name_unknown",
    SettingUnused => "setting_unused",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_finding_is_in_the_manual_and_the_reverse() {
        let manual = include_str!("../../../../../docs/doctor.md");
        let tables = manual.split("\n## ").find(|part| part.starts_with("Findings\n")).unwrap();
        let documented: Vec<&str> = tables
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|row| row.split('`').next())
            .collect();
        let mut known: BTreeSet<&str> = Id::ALL.iter().map(|id| (*id).into()).collect();
        known.extend(CERTIFICATE_CODES.iter().map(|code| code.as_str()));
        for id in &known {
            assert!(documented.contains(id), "docs/doctor.md lacks {id}");
        }
        for id in &documented {
            assert!(known.contains(id), "docs/doctor.md lists {id}, unknown to the code");
        }
        assert_eq!(known.len(), documented.len(), "docs/doctor.md lists a finding twice");
        for id in known {
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{id}");
        }
    }
}
