#!/bin/bash
# Shows cairn's main job before the user's eyes: two days of a folder, of a
# tarball of it and of a database go into a repository in a local folder; they
# are listed, verified, restored and compared byte for byte.
#
# The database is a throwaway PostgreSQL (and Redis) on unix sockets where
# their programs are installed; else the text of a dump is generated. All of it
# lives in one temporary folder, which goes at the end and stays on a failure.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cairn=${CAIRN_PROGRAM:-$here/../build/release/bin/cairn}

# --- words on the screen ----------------------------------------------------

strong='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
  strong=$'\e[1m' plain=$'\e[0m'
fi

chapter() { printf '\n%s%s%s\n' "$strong" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }

# Runs cairn and shows what was typed, with the temporary folder left out.
run_cairn() {
  local words="$*"
  printf '  $ cairn %s\n' "${words//$work\//}"
  "$cairn" "$@"
}

megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

# --- leaving nothing behind -------------------------------------------------

server_pids=()

stop_servers() {
  local pid
  for pid in "${server_pids[@]}"; do
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  server_pids=()
}

finish() {
  local status=$?
  trap - EXIT
  stop_servers
  [ -z "${sockets-}" ] || [ "$sockets" = "$work" ] || rm -rf "$sockets"
  if [ $status = 0 ]; then
    rm -rf "$work"
    say "The folder $work is gone again."
  else
    echo "demo: failed; everything is still in $work" >&2
  fi
  exit $status
}

[ -x "$cairn" ] || { echo "demo: no $cairn; run 'make build'" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cairn-demo.XXXXXX")
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 711 "$work"  # the servers' user passes through

# The user's own repositories and servers stay out of this.
for name in ${!CAIRN_@} ${!PG@}; do unset "$name"; done
export CAIRN_REPO=$work/repository CAIRN_CACHE_DIR=$work/cache
export CAIRN_PASSWORD_FILE=$work/password XDG_STATE_HOME=$work/state
(umask 077; head -c 24 /dev/urandom | base64 >"$CAIRN_PASSWORD_FILE")

# A socket's path holds 107 characters at most.
sockets=$work
[ ${#work} -lt 70 ] || sockets=$(mktemp -d /tmp/cairn-demo.XXXXXX)
chmod 711 "$sockets"

# --- a database and a cache to back up --------------------------------------

# PostgreSQL refuses to run as root, so root lends the servers another user.
as_server=()
server_user=$(id -un)
if [ "$(id -u)" = 0 ]; then
  server_user=nobody
  if getent passwd postgres >/dev/null; then server_user=postgres; fi
  as_server=(setpriv "--reuid=$server_user"
    "--regid=$(id -g "$server_user")" --clear-groups)
fi

server_folder() {
  mkdir "$work/$1" && chmod 700 "$work/$1" && chown "$server_user" "$work/$1"
  [ "$sockets" = "$work" ] || mkdir -p "$sockets/$1"
  chown "$server_user" "$sockets/$1"
  "${as_server[@]}" test -w "$work/$1"
}

wait_for() {
  local try
  for try in {1..150}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  return 1
}

start_postgres() {
  local initdb
  initdb=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V |
    tail -n 1)
  [ -n "$initdb" ] && server_folder postgres 2>/dev/null || return 1
  pg_bin=$(dirname "$initdb")
  export PGHOST=$sockets/postgres PGUSER=demo PGDATABASE=postgres
  (
    cd "$work/postgres"
    "${as_server[@]}" "$initdb" -D data -A trust -U demo -E UTF8 --locale=C \
      --no-sync >log 2>&1
  ) || return 1
  (
    cd "$work/postgres"
    exec "${as_server[@]}" "$pg_bin/postgres" -D data -c listen_addresses= \
      -c unix_socket_directories="$PGHOST" -c fsync=off >>log 2>&1
  ) &
  server_pids+=($!)
  wait_for "$pg_bin/pg_isready" || return 1
}

sql() { "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 "$@" >/dev/null; }

fill_postgres() {
  sql -c 'CREATE DATABASE shop'
  sql -d shop -f - <<'SQL'
CREATE TABLE customers AS
  SELECT id, 'customer ' || id AS name, 'city ' || id * 7919 % 97 AS city,
    (id * 104729 % 500000) / 100.0 AS balance
  FROM generate_series(1::bigint, 60000) id;
CREATE TABLE orders AS
  SELECT id, 1 + id * 7919 % 60000 AS customer_id, 'delivered' AS state,
    (id * 104729 % 90000) / 100.0 AS total,
    timestamptz '2026-01-01 00:00+00' + id * interval '1 minute' AS placed_at,
    md5(id::text) AS token
  FROM generate_series(1::bigint, 280000) id;
CREATE TABLE messages AS
  SELECT id, timestamptz '2026-01-01 00:00+00' + id * interval '2 minutes'
      AS written_at,
    (SELECT string_agg((ARRAY['order','invoice','parcel','the','of','please',
        'address','refund','delivery','thank','you','again','late','courier',
        'tomorrow','receipt'])[1 + (id * w * 7919 + w * w) % 16], ' ')
      FROM generate_series(1, 30) w) AS body
  FROM generate_series(1::bigint, 110000) id;
SQL
}

change_postgres() {
  sql -d shop -f - <<'SQL'
UPDATE customers SET balance = balance + 1 WHERE id * 7919 % 101 = 0;
UPDATE orders SET state = 'returned' WHERE id * 7919 % 103 = 0;
UPDATE messages SET body = body || ' (edited)' WHERE id * 7919 % 107 = 0;
DELETE FROM orders WHERE id * 7919 % 509 = 0;
INSERT INTO orders
  SELECT id, 1 + id % 60000, 'open', 10, '2026-09-01', md5(id::text)
  FROM generate_series(280001, 283000) id;
SQL
}

generate_dump() {  # DAY
  awk -v day="$1" -f "$here/demo_dump.awk" >"$work/generated.sql"
}

start_redis() {
  command -v redis-server >/dev/null && command -v redis-cli >/dev/null &&
    server_folder redis 2>/dev/null || return 1
  redis_cli=(redis-cli -s "$sockets/redis/socket")
  (
    cd "$work/redis"
    exec "${as_server[@]}" redis-server --port 0 --save '' --appendonly no \
      --unixsocket "$sockets/redis/socket" --unixsocketperm 777 >log 2>&1
  ) &
  server_pids+=($!)
  wait_for "${redis_cli[@]}" ping
}

fill_redis() {  # FIRST LAST STEP VERSION: sets every STEP-th key
  awk -v first="$1" -v last="$2" -v step="$3" -v version="$4" 'BEGIN {
    for (i = first; i <= last; i += step)
      printf "SET page:%d page=%d;version=%d;hits=%d\r\n",
        i, i, version, i * 7919 % 100003
  }' | "${redis_cli[@]}" --pipe >/dev/null
}

save_redis() {
  "${redis_cli[@]}" save >/dev/null
  cp "$work/redis/dump.rdb" "$1"
}

# --- a folder to back up ----------------------------------------------------

change_folder() {
  local file number=0
  while IFS= read -r -d '' file; do
    number=$((number + 1))
    case $((number % 100)) in
      10 | 60) printf '/* changed on day 2 */\n' >>"$file" ;;
      35) rm "$file" ;;
      85) cp "$file" "$file.new" ;;
    esac
  done < <(find "$1" -type f -print0 | sort -z)
  mv "$1/linux" "$1/linux-renamed" 2>/dev/null || true
}

