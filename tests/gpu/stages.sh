# Sourced by run.sh: the stages. A stage is a list of cases; a case that passed leaves its line in $state and is not run again.
# shellcheck shell=sh disable=SC2154,SC2086
stage_seconds=480

# What was tested: cases of another build do not count.
build_id() { cat "$build/vitrail" "$build/libvitrail_cuda.so" 2>/dev/null | cksum | tr ' ' -; }

seconds() { date +%s; }
left() { echo $((stage_seconds - ($(seconds) - stage_start))); }

# run_stage NAME: 0, 1 or 75; the table goes to the terminal and to $results/NAME.txt.
run_stage() {
  stage=$1
  stage_start=$(seconds)
  mkfifo "$build/.table.$$" || return 1
  tee "$results/$stage.txt" <"$build/.table.$$" &
  tee_pid=$!
  {
    echo "== $stage, $device, $(date -u +%Y-%m-%dT%H:%MZ)"
    stage_failed=0 stage_late=0
    if [ "$stage" != build ] && [ ! -x "$build/vitrail" ]; then stage_build || [ $stage_late -ne 0 ] || stage_failed=1; fi
    [ ! -e "$build/libvitrail_cuda.so" ] || export VITRAIL_PLUGIN="$build/libvitrail_cuda.so"
    state=$build/gpu-state/$(build_id)${quick:+-quick}-$device
    mkdir -p "$state"
    [ $stage_failed -ne 0 ] || [ $stage_late -ne 0 ] || "stage_$stage"
    verdict=passed
    [ $stage_late -eq 0 ] || verdict="out of time: run it again to go on"
    [ $stage_failed -eq 0 ] || verdict=FAILED
    echo "== $stage: $verdict, $(($(seconds) - stage_start)) s"
  } >"$build/.table.$$" 2>&1
  wait $tee_pid
  rm -f "$build/.table.$$"
  [ $stage_failed -eq 0 ] || return 1
  [ $stage_late -eq 0 ] || return 75
}

# try CASE LIMIT_S command...: runs it unless it has passed, output in $state/STAGE.CASE.log. Fails when the case did; the caller
# prints the line. $took: seconds.
try() {
  log=$state/$stage.$(echo "$1" | tr -c 'A-Za-z0-9_\n-' _).log
  limit=$2
  shift 2
  if [ -e "$log.ok" ]; then
    took=$(cat "$log.ok")
    return 0
  fi
  [ "$(left)" -lt "$limit" ] && limit=$(left)
  if [ "$limit" -lt 10 ]; then
    stage_late=1
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

version_of() { "$@" 2>/dev/null | grep -oE '[0-9]+\.[0-9.]+' | head -1; }
library_here() { for dir in $(echo "$LD_LIBRARY_PATH" | tr : ' ') "$toolkit/lib64"; do [ -e "$dir/$1" ] && realpath "$dir/$1" && return; done; }

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
    -DWITH_CUDA=$cuda -DCMAKE_CUDA_ARCHITECTURES="$(gpu_architecture)" -DNCCL_ROOT="$nccl_root" -DCUDNN_ROOT="$cudnn_root"; then
    tail_of
    return 1
  fi
  printf '%-10s %4d s\n' configure "$took"
  targets='vitrail test_ops gpu_model mpi_nccl_ranks'
  grep -q '^CMAKE_CUDA_COMPILER:' "$build/CMakeCache.txt" && targets="$targets vitrail_cuda"
  for target in $targets; do
    if try "$target" 480 cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "$target"; then
      printf '%-10s %4d s  %s\n' built "$took" "$target"
    else
      [ $stage_late -ne 0 ] || printf '%-10s %4d s  %s\n' FAILED "$took" "$target"
      tail_of
      break
    fi
  done
  [ $stage_failed -eq 0 ] && [ $stage_late -eq 0 ]
}

# Every op in every dtype and odd shape, forward and backward, against the reference.
stage_ops() {
  printf '%-14s %6s %6s  %-8s %s\n' op passed failed worst/limit seconds
  for family in linear attention add_norm patchify embed pool dropout loss reduce_add cast scalars_reset norm adamw sgd; do
    [ -z "$quick" ] || [ $family != attention ] || continue
    try $family 240 "$build/tests/test_ops" "$device" "$family:"
    ok=$?
    [ $stage_late -eq 0 ] || return
    worst=$(sed -nE 's/^(ok|FAILED) .* ([0-9]+\.[0-9]{2})  .*/\2/p' "$log" | sort -n | tail -1)
    printf '%-14s %6d %6d  %-8s %4d\n' $family "$(grep -c '^ok ' "$log")" "$(grep -c '^FAILED ' "$log")" "${worst:--}" "$took"
    [ $ok -eq 0 ] || { grep '^FAILED ' "$log" | head -8 | sed 's/^/    /' && tail_of; }
  done
}

