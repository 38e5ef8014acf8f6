# Sourced by run.sh: the stages. A stage is a list of cases; a case that passed leaves its line in $state and is not run again.
# A stage prints its table with what it has, also when its time ends before its cases do.
# shellcheck shell=sh disable=SC2154,SC2086

# What was tested: cases of another build do not count.
build_id() { cat "$build/vitrail" "$build/libvitrail_cuda.so" 2>/dev/null | cksum | tr ' ' -; }

seconds() { date +%s; }
left() { echo $((stage_seconds - ($(seconds) - stage_start))); }

# run_stage NAME: 0, 1, 75 or 77; the table goes to the terminal and to $results/NAME.txt.
run_stage() {
  stage=$1
  stage_start=$(seconds)
  stage_seconds=$((total - (stage_start - call_start)))
  [ $stage_seconds -le "$stage_limit" ] || stage_seconds=$stage_limit
  mkfifo "$build/.table.$$" || return 1
  tee "$results/$stage.txt" <"$build/.table.$$" &
  tee_pid=$!
  {
    echo "== $stage, $device, $(date -u +%Y-%m-%dT%H:%MZ), commit $commit, $(card_here), by $command"
    stage_failed=0 stage_late=0 stage_skipped=0
    if [ "$stage" != build ] && [ ! -x "$build/vitrail" ]; then stage_build || [ $stage_late -ne 0 ] || stage_failed=1; fi
    [ ! -e "$build/libvitrail_cuda.so" ] || export VITRAIL_PLUGIN="$build/libvitrail_cuda.so"
    state=$build/gpu-state/$(build_id)${quick:+-quick}-$device
    mkdir -p "$state"
    [ $stage_failed -ne 0 ] || [ $stage_late -ne 0 ] || "stage_$stage"
    verdict=passed
    [ $stage_skipped -eq 0 ] || verdict=SKIPPED
    [ $stage_late -eq 0 ] || verdict="out of time: run it again to go on"
    [ $stage_failed -eq 0 ] || verdict=FAILED
    echo "== $stage: $verdict, $(($(seconds) - stage_start)) s"
  } >"$build/.table.$$" 2>&1
  wait $tee_pid
  rm -f "$build/.table.$$"
  keep_results
  [ $stage_failed -eq 0 ] || return 1
  [ $stage_late -eq 0 ] || return 75
  [ $stage_skipped -eq 0 ] || return 77
}

# Beside the tables: the logs of all cases so far, and what was chosen by timing, as text. The machine may be gone soon.
keep_results() {
  (cd "$build/gpu-state" && find . -name '*.log' -o -name metrics.jsonl) 2>/dev/null | tar -C "$build/gpu-state" -czf "$results/logs.tar.gz" -T -
  [ ! -e "$VT_CUDA_TUNE_FILE" ] || "$build/vitrail" inspect "$VT_CUDA_TUNE_FILE" >"$results/tuning.txt"
}

# try CASE LIMIT_S command...: runs it unless it has passed, output in $state/STAGE.CASE.log. Fails when the case did; the caller
# prints the line. $took: seconds. $ran is empty where there was no time for it.
try() {
  ran=1
  log=$state/$stage.$(echo "$1" | tr -c 'A-Za-z0-9_\n-' _).log
  limit=$2
  shift 2
  if [ -e "$log.ok" ]; then
    took=$(cat "$log.ok")
    return 0
  fi
  [ "$(left)" -lt "$limit" ] && limit=$(left)
  if [ "$limit" -lt 10 ]; then
    stage_late=1 ran=''
    return 1
  fi
  case_start=$(seconds)
  timeout -k 10 "$limit" "$@" >"$log" 2>&1
  code=$?
  took=$(($(seconds) - case_start))
  case $code in
  0) echo "$took" >"$log.ok" && return 0 ;;
  124 | 137) [ "$(left)" -ge 10 ] || { stage_late=1 && return 1; } ;;
  esac
  stage_failed=1
  return 1
}

