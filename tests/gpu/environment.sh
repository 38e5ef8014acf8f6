# Sourced by run.sh: finds compiler, CUDA (toolkit or Python wheels), and a bundle's libraries, and sets what they need.
# shellcheck shell=sh disable=SC2034,SC2154

# The GPU's compute capability as CMake wants it: 90.
gpu_architecture() {
  found=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d '. ')
  echo "${found:-90}"
}

# add_headers DIR: system headers, of which nobody wants warnings; once each.
add_headers() {
  case :${C_INCLUDE_PATH:-}: in *:$1:*) return ;; esac
  C_INCLUDE_PATH=${C_INCLUDE_PATH:+$C_INCLUDE_PATH:}$1
  CPLUS_INCLUDE_PATH=$C_INCLUDE_PATH
  export C_INCLUDE_PATH CPLUS_INCLUDE_PATH
}

# use_bundle DIR: its tools and libraries before the machine's; pkg-config files and Open MPI are told where they now live.
use_bundle() {
  deps=$1/deps
  set -- "$deps"/usr/lib/*-linux-gnu*
  libs=$1
  if [ ! -e "$deps/moved" ]; then
    find "$deps" -name '*.pc' -exec sed -i -E "s#^([a-z_]+)=/usr#\1=$deps/usr#" {} +
    echo "$deps" >"$deps/moved"
  elif [ "$(cat "$deps/moved")" != "$deps" ]; then
    echo "run.sh: the bundle was used in $(cat "$deps/moved") before: unpack it afresh" >&2
    exit 1
  fi
  PATH=$deps/usr/bin:$PATH
  LD_LIBRARY_PATH=$libs:$libs/pmix2/lib:$libs/openmpi/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  PKG_CONFIG=$deps/usr/bin/pkg-config
  PKG_CONFIG_LIBDIR=$libs/pkgconfig:$deps/usr/share/pkgconfig
  PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
  CMAKE_PREFIX_PATH=$deps/usr
  CMAKE_LIBRARY_PATH=$libs${CMAKE_LIBRARY_PATH:+:$CMAKE_LIBRARY_PATH}
  CMAKE_INCLUDE_PATH=$deps/usr/include
  add_headers "$deps/usr/include/$(basename "$libs")"
  OPAL_PREFIX=$deps/usr
  PMIX_INSTALL_PREFIX=$libs/pmix2
  export PATH LD_LIBRARY_PATH PKG_CONFIG PKG_CONFIG_LIBDIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS \
    CMAKE_PREFIX_PATH CMAKE_LIBRARY_PATH CMAKE_INCLUDE_PATH OPAL_PREFIX PMIX_INSTALL_PREFIX
}

# The machine's Python with the machine's libraries, not the bundle's.
python_here() { env LD_LIBRARY_PATH="$plain_libraries" python3 "$@"; }

# Where Python keeps NVIDIA's wheels, a folder a line; nothing without any.
wheels() { python_here -c 'import nvidia; print("\n".join(nvidia.__path__))' 2>/dev/null; }

# The toolkit's bin folder on the PATH, a wheel's if need be. What it lacks (cuBLASLt, cuDNN, NCCL) comes from the wheels: headers by C_INCLUDE_PATH,
# libraries by links under their plain names in BUILD/wheel-libs, where CMake looks, and by LD_LIBRARY_PATH.
use_cuda() {
  wheel_dirs=$(wheels)
  for bin in /usr/local/cuda/bin /opt/cuda/bin $(for nvidia in $wheel_dirs; do echo "$nvidia"/*/bin; done); do
    command -v nvcc >/dev/null || { [ -x "$bin/nvcc" ] && PATH=$PATH:$bin; }
  done
  command -v compute-sanitizer >/dev/null || for bin in /usr/local/cuda/compute-sanitizer /usr/local/cuda/bin; do
    [ -x $bin/compute-sanitizer ] && PATH=$PATH:$bin
  done
  toolkit=''
  if command -v nvcc >/dev/null; then toolkit=$(dirname "$(dirname "$(realpath "$(command -v nvcc)")")"); fi
  # A wheel's compiler looks for its libraries where a wheel has none.
  if [ -e "$toolkit/lib/libcudart_static.a" ] && [ ! -e "$toolkit/lib64" ]; then
    LIBRARY_PATH=$toolkit/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
    export LIBRARY_PATH
  fi
  nccl_root='' cudnn_root=''
  links=$build/wheel-libs
  mkdir -p "$links"
  for nvidia in $wheel_dirs; do
    for lib in "$nvidia"/*/lib; do
      for file in "$lib"/*.so.*; do
        [ -e "$file" ] || continue
        plain=$(basename "$file" | sed 's/\.so\..*/.so/')
        ln -sf "$file" "$links/$(basename "$file")"
        ln -sf "$file" "$links/$plain"
      done
      [ -e "$toolkit/lib64" ] || [ ! -e "$lib/libcudart_static.a" ] || ln -sf "$lib"/lib*.a "$links/"
      include=$(dirname "$lib")/include
      [ ! -e "$include/nccl.h" ] || nccl_root=$(dirname "$lib")
      [ ! -e "$include/cudnn.h" ] || cudnn_root=$(dirname "$lib")
      for header in cublasLt.h cudnn.h nccl.h cuda_runtime.h; do
        if [ -e "$include/$header" ] && [ ! -e "$toolkit/include/$header" ] &&
          [ ! -e "$toolkit/targets/x86_64-linux/include/$header" ]; then
          add_headers "$include"
        fi
      done
    done
  done
  if [ -n "$(ls "$links")" ]; then
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$links
    CMAKE_LIBRARY_PATH=${CMAKE_LIBRARY_PATH:+$CMAKE_LIBRARY_PATH:}$links
  fi
  [ -z "$LD_LIBRARY_PATH" ] || export LD_LIBRARY_PATH
  [ -z "$CMAKE_LIBRARY_PATH" ] || export CMAKE_LIBRARY_PATH
  export PATH
}

plain_libraries=${LD_LIBRARY_PATH:-} # for programs that are not ours
[ -z "$bundle" ] || use_bundle "$bundle"
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} CMAKE_LIBRARY_PATH=${CMAKE_LIBRARY_PATH:-}
use_cuda
# What is chosen by timing is kept here for every program and stage; its choices hold for one device and library version.
VT_CUDA_TUNE_FILE=$build/gpu-tuning.pb
export VT_CUDA_TUNE_FILE
if [ -e "$build/libvitrail_cuda.so" ]; then export VITRAIL_PLUGIN="$build/libvitrail_cuda.so"; fi

# More ranks than cores or GPUs, root or not.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1 OMPI_MCA_plm_rsh_agent=false
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe \
  OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle OMPI_MCA_btl_vader_single_copy_mechanism \
  OMPI_MCA_btl OMPI_MCA_pml OMPI_MCA_plm_rsh_agent
