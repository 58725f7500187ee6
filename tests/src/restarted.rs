//! A serving side that is stopped and started again where it was.

use std::fs;
use std::net::SocketAddr;

use sealwire_testkit::{Connect, Home, Serve, server_table};
use serde_json::Value;

/// A home, and a `serve` that keeps its address from one run to the next.
pub struct Restarted {
    /// The home.
    pub home: Home,
    serve: Option<Serve>,
    address: SocketAddr,
}

impl Restarted {
    /// Serves what `table` says.
    pub fn new(home: Home, table: &str) -> Self {
        home.configure(table);
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let address = serve.address();
        let config = fs::read_to_string(home.file("sealwire.toml")).expect("configured");
        home.write("sealwire.toml", config.replace("127.0.0.1:0", &address.to_string()));
        Self { home, serve: Some(serve), address }
    }

    /// A client of `server`; `extra` as in [`Home::connect_command`].
    pub fn client(&self, server: &str, extra: &str) -> Connect {
        Connect::spawn(self.home.connect_command(server, self.address, extra))
    }

    /// One that also logs what is no warning.
    pub fn talkative_client(&self, server: &str, extra: &str) -> Connect {
        let mut command = self.home.connect_command(server, self.address, extra);
        command.args(["--log-level", "info"]);
        Connect::spawn(command)
    }

    /// The running `serve`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn serve(&mut self) -> &mut Serve {
        self.serve.as_mut().expect("it runs")
    }

    /// SIGKILL: no word to anybody.
    pub fn kill(&mut self) {
        self.serve = None;
    }

    /// SIGTERM, and its end.
    ///
    /// # Panics
    /// If it does not run, or does not end well.
    pub fn stop(&mut self) {
        let status = self.serve.take().expect("it runs").stop();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Starts it again, where it was.
    pub fn start(&mut self) {
        self.serve = Some(Serve::start(&self.home));
    }

    /// What the server of [`scripted`] got, in all its runs.
    pub fn recorded(&self) -> String {
        fs::read_to_string(self.home.file("record")).unwrap_or_default()
    }
}

/// The word in an error of sealwire's own; empty for any other answer.
pub fn word(answer: &Value) -> &str {
    answer["error"]["data"]["sealwire"].as_str().unwrap_or("")
}

/// A server that writes down what it gets, opens with what the file `opening` says (and not
/// at all without it), answers calls of `later`, and no others. What the file `first` holds
/// it says before anything else.
const SCRIPT: &str = r#"
[ ! -e first ] || cat first
while read -r line; do
    echo "$line" >>record
    id=${line#*'"id":'}
    case $line in
    *'"initialize"'*) [ -e opening ] && result=$(cat opening) || continue ;;
    *'"later"'*) result='{}' ;;
    *) continue ;;
    esac
    echo '{"jsonrpc":"2.0","id":'"${id%%,*}"',"result":'"$result"'}'
done"#;

/// What the server of [`scripted`] says of itself.
pub const OPENING: &str = r#"{"protocolVersion":"2025-11-25","serverInfo":{"name":"x","version":"1"},"capabilities":{"tools":{"listChanged":true},"resources":{}}}"#;

/// A server that does what some files say, and a client of it; `extra` as in
/// [`Home::connect_command`].
pub fn scripted(extra: &str) -> (Restarted, Connect) {
    let home = Home::initialized();
    let script = home.script("server.sh", SCRIPT);
    home.write("opening", OPENING);
    let table = server_table("scripted", "sh", &[script.to_str().expect("UTF-8")]);
    let serving = Restarted::new(home, &format!("{table}cwd = \".\"\n"));
    let client = serving.client("scripted", extra);
    (serving, client)
}
