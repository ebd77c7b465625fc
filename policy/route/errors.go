package route

// FieldError says which option is wrong, by its path in the configuration
// file: "routes[2].next_hop".
type FieldError struct {
	Path string
	Msg  string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }
