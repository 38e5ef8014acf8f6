#!/bin/sh
# The planned memory of a ViT-B step against the real one, and a longer run that must not grow.
. "$(dirname "$0")/lib.sh"
probe=$build/tests/train_memory
write_config tiny.yaml 3000
cat >base.yaml <<'EOF'
model: {name: vit_b16}
data: {train: synthetic, batch: 8}
compute: {threads: 2}
train: {duration: 10steps}
EOF
# Small microbatches, where weights and the optimizer weigh most; then activations of all images at once.
for keys in "optim.name=adamw" "optim.name=sgd" "compute.dtype=fp32 optim.name=adamw" "compute.dtype=fp32 optim.name=sgd" \
  "compute.micro_batch=8" "compute.dtype=fp32 compute.micro_batch=8" "compute.dtype=fp32 compute.micro_batch=8 compute.recompute=block"; do
  # shellcheck disable=SC2086
  run 0 "$probe" plan base.yaml $keys
  echo "$keys: $(grep planned out)"
done
run 0 "$probe" plan base.yaml compute.micro_batch=8 compute.recompute=light
cat out
run 0 "$probe" loop tiny.yaml run.dir=flat eval.every=100steps checkpoint.every=100steps
cat out
