//! Bad certificates, each with one fault: refused in both directions, with the code and with the
//! words of the rule that it breaks. Those that a library makes, and those that only an attacker
//! would, written by hand and signed again.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose as Eku,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use sealwire_identity::{PeerVerifier, Role, TrustAnchors};
use sealwire_names::RefusalCode as Code;
use std::sync::Arc;

use crate::der::{
    Content, Der, EXTENSIONS, ISSUER, SERIAL, SIGNATURE, SUBJECT, VALIDITY, extension,
    new_extension,
};
use crate::refused::{check_against, refused_by_verifier};
use crate::support::{Ca, Leaf, SERVER, URI, anchors, now, uri};

/// Extensions, by their numbers below id-ce, 2.5.29.
const KEY_USAGE: u8 = 15;
const SAN: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;
const EXT_KEY_USAGE: u8 = 37;

/// Refused with that code, by a reason with these words, by the verifier as in a handshake.
fn refused(case: &str, anchors: &Arc<TrustAnchors>, leaf: &Leaf, code: Code, words: &str) {
    for reason in refused_by_verifier(case, anchors, leaf, code) {
        assert!(reason.contains(words), "{case}: {reason}");
        assert!(reason.len() < 500, "{case}: nobody reads {} bytes: {reason}", reason.len());
    }
    check_against(case, anchors, leaf, code);
}

/// All of them, of one authority that is trusted.
fn all_refused(cases: &[(&str, Code, &str, Leaf)], ca: &Ca) {
    for (case, code, words, leaf) in cases {
        refused(case, &ca.anchors(), leaf, *code, words);
    }
}

