# Verifies messages with Mail::DKIM; input and output are those of dkimpy.py.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use Net::DNS;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;

package Records;
sub send {
    my ($self, $name, $type) = @_;
    my $packet = Net::DNS::Packet->new($name, $type);
    my $found = $self->{lc $name};
    $packet->header->rcode($found ? 'NOERROR' : 'NXDOMAIN');
    for my $text (@{ $found || [] }) {
        my @parts = $text =~ /(.{1,255})/gs;
        $packet->push(answer => Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@parts));
    }
    return $packet;
}
sub errorstring { return 'NOERROR' }

package main;
Mail::DKIM::DNS::resolver(bless decode_json(scalar <STDIN>), 'Records');
while (my $line = <STDIN>) {
    my $message = decode_base64($line);
    my $dkim = Mail::DKIM::Verifier->new;
    my $ok = eval { $dkim->PRINT($message); $dkim->CLOSE; 1 };
    my @verdicts = $ok ? map { $_->result eq 'pass' ? 'pass' : $_->result_detail } $dkim->signatures : ("died: $@");
    print encode_json(\@verdicts), "\n";
}
