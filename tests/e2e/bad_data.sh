#!/bin/sh
# Data that are missing, cut, damaged or changed.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 200
sed -i "s,$data,set," tiny.yaml
fresh() { rm -rf set run; cp -r "$data" set; }
# poke FILE OFFSET BYTE: overwrite one byte (octal).
poke() { printf "\\$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; }

# both CODE REGEX [overrides]: refused alone and at two ranks.
both() {
  code=$1 pattern=$2
  shift 2
  refused "$code" "$pattern" "$V" train tiny.yaml run.dir=run "$@"
  refused "$code" "$pattern" "$V" train -n 2 tiny.yaml run.dir=run "$@"
  refused "$code" "$pattern" "$V" preview tiny.yaml -o sheet.png "$@"
}

rm -rf set
both 1 'set: no such dataset'
fresh
both 2 'nosplit' data.train=set#nosplit
refused 2 'train\[' "$V" train tiny.yaml run.dir=run 'data.train=set#train[:200%]'
poke set/manifest.pb 40 377
both 1 'set/manifest\.pb.*'
fresh
rm set/shards/train-000001.tar
both 1 'set/shards/train-000001\.tar'
fresh
truncate -s 100000 set/shards/train-000001.tar
both 1 'set/shards/train-000001\.tar.*100000'
fresh
rm set/shards/train-000001.idx
both 1 'set/shards/train-000001\.idx'
fresh
poke set/shards/train-000000.idx 60 377
both 1 'set/shards/train-000000\.idx'
fresh
refused 1 'val-000000\.tar' sh -c "rm set/shards/val-000000.tar; '$V' train tiny.yaml run.dir=run"

# One byte of one picture of the training half: counted, told once, replaced; the same run at any number of ranks.
fresh
poke set/shards/train-000000.tar 900 252
for ranks in 1 2; do
  run 0 train $ranks tiny.yaml run.dir=run-$ranks
  said 'warning: bad sample, replaced by the next good one: .*train-000000\.tar'
  [ "$(grep -c 'bad sample, replaced' out)" -ge 1 ] || fail "not told"
  losses run-$ranks >run-$ranks.losses
done
paste -d ' ' run-1.losses run-2.losses | awk '{ d = ($2 - $4) / $2; if (d > 1e-3 || d < -1e-3) bad = 1 } END { exit bad || NR < 200 }' ||
  fail "the substitute depends on the ranks"
# Only one bad sample: it stays a run. With many and a limit it does not.
i=0
while [ $i -lt 40 ]; do
  poke set/shards/train-000000.tar $((900 + i * 2048)) 252
  i=$((i + 1))
done
refused 1 'bad samples.*limit|more than [0-9]+ bad samples' "$V" train tiny.yaml run.dir=run-3 data.bad_limit=3
rm -rf run
refused 1 'bad samples' "$V" train -n 2 tiny.yaml run.dir=run data.bad_limit=3
# verify finds them all and records them; then training leaves them out.
run 1 "$V" verify set
said '1500 samples in 7 shards.*: [1-9][0-9]* bad'
# Evaluation never replaces: the number would be of other pictures.
fresh
run 0 "$V" train tiny.yaml run.dir=run train.duration=20steps
poke set/shards/val-000000.tar 900 252
refused 1 'val-000000\.tar' "$V" eval run set
refused 1 'val-000000\.tar' $mpi 2 "$V" eval run set
refused 1 'val-000000\.tar' "$V" train tiny.yaml run.dir=run-4 train.duration=20steps
refused 1 'val-000000\.tar' "$V" train -n 2 tiny.yaml run.dir=run-5 train.duration=20steps

# Classes of the evaluation set that are not those of the training set, by their order or by a name.
tar -xf "$data/shards/val-000000.tar"
for class in 0 1 2 3 4 5 6 7 8 9; do
  mkdir -p tree/$class
  for key in $(grep -lx $class -- *.cls | head -n 2); do cp "${key%.cls}".p[gnp][gm] tree/$class; done
done
mv tree/9 tree/boot
run 0 "$V" pack tree named
rm -rf tree/0
run 0 "$V" pack tree ordered
fresh
both 2 'data\.val: named#train: class 9 is "boot", expected "9" as in set#train' data.val=named#train
both 2 'data\.val: ordered#train: class 0 is "1", which is class 1 of set#train.*; expected the same classes in' data.val=ordered#train
# eval refuses another order too; other names are only a warning there: an imported model has names of its own.
run 0 "$V" train tiny.yaml run.dir=run train.duration=5steps
refused 2 'ordered#train: class 0 is "1", which is class 1 of run' "$V" eval run ordered#train
run 0 "$V" eval run named#train
said 'warning: class 9 is "boot" in named#train, but "9" in run'
run 0 $mpi 2 "$V" eval run named#train
[ "$(grep -c 'class 9 is' out)" -eq 1 ] || fail "the warning was not told once"

# eval: a shard that is missing or cut, alone and at two ranks.
fresh
run 0 "$V" train tiny.yaml run.dir=run train.duration=5steps
truncate -s 3000 set/shards/val-000001.tar
refused 1 'set/shards/val-000001\.tar: .*3000 bytes, expected [0-9]+ \(truncated' "$V" eval run set
refused 1 'set/shards/val-000001\.tar: .*3000 bytes' $mpi 2 "$V" eval run set
rm set/shards/val-000001.tar
refused 1 'set/shards/val-000001\.tar: .*No such file' "$V" eval run set
refused 1 'set/shards/val-000001\.tar: .*No such file' $mpi 2 "$V" eval run set

# pack that is broken off leaves nothing that looks like a dataset; the next one clears up.
"$V" pack /usr/share/datasets/fashion-mnist half --from idx 2>pack.out &
packer=$!
wait_for 60 sh -c 'ls half.packing.*/shards/*.tar >/dev/null 2>&1'
kill -TERM $packer
wait $packer
[ $? -eq 143 ] || fail "pack ended otherwise"
[ ! -e half ] || fail "a broken-off pack left half a dataset"
refused 1 'half: no such dataset' "$V" train tiny.yaml run.dir=run-half data.train=half
run 0 "$V" pack tree half
ls -d half.packing.* 2>/dev/null && fail "the next pack left the remains"

# A dataset that changed under a run.
fresh
run 0 "$V" train tiny.yaml run.dir=run
sum=$(cksum <run/checkpoints/latest/model.safetensors)
refused 2 'data\.train.*fingerprint.*data changed' "$V" train tiny.yaml run.dir=run 'data.train=set#train[:40%]'
refused 2 'data changed' "$V" train -n 2 tiny.yaml run.dir=run 'data.train=set#train[:40%]'
[ "$sum" = "$(cksum <run/checkpoints/latest/model.safetensors)" ] || fail "the checkpoint changed"
echo ok
