package inbox

import "gatepost/store"

// Schema is the tables of reports that were sent to us. A report is unique by
// its key columns; complete is 0 while its records are being written. proven is
// the sender whom the mail proved, a part of the key: who forges a reporter's
// name must not make his report the known one. report_in_day counts what each
// sender has used of his allowance.
var Schema = store.Schema{Name: "report_in", Steps: []string{`
CREATE TABLE report_in (
	id {{key}},
	message {{int}},
	kind {{text}},
	org {{text}},
	report_id {{text}},
	domain {{text}},
	part {{int}},
	begins {{int}},
	ends {{int}},
	received {{int}},
	sender {{text}},
	records {{int}},
	messages {{int}},
	passed {{int}},
	complete {{int}},
	detail {{bytes}}
) {{strict}};
CREATE UNIQUE INDEX report_in_key ON report_in (kind, org, report_id, domain, part);
CREATE INDEX report_in_domain ON report_in (domain, ends);
CREATE INDEX report_in_received ON report_in (received);
CREATE TABLE report_in_record (
	report {{int}},
	n {{int}},
	source {{text}},
	header_from {{text}},
	messages {{int}},
	disposition {{text}},
	dkim {{text}},
	spf {{text}},
	detail {{bytes}},
	PRIMARY KEY (report, n)
) {{rowless}};
CREATE TABLE report_in_unread (
	id {{key}},
	message {{int}},
	part {{int}},
	kind {{text}},
	received {{int}},
	sender {{text}},
	name {{text}},
	reason {{text}},
	size {{int}},
	content {{bytes}}
) {{strict}};
CREATE UNIQUE INDEX report_in_unread_message ON report_in_unread (message, part)`, `
ALTER TABLE report_in ADD COLUMN proven {{text}} DEFAULT '';
ALTER TABLE report_in_unread ADD COLUMN proven {{text}} DEFAULT '';
DROP INDEX report_in_key;
CREATE UNIQUE INDEX report_in_key ON report_in (kind, org, report_id, domain, part, proven);
CREATE TABLE report_in_day (
	day {{int}},
	sender {{text}},
	reports {{int}},
	records {{int}},
	octets {{int}},
	refused {{int}},
	PRIMARY KEY (day, sender)
) {{rowless}}`}}
