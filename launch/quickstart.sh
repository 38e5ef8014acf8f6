#!/bin/sh
# From a clone to a trained, evaluated Vision Transformer in one command: installs what is missing, builds, packs
# Fashion-MNIST (70,000 real images, from the Debian package dataset-fashion-mnist), trains configs/fashion_mnist.yaml under
# mpirun on whatever the machine has, evaluates and shows the result.
#   ./launch/quickstart.sh [key.path=value ...]      e.g. run.seed=1 run.dir=runs/seed1
set -eu
cd "$(dirname "$0")/.."
. launch/packages.sh

# shellcheck disable=SC2086
install_missing $vitrail_packages dataset-fashion-mnist
# GPUs of this machine, by compute capability (90 = sm_90); with nvcc, the CUDA plugin is built for just these.
gpus=0 cuda=
for capability in $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d '. '); do
    gpus=$((gpus + 1))
    case "$cuda;" in *[=\;]"$capability;"*) ;; *) cuda=${cuda:--DCMAKE_CUDA_ARCHITECTURES=}${cuda:+;}$capability ;; esac
    [ "$capability" -ge 80 ] || too_old=1
done
if [ -n "${too_old:-}" ]; then
    echo "A GPU here is older than sm_80, which has no bf16 matrix units: training on the CPU."
    gpus=0 cuda=-DWITH_CUDA=OFF
fi
# shellcheck disable=SC2086
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DWITH_TESTS=OFF $cuda >build.log 2>&1 || { cat build.log; exit 1; }
cmake --build build >>build.log 2>&1 || { tail -30 build.log; exit 1; }
vitrail=build/vitrail
$vitrail --version

[ -d data/fashion-mnist ] || $vitrail pack /usr/share/datasets/fashion-mnist data/fashion-mnist --from idx

[ -e build/libvitrail_cuda.so ] || gpus=0
if [ "$gpus" -eq 0 ] && ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
    echo "This CPU has no bf16 units: training runs in fp32, about twice as slow (more without AVX-512). Expect the same accuracy."
fi

# One rank a core at most two: small pictures on one machine gain more from threads than from many ranks.
ranks=2
[ "$(nproc)" -ge 2 ] || ranks=1
[ "$gpus" -eq 0 ] || ranks=$gpus # one rank a GPU
run=runs/fashion_mnist
for argument in "$@"; do
    case $argument in run.dir=*) run=${argument#run.dir=} ;; esac
done
case " $*" in *" run.dir="*) ;; *) set -- run.dir="$run" "$@" ;; esac
$vitrail train -n "$ranks" configs/fashion_mnist.yaml "$@"

echo
$vitrail eval "$run" data/fashion-mnist#val
$vitrail report "$run" -o "$run/report.html"
cat <<END

run folder    $run    (config, metrics, TensorBoard events, log, checkpoints)
curves        $run/report.html
try next      $vitrail preview $run -o sheet.png          what the model sees
              $vitrail predict $run IMAGE ...             classify your own pictures
              $vitrail train -n $ranks configs/fashion_mnist_long.yaml   a longer run
              $vitrail pack FOLDER data/mine --from imagefolder --val 10%   your own images
              $vitrail help config                        every key of a run
END
