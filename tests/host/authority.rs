// SPDX-License-Identifier: Apache-2.0
//! A certificate authority that nobody knows but those who are told, and the certificate of its one server.

use std::path::PathBuf;

use crate::fabric::ADDRESS;
use crate::lab::Lab;

pub struct Authority {
    /// The certificate of the authority.
    pub certificate: PathBuf,
    /// That of the server at the fabric's address, and its key.
    pub server: PathBuf,
    pub server_key: PathBuf,
}

impl Authority {
    pub fn new(lab: &Lab<'_>) -> Self {
        let file = |name: &str| lab.dir().join(name);
        let made = Self { certificate: file("ca.pem"), server: file("server.pem"), server_key: file("server.key") };
        let request = |subject: &str, certificate: &PathBuf, key: &PathBuf, options: &[&str]| {
            let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
            let mut command: Vec<&str> =
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256".split(' ').collect();
            command.extend(["-nodes", "-days", "2", "-subj", subject, "-out", &certificate, "-keyout", &key]);
            command.extend(options);
            lab.run_in_fabric(&command).ok();
        };
        let key = file("ca.key");
        request("/CN=Authority of the test", &made.certificate, &key, &[]);
        let (ca, ca_key) = (made.certificate.display().to_string(), key.display().to_string());
        let name = format!("subjectAltName=IP:{ADDRESS}");
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
        request("/CN=git", &made.server, &made.server_key, &by);
        made
    }
}
