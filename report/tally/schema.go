package tally

import "gatepost/store"

// Schema is the table of counted mail. The evaluation is named by a hash of
// it, and detail is it as JSON; accepted counts the messages that were not
// refused, seen is when the last one came.
var Schema = store.Schema{Name: "report_tally", Steps: []string{`
CREATE TABLE report_tally (
	day {{int}},
	domain {{text}},
	evaluation {{text}},
	messages {{int}},
	accepted {{int}},
	seen {{int}},
	detail {{bytes}},
	PRIMARY KEY (day, domain, evaluation)
) {{rowless}}`}}
