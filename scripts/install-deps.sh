#!/bin/sh
# Installs what building cairn needs on Debian 12; with --build-tests also what
# building its tests needs, with --test all that its tests and the comparison
# with other tools need, and, where npm can fetch them, PostgreSQL servers of
# other versions (install-test-servers.sh). When all is there it says so and
# changes nothing.
#
# Starts no server and enables none: services may not start while packages are
# set up, PostgreSQL makes no cluster, and units that came along are disabled.
# No setting of the machine is left changed.
#
# shellcheck disable=SC2086,SC2116  # lists of packages are split into words
set -eu

build_packages="g++ cmake ninja-build pkg-config make git ca-certificates
  libzstd-dev libxxhash-dev libsodium-dev libssl-dev librocksdb-dev libpq-dev libcli11-dev
  libfmt-dev nlohmann-json3-dev libhowardhinnant-date-dev libyaml-cpp-dev tzdata"
test_build_packages="libgtest-dev libgmock-dev libbenchmark-dev clang-16 libclang-rt-16-dev lld"
test_packages="acl attr cron curl e2fsprogs libcap2-bin mount rsync spin strace zstd
  restic borgbackup pgbackrest redis-server redis-tools openssl postgresql-15 prometheus
  python3 python3-cryptography python3-nacl python3-zstandard python3-cbor2
  python3-xxhash python3-jsonschema python3-yaml"
services="cron postgresql redis-server rsync prometheus"

policy=/usr/sbin/policy-rc.d
cluster_settings=/etc/postgresql-common/createcluster.conf
our_policy=
saved_settings=

say() { printf '%s\n' "install-deps: $*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing_of() {
  dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
    awk -v wanted="$*" '
      $2 == "installed" { have[$1] = 1 }
      END {
        count = split(wanted, names)
        for (i = 1; i <= count; i++) if (!(names[i] in have)) print names[i]
      }'
}

# Lists and mirrors fail now and then; a third failure is one to look at.
apt() {
  for attempt in 1 2 3; do
    if as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
      -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; then
      return 0
    fi
    say "attempt $attempt of 'apt-get $1' failed"
    sleep $((attempt * 5))
  done
  return 1
}

install() {
  apt install --no-install-recommends "$@"
}

# The tests that need them are skipped where they are not there.
fetch_servers() {
  [ "$1" = --test ] && command -v npm >/dev/null || return 0
  "$(dirname "$0")/install-test-servers.sh" ||
    say "no PostgreSQL servers of other versions; their tests will be skipped"
}

put_settings_back() {
  if [ -n "$saved_settings" ]; then
    as_root cp "$saved_settings" "$cluster_settings"
    rm -f "$saved_settings"
    saved_settings=
  fi
  if [ -n "$our_policy" ]; then
    as_root rm -f "$policy"
    our_policy=
  fi
}

# 101 is how a machine's policy says "this action is forbidden".
forbid_starting() {
  [ ! -e "$policy" ] || return 0
  our_policy=yes
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

# The package postgresql-15 makes a cluster when it is first set up, unless
# the settings of postgresql-common, which have to be there before, forbid it.
forbid_cluster() {
  install postgresql-common
  saved_settings=$(mktemp)
  cp "$cluster_settings" "$saved_settings"
  echo 'create_main_cluster = false' |
    as_root tee -a "$cluster_settings" >/dev/null
}

case "$#:${1-}" in
  0:) wanted=$build_packages ;;
  1:--build-tests) wanted="$build_packages $test_build_packages" ;;
  1:--test) wanted="$build_packages $test_build_packages $test_packages" ;;
  *)
    echo "usage: scripts/install-deps.sh [--build-tests | --test]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "this is not Debian; install the likes of:" $wanted
  exit 1
fi

missing=$(missing_of $wanted)
if [ -z "$missing" ]; then
  say "all packages are there"
  fetch_servers "${1-}"
  exit 0
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
  say "needs root or sudo to install:" $missing
  exit 1
fi
say "installing" $missing

trap put_settings_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
forbid_starting
apt update
case " $(echo $missing) " in
  *" postgresql-15 "*) forbid_cluster ;;
esac
install $missing
put_settings_back

# What was not here before this run must not start at the next boot either.
for service in $services; do
  case " $(echo $missing) " in
    *" $service "* | *" $service-15 "*)
      if command -v systemctl >/dev/null; then
        as_root systemctl disable "$service" >/dev/null 2>&1 ||
          say "could not disable $service; see 'systemctl status $service'"
      fi
      ;;
  esac
done
fetch_servers "${1-}"
say "done"
