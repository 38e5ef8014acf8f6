#!/bin/sh
# Asked to stop where it takes long: in an evaluation, in the last step, inside a step of many microbatches. The next start does
# what is owed, and the run ends with the bits, the validation curve and the best checkpoint of one that nobody stopped. A
# second request does not wait.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 120

# val/top1 and val/loss by step, as "step values" lines: every record there is.
vals() { sed -n 's/^{"step":\([0-9]*\),.*\("val\/loss":.*\)}$/\1 \2/p' "$1/metrics.jsonl"; }
best() { # step and value, and where the link points
  "$json" "$1.json" best_step
  "$json" "$1.json" best_metric
  readlink "$1/checkpoints/best"
}
# like_calm NAME: nothing of the stops shows in run.
like_calm() {
  for name in calm run; do
    "$V" inspect $name --json >$name.json || fail "inspect $name"
    vals $name >$name.vals
    best $name >$name.best
  done
  same calm.vals run.vals
  same calm.best run.best
  for file in model.safetensors optimizer.safetensors; do
    same calm/checkpoints/latest/$file run/checkpoints/latest/$file
  done
  [ "$("$json" run.json evaluation_owed)" = false ] || fail "$1: an evaluation is owed still"
}

# Every step is an evaluation step: wherever the stop comes, an evaluation is owed after it.
for ranks in 1 2; do
  rm -rf calm run
  run 0 train $ranks tiny.yaml run.dir=calm eval.every=1steps
  for step in 10 60; do
    start $ranks tiny.yaml run.dir=run eval.every=1steps
    wait_for 60 grep -q '^run  ' job.out # the step may have been reached before
    wait_for 60 step_reached run $step
    kill -USR2 $job
    ended 75
    said 'stopped at step [0-9]+ \(SIGUSR2\): committed.* with the evaluation of this step'
    [ "$("$V" inspect run --json | "$json" - evaluation_owed)" = true ] || fail "no evaluation is owed"
    vals run | grep -q "^$("$V" inspect run --json | "$json" - step) " && fail "the evaluation was done"
  done
  run 0 train $ranks tiny.yaml run.dir=run eval.every=1steps
  like_calm "evaluations, $ranks ranks"
  [ "$(wc -l <run.vals)" -eq 120 ] || fail "$(wc -l <run.vals) evaluations, expected 120"
done

# In the last step: the evaluation that ends the run is done all the same. Steps of one large microbatch.
large="data.batch=1200 compute.micro_batch=1200 train.duration=6steps"
rm -rf calm run
began=$(date +%s)
run 0 train 1 tiny.yaml run.dir=calm $large
took=$(($(date +%s) - began))
start 1 tiny.yaml run.dir=run $large
wait_for 60 step_reached run 4 # told in step 5 or 6
kill -USR2 $job
ended any
[ $rc -eq 0 ] || run 0 train 1 tiny.yaml run.dir=run $large
like_calm "last step"

# A long step is given up, and done again; where it is, is shown.
# Two seconds on a fast machine, so that the request comes within the first step on any; at most eight on a slow or busy one, or
# under sanitizers, by what the 7200 images above took.
batch=72000
[ $took -le 2 ] || batch=$((7200 * 8 / took / 24 * 24 + 24))
many="data.batch=$batch compute.micro_batch=24 train.duration=4steps"
for ranks in 1 2; do
  rm -rf calm run
  run 0 train $ranks tiny.yaml run.dir=calm $many
  start $ranks tiny.yaml run.dir=run $many
  wait_for 60 grep -q '^run  ' job.out
  kill -USR2 $job
  ended 75
  said 'stopped at step 0 \(SIGUSR2\): committed, .*; step 1, at microbatch [0-9]+ of [0-9]+, is done again'
  [ "$("$V" inspect run --json | "$json" - step)" -eq 0 ] || fail "something of the step was kept"
  start $ranks tiny.yaml run.dir=run $many
  wait_for 100 step_reached run 1 # told once step 2 is done
  kill -USR2 $job
  ended 75
  said 'stopped at step [0-9]+ .*: committed, '
  run 0 train $ranks tiny.yaml run.dir=run $many
  like_calm "long step, $ranks ranks"
done
rm -rf run
start 1 tiny.yaml run.dir=run data.batch=12000000 compute.micro_batch=24
wait_for 60 grep -Eq '^step 1/120: microbatch [0-9]+ of 500000, [0-9]%, the step takes another [0-9]' job.out
kill -TERM $job
ended 75
said 'step 1, at microbatch [0-9]+ of 500000, is done again'

# A second request, SIGTERM or SIGINT: at once, in the middle of a step of one microbatch. The pause keeps the step from ending.
huge="data.batch=9600 compute.micro_batch=9600"
again() { # SIGNAL CODE REGEX
  kill -USR2 $job
  wait_for 10 grep -q '^ShdPnd:[[:space:]]*0*$' /proc/$job/status # taken
  kill -STOP $job
  sleep 0.4
  kill "-$1" $job
  kill -CONT $job
  ended "$2"
  said "asked to stop again: leaving at once; $3"
  not_said 'stopped at step'
  nobody_left
}
rm -rf run
start 1 tiny.yaml run.dir=run $huge checkpoint.every=1steps
wait_for 60 [ -e run/checkpoints/latest ]
again TERM 75 'the newest checkpoint stands'
rm -rf run
start 1 tiny.yaml run.dir=run $huge
wait_for 60 grep -q '^run  ' job.out
again TERM 1 'there is no checkpoint yet'
rm -rf run
if env --default-signal=INT true; then # a script's background job ignores it otherwise
  : >job.out
  env --default-signal=INT "$V" train tiny.yaml run.dir=run $huge >job.out 2>&1 &
  job=$!
  wait_for 60 grep -q '^run  ' job.out
  again INT 1 'there is no checkpoint yet'
fi
echo ok
