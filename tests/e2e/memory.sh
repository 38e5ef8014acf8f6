#!/bin/sh
# Steps allocate nothing, runs do not grow. The wrapped probe, so not with sanitizers that bring their own malloc.
. "$(dirname "$0")/lib.sh"
probe=$build/tests/train_memory
write_config tiny.yaml 100

run 0 "$probe" step tiny.yaml
run 0 "$probe" step tiny.yaml compute.micro_batch=4 data.threads=2 train.ema=0.99
run 0 "$probe" step tiny.yaml compute.dtype=bf16 compute.recompute=true
run 0 $mpi 2 "$probe" step tiny.yaml comm.bucket_mb=0.01 compute.micro_batch=6
run 0 "$probe" loop tiny.yaml run.dir=flat-1 eval.every=10steps checkpoint.every=10steps
cat out
run 0 $mpi 2 "$probe" loop tiny.yaml run.dir=flat-2 eval.every=10steps checkpoint.every=10steps
cat out
