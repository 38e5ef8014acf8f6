#!/bin/sh
# Mistakes in configs and commands: one line that says what, where and what was expected; exit 2 (1 for what the machine
# refuses); nothing is started, nothing is written.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 10

# with 's/this/that/' : a copy of the config with a mistake.
with() { sed "$1" tiny.yaml >bad.yaml; }

with 's/  depth: 2/  depht: 2/'
refused 2 'bad\.yaml:7: .*model\.depht.* did you mean model\.depth' "$V" train bad.yaml run.dir=run
with 's/  heads: 2/  heads: two/'
refused 2 'bad\.yaml:8: .*model\.heads.*two.*expected' "$V" train bad.yaml run.dir=run
with 's/^optim:/optimizer:/'
refused 2 'bad\.yaml:[0-9]+: .*optimizer' "$V" train bad.yaml run.dir=run
with 's/  lr: 0.002/  lr: -1/'
refused 2 'bad\.yaml:[0-9]+: .*optim\.lr.*-1.*' "$V" train bad.yaml run.dir=run
with 's/10steps/10parsecs/'
refused 2 'bad\.yaml:[0-9]+: .*train\.duration.*parsecs' "$V" train bad.yaml run.dir=run
printf 'model: {name: [' >bad.yaml
refused 2 'bad\.yaml:[12]: not valid YAML' "$V" train bad.yaml run.dir=run
refused 2 'optim\.rl.*optim\.lr' "$V" train tiny.yaml optim.rl=1 run.dir=run
refused 2 'model\.depth.*x' "$V" train tiny.yaml model.depth=x run.dir=run
refused 2 'config file comes before' "$V" train model.depth=2 tiny.yaml
refused 1 'missing\.yaml: cannot open' "$V" train missing.yaml run.dir=run
refused 2 'config\.yaml' "$V" train "$data" run.dir=run
refused 2 'takes at least 1 argument' "$V" train
refused 2 'unknown verb trian, did you mean train' "$V" trian tiny.yaml
refused 2 'unknown option --jsno, did you mean --json' "$V" eval run "$data" --jsno
refused 2 'expected a whole number' "$V" train -n two tiny.yaml
refused 2 'option -n needs a value' "$V" train tiny.yaml -n

# Shapes that cannot be.
refused 2 'patch' "$V" train tiny.yaml model.patch_size=5 run.dir=run
refused 2 'heads' "$V" train tiny.yaml model.heads=3 run.dir=run
refused 2 'pool' "$V" train tiny.yaml model.cls_token=false run.dir=run
refused 2 'classes' "$V" train tiny.yaml model.classes=4 run.dir=run
refused 2 'data\.transform' "$V" train tiny.yaml 'data.transform=shear(2)' run.dir=run
refused 2 'no such model|model\.name' "$V" train tiny.yaml model.name=vit_x run.dir=run
refused 2 'train\.duration' "$V" train tiny.yaml train.duration=0 run.dir=run
refused 2 'train\.duration: 1e\+?300ep is too long, expected at most [0-9]+ steps' "$V" train tiny.yaml train.duration=1e300ep run.dir=run
refused 2 'train\.duration: 1e\+?30ep is too long' "$V" train tiny.yaml train.duration=1e30ep run.dir=run
refused 2 'optim\.betas: 1 number, expected 2' "$V" train tiny.yaml 'optim.betas=[0.9]' run.dir=run
not_said 'to 2'
refused 2 'compute\.threads is 4096 where a rank has [0-9]+ CPUs?, expected 0 \(all of them\) or at most' "$V" train tiny.yaml compute.threads=4096 run.dir=run
refused 2 'data\.val: synthetic has 11 classes' "$V" train tiny.yaml data.val=synthetic data.synthetic_classes=11 run.dir=run
refused 1 'exact' "$V" train tiny.yaml train.reduction=exact run.dir=run
refused 1 'cuda' "$V" train tiny.yaml compute.device=cuda run.dir=run
refused 2 'blocks\.9' "$V" train tiny.yaml 'optim.decay_rules=["blocks.9.*": 0]' run.dir=run
refused 2 'a matrix of 12884901888 values' "$V" train tiny.yaml model.width=65536 model.mlp_width=262144 run.dir=run
refused 1 'plan needs .* no microbatch fits' "$V" train tiny.yaml model.width=16384 model.mlp_width=65536 model.depth=200 run.dir=run

# Taken, with a warning: what is hardly meant. Told once at any number of ranks.
doubted() {
  pattern=$1
  shift
  run 0 "$V" train tiny.yaml run.dir=doubted "$@"
  [ "$(grep -Ec "warning: $pattern" out)" -eq 1 ] || fail "not warned once: $pattern"
  rm -rf doubted
  run 0 $mpi 2 "$V" train tiny.yaml run.dir=doubted "$@"
  [ "$(grep -Ec "warning: $pattern" out)" -eq 1 ] || fail "not warned once at two ranks: $pattern"
  rm -rf doubted
}
doubted 'optim\.warmup is 50 steps of a run of 10' optim.warmup=50steps
doubted 'optim\.warmup and optim\.cooldown are 6 and 6 steps' optim.schedule=constant optim.warmup=6steps optim.cooldown=6steps
doubted 'train\.lanes=4 ' train.lanes=4
doubted 'compute\.threads is [0-9]+ where a rank has' compute.threads=$(($(nproc) + 1))
run 0 "$V" train tiny.yaml run.dir=doubted
not_said 'warning: (optim|train|compute)\.'
rm -rf doubted

# The same mistakes under mpirun: found before any rank starts, or by all ranks and told once.
with 's/  depth: 2/  depht: 2/'
refused 2 'bad\.yaml:7' "$V" train -n 2 bad.yaml run.dir=run
refused 2 'heads' "$V" train -n 2 tiny.yaml model.heads=3 run.dir=run
refused 2 'bad\.yaml:7' $mpi 2 "$V" train bad.yaml run.dir=run
echo ok
