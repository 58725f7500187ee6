//! Agents that sign with keys in a token.

use sealwire_testkit::{Home, Token, run, token_module};

use super::fails;

fn agents(token: &Token) -> Home {
    let home = token.home();
    home.run(&["init"]).ok();
    home.configure(&format!(
        "[pkcs11]\nmodule = \"{}\"\n\n[agent_security]\nagents = [\"Ann\", \"Bob\"]\n\n\
         [agent_security.trust.Ann]\ncan_communicate_with = [\"Bob\"]\n",
        token_module(),
    ));
    home.run(&["key", "new", "Ann", "--key", &token.short_uri("ann")]).ok();
    home.run(&["key", "new", "Bob"]).ok();
    home
}

fn exchange(home: &Home, text: &str) {
    let mut send = home.sealwire();
    send.args(["agent", "send", "--from", "Ann", "--to", "Bob", "--file", "-"]);
    run(send, text.as_bytes()).ok();
    let received = home.run(&["agent", "recv", "--as", "Bob"]).ok().stdout;
    assert!(received.contains(text), "{received}");
}

#[test]
fn an_envelope_is_signed_in_the_token_and_a_rotation_stays_there() {
    let token = Token::new("sealwire");
    let home = agents(&token);
    let signing = || std::fs::read_to_string(home.file("keys/agents/Ann-signing")).unwrap();
    assert!(signing().starts_with("pkcs11:token=sealwire;object=ann?"), "{}", signing());
    exchange(&home, "signed in the token");
    home.run(&["key", "rotate", "Ann"]).ok();
    assert!(signing().contains("object=ann."), "{}", signing());
    exchange(&home, "signed with its successor");
    let listed = home.run(&["key", "list"]).ok().stdout;
    assert!(listed.contains("Ann") && listed.contains("replaced"), "{listed}");
}

#[test]
fn a_key_of_another_kind_signs_no_messages() {
    let token = Token::new("sealwire");
    let home = agents(&token);
    token.pkcs11_tool(&["--login", "--keypairgen", "--key-type", "EC:prime256v1", "--label", "p"]);
    let refused = home.run(&["key", "rotate", "Ann", "--key", &token.short_uri("p")]);
    fails(&refused, &["a signing key must be Ed25519"]);
}
