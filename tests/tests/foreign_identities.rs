//! The recipes of docs/foreign-identities.md: certificates of other authorities, served by and
//! connected with. OpenSSL's is run as it stands there; the others' certificates are made by
//! OpenSSL in the shape that those programs give them.

use std::fs;
use std::path::Path;
use std::process::Command;

use sealwire_testkit::{Connect, Home, Serve, bin, quoted, run};
use sealwire_tests::call_echo;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/foreign-identities.md");

/// The first block of that language below that heading.
fn block(heading: &str, language: &str) -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let (_, below) = page.split_once(heading).unwrap();
    let (_, code) = below.split_once(&format!("```{language}\n")).unwrap();
    code.split_once("```").unwrap().0.to_owned()
}

fn shell(home: &Home, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-e", "-u", "-c", script]).current_dir(home.path());
    run(command, b"").ok();
}

/// Serves and connects by the files that are there, with the configuration of the page.
fn serves_and_connects(home: &Home) {
    let config = block("In all cases", "toml");
    assert!(config.contains("\"my-mcp-server\""));
    let server = quoted(Path::new(&bin("sealwire-fake-server")));
    home.configure(&format!("{}default_level = 1\n", config.replace("\"my-mcp-server\"", &server)));
    let checked = home.run(&["config", "check"]).ok();
    assert!(!checked.stderr.contains("trusted here"), "{checked}");
    let serve = Serve::start(home);
    let (security, _) = config.split_once("[mcp_servers").unwrap();
    let mut client = Connect::spawn(home.connect_command("echo", serve.address(), security));
    client.initialize();
    call_echo(&mut client, "hello");
    serve.log().wait_for(&["connection accepted", "spiffe://example.org/core/laptop"]);
    let (status, _) = client.finish();
    assert!(status.success(), "{status}");
}

/// A root, an intermediate and two leaves, of these extensions and keys.
struct Shape {
    /// Extensions of the root, of the intermediate, and of both leaves.
    root: &'static [&'static str],
    intermediate: &'static [&'static str],
    leaf: &'static [&'static str],
    /// Purposes of the two leaves.
    purposes: [&'static str; 2],
    /// Subjects of root, intermediate and leaves.
    subjects: [&'static str; 3],
    /// How a key is made, in `$1`.
    key: &'static str,
}

impl Shape {
    fn make(&self, home: &Home) {
        let lines = |lines: &[&str]| lines.join("\n");
        home.write("root.ext", lines(self.root));
        home.write("between.ext", lines(self.intermediate));
        for (name, id, purpose) in [
            ("client", "core/laptop", self.purposes[0]),
            ("server", "mcp-server/echo", self.purposes[1]),
        ] {
            let leaf = lines(self.leaf).replace("URI", &format!("URI:spiffe://example.org/{id}"));
            home.write(&format!("{name}.ext"), format!("{leaf}\nextendedKeyUsage={purpose}"));
        }
        let Self { subjects: [root, between, leaf], key, .. } = self;
        shell(
            home,
            &format!(
                "key() {{ {key}; chmod 600 \"$1.key\"; }}\n\
                 sign() {{ # NAME SUBJECT BY...\n\
                   name=$1 subject=$2; shift 2; key $name\n\
                   openssl req -new -key $name.key -subj \"$subject\" -out $name.csr\n\
                   openssl x509 -req -in $name.csr -extfile $name.ext -days 30 -out $name.pem \"$@\"\n\
                 }}\n\
                 sign root '{root}' -signkey root.key\n\
                 sign between '{between}' -CA root.pem -CAkey root.key -CAcreateserial\n\
                 for leaf in client server; do\n\
                   sign $leaf '{leaf}' -CA between.pem -CAkey between.key -CAcreateserial\n\
                   cat between.pem >> $leaf.pem\n\
                 done"
            ),
        );
    }
}

const EC: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key";

#[test]
fn openssl() {
    let home = Home::empty();
    shell(&home, &block("## OpenSSL", "sh"));
    serves_and_connects(&home);
}

/// Both purposes, no common name, authorities with the trust domain in a URI.
#[test]
fn spire() {
    let home = Home::empty();
    let authority: &[&str] = &[
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,keyCertSign,cRLSign",
        "subjectKeyIdentifier=hash",
        "subjectAltName=URI:spiffe://example.org",
    ];
    Shape {
        root: authority,
        intermediate: authority,
        leaf: &[
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement",
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid",
            "subjectAltName=URI",
        ],
        purposes: ["serverAuth,clientAuth"; 2],
        subjects: ["/C=US/O=SPIFFE", "/C=US/O=SPIRE/CN=downstream", "/C=US/O=SPIRE"],
        key: EC,
    }
    .make(&home);
    serves_and_connects(&home);
}

/// A root of pathLen 1, an extension of its own, keys in SEC1.
#[test]
fn step_ca() {
    let home = Home::empty();
    Shape {
        root: &[
            "basicConstraints=critical,CA:TRUE,pathlen:1",
            "keyUsage=critical,keyCertSign,cRLSign",
        ],
        intermediate: &[
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "keyUsage=critical,keyCertSign,cRLSign",
            "authorityKeyIdentifier=keyid",
        ],
        leaf: &[
            "keyUsage=critical,digitalSignature",
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid",
            "subjectAltName=URI,DNS:echo",
            "1.3.6.1.4.1.37476.9000.64.1=ASN1:UTF8String:provisioner",
        ],
        purposes: ["serverAuth,clientAuth"; 2],
        subjects: [
            "/O=Example/CN=Example Root CA",
            "/O=Example/CN=Example Intermediate CA",
            "/CN=laptop",
        ],
        key: "openssl ecparam -name prime256v1 -genkey -noout -out $1.key",
    }
    .make(&home);
    let key = fs::read_to_string(home.file("client.key")).unwrap();
    assert!(key.contains("EC PRIVATE KEY"), "or the shape is another");
    serves_and_connects(&home);
}

/// No subject, a critical SAN, one purpose, RSA keys in PKCS#1.
#[test]
fn cert_manager() {
    let home = Home::empty();
    Shape {
        root: &[
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
        ],
        intermediate: &[
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
        ],
        leaf: &[
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            "authorityKeyIdentifier=keyid",
            "subjectAltName=critical,URI",
        ],
        purposes: ["clientAuth", "serverAuth"],
        subjects: ["/CN=example-ca", "/CN=example-issuer", "/"],
        key: "openssl genrsa -traditional -out $1.key 2048",
    }
    .make(&home);
    let key = fs::read_to_string(home.file("client.key")).unwrap();
    assert!(key.contains("RSA PRIVATE KEY"), "or the shape is another");
    serves_and_connects(&home);
}
