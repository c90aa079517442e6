#!/bin/bash
# The gateway as a program: what it refuses and with which exit code, and that it ends cleanly under traffic.
#
# Needs neither root nor hugepages: null ports, --no-huge. Prints one line a check, `PASS name` or
# `FAIL name: reason`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
gateway=${PHANTOM_BUILD_DIR:-$PWD/build}/dataplane/phantom-gateway
readonly rounds=20
scratch=$(mktemp -d) || exit 1
child=
failed=0

clean_up() {
  [ -z "$child" ] || { kill -KILL "$child" 2>/dev/null; wait "$child" 2>/dev/null; }
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

pass() { echo "PASS $1"; }
fail() { echo "FAIL $1: $2"; failed=1; }

[ -x "$gateway" ] || { fail "gateway" "$gateway is not built"; exit 1; }

# config NAME: a gateway on two null ports, in its own folder of EAL files.
config() {
  cat <<END
[gateway]
name = "cli-$1-$$"
state_dir = "state-$1"
run_dir = "$scratch/run"
[cores]
idle_backoff = true
[pools]
packets = 8192
[eal]
args = ["--no-huge", "-m", "512"]
[[port]]
name = "lan"
device = "net_null0,size=64,copy=1"
role = "lan"
addresses = ["10.0.1.1/24"]
[[port]]
name = "wan"
device = "net_null1,size=1400,copy=1"
role = "wan"
addresses = ["192.0.2.1/24"]
[[session]]
name = "b"
id = "6b8e9c1f4a7d2e5b8c3f6a9d0e1b4c7f2a5d8e0b3c6f9a1d4e7b0c3f6a9d2e58"
secret_file = "$1.secret"
role = "initiator"
local = "192.0.2.1:4500"
peer = "192.0.2.2:4500"
[[route]]
prefix = "10.0.2.0/24"
session = "b"
END
}

# make NAME: configuration and secret in the scratch folder; prints the configuration's path.
make() {
  config "$1" >"$scratch/$1.toml"
  (umask 077; od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$scratch/$1.secret")
  echo "$scratch/$1.toml"
}

# expect NAME CODE PATTERN ARGUMENT...: exit code, and a pattern that the messages must contain.
expect() {
  local name=$1 code=$2 pattern=$3 got
  shift 3
  timeout 30 "$gateway" "$@" >"$scratch/out" 2>&1 </dev/null
  got=$?
  if [ $got != "$code" ]; then
    fail "$name" "exit code $got instead of $code; $(tail -2 "$scratch/out" | tr '\n' ' ')"
  elif ! grep -Eq -- "$pattern" "$scratch/out"; then
    fail "$name" "no '$pattern' in: $(head -3 "$scratch/out" | tr '\n' ' ')"
  else
    pass "$name"
  fi
}

# bad NAME SED-EXPRESSION PATTERN: the good configuration, changed, is refused by --check and by a start.
bad() {
  local file=$scratch/bad.toml
  sed -E "$2" "$good" >"$file"
  expect "bad configuration: $1" 2 "bad\.toml:[0-9]+: .*$3" --check "$file"
  expect "nothing starts with: $1" 2 "nothing was started" "$file"
}

usage_checks() {
  expect "version" 0 "phantom-gateway [0-9]" --version
  expect "help names the exit codes" 0 "3 state store refused" --help
  expect "no arguments" 2 "config"
  expect "unknown option" 2 "not expected" --bogus "$good"
  expect "two modes at once" 2 "exclude" --check --init-state "$good"
  expect "missing file" 2 "none.toml" --check "$scratch/none.toml"
  expect "good configuration" 0 "configuration ok: 2 ports, 1 sessions, 1 routes" --check "$good"
  expect "-c names the file too" 0 "configuration ok" --check -c "$good"
}

configuration_checks() {
  bad "unknown key" 's/^role = "lan"/roel = "lan"\n&/' 'port\[0\]\.roel: .*did you mean "role"'
  bad "type" 's/^packets = .*/packets = "many"/' 'pools\.packets: expected a whole number'
  bad "range" 's/^packets = .*/packets = 3/' 'pools\.packets: .*found 3'
  bad "syntax" 's/^\[pools\]/[pools/' 'expected TOML'
  bad "address" 's/10\.0\.1\.1\/24/10.0.1.1\/240/' 'port\[0\]\.addresses\[0\]'
  bad "route to nowhere" 's/^session = "b"/session = "c"/' 'route\[0\]\.session: .*did you mean "b"'
  bad "local endpoint" 's/^local = .*/local = "192.0.2.9:4500"/' 'session\[0\]\.local: .*on no port'
  chmod 640 "$scratch/good.secret"
  expect "secret that others can read" 2 "good\.toml:[0-9]+: session\[0\]\.secret_file: .*chmod 600" "$good"
  chmod 600 "$scratch/good.secret"
  bad "missing secret" 's/^secret_file = .*/secret_file = "none.secret"/' 'secret_file: .*No such file'
}

state_checks() {
  expect "start without state" 3 "--init-state" "$good"
  expect "state is created" 0 "state store created" --init-state "$good"
  expect "state is created once" 3 "exists already" --init-state "$good"
  sed 's/^name = "cli-good/name = "cli-other/' "$good" >"$scratch/other.toml"
  expect "state of another gateway" 3 "belongs|gateway" "$scratch/other.toml"
}

device_checks() {
  sed 's/^device = "net_null1.*/device = "0000:ff:1f.7"/' "$good" >"$scratch/device.toml"
  expect "missing device" 4 'port "wan" \(0000:ff:1f.7\): there is no such device; available: net_null0' \
    "$scratch/device.toml"
  sed 's/^packets = .*/packets = 512/' "$good" >"$scratch/device.toml"
  expect "too few packets" 4 "pools.packets = 512 is too small" "$scratch/device.toml"
  sed 's/^packets = .*/packets = 4000000/' "$good" >"$scratch/device.toml"
  expect "too little memory" 4 "no memory for 4000000 packets.*hugepages" "$scratch/device.toml"
  expect "EAL that does not start" 4 "EAL did not start" "$good" --eal --no-such-option
}

# end_cleanly ROUND SIGNAL: start, traffic in flight, signal; exit code 0 means balanced books and full pools.
end_cleanly() {
  local code
  "$gateway" "$good" --json "$scratch/summary.json" >"$scratch/out" 2>&1 </dev/null &
  child=$!
  for _ in $(seq 100); do
    grep -q 'is running' "$scratch/out" && break
    kill -0 $child 2>/dev/null || break
    sleep 0.05
  done
  sleep "0.$((1 + RANDOM % 3))"
  kill "-$2" $child 2>/dev/null
  timeout 20 tail --pid=$child -f /dev/null
  kill -0 $child 2>/dev/null && { echo "round $1: did not end within 20 s"; return 1; }
  wait $child
  code=$?
  child=
  [ $code = 0 ] || { echo "round $1 ($2): exit code $code: $(tail -3 "$scratch/out" | tr '\n' ' ')"; return 1; }
  grep -q ': balanced$' "$scratch/out" && grep -q '^pools: full$' "$scratch/out" ||
    { echo "round $1 ($2): $(tail -2 "$scratch/out" | tr '\n' ' ')"; return 1; }
  python3 - "$scratch/summary.json" <<'END' || { echo "round $1 ($2): the JSON summary is wrong"; return 1; }
import json, sys
summary = json.load(open(sys.argv[1]))
books = summary["books"]
sums = books["tx"] + books["drops"] + books["consumed"] + books["held"]
sys.exit(0 if books["balanced"] and summary["pools_full"] and books["rx"] > 0 and
         books["rx"] + books["originated"] == sums == sums and books["held"] == 0 else 1)
END
}

shutdown_checks() {
  local round reason
  for round in $(seq $rounds); do
    reason=$(end_cleanly "$round" "$([ $((round % 2)) = 0 ] && echo INT || echo TERM)") ||
      { fail "$rounds clean ends under traffic" "$reason"; return; }
  done
  pass "$rounds clean ends under traffic"
}

table_check() {
  "$gateway" "$good" --run-seconds 2 --stats-period 1 >"$scratch/out" 2>&1 </dev/null &
  child=$!
  sleep 1.2
  kill -USR1 $child 2>/dev/null
  wait $child
  local code=$?
  child=
  if [ $code != 0 ]; then
    fail "a bounded run" "exit code $code: $(tail -2 "$scratch/out" | tr '\n' ' ')"
  elif [ "$(grep -c '^--- gateway' "$scratch/out")" != 2 ]; then
    fail "a table on SIGUSR1" "not two tables in the output of a run of two seconds"
  elif ! grep -q 'kpps' "$scratch/out"; then
    fail "rates" "no line of rates"
  else
    pass "a bounded run with rates and a table on SIGUSR1"
  fi
}

good=$(make good)
usage_checks
configuration_checks
state_checks
device_checks
table_check
shutdown_checks
exit $failed
