package config

import (
	"net/netip"

	"gatepost/telemetry"
)

// Config is the whole file. Every field says in its tags what it is called,
// what it is when absent, which values it takes and what it means; the
// reference documentation is made of them.
type Config struct {
	Hostname   string `yaml:"hostname" need:"yes" doc:"Name of this node: HELO name of deliveries, the 'by' of Received, default EHLO."`
	AuthservID string `yaml:"authserv_id" doc:"Name in Authentication-Results, the same on all nodes. Default: hostname."`
	Postmaster string `yaml:"postmaster" doc:"From of notices; mail to <postmaster> without a domain arrives here. Default: postmaster@hostname."`
	DataDir    string `yaml:"data_dir" default:"/var/lib/gatepost" doc:"Embedded store, spool of messages being received, socket of the command line."`

	Store   Store   `yaml:"store" doc:"Where messages, keys and traces are kept."`
	Log     Log     `yaml:"log" doc:"The log on standard error."`
	History History `yaml:"history" doc:"What is remembered of messages that have ended."`
	TLS     TLS     `yaml:"tls" doc:"Certificates of the listeners."`
	DNS     DNS     `yaml:"dns" doc:"Resolvers."`
	Limits  Limits  `yaml:"limits" doc:"Bounds of a session; a listener may override any of them under its own 'limits'."`

	RelayClients []RelayClient `yaml:"relay_clients" doc:"Who may relay through us by address, and as whom."`
	Users        []User        `yaml:"users" doc:"Who may relay through us by AUTH, and as whom."`
	Listeners    []Listener    `yaml:"listeners" need:"yes" doc:"Where mail comes in."`
	NextHops     []NextHop     `yaml:"next_hops" doc:"Servers that we hand mail to."`
	Domains      []Domain      `yaml:"domains" doc:"Domains that this gateway answers for."`
	Routes       []Route       `yaml:"routes" doc:"Where all other mail goes; the first match wins, no match is the MX of the recipient's domain."`

	Delivery Delivery `yaml:"delivery" doc:"How mail leaves."`
	DKIM     DKIM     `yaml:"dkim" doc:"Signing of vouched mail."`
	Policy   Policy   `yaml:"policy" doc:"Judgement of mail that comes in on the mx role."`
	Report   Report   `yaml:"report" doc:"Reports that others send us, and reports to domain owners."`

	Health  Endpoint `yaml:"health" doc:"/healthz and /readyz, nothing else."`
	Metrics Endpoint `yaml:"metrics" doc:"/metrics for Prometheus."`
	Admin   Admin    `yaml:"admin" doc:"Administration over HTTP; not supported yet."`

	ShutdownGrace Duration `yaml:"shutdown_grace" default:"30s" doc:"How long a running DATA and a running delivery may take to end after SIGTERM."`
}

// Store says where messages are kept.
type Store struct {
	URL     URL              `yaml:"url" default:"sqlite" doc:"sqlite (in data_dir) or postgres://user:password@host:port/database."`
	SealKey telemetry.Secret `yaml:"seal_key" doc:"32 octets in base64 that seal DKIM private keys at rest. With sqlite made in data_dir when absent."`
	MinFree Size             `yaml:"min_free" default:"1GiB" doc:"With less free disk than this clients are answered 452."`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" default:"info" values:"debug|info|warn|error" doc:"Least severity that is written."`
	Format string `yaml:"format" default:"json" values:"json|text" doc:"One JSON object or one text line per event."`
}

// History says how long traces are kept.
type History struct {
	Keep Duration `yaml:"keep" default:"14d" doc:"How long the trace of an ended or refused message is kept."`
}

// TLS holds the certificates.
type TLS struct {
	Certificates []Certificate `yaml:"certificates" doc:"Chosen by SNI, the first when none fits; reread when the files change."`
	ClientCA     string        `yaml:"client_ca" doc:"PEM file of the authorities of client certificates; not supported yet."`
}

// Certificate is a pair of PEM files.
type Certificate struct {
	Cert string `yaml:"cert" need:"yes" doc:"PEM file: the certificate and its chain."`
	Key  string `yaml:"key" need:"yes" doc:"PEM file: the private key."`
}

