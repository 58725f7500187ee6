//! What must hold for *any* bytes, at each place where a stranger's bytes are parsed.
//!
//! The targets in `fuzz/` feed these functions from libFuzzer; the test `fuzz_corpus`
//! feeds them the corpora, so that what was once found stays found without a fuzzer.
//! Each function panics if its invariant does not hold.

use std::path::Path;

use sealwire::SecureMcpConfig;
use sealwire::config::ServerRole;
use sealwire_identity::{Credential, TrustAnchors, describe};
use sealwire_identity::{parse_pem_certificates, parse_pem_private_key};
use sealwire_relay::link::frame::{Frame, HEADER};

mod audit;
mod envelope;
mod head;

pub use audit::{entry_line, note, proof};
pub use envelope::envelope;
pub use head::head;

/// A target: its name, which is also the folder of its corpus, and its invariant.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("head", head),
    ("frame", frame),
    ("config", config),
    ("pem", pem),
    ("envelope", envelope),
    ("note", note),
    ("proof", proof),
    ("entry_line", entry_line),
];

/// Frames one after the other, as they stand in a receive buffer: what is parsed encodes
/// to the same bytes, and a frame that is not all there is waited for, not guessed.
pub fn frame(data: &[u8]) {
    // A greeting takes no messages; afterwards the smallest limit that is allowed holds.
    for limit in [0, 1024] {
        let mut rest = data;
        while let Ok(Some((frame, length))) = Frame::parse(rest, limit) {
            let mut encoded = Vec::new();
            frame.encode(&mut encoded);
            assert_eq!(encoded, &rest[..length], "{frame:?}");
            for cut in [0, HEADER - 1, HEADER, length - 1] {
                let short = Frame::parse(&rest[..cut.min(length - 1)], limit);
                assert_eq!(short, Ok(None), "cut off at {cut}: {frame:?}");
            }
            if let Frame::Data { message, .. } = frame {
                assert!(message.len() <= limit, "{} bytes where {limit} pass", message.len());
            }
            rest = &rest[length..];
        }
        // A frame is waited for only while its header announces more than there is, and
        // no more than is allowed.
        if let (Ok(None), Some((header, body))) =
            (Frame::parse(rest, limit), rest.split_first_chunk::<HEADER>())
        {
            let [a, b, c, d, _kind] = *header;
            let announced = u32::from_be_bytes([a, b, c, d]) as usize;
            assert!(body.len() + 1 < announced, "a whole frame is waited for");
            assert!(announced <= 1 + 1024.max(limit + 8), "{announced} bytes are waited for");
        }
    }
}

/// A configuration: refused with a reason, or one in which every rule holds.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let home = Path::new("/home/fuzz");
    let config = match SecureMcpConfig::parse(home, text) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.problems().is_empty(), "refused without a reason");
            for problem in error.problems() {
                assert!(!problem.what.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
            }
            assert!(error.to_string().contains("sealwire.toml"), "which file? {error}");
            return;
        }
    };
    assert_eq!(SecureMcpConfig::parse(home, text).as_ref(), Ok(&config), "read differently");

    let limits = &config.listen;
    let durations = [
        limits.handshake_timeout,
        limits.idle_timeout,
        limits.reconnect_timeout,
        limits.resume_window,
        limits.drain_timeout,
    ];
    assert!(durations.iter().all(|duration| !duration.is_zero()), "{limits:?}");
    assert!((1024..=64 << 20).contains(&limits.max_message_size), "{limits:?}");
    assert!((1..=limits.max_connections).contains(&limits.max_connections_per_peer), "{limits:?}");

    let mut paths = vec![&config.home, &config.ca_cert, &config.client_cert, &config.client_key];
    let mut served = Vec::new();
    for (name, entry) in &config.servers {
        assert_eq!(*name, entry.name);
        assert!(!entry.server_name.is_empty(), "{entry:?}");
        paths.push(&entry.trusted_ca);
        match &entry.role {
            ServerRole::Serve { command, cwd, tls_cert, tls_key, .. } => {
                assert!(!command.is_empty(), "{entry:?}");
                served.push(entry.server_name.to_ascii_lowercase());
                paths.extend(cwd.iter().chain([tls_cert, tls_key]));
            }
            ServerRole::Local { command, cwd, .. } => {
                assert!(!command.is_empty(), "{entry:?}");
                paths.extend(cwd);
            }
            ServerRole::Connect { endpoint, tls_cert, tls_key, .. } => {
                assert!(sealwire::config::is_endpoint(endpoint), "{entry:?}");
                paths.extend([tls_cert, tls_key]);
            }
        }
    }
    assert!(paths.iter().all(|path| path.is_absolute()), "{paths:?}");
    served.sort();
    assert!(served.windows(2).all(|pair| pair[0] != pair[1]), "SNI is ambiguous: {served:?}");
}

/// A PEM text, given as a certificate, a key, trust anchors and both at once.
pub fn pem(data: &[u8]) {
    let certificates = parse_pem_certificates(data);
    let key = parse_pem_private_key(data);
    if let Ok(certificates) = &certificates {
        assert!(!certificates.is_empty(), "no certificate, and no error");
        // As everywhere, a block begins at the start of a line; the rest is free text.
        let lines = data.split(|byte| matches!(byte, b'\n' | b'\r'));
        let blocks = lines.filter(|line| line.trim_ascii_end() == b"-----BEGIN CERTIFICATE-----");
        assert_eq!(certificates.len(), blocks.count(), "a block was left out");
        assert!(key.is_err(), "a text with a private key passed as certificates");
    }
    // Whoever reads the certificates for another purpose finds the same ones.
    if let Ok(summaries) = describe(data, "fuzz") {
        assert!(
            certificates.is_err() || certificates.is_ok_and(|all| all.len() == summaries.len())
        );
    }
    let trust_domain = "sealwire.internal".parse().expect("a trust domain");
    if let Ok(anchors) = TrustAnchors::from_pem(data, trust_domain, "fuzz") {
        assert_eq!(anchors.trust_domain().as_str(), "sealwire.internal");
    }
    let credential = Credential::from_pem(data, data, "fuzz");
    assert!(credential.is_err(), "one text passed as certificate and as key");
}
