//! What can be said of a configuration that is not valid: for a diagnosis, never to act on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::Problems;
use super::typed::Typed;
use super::{ConfigError, Problem, SecureMcpConfig, check, home_at, include};
use crate::home::Home;

/// A configuration as far as it can be understood, and all that is wrong with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examined {
    /// The configuration. With problems, it lacks the servers they concern; `None` if they
    /// concern more than single servers, as then nothing else may be what it seems.
    pub config: Option<SecureMcpConfig>,
    /// What is wrong, in file order; empty exactly if the configuration is valid.
    pub problems: Vec<Problem>,
    /// Patterns of `include` that match no file: allowed, as a directory may be filled later.
    pub without_match: Vec<Problem>,
    /// The file and line of each server's table.
    pub places: BTreeMap<String, (PathBuf, usize)>,
}

impl SecureMcpConfig {
    /// Reads a configuration like [`SecureMcpConfig::load_file`], and makes what can be made
    /// of one that is not valid.
    ///
    /// # Errors
    /// If the home cannot be, or the file cannot be read at all.
    pub fn examine(home: &Path, file: &Path) -> Result<Examined, ConfigError> {
        let home = home_at(home)?;
        let source = include::read_main(file)?;
        let mut problems = Problems::default();
        let Some(mut typed) = Typed::read(&source, &mut problems) else {
            let (without_match, places) = (Vec::new(), BTreeMap::new());
            let problems = problems.sorted();
            return Ok(Examined { config: None, problems, without_match, places });
        };
        include::load(&home, &mut typed, &mut problems);
        let places = typed
            .servers
            .iter()
            .map(|(name, _)| (name.value.clone(), (name.at.file().to_owned(), name.at.line())));
        let places = places.collect();
        let mut problems = problems.sorted();
        let mut of_rules = Problems::default();
        let config = check::check(&home, &typed, &mut of_rules);
        // As when it is loaded: a value that could not be read counts as absent, and what
        // the rules say of that is of no interest.
        if problems.is_empty() {
            problems = of_rules.sorted();
        }
        let config = config.and_then(|config| without(config, file, &problems));
        Ok(Examined { config, problems, without_match: without_match(&home, &typed), places })
    }
}

fn without_match(home: &Home, typed: &Typed) -> Vec<Problem> {
    let Some(patterns) = &typed.include else { return Vec::new() };
    let has_none = |pattern: &&String| {
        // What is wrong with a pattern has been said.
        let mut wrong = Problems::default();
        let found = include::matches(home, patterns, pattern, &mut wrong);
        found.is_empty() && wrong.sorted().is_empty()
    };
    let problem = |pattern: &String| {
        let remedy = "correct the pattern, or leave it out until there is a file for it";
        patterns.at.problem(format!("no file matches {pattern:?}"), remedy)
    };
    patterns.value.iter().filter(has_none).map(problem).collect()
}

/// The configuration without the servers that `problems` concern; `None` if they concern
/// anything else. Included files hold servers and nothing else.
fn without(
    mut config: SecureMcpConfig,
    main: &Path,
    problems: &[Problem],
) -> Option<SecureMcpConfig> {
    for problem in problems {
        match table_of(&problem.key) {
            Some(name) => drop(config.servers.remove(name)),
            None if problem.file != main => {}
            None => return None,
        }
    }
    Some(config)
}

/// The server that a key such as `[mcp_servers.github] command` is of.
fn table_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("[mcp_servers.")?;
    // The name itself may hold a dot, and a bracket where it is quoted.
    let end = rest.find("] ").or_else(|| rest.strip_suffix(']').map(str::len))?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(text: &str) -> Examined {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("sealwire.toml");
        std::fs::write(&file, text).unwrap();
        SecureMcpConfig::examine(home.path(), &file).unwrap()
    }

    const GOOD: &str = "[mcp_servers.good]\nendpoint = \"a.example:1\"\n";

    #[test]
    fn a_valid_configuration_is_the_loaded_one() {
        let examined = examined(GOOD);
        assert_eq!(examined.problems, []);
        assert_eq!(examined.without_match, []);
        let (file, line) = &examined.places["good"];
        assert_eq!((file.ends_with("sealwire.toml"), *line), (true, 1));
        assert!(examined.config.unwrap().servers.contains_key("good"));
    }

    #[test]
    fn a_server_that_is_not_understood_does_not_hide_the_others() {
        for bad in [
            "[mcp_servers.bad]\nendpont = \"a.example:1\"\n",
            "[mcp_servers.bad]\ncommand = 7\n",
            "[mcp_servers.bad]\ncommand = \"x\"\nendpoint = \"a.example:1\"\n",
            "[mcp_servers.\"b.ad\"]\ncommand = \"x\"\ntls_cert = \"x\"\n",
        ] {
            let examined = examined(&format!("{bad}{GOOD}"));
            assert_eq!(examined.problems.len(), 1, "{bad}: {:#?}", examined.problems);
            let servers = examined.config.unwrap().servers;
            assert_eq!(servers.keys().collect::<Vec<_>>(), ["good"], "{bad}");
        }
    }

    #[test]
    fn a_pattern_without_match_is_no_problem_and_is_told() {
        let examined = examined(&format!("include = \"servers.d/*.toml\"\n{GOOD}"));
        assert_eq!(examined.problems, []);
        assert_eq!(examined.without_match.len(), 1);
    }

    #[test]
    fn what_is_not_of_one_server_may_concern_all() {
        for bad in [
            "[securty]\n",
            "[security]\ntrust_domain = 7\n",
            "[listen\n",
            "include = 1\n",
            "mcp_servers.x = 7\n",
        ] {
            let examined = examined(&format!("{bad}{GOOD}"));
            assert!(!examined.problems.is_empty(), "{bad}");
            assert!(examined.config.is_none(), "{bad}");
        }
    }
}
