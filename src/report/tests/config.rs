// SPDX-License-Identifier: Apache-2.0
//! What is written wrongly is found when the configuration is read, and said without a secret.

use super::*;

#[track_caller]
fn assert_faults(reports: &str, wanted: &[&str]) {
    let faults = outlets(reports).unwrap_err();
    assert_eq!(faults, wanted, "{reports}");
}

#[test]
fn every_key_is_understood() {
    let outlets = outlets(
        "- {name: chat, webhook: {secret_url: {credential: chat}, secret: {credential: chat-key}}, only: [alarm]}\n\
         - {loki: {url: 'https://loki.example.org/gateway/', labels: {env: prod}, tenant: ops},\n   \
            token: {credential: loki, user: hosts}, ca: /etc/ssl/ca.pem, proxy: 'http://proxy:3128'}\n\
         - {splunk: {url: 'https://splunk.example.org:8088', index: infra, sourcetype: writ}, token: {credential: hec},\n   \
            repeat_after: 1d, timeout: 500ms}\n\
         - {elastic: {url: 'https://es.example.org:9200', index: logs-infra}, proxy: none}\n\
         - {otlp: {url: 'http://127.0.0.1:4318'}, token: {credential: otlp, header: api-key}}\n",
    )
    .unwrap();
    let names: Vec<&str> = outlets.iter().map(|outlet| outlet.name.as_str()).collect();
    assert_eq!(names, ["chat", "loki", "splunk", "elastic", "otlp"]);
    assert_eq!(outlets[0].only, [Kind::Alarm].into());
    assert!(!outlets[1].only.contains(&Kind::Audit) && outlets[1].only.len() == 8);
    assert_eq!(outlets[1].repeat_after, Duration::from_secs(6 * 60 * 60));
    assert_eq!(outlets[2].timeout, Duration::from_millis(500));
}

#[test]
fn what_makes_no_sense_is_a_fault_that_says_what_would() {
    assert_faults(
        "- {only: [drift]}\n- {otlp: {url: 'https://a/'}, loki: {url: 'https://a/'}}\n- {webhook: {}}\n",
        &[
            "reports, number 1: it names 0 receivers; write one of webhook:, loki:, splunk:, elastic: and otlp:; a second \
             receiver is a second item",
            "reports, number 2: it names 2 receivers; write one of webhook:, loki:, splunk:, elastic: and otlp:; a second \
             receiver is a second item",
            "reports, number 3: a webhook has one URL; write either url: or secret_url:",
        ],
    );
    assert_faults(
        "- {otlp: {url: 'https://a/'}, only: [], timeout: 1h, repeat_after: often, ca: ca.pem, proxy: 'proxy'}\n\
         - {otlp: {url: 'https://a/'}, timeout: 1ms}\n",
        &[
            "reports, number 1: ca: \"ca.pem\" is not an absolute path; write it in full, such as /etc/ssl/certs/ca.pem",
            "reports, number 1: proxy is not one of a web server; write http://HOST:PORT, or none",
            "reports, number 1: only is empty; name at least one kind, or leave it out",
            "reports, number 1: repeat_after: \"often\" is not a duration: expected number at 0; write a number and a unit: \
             10s, 6h",
            "reports, number 1: timeout: 1h is too long; write 2m at the most",
            "reports, number 2: timeout is too short; write 100ms at the least",
            "reports, number 2: there is another one called otlp; give it a name of its own: name: NAME",
        ],
    );
    assert_faults(
        "- {name: '../x', loki: {url: 'https://a/', labels: {1st: a}}, token: {credential: ../shadow}}\n\
         - {elastic: {url: 'https://a/', index: '../_all'}, token: {credential: a, user: 'a:b'}}\n\
         - {name: b, otlp: {url: 'https://a/'}, token: {credential: a, user: a, header: b}}\n\
         - {name: c, otlp: {url: 'https://a/'}, token: {credential: a, header: 'a b'}}\n",
        &[
            "reports, number 1: \"1st\" cannot be a label; labels have letters, digits and _, and do not begin with a digit",
            "reports, number 1: \"../x\" cannot be a name; names have lower-case letters, digits and -, 40 at the most",
            "reports, number 1: \"../shadow\" cannot be the name of a credential; write the name that LoadCredential= gives \
             it, without a path",
            "reports, number 2: \"../_all\" cannot be an index; indexes have lower-case letters, digits, - _ and ., and begin \
             with a letter or digit",
            "reports, number 2: token: \"a:b\" cannot be a user; it is not empty and has no colon and no control characters",
            "reports, number 3: token has both user and header; write one of them",
            "reports, number 4: token: \"a b\" cannot be a header; write it as the receiver's documentation has it, such as \
             api-key",
        ],
    );
}

#[test]
fn a_secret_in_a_url_or_on_its_way_in_the_clear_is_a_fault_that_does_not_repeat_it() {
    assert_faults(
        "- {name: a, loki: {url: 'https://user:s3cr3t@loki.example.org/'}}\n\
         - {name: b, loki: {url: 'http://loki.example.org/'}, token: {credential: loki}}\n\
         - {name: c, webhook: {url: 'http://hooks.example.org/', secret: {credential: key}}}\n\
         - {name: d, loki: {url: 'https://loki.example.org/?token=s3cr3t'}}\n\
         - {name: e, loki: {url: 's3cr3t'}}\n\
         - {name: f, loki: {url: 'https://loki.example.org/'}, proxy: 'http://u:s3cr3t@proxy:3128'}\n",
        &[
            "reports, number 1: url has a user or a password in it; use token: {credential: NAME, user: USER}",
            "reports, number 2: url would send a secret in the clear; write https://",
            "reports, number 3: url would send a secret in the clear; write https://",
            "reports, number 4: url has a question mark; write the base URL; what follows it is known",
            "reports, number 5: url is not one of a web server; write https://HOST/",
            "reports, number 6: proxy has a user or a password in it; write http://HOST:PORT, or none",
        ],
    );
    // Without a secret, and to this machine, plain HTTP is somebody's choice.
    outlets(
        "- {name: a, loki: {url: 'http://loki.example.org/'}}\n\
         - {name: b, loki: {url: 'http://[::1]:3100/'}, token: {credential: loki}}\n\
         - {name: c, loki: {url: 'http://localhost:3100/'}, token: {credential: loki}}\n",
    )
    .unwrap();
}

#[test]
fn unknown_kinds_and_keys_are_faults_with_their_place() {
    let faults = outlets("- {otlp: {url: 'https://a/', key: x}, only: [drifts]}\n").unwrap_err();
    assert!(faults.len() == 2 && faults.iter().all(|fault| fault.starts_with("config.yaml:1:")), "{faults:?}");
}