// DNS names the resolvers.
type DNS struct {
	Servers []Resolver `yaml:"servers" doc:"Asked in order. Empty: /etc/resolv.conf, never trusted for DNSSEC."`
	Timeout Duration   `yaml:"timeout" default:"5s" doc:"Bound of one look-up with all its tries."`
}

// Resolver is one DNS server.
type Resolver struct {
	Address    string `yaml:"address" need:"yes" doc:"host:port."`
	Validating bool   `yaml:"validating" doc:"Its AD bit counts: it validates DNSSEC and the way to it is safe."`
}

// Limits bound what a client may cost.
type Limits struct {
	MessageSize          Size     `yaml:"message_size" default:"50MiB" doc:"Largest message; 552 5.3.4 above it."`
	HeaderSize           Size     `yaml:"header_size" default:"256KiB" doc:"Largest header; 552 5.3.4 above it."`
	RecipientsPerMessage int      `yaml:"recipients_per_message" default:"100" doc:"452 4.5.3 above it."`
	Connections          int      `yaml:"connections" default:"1000" doc:"Open sessions of one listener; 421 before the banner above it."`
	ConnectionsPerClient int      `yaml:"connections_per_client" default:"50" doc:"Open sessions per IPv4 address or IPv6 prefix; 421 before the banner above it."`
	IPv6Prefix           int      `yaml:"ipv6_prefix" default:"64" doc:"Length of the IPv6 prefix that counts as one client."`
	ErrorsPerSession     int      `yaml:"errors_per_session" default:"10" doc:"Refused commands of a session, then 421."`
	JunkCommands         int      `yaml:"junk_commands" default:"100" doc:"Commands between messages that move no mail (EHLO, NOOP, RSET, VRFY and the like), then 421."`
	AuthFailures         int      `yaml:"auth_failures" default:"5" doc:"Failed AUTH per session; per client and hour ten times that."`
	CommandTimeout       Duration `yaml:"command_timeout" default:"5m" doc:"Wait for the next command."`
	DataTimeout          Duration `yaml:"data_timeout" default:"10m" doc:"Time for a whole message."`
	SessionTimeout       Duration `yaml:"session_timeout" default:"30m" doc:"Time for a whole session."`
	ReceivedHops         int      `yaml:"received_hops" default:"50" doc:"Received fields of a message; 554 5.4.6 above it."`
}

// RelayClient may relay by its address.
type RelayClient struct {
	Name      string         `yaml:"name" need:"yes" unique:"yes" doc:"Name in listeners, logs and traces."`
	Addresses []netip.Prefix `yaml:"addresses" need:"yes" doc:"Addresses and ranges (CIDR)."`
	SendAs    []string       `yaml:"send_as" doc:"What the envelope sender and the header From may be: '@example.com', 'user@example.com', '@*.example.com'. The null reverse-path is always allowed."`
	OtherFrom string         `yaml:"other_from" default:"refuse" values:"refuse|unsigned" doc:"Mail with another header From: refused, or relayed without our signature."`
}

// User may relay after AUTH.
type User struct {
	Name         string             `yaml:"name" need:"yes" unique:"yes" doc:"Name for AUTH."`
	PasswordHash telemetry.Secret   `yaml:"password_hash" doc:"argon2id, made by 'gatepost user hash'."`
	SCRAM        telemetry.Secret   `yaml:"scram_sha_256" doc:"Verifier for SCRAM-SHA-256; not supported yet."`
	Certificate  *ClientCertificate `yaml:"certificate" doc:"Client certificate for EXTERNAL; not supported yet."`
	SendAs       []string           `yaml:"send_as" doc:"As for relay clients."`
	OtherFrom    string             `yaml:"other_from" default:"refuse" values:"refuse|unsigned" doc:"As for relay clients."`
}

// ClientCertificate names a client certificate.
type ClientCertificate struct {
	DNS  string `yaml:"dns" doc:"A DNS name of the certificate."`
	SPKI string `yaml:"spki_sha256" doc:"SHA-256 of its public key in base64."`
}