#[test]
fn names() {
    let ca = Ca::new();
    let long = format!("spiffe://test.example/agent/{}", "a".repeat(129));
    let far = format!("spiffe://{}/agent/a", "a".repeat(256));
    let syntax = [
        ("another scheme", "https://test.example/mcp-server/github", "spiffe://"),
        ("the scheme in upper case", "SPIFFE://test.example/mcp-server/github", "spiffe://"),
        ("white space before it", " spiffe://test.example/mcp-server/github", "spiffe://"),
        ("no authority part", "spiffe:test.example/mcp-server/github", "spiffe://"),
        ("the trust domain in upper case", "spiffe://Test.example/mcp-server/github", "lower-case"),
        ("no trust domain", "spiffe:///mcp-server/github", "1 to 255"),
        ("a trust domain that is too long", &far, "1 to 255"),
        ("a user", "spiffe://root@test.example/mcp-server/github", "trust domain"),
        ("a port", "spiffe://test.example:443/mcp-server/github", "trust domain"),
        ("percent-encoding in the trust domain", "spiffe://test%2eexample/agent/a", "trust domain"),
        ("no path", "spiffe://test.example", "/<kind>/<name>"),
        ("an empty path", "spiffe://test.example/", "/<kind>/<name>"),
        ("one segment", "spiffe://test.example/github", "/<kind>/<name>"),
        ("an empty segment", "spiffe://test.example//github", "kind"),
        ("an unknown kind", "spiffe://test.example/robot/github", "kind"),
        ("the kind in upper case", "spiffe://test.example/Mcp-Server/github", "kind"),
        ("no name", "spiffe://test.example/mcp-server/", "name must be"),
        ("a trailing slash", "spiffe://test.example/mcp-server/github/", "name must be"),
        ("three segments", "spiffe://test.example/mcp-server/eu/github", "name must be"),
        ("a path that climbs", "spiffe://test.example/mcp-server/..", "name must be"),
        ("a path that stays", "spiffe://test.example/mcp-server/.", "name must be"),
        ("percent-encoding in the name", "spiffe://test.example/mcp-server/git%68ub", "name must"),
        ("a query", "spiffe://test.example/mcp-server/github?a=b", "name must be"),
        ("a fragment", "spiffe://test.example/mcp-server/github#a", "name must be"),
        ("a line feed behind it", "spiffe://test.example/mcp-server/github\n", "name must be"),
        ("a NUL within", "spiffe://test.example/mcp-server/github\0.evil", "name must be"),
        ("a name that is too long", &long, "name must be"),
    ];
    for (case, text, words) in syntax {
        let leaf = ca.leaf(|p| p.subject_alt_names = vec![uri(text)]);
        refused(case, &ca.anchors(), &leaf, Code::SpiffeSyntax, words);
    }
    for (case, domain) in [
        ("another trust domain", "other.example"),
        ("a domain below ours", "a.test.example"),
        ("one that begins like ours", "test.example.evil"),
        ("a dot behind ours", "test.example."),
    ] {
        let text = format!("spiffe://{domain}/mcp-server/github");
        let leaf = ca.leaf(|p| p.subject_alt_names = vec![uri(&text)]);
        refused(case, &ca.anchors(), &leaf, Code::TrustDomain, "vouch for test.example only");
    }
    let sans = |names: Vec<SanType>| ca.leaf(|p| p.subject_alt_names = names);
    let written = |names: Vec<Der>| {
        let content = Der::items(0x30, names).encode();
        ca.edited(|tbs| *extension(tbs, SAN).list().last_mut().unwrap() = Der::bytes(4, &content))
    };
    let good = || Der::bytes(0x86, URI.as_bytes());
    all_refused(
        &[
            ("no SAN", Code::SanMissing, "no URI SAN", sans(vec![])),
            (
                "DNS alone",
                Code::SanMissing,
                "no URI SAN",
                sans(vec![SanType::DnsName(SERVER.try_into().unwrap())]),
            ),
            (
                "an address of mail alone",
                Code::SanMissing,
                "no URI SAN",
                sans(vec![SanType::Rfc822Name("github@test.example".try_into().unwrap())]),
            ),
            (
                "two URIs",
                Code::SanMultiple,
                "2 URI SANs",
                sans(vec![uri(URI), uri("spiffe://test.example/core/core")]),
            ),
            ("the same one twice", Code::SanMultiple, "2 URI SANs", sans(vec![uri(URI), uri(URI)])),
            (
                "a second one of another scheme",
                Code::SanMultiple,
                "2 URI SANs",
                sans(vec![uri(URI), uri("https://test.example")]),
            ),
            // A URI that is no text must not go uncounted.
            (
                "one that cannot be decoded",
                Code::CertificateMalformed,
                "SAN that cannot be decoded",
                written(vec![good(), Der::bytes(0x86, &[0xff])]),
            ),
            (
                "a name of no known form",
                Code::CertificateMalformed,
                "",
                written(vec![good(), Der::bytes(0x8f, b"x")]),
            ),
            (
                "letters that look like others",
                Code::SpiffeSyntax,
                "trust domain",
                written(vec![Der::bytes(0x86, "spiffe://tеst.example/core/a".as_bytes())]),
            ),
            ("an empty list", Code::SanMissing, "no URI SAN", written(vec![])),
            // Forms that one reader takes for a name, and another for none.
            (
                "a URI that is written as one of parts",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![Der::bytes(0xa6, URI.as_bytes())]),
            ),
            (
                "an IP address of five octets",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x87, &[10, 0, 0, 1, 0])]),
            ),
            (
                "a NUL in a DNS name",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x82, b"github\0.evil.example")]),
            ),
            (
                "an empty DNS name",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x82, b"")]),
            ),
            (
                "a blank as DNS name",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x82, b" ")]),
            ),
            (
                "a DNS name that is not ASCII",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x82, "gith\u{fc}b.example".as_bytes())]),
            ),
            (
                "an address of mail that is not ASCII",
                Code::CertificateMalformed,
                "§4.2.1.6",
                written(vec![good(), Der::bytes(0x81, "\u{fc}@test.example".as_bytes())]),
            ),
        ],
        &ca,
    );
}

