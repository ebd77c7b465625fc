package queue

import "gatepost/store"

// Schema holds the queue's tables. A message has its row as long as one of its
// recipients is pending; a body without a message row is not a message yet, or
// no longer. A destination has a row while recipients wait for it that no node
// owns: without it they would not be woken.
var Schema = store.Schema{Name: "queue", Steps: []string{`
CREATE TABLE message (
	id {{key}},
	received {{int}},
	size {{int}},
	total {{int}},
	pending {{int}},
	sender {{bytes}},
	meta {{bytes}},
	prefix {{bytes}},
	facts {{bytes}}
) {{strict}};
CREATE TABLE body (
	message {{int}},
	chunk {{int}},
	bytes {{bytes}},
	PRIMARY KEY (message, chunk)
) {{rowless}};
CREATE TABLE recipient (
	message {{int}},
	n {{int}},
	address {{bytes}},
	notify {{int}},
	original {{bytes}},
	dest {{text}},
	sender_key {{int}},
	state {{int}},
	not_before {{int}},
	due {{int}},
	expires {{int}},
	attempts {{int}},
	owner {{int}},
	wish {{text}},
	reason {{bytes}},
	status {{bytes}},
	PRIMARY KEY (message, n)
) {{rowless}};
CREATE INDEX recipient_waiting ON recipient (dest, sender_key, not_before) WHERE state = 0 AND owner = 0;
CREATE INDEX recipient_due ON recipient (due) WHERE state < 2 AND owner = 0;
CREATE INDEX recipient_wish ON recipient (message) WHERE wish <> '';
CREATE TABLE destination (
	dest {{text}} PRIMARY KEY,
	wake_at {{int}},
	fails {{int}},
	suspended {{int}},
	stamp {{int}}
) {{strict}};
CREATE INDEX destination_wake ON destination (wake_at) WHERE suspended = 0;
CREATE TABLE node (
	incarnation {{key}},
	until {{int}}
) {{strict}}`}}

// The states of a recipient's row. From stateDelivered on it has ended, and
// the row stays only until the message's other recipients have ended too.
const (
	stateQueued = iota
	stateHeld
	stateDelivered
	stateBounced
	stateFailed
	stateDeleted
	stateConsumed
)
