#!/bin/sh
# checkpoint_kill.sh command...: run "command DIR MILLISECONDS" again and again, one rank of it killed each time; at last without
# a kill, which must find everything whole.
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
for ms in 13 40 71 103 152 206 251 320; do
  "$@" "$dir" $ms >"$dir/log" 2>&1
  rc=$?
  if [ $rc -eq 0 ] || grep -q "checkpoint_kill.c:" "$dir/log"; then
    cat "$dir/log"
    echo "after $ms ms: exit code $rc"
    exit 1
  fi
done
"$@" "$dir" 0
