#!/bin/bash
# Installs what the tests need and a machine may lack: Debian packages, and mail servers unpacked side by side (the package
# manager keeps only one of them) under $GATEPOST_PEERS. Safe to run again; needs root or sudo.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
peers=${GATEPOST_PEERS:-$here/../../.cache/peers}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

tools="gcc libc6-dev openssl strace swaks libnet-ssleay-perl python3 python3-dkim python3-spf python3-authres opendkim-tools
  libmail-dkim-perl libmail-spf-perl libmail-dmarc-perl libxml2-utils postgresql iproute2 busybox-static procps"
libs="libdb5.3 libicu72 libnsl2 libsasl2-2 netbase libevent-2.1-7 libopendkim11 libmilter1.0.1 libunbound8 libbsd0 libhiredis0.14
  libprotobuf-c1 libpython3.11 libnghttp2-14 liblua5.3-0 libpcre2-8-0 libopentracing-c-wrapper0 libgnutls-dane0 libldap-2.5-0 libpam0g
  libmemcached11 libopendmarc2 libopendbx1 librbl1 libvbr2 libspf2-2 libidn12 libmariadb3 libpq5 libperl5.36 libwrap0 dns-root-data
  libglib2.0-0 libhyperscan5 libluajit2-5.1-2 libsodium23 libsqlite3-0 libunwind8"
unpacked="postfix exim4-daemon-light exim4-base opensmtpd haproxy unbound unbound-anchor rspamd"

if ! command -v apt-get >/dev/null; then
  echo "deps.sh: no apt-get here; install yourself: $tools $unpacked" >&2
  exit 0
fi
missing() { for p in "$@"; do dpkg -s "$p" 2>/dev/null | grep -q '^Status: install ok installed' || echo "$p"; done; }
refresh() { [ -n "${refreshed:-}" ] || { $sudo apt-get update -qq; refreshed=1; }; }

want=$(missing $tools)
if [ -n "$want" ]; then
  refresh
  # No service of these packages is to start by itself on the machine that runs the tests.
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null; $sudo chmod 755 $policy; made=1; }
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null || { [ -z "${made:-}" ] || $sudo rm -f $policy; exit 1; }
  [ -z "${made:-}" ] || $sudo rm -f $policy
fi
want=$(missing $libs)
if [ -n "$want" ]; then
  refresh
  for p in $want; do # names differ between releases; what a peer needs and lacks shows when its test runs
    apt-cache show "$p" >/dev/null 2>&1 && have="${have:-} $p" || echo "deps.sh: no package $p in this release" >&2
  done
  [ -z "${have:-}" ] || $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $have >/dev/null
fi
mkdir -p "$peers/debs"
for p in $unpacked; do
  dir=$peers/$p
  [ -e "$dir/.done" ] && continue
  refresh
  (cd "$peers/debs" && rm -f ${p}_*.deb && apt-get download -qq -o APT::Sandbox::User=root "$p")
  rm -rf "$dir" && mkdir -p "$dir" && dpkg -x "$peers"/debs/${p}_*.deb "$dir" && touch "$dir/.done"
done
