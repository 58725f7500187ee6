//! The home, the configuration, authorities, certificates and keys.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use sealwire_testkit::openssl::{Authority, Leaf, Pair, Validity};
use sealwire_testkit::{Home, run};
use sealwire_tests::{ECHO, echo_table};

use super::{doctor, finds, heals, healthy, remedy};

const CERT: &str = "certs/mcp-servers/echo-cert.pem";
const KEY: &str = "certs/mcp-servers/echo-key.pem";
const CA: &str = "certs/ca/ca-cert.pem";
const CA_KEY: &str = "certs/ca/ca-key.pem";
const ISSUING_KEY: &str = "certs/ca/issuing-key.pem";
const CORE_KEY: &str = "certs/core/core-key.pem";

/// Puts a pair in the place of `echo`'s.
fn present(home: &Home, pair: &Pair) {
    fs::copy(&pair.cert, home.file(CERT)).unwrap();
    fs::copy(&pair.key, home.file(KEY)).unwrap();
}

/// Has the home's own authority issue a certificate with a fault to `echo`.
fn leaf(fault: impl FnOnce(&mut Leaf)) -> impl FnOnce(&Home) {
    |home| {
        let mut leaf = Leaf::server(ECHO);
        fault(&mut leaf);
        present(home, &home.authority().issue(&leaf));
    }
}

fn truncate(home: &Home, file: &str) {
    home.chmod(file, 0o600);
    let pem = fs::read(home.file(file)).unwrap();
    fs::write(home.file(file), &pem[..pem.len() / 2]).unwrap();
}

fn openssl(args: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(args);
    run(command, b"").ok();
}

#[test]
fn no_home() {
    let home = Home::empty();
    fs::remove_dir(home.path()).unwrap();
    let examination = doctor(&home, &[]);
    remedy(examination.one("error", "home_missing", &["init"]));
    doctor(&home, &[]).content();
}

#[test]
fn a_home_that_is_a_file() {
    let home = Home::empty();
    let file = home.write("file", "");
    let mut command = Command::new(sealwire_testkit::bin("sealwire"));
    command.arg("--home").arg(file).args(["doctor", "--json"]);
    let examination = super::examined(run(command, b""));
    assert_eq!(examination.grave()[0]["id"], "home_unusable", "{}", examination.output);
}

#[test]
fn what_is_private_can_be_read_by_others() {
    for (file, mode, remedy) in [
        ("", 0o755, "chmod 700"),
        ("certs/mcp-servers", 0o750, "chmod 700"),
        ("keys", 0o711, "chmod 700"),
        (CA_KEY, 0o600, "chmod 400"),
        (CA_KEY, 0o444, "chmod 400"),
        (ISSUING_KEY, 0o600, "chmod 400"),
        (KEY, 0o640, "chmod 600"),
        (CORE_KEY, 0o604, "chmod 600"),
        ("certs/agents/A-key.pem", 0o644, "chmod 600"),
        ("keys/ed25519-signing", 0o644, "chmod 600"),
    ] {
        heals(|home| home.chmod(file, mode), "error", "mode_too_wide", &[file, remedy]);
    }
}

#[test]
fn a_key_put_aside_is_still_a_key() {
    let plant = |home: &Home| {
        home.run(&["cert", "issue", "echo", "--force"]).ok();
        home.chmod("certs/mcp-servers/echo-key.pem.old", 0o644);
    };
    heals(plant, "error", "mode_too_wide", &["echo-key.pem.old", "chmod 600"]);
}

#[test]
fn the_key_of_another_certificate() {
    let plant = |home: &Home| fs::copy(home.file(CORE_KEY), home.file(KEY)).map(|_| ()).unwrap();
    heals(plant, "error", "key_mismatch", &[KEY, "cert issue echo"]);
    for key in [CA_KEY, ISSUING_KEY] {
        let plant = |home: &Home| {
            let other = Authority::create(&home.file("foreign"));
            home.chmod(key, 0o600);
            fs::copy(&other.pair().key, home.file(key)).unwrap();
            home.chmod(key, 0o400);
        };
        finds(plant, "error", "key_mismatch", &[key, "backup"]);
    }
    let plant = |home: &Home| {
        let other = Home::initialized();
        fs::copy(other.file("keys/ed25519-signing.pub"), home.file("keys/ed25519-signing.pub"))
            .unwrap();
    };
    heals(plant, "error", "key_mismatch", &["ed25519-signing.pub", "init"]);
}

#[test]
fn a_certificate_out_of_its_time() {
    let expired = leaf(|leaf| leaf.validity = Validity::Past);
    heals(expired, "error", "certificate_expired", &[CERT, "cert issue echo", "--force"]);
    let future = leaf(|leaf| leaf.validity = Validity::Future);
    heals(future, "error", "certificate_not_yet_valid", &["set the clock", "cert issue echo"]);
}

