# make run   installs what it needs, starts the gateway on an embedded default, relays a first message and shows it
# make test  installs what it needs, runs every test
# make conformance  runs the public test suites and prints one table of them
# make check formatting, vet, staticcheck, known vulnerabilities, layers, generated documents
SHELL := /bin/bash
export CGO_ENABLED ?= 0
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4
ARGS ?=
FUZZTIME ?= 20s
SOAK ?= 10m

.PHONY: run build test conformance check bench fuzz soak docs image deps clean

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/gatepost ./cmd/gatepost

run: build
	./bin/gatepost quickstart $(ARGS)

deps:
	integration/scripts/deps.sh

# The packages run with the race detector, the binary under test without it.
test: deps build
	integration/scripts/test.sh

# The public test suites alone, as one table; make test prints it too.
conformance: build
	integration/scripts/conformance.sh

check:
	integration/scripts/check.sh '$(STATICCHECK)' '$(GOVULNCHECK)'

docs: build
	./bin/gatepost config reference > docs/config.md
	./bin/gatepost config metrics > docs/metrics.md

bench: deps build
	integration/scripts/bench.sh

fuzz:
	integration/scripts/fuzz.sh $(FUZZTIME)

soak: deps build
	integration/scripts/soak.sh $(SOAK)

image:
	docker build --build-arg VERSION=$(VERSION) -t gatepost .

clean:
	rm -rf bin data .cache