# One line per entry: name, kind, mode, owner, time, target.
describe() {
  (cd "$1" && find . -printf '%P %y %m %U:%G %T@ %l\n' | LC_ALL=C sort)
}

# --- backing up, and the table of it ----------------------------------------

table=()

repository_bytes() { du -sb "$CAIRN_REPO" | cut -f 1; }

# Runs one backup. The function READ counts what went in, afterwards, because
# the dump is only there then.
back_up() {  # DAY WHAT READ ARGUMENT...
  local day=$1 what=$2 read=$3 before after start seconds
  shift 3
  before=$(repository_bytes)
  start=$EPOCHREALTIME
  run_cairn backup "$@"
  seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" \
    'BEGIN { printf "%.1f", b - a }')
  after=$(repository_bytes)
  table+=("$day $what $($read) $((after - before)) $seconds")
}

folder_bytes() {
  find "$work/folder" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }'
}
tarball_bytes() { stat -c %s "$work/day$day/folder.tar"; }
dump_bytes() { stat -c %s "$work/day$day/shop.sql"; }
cache_bytes() { stat -c %s "$work/day$day/cache.rdb"; }

back_up_everything() {
  mkdir "$work/day$day"
  cp -a "$work/folder" "$work/day$day/folder"
  tar -C "$work" -cf "$work/day$day/folder.tar" folder
  back_up "$day" folder folder_bytes "$work/folder"
  back_up "$day" tarball tarball_bytes --stdin --as folder.tar \
    <"$work/day$day/folder.tar"
  back_up "$day" database dump_bytes --as shop.sql \
    --from-command -- "$work/dump-shop" "$work/day$day/shop.sql"
  if [ -n "$redis" ]; then
    save_redis "$work/day$day/cache.rdb"
    back_up "$day" cache cache_bytes --stdin --as cache.rdb \
      <"$work/day$day/cache.rdb"
  fi
}