#[test]
fn a_certificate_about_to_expire() {
    for (days, id) in [("20", "certificate_expires_soon"), ("3", "certificate_expires_this_week")] {
        let plant = |home: &Home| {
            drop(home.run(&["cert", "issue", "echo", "--force", "--days", days]).ok())
        };
        heals(plant, "warning", id, &[CERT, "cert issue echo"]);
    }
}

#[test]
fn a_certificate_that_lives_for_years() {
    let plant =
        |home: &Home| drop(home.run(&["cert", "issue", "echo", "--force", "--days", "900"]).ok());
    heals(plant, "warning", "certificate_long_lived", &[CERT, "cert issue echo"]);
}

#[test]
fn a_certificate_that_breaks_a_rule() {
    type Fault = fn(&mut Leaf);
    let faults: [(&str, Fault); 8] = [
        ("san_missing", |leaf| leaf.san = vec!["DNS:echo".into()]),
        ("san_multiple", |leaf| leaf.san.push("URI:spiffe://sealwire.internal/core/x".into())),
        ("spiffe_syntax", |leaf| leaf.san = vec!["URI:https://sealwire.internal/echo".into()]),
        ("trust_domain", |leaf| {
            leaf.san = vec!["URI:spiffe://elsewhere.example/mcp-server/echo".into()];
        }),
        ("name_mismatch", |leaf| {
            *leaf = Leaf::server("spiffe://sealwire.internal/mcp-server/other");
        }),
        ("common_name", |leaf| leaf.common_name = "other".into()),
        ("ca_as_leaf", |leaf| leaf.is_ca = true),
        ("key_usage", |leaf| leaf.usage = "clientAuth"),
    ];
    for (id, fault) in faults {
        heals(leaf(fault), "error", id, &[CERT, "cert issue echo --kind mcp-server --force"]);
    }
}

#[test]
fn a_certificate_of_version_1_or_with_a_weak_key() {
    let by_openssl = |home: &Home, key: &[&str], extensions: &str| {
        let (cert, pem, request) = (home.file(CERT), home.file(KEY), home.file("request.pem"));
        let [cert, pem, request] = [&cert, &pem, &request].map(|path| path.to_str().unwrap());
        let (ca, ca_key) = (home.file(CA), home.file(CA_KEY));
        openssl(&[&["genpkey", "-out", pem], key].concat());
        home.chmod(KEY, 0o600);
        openssl(&["req", "-new", "-key", pem, "-out", request, "-subj", "/CN=echo"]);
        let mut args = vec!["x509", "-req", "-in", request, "-out", cert, "-days", "60"];
        args.extend(["-CA", ca.to_str().unwrap(), "-CAkey", ca_key.to_str().unwrap()]);
        let file = home.write("extensions", extensions);
        if !extensions.is_empty() {
            args.extend(["-extfile", file.to_str().unwrap()]);
        }
        openssl(&args);
    };
    let ec = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
    let good = format!("subjectAltName = URI:{ECHO}\nextendedKeyUsage = serverAuth\n");
    let v1 = |home: &Home| by_openssl(home, &ec, "");
    heals(v1, "error", "certificate_malformed", &[CERT, "cert issue echo"]);
    let weak = |home: &Home| by_openssl(home, &rsa, &good);
    heals(weak, "error", "weak_key", &[CERT, "cert issue echo"]);
}

#[test]
fn a_certificate_of_another_authority() {
    let plant = |home: &Home| {
        let other = Authority::create(&home.file("foreign"));
        present(home, &other.issue(&Leaf::server(ECHO)));
    };
    heals(plant, "error", "unknown_issuer", &[CERT, "cert issue echo"]);
    // Where another home's authority is trusted, one cannot know whom its peers trust.
    let home = healthy();
    Authority::create(&home.file("foreign"));
    home.configure(&format!("{}trusted_ca = \"foreign/ca-cert.pem\"\n", echo_table()));
    let found = doctor(&home, &["--offline"]);
    let warnings: Vec<_> = found.grave().iter().map(|finding| finding["id"].clone()).collect();
    // The other authority lives for 30 days.
    assert_eq!(warnings, ["certificate_expires_soon", "unknown_issuer"], "{}", found.output);
    assert_eq!(found.output.code, Some(0), "{}", found.output);
}

