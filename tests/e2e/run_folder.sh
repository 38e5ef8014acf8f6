#!/bin/sh
# A run folder as the argument: `train RUN` goes on with that run, whatever its config, and `check RUN` and `bench` take it too.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 20

# Its config.yaml writes the defaults out: rules for parameters this model lacks are still the defaults.
run 0 "$V" train tiny.yaml run.dir=mean model.cls_token=false model.pool=mean
for ranks in 1 2; do
  run 0 train $ranks mean
  said 'nothing to do: the run is complete at step 20'
done
run 0 "$V" check mean
said '^one step   ok'
run 0 "$V" bench step mean --steps 2
refused 2 "optim\\.decay_rules: the pattern 'cls_tokens' matches none" "$V" train mean 'optim.decay_rules=["cls_tokens": 0]'
echo ok
