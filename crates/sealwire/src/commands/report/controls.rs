//! What a report is evidence for, and what it says nothing about.

/// A control or tenet, with the figures that are evidence for it.
pub(super) struct Control {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) figures: &'static [&'static str],
    /// What of it no figure covers.
    pub(super) not_covered: &'static str,
}

const fn control(
    name: &'static str,
    title: &'static str,
    figures: &'static [&'static str],
    not_covered: &'static str,
) -> Control {
    Control { name, title, figures, not_covered }
}

/// ISO/IEC 27001:2022 Annex A, and the tenets of NIST SP 800-207 §2.1.
pub(super) const CONTROLS: [Control; 12] = [
    control(
        "ISO/IEC 27001:2022 A.5.14",
        "Information transfer",
        &[
            "connections",
            "connections.mutual",
            "connections.suites",
            "connections.groups",
            "messages",
            "messages.refused",
        ],
        "transfers that do not pass through sealwire, and rules and agreements about transfers",
    ),
    control(
        "ISO/IEC 27001:2022 A.8.5",
        "Secure authentication",
        &[
            "connections.by_peer",
            "connections.refused",
            "connections.refused_unverified",
            "certificates.issued",
            "revocations",
        ],
        "how people sign in to the machines, and how keys are kept there",
    ),
    control(
        "ISO/IEC 27001:2022 A.8.15",
        "Logging",
        &["entries", "log.starts", "log.recovered", "config.changed"],
        "logs of other programs, and who may read this one",
    ),
    control(
        "ISO/IEC 27001:2022 A.8.16",
        "Monitoring activities",
        &[
            "incidents",
            "incidents.actions",
            "quarantine.added",
            "quarantine.lifted",
            "pins",
            "alerts.failed",
        ],
        "whether somebody looked at what was told, and what he did then",
    ),
    control(
        "ISO/IEC 27001:2022 A.8.24",
        "Use of cryptography",
        &[
            "connections.suites",
            "connections.groups",
            "keys.changed",
            "keys.rotated",
            "certificates.issued",
            "revocations",
        ],
        "cryptography elsewhere, and the policy about it",
    ),
    control(
        "NIST SP 800-207 tenet 1",
        "All data sources and computing services are considered resources",
        &["decisions.by_server"],
        "services that are reached without sealwire",
    ),
    control(
        "NIST SP 800-207 tenet 2",
        "All communication is secured regardless of network location",
        &["connections", "connections.mutual", "connections.suites"],
        "communication that does not pass through sealwire",
    ),
    control(
        "NIST SP 800-207 tenet 3",
        "Access to individual resources is granted on a per-session basis",
        &["decisions", "outcomes"],
        "what a server does with a request that was let through",
    ),
    control(
        "NIST SP 800-207 tenet 4",
        "Access is determined by dynamic policy",
        &["decisions.denied", "decisions.policies"],
        "attributes of users and devices other than their certificate",
    ),
    control(
        "NIST SP 800-207 tenet 5",
        "The integrity and security posture of all assets is monitored and measured",
        &["pins", "incidents"],
        "the posture of machines",
    ),
    control(
        "NIST SP 800-207 tenet 6",
        "Authentication and authorization are dynamic and strictly enforced before access",
        &[
            "connections.refused",
            "connections.refused_unverified",
            "decisions.denied",
            "quarantine.added",
            "revocations",
        ],
        "multi-factor authentication of people",
    ),
    control(
        "NIST SP 800-207 tenet 7",
        "Information about assets, network and communications is collected and used",
        &["entries", "incidents"],
        "how it is used",
    ),
];

/// What no report of this kind can show.
pub(super) const NOT_COVERED: [&str; 5] = [
    "whether an organisation meets a standard: this is evidence for single controls, from one log, about one installation",
    "what does not pass through this installation, and what other machines record",
    "what was not recorded: a program that was changed may leave things out, and what is turned off in [audit] is not there",
    "what the clocks of this machine did: times are as it said",
    "before the first entry that is kept, or outside of the time asked for",
];
