//! Which page of the documentation explains an error.
//!
//! The only place that knows: kinds of errors, codes of refusals and commands name a [`Page`], and
//! a test sees that each is there.

use sealwire::agents::KeyError;
use sealwire_names::RefusalCode;
use sealwire_relay::link::LinkError;

macro_rules! pages {
    ($($(#[doc = $doc:literal])+ $page:ident => $path:literal,)+) => {
        /// A page, or a section of one, below the top of the repository and of the installed
        /// documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Page {
            $($(#[doc = $doc])+ $page,)+
        }

        impl Page {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$page),+];

            /// Where it is, as a link in the documentation has it.
            pub(crate) const fn path(self) -> &'static str {
                match self {
                    $(Self::$page => $path,)+
                }
            }
        }
    };
}

pages! {
    /// Messages between agents.
    Agents => "docs/agents.md",
    /// Agents' keys.
    AgentKeys => "docs/agents.md#keys",
    /// Alerts that cannot be delivered.
    Alerts => "docs/alerts.md#what-answers-mean",
    /// The log of what happened.
    Audit => "docs/audit.md",
    /// What reports say.
    Reports => "docs/audit.md#reports",
    /// Certificates that have to be renewed.
    Certificates => "docs/day-two.md#certificates-renew",
    /// Clients' files.
    Clients => "docs/clients.md",
    /// Servers that `connect` starts.
    LocalServers => "docs/clients.md#servers-that-stay-on-this-machine",
    /// The configuration.
    Config => "docs/config.md",
    /// A configuration that is not taken up.
    Reloading => "docs/config.md#changes-while-serve-runs",
    /// Where the state is.
    State => "docs/config.md#state",
    /// What to look at when two ends do not meet.
    Doctor => "docs/doctor.md",
    /// Codes of refused connections.
    Connections => "docs/errors.md#connections-refused",
    /// Codes of refused messages.
    Messages => "docs/errors.md#messages-refused",
    /// Codes of refused agent messages.
    Mail => "docs/errors.md#agent-messages-refused",
    /// How errors are shown.
    Errors => "docs/errors.md#exit-codes",
    /// The first home.
    FirstSteps => "docs/five-minutes.md",
    /// Keys in a token.
    Hardware => "docs/hardware.md#what-is-checked-and-when",
    /// Joining.
    Join => "docs/join.md",
    /// The service at which machines join.
    Authority => "docs/join.md#the-service",
    /// Running `serve`.
    Operations => "docs/operations.md",
    /// Health checks.
    Health => "docs/operations.md#health",
    /// Pins.
    Pins => "docs/pins.md#a-change",
    /// Policy.
    Policy => "docs/policy.md",
    /// The quarantine.
    Quarantine => "docs/quarantine.md",
    /// How commands reach `serve`.
    Control => "docs/quarantine.md#how-commands-reach-serve",
    /// Revoked certificates.
    Revocation => "docs/revocation.md",
}

impl Page {
    /// Of a command, by its word: what explains an error of it that says nothing else.
    pub(crate) fn of_command(word: &str) -> Self {
        match word {
            "init" | "demo" | "demo-server" => Self::FirstSteps,
            "cert" => Self::Certificates,
            "ca" => Self::Authority,
            "invite" | "join" => Self::Join,
            "key" => Self::AgentKeys,
            "agent" => Self::Agents,
            "serve" => Self::Operations,
            "connect" | "install" | "uninstall" | "import" => Self::Clients,
            "config" => Self::Config,
            "policy" => Self::Policy,
            "quarantine" => Self::Quarantine,
            "alerts" => Self::Alerts,
            "audit" => Self::Audit,
            "report" => Self::Reports,
            "status" => Self::Control,
            "reload" => Self::Reloading,
            "pins" => Self::Pins,
            "doctor" => Self::Doctor,
            "health" => Self::Health,
            _ => Self::Errors,
        }
    }

