#!/bin/sh
# A run that goes on at another number of ranks is the same run: the same stream, losses up to rounding.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 400
# Rounding grows exponentially at high rates (3e-4 of the loss after 400 steps at 2e-3, between any two orders of summing); not at this.
sed -i "s,lr: 0.002,lr: 0.0002," tiny.yaml
run 0 train 1 tiny.yaml run.dir=calm
losses calm >calm.losses

# Stop at some step at one world size, go on at the next, until the end.
go_on() {
  name=$1
  shift
  target=20
  for ranks in "$@"; do
    start "$ranks" tiny.yaml "run.dir=$name"
    while kill -0 $job 2>/dev/null && ! step_reached "$name" $target; do sleep 0.005; done # 400 steps may take 0.2 s
    kill -USR2 $job
    ended 75
    at=$("$V" inspect "$name" --json | "$json" - step)
    [ "$("$V" inspect "$name" --json | "$json" - position)" -eq $((at * 24)) ] || fail "stream position is not step * batch"
    target=$((at + 10))
  done
}

# 1e-6 of the loss at every step.
compare_losses() {
  losses "$1" >run.losses
  paste -d ' ' calm.losses run.losses | awk '
    $1 != $3 { print "steps differ: " $0; bad = 1 }
    { d = $2 - $4; if (d < 0) d = -d; if (d / $2 > worst) worst = d / $2 }
    END { printf "%d steps, worst loss difference %.2e\n", NR, worst; exit bad || NR < 400 || worst > 1e-6 }' || fail "$1 is another run"
}

go_on up 1 2 3
run 0 train 4 tiny.yaml run.dir=up
compare_losses up
go_on down 3 2
run 0 train 1 tiny.yaml run.dir=down
compare_losses down
for name in up down; do
  [ "$("$V" inspect $name --json | "$json" - position)" -eq $((400 * 24)) ] || fail "$name: another stream position at the end"
done
