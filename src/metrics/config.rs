// SPDX-License-Identifier: Apache-2.0
//! `metrics:` of the configuration.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// The longest path that a socket can have.
const LONGEST_SOCKET: usize = 107;

/// Where metrics go, as people write it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// A file that node_exporter's textfile collector reads. Its directory must be there.
    textfile: Option<PathBuf>,
    /// Where the courier answers GET /metrics: an address of the loopback interface, such as 127.0.0.1:9731, or
    /// unix:/PATH.
    listen: Option<String>,
}

/// Where metrics go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub textfile: Option<PathBuf>,
    pub listen: Option<Listen>,
}

/// Where metrics can be asked for; never beyond this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl MetricsSection {
    /// Returns what the section says; each fault goes to `fault`, as a message and what would be right.
    pub fn settings(self, mut fault: impl FnMut(String, &str)) -> Settings {
        if let Some(path) = &self.textfile {
            let shown = path.display();
            if !path.is_absolute() {
                fault(
                    format!("metrics.textfile: \"{shown}\" is not an absolute path"),
                    "write it in full, such as /var/lib/prometheus/node-exporter/hostwrit.prom",
                );
            } else if path.extension().is_none_or(|extension| extension != "prom") {
                fault(
                    format!("metrics.textfile: \"{shown}\" does not end in .prom"),
                    "name it hostwrit.prom: node_exporter passes over all other files",
                );
            }
        }
        let listen = self.listen.as_deref().and_then(|text| {
            Listen::parse(text)
                .map_err(|why| {
                    fault(
                        format!("metrics.listen: \"{text}\" {why}"),
                        "write an address of this host alone, such as 127.0.0.1:9731 or [::1]:9731, or unix:/PATH",
                    );
                })
                .ok()
        });
        Settings { textfile: self.textfile, listen }
    }
}

impl Listen {
    /// Reads an address; else returns what it is not.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.as_os_str().len() {
                _ if !path.is_absolute() || path.file_name().is_none() => Err("is not the absolute path of a socket"),
                length if length > LONGEST_SOCKET => Err("is too long for a socket"),
                _ => Ok(Self::Unix(path)),
            };
        }
        match text.parse::<SocketAddr>() {
            Err(_) => Err("is neither an address with a port nor unix:/PATH"),
            // Whoever reads metrics learns what is out of date here. A proxy can open them to a network, with a password.
            Ok(address) if !address.ip().is_loopback() => Err("can be reached by other machines"),
            Ok(address) if address.port() == 0 => Err("has no port"),
            Ok(address) => Ok(Self::Tcp(address)),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_can_be_listened_to() {
        for text in ["127.0.0.1:9731", "127.8.8.8:1", "[::1]:9731", "unix:/run/hostwrit-courier/metrics.sock"] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "0.0.0.0:9731",
            "[::]:9731",
            "10.0.0.1:9731",
            "[::ffff:10.0.0.1]:9731",
            "[::ffff:127.0.0.1]:9731",
            "[fe80::1]:9731",
            "127.0.0.1",
            "127.0.0.1:0",
            "localhost:9731",
            ":9731",
            "unix:metrics.sock",
            "unix:/",
            "unix:",
            "",
        ] {
            assert!(Listen::parse(text).is_err(), "{text}");
        }
        assert!(Listen::parse(&format!("unix:/{}", "a".repeat(LONGEST_SOCKET - 1))).is_ok());
        assert!(Listen::parse(&format!("unix:/{}", "a".repeat(LONGEST_SOCKET))).is_err());
    }

    #[test]
    fn every_fault_of_the_section_is_told() {
        let section =
            MetricsSection { textfile: Some("hostwrit.prom".into()), listen: Some("0.0.0.0:9731".to_owned()) };
        let mut faults = Vec::new();
        section.settings(|message, _| faults.push(message));
        assert_eq!(
            faults,
            [
                "metrics.textfile: \"hostwrit.prom\" is not an absolute path",
                "metrics.listen: \"0.0.0.0:9731\" can be reached by other machines"
            ]
        );
    }
}
