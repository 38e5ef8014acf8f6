# Sourced by run.sh: the stages that measure. Each is a list of cases in order of worth; the table is made of the logs of all
# cases that have run so far, in this call or an earlier one.
# shellcheck shell=sh disable=SC2154,SC2086

number_of() { sed -nE "s/.*\"$2\": ?([0-9.eE+-]+).*/\1/p" "$1" 2>/dev/null | tail -1; }
log_of() { echo "$state/$1.$(echo "$2" | tr -c 'A-Za-z0-9_\n-' _).log"; }

# The models: name, PyTorch's label, batch of both sides, the ratio asked for, our steps (some 12 s of an H100, as PyTorch is timed: a
# card that gets warm slows down), PyTorch's modes beside the default one.
bench_models() {
  if [ -z "$quick" ]; then
    echo vit_b16:B/16:384:1.3:150:max-autotune-no-cudagraphs,reduce-overhead vit_l16:L/16:192:1.2:90:max-autotune-no-cudagraphs \
      vit_s16:S/16:512:1.4:350:max-autotune-no-cudagraphs,reduce-overhead vit_h14:H/14:96:1.15:65:max-autotune-no-cudagraphs
  else
    echo vit_ti16:Ti/16:4:0:2:default
  fi
}
# fields ROW: sets name, label, batch, bar, own_steps, modes.
fields() {
  IFS=: read -r name label batch bar own_steps modes <<END
$1
END
}

bench_prepare() {
  steps=20
  [ -z "$quick" ] || steps=2
  torch=no
  [ "$device" != cuda ] || ! python_here -c 'import torch, timm; assert torch.cuda.is_available()' 2>/dev/null || torch=yes
  TORCHINDUCTOR_CACHE_DIR=$build/inductor # what was compiled is not compiled again when a stage goes on
  export TORCHINDUCTOR_CACHE_DIR
}

# own NAME BATCH GELU STEPS: a step of ours on synthetic pictures.
own() {
  try "step-$1-$3" 120 "$build/vitrail" bench step "$(plain_config)" model.name=$1 model.gelu=$3 data.train=synthetic data.batch=$2 \
    train.duration=100ksteps compute.device=$device compute.dtype=bf16 --json --steps $4 && return 0
  [ $stage_late -ne 0 ] || { echo "FAILED step of $1, $3 GELU" && tail_of; }
  return 1
}

# peer CASE LIMIT options...: PyTorch on the same card. That it fails is its own affair: the cell stays empty.
peer() {
  [ $torch = yes ] || return 0
  what=$1 limit_s=$2
  shift 2
  failed_before=$stage_failed
  try "torch-$what" "$limit_s" env LD_LIBRARY_PATH="$plain_libraries" python3 "$here/torch_baseline.py" "$@" && return 0
  stage_failed=$failed_before
  [ $stage_late -ne 0 ] || echo "    torch_baseline.py $*: no result, exit code $code"
  return 0
}

# best LABEL GELU: the best images/s of PyTorch's modes so far, and the mode; "- -" when none ran.
best() {
  cat "$state"/bench*.torch-*.log 2>/dev/null | grep -F "\"model\": \"$1\"" | grep -F "\"gelu\": \"$2\"" |
    sed -nE 's/.*"mode": "([^"]*)".*"images_per_s": ([0-9.]+).*/\2 \1/p' | sort -n | tail -1 | grep . || echo - -
}

# The largest of what PyTorch's cases measured under this name.
peer_has() { cat "$state"/bench*.torch-*.log 2>/dev/null | sed -nE "s/.*\"$1\": ?([0-9.]+).*/\1/p" | sort -n | tail -1; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (a + 0 > 0 && b + 0 > 0) printf "%.3f", a / b; else printf "-"}'; }
percent() { awk -v a="$1" 'BEGIN {if (a != "") printf "%.1f", 100 * a; else printf "-"}'; }