// Listener is where mail comes in.
type Listener struct {
	Name          string        `yaml:"name" need:"yes" unique:"yes" doc:"Name in routes, logs and metrics."`
	Address       string        `yaml:"address" need:"yes" doc:"host:port; without a host, every address."`
	Role          string        `yaml:"role" need:"yes" values:"mx|smarthost" doc:"mx: recipients in 'domains' only and mail is judged, but a session of its relay_clients relays. smarthost: relays for relay_clients and users only."`
	RelayClients  []string      `yaml:"relay_clients" doc:"Names of relay clients that are honoured here."`
	TLS           ListenerTLS   `yaml:"tls" doc:"TLS of this listener."`
	Auth          ListenerAuth  `yaml:"auth" doc:"AUTH of this listener, offered inside TLS only."`
	BareNewline   BareNewline   `yaml:"bare_newline" doc:"What to do with a line that ends in CR or LF alone."`
	Chunking      bool          `yaml:"chunking" default:"true" doc:"Offer CHUNKING (BDAT), as Exchange uses it."`
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol" doc:"PROXY v1 and v2 before the session."`
	// Limits begins as the global limits; what the file gives here is laid over them.
	Limits Limits `yaml:"limits" inherit:"yes" doc:"Overrides of the global limits."`
}

// ListenerTLS says when TLS is used.
type ListenerTLS struct {
	Mode       string `yaml:"mode" default:"optional" values:"off|optional|required|implicit" doc:"off; STARTTLS optional; STARTTLS required before MAIL; TLS from the first octet."`
	MinVersion string `yaml:"min_version" default:"1.2" values:"1.0|1.1|1.2|1.3" doc:"Oldest TLS version."`
	ClientCert string `yaml:"client_cert" default:"none" values:"none|request|require" doc:"Client certificates; request and require are not supported yet."`
}

// ListenerAuth says which mechanisms are offered.
type ListenerAuth struct {
	Mechanisms []string `yaml:"mechanisms" values:"PLAIN|LOGIN|SCRAM-SHA-256|EXTERNAL" doc:"None: AUTH is not offered. SCRAM-SHA-256 and EXTERNAL are not supported yet."`
}

// BareNewline says what happens to bare CR and LF in message data.
type BareNewline struct {
	Data string `yaml:"data" default:"reject" values:"reject|normalize" doc:"In DATA, where a bare LF can smuggle a second message."`
	BDAT string `yaml:"bdat" default:"normalize" values:"reject|normalize" doc:"In BDAT, which is counted, so that nothing can be smuggled."`
}

// ProxyProtocol names the load balancers.
type ProxyProtocol struct {
	Trusted []netip.Prefix `yaml:"trusted" doc:"PROXY is required from these and refused from all others. None: PROXY is not spoken."`
}

// NextHop is a server that takes our mail.
type NextHop struct {
	Name        string      `yaml:"name" need:"yes" unique:"yes" doc:"Name in domains and routes; 'mx' is taken."`
	URLs        []string    `yaml:"urls" need:"yes" doc:"smtp://host:port, smtps://host:port, lmtp://host:port, lmtp:///socket (no MX look-up) or mx://domain."`
	Select      string      `yaml:"select" default:"ordered" values:"ordered|random" doc:"Which of the urls is tried first."`
	TLS         DeliveryTLS `yaml:"tls" doc:"TLS towards this server."`
	Auth        HopAuth     `yaml:"auth" doc:"AUTH towards this server."`
	EHLO        string      `yaml:"ehlo" doc:"EHLO name. Default: delivery.ehlo."`
	EightBit    string      `yaml:"eight_bit" default:"standard" values:"standard|force" doc:"When the server lacks 8BITMIME. standard: relayed mail is re-encoded, judged mail is bounced 5.6.3. force: sent as it is."`
	Connections int         `yaml:"connections" doc:"Connections at a time. Default: delivery.connections_per_destination."`
	MaxAge      Duration    `yaml:"max_age" default:"5m" doc:"Oldest kept connection that is used again."`
}

// DeliveryTLS is the TLS rule towards a server.
type DeliveryTLS struct {
	Policy     string       `yaml:"policy" values:"off|opportunistic|require|verify|dane|policy" doc:"Default: delivery.tls. opportunistic never fails for TLS; require encrypts to whoever answers; verify checks the name too; dane and policy are not supported yet."`
	Name       string       `yaml:"name" doc:"Name in the server's certificate. Default: its host name."`
	CA         string       `yaml:"ca" doc:"PEM file of authorities. Default: those of the system, else the embedded ones."`
	ClientCert *Certificate `yaml:"client_cert" doc:"Our certificate towards the server."`
}

