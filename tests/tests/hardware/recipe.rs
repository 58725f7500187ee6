//! The recipe of docs/hardware.md, typed as it is there.

use std::fs;
use std::path::Path;
use std::process::Command;

use sealwire_testkit::{Home, Token, bin, run};

const PAGE: &str = include_str!("../../../docs/hardware.md");

/// What asks, and what needs root.
const STAND_INS: &str = "sudo() { :; }
softhsm2-util() { command softhsm2-util \"$@\" --so-pin 12345678 --pin 9f2-user; }
";

#[test]
fn the_recipe_can_be_followed() {
    let script = PAGE.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (token, user) = (Token::new("another"), Home::empty());
    let programs = bin("sealwire");
    let programs = Path::new(&programs).parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-euc", &format!("{STAND_INS}{script}")])
        .env("HOME", user.path())
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("SOFTHSM2_CONF", token.config());
    run(bash, b"9f2-user\n").ok();
    let key = user.file(".sealwire/certs/mcp-servers/time-key.pem");
    assert!(fs::read_to_string(key).unwrap().starts_with("pkcs11:token=sealwire;object=time?"));
}
