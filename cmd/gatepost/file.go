package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatepost/admin"
	"gatepost/config"
	"gatepost/gateway"
)

// usualPlaces are looked into when --config is not given.
var usualPlaces = []string{"/etc/gatepost/gatepost.yaml", "gatepost.yaml"}

// configFile is the file of --config or the first of the usual places that is there.
func (a *app) configFile() (string, error) {
	if a.file != "" {
		return a.file, nil
	}
	for _, f := range usualPlaces {
		if _, err := os.Stat(f); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("no configuration: neither %s nor ./%s is there; name one with --config FILE, or try 'gatepost quickstart'", usualPlaces[0], usualPlaces[1])
}

// checked reads the configuration, prints everything that is wrong with it
// and then fails.
func (a *app) checked() (*config.Loaded, config.Errors, error) {
	file, err := a.configFile()
	if err != nil {
		return nil, nil, err
	}
	c, wrong, warnings, err := gateway.CheckFile(a.ctx, file)
	if err != nil {
		return nil, nil, err
	}
	if len(wrong) > 0 {
		a.sayWrong(file, wrong)
		return nil, nil, exitError(1)
	}
	return c, warnings, nil
}

func (a *app) sayWrong(file string, wrong config.Errors) {
	if a.json {
		a.print(map[string]any{"file": file, "errors": wrong}, nil)
	}
	for _, e := range wrong {
		fmt.Fprintln(a.err, e.Error())
	}
	fmt.Fprintf(a.err, "gatepost: %s has %d error(s); nothing was started or changed\n", file, len(wrong))
}

// client asks the running gateway; without one it opens the store itself, so
// that keys can be made before the first start.
func (a *app) client() (*admin.Client, func(), error) {
	file, err := a.configFile()
	if err != nil {
		return nil, nil, err
	}
	c, err := config.Load(file)
	var wrong config.Errors
	if errors.As(err, &wrong) && c != nil && c.DataDir != "" {
		// A file that is broken now does not hide the gateway that runs with an older one.
		if client, err := admin.Dial(gateway.Socket(c.DataDir)); err == nil {
			return client, client.Close, nil
		}
	}
	if len(wrong) > 0 {
		a.sayWrong(file, wrong)
		return nil, nil, exitError(1)
	}
	if err != nil {
		return nil, nil, err
	}
	client, err := admin.Dial(gateway.Socket(c.DataDir))
	if err == nil {
		return client, client.Close, nil
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return nil, nil, err
	}
	offline, err := gateway.OpenOffline(a.ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("the gateway is not running, and its store cannot be opened: %w", err)
	}
	return admin.Local(offline.Functions()), func() { offline.Close() }, nil
}

// runningClient asks the running gateway or fails.
func (a *app) runningClient() (*admin.Client, error) {
	file, err := a.configFile()
	if err != nil {
		return nil, err
	}
	c, err := config.Load(file)
	if c == nil {
		return nil, err
	}
	client, err := admin.Dial(gateway.Socket(c.DataDir))
	if err != nil {
		return nil, fmt.Errorf("%w; start it with 'gatepost serve --config %s'", err, filepath.Clean(file))
	}
	return client, nil
}
