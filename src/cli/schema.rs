// SPDX-License-Identifier: Apache-2.0

use clap::Args;

use crate::audit::verify::Verified;
use crate::engine::config::ConfigFile;
use crate::engine::plan::PlanView;
use crate::fleet::Fleet;
use crate::manifest;
use crate::report::Sent;
use crate::trust::order::OrderFile;
use crate::trust::revocation::RevocationFile;

use super::{CommandError, Exit, output, status, trust};

/// Print a JSON Schema, or list the schemas there are
#[derive(Debug, Args)]
pub struct Schema {
    /// The schema's name, such as host or plan
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Schema {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let schemas = schemas();
        let Some(name) = &self.name else {
            schemas.iter().for_each(|(name, _)| output::answer(name));
            return Ok(Exit::Done);
        };
        let Some((_, schema)) = schemas.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = schemas.iter().map(|(name, _)| *name).collect();
            let text = format!("there is no schema \"{name}\"; there are {}", names.join(", "));
            return Err(CommandError::new(Exit::Usage, text));
        };
        output::answer(serde_json::to_string_pretty(schema).unwrap_or_default());
        Ok(Exit::Done)
    }
}

/// Returns every schema by its name; `schemas/NAME.json` holds each, and a test fails when one is stale.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    let mut schemas = manifest::schema::all();
    schemas.extend([
        ("audit-verify", schemars::schema_for!(Verified)),
        ("check", schemars::schema_for!(manifest::Checked)),
        ("config", manifest::schema::of::<ConfigFile>("/etc/hostwrit/config.yaml: what a host is given out of band")),
        ("doctor", schemars::schema_for!(Vec<crate::doctor::Check>)),
        ("fleet", schemars::schema_for!(Fleet)),
        ("order", manifest::schema::of::<OrderFile>("An order to one host, signed with ssh-keygen")),
        ("plan", schemars::schema_for!(PlanView<'_>)),
        ("report", schemars::schema_for!(Vec<Sent>)),
        ("revocations", manifest::schema::of::<RevocationFile>("trust.revocations: what a host distrusts")),
        ("status", schemars::schema_for!(status::StatusAnswer)),
        ("trust-log", schemars::schema_for!(Vec<trust::Line>)),
        ("trust-show", schemars::schema_for!(trust::ShowAnswer)),
        ("trust-verify", schemars::schema_for!(trust::VerifyAnswer)),
        ("why", schemars::schema_for!(crate::engine::why::Why)),
    ]);
    schemas.sort_by_key(|(name, _)| *name);
    schemas
}