# images/s: ours and the best of PyTorch's; MFU in percent of the 8192^3 product, of the model's own products alone, and of the datasheet.
bench_table() {
  peak=$(cat "$state"/bench.step-*.log "$state"/bench.ops-*.log 2>/dev/null | sed -nE 's/.*"gemm_peak_gflops(_per_rank)?": ?([0-9.]+).*/\2/p' | sort -n | tail -1)
  side=$(cat "$state"/bench.step-*.log 2>/dev/null | sed -nE 's/.*"gemm_peak_side": ?([0-9]+).*/\1/p' | sort -n | tail -1)
  printf '\nmeasured in this run: %s^3 product %s TFLOP/s (PyTorch %s), copy %s TB/s (PyTorch %s)\n' "${side:--}" \
    "$(awk -v p="$peak" 'BEGIN {printf "%.1f", p / 1000}')" "$(peer_has gemm_peak_tflops)" \
    "$(cat "$state"/bench.ops-*.log 2>/dev/null | sed -nE 's/.*"copy_gb_per_s": ?([0-9.]+).*/\1/p' | sort -n | tail -1 | awk '{printf "%.3f", $1 / 1000}')" \
    "$(peer_has copy_tb_s)"
  printf '%-6s %-5s %6s %10s %9s %9s %9s %9s %11s %-27s %6s %5s\n' model gelu batch images/s step_ms '%ofpeak' '%ofown' '%of989' torch_img/s \
    torch_mode ratio bar
  for row in $(bench_models); do
    fields $row
    for gelu in tanh erf; do
      log=$(log_of bench "step-$name-$gelu")
      [ -e "$log.ok" ] || continue
      read -r other mode <<END
$(best "$label" $gelu)
END
      rate=$(number_of "$log" images_per_s)
      [ $gelu = tanh ] || bar=-
      printf '%-6s %-5s %6d %10.1f %9.2f %9s %9s %9s %11s %-27s %6s %5s\n' "$label" $gelu "$batch" "$rate" "$(number_of "$log" step_ms)" \
        "$(percent "$(number_of "$log" mfu_of_gemm_peak)")" "$(percent "$(number_of "$log" mfu_of_own_gemms)")" \
        "$(percent "$(number_of "$log" mfu_of_datasheet)")" "$other" "$mode" "$(ratio "$rate" "$other")" "$bar"
    done
  done
}

# The table of single ops, from the JSON of `bench ops`, one row a line.
ops_table() {
  log=$(log_of bench "ops-$1")
  [ -e "$log.ok" ] || return 0
  printf '\n%s: each op alone; the floor is its FLOPs at the large product'"'"'s rate or its bytes at the copy rate\n' "$1"
  printf '%-16s %-16s %-18s %10s %10s %9s %9s %9s %6s\n' op pass shape us us/image TFLOP/s GB/s '%floor' 'x/step'
  sed 's/{"op"/\n{"op"/g' "$log" | grep '^{"op"' | while read -r line; do
    text() { echo "$line" | sed -nE "s/.*\"$1\":\"([^\"]*)\".*/\1/p"; }
    value() { echo "$line" | sed -nE "s/.*\"$1\":([0-9.eE+-]+).*/\1/p"; }
    printf '%-16s %-16s %-18s %10.1f %10.4f %9s %9.1f %9s %6.0f\n' "$(text op)" "$(text pass)" "$(text shape)" "$(value us)" "$(value us_per_image)" \
      "$(awk -v g="$(value gflops)" 'BEGIN {if (g > 0) printf "%.3f", g / 1000; else printf "-"}')" "$(value gb_per_s)" \
      "$(percent "$(value share_of_floor)")" "$(value per_step)"
  done
  printf 'own products together %.1f TFLOP/s, the fastest %.1f; us per image by part: %s\n' \
    "$(awk -v g="$(number_of "$log" own_gemm_gflops)" 'BEGIN {print g / 1000}')" \
    "$(awk -v g="$(number_of "$log" own_gemm_best_gflops)" 'BEGIN {print g / 1000}')" \
    "$(sed -nE 's/.*"us_per_image":\{([^}]*)\}.*/\1/p' "$log" | tr -d '"' | sed -E 's/(\.[0-9]{2})[0-9]*/\1/g; s/,/, /g')"
}

bench_ops() {
  try "ops-$2" 120 "$build/vitrail" bench ops "$(plain_config)" model.name=$1 model.gelu=tanh data.train=synthetic data.batch=$3 train.duration=100ksteps \
    compute.device=$device compute.dtype=bf16 compute.micro_batch=$3 --json --steps $steps && return 0
  [ $stage_late -ne 0 ] || { echo "FAILED ops of $2" && tail_of; }
  return 1
}

