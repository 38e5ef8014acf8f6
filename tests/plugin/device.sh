# device.sh BUILD: which device a job takes, and what it says. With a plugin whose GPU is a fake, and with what this build and
# machine really have.
set -u
build=$1
V=$build/vitrail
fake=$build/tests/libfake_plugin.so
T=$(mktemp -d "${TMPDIR:-/tmp}/vtd.XXXXXX") || exit 2
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 2
TMPDIR=$T
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export TMPDIR OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe \
  OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle OMPI_MCA_btl_vader_single_copy_mechanism
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
export ASAN_OPTIONS
unset VITRAIL_PLUGIN

cat >tiny.yaml <<END
model: {name: custom, image_size: 16, patch_size: 8, width: 16, depth: 1, heads: 2, mlp_width: 32}
data: {train: synthetic, synthetic_classes: 4, batch: 8, threads: 1}
train: {duration: 4steps}
compute: {threads: 1}
END

fail() {
  echo "FAILED: $*"
  tail -25 out
  exit 1
}
# run CODE command...: its output goes to ./out
run() {
  wanted=$1
  shift
  "$@" >out 2>&1
  rc=$?
  [ $rc -eq "$wanted" ] || fail "exit code $rc, expected $wanted: $*"
}
says() { grep -qF -- "$1" out || fail "expected to read: $1"; }
silent() { ! grep -qF -- "$1" out || fail "expected not to read: $1"; }
train() { "$V" train tiny.yaml "$@"; }

# ---- what is really here
run 0 "$V" check
if grep -q 'GPU none' out; then
  run 0 train run.dir=auto
  says 'device     CPU: '
  run 0 train compute.device=cpu run.dir=cpu
  silent 'device     CPU: '
  run 1 train compute.device=cuda run.dir=cuda
  says 'error: compute.device=cuda: '
  [ "$(grep -c error: out)" -eq 1 ] || fail "expected one error line"
  run 2 train comm.backend=nccl run.dir=nccl
  says 'comm.backend=nccl sums on GPUs, and this run is on the CPU'
fi

# ---- the fake GPU
export VITRAIL_PLUGIN="$fake"
run 0 train compute.device=cuda run.dir=fake
says 'fake GPU 0'
says 'fake: timed'
"$V" inspect fake/tuning.pb >shown || fail "inspect of tuning.pb"
grep -q '^fake, 1$' shown && grep -q '^  linear/8x16x4  1$' shown || fail "expected the run folder's tuning.pb to have what was timed"
"$V" inspect fake/tuning.pb --json | grep -q '"places":\[{"device":"fake","libraries":"1","choices":{.*"linear/8x16x4":"1"' ||
  fail "inspect --json of tuning.pb"
# Resumed: the stored choices, nothing timed again.
run 0 train compute.device=cuda run.dir=fake
says 'fake GPU 0'
silent 'fake: timed'
# The same run as on the host's memory: device memory is not touched behind the backend's back, and nothing is lost by it.
run 0 train compute.device=ref compute.dtype=fp32 run.dir=ref
grep -o '"train/loss":[^,]*' ref/metrics.jsonl >ref.loss
run 0 train compute.device=cuda compute.dtype=fp32 run.dir=same
grep -o '"train/loss":[^,]*' same/metrics.jsonl >same.loss
[ -s ref.loss ] && cmp -s ref.loss same.loss || fail "losses differ from ref's"
# Lost, it comes from the newest checkpoint.
cp fake/tuning.pb whole.pb
rm fake/tuning.pb
run 0 train compute.device=cuda run.dir=fake
silent 'fake: timed'
cmp -s fake/tuning.pb whole.pb || fail "tuning.pb differs from the one that was lost"
# A damaged table is named, by every reader.
head -c 40 whole.pb >fake/tuning.pb
run 1 train compute.device=cuda run.dir=fake
says 'error: fake/tuning.pb: tuning table: does not end with its checksum: truncated or damaged'
[ "$(grep -c error: out)" -eq 1 ] || fail "expected one error line"
run 1 "$V" inspect fake/tuning.pb
says 'fake/tuning.pb: tuning table: does not end'
echo nonsense >fake/tuning.pb
run 1 train compute.device=cuda run.dir=fake
says 'fake/tuning.pb: tuning table: does not end'