# How a failed case ended, indented.
tail_of() { [ $stage_late -ne 0 ] || { echo "    ... exit code $code; the end of $log:" && tail -12 "$log" | sed 's/^/    /'; }; }

# The card, or what takes its place.
card_here() {
  card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)
  echo "${card:-no GPU}"
}

version_of() { "$@" 2>/dev/null | grep -oE '[0-9]+\.[0-9.]+' | head -1; }
library_here() { for dir in $(echo "$LD_LIBRARY_PATH" | tr : ' ') "$toolkit/lib64"; do [ -e "$dir/$1" ] && realpath "$dir/$1" && return; done; }

# What this compiler says that those of the development did not; the build stage alone lets it pass (VT_WERROR).
warnings_in() { grep -cE 'warning( |:|#)' "$1"; }

stage_build() {
  state=$build/gpu-state/build
  mkdir -p "$state"
  rm -f "$state"/build.*.ok
  printf '%-10s %s\n' gpu "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1)" \
    host "$(nproc) cores, glibc $(version_of ldd --version)" gcc "$(version_of gcc -dumpfullversion)" cmake "$(version_of cmake --version)" \
    nvcc "$(nvcc --version 2>/dev/null | sed -nE 's/.*release [^ ]+ V(.*)/\1/p')" cublasLt "$(library_here libcublasLt.so.13)" \
    cuDNN "$(library_here libcudnn.so.9)" NCCL "$(library_here libnccl.so.2)"
  generator='Unix Makefiles'
  command -v ninja >/dev/null && generator=Ninja
  [ ! -e "$build/CMakeCache.txt" ] || generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
  cuda=ON
  [ "$device" = cuda ] || cuda=AUTO
  if ! try configure 120 cmake -S "$source" -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DWITH_TESTS=ON \
    -DVT_WERROR=OFF -DWITH_CUDA=$cuda -DCMAKE_CUDA_ARCHITECTURES="$(gpu_architecture)" -DNCCL_ROOT="$nccl_root" -DCUDNN_ROOT="$cudnn_root"; then
    tail_of
    return 1
  fi
  printf '%-10s %4d s\n' configure "$took"
  targets='vitrail test_ops gpu_model mpi_nccl_ranks gpu_make_jpegs'
  grep -q '^CMAKE_CUDA_COMPILER:[A-Z]*=/' "$build/CMakeCache.txt" && targets="$targets vitrail_cuda"
  # All at once, so that no core waits for the end of one target, and past errors; then each by itself says how it went.
  keep_going=-k
  [ "$generator" != Ninja ] || keep_going='-k 0'
  try everything 480 cmake --build "$build" -j "${JOBS:-$(nproc)}" --target $targets -- $keep_going
  [ $stage_late -eq 0 ] || return 1
  printf '%-10s %4d s  %d warnings\n' compiled "$took" "$(warnings_in "$log")"
  grep -m 3 -E 'warning( |:|#)' "$log" | cut -c 1-160 | sed 's/^/    /'
  for target in $targets; do
    if try "$target" 60 cmake --build "$build" --target "$target"; then
      printf '%-10s %s\n' built "$target"
    else
      [ $stage_late -ne 0 ] || printf '%-10s %s\n' FAILED "$target"
      tail_of
    fi
  done
  [ $stage_failed -eq 0 ] && [ $stage_late -eq 0 ]
}

