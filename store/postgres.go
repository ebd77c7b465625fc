package store

import (
	"context"
	"errors"
)

func openPostgres(ctx context.Context, options Options) (engine, error) {
	return nil, errors.New("store: postgres not there yet")
}
