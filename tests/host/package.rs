// SPDX-License-Identifier: Apache-2.0
//! The Debian package, made once from the program under test, and others made of it.

#[path = "../../packaging/generate.rs"]
#[allow(dead_code, reason = "it is a program too")]
mod generate;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::lab;
use crate::machine::Machine;
use crate::process::{Output, run};
use crate::site::project;

/// A package file on this machine.
pub struct Package {
    path: PathBuf,
    pub version: String,
}

impl Package {
    /// Returns the package of the program under test, which is built on the first call.
    pub fn of_this_program() -> &'static Self {
        static PACKAGE: OnceLock<Package> = OnceLock::new();
        PACKAGE.get_or_init(|| {
            fs::create_dir_all(lab::run_dir()).expect("the run's own folder can be made");
            let path = lab::run_dir().join("hostwrit.deb");
            generate::write(&project().join("target/package")).expect("target/ can be written");
            let mut command = Command::new(project().join("packaging/build-deb"));
            command.arg("--debug").arg(&path).env("CARGO", env!("CARGO"));
            run(command);
            let version = field(&path, "Version");
            Self { path, version }
        })
    }

    /// Makes another package of this one: with a version that no other scenario uses, and changed by a shell script that
    /// runs in its file tree.
    pub fn remade(&self, version: &str, script: &str) -> Self {
        let tree = self.path.with_file_name(format!("deb-{version}"));
        let path = self.path.with_file_name(format!("hostwrit-{version}.deb"));
        let mut command = Command::new("sh");
        // Uncompressed, for that is quick.
        const REMAKE: &str = r#"
            dpkg-deb --raw-extract "$1" "$2"
            cd "$2"
            sed -i "s/^Version:.*/Version: $3/" DEBIAN/control
            eval "$4"
            dpkg-deb --root-owner-group -Znone --build . "$5"
            rm -r "$2""#;
        command.args(["-euc", REMAKE, "remake"]).args([&self.path, &tree]).args([version, script]).arg(&path);
        run(command);
        Self { path, version: version.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file on the host, and returns where.
    pub fn copy_to(&self, machine: &Machine<'_>) -> String {
        let place = format!("/var/cache/hostwrit_{}.deb", self.version);
        machine.write(&place, fs::read(&self.path).expect("the package was made"));
        place
    }

    /// Installs the package on the host, or upgrades to it.
    pub fn install(&self, machine: &Machine<'_>) -> Output {
        let place = self.copy_to(machine);
        machine.run(&["dpkg", "--install", &place])
    }
}

fn field(package: &Path, name: &str) -> String {
    let mut command = Command::new("dpkg-deb");
    command.arg("--field").arg(package).arg(name);
    run(command).text().to_owned()
}
