//! What is wrong with a key in a token is said before anything is served.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sealwire_testkit::{Home, Serve, Token, run, token_module};

use super::{fails, home_of};

/// The key file of the served entry says this instead.
fn with_key(home: &Home, uri: &str) {
    let key = home.file("certs/mcp-servers/echo-key.pem");
    fs::write(&key, uri).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn serve_does_not_start_without_the_key_that_it_needs() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    let good = token.uri("echo");
    let make = |args: &[&str]| {
        token.pkcs11_tool(&[&["--login", "--keypairgen"], args].concat()).ok();
    };
    make(&["--key-type", "EC:prime256v1", "--label", "loose", "--extractable"]);
    make(&["--key-type", "RSA:2048", "--label", "rsa"]);
    make(&["--key-type", "EC:prime256v1", "--label", "twice", "--id", "01"]);
    make(&["--key-type", "EC:prime256v1", "--label", "twice", "--id", "02"]);
    make(&["--key-type", "EC:prime256v1", "--label", "other", "--id", "03"]);
    let cases = [
        (good.replace("token=sealwire", "token=elsewhere"), "the module finds \"sealwire\""),
        (token.uri("gone"), "there is no such private key in the token"),
        (token.uri("loose"), "can be read out of the token"),
        (token.uri("rsa"), "neither an ECDSA key on P-256 nor an Ed25519 key"),
        (token.uri("twice"), "several private keys in the token are of that name"),
        (token.uri("other"), "is not the private key of the certificate in"),
        (good.replace("libsofthsm2.so", "none.so"), "none.so"),
        (good.replace(token_module(), "/etc/hostname"), "/etc/hostname cannot be loaded"),
        (token.short_uri("echo"), "it says not which module speaks to the token"),
        (good.replace("object=echo", "object=echo;pin-value=1"), "a PIN must not stand in a URI"),
        (good.replace("pin-source=file:", "pin-source=file:/none"), "/none"),
        (format!("{good}\nmore"), "holds a URI that cannot be used"),
    ];
    for (uri, why) in cases {
        with_key(&home, &uri);
        fails(&home.run(&["serve"]), &[why]);
        assert_eq!(home.run(&["config", "check"]).code, Some(78), "{uri}");
    }
    with_key(&home, &good);
    drop(Serve::start(&home));
}

#[test]
fn a_wrong_pin_is_tried_once_and_one_that_others_can_read_is_not_tried() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    token.write_pin("wrong");
    fails(&home.run(&["serve"]), &["the PIN in", "is wrong"]);
    fs::set_permissions(token.pin_file(), fs::Permissions::from_mode(0o640)).unwrap();
    fails(&home.run(&["serve"]), &["has mode 0640, wider than 0600"]);
    token.write_pin("");
    fails(&home.run(&["serve"]), &["does not hold one line with the PIN"]);
}

#[test]
fn a_module_that_others_could_have_written_is_not_loaded() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    let copy = home.file("module.so");
    fs::copy(token_module(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o666)).unwrap();
    with_key(&home, &token.uri("echo").replace(token_module(), copy.to_str().unwrap()));
    fails(&home.run(&["serve"]), &["module.so has mode 0666, wider than 0644"]);
}

#[test]
fn a_configuration_with_a_uri_that_cannot_be_used_is_refused() {
    let token = Token::new("sealwire");
    let home = token.home();
    home.run(&["init"]).ok();
    let (short, no_pin) = (token.short_uri("echo"), "pkcs11:token=sealwire;object=echo");
    let module = format!("[pkcs11]\nmodule = \"{}\"\n", token_module());
    for (pkcs11, uri, why) in [
        ("", &*short, "no module that speaks to it"),
        (&module, no_pin, "not where its PIN is"),
        (&module, "pkcs11:token=sealwire", "it names no key"),
    ] {
        home.configure(&format!(
            "{pkcs11}[mcp_servers.echo]\ncommand = \"cat\"\ntls_cert = \"c.pem\"\ntls_key = \"{uri}\"\n"
        ));
        let checked = home.run(&["config", "check"]);
        fails(&checked, &["[mcp_servers.echo] tls_key", why]);
    }
}

#[test]
fn a_key_in_a_token_is_not_bundled() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    let mut command = home.sealwire();
    command.args(["cert", "bundle", "core", "--kind", "core", "--endpoint", "h:1"]);
    fails(&run(command, b""), &["is in a token, and stays there"]);
}
