// SPDX-License-Identifier: Apache-2.0
//! What the courier tells others, confined as the unit of the package confines it.

use crate::fleet::start_units;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::eventually;
use crate::site::{BASE, Site};

const PORT: &str = "127.0.0.1:9731";

/// Takes what is posted, and writes it down.
const RECEIVER: &str = r#"
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8088, Listen => 5) or die $!;
while (my $client = $server->accept) {
    my $length = 0;
    while (my $line = <$client>) {
        $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
        last if $line eq "\r\n";
    }
    read $client, my $body, $length;
    open my $file, ">>", "/run/received" or die $!;
    print $file "$body\n";
    close $file;
    print $client "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    close $client;
}"#;

/// It answers for metrics, and posts reports.
pub fn are_told(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    site.configure_with(&format!(
        "metrics: {{listen: {PORT}}}\nreports:\n  - name: hook\n    webhook: {{url: http://127.0.0.1:8088/hook}}\n"
    ));
    web1.write("/run/receiver.pl", RECEIVER);
    web1.run(&["systemd-run", "--unit=receiver", "perl", "/run/receiver.pl"]).ok();
    start_units(web1);
    let page = || {
        let ask = format!(
            "exec 3<>/dev/tcp/{} && printf 'GET /metrics HTTP/1.1\\r\\nHost: web1\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3",
            PORT.replace(':', "/")
        );
        web1.run(&["bash", "-c", &ask]).stdout
    };
    eventually("the page says that all is well", || page().contains("hostwrit_health{state=\"converged\"} 1"));
    let first = page();
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("hostwrit_courier_up 1"), "{first}");

    // This host has no kernel of its own; then one, and then another one that is booted next.
    assert!(!first.contains("hostwrit_reboot_needed "), "{first}");
    web1.sh("touch /boot/vmlinuz-$(uname -r) && ln -s boot/vmlinuz-$(uname -r) /vmlinuz").ok();
    eventually("it runs what is booted next", || page().contains("hostwrit_reboot_needed 0"));
    web1.sh("touch /boot/vmlinuz-99.1 && ln -sfn boot/vmlinuz-99.1 /vmlinuz").ok();
    eventually("a new kernel is seen", || page().contains("hostwrit_reboot_needed 1"));

    // What somebody else puts there is told of by its age, and no more once it was renewed.
    let motd = site.infra.read(BASE);
    site.infra.write(BASE, &format!("{motd}  /etc/client.token: {{mode: \"0600\", renew: {{every: 30d}}}}\n"));
    web1.sh("echo token >/etc/client.token && touch -d 2020-01-01T00:00:00Z /etc/client.token").ok();
    site.infra.publish("a token", Signer::Alice);
    let due = "hostwrit_secret_due_timestamp_seconds{secret=\"file:/etc/client.token\"} 1580428800";
    eventually("it is told when it was due", || page().contains(due));
    assert!(page().contains("hostwrit_findings{code=\"renew-overdue\"} 1"), "{}", page());
    web1.sh("echo new >/etc/client.token").ok();
    eventually("it was renewed", || page().contains("hostwrit_findings{code=\"renew-overdue\"} 0"));
    assert_eq!(web1.run(&["stat", "-c", "%a", "/etc/client.token"]).text(), "600");

    let received = || web1.read("/run/received").unwrap_or_default();
    eventually("what was done is reported", || received().contains("file:/etc/motd"));
    site.order_motd("The second order.");
    let refused = site.infra.publish("by somebody", Signer::Mallory);
    eventually("a refusal is reported", || received().contains("unknown-signer") || received().contains(&refused));
    eventually("and counted", || page().contains("sort=\"refusal\"} 1"));
    eventually("nothing waits", || page().contains("hostwrit_spool_waiting_reports 0"));
    assert!(!web1.journal().contains("nothing is reported"), "the courier cannot read its configuration");
}