#[test]
fn common_names() {
    let ca = Ca::with(|p| p.distinguished_name.push(DnType::OrganizationName, "sealwire"));
    let named = |names: &[&str]| {
        let cn = |name: &&str| {
            let pair = vec![Der::bytes(6, &[0x55, 4, 3]), Der::bytes(12, name.as_bytes())];
            Der::items(0x31, vec![Der::items(0x30, pair)])
        };
        let subject = Der::items(0x30, names.iter().map(cn).collect());
        ca.edited(|tbs| *tbs.at(SUBJECT) = subject)
    };
    all_refused(
        &[
            ("another", Code::CommonName, "is \"someone\", not \"github\"", named(&["someone"])),
            ("another case", Code::CommonName, "is \"GitHub\", not", named(&["GitHub"])),
            ("two", Code::CommonName, "not exactly one common name", named(&["github", "other"])),
            (
                "none",
                Code::CommonName,
                "not exactly one common name",
                ca.leaf(|p| p.distinguished_name = rcgen::DistinguishedName::new()),
            ),
        ],
        &ca,
    );
}

#[test]
fn usage() {
    let ca = Ca::new();
    let usage = |usages: &[KeyUsagePurpose]| ca.leaf(|p| p.key_usages = usages.to_vec());
    let purpose = |purposes: &[Eku]| ca.leaf(|p| p.extended_key_usages = purposes.to_vec());
    let sign = KeyUsagePurpose::DigitalSignature;
    all_refused(
        &[
            ("no keyUsage", Code::KeyUsage, "no keyUsage", usage(&[])),
            (
                "no digitalSignature",
                Code::KeyUsage,
                "lacks digitalSignature",
                usage(&[KeyUsagePurpose::KeyAgreement, KeyUsagePurpose::KeyEncipherment]),
            ),
            (
                "keyCertSign",
                Code::CaAsLeaf,
                "allows keyCertSign",
                usage(&[sign, KeyUsagePurpose::KeyCertSign]),
            ),
            ("cRLSign", Code::CaAsLeaf, "allows cRLSign", usage(&[sign, KeyUsagePurpose::CrlSign])),
            ("no extendedKeyUsage", Code::KeyUsage, "no extendedKeyUsage", purpose(&[])),
            ("another purpose", Code::KeyUsage, "extendedKeyUsage", purpose(&[Eku::CodeSigning])),
            (
                "several others",
                Code::KeyUsage,
                "extendedKeyUsage",
                purpose(&[Eku::CodeSigning, Eku::EmailProtection, Eku::OcspSigning]),
            ),
            ("any purpose", Code::KeyUsage, "extendedKeyUsage", purpose(&[Eku::Any])),
            (
                "an empty list of purposes",
                Code::KeyUsage,
                "extendedKeyUsage",
                ca.edited(|tbs| {
                    *extension(tbs, EXT_KEY_USAGE).list().last_mut().unwrap() =
                        Der::bytes(4, &[0x30, 0]);
                }),
            ),
            (
                "cA",
                Code::CaAsLeaf,
                "basicConstraints say cA",
                ca.leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            ),
            (
                "a pathLen and no cA",
                Code::CertificateMalformed,
                "pathLen",
                ca.edited(|tbs| {
                    *extension(tbs, BASIC_CONSTRAINTS).list().last_mut().unwrap() =
                        Der::bytes(4, &[0x30, 3, 2, 1, 0]);
                }),
            ),
            (
                "nameConstraints and no cA",
                Code::CertificateMalformed,
                "nameConstraints",
                ca.edited(|tbs| {
                    let dns = Der::items(0x30, vec![Der::bytes(0x82, b"test.example")]);
                    let content = Der::items(0x30, vec![Der::items(0xa0, vec![dns])]);
                    let it = new_extension(NAME_CONSTRAINTS, true, &content);
                    tbs.at(EXTENSIONS).at(0).list().push(it);
                }),
            ),
        ],
        &ca,
    );
    let mut anchor = ca.leaf(|_| ());
    anchor.chain = vec![ca.der()];
    anchor.key_pem = ca.0.key().serialize_pem();
    refused("the anchor itself", &ca.anchors(), &anchor, Code::CaAsLeaf, "say cA");
}

