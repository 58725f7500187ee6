//! That such a server runs is seen by whoever looks.

use super::*;

#[test]
fn status_and_metrics_know_of_what_connect_has_started() {
    let far = echo_table().replace("echo]", "far]");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let home = Home::with_config(&format!("{admin}{}\n{far}", local("default_level = 1")));
    let serve = Serve::start(&home);
    let mut client = connect(&home);
    client.initialize();
    call_echo(&mut client, "hello");
    let status: Value = serde_json::from_str(&home.run(&["status", "--json"]).ok().stdout).unwrap();
    let open = &status["local_conversations"];
    assert_eq!(open[0]["server"], "echo", "{status}");
    assert_eq!(open[0]["process"], json!(client.process().id()), "{status}");
    let shown = home.run(&["status"]).ok().stdout;
    assert!(shown.contains("started here by connect: echo, 1 open"), "{shown}");
    let line = serve.log().wait_for(&["answering health checks", "address="]);
    let address = line.split_once("address=").unwrap().1.trim().trim_matches('"').to_owned();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]);
    curl.arg(format!("http://{address}/metrics"));
    let metrics = run(curl, b"").ok().stdout;
    let value = |series: &str| {
        let line = metrics.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("{series} is missing:\n{metrics}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(value("sealwire_conversations{server=\"echo\"}"), "1");
    assert_eq!(value("sealwire_calls_total{server=\"echo\",result=\"result\"}"), "2");
    assert!(client.finish().0.success());
    let status = home.run(&["status"]).ok().stdout;
    assert!(!status.contains("started here by connect"), "{status}");
}

#[test]
fn status_knows_of_it_without_a_serve() {
    let home = home(&local("default_level = 1"));
    let mut client = connect(&home);
    client.initialize();
    let status = home.run(&["status"]).ok().stdout;
    assert!(status.contains("started here by connect: echo, 1 open"), "{status}");
    let json: Value = serde_json::from_str(&home.run(&["status", "--json"]).ok().stdout).unwrap();
    assert_eq!(json["local_conversations"][0]["server"], "echo", "{json}");
    assert!(client.finish().0.success());
}