// HopAuth is our login at a server.
type HopAuth struct {
	Mechanism string           `yaml:"mechanism" values:"PLAIN|LOGIN" doc:"None: no AUTH. Used inside TLS only."`
	Username  string           `yaml:"username" doc:"Our name there."`
	Password  telemetry.Secret `yaml:"password" doc:"Our password there."`
}

// Domain is a domain that this gateway answers for.
type Domain struct {
	Name       string     `yaml:"name" need:"yes" unique:"yes" doc:"The domain; subdomains are domains of their own."`
	NextHop    string     `yaml:"next_hop" need:"yes" doc:"Name of the next hop, or mx."`
	Recipients Recipients `yaml:"recipients" need:"yes" doc:"Which mailboxes exist."`
	Spoofed    string     `yaml:"spoofed" default:"none" values:"none|tag|quarantine|reject" doc:"What happens to mail on the mx role whose From is of this domain, or of a subdomain that is not in 'domains' itself, and that neither SPF, DKIM nor DMARC proves."`
}

// Recipients says which mailboxes of a domain exist.
type Recipients struct {
	Accept string `yaml:"accept" values:"all" doc:"all: every local part."`
	File   string `yaml:"file" doc:"One address per line; reread when it changes."`
}

// Route sends mail to a next hop.
type Route struct {
	Match   Match  `yaml:"match" doc:"All of the given conditions must hold."`
	NextHop string `yaml:"next_hop" need:"yes" doc:"Name of the next hop, or mx."`
}

// Match is a condition on a message.
type Match struct {
	Recipients []string `yaml:"recipients" doc:"Domains of the recipient: example.com, *.example.com, *."`
	Senders    []string `yaml:"senders" doc:"Domains of the envelope sender, likewise."`
	Listeners  []string `yaml:"listeners" doc:"Names of listeners."`
}

// Delivery says how mail leaves.
type Delivery struct {
	EHLO                      string       `yaml:"ehlo" doc:"Default: hostname."`
	TLS                       DeliveryTLS  `yaml:"tls" doc:"TLS towards servers found by MX, and default for next hops."`
	Retry                     []Duration   `yaml:"retry" default:"1m 5m 15m 30m 1h 2h 4h" doc:"Waits between attempts; the last one repeats, each with jitter."`
	Expire                    Duration     `yaml:"expire" default:"5d" doc:"Age at which an undelivered message is bounced."`
	WarnAfter                 Duration     `yaml:"warn_after" default:"4h" doc:"Age at which the sender is told of the delay; 0 = never."`
	Connections               int          `yaml:"connections" default:"500" doc:"Outbound connections at a time."`
	ConnectionsPerDestination int          `yaml:"connections_per_destination" default:"10" doc:"The same per destination."`
	MessagesPerConnection     int          `yaml:"messages_per_connection" default:"100" doc:"Then the connection is closed."`
	RecipientsPerMessage      int          `yaml:"recipients_per_message" default:"100" doc:"More recipients are sent in several transactions."`
	SourceAddresses           []netip.Addr `yaml:"source_addresses" doc:"Local addresses of outbound connections, used in turn by family."`
}

// DKIM says what is signed.
type DKIM struct {
	Sign         []SignRule `yaml:"sign" doc:"By domain of the header From; of several rules the one with the longest matching domain holds."`
	Keys         []KeyFile  `yaml:"keys" doc:"Keys from mounted files, beside those of the key ring."`
	CheckServers []string   `yaml:"check_servers" doc:"Resolvers that see the public zone, where DNS inside differs: host:port."`
	Rotation     Rotation   `yaml:"rotation" doc:"Automatic rotation; not supported yet."`
}

