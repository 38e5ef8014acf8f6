#!/bin/sh
# Every verb does what its help says.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 60
run 0 "$V" train tiny.yaml run.dir=run train.ema=0.9 eval.every=20steps checkpoint.every=20steps
newest=run/checkpoints/step-00000060

# parses COMMAND...: its stdout is JSON.
parses() {
  "$@" >out.json 2>out || fail "failed: $*"
  "$json" out.json >parsed 2>&1 || { cat parsed; fail "not JSON: $*"; }
}

# help, --version
run 0 "$V" --version
said '^vitrail [0-9]+\.[0-9]+\.[0-9]+ \(commit '
run 0 "$V"
for verb in pack inspect verify preview train eval predict import export report bench check help; do
  run 0 "$V"
  said "^  $verb "
  run 0 "$V" help $verb
  said "^usage: vitrail $verb"
  run 0 "$V" $verb --help
  said "^usage: vitrail $verb"
done
run 0 "$V" help config
for key in model.name data.train optim.lr run.dir; do grep -q "$key" out || fail "help config has no $key"; done
run 0 "$V" help config.optim.lr
said 'peak learning rate'
run 0 "$V" help optim.lr
said 'peak learning rate'
refused 2 'nothing|optim\.lr' "$V" help optim.rl
# the recipe to start from: a run needs only its data
"$V" help recipe >recipe.yaml || fail "help recipe"
run 0 "$V" preview recipe.yaml "data.train=$data#train" "data.val=$data#val" data.batch=4 -o recipe.png
refused 1 'data/mine: no such dataset' "$V" train recipe.yaml

# inspect: manifest, dataset, index, shard, checkpoint, run, weights
for path in "$data" "$data/manifest.pb" "$data/shards/train-000000.idx" "$data/shards/train-000000.tar" run $newest \
  run/checkpoints $newest/model.safetensors; do
  run 0 "$V" inspect "$path"
  [ "$(wc -l <out)" -ge 2 ] || fail "inspect $path says little"
  parses "$V" inspect "$path" --json
done
run 0 "$V" inspect run
said 'checkpoint of step 60'
said 'blocks\.1\.mlp\.fc2\.weight .*F32|blocks\.1\.mlp\.fc2\.weight .*fp32'
[ "$("$V" inspect $newest --json | "$json" - step)" -eq 60 ] || fail "inspect --json: step"
refused 1 'nothing-here' "$V" inspect nothing-here
refused 1 'tiny\.yaml' "$V" inspect tiny.yaml

# verify
cp -r "$data" set
run 0 "$V" verify set --threads 2
said '^1500 samples in 7 shards, .*: 0 bad'

