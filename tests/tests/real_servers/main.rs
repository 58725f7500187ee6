//! The MCP servers that people use, all of them behind one `serve`: each begins, lists
//! and answers calls through `connect` as it does without, and the table of them in
//! docs/compatibility.md is what was found.

mod catalog;
mod conversation;
mod place;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sealwire_testkit::{Home, Serve, quoted, server_table, wait_until};
use sealwire_tests::compatibility;

use catalog::{Server, servers};
use conversation::{Conversation, NEWEST};
use place::Place;

/// As many servers at a time: they wait more than they compute.
const AT_A_TIME: usize = 3;

/// What all of them share.
struct Setting {
    home: Home,
    place: Place,
    serve: Serve,
    names: Vec<&'static str>,
    /// Bytes of the longest answer that was compared.
    longest: AtomicUsize,
}

#[test]
fn servers_people_use() {
    let home = Home::initialized();
    let place = Place::new(&home);
    let servers = servers(&place);
    home.configure(&config(&servers, &place));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let names = servers.iter().map(|server| server.name).collect();
    let setting = Setting { home, place, serve, names, longest: AtomicUsize::new(0) };

    let failed = Mutex::new(Vec::new());
    let next = Mutex::new(servers.iter());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(server) = next.lock().unwrap().next() else { return };
                    if !setting.holds(server) {
                        failed.lock().unwrap().push(server.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these servers failed, see above: {failed:?}");
    // One that travels in several pieces is among them.
    let longest = setting.longest.into_inner();
    assert!(longest > 100_000, "the longest list has {longest} bytes");

    assert!(setting.serve.stop().success());
    let env = setting.place.env();
    wait_until("every process that the servers started has ended", || processes(&env).is_empty());
}

impl Setting {
    /// Whether a server passes, on a thread of its name: what it panics with says which.
    fn holds(&self, server: &Server) -> bool {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(server.name.to_owned());
            let thread = thread.spawn_scoped(scope, || self.examine(server)).expect("a thread");
            thread.join().is_ok()
        })
    }

    fn examine(&self, server: &Server) {
        let mut direct = Conversation::open(directly(server, &self.place));
        let mut sealed = Conversation::open(self.connect(server));
        assert_eq!(sealed.revision, direct.revision);
        assert_same("the answer that opens", &sealed.opening, &direct.opening);

        let mut counts = BTreeMap::new();
        for what in ["tools", "prompts", "resources"] {
            assert_eq!(sealed.offers(what), direct.offers(what), "{what}");
            if !direct.offers(what) {
                continue;
            }
            let (count, pages) = sealed.list(what);
            let (direct_count, direct_pages) = direct.list(what);
            assert_eq!(count, direct_count, "{what}");
            for (page, direct_page) in pages.iter().zip(&direct_pages) {
                assert_same(what, page, direct_page);
                self.longest.fetch_max(page.len(), Ordering::Relaxed);
            }
            counts.insert(what, count);
        }
        drop(direct);
        (server.call)(&mut sealed, &self.place);
        let mut revisions = sealed.revision.clone();
        let called = sealed.called.join(", ");
        sealed.close();

        // What speaks the newest revision speaks an older one with those that know no newer.
        if revisions == NEWEST {
            let mut sealed = Conversation::open_with_initialize(self.connect(server));
            assert_eq!(sealed.list("tools").0, counts["tools"], "tools, after initialize");
            (server.call)(&mut sealed, &self.place);
            revisions = format!("{revisions}, {}", sealed.revision);
            sealed.close();
        }

        let count = |what| counts.get(what).map_or_else(|| "–".to_owned(), ToString::to_string);
        let package = format!("`{}` {}", server.package.name, server.package.version);
        let (tools, prompts, resources) = (count("tools"), count("prompts"), count("resources"));
        let cells = [server.name, &package, &revisions, &tools, &prompts, &resources, &called];
        compatibility::row("servers", &self.names, &cells);
    }

    fn connect(&self, server: &Server) -> Command {
        self.home.connect_command(server.name, self.serve.address(), "")
    }
}

/// The server itself, in the environment that `serve` gives it.
fn directly(server: &Server, place: &Place) -> Command {
    let mut command = Command::new(&server.program);
    command.args(&server.args).current_dir(place.root()).env_clear();
    for inherited in ["LANG", "PATH", "TERM", "TZ", "USER"] {
        command.envs(std::env::var_os(inherited).map(|value| (inherited, value)));
    }
    command.envs(place.env()).envs(server.env.iter().cloned());
    command
}

fn config(servers: &[Server], place: &Place) -> String {
    let mut config =
        format!("[defaults]\ncwd = {}\nenv = {}\n", quoted(place.root()), table(&place.env()));
    for server in servers {
        let args: Vec<_> = server.args.iter().map(String::as_str).collect();
        config += &server_table(server.name, &server.program, &args);
        config += &format!("env = {}\n", table(&server.env));
    }
    config
}

fn table(variables: &[(&str, String)]) -> String {
    let pairs: Vec<_> =
        variables.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// `assert_eq` for what may have a hundred thousand bytes.
#[track_caller]
fn assert_same(what: &str, sealed: &[u8], direct: &[u8]) {
    let same = sealed.iter().zip(direct).take_while(|(one, other)| one == other).count();
    let from = |bytes: &[u8]| {
        let rest = &bytes[same.saturating_sub(40)..];
        String::from_utf8_lossy(&rest[..rest.len().min(120)]).into_owned()
    };
    assert!(
        sealed == direct,
        "{what}: other bytes through sealwire from byte {same}:\n- {}\n+ {}",
        from(direct),
        from(sealed)
    );
}

/// Ids of the processes that run in this environment.
fn processes(env: &[(&str, String)]) -> Vec<String> {
    let wanted: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let has = |environ: Vec<u8>| {
        let text = String::from_utf8_lossy(&environ).into_owned();
        let has = |wanted: &String| text.split('\0').any(|variable| variable == wanted);
        wanted.iter().all(has)
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter(|entry| std::fs::read(entry.path().join("environ")).is_ok_and(has))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
