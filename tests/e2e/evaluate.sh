#!/bin/sh
# Evaluation is exact: the same numbers in training and in `vitrail eval`, at any number of ranks, each sample once.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 300
run 0 train 2 tiny.yaml run.dir=run train.ema=0.9 eval.every=300steps eval.batch=70 checkpoint.every=100steps
# What training said of a run last.
told() {
  grep '"val/top1"' "$1/metrics.jsonl" | tail -n 1 >val.json
  top1=$("$json" val.json val/top1) top5=$("$json" val.json val/top5) loss=$("$json" val.json val/loss)
}
told run
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 1e-5 && d > -1e-5) }' || fail "$3: $1, training said $2"; }
agrees() {
  near "$("$json" eval.json top1)" "$top1" "$1: top-1"
  near "$("$json" eval.json top5)" "$top5" "$1: top-5"
  near "$("$json" eval.json loss)" "$loss" "$1: loss"
  [ "$("$json" eval.json images)" -eq 300 ] || fail "$1: not every image was seen"
}
# A trained model, or equal numbers would say nothing.
awk -v t="$top1" 'BEGIN { exit !(t > 0.2 && t < 0.99) }' || fail "val/top1 is $top1"

for ranks in 1 2 3; do
  $mpi $ranks "$V" eval run "$data#val" --json >eval.json 2>out || fail "eval at $ranks ranks"
  agrees "$ranks ranks"
done
"$V" eval run/checkpoints/step-00000300 "$data" --json >eval.json 2>out || fail "eval of a checkpoint folder"
agrees "checkpoint folder"
"$V" eval run/checkpoints "$data" --json >eval.json 2>out || fail "eval of the checkpoints folder"
agrees "checkpoints folder"
"$V" eval run --best "$data" --json >eval.json 2>out || fail "eval --best"
agrees "best"
"$V" eval run --raw-weights "$data" --json >raw.json 2>out || fail "eval --raw-weights"
[ "$("$json" raw.json weights)" = model ] || fail "--raw-weights took $("$json" raw.json weights)"
[ "$("$json" eval.json weights)" = ema ] || fail "the EMA was not taken"
[ "$("$json" raw.json loss)" != "$("$json" eval.json loss)" ] || fail "EMA and model give the same loss"

# Numbers of classes add up to the whole.
sum=0 k=0
while [ $k -lt 10 ]; do sum=$((sum + $("$json" eval.json classes.$k.correct))) k=$((k + 1)); done
near "$(awk -v s=$sum 'BEGIN { print s / 300 }')" "$top1" "sum over classes"

# Each sample once in the predictions, and they are what was counted.
run 0 "$V" eval run "$data" --predictions p.csv
said 'top-1 [0-9.]+ %'
[ "$(head -n 1 p.csv)" = sample,key,label,prediction,probability ] || fail "header: $(head -n 1 p.csv)"
tail -n +2 p.csv | cut -d , -f 1 | sort -n >samples
awk 'BEGIN { for (i = 0; i < 300; i++) print i }' >wanted
same samples wanted
near "$(tail -n +2 p.csv | awk -F , '$3 == $4 { n++ } END { print n / 300 }')" "$top1" "predictions"
# The key is the shard's: the picture's name before the first dot, as any WebDataset reader has it.
tar -tf "$data/shards/val-000000.tar" | grep -v '\.cls$' | sed 's/\..*//' >keys
[ "$(tail -n +2 p.csv | sort -n | cut -d , -f 2 | head -n "$(wc -l <keys)" | cksum)" = "$(cksum <keys)" ] || fail "keys: $(head -3 p.csv)"
refused 1 'no-folder/p\.csv: cannot write' "$V" eval run "$data" --predictions no-folder/p.csv
refused 1 '/dev/full: cannot write: No space' "$V" eval run "$data" --predictions /dev/full
said 'top-1 [0-9.]+ %'
refused 2 '2 ranks' $mpi 2 "$V" eval run "$data" --predictions p2.csv
# A run folder that cannot be written: the result is shown all the same.
mv run/eval.json kept.json
mkdir -p run/eval.json/in-the-way
run 0 "$V" eval run "$data"
said 'top-1 [0-9.]+ %'
said 'warning: .*eval\.json'
run 0 "$V" eval run "$data" --json
said '"top1":'
rm -r run/eval.json
# predict and --predictions say the same of a model trained with the sigmoid loss: each class for itself.
run 0 train 1 tiny.yaml run.dir=sigmoid loss.name=sigmoid train.duration=30steps
run 0 "$V" eval sigmoid "$data#val[:1%]" --predictions p.csv
tar -xf "$data/shards/val-000000.tar"
line=$(sed -n 2p p.csv)
picture=$(ls "$(echo "$line" | cut -d , -f 2)".p[gnp][gm])
"$V" predict sigmoid "$picture" --json >one.json || fail "predict"
class=$(echo "$line" | cut -d , -f 4)
awk -v a="$(echo "$line" | cut -d , -f 5)" -v b="$("$json" one.json classes.$class.probability)" \
  'BEGIN { d = a - b; exit !(d < 2e-6 && d > -2e-6) }' || fail "predictions: $line, predict: $("$json" one.json classes.$class)"
# A part of a split is a dataset too.
run 0 "$V" eval run "$data#val[:10%]"
said ' 30 images'
# Evaluation in training does not depend on ranks either: what three say of their weights, one says of the same weights. (That
# weights do not depend on ranks is world_size.sh's to show, in steps so few that roundings have not grown.)
run 0 train 3 tiny.yaml run.dir=run-3 train.ema=0.9 train.duration=40steps eval.every=40steps eval.batch=70
told run-3
"$V" eval run-3 "$data#val" --json >eval.json 2>out || fail "eval of a run of 3 ranks"
agrees "a run of 3 ranks"
# An evaluation and a checkpoint after each epoch of 12.5 steps: three of three epochs, none beside the end, and so through a
# run that goes on from a checkpoint.
evaluated() { sed -n '/"val\/top1"/s/^{"step":\([0-9]*\),.*/\1/p' "$1/metrics.jsonl" | paste -sd ' '; }
epochs="train.duration=3ep data.batch=48 eval.every=1ep checkpoint.every=1ep checkpoint.keep=9"
# shellcheck disable=SC2086
run 0 train 1 tiny.yaml run.dir=epochs $epochs
[ "$(evaluated epochs)" = "13 25 38" ] || fail "evaluated after steps $(evaluated epochs)"
[ "$(cd epochs/checkpoints && echo step-*)" = "step-00000013 step-00000025 step-00000038" ] || fail "$(ls epochs/checkpoints)"
rm -r epochs/checkpoints/step-00000025 epochs/checkpoints/step-00000038
cp epochs/metrics.jsonl whole.jsonl
# shellcheck disable=SC2086
run 0 train 1 tiny.yaml run.dir=epochs $epochs
[ "$(evaluated epochs | tr ' ' '\n' | sort -nu | paste -sd ' ')" = "13 25 38" ] || fail "resumed: evaluated after steps $(evaluated epochs)"
[ "$(grep -c '"step":38,.*"val/top1"' epochs/metrics.jsonl)" -ge 1 ] || fail "resumed: no evaluation at the end"
for key in val/loss val/top1; do
  grep '"step":38,.*"val/top1"' whole.jsonl >a.json
  grep '"step":38,.*"val/top1"' epochs/metrics.jsonl | tail -n 1 >b.json
  [ "$("$json" a.json $key)" = "$("$json" b.json $key)" ] || fail "resumed: $key differs"
done
