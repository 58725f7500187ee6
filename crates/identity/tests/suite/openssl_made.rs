//! Certificates that the `openssl` command makes, as administrators do.

use std::fs;
use std::sync::Arc;

use sealwire_identity::{
    Error, PeerVerifier, Role, TrustAnchors, describe, parse_pem_certificates,
};
use sealwire_names::RefusalCode;
use tempfile::TempDir;

use crate::refused::{check_against, refused_by_verifier};
use crate::support::{Leaf, anchors, now, run_in};

const GOOD: &str = "basicConstraints=critical,CA:FALSE\n\
    keyUsage=critical,digitalSignature\n\
    extendedKeyUsage=clientAuth,serverAuth\n\
    subjectAltName=URI:spiffe://test.example/mcp-server/github,DNS:github\n";

/// An authority made with `openssl req`, and what `openssl x509 -req` signs with it.
struct OpenSsl {
    dir: TempDir,
}

impl OpenSsl {
    fn new(key: &[&str], digest: &str) -> Self {
        let this = Self { dir: TempDir::new().unwrap() };
        this.key(key, "ca.key");
        this.run(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            digest,
            "-days",
            "30",
            "-subj",
            "/O=Admin",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-out",
            "ca.pem",
        ]);
        this
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        run_in(self.dir.path(), "openssl", arguments, b"")
    }

    fn key(&self, kind: &[&str], file: &str) {
        self.run(&[&["genpkey", "-out", file], kind].concat());
    }

    fn leaf(&self, key: &[&str], digest: &str, extensions: Option<&str>) -> Leaf {
        self.key(key, "leaf.key");
        self.run(&["req", "-new", "-key", "leaf.key", "-subj", "/CN=github", "-out", "leaf.csr"]);
        let mut sign = vec![
            "x509",
            "-req",
            "-in",
            "leaf.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            digest,
            "-CAcreateserial",
            "-days",
            "30",
            "-out",
            "leaf.pem",
        ];
        if let Some(extensions) = extensions {
            fs::write(self.dir.path().join("extensions"), extensions).unwrap();
            sign.extend(["-extfile", "extensions"]);
        }
        self.run(&sign);
        let pem = fs::read(self.dir.path().join("leaf.pem")).unwrap();
        Leaf {
            chain: parse_pem_certificates(&pem).unwrap(),
            key_pem: fs::read_to_string(self.dir.path().join("leaf.key")).unwrap(),
        }
    }

    /// The authority whose certificate was signed last.
    fn authority(&self) -> Self {
        let this = Self { dir: TempDir::new().unwrap() };
        for (from, to) in [("leaf.pem", "ca.pem"), ("leaf.key", "ca.key")] {
            fs::copy(self.dir.path().join(from), this.dir.path().join(to)).unwrap();
        }
        this
    }

    fn anchors(&self) -> Arc<TrustAnchors> {
        anchors(&fs::read_to_string(self.dir.path().join("ca.pem")).unwrap())
    }
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
/// Keys that no certificate may have.
const WEAK: &[(&str, &[&str])] = &[
    ("RSA-1024", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
    ("RSA-2047", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2047"]),
    (
        "RSA with the exponent 3",
        &[
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-pkeyopt",
            "rsa_keygen_pubexp:3",
        ],
    ),
    ("a key for RSA-PSS alone", &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("ECDSA on secp256k1", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]),
    ("ECDSA on P-224", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"]),
    (
        "ECDSA on a curve that is not named",
        &[
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-pkeyopt",
            "ec_param_enc:explicit",
        ],
    ),
    ("Ed448", &["-algorithm", "ED448"]),
];
const ED25519: &[&str] = &["-algorithm", "ED25519"];

#[test]
fn good_ones_of_every_strong_kind_are_accepted() {
    let p384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let p521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    for (authority, digest) in [(P256, "-sha256"), (RSA, "-sha384"), (ED25519, "-sha256")] {
        let ca = OpenSsl::new(authority, digest);
        for leaf in [P256, p384, p521, RSA, ED25519] {
            let leaf = ca.leaf(leaf, digest, Some(GOOD));
            for role in [Role::Client, Role::Server] {
                PeerVerifier::new(ca.anchors(), role).verify(&leaf.chain, None, now()).unwrap();
            }
            leaf.credential();
        }
    }
}

#[test]
fn x509_v1_is_refused_by_that_name() {
    let ca = OpenSsl::new(P256, "-sha256");
    let leaf = ca.leaf(P256, "-sha256", None);
    check_against("v1", &ca.anchors(), &leaf, RefusalCode::CertificateMalformed);
    let refused =
        PeerVerifier::new(ca.anchors(), Role::Client).verify(&leaf.chain, None, now()).unwrap_err();
    assert!(refused.reason.contains("X.509 v1"), "{refused}");
    assert!(describe(&leaf.chain[0], "v1").unwrap_err().to_string().contains("X.509 v1"));
}

#[test]
fn weak_signatures_and_keys_are_refused() {
    let ca = OpenSsl::new(RSA, "-sha256");
    let sha1 = ca.leaf(P256, "-sha1", Some(GOOD));
    check_against("SHA-1", &ca.anchors(), &sha1, RefusalCode::WeakKey);
    for (case, key) in WEAK {
        let leaf = ca.leaf(key, "-sha256", Some(GOOD));
        refused_by_verifier(case, &ca.anchors(), &leaf, RefusalCode::WeakKey);
    }
}

/// As [`GOOD`], of an authority between an anchor and a leaf.
const INTERMEDIATE: &str = "basicConstraints=critical,CA:TRUE\n\
    keyUsage=critical,keyCertSign\n";

#[test]
fn weak_authorities_are_refused() {
    let root = OpenSsl::new(P256, "-sha256");
    for (case, key) in WEAK {
        // The others sign in ways that OpenSSL has to be told of.
        if !case.starts_with("RSA") && !case.starts_with("ECDSA") {
            continue;
        }
        let issuer = root.leaf(key, "-sha256", Some(INTERMEDIATE));
        let intermediate = root.authority();
        let mut leaf = intermediate.leaf(P256, "-sha256", Some(GOOD));
        leaf.chain.extend(issuer.chain);
        refused_by_verifier(case, &root.anchors(), &leaf, RefusalCode::WeakKey);

        let pem = fs::read(intermediate.dir.path().join("ca.pem")).unwrap();
        let domain = "test.example".parse().unwrap();
        match TrustAnchors::from_pem(&pem, domain, "weak").unwrap_err() {
            Error::Certificate { refusal, .. } => {
                assert_eq!(refusal.code, RefusalCode::WeakKey, "{case}");
            }
            other => panic!("{case}: {other}"),
        }
    }
    let issuer = root.leaf(RSA, "-sha256", Some(INTERMEDIATE));
    let mut leaf = root.authority().leaf(P256, "-sha1", Some(GOOD));
    leaf.chain.extend(issuer.chain);
    check_against("SHA-1 below", &root.anchors(), &leaf, RefusalCode::WeakKey);
}

#[test]
fn rules_hold_for_foreign_certificates_too() {
    let ca = OpenSsl::new(P256, "-sha256");
    for (case, code, extensions) in [
        (
            "no SAN",
            RefusalCode::SanMissing,
            "keyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n".to_owned(),
        ),
        (
            "two URI SANs",
            RefusalCode::SanMultiple,
            GOOD.replace("DNS:github", "URI:spiffe://test.example/core/a"),
        ),
        ("CA as leaf", RefusalCode::CaAsLeaf, GOOD.replace("CA:FALSE", "CA:TRUE")),
        (
            "wrong purpose",
            RefusalCode::KeyUsage,
            GOOD.replace("clientAuth,serverAuth", "emailProtection"),
        ),
        (
            "any purpose",
            RefusalCode::KeyUsage,
            GOOD.replace("clientAuth,serverAuth", "anyExtendedKeyUsage"),
        ),
        ("key agreement", RefusalCode::KeyUsage, GOOD.replace("digitalSignature", "keyAgreement")),
        ("percent sign", RefusalCode::SpiffeSyntax, GOOD.replace("/github", "/git%68ub")),
        ("other domain", RefusalCode::TrustDomain, GOOD.replace("test.example", "evil.example")),
    ] {
        let leaf = ca.leaf(P256, "-sha256", Some(&extensions));
        check_against(case, &ca.anchors(), &leaf, code);
    }
}

#[test]
fn name_constraints_of_an_authority_hold() {
    let ca = OpenSsl { dir: TempDir::new().unwrap() };
    ca.key(P256, "ca.key");
    ca.run(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.key",
        "-days",
        "30",
        "-subj",
        "/O=Admin",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "nameConstraints=critical,permitted;DNS:allowed.example",
        "-out",
        "ca.pem",
    ]);
    let leaf = ca.leaf(P256, "-sha256", Some(GOOD));
    check_against("DNS name outside", &ca.anchors(), &leaf, RefusalCode::CertificatePath);
    let inside = GOOD.replace("DNS:github", "DNS:a.allowed.example");
    let leaf = ca.leaf(P256, "-sha256", Some(&inside));
    PeerVerifier::new(ca.anchors(), Role::Server).verify(&leaf.chain, None, now()).unwrap();
}

#[test]
fn a_summary_reads_pem_and_der() {
    let ca = OpenSsl::new(RSA, "-sha256");
    let leaf = ca.leaf(ED25519, "-sha256", Some(GOOD));
    let from_pem = describe(leaf.pem().as_bytes(), "leaf").unwrap();
    assert_eq!(describe(&leaf.chain[0], "leaf").unwrap(), from_pem);
    assert_eq!(from_pem[0].key_algorithm, "Ed25519");
    assert_eq!(from_pem[0].issuer, "O=Admin");
    assert_eq!(from_pem[0].usages, ["digitalSignature", "serverAuth", "clientAuth"]);
    let ca = describe(&fs::read(ca.dir.path().join("ca.pem")).unwrap(), "ca").unwrap();
    assert_eq!(ca[0].key_algorithm, "RSA-2048");
    assert!(ca[0].is_ca);
    assert!(describe(b"", "empty").is_err());
    let longer = [leaf.chain[0].as_ref(), b"\0"].concat();
    assert!(describe(&longer, "trailing byte").is_err());
}