# ops_case NAME FILTER SECONDS [VARIABLE=value ...]: a line of the table; fails when it did, or time ran out.
ops_case() {
  label=$1 filter=$2 limit_s=$3
  shift 3
  try "$label" "$limit_s" env "$@" "$build/tests/test_ops" "$device" "$filter"
  ok=$?
  [ -n "$ran" ] || return 1
  worst=$(sed -nE 's/^(ok|FAILED) .* ([0-9]+\.[0-9]{2})  .*/\2/p' "$log" | sort -n | tail -1)
  refused=$(grep -c '^refused ' "$log")
  printf '%-24s %6d %6d %7d  %-11s %7d\n' "$label" "$(grep -c '^ok ' "$log")" "$(grep -c '^FAILED ' "$log")" "$refused" "${worst:--}" "$took"
  [ $stage_late -eq 0 ] || return 1
  [ $ok -eq 0 ] || { grep '^FAILED ' "$log" | head -8 | sed 's/^/    /' && tail_of; }
  return $ok
}

# Every op in every dtype and odd shape, forward and backward, against the reference: by what would be chosen unasked, then every
# other way to attention and to a linear layer, each made to refuse what it does not take instead of giving way.
stage_ops() {
  printf '%-24s %6s %6s %7s  %-11s %7s\n' op passed failed refused worst/limit seconds
  for family in linear activation add_norm patchify embed pool dropout loss reduce_add cast scalars_reset norm adamw sgd; do
    ops_case $family "$family:" 240
    [ $stage_late -eq 0 ] || return
  done
  [ -z "$quick" ] || return
  ops_case attention attention: 240 VT_CUDA_TUNE=off
  [ "$device" = cuda ] || return
  for way in head cudnn-graph cudnn-unified plain; do
    [ $stage_late -eq 0 ] || return
    ops_case "attention, $way" attention: 150 VT_CUDA_TUNE=off VT_CUDA_ATTENTION=$way VT_CUDA_ATTENTION_STRICT=1 || continue
    [ $way = plain ] || [ "$refused" -gt 0 ] || { stage_failed=1; echo "    took every case, fp32 too: VT_CUDA_ATTENTION_STRICT is not heeded"; }
  done
  for route in fused split scratch; do
    [ $stage_late -eq 0 ] || return
    ops_case "linear, $route" linear: 120 VT_CUDA_TUNE=off VT_CUDA_LINEAR=$route
  done
}

# Loss, logits and every parameter's gradient of whole models.
stage_model() {
  filters='small S/16 B/16 big'
  [ -z "$quick" ] || filters=small
  for filter in $filters; do
    try "$filter" 400 "$build/tests/gpu_model" "$device" "$filter"
    ok=$?
    [ -z "$ran" ] || grep -E '^(ok|FAILED) ' "$log" # of one cut off, too
    [ $stage_late -eq 0 ] || return
    [ $ok -eq 0 ] || tail_of
  done
}

# A config that says little, to be completed on the command line.
plain_config() {
  printf 'loss:\n  smoothing: 0.1\n' >"$state/plain.yaml"
  echo "$state/plain.yaml"
}

# losses RUN: "step loss" lines; the last record of a step counts.
losses() {
  sed -n 's/^{"step":\([0-9]*\),.*"train\/loss":\([^,}]*\).*/\1 \2/p' "$1/metrics.jsonl" 2>/dev/null |
    awk '{v[$1] = $2} END {for (s in v) print s, v[s]}' | sort -n
}
loss_at() { losses "$1" | awk -v s="$2" '$1 == s {print $2}'; }
last_of() { sed -n "s|.*\"$2\":\([^,}]*\).*|\1|p" "$1/metrics.jsonl" 2>/dev/null | tail -1; }
# near A B RELATIVE_LIMIT
near() { awk -v a="$1" -v b="$2" -v l="$3" 'BEGIN {d = a - b; if (d < 0) d = -d; if (b < 0) b = -b; exit !(a != "" && b != "" && d <= l * b)}'; }

# The pictures, packed once per build folder.
fashion() {
  data=$build/gpu-data
  [ ! -e "$data/manifest.pb" ] || return 0
  from=/usr/share/datasets/fashion-mnist
  [ -z "$bundle" ] || from=$bundle/fashion-mnist
  [ -e $from/train-images-idx3-ubyte.gz ] || { echo "no pictures: $from is missing (Debian package dataset-fashion-mnist)" && stage_failed=1 && return 1; }
  rm -rf "$data.new"
  "$build/vitrail" pack $from "$data.new" --from idx >"$state/pack.log" 2>&1 && mv "$data.new" "$data" && return 0
  stage_failed=1
  tail -3 "$state/pack.log"
  return 1
}

