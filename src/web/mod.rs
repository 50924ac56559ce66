// SPDX-License-Identifier: Apache-2.0
//! What all who speak HTTP here have in common: what an address is, and OpenSSL with the certificates of the system.

use std::net::IpAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;

/// Why a text is no address of a web server. It does not repeat the text, in which a password may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    #[error("is not a URL")]
    Url,
    #[error("is not one of a web server")]
    Server,
    #[error("has a user or a password in it")]
    Password,
}

/// Reads the address of a web server.
///
/// # Errors
/// It is none, or has a user or a password in it, which would end up in logs.
pub fn address(url: &str) -> Result<Uri, NotAnAddress> {
    let uri: Uri = url.parse().map_err(|_| NotAnAddress::Url)?;
    let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
    let authority = uri.authority().filter(|authority| is_web && !authority.host().is_empty());
    match authority {
        None => Err(NotAnAddress::Server),
        Some(authority) if authority.as_str().contains('@') => Err(NotAnAddress::Password),
        Some(_) => Ok(uri),
    }
}

/// Whether what is sent to this address can be read by nobody on the way: it is encrypted, or stays on this machine.
pub fn is_private(address: &Uri) -> bool {
    address.scheme_str() == Some("https") || is_this_machine(address)
}

/// Whether what is sent to this address stays on this machine.
pub fn is_this_machine(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || number.is_ok_and(|number| number.is_loopback())
}

/// Begins an agent whose requests take no longer than `time` and follow no redirect: it may lead to where a token must not go.
pub fn agent(time: Duration, roots: RootCerts) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .tls_config(TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build())
        .timeout_global(Some(time))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("hostwrit/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_web_server_and_holds_no_password() {
        for (url, why) in [
            ("https://a.example.org", None),
            ("http://127.0.0.1:9090/p", None),
            ("", Some(NotAnAddress::Url)),
            ("https://a b", Some(NotAnAddress::Url)),
            ("a.example.org", Some(NotAnAddress::Server)),
            ("ftp://a.example.org", Some(NotAnAddress::Server)),
            ("https://me:pass@a.example.org", Some(NotAnAddress::Password)),
        ] {
            assert_eq!(address(url).err(), why, "{url}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        let is_private = |url: &str| is_private(&address(url).unwrap());
        assert!(
            ["https://a.example.org", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9"]
                .into_iter()
                .all(is_private)
        );
        assert!(
            !["http://a.example.org", "http://localhost.example.org", "http://10.0.0.1"].into_iter().any(is_private)
        );
    }
}
