//! Which files a configuration depends on, for who watches them.

use std::path::PathBuf;

use sealwire_identity::TokenUri;
use sealwire_names::Kind;

use super::{SecureMcpConfig, include};

impl SecureMcpConfig {
    /// The files that it would be read from now: the main one, and those that `include`
    /// names at this moment, whether they are there or not.
    pub fn source_files(&self) -> Vec<PathBuf> {
        let home = self.layout();
        let included = self.include.iter().filter_map(|name| include::files(&home, name).ok());
        std::iter::once(self.file.clone()).chain(included.flatten()).collect()
    }

    /// The directories in which a new file could become part of it.
    pub fn include_dirs(&self) -> Vec<PathBuf> {
        let home = self.layout();
        self.include.iter().filter_map(|name| include::directory(&home, name)).collect()
    }

    /// Every certificate, key, secret and file of trust anchors that it names, those of its
    /// agents included.
    pub fn identity_files(&self) -> Vec<PathBuf> {
        let mut files =
            vec![self.ca_cert.clone(), self.client_cert.clone(), self.client_key.clone()];
        for agent in &self.agent_security.agents {
            let pair = self.layout().pair(Kind::Agent, agent.as_str());
            files.extend([pair.cert, pair.key]);
        }
        for entry in self.servers.values() {
            let Some((tls_cert, tls_key)) = entry.role.pair() else { continue };
            files.extend([entry.trusted_ca.clone(), tls_cert.clone(), tls_key.clone()]);
        }
        files.extend(self.crl.iter().cloned());
        files.extend(self.alerts.files());
        // A key in a token is no file.
        files.retain(|file| !TokenUri::is_in(file));
        files.sort();
        files.dedup();
        files
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_there_once() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        let text = "include = [\"more.toml\", \"servers.d/*.toml\"]\n\
            [agent_security]\nagents = [\"Ann\"]\n\
            [mcp_servers.a]\ncommand = \"a\"\n\
            [mcp_servers.b]\nendpoint = \"b.example:1\"\ntrusted_ca = \"b.pem\"\n";
        std::fs::create_dir(root.join("servers.d")).unwrap();
        for file in ["servers.d/y.toml", "servers.d/x.toml", "servers.d/not"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let config = SecureMcpConfig::parse(&root, text).unwrap();
        let below = |files: Vec<PathBuf>| -> Vec<String> {
            let below = |file: &PathBuf| Some(file.strip_prefix(&root).ok()?.to_str()?.to_owned());
            files.iter().filter_map(below).collect()
        };
        assert_eq!(
            below(config.source_files()),
            ["sealwire.toml", "more.toml", "servers.d/x.toml", "servers.d/y.toml"]
        );
        assert_eq!(below(config.include_dirs()), ["", "servers.d"]);
        assert_eq!(
            below(config.identity_files()),
            [
                "b.pem",
                "certs/agents/Ann-cert.pem",
                "certs/agents/Ann-key.pem",
                "certs/ca/ca-cert.pem",
                "certs/core/core-cert.pem",
                "certs/core/core-key.pem",
                "certs/mcp-servers/a-cert.pem",
                "certs/mcp-servers/a-key.pem",
            ]
        );
    }

    #[test]
    fn a_pattern_may_lead_anywhere() {
        let config = |include: &str| {
            let text = format!("include = \"{include}\"\n");
            SecureMcpConfig::parse(Path::new("/h"), &text).unwrap()
        };
        assert_eq!(config("/etc/x/*.toml").include_dirs(), [Path::new("/etc/x/")]);
        assert_eq!(config("/etc/*/a.toml").include_dirs(), [Path::new("/etc/")]);
        assert_eq!(config("*.toml").include_dirs(), [Path::new("/h")]);
    }
}
