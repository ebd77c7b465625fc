#!/bin/sh
# A PostgreSQL for tests on loopback, run as user postgres.
#   postgres.sh start   makes and starts it when it is not there; prints its URL
#   postgres.sh stop    stops it
# GATEPOST_POSTGRES_PORT and GATEPOST_POSTGRES_DIR choose port and place.
# It keeps fsync on: the store refuses a server without it.
set -eu

port=${GATEPOST_POSTGRES_PORT:-54329}
dir=${GATEPOST_POSTGRES_DIR:-/var/tmp/gatepost-postgres-$port}
url="postgres://gatepost:gatepost@127.0.0.1:$port/gatepost?sslmode=disable"

programs() {
    for d in /usr/lib/postgresql/*/bin; do
        if [ -x "$d/initdb" ]; then
            bin=$d
            return 0
        fi
    done
    return 1
}

install_package() {
    echo "postgres.sh: installing postgresql" >&2
    # The package would start a cluster of its own on port 5432.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql >&2 ||
        { apt-get update >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql >&2; }
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
    else
        "$@"
    fi
}

make_cluster() {
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$dir"; fi
    chmod 0700 "$dir"
    as_postgres "$bin/initdb" -D "$dir/data" -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 >"$dir.log" 2>&1 ||
        { cat "$dir.log" >&2; exit 1; }
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$dir'
max_connections = 200
shared_buffers = 64MB
fsync = on
synchronous_commit = on
CONF
}

running() { as_postgres "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; }

query() { as_postgres "$bin/psql" -h "$dir" -p "$port" -U postgres -v ON_ERROR_STOP=1 -qAt "$@"; }

# A server whose package was upgraded under it no longer finds its libraries.
outdated() {
    installed=$("$bin/postgres" --version)
    ours=$(query -d postgres -c "SHOW server_version") || return 0
    case $installed in *" $ours") return 1 ;; esac
    return 0
}

start() {
    programs || { install_package && programs; } || { echo "postgres.sh: no PostgreSQL to be had" >&2; exit 1; }
    [ -e "$dir/data/PG_VERSION" ] || make_cluster
    if running && outdated; then stop >/dev/null; fi
    # The server must not keep our output open: a caller may read it to its end.
    running || as_postgres "$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/server.log" start >/dev/null 2>&1 </dev/null ||
        { cat "$dir/server.log" >&2; exit 1; }
    [ "$(query -d postgres -c "SELECT count(*) FROM pg_roles WHERE rolname = 'gatepost'")" = 1 ] ||
        query -d postgres -c "CREATE ROLE gatepost LOGIN SUPERUSER PASSWORD 'gatepost'"
    [ "$(query -d postgres -c "SELECT count(*) FROM pg_database WHERE datname = 'gatepost'")" = 1 ] ||
        query -d postgres -c "CREATE DATABASE gatepost OWNER gatepost"
    echo "$url"
}

stop() {
    programs || exit 0
    if [ -e "$dir/data/PG_VERSION" ] && running; then
        as_postgres "$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null
    fi
    echo "$url"
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
