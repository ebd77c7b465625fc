# Checks clients with Mail::SPF; input and output are those of pyspf.py.
use strict;
use warnings;
use JSON::PP;
use Net::DNS;
use Mail::SPF;

package Records;
sub send {
    my ($self, $name, $type) = @_;
    $name =~ s/\.$//;
    my $packet = Net::DNS::Packet->new($name, $type);
    my $found = $self->{lc($name) . " $type"};
    my $known = $found || grep { index($_, lc($name) . ' ') == 0 } keys %$self;
    $packet->header->rcode($known ? 'NOERROR' : 'NXDOMAIN');
    for my $data (@{ $found || [] }) {
        my %of = (owner => $name, type => $type);
        if ($type eq 'TXT') { $of{txtdata} = [$data =~ /(.{1,255})/gs] }
        elsif ($type eq 'MX') { @of{qw(preference exchange)} = split ' ', $data }
        elsif ($type eq 'PTR') { $of{ptrdname} = $data }
        else { $of{address} = $data }
        $packet->push(answer => Net::DNS::RR->new(%of));
    }
    return $packet;
}
sub query { my $self = shift; return $self->send(@_) }
sub errorstring { return 'NXDOMAIN' }

package main;
$| = 1;
my $server = Mail::SPF::Server->new(dns_resolver => bless(decode_json(scalar <STDIN>), 'Records'), query_rr_types => Mail::SPF::Server->query_rr_type_txt);
while (my $line = <STDIN>) {
    my ($client, $helo, $sender) = @{ decode_json($line) };
    my $result = eval {
        my $request = Mail::SPF::Request->new(scope => 'mfrom', identity => $sender, ip_address => $client, helo_identity => $helo);
        $server->process($request)->code;
    };
    $result = "died: $@" if !defined $result;
    $result =~ s/\n/ /g;
    print "$result\n";
}
