#!/bin/sh
# Steps allocate nothing, runs do not grow. The wrapped probe, so not with sanitizers that bring their own malloc.
. "$(dirname "$0")/lib.sh"
probe=$build/tests/train_memory
write_config tiny.yaml 500

# step WORDS: 500 steps, nothing allocated, flat; the numbers are shown.
step() {
  run 0 "$@"
  grep 'allocations or frees' out
}
step "$probe" step tiny.yaml
step "$probe" step tiny.yaml compute.micro_batch=4 data.threads=2 train.ema=0.99
step "$probe" step tiny.yaml compute.dtype=bf16 compute.recompute=true
step $mpi 2 "$probe" step tiny.yaml comm.bucket_mb=0.01 compute.micro_batch=6
# Both checks can fail: 4 KiB lost in every step, a few bytes taken and given back in every step.
run 1 "$probe" leak tiny.yaml
said ' 0 allocations.* resident at step 100, [1-9][0-9]{3} KiB more at step 500'
run 1 "$probe" allocate tiny.yaml
said ' [1-9][0-9]+ allocations'

run 0 "$probe" loop tiny.yaml run.dir=flat-1 eval.every=50steps checkpoint.every=50steps
cat out
run 0 $mpi 2 "$probe" loop tiny.yaml run.dir=flat-2 eval.every=50steps checkpoint.every=50steps
cat out