// SignRule is how mail of some domains is signed.
type SignRule struct {
	Domains    []string `yaml:"domains" need:"yes" doc:"Domains of the header From."`
	Subdomains bool     `yaml:"subdomains" doc:"Sign mail of subdomains with d= of the domain."`
	Algorithms []string `yaml:"algorithms" default:"rsa-2048" values:"rsa-2048|ed25519" doc:"One signature each."`
	Headers    []string `yaml:"headers" default:"From To Cc Subject Date Message-ID Reply-To Content-Type Content-Transfer-Encoding MIME-Version In-Reply-To References List-Unsubscribe List-Unsubscribe-Post" doc:"Fields that are signed where present."`
	Oversign   []string `yaml:"oversign" default:"From To Cc Subject Date Reply-To" doc:"Fields that no one may add later."`
	Expire     Duration `yaml:"expire" default:"7d" doc:"x= of the signature; 0 = none."`
	Existing   string   `yaml:"existing" default:"keep" values:"keep|replace|add" doc:"A signature of the same d= that is already there: not signed again, removed first, or signed beside it."`
}

// KeyFile is a DKIM key in a file.
type KeyFile struct {
	Domain   string `yaml:"domain" need:"yes" doc:"d= of the key."`
	Selector string `yaml:"selector" need:"yes" doc:"s= of the key."`
	File     string `yaml:"file" need:"yes" doc:"PEM file, PKCS#1 or PKCS#8."`
}

// Rotation is the plan of key rotation.
type Rotation struct {
	Every   Duration `yaml:"every" doc:"Age at which a new key is made; not supported yet."`
	Overlap Duration `yaml:"overlap" doc:"How long the old key stays published; not supported yet."`
}

// Policy says how mail of the mx role is judged.
type Policy struct {
	Mode         string         `yaml:"mode" default:"enforce" values:"monitor|enforce" doc:"monitor: judge, stamp and log, never act."`
	BadFrom      string         `yaml:"bad_from" default:"reject" values:"reject|quarantine" doc:"What happens to mail of strangers whose From field is not exactly one address, so that nobody can be judged: 550 5.7.1, or held for a look. Relay clients are always refused."`
	SPF          SPFPolicy      `yaml:"spf" doc:"What an SPF result alone does."`
	DKIM         DKIMPolicy     `yaml:"dkim" doc:"Which signatures count."`
	DMARC        DMARCPolicy    `yaml:"dmarc" doc:"What DMARC does."`
	ARC          ARCPolicy      `yaml:"arc" doc:"Chains of forwarders (Authenticated Received Chain)."`
	Overrides    []Override     `yaml:"overrides" doc:"Exceptions for unproven mail that a known forwarder brings: one author's domain, one forwarder, until a day. Mail that is proven needs none."`
	Upstreams    []Upstream     `yaml:"upstreams" doc:"Filters of ours that mail passes before it comes here: the client that they recorded is judged. Relaying is by the connection, whatever stands here."`
	Exempt       []netip.Prefix `yaml:"exempt" doc:"Clients that are never judged."`
	Tag          TagPolicy      `yaml:"tag" doc:"The field that marks tagged mail."`
	StripInbound []string       `yaml:"strip_inbound" default:"X-Gatepost-* X-MS-Exchange-Organization-* X-MS-Exchange-Forest-*" doc:"Fields removed from mail of the mx role."`
	Quarantine   Quarantine     `yaml:"quarantine" doc:"Mail that is accepted and held."`
}

// SPFPolicy acts on an SPF result alone.
type SPFPolicy struct {
	Fail     string `yaml:"fail" default:"none" values:"none|tag|quarantine|reject" doc:"On fail."`
	Softfail string `yaml:"softfail" default:"none" values:"none|tag|quarantine|reject" doc:"On softfail."`
}

// DKIMPolicy bounds which signatures count.
type DKIMPolicy struct {
	MinRSABits    int    `yaml:"min_rsa_bits" default:"1024" doc:"Shorter RSA keys give 'policy'."`
	MaxSignatures int    `yaml:"max_signatures" default:"10" doc:"Further signatures are not verified."`
	BodyLengthTag string `yaml:"body_length_tag" default:"unsafe" values:"unsafe|accept" doc:"l=: unsafe signatures do not count."`
}

