#!/bin/sh
# resume.sh BUILD RANKS KILLS SEED: the whole job is killed with SIGKILL, again and again; what it comes to in the end has the
# same bits as a run that nobody disturbed. A few kills come at random steps, many at random times, the start of a job included.
. "$(dirname "$0")/lib.sh"
ranks=$1 kills=$2 seed=$3
steps=$((kills < 10 ? 800 : 2000))

random() { # $number below $1; a small generator of its own, so that the sequence belongs to the seed (not in a subshell)
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  number=$((seed / 65536 % $1))
}

write_config tiny.yaml $steps
run 0 train "$ranks" tiny.yaml run.dir=calm

# Start, wait until the metrics pass a random step, kill every process at once. $done: it was too late, the run is complete.
start_and_kill() {
  random 120
  target=$(($(step_of run) + 1 + number))
  [ $target -lt $steps ] || target=$((steps - 1))
  start "$ranks" tiny.yaml run.dir=run
  if [ "$kills" -lt 10 ]; then
    while kill -0 $job 2>/dev/null && ! step_reached run $target; do sleep 0.01; done
  else
    random 1500
    sleep "$(printf '%d.%03d' $((number / 1000)) $((number % 1000)))"
  fi
  # shellcheck disable=SC2046
  kill -9 $job $(children_of $job) 2>/dev/null
  wait $job 2>/dev/null
  rc=$?
  nobody_left
  [ $rc -eq 137 ] || { done=1; [ $rc -eq 0 ] || fail "the job ended with $rc before it was killed"; }
}

killed=0 complete=0
while [ $killed -lt "$kills" ]; do
  done=0
  start_and_kill
  [ $done -eq 0 ] && killed=$((killed + 1))
  if [ $done -eq 1 ]; then # complete before all kills were spent: compare, and begin anew
    cmp -s run/checkpoints/latest/model.safetensors calm/checkpoints/latest/model.safetensors || fail "killed run differs"
    rm -rf run
    complete=$((complete + 1))
  fi
done
run 0 train "$ranks" tiny.yaml run.dir=run

for file in model.safetensors optimizer.safetensors config.json; do
  same "calm/checkpoints/latest/$file" "run/checkpoints/latest/$file"
done
losses calm >calm.losses
losses run >run.losses
[ "$(wc -l <calm.losses)" -eq $steps ] || fail "$(wc -l <calm.losses) losses, expected $steps"
same calm.losses run.losses
# One of the kills may have come before the first checkpoint, but not all of them.
[ $complete -gt 0 ] || [ "$("$json" run/env.json attempt)" -ge 2 ] || fail "no attempt was resumed"
ls run/checkpoints | grep -q tmp && fail "a temporary folder was left behind: $(ls run/checkpoints)"
echo "$killed kills at $ranks ranks, $complete runs complete in between: the same bits"
