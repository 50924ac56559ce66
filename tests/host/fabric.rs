// SPDX-License-Identifier: Apache-2.0
//! The network that the hosts of one scenario are plugged into: a bridge without a way out.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::process::{Background, bound, run};

/// The fabric's own address, on which servers of a scenario listen.
pub const ADDRESS: &str = "192.0.2.1";

/// A network namespace with a bridge. It ends, with all that is in it, on drop or when the test run ends.
pub struct Fabric {
    process: Background,
}

impl Fabric {
    pub fn new() -> Self {
        let mut command = bound("unshare");
        command.args(["--net", "sh", "-ec"]).stdout(Stdio::piped());
        command.arg(format!(
            "ip link set lo up
             ip link add br0 type bridge
             ip address add {ADDRESS}/24 dev br0
             ip link set br0 up
             echo ready
             exec sleep infinity"
        ));
        let mut process = Background::start(command);
        let stdout = process.child().stdout.take().expect("stdout was asked for");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line, "ready\n", "the fabric could not be made");
        Self { process }
    }

    /// Returns a command that runs in the fabric, with the machine's files.
    pub fn command(&self, program: &str) -> Command {
        let mut command = bound("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.process.id())).args(["--", program]);
        command
    }

    /// Pulls the host's cable.
    pub fn unplug(&self, host: &str) {
        self.set_link(host, "down");
    }

    /// Puts the host's cable in again.
    pub fn plug(&self, host: &str) {
        self.set_link(host, "up");
    }

    /// Drops this much of what the host sends, in per cent; with 100, it speaks into a void.
    pub fn lose(&self, host: &str, percent: u8) {
        let table = format!("netdev loss_{host}");
        let last = percent.saturating_sub(1);
        let rules = format!(
            "table {table} {{\n chain sent {{\n type filter hook ingress device \"vb-{host}\" priority 0; policy accept;\n \
             numgen random mod 100 <= {last} drop\n }}\n }}\n"
        );
        let mut command = self.command("nft");
        command.arg(rules);
        run(command);
    }

    /// Ends what [`Fabric::lose`] began.
    pub fn lose_nothing(&self, host: &str) {
        let mut command = self.command("nft");
        command.arg(format!("delete table netdev loss_{host}"));
        run(command);
    }

    fn set_link(&self, host: &str, state: &str) {
        let mut command = self.command("ip");
        command.args(["link", "set", &format!("vb-{host}"), state]);
        run(command);
    }
}
