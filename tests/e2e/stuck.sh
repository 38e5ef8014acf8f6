#!/bin/sh
# A rank that stops (SIGSTOP) while the other waits for it: the watchdog ends the job and names it. Then a rank that dies.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 1000000
sed -i 's/timeout_s: 60/timeout_s: 3/' tiny.yaml

rank_pid() { # of rank $2 below mpirun $1
  for pid in $(children_of "$1"); do
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$2" && echo "$pid"
  done
}

# disturb RANK SIGNAL REGEX: the job ends by itself, not with 0, says REGEX; the checkpoints are whole. Output in ./out.
disturb() {
  rm -rf run
  start 2 tiny.yaml run.dir=run checkpoint.every=20steps
  wait_for 60 step_reached run 45
  victim=$(rank_pid $job "$1")
  [ -n "$victim" ] || fail "no process of rank $1 found"
  kill "-$2" "$victim"
  patience=300
  while kill -0 $job 2>/dev/null && [ $patience -gt 0 ]; do
    patience=$((patience - 1))
    sleep 0.2
  done
  [ $patience -gt 0 ] || fail "the job did not end by itself within a minute"
  ended any
  [ $rc -ne 0 ] || fail "exit code 0 with rank $1 disturbed"
  [ -z "$3" ] || said "$3"
  nobody_left
  run 0 "$V" inspect run
  said 'all checksums match'
}

# An evaluation and a step that take longer than the timeout are no hang: microbatches pass.
run 0 "$V" train tiny.yaml run.dir=long train.duration=2steps comm.timeout_s=1 data.val=synthetic \
  data.synthetic_samples=300000 data.synthetic_classes=10
run 0 "$V" train tiny.yaml run.dir=large train.duration=1steps comm.timeout_s=1 data.batch=200000 compute.micro_batch=64

disturb 1 STOP 'watchdog: rank 1 .*silent since'
disturb 0 STOP 'watchdog: rank 0 .*silent since'
disturb 1 KILL 'signal 9'