#[test]
fn encodings() {
    let ca = Ca::new();
    let custom = |extensions: Vec<CustomExtension>| ca.leaf(|p| p.custom_extensions = extensions);
    let unknown = |critical| {
        let mut it = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        it.set_criticality(critical);
        it
    };
    let serial =
        |bytes: &'static [u8]| ca.edited(move |tbs| *tbs.at(SERIAL) = Der::bytes(2, bytes));
    let time = |tag, text: &'static str| {
        ca.edited(move |tbs| *tbs.at(VALIDITY).at(1) = Der::bytes(tag, text.as_bytes()))
    };
    let whole = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let mut leaf = ca.leaf(|_| ());
        leaf.chain[0] = change(leaf.chain[0].to_vec()).into();
        leaf
    };
    let version = |number: u8| {
        ca.edited(move |tbs| *tbs.at(0) = Der::items(0xa0, vec![Der::bytes(2, &[number])]))
    };
    let identified =
        |tag| ca.edited(move |tbs| tbs.list().insert(EXTENSIONS, Der::bytes(tag, &[0, 1])));
    let unnamed = |at: usize| ca.edited(move |tbs| *tbs.at(at) = Der::items(0x30, vec![]));
    let malformed = Code::CertificateMalformed;
    all_refused(
        &[
            ("garbage", malformed, "cannot be parsed", whole(&|_| vec![0x30, 0x82, 1])),
            ("empty", malformed, "cannot be parsed", whole(&|_| vec![])),
            (
                "a byte behind it",
                malformed,
                "behind its end",
                whole(&|der| [der, vec![0]].concat()),
            ),
            (
                "its last byte gone",
                malformed,
                "parsed",
                whole(&|mut der| {
                    der.pop();
                    der
                }),
            ),
            // Of lengths that can be written in two ways, DER has one (X.690 §10.1).
            (
                "a length of too many digits",
                malformed,
                "",
                whole(&|der| [&[0x30, 0x83, 0], &der[2..]].concat()),
            ),
            (
                "a length that is not stated",
                malformed,
                "",
                whole(&|der| [&[0x30, 0x80], &der[4..], &[0, 0]].concat()),
            ),
            (
                "version 1",
                malformed,
                "X.509 v1",
                ca.edited(|tbs| {
                    tbs.list().remove(0);
                    tbs.list().truncate(6);
                }),
            ),
            (
                "version 1 with extensions",
                malformed,
                "X.509 v1",
                ca.edited(|tbs| {
                    tbs.list().remove(0);
                }),
            ),
            ("version 2", malformed, "X.509 v2", version(1)),
            ("version 4", malformed, "", version(3)),
            (
                "the serial number 0",
                malformed,
                "serial number",
                ca.leaf(|p| {
                    p.serial_number = Some(SerialNumber::from_slice(&[0]));
                }),
            ),
            ("a negative serial number", malformed, "serial number", serial(&[0x9f, 1, 2, 3])),
            ("no serial number", malformed, "", serial(&[])),
            ("a serial number of 21 octets", malformed, "20 octets", serial(&[0x11; 21])),
            (
                "an unknown critical extension",
                Code::CertificatePath,
                "critical extension",
                custom(vec![unknown(true)]),
            ),
            (
                "a critical cRLDistributionPoints, which nobody here follows",
                Code::CertificatePath,
                "cRLDistributionPoints",
                custom(vec![distribution_points()]),
            ),
            (
                "an extension twice",
                malformed,
                "repeats an extension",
                custom(vec![unknown(false), unknown(false)]),
            ),
            (
                "the SAN twice",
                malformed,
                "repeats an extension",
                ca.edited(|tbs| {
                    let again = extension(tbs, SAN).clone();
                    tbs.at(EXTENSIONS).at(0).list().push(again);
                }),
            ),
            (
                "basicConstraints twice, of which one says cA",
                malformed,
                "repeats an extension",
                ca.edited(|tbs| {
                    let content = Der::items(0x30, vec![Der::bytes(1, &[0xff])]);
                    let it = new_extension(BASIC_CONSTRAINTS, true, &content);
                    tbs.at(EXTENSIONS).at(0).list().push(it);
                }),
            ),
            (
                "a keyUsage that cannot be read",
                malformed,
                "broken extension",
                ca.edited(|tbs| {
                    *extension(tbs, KEY_USAGE).list().last_mut().unwrap() = Der::bytes(4, &[5, 0]);
                }),
            ),
            ("an identifier of the issuer", malformed, "unique identifier", identified(0x81)),
            ("an identifier of the subject", malformed, "unique identifier", identified(0x82)),
            ("no issuer", malformed, "names no issuer", unnamed(ISSUER)),
            (
                "no subject, and a SAN that is not critical",
                malformed,
                "no subject",
                unnamed(SUBJECT),
            ),
            ("four digits of a year before 2050", malformed, "", time(0x18, "20301231235959Z")),
            ("a time without its zone", malformed, "", time(0x17, "301231235959")),
            ("a time with an offset", malformed, "", time(0x17, "301231235959+0100")),
            ("a time with fractions", malformed, "", time(0x18, "20601231235959.5Z")),
            (
                "an end before the beginning",
                malformed,
                "",
                ca.leaf(|p| {
                    p.not_before = date_time_ymd(2040, 1, 1);
                    p.not_after = date_time_ymd(2035, 1, 1);
                }),
            ),
            (
                "another algorithm within than without",
                malformed,
                "",
                ca.edited(|tbs| {
                    // ecdsa-with-SHA384 for ecdsa-with-SHA256.
                    *tbs.at(SIGNATURE).at(0).value().last_mut().unwrap() = 3;
                }),
            ),
            (
                "a cA whose TRUE is not 0xff",
                Code::CaAsLeaf,
                "say cA",
                ca.edited(|tbs| {
                    let content = Der::items(0x30, vec![Der::bytes(1, &[1])]);
                    *extension(tbs, BASIC_CONSTRAINTS) =
                        new_extension(BASIC_CONSTRAINTS, true, &content);
                }),
            ),
        ],
        &ca,
    );
}

