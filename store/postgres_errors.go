package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes (PostgreSQL documentation, appendix A).
const (
	uniqueViolation   = "23505"
	deadlockDetected  = "40P01"
	serialization     = "40001"
	diskFull          = "53100"
	readOnlySQL       = "25006" // a standby, or default_transaction_read_only
	invalidCatalog    = "3D000" // the database does not exist
	classConnection   = "08"
	classAuth         = "28"
	classResources    = "53"
	classIntervention = "57" // shutdown, crash of another session
	classSystem       = "58"
	classInternal     = "XX"
)

// postgresError gives an error of PostgreSQL our meaning. What is neither
// conflict, nor full, nor unavailable is a fault of the statement.
func postgresError(err error) error {
	if err == nil || engineTrouble(err) != nil {
		return err
	}
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		if isTransport(err) {
			return unavailable(err)
		}
		return err
	}
	switch answer.Code {
	case uniqueViolation:
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case diskFull:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case readOnlySQL, invalidCatalog:
		return unavailable(err)
	}
	switch answer.Code[:2] {
	case classConnection, classAuth, classResources, classIntervention, classSystem, classInternal:
		return unavailable(err)
	}
	return err
}

func isTransport(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &network) || errors.As(err, &connect) || pgconn.Timeout(err) ||
		pgconn.SafeToRetry(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

func unavailable(err error) error {
	if errors.Is(err, ErrSettings) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// isDeadlock tells that two transactions stood in each other's way.
func isDeadlock(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == deadlockDetected || answer.Code == serialization)
}
