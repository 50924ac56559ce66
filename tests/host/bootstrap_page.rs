// SPDX-License-Identifier: Apache-2.0
//! What docs/how-to/bootstrap.md tells people to give to a new machine, taken from the page itself and done as cloud-init does it.

use std::fs;

use hostwrit::model::Digest;
use serde::Deserialize;

use crate::git_server::GitServer;
use crate::infra::Infra;
use crate::machine::Machine;
use crate::package::Package;
use crate::process::Output;
use crate::site::project;

const PAGE: &str = "docs/how-to/bootstrap.md";

/// As much of a cloud-config as the page uses; more than that would not be done here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudConfig {
    package_update: bool,
    packages: Vec<String>,
    write_files: Vec<WriteFile>,
    runcmd: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteFile {
    path: String,
    #[serde(default = "usual_permissions")]
    permissions: String,
    content: String,
}

fn usual_permissions() -> String {
    "0644".to_owned()
}

/// Does what the page's cloud-config says, in the order of cloud-init's modules: files, packages, commands.
pub fn carry_out_cloud_config(machine: &Machine<'_>, infra: &Infra<'_>, remote: &GitServer, token: &str) {
    let text = filled_in("```yaml\n#cloud-config\n", infra, remote).replace("THE-TOKEN", token);
    let config: CloudConfig = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{PAGE}: {error}\n{text}"));
    for file in &config.write_files {
        machine.write(&file.path, &file.content);
        machine.run(&["chmod", &file.permissions, &file.path]).ok();
    }
    // There is no archive here, and so no list to fetch. The image has what the page asks for.
    assert!(config.package_update, "without it an image has no package lists");
    for package in &config.packages {
        machine.run(&["dpkg", "--status", package]).ok();
    }
    // cloud-init makes one script of them, which goes on after one that fails.
    machine.sh(&config.runcmd.join("\n")).ok();
}

/// Does what the page says in one line.
pub fn carry_out_one_line(machine: &Machine<'_>, infra: &Infra<'_>, remote: &GitServer) -> Output {
    let script = filled_in("```sh\n#!/bin/sh\n", infra, remote);
    assert_eq!(script.trim().lines().count(), 1, "{script}");
    machine.write("/var/lib/cloud/part-001", format!("#!/bin/sh\n{script}"));
    machine.run(&["sh", "/var/lib/cloud/part-001"]).ok()
}

/// Returns the block of the page that begins so, with everything in it that an administrator would fill in. The package is put where
/// `remote` serves it.
fn filled_in(begin: &str, infra: &Infra<'_>, remote: &GitServer) -> String {
    const NAME: &str = "hostwrit_0.1.0-1_amd64.deb";
    let page = fs::read_to_string(project().join(PAGE)).expect("the page is there");
    let (_, rest) = page.split_once(begin).unwrap_or_else(|| panic!("{PAGE} has no {begin:?}"));
    let (block, _) = rest.split_once("```").expect("a block ends");

    let package = fs::read(Package::of_this_program().path()).expect("the package was made");
    fs::write(infra.served().join(NAME), &package).expect("the run's own folder can be written");
    let address = remote.url().strip_suffix("infra.git").expect("that is its name");
    let mut text = block.to_owned();
    for (placeholder, value) in [
        ("https://git.example.org/infra.git", remote.url()),
        (&format!("https://files.example.org/{NAME}"), &format!("{address}{NAME}")),
        ("4eba289bc64d885684246d34080b7eea6fba4566", infra.root()),
        ("BE3CBD2C4F9A6098B410D8BF1F8CEABDD0B659CC", infra.fingerprint()),
        ("THE-SHA256-OF-THE-PACKAGE", Digest::of(&package).to_string().trim_start_matches("sha256:")),
    ] {
        assert!(text.contains(placeholder), "{PAGE} has no {placeholder} in\n{block}");
        text = text.replace(placeholder, value);
    }
    text
}
