# Verifies ARC chains with Mail::DKIM::ARC::Verifier; input and output are those of dkimpy.py.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use Net::DNS;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;

package Records;
sub send {
    my ($self, $name, $type) = @_;
    my $packet = Net::DNS::Packet->new($name, $type);
    my $found = $self->{lc $name};
    $packet->header->rcode($found ? 'NOERROR' : 'NXDOMAIN');
    if ($found) {
        my @parts = $found =~ /(.{1,255})/gs;
        $packet->push(answer => Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@parts));
    }
    return $packet;
}
sub errorstring { return 'NOERROR' }

package main;
Mail::DKIM::DNS::resolver(bless decode_json(scalar <STDIN>), 'Records');
while (my $line = <STDIN>) {
    my $message = decode_base64($line);
    my $arc = Mail::DKIM::ARC::Verifier->new;
    my $ok = eval { $arc->PRINT($message); $arc->CLOSE; 1 };
    print encode_json($ok ? [$arc->result, $arc->result_detail] : ['died', "$@"]), "\n";
}
