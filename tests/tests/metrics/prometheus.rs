//! Debian's Prometheus, and the dashboard.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use sealwire_testkit::{Home, Process, tool, wait_until};
use serde_json::Value;

use crate::attacks::Scene;
use crate::curl;

/// A running Prometheus that scrapes one address each second.
struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    fn start(home: &Home, admin: SocketAddr) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: sealwire\n    \
             static_configs: [{{ targets: [\"{admin}\"] }}]\n"
        );
        let config = home.write("prometheus.yml", config);
        let mut command = Command::new(tool("prometheus/usr/bin/prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", home.file("prometheus").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let process = Process::spawn({
            command.stdin(Stdio::null());
            command
        });
        let line = process.log().wait_for(&["\"Listening on\"", "\"address\""]);
        process.log().wait_for(&["Server is ready to receive web requests"]);
        let line: Value = serde_json::from_str(&line).unwrap();
        let url = format!("http://{}", line["address"].as_str().unwrap());
        Self { url, _process: process }
    }

    fn ask(&self, path: &str, parameters: &[&str]) -> Value {
        let mut options = vec!["--get".to_owned(), format!("{}{path}", self.url)];
        for parameter in parameters {
            options.extend(["--data-urlencode".to_owned(), (*parameter).to_owned()]);
        }
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let answer: Value = serde_json::from_str(&curl(&options)).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The values that a query has now.
    fn query(&self, query: &str) -> Vec<f64> {
        let data = self.ask("/api/v1/query", &[&format!("query={query}")]);
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        data["result"].as_array().unwrap().iter().map(value).collect()
    }

    /// How often it has scraped, and how the last time was.
    fn scrapes(&self) -> usize {
        let data = self.ask("/api/v1/query", &["query=count_over_time(up[10m])"]);
        let targets = self.ask("/api/v1/targets", &[]);
        let target = &targets["activeTargets"][0];
        let error = target["lastError"].as_str().unwrap_or_default();
        assert_eq!(error, "", "{target}");
        let count = data["result"][0]["value"][1].as_str().unwrap_or("0");
        count.parse().unwrap()
    }
}

/// The title of each panel of the dashboard, with its queries.
fn panels() -> Vec<(String, Vec<String>)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards/grafana.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = |panel: &Value| {
        let targets = panel["targets"].as_array()?.iter();
        let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
        Some((panel["title"].as_str().unwrap().to_owned(), queries.collect()))
    };
    panels.filter_map(queries).collect()
}

/// As Grafana does with all of each variable, in the last ten minutes.
fn filled_in(query: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "10m")
        .replace("$__range", "10m")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$server", ".*");
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// Those in which an attack must be seen, and not just nothing.
const TELLING: &[&str] = &[
    "mTLS success rate",
    "mTLS failures",
    "Days to certificate expiry",
    "TLS connections and reconnects",
    "Connections refused",
    "Signature failures",
    "Limits exceeded",
    "Replays detected",
    "Incidents in the time shown",
    "Quarantined",
    "Decisions",
    "Denied",
    "Call latency",
    "Calls by result",
    "Ready",
];

#[test]
fn each_panel_of_the_dashboard_shows_the_attack() {
    let scene = Scene::new();
    let prometheus = Prometheus::start(&scene.home, scene.admin);
    // What is before and after is what makes a rate.
    wait_until("it has been scraped", || prometheus.scrapes() >= 1);
    scene.play();
    let before = prometheus.scrapes();
    wait_until("it has been scraped afterwards", || prometheus.scrapes() >= before + 2);
    let mut panels = panels();
    assert!(panels.len() >= 20, "{panels:?}");
    for title in TELLING {
        assert!(panels.iter().any(|(of, _)| of == title), "no panel {title:?}");
    }
    panels.sort();
    for (title, queries) in panels {
        for query in queries {
            let values = prometheus.query(&filled_in(&query));
            assert!(!values.is_empty(), "{title:?} shows nothing: {query}");
            if TELLING.contains(&title.as_str()) {
                assert!(values.iter().any(|value| *value > 0.0), "{title:?}: {values:?} {query}");
            }
        }
    }
}

/// Neither names nor forms that Prometheus's own tool finds fault with.
#[test]
fn the_dashboard_and_the_alerts_of_the_manual_are_queries() {
    let scene = Scene::new();
    let prometheus = Prometheus::start(&scene.home, scene.admin);
    wait_until("it has been scraped", || prometheus.scrapes() >= 1);
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let manual = fs::read_to_string(manual).unwrap();
    let (_, alerts) = manual.split_once("## What to be woken for").unwrap();
    let (_, alerts) = alerts.split_once("```text\n").unwrap();
    let (alerts, _) = alerts.split_once("```").unwrap();
    let alerts: Vec<_> = alerts.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        let values = prometheus.query(alert);
        assert!(values.is_empty(), "nothing is wrong, and yet: {alert} {values:?}");
    }
}
