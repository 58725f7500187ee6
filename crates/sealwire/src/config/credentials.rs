//! Files that a service manager hands over, in a directory of its own without any below it.

use std::path::{Component, Path, PathBuf};

use super::SecureMcpConfig;

impl SecureMcpConfig {
    /// Takes certificates, keys and secrets of the home from `directory` where it has them: a file
    /// is called there as in the home, with `_` for each `/`
    /// (`certs_mcp-servers_time-key.pem`). So does systemd name what `LoadCredential=`
    /// finds in directories, and the home itself can be closed to the service.
    #[must_use]
    pub fn with_credentials(mut self, directory: &Path) -> Self {
        let home = self.home.clone();
        let take = |file: &mut PathBuf| {
            if let Some(name) = credential_name(&home, file) {
                let handed_over = directory.join(name);
                if handed_over.exists() {
                    *file = handed_over;
                }
            }
        };
        [&mut self.ca_cert, &mut self.client_cert, &mut self.client_key].into_iter().for_each(take);
        self.crl.iter_mut().for_each(take);
        for entry in self.servers.values_mut() {
            take(&mut entry.trusted_ca);
            if let Some((tls_cert, tls_key)) = entry.role.pair_mut() {
                take(tls_cert);
                take(tls_key);
            }
        }
        self.alerts.files_mut().into_iter().for_each(take);
        self
    }
}

/// The path below the home in one word.
fn credential_name(home: &Path, file: &Path) -> Option<String> {
    let parts = file.strip_prefix(home).ok()?.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("_"))
}

#[cfg(test)]
mod tests {
    use super::super::ServerRole;
    use super::*;

    #[test]
    fn files_of_the_home_are_taken_where_they_were_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["certs_ca_ca-cert.pem", "certs_mcp-servers_time-key.pem", "far.pem"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let text = "[mcp_servers.time]\ncommand = \"x\"\n\
                    [mcp_servers.far]\nendpoint = \"h:1\"\ntrusted_ca = \"/etc/far.pem\"\n";
        let config = SecureMcpConfig::parse(Path::new("/h"), text).unwrap();
        let config = config.with_credentials(dir.path());
        assert_eq!(config.ca_cert, dir.path().join("certs_ca_ca-cert.pem"));
        assert_eq!(config.client_key, Path::new("/h/certs/core/core-key.pem"));
        assert_eq!(config.servers["time"].trusted_ca, config.ca_cert);
        assert_eq!(config.servers["far"].trusted_ca, Path::new("/etc/far.pem"));
        let ServerRole::Serve { tls_cert, tls_key, .. } = &config.servers["time"].role else {
            panic!("role")
        };
        assert_eq!(tls_cert, Path::new("/h/certs/mcp-servers/time-cert.pem"));
        assert_eq!(*tls_key, dir.path().join("certs_mcp-servers_time-key.pem"));
    }

    #[test]
    fn a_path_cannot_leave_the_directory() {
        let home = Path::new("/h");
        assert_eq!(credential_name(home, Path::new("/h/a/b")).as_deref(), Some("a_b"));
        assert_eq!(credential_name(home, Path::new("/h/a/../b")), None);
        assert_eq!(credential_name(home, Path::new("/other/b")), None);
    }
}
