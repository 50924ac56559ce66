// SPDX-License-Identifier: Apache-2.0
//! Templates: Handlebars without partials, decorators or escaping, where an unknown variable is an error everywhere.
//!
//! The library lets an unknown variable pass as false in `{{#if}}` and its like even in its strict mode, and has no
//! limits. So a check is put before each call of a helper, and a template is bounded in size, depth, loops and output.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, PathAndJson, RenderContext, RenderError,
    RenderErrorReason, Renderable, Template, TemplateErrorReason,
};
use serde_json::Value;

use crate::model::fault::closest;

/// Size of the largest template, and of the largest text that one may give.
const MAX_TEMPLATE: usize = 1024 * 1024;
const MAX_OUTPUT: usize = 4 * 1024 * 1024;
/// How often all loops of one rendering may go round together.
const MAX_ROUNDS: u64 = 1_000_000;
/// How deep blocks, and parentheses in a tag, may stand in each other: the library parses and renders by recursion.
const MAX_DEPTH: usize = 32;
/// Each `{{else if}}` stands inside the one before it.
const MAX_ELSE: usize = 200;
/// Names of the checks: no template can write them.
const REQUIRE: &str = "\0require";
const COUNT: &str = "\0count";
const HELPERS: &str = "if, unless, each, with, lookup, eq, ne, gt, gte, lt, lte, and, or, not, len";

/// Compiles and renders templates.
pub struct Templates {
    registry: Handlebars<'static>,
    rounds: Arc<AtomicU64>,
}

/// A template that was understood.
pub struct Compiled(Template);

impl Templates {
    pub fn new() -> Self {
        let rounds = Arc::new(AtomicU64::new(0));
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_escape_fn(handlebars::no_escape);
        // Writes to the log of whoever renders: nothing for a repo to do.
        registry.unregister_helper("log");
        let check: fn(
            &Helper<'_>,
            &Handlebars<'_>,
            &Context,
            &mut RenderContext<'_, '_>,
            &mut dyn Output,
        ) -> HelperResult = |call, _, _, _, _| require(call);
        registry.register_helper(REQUIRE, Box::new(check));
        registry.register_helper(COUNT, Box::new(Count(Arc::clone(&rounds))));
        Self { registry, rounds }
    }

    /// Compiles the template at `path`.
    ///
    /// # Errors
    /// The template is not UTF-8, too large, not valid, or uses partials. The text begins with the place.
    pub fn compile(&self, path: &str, source: &[u8]) -> Result<Compiled, String> {
        if source.len() > MAX_TEMPLATE {
            return Err(format!("{path} is larger than 1 MiB"));
        }
        let source = std::str::from_utf8(source).map_err(|_| format!("{path} is not UTF-8 text"))?;
        check_depth(source).map_err(|(line, why)| format!("{path}:{line}: {why}"))?;
        let mut template = Template::compile(source).map_err(|error| {
            let (line, column) = error.pos().unwrap_or((1, 1));
            format!("{path}:{line}:{column}: {}", syntax(error.reason()))
        })?;
        match foreign_element(&template) {
            Some((line, column)) => Err(format!(
                "{path}:{line}:{column}: partials and decorators ({{{{> ...}}}}, {{{{* ...}}}}) are not available"
            )),
            None => {
                guard(&mut template);
                Ok(Compiled(template))
            }
        }
    }

    /// Renders a template with these variables.
    ///
    /// # Errors
    /// The template names an unknown variable or helper, or does more than its limits allow. The text begins with the
    /// place.
    pub fn render(&self, path: &str, template: &Compiled, variables: &Context) -> Result<Vec<u8>, String> {
        self.rounds.store(0, Ordering::Relaxed);
        let mut out = Capped(String::new());
        let mut context = RenderContext::new(None);
        match template.0.render(&self.registry, variables, &mut context, &mut out) {
            Ok(()) => Ok(out.0.into_bytes()),
            Err(error) => {
                let place = match (error.line_no, error.column_no) {
                    (Some(line), Some(column)) => format!("{path}:{line}:{column}"),
                    _ => path.to_owned(),
                };
                Err(format!("{place}: {}", reason(error.reason(), variables.data())))
            }
        }
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts a check before each call of a helper: of the variables that it is given, and of the rounds that a loop takes.
fn guard(template: &mut Template) {
    let mappings = std::mem::take(&mut template.mapping);
    for (index, mut element) in std::mem::take(&mut template.elements).into_iter().enumerate() {
        let mut paths = Vec::new();
        let mut check = REQUIRE;
        match &mut element {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => variables_of(call, &mut paths),
            TemplateElement::HelperBlock(block) => {
                variables_of(block, &mut paths);
                block.template.iter_mut().chain(block.inverse.iter_mut()).for_each(guard);
                if matches!(&block.name, Parameter::Name(name) if name == "each") {
                    check = COUNT;
                    // The count looks at the first; a loop over the result of a helper has no path to look at.
                    paths.splice(0..0, block.params.first().cloned());
                }
            }
            _ => {}
        }
        let mapping = mappings.get(index).cloned();
        if !paths.is_empty() {
            let call = Subexpression::new(Parameter::Name(check.to_owned()), paths, HashMap::new());
            template.elements.push(*call.element);
            template.mapping.extend(mapping.clone());
        }
        template.elements.push(element);
        template.mapping.extend(mapping);
    }
}

/// Collects the variables that a call of a helper names, those of nested calls included.
fn variables_of(call: &HelperTemplate, found: &mut Vec<Parameter>) {
    for parameter in call.params.iter().chain(call.hash.values()) {
        match parameter {
            Parameter::Path(_) => found.push(parameter.clone()),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(call) = inner.as_element() {
                    variables_of(call, found);
                }
            }
            _ => {}
        }
    }
}

fn require(call: &Helper<'_>) -> Result<(), RenderError> {
    match call.params().iter().find(|value| value.is_value_missing()) {
        Some(missing) => Err(RenderErrorReason::MissingVariable(missing.relative_path().cloned()).into()),
        None => Ok(()),
    }
}

/// Counts the rounds of a loop that is about to begin.
struct Count(Arc<AtomicU64>);

impl HelperDef for Count {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        require(call)?;
        let rounds = match call.param(0).map(PathAndJson::value) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(entries)) => entries.len(),
            _ => 0,
        };
        // A body that renders nothing still takes time, so an empty list counts too.
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX).saturating_add(1);
        if self.0.fetch_add(rounds, Ordering::Relaxed).saturating_add(rounds) > MAX_ROUNDS {
            return Err(RenderErrorReason::Other(format!("the loops go round more than {MAX_ROUNDS} times")).into());
        }
        Ok(())
    }
}