#[test]
fn signatures_and_times() {
    let ca = Ca::new();
    let impostor = Ca::new();
    let other = Ca::with(|p| p.distinguished_name.push(DnType::OrganizationName, "Someone Else"));
    let mut tampered = ca.leaf(|_| ());
    let mut parsed = Der::parse(&tampered.chain[0]);
    let last = parsed.at(0).at(SERIAL).value().last_mut().unwrap();
    *last ^= 1;
    tampered.chain[0] = parsed.encode().into();
    let mut unsigned = ca.leaf(|_| ());
    let mut parsed = Der::parse(&unsigned.chain[0]);
    parsed.at(2).content = Content::Bytes(vec![0]);
    unsigned.chain[0] = parsed.encode().into();
    all_refused(
        &[
            ("another authority", Code::UnknownIssuer, "no trust anchor", other.leaf(|_| ())),
            ("its own", Code::UnknownIssuer, "no trust anchor", {
                let this = Ca::with(|p| {
                    let leaf = leaf_params();
                    *p = leaf;
                });
                Leaf { chain: vec![this.der()], key_pem: this.0.key().serialize_pem() }
            }),
            (
                "one that has the name of ours",
                Code::CertificateSignature,
                "not by the key of the issuer",
                impostor.leaf(|_| ()),
            ),
            ("changed", Code::CertificateSignature, "not by the key of the issuer", tampered),
            ("not signed", Code::CertificateSignature, "not by the key", unsigned),
            (
                "expired",
                Code::CertificateExpired,
                "expired at 2020-01-01",
                ca.leaf(|p| p.not_after = date_time_ymd(2020, 1, 1)),
            ),
            (
                "not yet valid",
                Code::CertificateNotYetValid,
                "not valid before 2090-01-01",
                ca.leaf(|p| p.not_before = date_time_ymd(2090, 1, 1)),
            ),
        ],
        &ca,
    );
    let other = |algorithm| {
        let issuer = ca.intermediate(|_| ());
        // A signature by an algorithm that has a name, and that nobody here takes.
        let change =
            |tbs: &mut Der| *tbs.at(SIGNATURE).at(0).value().last_mut().unwrap() = algorithm;
        let mut leaf = issuer.leaf(|_| ());
        leaf.chain[0] = issuer.signed_again(&leaf.chain[0], change);
        let mut parsed = Der::parse(&leaf.chain[0]);
        *parsed.at(1).at(0).value().last_mut().unwrap() = algorithm;
        leaf.chain[0] = parsed.encode().into();
        leaf.with_issuer(&issuer)
    };
    // ecdsa-with-SHA224 (RFC 5758 §3.2).
    refused("ECDSA with SHA-224", &ca.anchors(), &other(1), Code::WeakKey, "1.2.840.10045.4.3.1");
    for (case, code, words, ca) in [
        (
            "below an anchor that has expired",
            Code::CertificateExpired,
            "trust anchor",
            Ca::with(|p| p.not_after = date_time_ymd(2020, 1, 1)),
        ),
        (
            "below an anchor that is not valid yet",
            Code::CertificateNotYetValid,
            "trust anchor",
            Ca::with(|p| p.not_before = date_time_ymd(2090, 1, 1)),
        ),
    ] {
        refused(case, &ca.anchors(), &ca.leaf(|_| ()), code, words);
    }
}

