//! OpenSSL as the foreign peer: certificates with chosen faults, and the parts of a TLS
//! client and server that an implementation other than ours should play.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sealwire_names::Timestamp;

use crate::{Log, Process, run};

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key (mode 0600).
    pub key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From now on, for 30 days.
    Now,
    /// During 2021.
    Past,
    /// From 2090 on.
    Future,
    /// From now on, for so many seconds.
    Seconds(u64),
}

/// What a certificate shall say. Starts from a good one; tests change what they test.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Subject common name.
    pub common_name: String,
    /// Entries of the subject alternative name, e.g. `URI:spiffe://…`, `DNS:localhost`.
    pub san: Vec<String>,
    /// extendedKeyUsage, e.g. `clientAuth`.
    pub usage: &'static str,
    /// keyUsage; none if empty.
    pub key_usage: &'static str,
    /// More extensions, as lines of an OpenSSL configuration.
    pub extensions: &'static str,
    /// Whether it is a CA certificate.
    pub is_ca: bool,
    /// When it is valid.
    pub validity: Validity,
}

impl Leaf {
    /// A good client certificate for the peer with this URI.
    pub fn client(uri: &str) -> Self {
        let name = uri.rsplit('/').next().unwrap_or(uri);
        Self {
            common_name: name.to_owned(),
            san: vec![format!("URI:{uri}")],
            usage: "clientAuth",
            key_usage: "critical,digitalSignature",
            extensions: "",
            is_ca: false,
            validity: Validity::Now,
        }
    }

    /// A good server certificate for the peer with this URI.
    pub fn server(uri: &str) -> Self {
        let mut leaf = Self { usage: "serverAuth", ..Self::client(uri) };
        let dns = ["DNS:localhost".to_owned(), format!("DNS:{}", leaf.common_name)];
        leaf.san.extend(dns);
        leaf
    }
}

/// A certificate authority run by `openssl ca`.
pub struct Authority {
    dir: PathBuf,
    pair: Pair,
    is_below_root: bool,
    issued: AtomicUsize,
}

impl Authority {
    /// Makes a new authority in `dir`.
    pub fn create(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("folder");
        let pair = Pair { cert: dir.join("ca-cert.pem"), key: dir.join("ca-key.pem") };
        new_key(&pair.key);
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            text(&pair.key),
            "-out",
            text(&pair.cert),
            "-days",
            "30",
            "-subj",
            "/CN=Foreign CA",
            "-addext",
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        Self::existing(dir, &pair.cert, &pair.key)
    }

    /// An authority whose certificate and key exist; `dir` is for its records.
    pub fn existing(dir: &Path, cert: &Path, key: &Path) -> Self {
        fs::create_dir_all(dir).expect("folder");
        let pair = Pair { cert: cert.to_owned(), key: key.to_owned() };
        Self { dir: dir.to_owned(), pair, is_below_root: false, issued: AtomicUsize::new(0) }
    }

    /// The same of one that others do not know: its certificate stands behind each that it issues.
    #[must_use]
    pub fn below_root(self) -> Self {
        Self { is_below_root: true, ..self }
    }

