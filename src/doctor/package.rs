// SPDX-License-Identifier: Apache-2.0
//! What the package brings besides the two processes: the units that have their place in the boot, and a version that dpkg
//! knows.

use crate::host::{ReadHost as _, RealHost, UnitState, WriteHost as _};
use crate::model::chain;

use super::Check;

/// Units that need not be at work now, and what is missing with the next boot where one is not started by it.
const AT_BOOT: [(&str, &str); 3] = [
    ("hostwrit-firewall.service", "the ports are loaded only when the steward runs, and not before the network"),
    ("hostwrit-revert.service", "a change that has cut this host off does not go back"),
    ("hostwrit-upgrade.service", "an upgrade that was not proven yet is neither proven nor undone"),
];

/// What dpkg is asked to say of the package.
const FORMAT: &str = "--showformat=${db:Status-Status} ${Version}";

pub fn boot(host: &RealHost) -> Check {
    const NAME: &str = "boot";
    if !host.is_live() {
        return Check::skipped(NAME, "nothing is started below another root");
    }
    match host.units(&AT_BOOT.map(|(unit, _)| unit)) {
        Ok(units) => of_boot(&units),
        Err(error) => Check::failed(NAME, chain(&error), "look at the service manager: systemctl status"),
    }
}

fn of_boot(units: &[UnitState]) -> Check {
    const NAME: &str = "boot";
    let lost = |unit: &UnitState| AT_BOOT.iter().find(|(name, _)| *name == unit.name).map_or("", |(_, lost)| *lost);
    let of = |state: &str, unit: &UnitState| format!("{} is {state}, so with the next boot {}", unit.name, lost(unit));
    let is_masked = |unit: &&UnitState| unit.load == "masked" || unit.file_state.starts_with("masked");
    if let Some(unit) = units.iter().find(is_masked) {
        let advice = format!("systemctl unmask {0} && systemctl enable {0}", unit.name);
        return Check::warning(NAME, of("masked", unit), advice);
    }
    if let Some(unit) = units.iter().find(|unit| unit.load != "loaded") {
        let advice = "install the package, or the units by hand (docs/how-to/install.md)";
        return Check::warning(NAME, of("not there", unit), advice);
    }
    match units.iter().find(|unit| unit.file_state != "enabled") {
        Some(unit) => Check::warning(NAME, of("not started at boot", unit), format!("systemctl enable {}", unit.name)),
        None => Check::ok(NAME, "ports, the way back and the proof of an upgrade are started with it"),
    }
}

pub fn package(host: &RealHost) -> Check {
    const NAME: &str = "package";
    if !host.is_live() {
        return Check::skipped(NAME, "no package is at work below another root");
    }
    match host.run("dpkg-query", &["--show", FORMAT, "hostwrit"]) {
        Ok(output) => of_package(&String::from_utf8_lossy(&output.stdout), env!("CARGO_PKG_VERSION")),
        Err(_) => Check::skipped(NAME, "there is no dpkg to ask"),
    }
}

/// `said` is `STATUS VERSION` as dpkg has it, or empty where it knows no such package.
fn of_package(said: &str, at_work: &str) -> Check {
    const NAME: &str = "package";
    let Some(version) = said.trim().strip_prefix("installed ") else {
        return Check::skipped(NAME, "dpkg has not installed it");
    };
    // deb-version(7): what stands behind the last hyphen counts packages of one version.
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    if upstream == at_work {
        return Check::ok(NAME, format!("dpkg names {version}, which is at work"));
    }
    let found = format!("dpkg names {version}, and {at_work} is at work: an upgrade was undone, or is not proven yet");
    let advice =
        "`hostwrit status` says why; `apt-get install --reinstall hostwrit` tries it again, and a newer one goes on";
    Check::warning(NAME, found, advice)
}

#[cfg(test)]
mod tests {
    use super::super::CheckResult;
    use super::*;

    /// The units as the package leaves them, but for one.
    fn units(changed: &str, load: &str, file_state: &str) -> Vec<UnitState> {
        let unit = |(name, _): (&str, &str)| {
            let (load, file_state) = if name == changed { (load, file_state) } else { ("loaded", "enabled") };
            UnitState {
                name: name.to_owned(),
                load: load.to_owned(),
                active: Some("inactive".to_owned()),
                file_state: file_state.to_owned(),
                needs_reload: false,
            }
        };
        AT_BOOT.into_iter().map(unit).collect()
    }

    #[test]
    fn a_unit_that_has_lost_its_place_in_the_boot_is_told_with_what_is_lost() {
        assert_eq!(of_boot(&units("", "", "")).result, CheckResult::Ok, "none of them needs to be at work");
        for (unit, lost) in AT_BOOT {
            for (load, file_state, state, advice) in [
                ("loaded", "disabled", "not started at boot", "systemctl enable"),
                ("masked", "masked", "masked", "systemctl unmask"),
                ("masked", "masked-runtime", "masked", "systemctl unmask"),
                ("not-found", "", "not there", "install the package"),
            ] {
                let check = of_boot(&units(unit, load, file_state));
                assert_eq!(check.found, format!("{unit} is {state}, so with the next boot {lost}"));
                assert_eq!(check.result, CheckResult::Warning);
                assert!(check.advice.unwrap().starts_with(advice));
            }
        }
    }

    #[test]
    fn the_version_that_dpkg_names_is_the_one_at_work_or_it_is_told() {
        let result = |said, at_work| of_package(said, at_work).result;
        assert_eq!(result("installed 0.2.0-1", "0.2.0"), CheckResult::Ok);
        assert_eq!(result("installed 0.2.0", "0.2.0"), CheckResult::Ok);
        assert_eq!(result("", "0.2.0"), CheckResult::Skipped);
        assert_eq!(result("config-files 0.2.0-1", "0.2.0"), CheckResult::Skipped);
        let undone = of_package("installed 0.2.0-1", "0.1.0");
        assert_eq!(undone.result, CheckResult::Warning);
        assert!(undone.found.starts_with("dpkg names 0.2.0-1, and 0.1.0 is at work"), "{undone:?}");
        assert!(undone.advice.unwrap().contains("--reinstall"));
    }
}
