#!/bin/sh
# One run at 1, 2, 3 and 4 ranks: the same rows in the same pairs with the same pixels, gradients and losses up to rounding.
. "$(dirname "$0")/lib.sh"
probe=$build/tests/train_probe
steps=20

# same_run NAME LIMIT_GRADIENT LIMIT_LOSS overrides...: record at 1 rank, compare 2, 3 and 4 ranks and other microbatches.
same_run() {
  name=$1 gradient=$2 loss=$3
  shift 3
  run 0 "$probe" run "$name-1" $steps tiny.yaml "$@"
  for ranks in 2 3 4; do
    run 0 $mpi $ranks "$probe" run "$name-$ranks" $steps tiny.yaml "$@"
    echo "$name at $ranks ranks:"
    "$probe" compare "$name-1" "$name-$ranks" "$gradient" "$loss" || fail "$name: 1 and $ranks ranks differ"
  done
}

write_config tiny.yaml 40
same_run plain 1e-6 1e-5 model.dropout=0 model.drop_path=0
same_run dropout 1e-6 1e-5
same_run uneven 1e-6 1e-5 data.batch=26 model.attention_dropout=0.1 model.pos_dropout=0.1
same_run odd 1e-6 1e-5 data.batch=7 compute.micro_batch=2

# Threads and microbatches are no part of a run either.
run 0 "$probe" run threads $steps tiny.yaml data.threads=3 compute.threads=2 compute.micro_batch=6
"$probe" compare dropout-1 threads 1e-6 1e-5 || fail "threads and microbatches change the run"
# The same command twice: the same bits.
run 0 $mpi 3 "$probe" run again $steps tiny.yaml
same dropout-3 again
same dropout-3.grad again.grad
# The comparison can fail: another seed is another run.
run 0 "$probe" run other $steps tiny.yaml run.seed=1
if "$probe" compare dropout-1 other 1e-6 1e-5 >/dev/null; then fail "another seed made the same run"; fi
# More ranks than pairs in a batch: some ranks have nothing but padding.
run 0 "$probe" run few-1 $steps tiny.yaml data.batch=4
run 0 $mpi 3 "$probe" run few-3 $steps tiny.yaml data.batch=4
"$probe" compare few-1 few-3 1e-6 1e-5 || fail "a batch of two pairs differs at 3 ranks"
echo "ok"
