package telemetry

import "log/slog"

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// Secret is a string that never reaches a log, an error text, JSON or YAML:
// every way of printing it gives "[redacted]". Reveal is the only way in.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal gives the secret itself, to the code that must use it.
func (s Secret) Reveal() string { return s.value }

// IsZero tells whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == "" }

// String hides the secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret from a configuration.
func (s *Secret) UnmarshalText(b []byte) error {
	s.value = string(b)
	return nil
}