# A step of each model beside PyTorch in its default mode, with tanh GELU, then erf; every op of the first model.
stage_bench() {
  bench_prepare
  for row in $(bench_models); do
    fields $row
    own $name $batch tanh $own_steps
    [ $stage_late -ne 0 ] || peer "$label-default-tanh" 150 --models "$label" --batch $batch
    [ $stage_late -ne 0 ] || case $row in vit_b16:* | vit_ti16:*) bench_ops $name "$label" $batch ;; esac
    [ $stage_late -eq 0 ] || break
  done
  for row in $(bench_models); do
    fields $row
    [ $stage_late -eq 0 ] && own $name $batch erf $own_steps
  done
  bench_table
  for row in $(bench_models); do
    fields $row
    ops_table "$label"
  done
}

# PyTorch's other modes, and its erf GELU: the best of them is what counts. They compile for minutes.
stage_bench_modes() {
  bench_prepare
  [ $torch = yes ] || { echo "no PyTorch with timm and a GPU: nothing to measure" && stage_skipped=1; return; }
  for row in $(bench_models); do
    fields $row
    peer "$label-modes-tanh" 300 --models "$label" --batch $batch --modes "$modes" --seconds 8
    [ $stage_late -eq 0 ] || break
  done
  for row in $(bench_models); do
    fields $row
    [ $stage_late -eq 0 ] || break
    peer "$label-modes-erf" 300 --models "$label" --batch $batch --modes "default,max-autotune-no-cudagraphs" --gelu erf --seconds 8
  done
  bench_table
}

# JPEGs as large as ImageNet's, packed once per build folder.
jpegs() {
  [ ! -e "$build/gpu-jpegs/manifest.pb" ] || return 0
  count=1024
  [ -z "$quick" ] || count=32
  rm -rf "$build/gpu-jpegs.source" "$build/gpu-jpegs.new"
  "$build/tests/gpu_make_jpegs" "$build/gpu-jpegs.source/train" $count >"$state/jpegs.log" 2>&1 &&
    "$build/vitrail" pack "$build/gpu-jpegs.source" "$build/gpu-jpegs.new" --from imagefolder >>"$state/jpegs.log" 2>&1 &&
    mv "$build/gpu-jpegs.new" "$build/gpu-jpegs" && rm -rf "$build/gpu-jpegs.source" && return 0
  stage_failed=1
  tail -3 "$state/jpegs.log"
  return 1
}

# end_to_end TEXT CASE arguments...: images/s of the same step from shards ($real) and from synthetic pictures. Below 97 % it must be the
# data that is waited for, and the line says so.
end_to_end() {
  text=$1 id=$2
  shift 2
  for from in synthetic "$real"; do
    kind=synthetic
    [ "$from" = synthetic ] || kind=shards
    try "$id-$kind" 120 "$build/vitrail" bench step "$@" data.train="$from" compute.device=$device compute.dtype=bf16 --json --steps $((3 * steps)) ||
      { [ $stage_late -ne 0 ] || { echo "FAILED $text from $kind" && tail_of; }; return; }
    eval "rate_$kind=$(number_of "$log" images_per_s) ms=$(number_of "$log" step_ms) wait=$(number_of "$log" data_wait_ms)"
  done
  awk -v t="$text" -v a="$rate_shards" -v b="$rate_synthetic" -v w="$wait" -v m="$ms" -v q="$quick" 'BEGIN {
    r = b > 0 ? a / b : 0; bound = (r < 0.97 && w > 0.5 * (1 - r) * m)
    printf "%-34s %12.1f %12.1f %8.1f %12.2f  %s\n", t, a, b, 100 * r, w, (r >= 0.97 ? "ok" : bound ? "data-bound" : q ? "slower" : "FAILED: slower, and not for want of data")
    exit !(r >= 0.97 || bound)}' || [ -n "$quick" ] || stage_failed=1
}

# From shards to weights, beside the same step on pictures that are there already.
stage_bench_data() {
  bench_prepare
  fashion && jpegs || return
  printf '%-34s %12s %12s %8s %12s\n' 'images/s, end to end' shards synthetic % data_wait_ms
  real=$data#train
  end_to_end "Fashion-MNIST, its own recipe" fashion "$source/configs/fashion_mnist.yaml" data.val=
  name=vit_b16 rows=384
  [ -z "$quick" ] || { name=vit_ti16 rows=4; }
  real=$build/gpu-jpegs#train
  [ $stage_late -ne 0 ] || end_to_end "JPEG 500x375, $name, batch $rows" jpeg "$(plain_config)" model.name=$name data.batch=$rows train.duration=100ksteps
}
