//! A server that changes what was approved is suspended, where the incidents say so.

use sealwire_testkit::{Serve, wait_until};
use serde_json::{Value, json};

use crate::changing::{ADDED, CHANGED, Changing, call, listed};

fn quarantined(server: &Changing) -> Value {
    let listed = server.home.run(&["quarantine", "list", "--json"]).ok().stdout;
    serde_json::from_str(&listed).unwrap()
}

#[test]
fn a_change_suspends_the_server_until_it_is_lifted_and_an_addition_does_not() {
    let rule = "\n[incidents.pin_changes]\naction = \"suspend\"\nexpiry = \"1h\"";
    let server = Changing::new(rule);
    let mut serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["read", "write"]);
    let added = ("more", "Is new.");
    let written = ("write", "Writes a note.");
    server.list(&[&[("read", "Reads a note."), written, added]], "Be brief.");
    assert_eq!(listed(&mut client), ["read", "write"]);
    assert_eq!(call(&mut client, "more").as_deref(), ADDED);
    serve.log().wait_for(&["audit: incident", "kind=pin_additions", "server notes"]);
    assert_eq!(quarantined(&server), json!([]));

    server.list(&[&[("read", "Reads!"), written, added]], "Be brief.");
    client.send_request("tools/list", &json!({}));
    assert!(!client.process().wait().success());
    client.log().wait_for(&["server_suspended"]);
    serve.log().wait_for(&["audit: incident", "kind=pin_changes", "server notes"]);
    let shown = quarantined(&server);
    assert_eq!((&shown[0]["kind"], &shown[0]["name"]), (&json!("server"), &json!("notes")));
    assert_eq!(shown[0]["reason"], "incident 2: 1 pin_changes within 60s");
    // For everybody, and after a restart.
    drop(serve);
    serve = Serve::start(&server.home);
    let refused = server.home.connect_once("notes", serve.address(), b"");
    assert!(refused.stderr.contains("server_suspended"), "{refused}");

    // What was told is told once; blocked it is as before.
    server.home.run(&["quarantine", "lift", "server", "notes"]).ok();
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["write"]);
    assert_eq!(call(&mut client, "read").as_deref(), CHANGED);
    assert_eq!(quarantined(&server), json!([]));
}

#[test]
fn a_suspension_ends_by_itself() {
    let rule = "\n[incidents.pin_changes]\naction = \"suspend\"\nexpiry = \"3s\"";
    let server = Changing::new(rule);
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["read", "write"]);
    server.list(&[&[("read", "Reads!"), ("write", "Writes a note.")]], "Be brief.");
    client.send_request("tools/list", &json!({}));
    assert!(!client.process().wait().success());
    client.log().wait_for(&["server_suspended"]);
    wait_until("it expires", || {
        server.home.connect_once("notes", serve.address(), b"").code == Some(0)
    });
    assert_eq!(quarantined(&server), json!([]));
    // The server is there again, and what it changed is blocked as before.
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["write"]);
    assert_eq!(call(&mut client, "read").as_deref(), CHANGED);
}
