// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::model::Secret;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    text: Option<String>,
    small: Option<u8>,
    big: Option<i64>,
    real: Option<f64>,
    flag: Option<bool>,
    list: Option<Vec<String>>,
    map: Option<BTreeMap<String, u32>>,
    choice: Option<Choice>,
    nested: Option<Box<Sample>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Locked,
    Hash(String),
    Pair { left: String, right: String },
}

#[derive(Debug, Deserialize)]
struct Needs {
    #[expect(dead_code, reason = "only whether it is there matters")]
    one: u32,
    #[expect(dead_code, reason = "only whether it is there matters")]
    two: u32,
}

fn sample(text: &str) -> Result<Sample, String> {
    read("f.yaml", text.as_bytes()).map_err(|faults: Faults| faults.to_string())
}

/// Asserts what the text is met with.
fn check(text: &str, expected: &str) {
    assert_eq!(sample(text).expect_err(text), expected, "{text}");
}

#[test]
fn every_type_is_read() {
    let text = "text: a b\nsmall: 0x1f\nbig: -5\nreal: 1.5e3\nflag: true\nlist: [x, \"1\"]\nmap: {a: 1}\n\
                choice: locked\nnested: {choice: {hash: x}, real: 2}\n";
    let nested = Sample { choice: Some(Choice::Hash("x".into())), real: Some(2.0), ..Sample::default() };
    let expected = Sample {
        text: Some("a b".into()),
        small: Some(31),
        big: Some(-5),
        real: Some(1500.0),
        flag: Some(true),
        list: Some(vec!["x".into(), "1".into()]),
        map: Some([("a".to_owned(), 1)].into()),
        choice: Some(Choice::Locked),
        nested: Some(Box::new(nested)),
    };
    assert_eq!(sample(text).unwrap(), expected);
    let pair = sample("choice: {pair: {left: a, right: b}}").unwrap().choice;
    assert_eq!(pair, Some(Choice::Pair { left: "a".into(), right: "b".into() }));
}

#[test]
fn plain_words_are_text_unless_yaml_1_2_says_otherwise() {
    for word in ["yes", "on", "12:30", "2027-01-01", "1_000", "0x", "1e", ".", "-", "1.2.3", "nan", ".inf", "a: b"] {
        let text = if word.contains(": ") { format!("text: \"{word}\"") } else { format!("text: {word}") };
        if word == "-" {
            continue;
        }
        assert_eq!(sample(&text).unwrap().text.as_deref(), Some(word));
    }
}

#[test]
fn wrong_types_say_what_is_found_wanted_and_right() {
    check("text: 0644", "f.yaml:1:7: \"text\" must be text, but is the number 0644\n  put it in quotes: \"0644\"");
    check("text: true", "f.yaml:1:7: \"text\" must be text, but is true\n  put it in quotes: \"true\"");
    check("text: [a]", "f.yaml:1:7: \"text\" must be text, but is a list");
    check("small: 300", "f.yaml:1:8: \"small\" must be a whole number from 0 to 255, but is the number 300");
    check(
        "small: \"5\"",
        "f.yaml:1:8: \"small\" must be a whole number from 0 to 255, but is text\n  write it without the quotes",
    );
    check(
        "small: 007",
        "f.yaml:1:8: \"small\" must be a whole number from 0 to 255, but is the number 007\n  write it without the leading zero",
    );
    check("flag: yes", "f.yaml:1:7: \"flag\" must be true or false, but is text\n  write true");
    check("flag: 0", "f.yaml:1:7: \"flag\" must be true or false, but is the number 0");
    check("list: a", "f.yaml:1:7: \"list\" must be a list, but is text\n  write it in brackets: [...]");
    check(
        "list: [a, 5]",
        "f.yaml:1:11: each item of \"list\" must be text, but is the number 5\n  put it in quotes: \"5\"",
    );
    check("map: {a: x}", "f.yaml:1:10: \"a\" must be a whole number from 0 to 4294967295, but is text");
    check("", "f.yaml:1:1: the file must be a map, but is empty");
    check("[]", "f.yaml:1:1: the file must be a map, but is a list");
}

#[test]
fn a_key_without_a_value_is_a_fault_and_not_an_unset_field() {
    check(
        "list:",
        "f.yaml:1:5: \"list\" must be a list, but is empty\n  write [] for an empty list, or leave the key out",
    );
    check("text: ~", "f.yaml:1:7: \"text\" must be text, but is empty\n  give it a value, or leave the key out");
}

#[test]
fn unknown_keys_and_choices_come_with_what_is_near() {
    check("txet: a", "f.yaml:1:1: unknown key \"txet\"\n  did you mean \"text\"?");
    check(
        "other: a",
        "f.yaml:1:1: unknown key \"other\"\n  known keys are text, small, big, real, flag, list, map, choice, nested",
    );
    check("choice: loked", "f.yaml:1:9: \"choice\" must be locked, hash or pair\n  did you mean \"locked\"?");
    check("choice: hash", "f.yaml:1:9: \"hash\" needs a value\n  write {hash: ...}");
    check("choice: {locked: a}", "f.yaml:1:10: \"locked\" takes no value\n  write locked alone");
    check(
        "choice: {locked: a, hash: b}",
        "f.yaml:1:9: \"choice\" must be a map with exactly one of locked, hash, pair, but is a map",
    );
}

#[test]
fn all_faults_of_a_value_are_reported_in_one_run() {
    let text = "text: 1\nlist:\n  - a\n  - 2\nnested:\n  small: x\n  flag: on\n  wrong: 1\nchoice: {hash: 1}\n";
    let lines: Vec<u32> = read::<Sample>("f.yaml", text.as_bytes()).unwrap_err().iter().map(|f| f.at.line).collect();
    assert_eq!(lines, [1, 4, 6, 7, 8, 9]);
}

