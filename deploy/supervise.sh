#!/bin/sh
# Keep a search going that its head, its driver or a reboot of Ray cuts short:
#   deploy/supervise.sh deploy/search.sh STORAGE --space phase3 --address HOST:6379
# The command is started again until it is complete (exit code 0), asks for something to be mended (2)
# or was interrupted (130, 143); Ctrl-C and SIGTERM are handed on to it. Between two starts are 10 s,
# then 20 s, .. up to 10 minutes; after 30 more starts in a row that all broke off within ten minutes
# its last exit code is given back. HPCM_RETRIES changes the 30, HPCM_RETRY_SECONDS the 10 s and, as
# 60 times as long, both ten minutes.
set -u
first=${HPCM_RETRY_SECONDS:-10}
most=${HPCM_RETRIES:-30}
pause=$first
tries=0
asked=
child=

trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' INT TERM HUP

finish() { # wait for the child, whatever signals come meanwhile or came before it had a number
  [ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
  wait "$child"
  code=$?
  while [ "$code" -gt 128 ]; do # a signal ended the child, or only this wait: ask again
    wait "$child"
    again=$?
    [ "$again" -ne 127 ] || break # its exit code was given before
    [ "$again" -ne "$code" ] || kill -0 "$child" 2>/dev/null || break
    code=$again
  done
  child=
}

while :; do
  began=$(date +%s)
  "$@" &
  child=$!
  finish
  case $code in 0 | 2 | 130 | 143) exit "$code" ;; esac
  [ -z "$asked" ] || exit "$code"
  if [ $(($(date +%s) - began)) -ge $((60 * first)) ]; then
    pause=$first
    tries=0
  fi
  tries=$((tries + 1))
  if [ "$tries" -gt "$most" ]; then
    echo "supervise.sh: broke off $tries times in a row, last with exit code $code" >&2
    exit "$code"
  fi
  echo "supervise.sh: exit code $code; starting again in $pause s" >&2
  left=$pause
  while [ "$left" -gt 0 ] && [ -z "$asked" ]; do
    sleep 1
    left=$((left - 1))
  done
  [ -z "$asked" ] || exit "$code"
  pause=$((2 * pause))
  [ "$pause" -le $((60 * first)) ] || pause=$((60 * first))
done
