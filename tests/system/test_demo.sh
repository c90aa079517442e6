#!/bin/bash
# tools/demo: its summary, its checks, and that nothing stays behind, also after Ctrl-C and kill -9.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

failed=0
check() {
  local name=$1 reason=$2
  shift 2
  if "$@"; then
    echo "PASS $name"
  else
    echo "FAIL $name: $reason"
    failed=1
  fi
}

if [ "$(id -u)" != 0 ] || ! unshare -n true 2>/dev/null; then
  echo "SKIP demo: needs root and network namespaces"
  exit 0
fi

folder=$(mktemp -d) || exit 1
child=
finish() {
  [ -z "$child" ] || kill -KILL "$child" 2>/dev/null
  rm -rf "$folder"
}
trap finish EXIT

demo() { timeout --foreground -k 20 "$1" tools/demo --no-setup --no-build --quick "${@:2}"; }

remains() { ls -d /run/netns/phantom-lab-"$1"-* /var/run/dpdk/phantom-lab-"$1"-* /tmp/phantom-lab-"$1"-* 2>/dev/null; }
nothing_remains() { [ -z "$(remains "$1")" ]; }
gone() {
  local try
  for try in $(seq 100); do
    nothing_remains "$1" && return 0
    sleep 0.1
  done
  remains "$1"
  return 1
}

demo 120 --json "$folder/summary.json" >"$folder/demo.log" 2>&1
code=$?
[ $code = 0 ] || tail -60 "$folder/demo.log"
check "demo ends with exit code 0" "exit code $code" [ $code = 0 ]
check "demo names the driver" "neither AF_XDP nor AF_PACKET is named" \
  grep -qE 'two gateways over AF_(XDP|PACKET)' "$folder/demo.log"
verdict=$(python3 - "$folder/summary.json" 2>&1 <<'END'
import json, sys
summary = json.load(open(sys.argv[1], encoding="utf-8"))
bad = [check["name"] for check in summary["checks"] if check["ok"] is not True]
print("good" if summary["ok"] and len(summary["checks"]) >= 17 and not bad else f"{len(summary['checks'])} checks, bad: {bad}")
END
)
check "demo --json lists its checks, all of them ok" "$verdict" [ "$verdict" = good ]
verdict=$(python3 - "$folder/summary.json" 2>&1 <<'END'
import json, sys
summary = json.load(open(sys.argv[1], encoding="utf-8"))
names = [check["name"] for check in summary["checks"]]
wanted = ("roamed during the download, there and back", "roaming lost no packet")
roaming = summary.get("roaming", {})
good = all(name in names for name in wanted) and roaming.get("sent") == roaming.get("received") and sum(roaming["sent"]) > 1000
print("good" if good else f"{roaming}, checks {names}")
END
)
check "demo roams during the download and says that nothing was lost" "$verdict" [ "$verdict" = good ]

# A signal in the middle, as from a terminal: to the whole process group.
interrupted() {
  local signal=$1 pid
  set -m
  PHANTOM_BUILD_DIR=${PHANTOM_BUILD_DIR:-$PWD/build} python3 tools/demo_run.py --quick >"$folder/$signal.log" 2>&1 &
  child=$!
  pid=$child
  set +m
  for _ in $(seq 200); do
    grep -q 'two gateways over' "$folder/$signal.log" && break
    sleep 0.1
  done
  sleep 1.5
  [ -n "$(remains "$pid")" ] || { echo "nothing was running"; return 1; }
  if [ "$signal" = KILL ]; then
    kill -KILL "$pid"
  else
    kill -"$signal" -- -"$pid"
  fi
  wait "$pid" 2>/dev/null
  child=
  gone "$pid" && ! pgrep -f "phantom-lab-$pid-" >/dev/null
}
for signal in INT TERM KILL; do
  check "nothing stays behind after SIG$signal" "see above" interrupted $signal
done
exit $failed