# Choices kept from program to program: what one has timed the next does not.
export VT_CUDA_TUNE_FILE="$T/kept-tuning.pb"
run 0 train compute.device=cuda run.dir=first
says 'fake: timed'
cmp -s kept-tuning.pb first/tuning.pb || fail "expected kept-tuning.pb to have what was timed"
run 0 train compute.device=cuda run.dir=second
silent 'fake: timed'
cmp -s second/tuning.pb first/tuning.pb || fail "the second run has other choices"
rm kept-tuning.pb
VT_FAKE_GPUS=2 run 0 "$V" train -n 2 tiny.yaml compute.device=cuda comm.backend=mpi run.dir=ranks
cp kept-tuning.pb alone-tuning.pb
run 0 train compute.device=cuda data.batch=16 run.dir=other & # two at once
job=$!
(run 0 train compute.device=cuda data.batch=24 run.dir=third) >/dev/null 2>&1
wait $job || fail "one of two at once"
"$V" inspect kept-tuning.pb >shown
"$V" inspect alone-tuning.pb >before
[ -z "$(ls kept-tuning.pb.* 2>/dev/null)" ] || fail "a temporary file is left: $(ls kept-tuning.pb.*)"
[ "$(grep -cxFf before shown)" -ge "$(($(wc -l <before) - 1))" ] || fail "kept-tuning.pb has lost choices"
echo nonsense >kept-tuning.pb
run 1 train compute.device=cuda run.dir=foreign
says "VT_CUDA_TUNE_FILE: $T/kept-tuning.pb: tuning table: does not end with its checksum"
[ "$(cat kept-tuning.pb)" = nonsense ] || fail "a file of another kind was written to"
unset VT_CUDA_TUNE_FILE

# Its 1 GiB: a plan that does not fit is refused with what would.
run 1 train compute.device=cuda model.image_size=224 model.patch_size=16 model.width=192 model.heads=3 model.mlp_width=768 \
  model.depth=12 data.batch=48 compute.micro_batch=48 run.dir=large
says 'on the device, which has 1.0 GiB for it; the largest part is activations with '
says 'compute.recompute=light would fit, or compute.micro_batch='

# The same plan, small enough for the whole GPU, where half of it is taken: before anything is allocated.
VT_FAKE_SHARED=1 run 1 train compute.device=cuda model.image_size=224 model.patch_size=16 model.width=192 model.heads=3 model.mlp_width=768 \
  model.depth=12 data.batch=12 compute.micro_batch=12 run.dir=half_free
says 'on the device, which has 384.0 MiB for it; the largest part is '

# Ranks: only rank 0 times; the sums go through the host where that is asked for.
export VT_FAKE_GPUS=2
run 0 "$V" train -n 2 tiny.yaml compute.device=auto comm.backend=mpi run.dir=two
says 'fake: timed'
says ', sums ' # the buckets' way through the host, in the memory plan
silent 'on rank 1'
run 1 "$V" train -n 2 tiny.yaml compute.device=auto run.dir=nccl2
says 'the fake has no NCCL'
VT_FAKE_GPUS=1 run 2 "$V" train -n 2 tiny.yaml run.dir=shared
says 'ranks 0 and 1 have the same GPU: start one rank per GPU'
VT_FAKE_NO_GPU=1 run 1 "$V" train -n 2 tiny.yaml compute.device=auto comm.backend=mpi run.dir=half
says 'rank 1 (host '
says '1 of 2 ranks have a GPU, this one has not: no GPU is visible'
VT_FAKE_NO_GPU=1 run 1 "$V" train -n 2 tiny.yaml compute.device=cuda comm.backend=mpi run.dir=half
says 'compute.device=cuda: no GPU is visible'
run 2 "$V" train -n 3 tiny.yaml compute.device=cuda comm.backend=mpi run.dir=three
says 'has 2 GPUs for 3 ranks: start one rank per GPU'
VT_FAKE_NO_GPU=all run 0 "$V" train -n 2 tiny.yaml run.dir=none
says 'device     CPU: no GPU is visible'
VT_FAKE_ABI=other run 1 train compute.device=cuda run.dir=abi
says 'is of another vitrail version'
VT_FAKE_ABI=other run 0 train run.dir=abi
says 'device     CPU: '

# A checkpoint of a GPU run, without the GPU.
export VT_FAKE_NO_GPU=all
run 0 "$V" eval same synthetic
VITRAIL_PLUGIN=$T/nowhere.so
run 1 train compute.device=cuda run.dir=nowhere
says 'nowhere.so: no such file'
VITRAIL_PLUGIN=$T/tiny.yaml
run 1 train compute.device=cuda run.dir=nowhere
says 'the CUDA plugin cannot be loaded'
echo "all as expected"