# train NAME DEVICE DTYPE [override ...]: a run on Fashion-MNIST in $state/NAME, unless it is there. $tuning: a run whose choices it
# takes, so that nothing is timed anew.
train() {
  name=$1 on=$2 dtype=$3
  shift 3
  if [ ! -e "$state/$stage.$name.log.ok" ]; then
    rm -rf "${state:?}/$name"
    if [ -e "$state/${tuning:-none}/tuning.pb" ]; then mkdir -p "$state/$name" && cp "$state/$tuning/tuning.pb" "$state/$name/"; fi
  fi
  try "$name" 300 ${launch:-} "$build/vitrail" train "$source/configs/fashion_mnist.yaml" data.train="$data#train" data.val="$data#val" \
    run.dir="$state/$name" train.duration=${steps}steps run.log_every=1 eval.every=${steps}steps checkpoint.every=${steps}steps \
    compute.device=$on compute.dtype=$dtype "$@" && return 0
  [ $stage_late -ne 0 ] || { printf '%-10s FAILED\n' "$name" && tail_of; }
  return 1
}

# verdict OK TEXT
verdict() { if [ "$1" -eq 0 ]; then echo "ok     $2"; else echo "FAILED $2" && stage_failed=1; fi; }

# worst_of RUN REFERENCE STEPS: the largest relative difference of the losses of steps 1 to STEPS; nothing where one is missing.
worst_of() {
  { losses "$state/$2" | sed 's/^/r /' && losses "$state/$1" | sed 's/^/c /'; } | awk -v n="$3" '
    $1 == "r" {r[$2] = $3} $1 == "c" {c[$2] = $3}
    END {for (s = 1; s <= n; s++) {
           if (!(s in r) || !(s in c)) exit
           d = c[s] - r[s]; if (d < 0) d = -d
           if (d / r[s] > w) w = d / r[s]}
         printf "%.2e", w}'
}
# parity RUN LIMIT: against the CPU in fp32, over the first 20 steps.
parity() {
  worst=$(worst_of $1 cpu $parity_steps)
  awk -v w="$worst" -v l="$2" 'BEGIN {exit !(w != "" && w + 0 <= l)}'
  verdict $? "$1: losses of steps 1 to $parity_steps within $2 of the CPU's in fp32: ${worst:-missing}"
}

train_table() {
  printf '%6s %12s %12s %12s   train/loss\n' step "cpu fp32" "$device fp32" "$device bf16"
  for step in 1 2 3 5 10 15 20 30 50 100 200 300; do
    [ $step -gt $steps ] || printf '%6d %12.8s %12.8s %12.8s\n' $step "$(loss_at "$state/cpu" $step)" "$(loss_at "$state/device" $step)" \
      "$(loss_at "$state/bf16" $step)"
  done
  for run in cpu device bf16; do
    [ ! -e "$state/$stage.$run.log.ok" ] || printf '%-8s val/top1 %s  val/loss %s  images/s %.0f\n' $run "$(last_of "$state/$run" val/top1)" \
      "$(last_of "$state/$run" val/loss)" "$(last_of "$state/$run" perf/images_per_s)"
  done
}

