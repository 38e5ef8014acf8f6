#!/bin/sh
# expect.sh EXIT TEXT SECONDS command...: the command must end within SECONDS with this exit code ("fail": any but 0), print
# the extended regular expression TEXT, and leave none of its processes behind (they carry a mark in their environment).
expected=$1 text=$2 limit=$3
shift 3
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
VT_EXPECT_MARK=expect-$$-$(date +%s)
export VT_EXPECT_MARK

begin=$(date +%s)
timeout -s KILL "$limit" "$@" >"$out" 2>&1
rc=$?
took=$(($(date +%s) - begin))
cat "$out"
failed=0

left() { # pids whose environment has the mark, zombies and ourselves apart
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    [ "$pid" = $$ ] && continue
    cat "$dir/environ" 2>/dev/null | tr '\0' '\n' | grep -q "^VT_EXPECT_MARK=$VT_EXPECT_MARK$" || continue
    grep -q '^State:[[:space:]]*Z' "$dir/status" 2>/dev/null && continue
    grep -qx "sh\|cat\|tr\|grep" "$dir/comm" 2>/dev/null && continue
    echo "$pid"
  done
}

if [ $rc -eq 137 ] && [ $took -ge "$limit" ]; then
  echo "expect: did not end within $limit s"
  failed=1
elif [ "$expected" = fail ] && [ $rc -eq 0 ]; then
  echo "expect: succeeded, expected a failure"
  failed=1
elif [ "$expected" != fail ] && [ $rc -ne "$expected" ]; then
  echo "expect: exit code $rc, expected $expected"
  failed=1
fi
if ! grep -Eq "$text" "$out"; then
  echo "expect: no line matches: $text"
  failed=1
fi
for i in 1 2 3 4 5 6 7 8 9 10; do
  orphans=$(left)
  [ -z "$orphans" ] && break
  sleep 0.5
done
if [ -n "$orphans" ]; then
  echo "expect: still running: $orphans"
  kill -9 $orphans 2>/dev/null
  failed=1
fi
echo "expect: exit code $rc after $took s"
exit $failed
