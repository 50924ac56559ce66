// SPDX-License-Identifier: Apache-2.0
//! Each receiver is spoken to in its own words: line, headers and body of the request, to the byte.

use serde_json::{Value, json};

use super::*;
use crate::model::ObjectId;
use crate::report::tests::server::{Act, Received};

/// An entry with all there is to one.
fn full() -> Entry {
    Entry {
        commit: Some("3f2c9e".to_owned()),
        code: Some("step-failed".to_owned()),
        object: Some(ObjectId::new("user", "deploy")),
        fields: [
            ("nothing".to_owned(), Value::Null),
            ("steps".to_owned(), json!(3)),
            ("who".to_owned(), json!({"names": ["alice", true, 0.5]})),
        ]
        .into(),
        ..entry(Kind::Failed, "cannot lock \"deploy\"\nas asked")
    }
}

/// Ships two entries and returns the one request; `{URL}` in `reports` is the server.
fn shipped(reports: &str, answer: Act) -> (Received, Post) {
    let server = Server::scripted(&[answer]);
    let mut post = Post::of(&reports.replace("{URL}", &server.url()));
    post.credential("token", "s3cr3t\n");
    post.spool.push_all(&[full(), entry(Kind::Drift, "put back")]).unwrap();
    let shipped = post.ship();
    assert_eq!((shipped.sent(), shipped.waiting(), shipped.next), (2, 0, None), "{shipped:?}");
    (server.the_request(), post)
}

/// Returns the ids that the webhook form of the entries has, by way of any JSON text that has them.
fn ids(request: &Received) -> (String, String) {
    let text = String::from_utf8(request.body.clone()).unwrap();
    let id = |end: &str| {
        let found = text.match_indices("web1-").map(|(at, _)| text[at..].split(['"', '\\']).next().unwrap());
        found.filter(|id| id.ends_with(end)).map(str::to_owned).next().unwrap()
    };
    (id("-1"), id("-2"))
}

/// Returns what an entry is to a webhook; other receivers get it as it is, too.
fn plain(ids: &(String, String)) -> [Value; 2] {
    [
        json!({
            "id": ids.0, "time": "2026-03-01T11:59:00Z", "host": "web1", "fleet": "infra.example.org", "kind": "failed",
            "severity": "error", "commit": "3f2c9e", "code": "step-failed", "object": "user:deploy",
            "message": "cannot lock \"deploy\"\nas asked",
            "fields": {"nothing": null, "steps": 3, "who": {"names": ["alice", true, 0.5]}},
        }),
        json!({
            "id": ids.1, "time": "2026-03-01T11:59:00Z", "host": "web1", "fleet": "infra.example.org", "kind": "drift",
            "severity": "warning", "message": "put back",
        }),
    ]
}

fn lines(request: &Received) -> Vec<Value> {
    let text = std::str::from_utf8(&request.body).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_webhook_gets_an_array_and_a_signature_that_binds_it_to_the_time() {
    let (request, _post) =
        shipped("- {webhook: {url: '{URL}/hook?room=7', secret: {credential: token}}, proxy: none}", Act::status(204));
    assert_eq!(request.line, "POST /hook?room=7 HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("user-agent"), Some(concat!("hostwrit/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.json(), json!(plain(&ids(&request))));
    let time = request.header("x-hostwrit-time").unwrap();
    assert_eq!(time, "1772366400");
    let key = openssl::pkey::PKey::hmac(b"s3cr3t").unwrap();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    signer.update(format!("{time}.").as_bytes()).unwrap();
    signer.update(&request.body).unwrap();
    let hex: String = signer.sign_to_vec().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-hostwrit-signature"), Some(format!("sha256={hex}").as_str()));
}

#[test]
fn what_a_webhook_gets_is_as_the_schema_says() {
    let (request, _post) = shipped("- {webhook: {url: '{URL}/'}, proxy: none}", Act::status(200));
    let schema = schemars::schema_for!(Vec<crate::report::Sent>);
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    validator.validate(&request.json()).unwrap();
    assert!(validator.validate(&json!([{"id": "a"}])).is_err());
}

#[test]
fn loki_gets_a_stream_for_each_kind_and_times_as_text() {
    let (request, _post) = shipped(
        "- {loki: {url: '{URL}', labels: {team: infra}, tenant: ops}, token: {credential: token}, proxy: none}",
        Act::status(204),
    );
    assert_eq!(request.line, "POST /loki/api/v1/push HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-scope-orgid"), Some("ops"));
    assert_eq!(request.header("authorization"), Some("Bearer s3cr3t"));
    let mut body = request.json();
    let plain = plain(&ids(&request));
    for (stream, entry) in body["streams"].as_array_mut().unwrap().iter_mut().zip([&plain[1], &plain[0]]) {
        let line = stream["values"][0][1].take();
        assert_eq!(serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap(), *entry);
    }
    let labels = |kind: &str| {
        json!({
            "service_name": "hostwrit", "fleet": "infra.example.org", "host": "web1", "kind": kind, "team": "infra",
        })
    };
    let wanted = json!({"streams": [
        {"stream": labels("drift"), "values": [["1772366340000000002", null]]},
        {"stream": labels("failed"), "values": [["1772366340000000001", null]]},
    ]});
    assert_eq!(body, wanted);
}