# The same run on the CPU and on the device: the same losses at first, the same accuracy at the end, the same bits twice.
stage_train() {
  steps=300 parity_steps=20
  [ -z "$quick" ] || steps=30
  fashion || return
  train cpu cpu fp32 && train device $device fp32 && tuning=device train again $device fp32 && train bf16 $device bf16
  tuning=''
  train_table
  [ $stage_late -eq 0 ] && [ $stage_failed -eq 0 ] || return
  parity device 1e-4
  parity bf16 1e-2
  near "$(last_of "$state/device" val/loss)" "$(last_of "$state/cpu" val/loss)" 0.05; verdict $? "last val/loss, fp32: within 5 %"
  near "$(last_of "$state/bf16" val/loss)" "$(last_of "$state/cpu" val/loss)" 0.08; verdict $? "last val/loss, bf16: within 8 %"
  losses "$state/device" >"$state/a" && losses "$state/again" >"$state/b" && [ -s "$state/a" ] && cmp -s "$state/a" "$state/b"
  verdict $? "the same run twice, with the choices of the first: the same losses to the last digit"
}

# 2 and 4 ranks on the one GPU: collectives and buckets by exact sums, then runs beside the one of a single rank, the first without NCCL.
stage_nccl() {
  program=$device
  [ "$device" = cuda ] || program=ref-strict
  for ranks in 2 4; do
    try "ranks-$ranks" 150 mpirun --oversubscribe --bind-to none -np $ranks sh "$here/share_gpu.sh" "$build/tests/mpi_nccl_ranks" $program
    ok=$?
    [ -z "$ran" ] || grep -E '^(ok|FAILED) ' "$log"
    [ $stage_late -eq 0 ] || return
    [ $ok -eq 0 ] || { echo "FAILED $ranks ranks" && tail_of; }
  done
  steps=20
  fashion && train one $device fp32 || return
  ranks_beside_one two-mpi 2 "sums through pinned host memory" comm.backend=mpi
  [ $stage_late -eq 0 ] || return
  grep -q '^ok' "$state/nccl.ranks-2.log" || return # nothing goes through: nor would a run
  ranks_beside_one two-fp32 2 "fp32 wire" comm.wire=fp32 || return
  ranks_beside_one two-bf16 2 "bf16 wire" comm.wire=bf16 || return
  overlap
  [ $stage_late -eq 0 ] || return
  ranks_beside_one four-fp32 4 "fp32 wire" comm.wire=fp32
}

# ranks_beside_one NAME RANKS TEXT [override ...]: a run of so many ranks; its loss is that of the run called one.
ranks_beside_one() {
  beside=$1 count=$2 text=$3
  shift 3
  launch="mpirun --oversubscribe --bind-to none -np $count sh $here/share_gpu.sh"
  train "$beside" $device fp32 comm.bucket_mb=0.25 "$@"
  ok=$?
  launch=''
  [ $ok -eq 0 ] || return 1
  near "$(loss_at "$state/$beside" 10)" "$(loss_at "$state/one" 10)" 1e-2
  verdict $? "train, $count ranks, $text: loss at step 10 $(loss_at "$state/$beside" 10), 1 rank $(loss_at "$state/one" 10) (within 1e-2)"
}

# What share of a model's gradients is on its way before backward ends, and what of the sums shows: of B/16 with the buckets that
# a cluster would use. The times are those of ranks that take turns on one GPU.
overlap() {
  what=vit_b16 rows=64 bucket=25
  [ "$device" = cuda ] && [ -z "$quick" ] || { what=vit_ti16 rows=4 bucket=1; }
  try overlap 120 mpirun --oversubscribe --bind-to none -np 2 sh "$here/share_gpu.sh" "$build/vitrail" bench step "$(plain_config)" model.name=$what \
    data.train=synthetic data.batch=$rows train.duration=100ksteps compute.device=$device comm.bucket_mb=$bucket --json --steps 3
  ok=$?
  [ $stage_late -eq 0 ] || return
  early=$(number_of "$log" comm_early_fraction)
  printf '%-10s batch %d, buckets of %d MB: step %.1f ms, exposed communication %.2f ms, enqueued before backward ends %.3f of the bytes\n' \
    $what $rows $bucket "$(number_of "$log" step_ms)" "$(number_of "$log" comm_exposed_ms)" "${early:-0}"
  [ $ok -eq 0 ] || { tail_of; return; }
  awk -v e="${early:-0}" 'BEGIN {exit !(e >= 0.8)}'
  verdict $? "overlap, 2 ranks: at least 80 % of the gradient's bytes enqueued before backward ends"
}

