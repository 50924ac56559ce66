// SPDX-License-Identifier: Apache-2.0
//! Whatever else decides which packets come through: what one table drops, no other can let in.

use serde_json::Value;

use super::ruleset::{Chain, Ruleset, is_xtables, statement};
use super::{Code, Finding};

/// A program that keeps a firewall, with what makes its rules go away.
struct Program {
    name: &'static str,
    remedy: &'static str,
}

const UFW: Program = Program { name: "ufw", remedy: "`ufw disable` ends that" };
const FIREWALLD: Program = Program { name: "firewalld", remedy: "`systemctl disable --now firewalld` ends that" };

/// Returns the other programs that keep a firewall. `ufw_conf` is the content of `/etc/ufw/ufw.conf`.
pub fn other_firewalls(ufw_conf: Option<&[u8]>, ruleset: &Ruleset<'_>) -> Vec<Finding> {
    let has_ufw = ufw_conf.is_some_and(is_enabled);
    let has_firewalld = ruleset.chains().iter().any(is_of_firewalld);
    let programs = [(UFW, has_ufw), (FIREWALLD, has_firewalld)];
    programs.into_iter().filter(|(_, is_there)| *is_there).map(|(program, _)| finding(&program)).collect()
}

fn finding(program: &Program) -> Finding {
    let Program { name, remedy } = program;
    Finding {
        code: Code::OtherFirewall,
        object: None,
        place: Some((*name).to_owned()),
        process: None,
        message: format!("{name} is active: what it drops is dropped, whatever is declared; {remedy}"),
    }
}

/// Whether ufw starts with the host, by its own file: ufw(8).
fn is_enabled(ufw_conf: &[u8]) -> bool {
    let text = String::from_utf8_lossy(ufw_conf);
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
}

fn is_of_firewalld(chain: &Chain<'_>) -> bool {
    chain.name.table == "firewalld"
}

/// Returns the chains of other tables that drop what none of their own rules lets in.
pub fn foreign_drops(ruleset: &Ruleset<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for chain in ruleset.chains().iter().filter(|chain| filters(chain)) {
        // The program that made the table is named already, and Docker lets in by rules of its own what it passes on.
        let is_explained = is_of_firewalld(chain)
            || ["ufw-", "ufw6-"].iter().any(|begin| ruleset.has_beside(chain.name, begin))
            || (chain.hook == "forward" && ruleset.has_beside(chain.name, "DOCKER-USER"));
        let how = match chain.policy {
            _ if is_explained => continue,
            "drop" => "by its policy",
            _ if chain.rules.iter().any(|rule| drops_all(rule)) => "by a rule without a condition",
            _ => continue,
        };
        findings.push(Finding {
            code: Code::ForeignDrop,
            object: None,
            place: Some(chain.name.to_string()),
            process: None,
            message: format!(
                "the chain {} drops {how} what it does not know (hook {}), declared or not; let in there what is \
                 declared, or remove the chain",
                chain.name, chain.hook
            ),
        });
    }
    findings
}

fn filters(chain: &Chain<'_>) -> bool {
    let family = ["ip", "ip6", "inet"].contains(&chain.name.family);
    family && ["input", "forward", "output"].contains(&chain.hook) && chain.kind != "nat" && !chain.name.is_own()
}

/// Whether the rule drops or rejects every packet that comes to it.
fn drops_all(rule: &[Value]) -> bool {
    let is_verdict = |part: &Value| {
        matches!(statement(part), Some(("drop" | "reject", _)))
            || is_xtables(part, "target", "REJECT")
            || is_xtables(part, "target", "DROP")
    };
    let decides_nothing =
        |part: &Value| matches!(statement(part), Some(("counter" | "log", _))) || is_xtables(part, "target", "LOG");
    rule.split_last().is_some_and(|(last, before)| is_verdict(last) && before.iter().all(decides_nothing))
}

/// Returns what is in the kernel's old tables. `tables` are the contents of `/proc/net/ip_tables_names` and of its fellow of
/// IPv6.
pub fn legacy_tables(tables: [Option<&[u8]>; 2]) -> Vec<Finding> {
    let finding = |(program, tables): (&str, Option<&[u8]>)| {
        let names = String::from_utf8_lossy(tables?).split_whitespace().collect::<Vec<_>>().join(", ");
        let message = format!(
            "the kernel's old tables are in use ({names}): what they drop is dropped, and what they pass on is not seen; \
             `{program}-save` shows them, iptables-translate helps to move them to nftables"
        );
        let place = Some(program.to_owned());
        (!names.is_empty()).then_some(Finding {
            code: Code::IptablesLegacy,
            object: None,
            place,
            process: None,
            message,
        })
    };
    ["iptables-legacy", "ip6tables-legacy"].into_iter().zip(tables).filter_map(finding).collect()
}