#[test]
fn a_missing_field_is_reported_once_and_not_where_its_value_is_wrong() {
    let faults = |text: &str| read::<Needs>("f.yaml", text.as_bytes()).unwrap_err().to_string();
    assert_eq!(faults("one: 1"), "f.yaml:1:1: \"two\" is missing");
    assert_eq!(
        faults("one: x\ntwo: 2"),
        "f.yaml:1:6: \"one\" must be a whole number from 0 to 4294967295, but is text"
    );
    let several = read::<Vec<Needs>>("f.yaml", b"- {one: 1}\n- {two: x}\n").unwrap_err();
    let lines: Vec<u32> = several.iter().map(|fault| fault.at.line).collect();
    assert_eq!(lines, [1, 2, 2], "two is missing; two is wrong, and one is missing");
}

#[test]
fn no_fault_shows_the_text_of_a_value() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    enum Password {
        #[expect(dead_code, reason = "only read")]
        Hash(Secret),
    }
    for text in ["hunter2", "{hash: [hunter2]}", "{hash: {hunter2: a}}", "[hunter2]", "5"] {
        let faults = read::<Password>("f.yaml", text.as_bytes()).unwrap_err();
        assert!(!format!("{faults:?}").contains("hunter2"), "{faults}");
    }
    assert!(!sample("flag: hunter2").unwrap_err().contains("hunter2"));
    assert!(!sample("small: hunter2").unwrap_err().contains("hunter2"));
}

#[test]
fn what_hides_meaning_is_refused() {
    let twice = "f.yaml:2:1: \"text\" is written twice in one map\n  the first is on line 1; keep one of the two";
    check("text: a\ntext: b\n", twice);
    check("map: {? [a] : 1}", "f.yaml:1:9: a key must be plain text, not a list, a map or an alias");
    check(
        "text: !!str 5",
        "f.yaml:1:7: tags such as !!str are not accepted\n  remove the tag; quotes make a value text",
    );
    check(
        "nested: &n {text: a}\nmap: {<<: *n}",
        "f.yaml:2:7: merge keys (<<) are not accepted: they hide where a field was written\n  write the fields out, or move what is shared to a profile",
    );
    check(
        "text: a\n---\ntext: b\n",
        "f.yaml:2:1: a second document begins here\n  a file holds one document; remove the --- line or move what follows to a file of its own",
    );
    check("%YAML 1.1\n---\ntext: a\n", "f.yaml:1:1: YAML directives (lines that begin with %) are not accepted");
}

#[test]
fn anchors_are_repeated_and_keep_the_places_of_their_parts() {
    let read = sample("list: &l [a, b]\nnested: {list: *l, text: &t x}\ntext: *t\n").unwrap();
    assert_eq!(read.nested.unwrap().list, read.list);
    assert_eq!(read.text.as_deref(), Some("x"));
    check(
        "list: &l [a, 5]\nnested: {list: *l}\n",
        "f.yaml:1:14: each item of \"list\" must be text, but is the number 5\n  put it in quotes: \"5\"",
    );
    check("list: &l [a, *l]\n", "f.yaml:1:14: an alias stands inside the value that it repeats\n  write the value out");
    check("text: *x\n", "f.yaml:1:7: the alias repeats an anchor that no value before it has");
}

#[test]
fn bombs_are_defused() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert!(parse("f.yaml", text.as_bytes()).unwrap_err().to_string().contains("more than 100000 values"));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(parse("f.yaml", chain.as_bytes()).unwrap_err().to_string().contains("nested deeper than 64"));
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert!(parse("f.yaml", deep.as_bytes()).unwrap_err().to_string().contains("nested deeper than 64"));
    }
    let blocks: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(parse("f.yaml", blocks.as_bytes()).unwrap_err().to_string().contains("nested deeper than 64"));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let faults = parse("f.yaml", b"a: 1\nb: \xff\n").unwrap_err();
    assert_eq!(faults.to_string(), "f.yaml:2:4: the file is not UTF-8 text\n  save it as UTF-8");
}

#[test]
fn an_empty_file_is_a_node_without_a_value() {
    for text in ["", "# only a comment\n", "---\n"] {
        assert!(matches!(parse("f.yaml", text.as_bytes()).unwrap().value, Value::Null));
    }
}

#[test]
fn equal_values_are_equal_wherever_they_stand() {
    let node = |text: &str| parse("f.yaml", text.as_bytes()).unwrap();
    assert!(node("{a: [1, x], b: true}").says_the_same(&node("b: true\na:\n  - 1\n  - \"x\"\n")));
    assert!(!node("a: 1").says_the_same(&node("a: \"1\"")));
    assert!(!node("[a, b]").says_the_same(&node("[b, a]")));
    assert!(!node("{a: 1}").says_the_same(&node("{a: 1, b: 2}")));
}

/// Text that is likely to be nearly YAML.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "text", ": ", ":", "- ", "\n", "\n  ", "\t", "[", "]", "{", "}", ", ", "&x ", "*x", "!t ", "<<", "'",
        "\"", "\\", "|", ">", "? ", "---\n", "...", "%", "#", "0644", "true", "~", "é", "\u{feff}", "\r\n", "@",
        "list", "nested",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read::<Sample>("f.yaml", &bytes);
    }

    #[test]
    fn no_text_that_is_nearly_yaml_makes_the_reader_panic(text in nearly_yaml()) {
        if let Err(faults) = read::<Sample>("f.yaml", text.as_bytes()) {
            prop_assert!(!faults.is_empty());
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            for fault in faults {
                prop_assert!(fault.at.line <= lines, "{fault}");
            }
        }
        let _ = read::<serde_json::Value>("f.yaml", text.as_bytes());
    }
}
