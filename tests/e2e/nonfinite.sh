#!/bin/sh
# Steps that are not finite: skipped, counted, too many in a row end the run; and all of that goes on through a stop.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 30
skip=$build/tests/train_skip

# probe RANKS STEPS STOP CONFIG ...
probe() {
  ranks=$1
  shift
  if [ "$ranks" -eq 1 ]; then "$skip" "$@"; else $mpi "$ranks" "$skip" "$@"; fi
}
counter() { "$V" inspect "$1/checkpoints/latest" --json | "$json" - "$2"; }

# Stopped before, within and behind a streak, at its first and last step too: the same bits as without a stop.
plan=nxxnnnnxxxxn
for ranks in 1 2; do
  rm -rf calm
  run 0 probe $ranks $plan 0 tiny.yaml run.dir=calm
  [ "$(grep -c 'update skipped' out)" -eq 6 ] || fail "expected 6 skipped steps"
  said 'step 12: .*6 skipped so far'
  [ "$(counter calm skipped_steps)" -eq 6 ] || fail "$(counter calm skipped_steps) steps skipped, expected 6"
  for stop in 1 2 4 5 7 9; do
    rm -rf cut
    run 75 probe $ranks $plan $stop tiny.yaml run.dir=cut
    run 0 probe $ranks $plan 0 tiny.yaml run.dir=cut
    said "resumed    from .*step $stop,"
    said 'step 12: .*6 skipped so far'
    for file in model.safetensors optimizer.safetensors; do
      same calm/checkpoints/step-00000030/$file cut/checkpoints/step-00000030/$file
    done
    losses calm >calm.losses
    losses cut >cut.losses
    same calm.losses cut.losses
  done
  grep 'optim/skipped' cut/metrics.jsonl | tail -n 1 | grep -q '"optim/skipped":6[.,}]' || fail "optim/skipped lost count"
done

# Too many in a row: the run ends at the same step with the same words, however often it was stopped on the way.
plan=xxnxxnnnnnnnnnnnnnnn
for ranks in 1 2; do
  rm -rf calm cut
  run 1 probe $ranks $plan 0 tiny.yaml run.dir=calm train.nonfinite_limit=7
  grep 'error: ' out >calm.error
  said 'error: step 13: 8 steps in a row with non-finite gradients .*train\.nonfinite_limit=7'
  for stop in 7 8 11; do
    run 75 probe $ranks $plan $stop tiny.yaml run.dir=cut train.nonfinite_limit=7
  done
  [ "$(counter cut nonfinite_streak)" -eq 6 ] || fail "a streak of $(counter cut nonfinite_streak), expected 6"
  run 1 probe $ranks $plan 0 tiny.yaml run.dir=cut train.nonfinite_limit=7
  grep 'error: ' out >cut.error
  same calm.error cut.error
  # A lower limit counts what was before.
  run 1 probe $ranks $plan 0 tiny.yaml run.dir=cut train.nonfinite_limit=3
  said 'error: step 12: 7 steps in a row'
done

# The binary itself, with a rate that destroys the model: as often as it is started again, it is the same end.
refused 1 'steps in a row with non-finite gradients' "$V" train tiny.yaml run.dir=hot optim.lr=1000 optim.weight_decay=1 checkpoint.every=3steps
cp errors hot.errors
refused 1 'steps in a row with non-finite gradients' "$V" train tiny.yaml run.dir=hot optim.lr=1000 optim.weight_decay=1 checkpoint.every=3steps
said 'resumed    from hot/'
same hot.errors errors
echo ok