    /// The authority's own certificate and key.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Issues a certificate that says what `leaf` says, with a new P-256 key.
    pub fn issue(&self, leaf: &Leaf) -> Pair {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        // A folder for each, because `openssl ca` keeps a database beside its output.
        let dir = self.dir.join(format!("issued-{number}"));
        fs::create_dir_all(&dir).expect("folder");
        let pair = Pair { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        let (config, request) = (dir.join("ca.cnf"), dir.join("request.pem"));
        new_key(&pair.key);
        fs::write(dir.join("index.txt"), "").expect("write");
        fs::write(&config, ca_config(&dir, leaf)).expect("write");
        let subject = format!("/CN={}", leaf.common_name);
        openssl(&[
            "req",
            "-new",
            "-key",
            text(&pair.key),
            "-out",
            text(&request),
            "-subj",
            &subject,
        ]);
        let mut args = vec![
            "ca",
            "-batch",
            "-notext",
            "-md",
            "sha256",
            "-config",
            text(&config),
            "-extensions",
            "leaf",
            "-cert",
            text(&self.pair.cert),
            "-keyfile",
            text(&self.pair.key),
            "-in",
            text(&request),
            "-out",
            text(&pair.cert),
        ];
        // `openssl ca` dates certificates freely in every version; `openssl x509` only
        // from 3.4 on.
        let (end, until);
        args.extend(match leaf.validity {
            Validity::Now => ["-days", "30"].as_slice(),
            Validity::Past => &["-startdate", "20210101000000Z", "-enddate", "20211231000000Z"],
            Validity::Future => &["-startdate", "20900101000000Z", "-enddate", "20901231000000Z"],
            Validity::Seconds(seconds) => {
                let then = SystemTime::now() + Duration::from_secs(seconds);
                let then = Timestamp::from(then).to_string();
                let whole = then.split(['.', 'Z']).next().unwrap_or_default();
                end = format!("{}Z", whole.replace(['-', ':', 'T'], ""));
                until = ["-enddate", &end];
                &until
            }
        });
        openssl(&args);
        if self.is_below_root {
            let chain = [&pair.cert, &self.pair.cert].map(|file| fs::read(file).expect("PEM"));
            fs::write(&pair.cert, chain.concat()).expect("write");
        }
        pair
    }
}

/// Starts `openssl s_client` against a sealwire listener. `extra` are more options.
///
/// Its standard input stays open, so that it stays connected until it is refused or
/// dropped: a client that leaves first can take the server's reason with it.
pub fn s_client(address: SocketAddr, server: &str, pair: Option<&Pair>, extra: &[&str]) -> Process {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-brief", "-connect", &address.to_string()]);
    command.args(["-servername", server, "-alpn", "sealwire/1"]).args(extra);
    if let Some(pair) = pair {
        command.arg("-cert").arg(&pair.cert).arg("-key").arg(&pair.key);
        command.args(chain(pair));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    Process::spawn(command)
}

/// A running `openssl s_server` that asks for a client certificate. Dropping it ends it.
pub struct ForeignServer {
    process: Process,
    address: SocketAddr,
}

impl ForeignServer {
    /// Starts it with this certificate, trusting client certificates from `ca`.
    pub fn start(pair: &Pair, ca: &Path, extra: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-4",
                "-accept",
                "127.0.0.1:0",
                "-alpn",
                "sealwire/1",
                "-Verify",
                "2",
            ])
            .arg("-cert")
            .arg(&pair.cert)
            .arg("-key")
            .arg(&pair.key)
            .arg("-CAfile")
            .arg(ca)
            .args(chain(pair))
            .args(extra)
            // Its standard input stays open: at its end it would stop.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let output = Log::follow(process.child().stdout.take().expect("piped"));
        let line = output.wait_for(&["ACCEPT "]);
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said on standard error.
    pub fn log(&self) -> &Log {
        self.process.log()
    }
}

/// What is to be sent behind a leaf, of which OpenSSL's tools take the first certificate alone.
fn chain(pair: &Pair) -> Vec<OsString> {
    let text = fs::read_to_string(&pair.cert).unwrap_or_default();
    let end = "-----END CERTIFICATE-----\n";
    match text.split_once(end) {
        Some((_, rest)) if rest.contains(end) => {
            let file = pair.cert.with_extension("chain");
            fs::write(&file, rest).expect("write");
            vec!["-cert_chain".into(), file.into()]
        }
        _ => Vec::new(),
    }
}

fn ca_config(dir: &Path, leaf: &Leaf) -> String {
    let dir = text(dir);
    let san = match leaf.san.as_slice() {
        [] => String::new(),
        entries => format!("subjectAltName = {}\n", entries.join(",")),
    };
    let ca = if leaf.is_ca { "TRUE" } else { "FALSE" };
    let key_usage = match leaf.key_usage {
        "" => String::new(),
        usage => format!("keyUsage = {usage}\n"),
    };
    format!(
        "[ca]\ndefault_ca = this\n\
         [this]\ndatabase = {dir}/index.txt\nnew_certs_dir = {dir}\npolicy = any\n\
         unique_subject = no\nrand_serial = yes\n\
         [any]\ncommonName = supplied\n\
         [leaf]\nbasicConstraints = critical,CA:{ca}\n{key_usage}\
         extendedKeyUsage = {}\n{san}{}",
        leaf.usage, leaf.extensions
    )
}

fn new_key(path: &Path) {
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        text(path),
    ]);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

fn openssl(args: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(args);
    run(command, b"").ok();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cert: &Path) -> String {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-text", "-in", text(cert)]);
        run(command, b"").ok().stdout
    }

    #[test]
    fn certificates_say_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path());
        let good = Leaf::server("spiffe://example.org/mcp-server/echo");
        let text = shown(&authority.issue(&good).cert);
        for part in [
            "Version: 3",
            "CN = echo",
            "CA:FALSE",
            "TLS Web Server Authentication",
            "URI:spiffe://example.org/mcp-server/echo, DNS:localhost, DNS:echo",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let bad = Leaf {
            san: vec![],
            usage: "codeSigning",
            is_ca: true,
            validity: Validity::Past,
            ..good
        };
        let text = shown(&authority.issue(&bad).cert);
        assert!(!text.contains("Alternative Name"), "{text}");
        for part in ["CA:TRUE", "Code Signing", "Not After : Dec 31 00:00:00 2021 GMT"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn foreign_client_and_server_meet() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path());
        let server = authority.issue(&Leaf::server("spiffe://example.org/mcp-server/echo"));
        let client = authority.issue(&Leaf::client("spiffe://example.org/core/core"));
        let ca = &authority.pair().cert;
        let server = ForeignServer::start(&server, ca, &[]);
        let options = ["-tls1_3", "-verify_return_error", "-CAfile", text(ca)];
        let client = s_client(server.address(), "echo", Some(&client), &options);
        client.log().wait_for(&["CONNECTION ESTABLISHED"]);
        client.log().wait_for(&["Protocol version: TLSv1.3"]);
    }
}
