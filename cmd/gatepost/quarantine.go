package main

type quarantineCommand struct {
	List    quarantineListCommand   `cmd:"" help:"List held mail with the reason."`
	Show    quarantineShowCommand   `cmd:"" help:"Show one held message, content included."`
	Release queueReleaseCommand     `cmd:"" help:"Deliver held messages."`
	Delete  quarantineDeleteCommand `cmd:"" help:"Delete held messages; their senders are not told."`
}

type quarantineListCommand struct {
	queueFilter `embed:""`
	Limit       int `help:"How many messages to show." default:"100"`
}

// Help shows an example.
func (quarantineListCommand) Help() string {
	return "Example: gatepost quarantine list --to @example.com"
}

// Run lists held mail.
func (c quarantineListCommand) Run(a *app) error {
	return queueListCommand{queueFilter: c.queueFilter, State: "held", Limit: c.Limit}.Run(a)
}

type quarantineShowCommand struct {
	ID string `arg:"" help:"Id of the message."`
}

// Help shows an example.
func (quarantineShowCommand) Help() string { return "Example: gatepost quarantine show 01h2x3y4z5abc" }

// Run shows one held message.
func (c quarantineShowCommand) Run(a *app) error {
	return queueShowCommand{ID: c.ID, Content: true}.Run(a)
}

type quarantineDeleteCommand struct {
	queueChange `embed:""`
}

// Help shows an example.
func (quarantineDeleteCommand) Help() string {
	return "Example: gatepost quarantine delete 01h2x3y4z5abc"
}

// Run deletes held messages only.
func (c quarantineDeleteCommand) Run(a *app) error {
	q := c.question()
	q.State = "held"
	return change(a, "quarantine/delete", "deleted", q)
}