print_table() {
  printf '  %-6s %-10s %12s %12s %9s\n' day what read stored seconds
  printf '%s\n' "${table[@]}" | awk '
    {
      printf "  %-6s %-10s %9.1f MB %9.1f MB %9s\n", $1, $2, $3 / 1e6,
             $4 / 1e6, $5
      read += $3; stored += $4
    }
    END {
      printf "  %-6s %-10s %9.1f MB %9.1f MB   one byte stored for %.1f read\n",
             "all", "", read / 1e6, stored / 1e6, read / stored
    }'
}

# --- restoring and comparing ------------------------------------------------

# Only the snapshots that hold what is asked for are counted.
snapshot_of() {  # DAY
  if [ "$1" = 2 ]; then echo latest; else echo latest~1; fi
}

compare_stream() {  # DAY NAME
  "$cairn" cat "$(snapshot_of "$1"):$2" | cmp - "$work/day$1/$2"
  say "day $1, $2: every byte is the same"
}

compare_folder() {  # DAY
  local to=$work/restored$1
  run_cairn restore "$(snapshot_of "$1"):$work/folder" --to "$to"
  diff -r --no-dereference "$work/day$1/folder" "$to"
  diff <(describe "$work/day$1/folder") <(describe "$to")
  say "day $1, folder: every byte, name, mode, owner and time is the same"
}

# The restored dump fills a second database, whose dump must be the first one.
compare_database() {
  local without_token='/^\\\(un\)\{0,1\}restrict /d'
  "$cairn" cat latest:shop.sql >"$work/restored.sql"
  sql -c 'CREATE DATABASE restored'
  sql -d restored -f "$work/restored.sql"
  cmp <("$pg_bin/pg_dump" restored | sed "$without_token") \
    <(sed "$without_token" "$work/restored.sql")
  say "PostgreSQL takes the restored dump, and dumps the same again"
}

# --- the story --------------------------------------------------------------

chapter "cairn: a demo in $work"
say "version: $("$cairn" --version)"

chapter "Day 1: what there is to back up"
cp -a /usr/include "$work/folder"
say "a folder: a copy of /usr/include, $(find "$work/folder" | wc -l) entries," \
  "$(megabytes "$(folder_bytes)"), and a tarball of it"

postgres=
if start_postgres; then
  postgres=yes
  fill_postgres
  say "a database: a throwaway PostgreSQL on a unix socket, run by $server_user"
  dump="'$pg_bin/pg_dump' shop"
else
  stop_servers
  say "a database: no PostgreSQL here, so the text of a dump is generated"
  generate_dump 1
  dump="cat '$work/generated.sql'"
fi
# Keeps a copy of what it prints, to compare with; fails when the dump fails.
cat >"$work/dump-shop" <<SCRIPT
#!/bin/bash
set -eo pipefail
$dump | tee "\$1"
SCRIPT
chmod +x "$work/dump-shop"

redis=
if start_redis; then
  redis=yes
  fill_redis 1 100000 1 1
  say "a cache: a throwaway Redis on a unix socket"
fi

chapter "Day 1: a repository, and the first backup"
run_cairn init --recovery-key-out "$work/recovery-key"
day=1
back_up_everything

chapter "Day 2: a few changes everywhere, and the second backup"
change_folder "$work/folder"
if [ -n "$postgres" ]; then change_postgres; else generate_dump 2; fi
[ -z "$redis" ] || fill_redis 7 103000 100 2
day=2
back_up_everything

chapter "What is stored"
run_cairn snapshots
listing=$("$cairn" ls "latest:$work/folder")
say "the folder of day 2 begins with:"
head -n 5 <<<"$listing" | sed 's/^/    /'
changes=$("$cairn" diff "latest~1:$work/folder" "latest:$work/folder" -q)
say "what differs in it between the days begins with:"
head -n 5 <<<"$changes" | sed "s|$work/||g; s/^/    /"

chapter "Verifying: every byte that is stored"
run_cairn check --level data

chapter "Restoring, and comparing with what went in"
for day in 1 2; do
  compare_folder $day
  compare_stream $day folder.tar
  compare_stream $day shop.sql
  [ -z "$redis" ] || compare_stream $day cache.rdb
done
[ -z "$postgres" ] || compare_database

chapter "Read, and stored"
print_table
say "the repository: $(megabytes "$(repository_bytes)") in $(find \
  "$CAIRN_REPO" -type f | wc -l) files, encrypted"
echo