// DMARCPolicy says what the domain owner's wish does here.
type DMARCPolicy struct {
	Enabled        bool   `yaml:"enabled" default:"true" doc:"Judge by DMARC."`
	Discovery      string `yaml:"discovery" default:"treewalk" values:"treewalk|psl|compare" doc:"How organizational domains are found. treewalk: RFC 9989. psl: RFC 7489, by the list of public suffixes in the binary. compare: treewalk decides, differences are counted and logged."`
	HonorPct       bool   `yaml:"honor_pct" default:"true" doc:"RFC 7489 pct, where the record has no t= (RFC 9989)."`
	EnforcePercent int    `yaml:"enforce_percent" default:"100" doc:"Share of failing mail that is acted on: a local ramp on top of pct."`
	Reject         string `yaml:"reject" default:"reject" values:"reject|quarantine|tag" doc:"What p=reject does."`
	Quarantine     string `yaml:"quarantine" default:"quarantine" values:"tag|quarantine|reject" doc:"What p=quarantine does."`
	Temperror      string `yaml:"temperror" default:"defer" values:"defer|accept" doc:"DNS trouble that could change the outcome: 451, or accepted unjudged."`
}

// ARCPolicy names sealers that are believed, and says how we seal.
type ARCPolicy struct {
	TrustedSealers []string `yaml:"trusted_sealers" doc:"Domains in d= of ARC-Seal. A message that fails DMARC but passed when one of them saw it is not acted on, where everyone who sealed it from there on is listed."`
	Seal           ARCSeal  `yaml:"seal" doc:"Sealing of judged mail as it is handed on, so that the next host can see what we saw."`
}

// ARCSeal says how mail of the mx role is sealed.
type ARCSeal struct {
	Domain    string   `yaml:"domain" doc:"d= of the seal; its active key of the key ring seals. Empty: nothing is sealed."`
	Algorithm string   `yaml:"algorithm" default:"rsa-2048" values:"rsa-2048|ed25519" doc:"Kind of the key. Neither dkimpy nor Mail::DKIM know ed25519 in chains."`
	Headers   []string `yaml:"headers" default:"From To Cc Subject Date Message-ID Reply-To Content-Type Content-Transfer-Encoding MIME-Version In-Reply-To References List-Id List-Unsubscribe List-Unsubscribe-Post DKIM-Signature" doc:"Fields that are signed where present."`
	Oversign  []string `yaml:"oversign" default:"From To Cc Subject Date Reply-To" doc:"Fields that no one may add later."`
}

// Override is one exception for a forwarder.
type Override struct {
	From      string    `yaml:"from" need:"yes" doc:"Domain of the header From, exactly: no wildcard, no subdomains."`
	Forwarder Forwarder `yaml:"forwarder" need:"yes" doc:"Who may bring it: dkim, arc or client, one of the three."`
	Action    string    `yaml:"action" default:"accept" values:"accept|tag|quarantine" doc:"What happens in the place of what SPF alone, domains[].spoofed and DMARC would do."`
	Until     Date      `yaml:"until" need:"yes" doc:"Last day (UTC), at most a year ahead. An expired override is ignored, and 'gatepost check' warns of it."`
	Note      string    `yaml:"note" need:"yes" doc:"Why. It is kept in the trace of each message."`
}

// Forwarder is who brings mail of others.
type Forwarder struct {
	DKIM   string `yaml:"dkim" doc:"Domain (d=) of a DKIM signature that passes, exactly."`
	ARC    string `yaml:"arc" doc:"Domain (d=) of the newest ARC set, of its seal and its signature, exactly; the chain passes, and the signature covers From."`
	Client string `yaml:"client" doc:"Name of the client, or a parent of it, forward-confirmed by reverse DNS."`
}

// Upstream is a filter in front of this gateway.
type Upstream struct {
	Addresses []netip.Prefix `yaml:"addresses" need:"yes" doc:"Addresses and ranges (CIDR) of every hop that is trusted, inner ones too."`
	Hops      int            `yaml:"hops" default:"1" doc:"The most Received fields that these hops write, 1 to 10."`
}

// TagPolicy names the field of tagged mail.
type TagPolicy struct {
	Header string `yaml:"header" default:"X-Gatepost-Verdict" doc:"Name of the field; it begins with X-. Fields of this name that others wrote are removed."`
}

// Quarantine says what becomes of held mail.
type Quarantine struct {
	Keep   Duration `yaml:"keep" default:"30d" doc:"Then it is deleted."`
	Notify []string `yaml:"notify" doc:"Addresses that are told of held mail."`
}