struct Capped(String);

impl Output for Capped {
    fn write(&mut self, text: &str) -> Result<(), std::io::Error> {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(std::io::Error::other("the rendered text is larger than 4 MiB"));
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Refuses nesting that would exhaust the stack of the library's parser. Errs with the line.
fn check_depth(source: &str) -> Result<(), (usize, String)> {
    let (mut depth, mut chained) = (0_usize, 0_usize);
    let mut line = 1;
    let mut rest = source;
    while let Some((text, tag)) = rest.split_once("{{") {
        line += text.matches('\n').count();
        let end = tag.find("}}").unwrap_or(tag.len());
        let (tag, after) = tag.split_at(end);
        let name = tag.trim_start_matches(['{', '~']);
        if name.starts_with(['#', '^']) || tag.starts_with("{{") {
            depth += 1;
        } else if name.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if name.trim_start().starts_with("else") {
            chained += 1;
        }
        let mut open = 0_usize;
        let mut deepest = 0;
        for byte in tag.bytes() {
            match byte {
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(open);
        }
        if depth > MAX_DEPTH || deepest > MAX_DEPTH {
            return Err((line, format!("blocks are nested deeper than {MAX_DEPTH} levels")));
        }
        if chained > MAX_ELSE {
            return Err((line, format!("more than {MAX_ELSE} {{{{else}}}} in one template")));
        }
        line += tag.matches('\n').count();
        rest = after;
    }
    Ok(())
}

/// Returns the place of the first partial or decorator.
fn foreign_element(template: &Template) -> Option<(usize, usize)> {
    template.elements.iter().enumerate().find_map(|(index, element)| match element {
        TemplateElement::PartialExpression(_)
        | TemplateElement::PartialBlock(_)
        | TemplateElement::DecoratorExpression(_)
        | TemplateElement::DecoratorBlock(_) => {
            Some(template.mapping.get(index).map_or((1, 1), |mapping| (mapping.0, mapping.1)))
        }
        TemplateElement::HelperBlock(block) => {
            let inner = |part: &Option<Template>| part.as_ref().and_then(foreign_element);
            inner(&block.template).or_else(|| inner(&block.inverse))
        }
        _ => None,
    })
}

fn syntax(reason: &TemplateErrorReason) -> String {
    match reason {
        TemplateErrorReason::MismatchingClosedHelper(open, close) => {
            format!("{{{{#{}}}}} is closed by {{{{/{}}}}}", open.trim_matches('"'), close.trim_matches('"'))
        }
        TemplateErrorReason::InvalidSyntax(_) => {
            "this is not valid Handlebars; a tag or block may be left open".to_owned()
        }
        other => other.to_string(),
    }
}

fn reason(reason: &RenderErrorReason, variables: &Value) -> String {
    match reason {
        RenderErrorReason::MissingVariable(Some(name)) => {
            let known = names(variables);
            match closest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("unknown variable \"{name}\"; did you mean \"{near}\"?"),
                None => format!("unknown variable \"{name}\"; variables begin with vars, labels or facts"),
            }
        }
        RenderErrorReason::HelperNotFound(name) => format!("unknown helper \"{name}\"; helpers are {HELPERS}"),
        RenderErrorReason::ParamNotFoundForIndex(helper, _) => format!("\"{helper}\" needs a value"),
        RenderErrorReason::IOError(error) => error.to_string(),
        other => {
            let text = other.to_string();
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}

/// Returns the dotted names of all variables, for "did you mean".
fn names(variables: &Value) -> BTreeSet<String> {
    fn add(prefix: &str, value: &Value, names: &mut BTreeSet<String>) {
        if let Value::Object(entries) = value {
            for (key, value) in entries {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                add(&name, value, names);
                names.insert(name);
            }
        }
    }
    let mut found = BTreeSet::new();
    add("", variables, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let variables = json!({
            "vars": {"site": "shop.example.org", "ports": [80, 443], "tls": false, "html": "<b>", "none": []},
            "labels": {"role": "web"},
            "facts": {"hostname": "web1", "os": {"codename": "bookworm"}},
        });
        let templates = Templates::new();
        let template = templates.compile("templates/t.hbs", source.as_bytes())?;
        let bytes = templates.render("templates/t.hbs", &template, &Context::from(variables))?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn error(source: &str) -> String {
        render(source).expect_err("the template was rendered")
    }

    #[test]
    fn variables_labels_and_facts_are_filled_in_as_they_are() {
        assert_eq!(
            render("{{vars.site}} {{labels.role}} {{facts.os.codename}}").unwrap(),
            "shop.example.org web bookworm"
        );
        assert_eq!(render("{{vars.html}}{{{vars.html}}}").unwrap(), "<b><b>");
        assert_eq!(render("{{#each vars.ports}}{{this}};{{/each}}").unwrap(), "80;443;");
        assert_eq!(render("{{#if vars.tls}}a{{else}}b{{/if}}").unwrap(), "b");
        assert_eq!(render("{{#if (eq labels.role \"web\")}}a{{/if}}").unwrap(), "a");
        assert_eq!(render("{{#each vars.none}}a{{else}}b{{/each}}").unwrap(), "b");
        assert_eq!(
            render("{{#with facts.os}}{{codename}}{{/with}}{{lookup vars \"site\"}}").unwrap(),
            "bookwormshop.example.org"
        );
    }

    #[test]
    fn an_unknown_variable_is_an_error_wherever_it_stands() {
        let unknown = "unknown variable \"vars.sit\"; did you mean \"vars.site\"?";
        for source in [
            "{{vars.sit}}",
            "{{{vars.sit}}}",
            "{{#if vars.sit}}a{{/if}}",
            "{{#if vars.sit}}a{{else}}b{{/if}}",
            "{{#unless vars.sit}}a{{/unless}}",
            "{{#each vars.sit}}a{{else}}b{{/each}}",
            "{{#with vars.sit}}a{{else}}b{{/with}}",
            "{{#if (eq vars.sit \"x\")}}a{{/if}}",
            "{{#if (and true vars.sit)}}a{{/if}}",
            "{{#if (not vars.sit)}}a{{/if}}",
            "{{#if true includeZero=vars.sit}}a{{/if}}",
            "{{#each vars.ports}}{{#if @root.vars.sit}}a{{/if}}{{/each}}",
            "{{lookup vars.sit \"x\"}}",
            "{{len vars.sit}}",
            "{{#if vars.tls}}a{{else if vars.sit}}b{{/if}}",
        ] {
            let error = error(source);
            assert!(error.contains("unknown variable") && error.contains("vars.sit"), "{source}: {error}");
        }
        assert_eq!(error("a\n  {{vars.sit}}"), format!("templates/t.hbs:2:3: {unknown}"));
        assert!(error("{{port}}").contains("variables begin with vars, labels or facts"));
    }

    #[test]
    fn partials_decorators_and_unknown_helpers_are_refused() {
        for source in ["{{> other}}", "{{#if true}}{{> other}}{{/if}}", "{{#> layout}}x{{/layout}}"] {
            assert!(error(source).contains("partials and decorators"), "{source}");
        }
        assert!(error("{{#*inline \"x\"}}y{{/inline}}").contains("partials and decorators"));
        assert!(error("{{shell \"id\"}}").contains("unknown helper \"shell\""));
        assert!(error("{{log vars.site}}").contains("unknown helper \"log\""));
    }

    #[test]
    fn syntax_errors_name_their_place() {
        assert!(error("a\n{{#if vars.tls}}x{{/unless}}").starts_with("templates/t.hbs:2:"));
        assert!(error("{{#if vars.tls}}x").starts_with("templates/t.hbs:1:"));
        assert!(error("{{vars.").starts_with("templates/t.hbs:1:"));
    }

    #[test]
    fn what_would_not_end_is_stopped() {
        let loops = |depth| "{{#each @root.vars.ports}}".repeat(depth) + &"{{/each}}".repeat(depth);
        assert_eq!(render(&loops(10)).unwrap(), "");
        assert!(error(&loops(24)).contains("go round more than"));
        let words = "{{#each @root.vars.ports}}".repeat(14) + &"x".repeat(1000) + &"{{/each}}".repeat(14);
        assert!(error(&words).contains("larger than 4 MiB"));
        assert!(error(&loops(5000)).contains("nested deeper"));
        assert!(error(&format!("{{{{#if {}}}}}x{{{{/if}}}}", "(not ".repeat(5000))).contains("nested deeper"));
        assert!(
            error(&("{{#if vars.tls}}".to_owned() + &"{{else if vars.tls}}".repeat(5000) + "{{/if}}")).contains("else")
        );
    }
}
