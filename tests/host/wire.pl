# Real connections, with what a minimal Debian has.
#   wire.pl serve 80/tcp 53/udp ..           echoes on these ports, of both families, until it is killed
#   wire.pl reach ADDRESS PORT/PROTO ..      one line for each port: PORT/PROTO reached, or PORT/PROTO silent
#   wire.pl hold ADDRESS PORT/tcp COUNT      opens COUNT connections one after the other, says how many spoke, keeps them
#   wire.pl storm ADDRESS OPEN CLOSED COUNT  holds COUNT connections to OPEN/tcp and speaks on all; begins new ones, and sends
#                                            datagrams from new sources, to both ports, until /run/wire-stop is there
use strict;
use warnings;
use Socket qw(:all);
use IO::Select;

$| = 1;
my $PATIENCE = $ENV{WIRE_PATIENCE} // 4;

sub address {
    my ($host, $port) = @_;
    return $host =~ /:/ ? (PF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $host)))
                        : (PF_INET, pack_sockaddr_in($port, inet_pton(AF_INET, $host)));
}

# Sends a word and waits for it to come back; returns the socket if it did.
sub speak {
    my ($host, $name, $patience) = @_;
    my ($port, $proto) = split m{/}, $name;
    my ($family, $to) = address($host, $port);
    socket(my $socket, $family, $proto eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0) or die "socket: $!";
    my $answer;
    local $SIG{ALRM} = sub { die "silent\n" };
    eval {
        alarm $patience;
        connect($socket, $to) or die "silent\n";
        syswrite($socket, "word") or die "silent\n";
        sysread($socket, $answer, 4) or die "silent\n";
        alarm 0;
    };
    alarm 0;
    return defined $answer && $answer eq 'word' ? $socket : undef;
}

sub serve {
    my (%streams, %datagrams);
    my $select = IO::Select->new;
    for my $name (@_) {
        my ($port, $proto) = split m{/}, $name;
        socket(my $socket, PF_INET6, $proto eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0) or die "socket: $!";
        setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
        setsockopt($socket, SOL_SOCKET, SO_RCVBUF, 4 << 20);
        setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
        bind($socket, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die "$name: $!";
        if ($proto eq 'tcp') { listen($socket, 4096) or die "listen: $!"; $streams{$socket} = 1 }
        else { $datagrams{$socket} = 1 }
        $select->add($socket);
    }
    while (1) {
        for my $socket ($select->can_read) {
            if ($streams{$socket}) {
                accept(my $client, $socket) or next;
                $select->add($client);
            } elsif ($datagrams{$socket}) {
                my $from = recv($socket, my $word, 64, 0);
                send($socket, $word, 0, $from) if defined $from;
            } elsif (sysread($socket, my $word, 64)) {
                syswrite($socket, $word);
            } else {
                $select->remove($socket);
                close $socket;
            }
        }
    }
}

sub reach {
    my ($host, @names) = @_;
    my @pipes;
    for my $name (@names) {
        my $child = open(my $pipe, '-|') // die "fork: $!";
        if (!$child) { print speak($host, $name, $PATIENCE) ? "reached\n" : "silent\n"; exit 0 }
        push @pipes, [$name, $pipe];
    }
    for (@pipes) { my ($name, $pipe) = @$_; print "$name ", scalar <$pipe> }
}

sub hold {
    my ($host, $name, $count) = @_;
    my @held = grep { $_ } map { speak($host, $name, $PATIENCE) } 1 .. $count;
    print scalar(@held), "\n";
    sleep 1 while !-e '/run/wire-stop';
}

sub storm {
    my ($host, $open, $closed, $count) = @_;
    my @held = map { speak($host, "$open/tcp", 30) // die "no connection $_ before the storm\n" } 1 .. $count;
    open(my $ready, '>', '/run/wire-ready') or die "$!";
    my %seen = (rounds => 0, begun => 0, refused => 0, admitted => 0, lost => 0, broken => 0);
    $SIG{PIPE} = 'IGNORE';
    while (!-e '/run/wire-stop') {
        # What must not come in is tried without waiting: whatever comes back counts, at once or later.
        my ($family, $to) = address($host, $closed);
        socket(my $stream, $family, SOCK_STREAM | SOCK_NONBLOCK, 0) or die "$!";
        connect($stream, $to);
        socket(my $datagram, $family, SOCK_DGRAM, 0) or die "$!";
        connect($datagram, $to);
        syswrite($datagram, 'word');
        # A datagram is sent once: one that meets a filter that is closed for a moment is lost.
        for (1 .. 20) { speak($host, "$open/udp", 8) ? $seen{begun}++ : $seen{lost}++ }
        for (1 .. 5) { speak($host, "$open/tcp", 10) ? $seen{begun}++ : $seen{refused}++ }
        for my $socket (@held) { syswrite($socket, 'word') or $seen{broken}++ }
        for my $socket (@held) {
            my $ready = '';
            vec($ready, fileno($socket), 1) = 1;
            select($ready, undef, undef, 30) && sysread($socket, my $word, 64) or $seen{broken}++;
        }
        $seen{admitted}++ if getpeername($stream) || defined recv($datagram, my $word, 64, MSG_DONTWAIT);
        $seen{rounds}++;
    }
    print join(' ', map { "$_=$seen{$_}" } sort keys %seen), "\n";
}

my $what = shift;
{ serve => \&serve, reach => \&reach, hold => \&hold, storm => \&storm }->{$what}->(@ARGV);