// Report says which reports are read and which are sent.
type Report struct {
	Inbox      []string      `yaml:"inbox" doc:"Addresses in our domains to which others send reports (the rua and ruf of _dmarc records, the rua of _smtp._tls). Mail to them is read, not delivered; see 'gatepost report'."`
	Keep       Duration      `yaml:"keep" default:"400d" doc:"How long reports that were sent to us are kept."`
	MaxReports int           `yaml:"max_reports" default:"100000" doc:"How many reports that were sent to us are kept at most. In a day all senders together may use a tenth of this, and one proven sender, or all mail that proves none, a fiftieth; more is not read and listed as refused."`
	MaxRecords int           `yaml:"max_records" default:"2000000" doc:"How many records those reports may hold together, with the same shares for each day, and 2 KiB of mail read for each."`
	DMARC      DMARCReport   `yaml:"dmarc_aggregate" doc:"DMARC aggregate reports to the owners of domains that send us mail."`
	Failure    FailureReport `yaml:"dmarc_failure" doc:"DMARC failure reports about single messages, redacted, to owners of author domains that ask for them (ruf). They tell others about mail that people got; see security.md before switching them on."`
	TLS        TLSReport     `yaml:"tls" doc:"SMTP TLS reports; not supported yet."`
}

// DMARCReport is the sender of aggregate reports.
type DMARCReport struct {
	Enabled        bool     `yaml:"enabled" doc:"Send a report a day to each domain whose record asks for it and of which mail was accepted."`
	Count          bool     `yaml:"count" default:"true" doc:"Count judged mail per domain, as reports and 'gatepost report preview' need it."`
	From           string   `yaml:"from" doc:"Sender of the reports; needed when enabled. Sign its domain: dkim.sign."`
	Org            string   `yaml:"org" doc:"Name of the organization in the reports. Default: hostname."`
	Format         string   `yaml:"format" default:"rfc9990" values:"rfc9990|rfc7489" doc:"Format of the reports."`
	MaxReports     int      `yaml:"max_reports" default:"1000" doc:"Reports of a day (UTC); further ones are skipped and logged."`
	PerDestination int      `yaml:"per_destination" default:"100" doc:"Reports of a day for one address."`
	MaxRecords     int      `yaml:"max_records" default:"10000" doc:"Records of a report, those with the most messages first."`
	MaxSize        Size     `yaml:"max_size" default:"10MiB" doc:"Size of the message with the report; a larger one gets fewer records."`
	Window         Duration `yaml:"window" default:"4h" doc:"Each report is sent at a time of its own within this time after midnight UTC."`
	Pause          Duration `yaml:"pause" default:"7d" doc:"How long an address gets no reports after one could not be delivered."`
}

// FailureReport is the sender of failure reports.
type FailureReport struct {
	Enabled         bool   `yaml:"enabled" doc:"Send a report where a message fails as the fo tag of the author's domain says."`
	From            string `yaml:"from" doc:"Sender of the reports; needed when enabled. Sign its domain: dkim.sign."`
	Org             string `yaml:"org" doc:"Name of the organization in the reports. Default: hostname."`
	PerDomainPerDay int    `yaml:"per_domain_per_day" default:"10" doc:"Reports of a day about policy domains of one registered domain, by this node; and to one address, by all."`
	PerHour         int    `yaml:"per_hour" default:"60" doc:"Reports of an hour in all, by this node."`
}

// TLSReport is the sender of TLS reports.
type TLSReport struct {
	Enabled bool   `yaml:"enabled" doc:"Not supported yet."`
	From    string `yaml:"from" doc:"Sender of the reports."`
	Contact string `yaml:"contact" doc:"Contact address in the reports."`
}

// Endpoint is an HTTP address.
type Endpoint struct {
	Address string `yaml:"address" doc:"host:port; empty = off."`
}

// Admin is the administration over HTTP.
type Admin struct {
	Address string  `yaml:"address" doc:"host:port; not supported yet."`
	Tokens  []Token `yaml:"tokens" doc:"Who may use it; not supported yet."`
}

// Token is a bearer token.
type Token struct {
	Name  string           `yaml:"name" need:"yes" unique:"yes" doc:"Name in the log."`
	Token telemetry.Secret `yaml:"token" need:"yes" doc:"The secret."`
	Role  string           `yaml:"role" need:"yes" values:"viewer|operator|admin" doc:"What it may do."`
}