# Loss, logits and every parameter's gradient of whole models.
stage_model() {
  filters='small S/16 B/16 big'
  [ -z "$quick" ] || filters=small
  for filter in $filters; do
    try "$filter" 400 "$build/tests/gpu_model" "$device" "$filter"
    ok=$?
    [ $stage_late -eq 0 ] || return
    grep -E '^(ok|FAILED) ' "$log"
    [ $ok -eq 0 ] || tail_of
  done
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

# train NAME DEVICE DTYPE [override ...]: a run on Fashion-MNIST in $state/NAME, unless it is there.
train() {
  name=$1 on=$2 dtype=$3
  shift 3
  [ -e "$state/$stage.$name.log.ok" ] || rm -rf "${state:?}/$name"
  try "$name" 300 ${launch:-} "$build/vitrail" train "$source/configs/fashion_mnist.yaml" data.train="$data#train" data.val="$data#val" \
    run.dir="$state/$name" train.duration=${steps}steps run.log_every=1 eval.every=${steps}steps checkpoint.every=${steps}steps \
    compute.device=$on compute.dtype=$dtype "$@" && return 0
  [ $stage_late -ne 0 ] || { printf '%-10s FAILED\n' "$name" && tail_of; }
  return 1
}

# verdict OK TEXT
verdict() { if [ "$1" -eq 0 ]; then echo "ok     $2"; else echo "FAILED $2" && stage_failed=1; fi; }

# The same run on the CPU and on the device: the same losses at first, the same accuracy at the end, the same bits twice.
stage_train() {
  steps=300
  [ -z "$quick" ] || steps=30
  fashion && train cpu cpu fp32 && train device $device fp32 && train again $device fp32 && train bf16 $device bf16 || return
  printf '%6s %12s %12s %12s   train/loss\n' step "cpu fp32" "$device fp32" "$device bf16"
  for step in 1 2 3 5 10 20 30 50 100 200 300; do
    [ $step -gt $steps ] || printf '%6d %12.8s %12.8s %12.8s\n' $step "$(loss_at "$state/cpu" $step)" "$(loss_at "$state/device" $step)" \
      "$(loss_at "$state/bf16" $step)"
  done
  for run in cpu device bf16; do
    printf '%-8s val/top1 %s  val/loss %s  images/s %.0f\n' $run "$(last_of "$state/$run" val/top1)" "$(last_of "$state/$run" val/loss)" \
      "$(last_of "$state/$run" perf/images_per_s)"
  done
  near "$(loss_at "$state/device" 1)" "$(loss_at "$state/cpu" 1)" 1e-5; verdict $? "first loss, fp32: within 1e-5"
  near "$(loss_at "$state/device" 5)" "$(loss_at "$state/cpu" 5)" 1e-3; verdict $? "loss at step 5, fp32: within 1e-3"
  near "$(loss_at "$state/bf16" 5)" "$(loss_at "$state/cpu" 5)" 2e-2; verdict $? "loss at step 5, bf16: within 2e-2"
  near "$(last_of "$state/device" val/loss)" "$(last_of "$state/cpu" val/loss)" 0.05; verdict $? "last val/loss, fp32: within 5 %"
  near "$(last_of "$state/bf16" val/loss)" "$(last_of "$state/cpu" val/loss)" 0.08; verdict $? "last val/loss, bf16: within 8 %"
  losses "$state/device" >"$state/a" && losses "$state/again" >"$state/b" && [ -s "$state/a" ] && cmp -s "$state/a" "$state/b"
  verdict $? "the same run twice: the same losses to the last digit"
}

# 2 and 4 ranks on the one GPU: collectives and buckets by exact sums, then a run beside the one of a single rank.
stage_nccl() {
  program=$device
  [ "$device" = cuda ] || program=ref-strict
  for ranks in 2 4; do
    try "ranks-$ranks" 150 mpirun --oversubscribe --bind-to none -np $ranks sh "$here/share_gpu.sh" "$build/tests/mpi_nccl_ranks" $program
    ok=$?
    [ $stage_late -eq 0 ] || return
    grep -E '^(ok|FAILED) ' "$log"
    [ $ok -eq 0 ] || { echo "FAILED $ranks ranks" && tail_of; }
  done
  [ $stage_failed -eq 0 ] || return
  steps=20
  fashion && train one $device fp32 || return
  for wire in fp32 bf16; do
    launch="mpirun --oversubscribe --bind-to none -np 2 sh $here/share_gpu.sh"
    train two-$wire $device fp32 comm.wire=$wire comm.bucket_mb=0.25 || { launch=''; return; }
    launch=''
    near "$(loss_at "$state/two-$wire" 10)" "$(loss_at "$state/one" 10)" 1e-2
    verdict $? "train, 2 ranks, $wire wire: loss at step 10 $(loss_at "$state/two-$wire" 10), 1 rank $(loss_at "$state/one" 10) (within 1e-2)"
  done
}

stage_sanitizer() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "SKIPPED: compute-sanitizer is not installed"
    [ "$device" != cuda ] || stage_failed=1
    return
  fi
  printf '%-10s %-34s %-40s %s\n' tool what summary seconds
  for tool in memcheck racecheck initcheck synccheck; do
    for what in "gpu_model cuda tiny" "gpu_model cuda odd, random" "test_ops cuda adamw" "test_ops cuda norm"; do
      program=${what%% *} filter=${what#* cuda }
      try "$tool-$what" 110 compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/$program" cuda "$filter"
      [ $stage_late -eq 0 ] || return
      printf '%-10s %-34s %-40s %4d\n' $tool "$what" "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -1 | sed 's/^=* *//')" "$took"
      [ -e "$log.ok" ] || tail_of
    done
  done
}

number_of() { sed -nE "s/.*\"$2\": ?([0-9.eE+-]+).*/\1/p" "$1" 2>/dev/null | tail -1; }

# One training step of each model beside PyTorch on the same card, at the same batch.
stage_bench() {
  set -- vit_s16:S/16:512 vit_b16:B/16:384 vit_l16:L/16:192 vit_h14:H/14:96
  seconds_torch=10 steps=20
  [ -z "$quick" ] || { set -- vit_ti16:Ti/16:8 && steps=2; }
  torch=no
  [ "$device" != cuda ] || ! python3 -c 'import torch, timm; assert torch.cuda.is_available()' 2>/dev/null || torch=yes
  printf '%-8s %6s %12s %9s %12s %12s %7s\n' model batch images/s step_ms mfu_of_gemm torch_img/s ratio
  for row in "$@"; do
    name=${row%%:*} rest=${row#*:}
    label=${rest%%:*} batch=${rest#*:}
    peer=-
    if [ $torch = yes ]; then
      try "torch-$name" 150 env LD_LIBRARY_PATH="$plain_libraries" python3 "$here/torch_baseline.py" --models "$label" --seconds $seconds_torch --batch "$batch"
      [ $stage_late -eq 0 ] || return
      peer=$(number_of "$log" images_per_s)
    fi
    printf 'model:\n  name: %s\n  gelu: tanh\ndata:\n  train: synthetic\n  batch: %d\nloss:\n  smoothing: 0.1\ntrain:\n  duration: 100ksteps\ncompute:\n  device: %s\n  dtype: bf16\n' \
      "$name" "$batch" $device >"$state/$name.yaml"
    try "step-$name" 120 "$build/vitrail" bench step "$state/$name.yaml" --json --steps $steps
    ok=$?
    [ $stage_late -eq 0 ] || return
    own=$(number_of "$log" images_per_s)
    printf '%-8s %6d %12.1f %9.2f %12.3f %12s %7s\n' "$label" "$batch" "${own:-0}" "$(number_of "$log" step_ms)" \
      "$(number_of "$log" mfu_of_gemm_peak)" "${peer:--}" "$(awk -v a="${own:-0}" -v b="${peer:-0}" 'BEGIN {if (b + 0 > 0) printf "%.2f", a / b; else printf "-"}')"
    [ $ok -eq 0 ] || tail_of
    if try "ops-$name" 90 "$build/vitrail" bench ops "$state/$name.yaml" --steps $steps compute.micro_batch="$batch"; then
      sed 's/^/    /' "$log"
    else
      [ $stage_late -eq 0 ] || return
      tail_of
    fi
  done
}