#[test]
fn splunk_gets_one_event_after_the_other() {
    let (request, _post) = shipped(
        "- {splunk: {url: '{URL}/', index: infra, sourcetype: writ}, token: {credential: token}, proxy: none}",
        Act::body(200, r#"{"text":"Success","code":0}"#),
    );
    assert_eq!(request.line, "POST /services/collector/event HTTP/1.1");
    assert_eq!(request.header("authorization"), Some("Splunk s3cr3t"));
    let event = |event: &Value| {
        json!({
            "time": "1772366340.000000", "host": "web1", "source": "hostwrit", "sourcetype": "writ", "index": "infra",
            "event": event,
        })
    };
    assert_eq!(lines(&request), plain(&ids(&request)).iter().map(event).collect::<Vec<_>>());
}

#[test]
fn elastic_gets_documents_that_are_made_once_whatever_happens() {
    let (request, _post) = shipped(
        "- {elastic: {url: '{URL}'}, token: {credential: token}, proxy: none}",
        // The second one was there already: it was sent before.
        Act::body(200, r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409}}]}"#),
    );
    let path = "/logs-hostwrit-default/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
    assert_eq!(request.line, format!("POST {path} HTTP/1.1"));
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(request.header("authorization"), Some("ApiKey s3cr3t"));
    let (first, second) = ids(&request);
    let wanted = [
        json!({"create": {"_id": first}}),
        json!({
            "@timestamp": "2026-03-01T11:59:00Z", "message": "cannot lock \"deploy\"\nas asked",
            "host": {"name": "web1"}, "log": {"level": "error"},
            "event": {"id": first, "action": "failed", "dataset": "hostwrit"},
            "hostwrit": {
                "fleet": "infra.example.org", "commit": "3f2c9e", "code": "step-failed", "object": "user:deploy",
                "repeats": 0, "fields": {"nothing": null, "steps": 3, "who": {"names": ["alice", true, 0.5]}},
            },
        }),
        json!({"create": {"_id": second}}),
        json!({
            "@timestamp": "2026-03-01T11:59:00Z", "message": "put back", "host": {"name": "web1"},
            "log": {"level": "warning"}, "event": {"id": second, "action": "drift", "dataset": "hostwrit"},
            "hostwrit": {
                "fleet": "infra.example.org", "commit": null, "code": null, "object": null, "repeats": 0, "fields": {},
            },
        }),
    ];
    assert_eq!(lines(&request), wanted);
}

#[test]
fn otlp_gets_log_records_in_the_json_of_the_specification() {
    let (request, _post) = shipped(
        "- {otlp: {url: '{URL}/v1/logs'}, token: {credential: token, header: x-api-key}, proxy: none}",
        Act::body(200, "{}"),
    );
    assert_eq!(request.line, "POST /v1/logs HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!((request.header("x-api-key"), request.header("authorization")), (Some("s3cr3t"), None));
    let (first, second) = ids(&request);
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    let names =
        json!({"arrayValue": {"values": [{"stringValue": "alice"}, {"boolValue": true}, {"doubleValue": 0.5}]}});
    let wanted = json!({"resourceLogs": [{
        "resource": {"attributes": [
            text("service.name", "hostwrit"), text("service.namespace", "infra.example.org"),
            text("service.version", version), text("host.name", "web1"),
        ]},
        "scopeLogs": [{
            "scope": {"name": "hostwrit", "version": version},
            "logRecords": [
                {
                    "timeUnixNano": "1772366340000000001", "observedTimeUnixNano": "1772366340000000001",
                    "severityNumber": 17, "severityText": "ERROR", "eventName": "hostwrit.failed",
                    "body": {"stringValue": "cannot lock \"deploy\"\nas asked"},
                    "attributes": [
                        text("log.record.uid", &first), text("hostwrit.kind", "failed"),
                        text("hostwrit.commit", "3f2c9e"), text("hostwrit.code", "step-failed"),
                        text("hostwrit.object", "user:deploy"),
                        {"key": "hostwrit.nothing", "value": {}},
                        {"key": "hostwrit.steps", "value": {"intValue": "3"}},
                        {"key": "hostwrit.who", "value": {"kvlistValue": {"values": [{"key": "names", "value": names}]}}},
                    ],
                },
                {
                    "timeUnixNano": "1772366340000000002", "observedTimeUnixNano": "1772366340000000002",
                    "severityNumber": 13, "severityText": "WARNING", "eventName": "hostwrit.drift",
                    "body": {"stringValue": "put back"},
                    "attributes": [text("log.record.uid", &second), text("hostwrit.kind", "drift")],
                },
            ],
        }],
    }]});
    assert_eq!(request.json(), wanted);
}

#[test]
fn a_user_makes_the_token_a_password() {
    let (request, _post) =
        shipped("- {loki: {url: '{URL}'}, token: {credential: token, user: '1234'}, proxy: none}", Act::status(204));
    assert_eq!(request.header("authorization"), Some("Basic MTIzNDpzM2NyM3Q="));
}