#[test]
fn what_is_not_there() {
    let both =
        |home: &Home| [CERT, KEY].iter().for_each(|file| fs::remove_file(home.file(file)).unwrap());
    heals(both, "error", "file_missing", &[CERT, "cert issue echo"]);
    for file in [CERT, KEY] {
        let half = |home: &Home| fs::remove_file(home.file(file)).unwrap();
        heals(half, "error", "file_missing", &[file, ".old && ", "cert issue echo"]);
    }
    let agent = |home: &Home| {
        for file in ["certs/agents/A-cert.pem", "certs/agents/A-key.pem"] {
            fs::remove_file(home.file(file)).unwrap();
        }
    };
    heals(agent, "warning", "file_missing", &["A-cert.pem", "cert issue A --kind agent"]);
    let ca = |home: &Home| fs::remove_file(home.file(CA)).unwrap();
    finds(ca, "error", "file_missing", &[CA, "backup"]);
    let public = |home: &Home| fs::remove_file(home.file("keys/ed25519-signing.pub")).unwrap();
    heals(public, "error", "file_missing", &["ed25519-signing.pub", "init"]);
}

#[test]
fn what_is_no_pem() {
    for file in [CERT, KEY] {
        heals(|home| truncate(home, file), "error", "pem_damaged", &[file, "cert issue echo"]);
    }
    finds(|home| truncate(home, CA), "error", "pem_damaged", &[CA]);
    let key = |home: &Home| {
        truncate(home, CA_KEY);
        home.chmod(CA_KEY, 0o400);
    };
    finds(key, "error", "pem_damaged", &[CA_KEY, "backup"]);
}

/// What is only in the wrong form need not be issued anew.
#[test]
fn a_key_with_a_passphrase() {
    let plant = |home: &Home| {
        let (key, plain) = (home.file(KEY), home.file("plain.pem"));
        fs::rename(&key, &plain).unwrap();
        let [key, plain] = [&key, &plain].map(|path| path.to_str().unwrap());
        openssl(&["pkey", "-in", plain, "-aes256", "-passout", "pass:x", "-out", key]);
        home.chmod(KEY, 0o600);
    };
    finds(plant, "error", "pem_damaged", &[KEY, "passphrase", "openssl pkey"]);
}

/// The leaf is not blamed for the authority's end.
#[test]
fn an_authority_that_has_expired() {
    let plant = |home: &Home| {
        let (cert, key) = (home.file("old.pem"), home.file(CA_KEY));
        let [cert, key] = [&cert, &key].map(|path| path.to_str().unwrap());
        // Signed by itself, as `openssl req` dates nothing into the past.
        let subject = "/CN=Old CA";
        let dir = home.file("old");
        fs::create_dir(&dir).unwrap();
        let request = dir.join("request.pem");
        let request = request.to_str().unwrap();
        openssl(&["req", "-new", "-key", key, "-out", request, "-subj", subject]);
        let dir = dir.to_str().unwrap();
        fs::write(format!("{dir}/index.txt"), "").unwrap();
        let config = format!(
            "[ca]\ndefault_ca = this\n[this]\ndatabase = {dir}/index.txt\nnew_certs_dir = {dir}\n\
             policy = any\nrand_serial = yes\n[any]\ncommonName = supplied\n[ca_ext]\n\
             basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\n"
        );
        let file = home.write("old/ca.cnf", config);
        let mut args = vec!["ca", "-batch", "-notext", "-md", "sha256", "-selfsign"];
        args.extend(["-config", file.to_str().unwrap(), "-extensions", "ca_ext"]);
        args.extend(["-keyfile", key, "-in", request, "-out", cert]);
        args.extend(["-startdate", "20210101000000Z", "-enddate", "20211231000000Z"]);
        openssl(&args);
        let table = "[security.certificates]\nca_cert = \"old.pem\"\n";
        home.configure(&format!("{table}\n{}", echo_table()));
    };
    finds(plant, "error", "certificate_expired", &["old.pem", "another authority"]);
}

#[test]
fn an_authority_that_is_none() {
    let plant = |home: &Home| {
        let table = "[security.certificates]\nca_cert = \"certs/core/core-cert.pem\"\n";
        home.configure(&format!("{table}\n{}", echo_table()));
    };
    finds(plant, "error", "not_an_authority", &["core-cert.pem", "ca_cert"]);
}

#[test]
fn an_authority_of_another_trust_domain() {
    let plant = |home: &Home| {
        home.configure(&format!("[security]\ntrust_domain = \"example.org\"\n\n{}", echo_table()));
    };
    finds(plant, "error", "trust_domain", &[CA, "trust_domain = \"sealwire.internal\""]);
}

#[test]
fn a_file_from_the_future() {
    let plant = |home: &Home| {
        let ahead = SystemTime::now() + Duration::from_secs(7200);
        File::options().append(true).open(home.file(CERT)).unwrap().set_modified(ahead).unwrap();
    };
    finds(plant, "warning", "clock_behind", &[CERT, "date -u", "timedatectl"]);
}

