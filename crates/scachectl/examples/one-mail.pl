#!/usr/bin/perl
# One mail from Perl, over a connection that scachectl(1) has made or found:
#
#     scachectl connect mail.example.com:25 ./one-mail.pl me@example.com you@example.com

use strict;
use warnings;

my ($from, $to) = @ARGV;
die "usage: one-mail.pl FROM TO\n" unless defined $to;
open(my $in, '<&=', 6) and open(my $out, '>&=', 7)
    or die "one-mail.pl: run it by scachectl connect\n";
binmode $_ for $in, $out;
$out->autoflush(1);

# Nothing else comes behind a reply, so what perl reads ahead is nothing that the next one would miss.
sub hear {
    my ($code) = @_;
    while (my $line = <$in>) {
        next if $line =~ /^$code-/;
        return if $line =~ /^$code/;
        die "one-mail.pl: the server says: $line";
    }
    die "one-mail.pl: the server has closed the connection\n";
}

sub say_and_hear {
    my ($line, $code) = @_;
    print $out "$line\r\n";
    hear($code);
}

if ($ENV{SCACHE_REUSED}) {
    say_and_hear('RSET', 250);
} else {
    hear(220);
    say_and_hear('EHLO localhost', 250);
}
say_and_hear("MAIL FROM:<$from>", 250);
say_and_hear("RCPT TO:<$to>", 250);
say_and_hear('DATA', 354);
say_and_hear("From: <$from>\r\nTo: <$to>\r\nSubject: from Perl\r\n\r\nHello.\r\n.", 250);
# The end with 0 leaves the session to the next one; die would have closed it.