# preview: a sheet, and the exact pixels whatever the threads
run 0 "$V" preview tiny.yaml -o sheet.png --step 3 --raw raw-1
[ "$(od -An -tx1 -N8 sheet.png | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "sheet.png is no PNG"
[ "$(ls raw-1 | wc -l)" -eq 24 ] || fail "raw-1 has $(ls raw-1 | wc -l) pictures"
[ -f raw-1/000000000048.pgm ] || fail "no picture of position 48: $(ls raw-1 | head -3)"
run 0 "$V" preview run data.threads=3 compute.threads=2 -o sheet-2.png --step 3 --raw raw-2
diff -r raw-1 raw-2 || fail "preview differs with threads"
same sheet.png sheet-2.png
run 0 "$V" preview tiny.yaml -o sheet.png --step 4 --raw raw-3
[ "$(cat raw-1/* | cksum)" != "$(cat raw-3/* | cksum)" ] || fail "steps 3 and 4 look the same"
refused 2 'preview needs -o' "$V" preview tiny.yaml

# a resolution in the model's name is the model's; another one that the config says wins, with a note
cat >big.yaml <<EOF
model:
  name: vit_tiny_patch16_96
data:
  train: synthetic
  batch: 2
  synthetic_samples: 8
train:
  duration: 1steps
EOF
run 0 "$V" preview big.yaml -o big.png --raw raw-96
[ "$(head -c 9 raw-96/000000000000.ppm | tr '\n' ' ')" = "P6 96 96 " ] || fail "a model of 96 px does not see 96 px"
not_said 'is taken, not'
run 0 "$V" preview big.yaml model.image_size=64 -o big.png
said 'model\.image_size 64 is taken, not the 96 in model\.name vit_tiny_patch16_96'

# predict: a picture of the set, as evaluation sees it
tar -xf "$data/shards/val-000000.tar" || fail "a shard is no tar"
picture=$(tar -tf "$data/shards/val-000000.tar" | grep -E '\.(png|pgm|ppm)$' | head -n 1)
run 0 "$V" predict run "$picture" --top 3
[ "$(grep -c '%' out)" -eq 3 ] || fail "--top 3 showed $(grep -c '%' out)"
parses "$V" predict run "$picture" "$picture" --json
[ "$(cat parsed)" -eq 2 ] || fail "predict --json: $(cat parsed) lines for two pictures"
head -n 1 out.json >one.json
"$V" eval run "$data" --predictions p.csv >out 2>&1 || fail "eval --predictions"
wanted=$(grep '^0,' p.csv | cut -d , -f 5)
best=$(for k in 0 1 2 3 4 5 6 7 8 9; do "$json" one.json classes.$k.probability; done | sort -g | tail -n 1)
awk -v a="$wanted" -v b="$best" 'BEGIN { d = a - b; exit !(d < 2e-6 && d > -2e-6) }' || fail "predict: $best, eval: $wanted"
refused 1 'sheet\.png|tiny\.yaml' "$V" predict run tiny.yaml
# A file that is no image takes no other's result with it: a line for each, and a failure at the end.
head -c 40 "$picture" >cut.png
"$V" predict run "$picture" tiny.yaml "$picture" cut.png "$picture" missing.png --json >out.json 2>out
[ $? -eq 1 ] || fail "predict of good and bad images ended with $?"
[ "$(wc -l <out.json)" -eq 3 ] || fail "predict gave $(wc -l <out.json) results for 3 good images"
[ "$(grep -c 'error: ' out)" -eq 3 ] || fail "not one line for each of 3 bad images"
for file in tiny.yaml cut.png missing.png; do said "error: $file: "; done
[ "$(sort -u out.json)" = "$(cat one.json)" ] || fail "bad images beside it change a result"

# Every kind of file that can be read: CMYK, progressive, turned by EXIF, palettes, alpha, one bit, one pixel.
golden=$here/../golden/decode
printf 'P5 1 1 255 x' >pixel.pgm
printf 'P6 1 1 255 xyz' >pixel.ppm
# 2 x 2 pixels of 16-bit grey, and one of 16-bit RGBA
base64 -d >grey16.png <<'EOF'
iVBORw0KGgoAAAANSUhEUgAAAAIAAAACEAAAAAAHTY67AAAAEklEQVR4nGMQMvn/n4GBoYEBABA/AsWJ3ttfAAAAAElFTkSuQmCC
EOF
base64 -d >rgba16.png <<'EOF'
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABEAYAAABPhRjKAAAAEUlEQVR4nGMQMvn/v4HBgQEAD3oDBXiDuE8AAAAASUVORK5CYII=
EOF
set -- pixel.pgm pixel.ppm grey16.png rgba16.png "$golden"/*.jpg "$golden"/*.png "$golden"/*.pgm "$golden"/*.ppm
run 0 "$V" predict run "$@" --top 1
[ "$(grep -c ' %  ' out)" -eq $# ] || fail "$# files, but $(grep -c ' %  ' out) predictions"

# what is printed arrives, or the command fails; who reads no more ends it quietly
ended_with() { [ "$1" -eq "$2" ] || fail "exit code $1, expected $2: $3"; }
for command in help "help train" "help config" "inspect run" "inspect run --json" "inspect $data --json" \
  "predict run $picture" "predict run $picture --json" "eval run $data#val[:5%]" "eval run $data#val[:5%] --json" --version; do
  # shellcheck disable=SC2086
  "$V" $command >/dev/full 2>out
  ended_with $? 1 "$command >/dev/full"
  [ "$(grep -c 'error: ' out)" -eq 1 ] || fail "not one error line: $command >/dev/full"
  said 'error: stdout: cannot write: No space left on device'
  # shellcheck disable=SC2086
  { sleep 0.2; "$V" $command 2>out; echo $? >code; } | true
  ended_with "$(cat code)" 0 "$command | true"
  not_said 'error|warning'
done

# export and import: the weights make the trip, the accuracy stays
run 0 "$V" export run weights.safetensors
same weights.safetensors $newest/model.safetensors
run 0 "$V" export run ema.safetensors --ema
same ema.safetensors $newest/ema.safetensors
run 0 "$V" import $newest/model.safetensors imported # heads, mean, std, crop from the config.json beside it
"$V" eval run "$data" --raw-weights --json >a.json 2>out || fail "eval --raw-weights"
"$V" eval imported "$data" --json >b.json 2>out || fail "eval of an imported checkpoint"
[ "$("$json" a.json top1)" = "$("$json" b.json top1)" ] || fail "imported: top-1 $("$json" b.json top1), was $("$json" a.json top1)"
refused 1 'only \.safetensors' "$V" export run weights.npz
refused 1 'tiny\.yaml' "$V" import tiny.yaml nowhere
# Without the config.json the file says it all itself: in a folder of its own, and as a bare copy out of a checkpoint.
mkdir empty bare
mv weights.safetensors empty/exported.safetensors
cp $newest/model.safetensors bare/copy.safetensors
for file in empty/exported bare/copy; do
  run 0 "$V" import $file.safetensors $file.dir
  said "described by $file\.safetensors: metadata"
  not_said warning
  "$V" eval $file.dir "$data" --json >c.json 2>out || fail "eval of $file"
  for key in top1 top5 loss; do
    # The import beside its config.json is judged above; a run's own compute.dtype does not travel.
    [ "$("$json" b.json $key)" = "$("$json" c.json $key)" ] || fail "$file: $key $("$json" c.json $key), was $("$json" b.json $key)"
  done
  "$V" inspect $newest --json >before.json && "$V" inspect $file.dir --json >after.json || fail "inspect of $file"
  for key in eval_transform mean std classes class_names; do
    [ "$("$json" before.json $key)" = "$("$json" after.json $key)" ] || fail "$file: $key is not what it was"
  done
  [ "$("$json" after.json classes)" -eq 10 ] || fail "$file: $("$json" after.json classes) class names"
  same $newest/config.json $file.dir/latest/config.json
done
mv empty/exported.safetensors weights.safetensors
# Who drops the metadata must say the heads: sizes of no timm model, in a file without them.
bare_header() { # FILE OUT: the same tensors, "__metadata__" gone; blanks keep every offset where it is
  LC_ALL=C sed -E 's/"__metadata__":\{"format":"pt","vitrail\.config":"([^"\\]|\\.)*"\},?//' "$1" >"$2.cut"
  lost=$(($(wc -c <"$1") - $(wc -c <"$2.cut")))
  header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  { head -c 9 "$1"; printf "%${lost}s" ''; tail -c +10 "$2.cut"; } >"$2"
  [ $lost -gt 100 ] && [ "$header" -gt $lost ] || fail "the header of $1 has no metadata"
}
bare_header weights.safetensors bare/none.safetensors
refused 2 'cannot be told from shapes; expected --heads N' "$V" import bare/none.safetensors nowhere
run 0 "$V" import bare/none.safetensors alone --heads 2
refused 2 'heads: 3 does not divide' "$V" import bare/none.safetensors nowhere --heads 3
run 0 "$V" import bare/none.safetensors alone-2 --config $newest/config.json
"$V" eval alone-2 "$data" --json >c.json 2>out || fail "eval of an import with --config"
[ "$("$json" a.json top1)" = "$("$json" c.json top1)" ] || fail "--config: top-1 $("$json" c.json top1), was $("$json" a.json top1)"
# Fine-tuning from them starts where they are.
run 0 "$V" train tiny.yaml run.dir=tuned train.duration=1steps model.init_from=$newest
run 0 "$V" train tiny.yaml run.dir=tuned-2 train.duration=1steps model.init_from=weights.safetensors
same tuned/checkpoints/latest/model.safetensors tuned-2/checkpoints/latest/model.safetensors

# report
run 0 "$V" report run tuned -o page.html --svg curve.svg --metrics train/loss
grep -q '</html>' page.html && grep -q 'train/loss' page.html || fail "page.html"
grep -q '</svg>' curve.svg || fail "curve.svg"
grep -Eq '(src|href)="https?:' page.html && fail "the page needs the network"
refused 2 'report needs -o' "$V" report run
refused 1 'nowhere' "$V" report nowhere -o page.html

# bench
run 0 "$V" bench step tiny.yaml --steps 3
said 'images/s'
parses "$V" bench step tiny.yaml --steps 3 --json
awk -v v="$("$json" out.json images_per_s)" 'BEGIN { exit !(v > 0) }' || fail "bench step --json: no rate"
for key in own_gemm_gflops_per_rank gemm_peak_gflops_per_rank mfu_of_own_gemms mfu_of_gemm_peak; do
  awk -v v="$("$json" out.json $key)" 'BEGIN { exit !(v > 0) }' || fail "bench step --json: no $key"
done
"$json" out.json comm_early_fraction >/dev/null 2>&1 && fail "bench step --json: an overlap with one rank"
parses $mpi 2 "$V" bench step tiny.yaml comm.bucket_mb=0.01 --steps 2 --json
awk -v v="$("$json" out.json comm_early_fraction)" 'BEGIN { exit !(v > 0.5 && v < 1) }' || fail "bench step at 2 ranks: overlap"
# Every op once, with a time and a share of its floor; what runs in a step makes up the parts.
run 0 "$V" bench ops tiny.yaml --steps 2
for row in 'linear qkv +forward' 'linear fc2 +weight gradient' 'linear qkv\+db +weight and bias' 'linear fc1\+gelu +forward' \
  'linear fc2\+dgelu +input gradient' 'linear patches +forward' 'linear head +input gradient' 'attention +forward' 'attention +backward' \
  'add\+norm +forward' 'add\+norm +backward' 'norm +forward' 'patchify' 'embed +forward' 'embed +backward' 'pool +forward' 'pool +backward' \
  'loss' 'gelu +forward' 'dropout' 'grad norm' 'adamw +' 'adamw, ema' 'cast' 'reduce_add' 'copy rate' 'gemm_peak' 'linears' 'optimizer' 'together'; do
  said "^$row"
done
parses "$V" bench ops tiny.yaml --steps 2 --json
for i in 0 20 38; do
  for key in us us_per_image share_of_floor; do
    awk -v v="$("$json" out.json ops.$i.$key)" 'BEGIN { exit !(v > 0) }' || fail "bench ops --json: ops.$i.$key"
  done
done
[ "$("$json" out.json ops.39.us 2>/dev/null)" = "" ] || fail "bench ops --json has more rows than this test knows"
for key in copy_gb_per_s gemm_peak_gflops own_gemm_gflops us_per_image.linears us_per_image.norms us_per_image.optimizer; do
  awk -v v="$("$json" out.json $key)" 'BEGIN { exit !(v > 0) }' || fail "bench ops --json: $key"
done
run 0 "$V" bench data tiny.yaml --steps 3
parses "$V" bench data tiny.yaml --steps 3 --json
run 0 $mpi 2 "$V" bench comm --steps 2
said 'over 2 ranks'
parses $mpi 2 "$V" bench comm --steps 2 --json
refused 2 'expected step, ops, data or comm' "$V" bench speed

# check
for ranks in 1 2; do
  run 0 $mpi $ranks "$V" check tiny.yaml run.dir=checked
  said 'network +ok'
  said 'one step +ok: loss [0-9]'
  [ "$(grep -c '^rank ' out)" -eq $ranks ] || fail "check at $ranks ranks shows $(grep -c '^rank ' out)"
done
run 0 "$V" check
refused 1 'no such dataset' $mpi 2 "$V" check tiny.yaml run.dir=checked data.train=nowhere

# train -n: mpirun is asked for equal shares of the hardware threads, not of the cores, which may be half as many
if [ "$(nproc)" -ge 2 ]; then
  mkdir stub
  printf '#!/bin/sh\necho "mpirun $*"\n' >stub/mpirun
  chmod +x stub/mpirun
  run 0 env PATH="$PWD/stub:$PATH" "$V" train -n 2 tiny.yaml
  said "mpirun -np 2 --use-hwthread-cpus --map-by slot:PE=$(($(nproc) / 2)) --bind-to hwthread .*/vitrail train tiny\.yaml$"

  # idle are cores that the job may use, not those of the machine
  run 0 "$V" train tiny.yaml run.dir=idle compute.threads=1 train.duration=2steps
  said 'warning: [0-9]+ of [0-9]+ cores of .* compute nothing'
  first=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
  run 0 taskset -c "$first" "$V" train tiny.yaml run.dir=bound compute.threads=1 train.duration=2steps
  not_said 'compute nothing'
  run 0 taskset -c "$first" $mpi 1 "$V" train tiny.yaml run.dir=bound-1 compute.threads=1 train.duration=2steps
  not_said 'compute nothing'
fi

# train RUN goes on with a run, wherever it lies
rm -rf moved
run 0 "$V" train tiny.yaml run.dir=half checkpoint.every=20steps
cp -r half moved
rm -rf moved/checkpoints/step-00000060 moved/checkpoints/best
ln -sfn step-00000040 moved/checkpoints/latest
run 0 "$V" train moved
said 'resumed    from moved/.*step 40, attempt 2'
same half/checkpoints/step-00000060/model.safetensors moved/checkpoints/step-00000060/model.safetensors
run 0 "$V" train moved
said 'nothing to do'

# the sample order is chosen once: `auto` goes on with what the run began with
run 0 "$V" train tiny.yaml run.dir=window data.order=window checkpoint.every=20steps
cp -r window resumed
rm -rf resumed/checkpoints/step-00000060 resumed/checkpoints/best
ln -sfn step-00000040 resumed/checkpoints/latest
run 0 "$V" train tiny.yaml run.dir=resumed
same window/checkpoints/step-00000060/model.safetensors resumed/checkpoints/step-00000060/model.safetensors
grep -q 'order: window' resumed/config.yaml || fail "config.yaml does not say the order"
if cmp -s half/checkpoints/step-00000060/model.safetensors window/checkpoints/step-00000060/model.safetensors; then
  fail "both orders gave the same weights"
fi
refused 2 'data\.order \(window, now full\)' "$V" train tiny.yaml run.dir=resumed data.order=full
echo ok
