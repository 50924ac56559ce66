// SPDX-License-Identifier: Apache-2.0
//! Checks a service as the repo writes it.

use std::collections::BTreeMap;

use crate::model::{Fault, Faults, ObjectId, Origin};
use crate::resources::content::ContentSpec;
use crate::resources::{Content, Contents, Resource};

use super::{DesiredUnit, Service, Spec, UnitName};

pub(super) fn resolve(
    name: &str,
    spec: &Spec,
    origin: &Origin,
    contents: &dyn Contents,
) -> Result<DesiredUnit, Faults> {
    let mut faults = Faults::default();
    let file = spec.unit.as_ref().and_then(|unit| content("unit", unit, origin, contents, &mut faults));
    let mut drop_ins = BTreeMap::new();
    for (drop_in, spec) in spec.drop_ins.iter().flatten() {
        check_drop_in_name(drop_in, origin, &mut faults);
        if let Some(content) = content("drop_ins", spec, origin, contents, &mut faults) {
            check_text(&format!("drop-in {drop_in}"), "drop_ins", &content, origin, &mut faults);
            drop_ins.insert(drop_in.clone(), content);
        }
    }
    if let Some(file) = &file {
        check_text("the unit", "unit", file, origin, &mut faults);
        if file.bytes().iter().all(u8::is_ascii_whitespace) {
            let fault = Fault::new(origin.of("unit").clone(), "the unit is empty, which systemd takes for a mask");
            faults.push(fault.hint("to mask the unit, write masked: true"));
        }
    }
    check_contradictions(spec, origin, &mut faults);
    check_triggers(name, spec, origin, &mut faults);
    let unit = match UnitName::parse(name) {
        Ok(unit) => unit,
        Err((what, hint)) => {
            faults.push(Fault::new(origin.object.clone(), what).hint(hint));
            return Err(faults);
        }
    };
    if unit.is_template() {
        for (field, is_set) in [("enabled", spec.enabled.is_some()), ("running", spec.running.is_some())] {
            if is_set {
                let what = format!("{unit} is a template, of which only instances can be {field}");
                let hint = format!("declare an instance, such as {}", unit.as_str().replacen("@.", "@one.", 1));
                faults.push(Fault::new(origin.of(field).clone(), what).hint(hint));
            }
        }
    }
    faults.or(DesiredUnit {
        unit,
        file,
        drop_ins,
        enabled: spec.enabled,
        masked: spec.masked,
        running: spec.running,
        restart_when: spec.restart_when.clone().unwrap_or_default(),
        reload_when: spec.reload_when.clone().unwrap_or_default(),
    })
}

fn content(
    field: &str,
    spec: &ContentSpec,
    origin: &Origin,
    contents: &dyn Contents,
    faults: &mut Faults,
) -> Option<Content> {
    match spec.resolve(Some(field), origin, contents) {
        Ok(Some(content)) => Some(content),
        Ok(None) => {
            let fault = Fault::new(origin.of(field).clone(), format!("{field} says nothing of its content"));
            faults.push(fault.hint("set one of content, source and template"));
            None
        }
        Err(more) => {
            faults.extend(more);
            None
        }
    }
}

fn check_drop_in_name(name: &str, origin: &Origin, faults: &mut Faults) {
    let mut wrong = |what: &str, hint: String| {
        let what = format!("\"{name}\" is not a name for a drop-in: {what}");
        faults.push(Fault::new(origin.of("drop_ins").clone(), what).hint(hint));
    };
    if let Some(stem) = name.strip_suffix(".conf") {
        wrong("the suffix .conf is understood", format!("write {stem}"));
    } else if name.is_empty() || name.starts_with('.') {
        wrong("it is empty or starts with a dot", "write a name such as limits".to_owned());
    } else if let Some(bad) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-_.".contains(c))) {
        wrong(&format!("it holds {bad:?}"), "allowed are ASCII letters, digits and - _ .".to_owned());
    } else if name.len() > 200 {
        wrong("it is longer than 200 characters", "choose a shorter name".to_owned());
    }
}

fn check_contradictions(spec: &Spec, origin: &Origin, faults: &mut Faults) {
    if spec.masked != Some(true) {
        return;
    }
    for (field, is_wanted) in [("running", spec.running), ("enabled", spec.enabled)] {
        if is_wanted == Some(true) {
            let what = format!("a masked unit cannot be {field} as well");
            faults.push(Fault::new(origin.of(field).clone(), what).hint(format!("drop masked or {field}")));
        }
    }
    if spec.unit.is_some() {
        let fault = Fault::new(origin.of("unit").clone(), "a mask takes the place of the unit file, so both cannot be");
        faults.push(fault.hint("drop masked or unit"));
    }
}

fn check_triggers(name: &str, spec: &Spec, origin: &Origin, faults: &mut Faults) {
    let own = ObjectId::new(Service::KIND, name);
    for (field, objects) in [("restart_when", &spec.restart_when), ("reload_when", &spec.reload_when)] {
        if objects.iter().flatten().any(|object| *object == own) {
            let fault = Fault::new(origin.of(field).clone(), format!("{own} waits for a change of itself"));
            faults.push(fault.hint("drop it: a change of its own unit file or drop-ins restarts a unit anyway"));
        }
    }
}

/// Finds what systemd would ignore with a warning that nobody reads: lines that are neither section nor assignment.
fn check_text(what: &str, field: &str, content: &Content, origin: &Origin, faults: &mut Faults) {
    let mut wrong = |line: usize, why: &str| {
        faults.push(Fault::new(origin.of(field).clone(), format!("{what}, line {line}: {why}")).hint(
            "a unit file has sections in brackets, such as [Service], and below them lines of the form Key=value",
        ));
    };
    let Ok(text) = std::str::from_utf8(content.bytes()) else {
        return wrong(1, "the content is not text in UTF-8");
    };
    let mut in_section = false;
    let mut continued = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        let is_comment = line.starts_with(['#', ';']);
        // A comment between continued lines does not end them.
        let is_rest = continued && !is_comment;
        if !is_comment {
            continued = line.ends_with('\\');
        }
        if line.is_empty() || is_comment || is_rest {
            continue;
        }
        if line.starts_with('[') {
            in_section = true;
            if !line.ends_with(']') || line.len() < 3 {
                wrong(number, "a section has no name or no closing bracket");
            }
        } else if line.split_once('=').is_none_or(|(key, _)| key.trim().is_empty()) {
            wrong(number, "this is no assignment");
        } else if !in_section {
            wrong(number, "an assignment stands before the first section");
        }
    }
}
