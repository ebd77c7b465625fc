# Gatepost in a container: nothing but the binary, no shell, no root.
#
#   docker build --build-arg VERSION=$(git describe --tags --always) -t gatepost .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 45 \
#     -v $PWD/etc:/etc/gatepost:ro -v gatepost-data:/var/lib/gatepost -p 25:2525 gatepost
#
# with etc/gatepost.yaml readable by user 65532 and data_dir /var/lib/gatepost, its default. docker-compose.yml is the whole of it,
# with a validating resolver. BuildKit is not needed.
ARG GO_IMAGE=golang:1.26-bookworm

FROM ${GO_IMAGE} AS build
ENV CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/usr/bin/gatepost ./cmd/gatepost \
 && mkdir -p /out/data/gatepost

FROM scratch
# A number, so that "runs as non-root" can be checked by those who cannot read a user's name.
# The data directory belongs to it; a new volume takes its owner from here.
COPY --from=build /out/usr /usr
COPY --from=build --chown=65532:65532 /out/data /var/lib
USER 65532:65532
VOLUME /var/lib/gatepost
# 2525 mx, 2587 submission, 2465 submission in TLS, 8026 health, 9125 metrics: what deploy/container/gatepost.yaml listens on.
EXPOSE 2525 2587 2465 8026 9125
# Asks over the socket in data_dir, which it finds in /etc/gatepost/gatepost.yaml.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 CMD ["/usr/bin/gatepost", "health"]
ENTRYPOINT ["/usr/bin/gatepost"]
CMD ["serve"]
