// SPDX-License-Identifier: Apache-2.0
//! JSON Schemas of the repo's files, made from the types that read them, so that editors complete and check.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::model::Maintenance;
use crate::resources::{EachKind, Resource, each_kind};
use crate::trust::PolicyFile;

use super::layer::{ABSENT, OBSERVE, Sort};
use super::maintenance;
use super::repo::Top;

/// Returns the schema of each file of the repo that the manifest reads, by the name of the file in `schemas/`.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("host", layer(Sort::Host)),
        ("hostwrit", of::<Top>("hostwrit.yaml: the top of an infra repo")),
        ("policy", of::<PolicyFile>("policy/policy.yaml: who may change what")),
        ("profile", layer(Sort::Profile)),
    ]
}

/// Returns the schema of a type as the YAML reader takes it: a key may be left out, but not be empty.
pub fn of<T: JsonSchema>(title: &str) -> Schema {
    let mut schema = generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    without_null(schema)
}

/// Editors know this draft best.
fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().into_generator()
}

fn layer(sort: Sort) -> Schema {
    let mut kinds = Kinds { generator: generator(), sections: Map::new(), objects: Map::new() };
    each_kind(&mut kinds);
    let mut properties = Map::new();
    if sort == Sort::Host {
        let names = json!({
            "description": "Profiles that the host has, each a file profiles/NAME.yaml. Where two of them disagree, the host file must decide.",
            "type": "array",
            "items": {"type": "string"},
            "uniqueItems": true,
        });
        properties.insert("addresses".to_owned(), json!({
            "description": "Where the host is reached: addresses, or networks in CIDR form. Ports of other hosts name them as host:NAME and label:KEY=VALUE.",
            "type": "array",
            "items": {"type": "string"},
        }));
        properties.insert("labels".to_owned(), json!({
            "description": "What the host is; rules of the policy choose hosts by it, and templates see it as labels.NAME.",
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
        }));
        properties.insert("profiles".to_owned(), names);
    }
    let vars = json!({
        "description": "Variables for templates, which see them as vars.NAME.",
        "type": ["object", "null"],
    });
    properties.insert("vars".to_owned(), vars);
    let maintenance = kinds.generator.subschema_for::<Maintenance>();
    properties.insert(maintenance::KEY.to_owned(), maintenance.to_value());
    properties.extend(kinds.sections);

    let mut definitions: Map<String, Value> = kinds.generator.take_definitions(true);
    definitions.extend(kinds.objects);
    for definition in definitions.values_mut() {
        strip_null(definition);
    }
    json_schema!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": match sort {
            Sort::Host => "hosts/NAME.yaml: one host",
            Sort::Profile => "profiles/NAME.yaml: objects that many hosts share",
        },
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
        "definitions": definitions,
    })
}

/// Collects the section of each kind and the schema of its objects.
struct Kinds {
    generator: SchemaGenerator,
    sections: Map<String, Value>,
    objects: Map<String, Value>,
}

impl EachKind for Kinds {
    fn kind<R: Resource>(&mut self) {
        // Not as a subschema: all kinds call their type Spec, and the object has keys beside those of the type.
        let mut object = R::Spec::json_schema(&mut self.generator);
        if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
            let absent = "The object shall not be there. It then has no other field but observe. Default: false.";
            let observe = "Differences are reported and nothing is changed. Default: false.";
            properties.insert(ABSENT.to_owned(), json!({"description": absent, "type": "boolean"}));
            properties.insert(OBSERVE.to_owned(), json!({"description": observe, "type": "boolean"}));
        }
        object.insert("if".to_owned(), json!({"properties": {ABSENT: {"const": true}}, "required": [ABSENT]}));
        object.insert("then".to_owned(), json!({"propertyNames": {"enum": [ABSENT, OBSERVE]}}));
        object.insert("type".to_owned(), json!(["object", "null"]));
        let description = object.remove("description");
        self.objects.insert(R::KIND.to_owned(), object.to_value());
        let mut section = Map::new();
        section.extend(description.map(|text| ("description".to_owned(), text)));
        section.insert("type".to_owned(), json!(["object", "null"]));
        let object: Cow<'static, str> = format!("#/definitions/{}", R::KIND).into();
        section.insert("additionalProperties".to_owned(), json!({ "$ref": object }));
        self.sections.insert(R::KEY.to_owned(), Value::Object(section));
    }
}

fn without_null(schema: Schema) -> Schema {
    let mut value = schema.to_value();
    strip_null(&mut value);
    Schema::try_from(value).unwrap_or_default()
}

/// Takes `null` away from optional fields: the reader wants a key without a value to be left out.
fn strip_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(strip_null),
        Value::Object(schema) => {
            if schema.get("default") == Some(&Value::Null) {
                schema.remove("default");
            }
            schema.values_mut().for_each(strip_field);
            schema.values_mut().for_each(strip_null);
        }
        _ => {}
    }
}

/// Makes `{type: [string, null]}` and `{anyOf: [..., {type: null}]}` the schema of the value alone, in a map of schemas.
fn strip_field(properties: &mut Value) {
    let Value::Object(properties) = properties else { return };
    for field in properties.values_mut().filter_map(Value::as_object_mut) {
        if let Some(Value::Array(types)) = field.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                field.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = field.get_mut("anyOf") {
            choices.retain(|choice| choice != &json!({"type": "null"}));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                field.remove("anyOf");
                field.extend(only);
            }
        }
        if let Some(Value::Array(values)) = field.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
    }
}