/// Where a list is, with the word that it must be followed.
fn distribution_points() -> CustomExtension {
    let place = Der::items(0xa0, vec![Der::items(0xa0, vec![Der::bytes(0x86, b"http://x/")])]);
    let content = Der::items(0x30, vec![Der::items(0x30, vec![place])]).encode();
    let mut it = CustomExtension::from_oid_content(&[2, 5, 29, 31], content);
    it.set_criticality(true);
    it
}

/// A leaf for both roles, as [`Ca::leaf`] makes it.
fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, SERVER);
    params.subject_alt_names = vec![uri(URI)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![Eku::ClientAuth, Eku::ServerAuth];
    params
}

fn constrained(permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>) -> NameConstraints {
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

#[test]
fn chains() {
    type Change = fn(&mut CertificateParams);
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let root = Ca::new();
    let path = Code::CertificatePath;
    let cases: &[(&str, Code, &str, Change)] = &[
        ("expired", Code::CertificateExpired, "expired at 2020", |p| {
            p.not_after = date_time_ymd(2020, 1, 1);
        }),
        ("not yet valid", Code::CertificateNotYetValid, "not valid before 2090", |p| {
            p.not_before = date_time_ymd(2090, 1, 1);
        }),
        ("no cA", path, "RFC 5280 §4.2.1.9", |p| p.is_ca = IsCa::ExplicitNoCa),
        ("no basicConstraints", path, "RFC 5280 §4.2.1.9", |p| p.is_ca = IsCa::NoCa),
        ("no keyCertSign", path, "keyCertSign", |p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
        ("no keyUsage", path, "has no keyUsage", |p| p.key_usages.clear()),
        ("another purpose", Code::KeyUsage, "extendedKeyUsage", |p| {
            p.extended_key_usages = vec![Eku::CodeSigning];
        }),
        ("another trust domain", Code::TrustDomain, "made for trust domain other.example", |p| {
            p.subject_alt_names = vec![uri("spiffe://other.example")];
        }),
        ("two trust domains", Code::TrustDomain, "made for trust domain other.example", |p| {
            p.subject_alt_names = vec![uri("spiffe://test.example"), uri("spiffe://other.example")];
        }),
        ("a peer's name", path, "named by a trust domain alone", |p| {
            p.subject_alt_names = vec![uri("spiffe://test.example/core/core")];
        }),
        ("the serial number 0", Code::CertificateMalformed, "serial number", |p| {
            p.serial_number = Some(SerialNumber::from_slice(&[0]));
        }),
        ("an unknown critical extension", path, "critical extension", |p| {
            let mut it = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            it.set_criticality(true);
            p.custom_extensions = vec![it];
        }),
        ("a critical cRLDistributionPoints", path, "cRLDistributionPoints", |p| {
            p.custom_extensions = vec![distribution_points()];
        }),
        ("nameConstraints that name nothing", path, "§4.2.1.10", |p| {
            let mut it = CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![0x30, 0]);
            it.set_criticality(true);
            p.custom_extensions = vec![it];
        }),
        ("a DNS name that is not ASCII", Code::CertificateMalformed, "§4.2.1.6", |p| {
            let names = Der::items(0x30, vec![Der::bytes(0x82, "\u{fc}".as_bytes())]).encode();
            p.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
        }),
    ];
    for (case, code, words, change) in cases {
        let issuer = root.intermediate(change);
        let leaf = issuer.leaf(|_| ()).with_issuer(&issuer);
        let case = format!("by an intermediate: {case}");
        refused(&case, &root.anchors(), &leaf, *code, words);
    }
    let lax = |edit: &dyn Fn(&mut Der)| {
        let issuer = root.intermediate(|p| {
            p.name_constraints = Some(constrained(vec![dns("example")], vec![]));
        });
        let mut leaf = issuer.leaf(|_| ());
        leaf.chain.push(root.signed_again(&issuer.der(), edit));
        leaf
    };
    let uncritical = |number| {
        lax(&move |tbs: &mut Der| {
            extension(tbs, number).list().remove(1);
        })
    };
    all_refused(
        &[
            (
                "nameConstraints that are not critical",
                path,
                "nameConstraints",
                uncritical(NAME_CONSTRAINTS),
            ),
            (
                "basicConstraints that are not critical",
                path,
                "basicConstraints",
                uncritical(BASIC_CONSTRAINTS),
            ),
        ],
        &root,
    );
    let below = |ca: &Ca| ca.leaf(|_| ()).with_issuer(ca);
    let narrow = |change: Change| {
        let outer = root.intermediate(change);
        let inner = outer.intermediate(|p| p.distinguished_name.push(DnType::CommonName, "Inner"));
        inner.leaf(|_| ()).with_issuer(&inner).with_issuer(&outer)
    };
    let no_authority = root.intermediate(|p| {
        *p = leaf_params();
    });
    let mut deep = vec![root.intermediate(|_| ())];
    for number in 0..8 {
        let next = deep[number].intermediate(|p| {
            p.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        });
        deep.push(next);
    }
    let deep = deep.iter().rev().fold(deep[8].leaf(|_| ()), Leaf::with_issuer);
    all_refused(
        &[
            (
                "an intermediate that is not sent",
                Code::UnknownIssuer,
                "no trust anchor",
                root.intermediate(|_| ()).leaf(|_| ()),
            ),
            (
                "an authority below a pathLen of 0",
                path,
                "pathLen",
                narrow(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            ),
            ("a leaf that has signed another", path, "RFC 5280 §4.2.1.9", below(&no_authority)),
            ("nine authorities", path, "path validation", deep),
        ],
        &root,
    );
    let few = Ca::with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let issuer = few.intermediate(|_| ());
    refused("below an anchor's pathLen of 0", &few.anchors(), &below(&issuer), path, "§4.2.1.9");
}

#[test]
fn name_constraints() {
    let path = Code::CertificatePath;
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let with_dns = |ca: &Ca, name: &str| {
        let name = SanType::DnsName(name.try_into().unwrap());
        ca.leaf(|p| p.subject_alt_names.push(name))
    };
    for (case, constraints) in [
        ("a DNS name outside", constrained(vec![dns("inside.example")], vec![])),
        ("a DNS name that is excluded", constrained(vec![], vec![dns("outside.example")])),
    ] {
        let root = Ca::with(|p| p.name_constraints = Some(constraints.clone()));
        let leaf = with_dns(&root, "a.outside.example");
        refused(case, &root.anchors(), &leaf, path, "nameConstraints");
        let good = with_dns(&root, "a.inside.example");
        PeerVerifier::new(root.anchors(), Role::Client).verify(&good.chain, None, now()).unwrap();
        let root = Ca::new();
        let issuer = root.intermediate(|p| p.name_constraints = Some(constraints));
        let leaf = with_dns(&issuer, "a.outside.example").with_issuer(&issuer);
        refused(case, &root.anchors(), &leaf, path, "nameConstraints");
    }
}

/// Constraints on URIs are not understood: whoever has them vouches for nobody, rather than for
/// all.
#[test]
fn name_constraints_on_uris() {
    for (case, list) in [("permitted", 0xa0), ("excluded", 0xa1)] {
        // GeneralSubtrees { { uniformResourceIdentifier } } (RFC 5280 §4.2.1.10).
        let host = Der::items(0x30, vec![Der::bytes(0x86, b"test.example")]);
        let content = Der::items(0x30, vec![Der::items(list, vec![host])]).encode();
        let constrain = |p: &mut CertificateParams| {
            let mut it = CustomExtension::from_oid_content(&[2, 5, 29, 30], content.clone());
            it.set_criticality(true);
            p.custom_extensions = vec![it];
        };
        let root = Ca::with(constrain);
        let words = "nameConstraints";
        let anchors = root.anchors();
        refused(case, &anchors, &root.leaf(|_| ()), Code::CertificatePath, words);
        let root = Ca::new();
        let issuer = root.intermediate(constrain);
        let leaf = issuer.leaf(|_| ()).with_issuer(&issuer);
        refused(case, &root.anchors(), &leaf, Code::CertificatePath, words);
    }
}

#[test]
fn an_anchor_that_cannot_be_one_is_refused_when_it_is_read() {
    type Change = fn(&mut CertificateParams);
    let cases: &[(&str, Code, Change)] = &[
        ("no cA", Code::CertificatePath, |p| p.is_ca = IsCa::ExplicitNoCa),
        ("no keyCertSign", Code::CertificatePath, |p| {
            p.key_usages = vec![KeyUsagePurpose::CrlSign];
        }),
        ("another trust domain", Code::TrustDomain, |p| {
            p.subject_alt_names = vec![uri("spiffe://other.example")];
        }),
        ("another trust domain beside ours", Code::TrustDomain, |p| {
            p.subject_alt_names = vec![uri("spiffe://test.example"), uri("spiffe://other.example")];
        }),
        ("a peer's name", Code::CertificatePath, |p| p.subject_alt_names = vec![uri(URI)]),
    ];
    for (case, code, change) in cases {
        let pem = Ca::with(change).0.pem();
        let domain = "test.example".parse().unwrap();
        match TrustAnchors::from_pem(pem.as_bytes(), domain, "file.pem").unwrap_err() {
            sealwire_identity::Error::Certificate { label, refusal } => {
                assert_eq!((label.as_str(), refusal.code), ("file.pem", *code), "{case}");
            }
            other => panic!("{case}: {other}"),
        }
    }
    anchors(&Ca::with(|p| p.subject_alt_names = vec![uri("spiffe://test.example")]).0.pem());
}