# Its options have changed names: the one that leaves kernels out, by part of their names.
sanitizer_excludes() {
  for option in --kernel-name-exclude --kernel-regex-exclude; do
    compute-sanitizer --help 2>&1 | grep -q -- "$option" && echo $option && return
  done
}

# sanitize_command TOOL WHAT [option...] command...
sanitize_command() {
  tool=$1 what=$2
  shift 2
  try "$tool-$what" 60 env VT_CUDA_TUNE=off VT_CUDA_ATTENTION=head VT_CUDA_LINEAR="${linear:-}" \
    compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 20 "$@"
  ok=$?
  [ $stage_late -eq 0 ] || return 1
  printf '%-10s %-34s %-44s %7d\n' $tool "$what" "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -1 | sed 's/^=* *//')" "$took"
  [ $ok -eq 0 ] || tail_of
  return 0
}

# sanitize TOOL PROGRAM FILTER [option...]
sanitize() {
  tool=$1 program=$2 filter=$3
  shift 3
  sanitize_command $tool "$program $filter" "$@" "$build/tests/$program" cuda "$filter"
}

# Whole steps, from pictures to a checkpoint: copies, two microbatches, optimizer, evaluation.
sanitize_steps() {
  rm -rf "$state/sanitized"
  cat >"$state/sanitized.yaml" <<END
model: {name: custom, image_size: 32, patch_size: 8, width: 64, depth: 2, heads: 2, mlp_width: 128, pool: cls, drop_path: 0.1}
data: {train: synthetic, val: synthetic, synthetic_samples: 64, synthetic_classes: 4, batch: 16, threads: 1}
train: {duration: 3steps, ema: 0.9}
eval: {every: 2steps}
compute: {device: $device, micro_batch: 8}
run: {dir: $state/sanitized, log_every: 1}
END
  sanitize_command memcheck 'vitrail train' "$build/vitrail" train "$state/sanitized.yaml"
}

# Less than five minutes. Nothing is timed, attention is our own kernel, and what vendors' kernels do is not asked: initcheck is
# known to take their padded loads for mistakes, and racecheck is slow on them. So racecheck and initcheck see ops that have none
# of theirs; a whole model under initcheck leaves theirs out, with column sums of our own (VT_CUDA_LINEAR=split), as what
# a kernel wrote that was left out counts as never written.
stage_sanitizer() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "compute-sanitizer is not installed"
    stage_skipped=1
    return
  fi
  [ $stage_seconds -le 290 ] || stage_seconds=290
  printf '%-10s %-34s %-44s %7s\n' tool what summary seconds
  sanitize memcheck gpu_model tiny || return
  sanitize_steps || return
  for filter in "add_norm: " "attention: vit 2x3x65x64" "loss: "; do sanitize racecheck test_ops "$filter" || return; done
  for filter in adamw: "embed: " "attention: d=80, 50 tokens"; do sanitize memcheck test_ops "$filter" || return; done
  for filter in "add_norm: " adamw:; do sanitize initcheck test_ops "$filter" || return; done
  sanitize synccheck test_ops "attention: vit 2x3x65x64" || return
  sanitize synccheck test_ops "add_norm: " || return
  sanitize memcheck gpu_model "odd, random" || return
  excludes=$(sanitizer_excludes)
  [ -n "$excludes" ] || return
  linear=split
  sanitize initcheck gpu_model tiny $excludes kns=cublas $excludes kns=cutlass $excludes kns=nvjet $excludes kns=xmma \
    $excludes kns=gemm $excludes kns=splitK
  linear=''
}

number_of() { sed -nE "s/.*\"$2\": ?([0-9.eE+-]+).*/\1/p" "$1" 2>/dev/null | tail -1; }
