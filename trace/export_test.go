package trace

// SetSearchWindow makes searches look through fewer rows at a time.
func (l *Log) SetSearchWindow(rows int64) { l.window = rows }
