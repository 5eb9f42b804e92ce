#!/bin/sh
# Replaces the replicas of deploy/compose.yaml one by one without losing requests: SERVICE_IMAGE=<bento>:… deploy/rollout.sh
# tests/faults/test_rollout.py sends the proxy the same commands. If a replica does not become ready, the script ends; the
# other replica keeps its image.
set -eu
cd "$(dirname "$0")"
# Checked before any replica is touched.
: "${SERVICE_IMAGE:?error: name the image: SERVICE_IMAGE=<bento>:… deploy/rollout.sh}"

tell() { docker compose exec -T proxy sh -c "echo '$1' | nc 127.0.0.1 9999"; }

# Column $2 of the proxy's statistics of replica $1.
of() { tell "show stat" | awk -F, -v replica="$1" -v column="$2" '
  /^# / { for (i = 1; i <= NF; i++) if ($i == column) at = i }
  $1 == "ready" && $2 == replica { print $at }'; }

until_it_is() {  # replica, column, value
  for _ in $(seq 150); do
    [ "$(of "$1" "$2")" = "$3" ] && return
    sleep 0.2
  done
  echo "error: after 30 s $2 of replica $1 is $(of "$1" "$2"), not $3" >&2
  exit 1
}

replace() {  # replica, container
  tell "set server ready/$1 state drain"
  until_it_is "$1" scur 0
  docker compose up --detach --no-deps --wait "$2"
  tell "set server ready/$1 state ready"
  until_it_is "$1" status UP
  echo "replica $1 serves ${SERVICE_IMAGE}"
}

replace one service-1
replace two service-2
