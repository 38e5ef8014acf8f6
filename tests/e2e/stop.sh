#!/bin/sh
# Asked to stop by SIGUSR2, SIGTERM or the stop file, a run commits the step it is at and exits with 75; the same command
# goes on, and ends with the bits of a run that nobody stopped.
. "$(dirname "$0")/lib.sh"
steps=3000
write_config tiny.yaml $steps
sed -i 's/every: 50steps/every: 1000steps/' tiny.yaml

# stop RANKS NAME how...: `how` gets the job's pid as $job.
stop() {
  ranks=$1 name=$2
  shift 2
  rm -rf run
  start "$ranks" tiny.yaml run.dir=run
  wait_for 60 step_reached run 30
  "$@"
  ended 75
  said "stopped at step [0-9]+ \($name\): committed"
  not_said 'error:'
  nobody_left
  at=$("$V" inspect run --json | "$json" - step)
  [ "$at" -lt $steps ] || fail "$name: stopped only at the end"
  said "stopped at step $at "
  [ "$(readlink run/checkpoints/latest)" = "$(printf 'step-%08d' "$at")" ] || fail "$name: step $at is not the latest checkpoint"
  run 0 "$V" inspect run
  said 'all checksums match'
  run 0 train "$ranks" tiny.yaml run.dir=run
  said "resumed    from .*: step $at, attempt 2"
  for file in model.safetensors optimizer.safetensors; do
    same "calm-$ranks/checkpoints/latest/$file" "run/checkpoints/latest/$file"
  done
  losses run >run.losses
  same "calm-$ranks.losses" run.losses
  echo "$name at $ranks ranks: stopped at step $at, went on to the same bits"
}

by_signal() { kill "-$1" $job; }
by_file() { : >run/stop; }

for ranks in 1 2; do
  run 0 train $ranks tiny.yaml run.dir=calm-$ranks
  losses calm-$ranks >calm-$ranks.losses
  stop $ranks SIGUSR2 by_signal USR2
  stop $ranks 'stop file' by_file
done
stop 1 SIGTERM by_signal TERM
stop 1 SIGHUP by_signal HUP

# SIGTERM to mpirun takes the job down whatever the ranks do (Open MPI's rule); what they leave is still the same run.
rm -rf run
start 2 tiny.yaml run.dir=run checkpoint.every=20steps
wait_for 60 step_reached run 60
kill -TERM $job
ended any
[ $rc -ne 0 ] || fail "exit code 0 after SIGTERM"
nobody_left
run 0 train 2 tiny.yaml run.dir=run
said 'resumed    from '
same calm-2/checkpoints/latest/model.safetensors run/checkpoints/latest/model.safetensors
