//! Sessions that are of no use any more, as after a restart of the token.

use std::env;
use std::path::Path;
use std::process::Command;

use cryptoki::context::Pkcs11;
use sealwire_identity::SigningKey;
use sealwire_testkit::{Token, run, token_module};

const URI: &str = "SEALWIRE_TEST_URI";

/// SoftHSM reads where its tokens are from the environment, so that the test is a process of its own.
#[test]
fn a_key_is_found_again_when_the_token_has_logged_everybody_out() {
    if let Ok(uri) = env::var(URI) {
        return sign_before_and_after(&uri);
    }
    let token = Token::new("sealwire");
    let uri = token.uri("signing");
    token.home().run(&["init", "--signing-key", &uri]).ok();
    let mut again = Command::new(env::current_exe().unwrap());
    let name = "lost::a_key_is_found_again_when_the_token_has_logged_everybody_out";
    again.args(["--exact", name]).env("SOFTHSM2_CONF", token.config()).env(URI, uri);
    let output = run(again, b"").ok();
    assert!(output.stdout.contains("1 passed"), "{output}");
}

fn sign_before_and_after(uri: &str) {
    let key = SigningKey::load(Path::new(uri)).unwrap();
    let before = key.sign(b"message").unwrap();
    // The same library, initialized by whoever was first.
    let module = Pkcs11::new(token_module()).unwrap();
    for slot in module.get_slots_with_initialized_token().unwrap() {
        module.open_ro_session(slot).unwrap().logout().unwrap();
    }
    // Ed25519 signatures of one message are the same (RFC 8032).
    assert_eq!(key.sign(b"message").unwrap(), before);
    assert_eq!(SigningKey::load(Path::new(uri)).unwrap().sign(b"message").unwrap(), before);
}