    /// Of a refusal: the table with its code.
    pub(crate) fn of_refusal(code: RefusalCode) -> Self {
        use RefusalCode as Code;
        match code {
            Code::MessageMalformed
            | Code::MessageInvalid
            | Code::MemberAmbiguous
            | Code::MessageTooDeep
            | Code::MessageTooLarge
            | Code::MessageBatch
            | Code::RequestIdInUse
            | Code::RequestsInFlight
            | Code::ResponseUnexpected
            | Code::NotAuthorized
            | Code::AgentTokenRequired
            | Code::ApprovalRequired
            | Code::RateLimited
            | Code::SharedLimit
            | Code::PeerNotRegistered
            | Code::PinChanged
            | Code::PinAdded
            | Code::PinUnapproved
            | Code::PinsUnavailable => Self::Messages,
            Code::EnvelopeMalformed
            | Code::EnvelopeNotDeterministic
            | Code::EnvelopeHeader
            | Code::EnvelopeCritical
            | Code::EnvelopeAlgorithm
            | Code::EnvelopeVersion
            | Code::EnvelopeClaim
            | Code::RecipientCount
            | Code::SenderUnknown
            | Code::SenderKeyUnknown
            | Code::SenderKeyRevoked
            | Code::SenderKeyExpired
            | Code::BundleConflict
            | Code::NotAddressed
            | Code::RecipientKeyUnknown
            | Code::RosterUnknown
            | Code::NotTrusted
            | Code::MessageExpired
            | Code::MessageFromFuture
            | Code::MessageStale
            | Code::MessageBeforeStart
            | Code::MessageReplayed
            | Code::ReplayWindow
            | Code::ReplayCapacity
            | Code::SignatureInvalid
            | Code::RecipientsDigest
            | Code::ContentKey
            | Code::CekCommitment
            | Code::ContentInvalid
            | Code::RecipientUnknown
            | Code::AgentNotRegistered
            | Code::AgentRateLimited
            | Code::MailboxFull
            | Code::MessageLifetime
            | Code::DeliveryLimit
            | Code::ReplayStateLost => Self::Mail,
            _ => Self::Connections,
        }
    }

    /// Of a connection that does not come about, or ends.
    pub(crate) fn of_link(error: &LinkError) -> Self {
        match error {
            LinkError::Refused(refusal) => Self::of_refusal(refusal.code),
            LinkError::Declined(_) => Self::Connections,
            _ => Self::Doctor,
        }
    }

    /// Of a certificate or key; `None` where that depends on what it was wanted for.
    pub(crate) fn of_identity(error: &sealwire_identity::Error) -> Option<Self> {
        use sealwire_identity::Error;
        match error {
            Error::Certificate { refusal, .. } => Some(Self::of_refusal(refusal.code)),
            Error::RevocationList { .. } => Some(Self::Revocation),
            Error::Token { .. } | Error::TokenUri { .. } => Some(Self::Hardware),
            _ => None,
        }
    }

    /// Of agents' keys.
    pub(crate) fn of_key(_error: &KeyError) -> Self {
        Self::AgentKeys
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn text(page: &str) -> String {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// As the book and forges make it of a heading.
    fn anchor(heading: &str) -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
    }

    /// The section that begins with such a heading.
    fn section<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
        let mut sections = text.split("\n## ").skip(1);
        sections.find(|section| section.lines().next().is_some_and(|line| anchor(line) == wanted))
    }

    #[test]
    fn every_page_is_there_with_its_section() {
        for page in Page::ALL {
            let (file, wanted) = page.path().split_once('#').unwrap_or((page.path(), ""));
            let text = text(file);
            assert!(
                wanted.is_empty() || section(&text, wanted).is_some(),
                "{file} has no section #{wanted}"
            );
        }
    }

    #[test]
    fn every_code_is_in_the_table_to_which_it_leads() {
        let text = text("docs/errors.md");
        for code in RefusalCode::ALL {
            let (_, wanted) = Page::of_refusal(*code).path().split_once('#').unwrap();
            let section = section(&text, wanted).unwrap();
            let row = format!("| `{code}` |");
            assert!(section.contains(&row), "{code} is not explained in #{wanted}");
        }
    }
}