#[test]
fn a_configuration_that_is_not_valid() {
    let config = |text: &str| {
        let text = format!("{}\n{text}", echo_table());
        move |home: &Home| home.configure(&text)
    };
    for (text, parts) in [
        ("[mcp_servers.x]\nendpont = \"a:1\"\n", vec!["sealwire.toml:", "endpoint"]),
        ("[mcp_servers.x]\nendpoint = \"a:1\"\ncommand = \"b\"\n", vec!["sealwire.toml:"]),
        ("[securty]\n", vec!["sealwire.toml:", "security"]),
        ("[mcp_servers.x\n", vec!["sealwire.toml:", "toml.io"]),
        ("[mcp_servers.x]\nendpoint = \"a:0\"\n", vec!["sealwire.toml:", "tools.example.org:7443"]),
    ] {
        finds(config(text), "error", "config_invalid", &parts);
    }
    let include = |home: &Home| {
        let text = format!("include = \"more.toml\"\n\n{}", echo_table());
        home.write("sealwire.toml", text);
    };
    finds(include, "error", "config_invalid", &["more.toml"]);
}

#[test]
fn files_that_are_included() {
    let include = |home: &Home| {
        let text = "include = \"servers.d/*.toml\"\n\n[listen]\naddress = \"127.0.0.1:0\"\n\n";
        home.write("sealwire.toml", format!("{text}{}", echo_table()));
    };
    let parts = ["sealwire.toml:1", "correct the pattern"];
    let (home, _) = finds(include, "warning", "include_empty", &parts);
    home.write("servers.d/a.toml", "\n[mcp_servers.a]\nendpoint = \"127.0.0.1:1\"\n");
    doctor(&home, &["--offline"]).content();

    // What is wrong with a server is told where that server is written.
    home.write("servers.d/a.toml", "\n[mcp_servers.a]\ncommand = \"no-such-program\"\n");
    home.run(&["cert", "issue", "--all"]).ok();
    let examination = doctor(&home, &["--offline"]);
    examination.one("error", "command_not_found", &["servers.d/a.toml:2 [mcp_servers.a]"]);
}

#[test]
fn no_configuration() {
    let home = healthy();
    fs::remove_file(home.file("sealwire.toml")).unwrap();
    let examination = doctor(&home, &[]);
    remedy(examination.one("error", "config_missing", &["sealwire.toml", "init"]));
    doctor(&home, &["--offline"]).content();
}

#[test]
fn a_configuration_that_is_a_named_pipe() {
    let home = healthy();
    fs::remove_file(home.file("sealwire.toml")).unwrap();
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(home.file("sealwire.toml"));
    run(mkfifo, b"").ok();
    let examination = doctor(&home, &["--offline"]);
    examination.one("error", "config_missing", &["sealwire.toml", "text file"]);
}

/// What is no text in a path is no reason to fail, or to print what is no JSON.
#[test]
fn a_home_whose_name_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let home = healthy();
    let odd = home.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::os::unix::fs::symlink(".", &odd).unwrap();
    let mut command = Command::new(sealwire_testkit::bin("sealwire"));
    command.arg("--home").arg(&odd).args(["doctor", "--offline", "--json"]);
    super::examined(run(command, b"")).content();
}

/// A fault never hides another, whatever is broken.
#[test]
fn everything_else_is_looked_at_too() {
    for broken in ["[mcp_servers.x\n", "[mcp_servers.x]\nendpont = \"a:1\"\n", "[securty]\n"] {
        let home = healthy();
        home.chmod(CA_KEY, 0o644);
        truncate(&home, KEY);
        leaf(|leaf| leaf.validity = Validity::Past)(&home);
        home.chmod(KEY, 0o644);
        home.configure(&format!("{}\n{broken}", echo_table()));
        let examination = doctor(&home, &["--offline"]);
        let mut ids: Vec<_> = examination.grave().iter().map(|f| f["id"].clone()).collect();
        ids.sort_by_key(ToString::to_string);
        let expected = ["certificate_expired", "config_invalid", "mode_too_wide", "mode_too_wide"];
        assert_eq!(ids, expected, "{broken}: {}", examination.output);
        examination.passed(&["core/core"]);
    }
}

/// Certificates for others are in the home too, and nothing here depends on them.
#[test]
fn what_nothing_uses_is_no_more_than_a_note() {
    let home = healthy();
    home.run(&["cert", "issue", "laptop", "--days", "3"]).ok();
    let examination = doctor(&home, &["--offline"]);
    examination.content();
    assert!(examination.notes().contains(&"certificate_expires_this_week"));
}
