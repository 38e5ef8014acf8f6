#!/bin/sh
# Everything a GPU machine without package sources needs to build and test vitrail, in one tar of less than 64 MiB: the sources,
# the Debian libraries and headers they need with their tools (pkg-config, protoc-c, mpirun), and some of Fashion-MNIST. The
# machine needs gcc, CMake, Ninja or make, the CUDA toolkit, and glibc as new as here; cuDNN and NCCL may be Python wheels.
#   tests/gpu/bundle.sh [FILE]        default build-gpu/vitrail-gpu-bundle.tar.gz, which git ignores
# There:  mkdir B; tar xzf FILE -C B; B/run.sh build ops ...
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
file=${1:-$root/build-gpu/vitrail-gpu-bundle.tar.gz}
limit=$((64 << 20))
images_train=12000 images_test=2000
. "$root/launch/packages.sh"

command -v dpkg >/dev/null || { echo "bundle.sh: no dpkg: run this on Debian or Ubuntu" >&2; exit 1; }
# shellcheck disable=SC2086,SC2154
install_missing $vitrail_packages libcunit1-dev dataset-fashion-mnist
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
deps=$T/B/deps
arch=$(gcc -print-multiarch)
lib=usr/lib/$arch
mkdir -p "$deps/usr/bin" "$deps/$lib"

# ---- headers, development links and pkg-config files of what vitrail links; nothing of the C library
for package in libdnnl-dev libjpeg-dev libjpeg62-turbo-dev libjpeg-turbo8-dev libpng-dev zlib1g-dev libyaml-dev libjansson-dev \
  libxxhash-dev libprotobuf-c-dev libcunit1-dev libopenmpi-dev; do
  dpkg-query -L "$package" 2>/dev/null || true
done | grep -E "^/(usr/include/|$lib/)" | grep -vE '\.a$|/fortran|\.mod$|/cmake/|java|oshmem|libmpi_(usempi|mpifh|cxx)|libompitrace|libmca_common_(ofi|ucx|verbs|monitoring)' | sort -u >"$T/files"
# ---- the parts of Open MPI and PMIx that run on one host over shared memory and TCP
dpkg-query -L libopenmpi3 openmpi-bin openmpi-common libpmix2 |
  grep -E "/share/(openmpi|pmix)/|/pmix2?/.*\.so|/openmpi3/mca_.*\.so|/lib(pmix|pmi)[^/]*\.so" |
  grep -vE 'ucx|ofi|psm|openib|verbs|monitoring|slurm|flux|gridengine|jsm|spml|scoll|memheap|sshmem|mca_atomic|usnic' >>"$T/files"
while read -r path; do
  if [ -f "$path" ] || [ -L "$path" ]; then echo "$path"; fi
done <"$T/files" | sed 's|^/||' | tar -C / -c --no-recursion --verbatim-files-from -T - | tar -C "$deps" -x

# ---- tools, under the names they are called by
for tool in orterun orted opal_wrapper pkgconf protoc-c protoc-gen-c; do
  [ -e /usr/bin/$tool ] && cp -L /usr/bin/$tool "$deps/usr/bin/"
done
ln -sf orterun "$deps/usr/bin/mpirun"
ln -sf opal_wrapper "$deps/usr/bin/mpicc"
ln -sf pkgconf "$deps/usr/bin/pkg-config"

# ---- links through /etc/alternatives, or to an absolute place, become the file itself or a relative link
find "$deps" -type l | while read -r link; do
  target=$(readlink "$link")
  case $target in
  /*)
    real=$(realpath -m "$target")
    rm "$link"
    if [ -e "$deps$real" ]; then ln -s "$(realpath -m --relative-to="$(dirname "$link")" "$deps$real")" "$link"
    elif [ -f "$real" ]; then cp "$real" "$link"; fi
    ;;
  esac
done

# ---- the shared libraries all of that loads, except the compiler's and the C library's, which the machine has
find "$deps" \( -name '*.so*' -o -path '*/usr/bin/*' \) >"$T/binaries"
while read -r binary; do
  ldd "$(realpath "$binary")" 2>/dev/null || true
  # A link of the development package points to a library that was not copied yet.
  if [ -L "$binary" ] && [ ! -e "$binary" ]; then
    echo "x => $(realpath -m "/${binary#"$deps"/}") "
    ldd "$(realpath -m "/${binary#"$deps"/}")" 2>/dev/null || true
  fi
done <"$T/binaries" | sed -nE 's/.* => (\/[^ ]+).*/\1/p' | sort -u |
  grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libutil|ld-linux[^/]*|libstdc\+\+|libgcc_s|libgomp|libgfortran|libquadmath)\.(so|[0-9])' |
  while read -r path; do
    real=$(realpath "$path")
    [ -f "$real" ] || continue
    # The file under its real name and its soname, beside the development links.
    cp "$real" "$deps/$lib/"
    for name in "$(basename "$path")" "$(readelf -d "$real" | sed -nE 's/.*\(SONAME\).*\[(.*)\]/\1/p')"; do
      [ -z "$name" ] || [ "$name" = "$(basename "$real")" ] || ln -sf "$(basename "$real")" "$deps/$lib/$name"
    done
  done
find "$deps" -xtype l -print -delete | sed "s|^$deps/||" >"$T/dangling" # links to parts left out
for name in dnnl jpeg png z yaml jansson xxhash protobuf-c cunit; do
  [ -e "$deps/$lib/lib$name.so" ] || { echo "bundle.sh: lib$name.so did not get in" >&2; exit 1; }
done
find "$deps" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec strip --strip-unneeded {} + 2>/dev/null || true

# ---- the sources: what git tracks or would track, as they are now
mkdir -p "$T/B/src"
git -C "$root" ls-files -co --exclude-standard | while read -r name; do
  if [ -f "$root/$name" ]; then echo "$name"; fi
done | tar -C "$root" -c --verbatim-files-from -T - | tar -C "$T/B/src" -x
git -C "$root" describe --always --dirty --abbrev=10 >"$T/B/commit" 2>/dev/null || echo unknown >"$T/B/commit"

# ---- Fashion-MNIST, its first pictures
from=/usr/share/datasets/fashion-mnist
data=$T/B/fashion-mnist
mkdir "$data"
# cut_idx FILE HEADER_BYTES DIMENSIONS REST COUNT BYTES_EACH: the header of COUNT items, and those
cut_idx() {
  {
    # shellcheck disable=SC2059
    printf "$(printf '\\000\\000\\010\\%03o\\000\\000\\%03o\\%03o' "$3" $(($5 / 256)) $(($5 % 256)))$4"
    { gzip -dc "$from/$1.gz" 2>/dev/null || true; } | tail -c +$(($2 + 1)) | head -c $(($5 * $6))
  } | gzip -9 >"$data/$1.gz"
}
side='\000\000\000\034\000\000\000\034'
cut_idx train-images-idx3-ubyte 16 3 "$side" $images_train 784
cut_idx train-labels-idx1-ubyte 8 1 '' $images_train 1
cut_idx t10k-images-idx3-ubyte 16 3 "$side" $images_test 784
cut_idx t10k-labels-idx1-ubyte 8 1 '' $images_test 1

cat >"$T/B/run.sh" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
exec sh "$here/src/tests/gpu/run.sh" --bundle "$here" "$@"
END
chmod +x "$T/B/run.sh"
mkdir -p "$(dirname "$file")"
tar -C "$T/B" -c . | gzip -9 >"$file"
bytes=$(wc -c <"$file")
printf '%s: %d bytes, %d MiB unpacked; commit %s\n' "$file" "$bytes" "$(du -sm "$T/B" | cut -f1)" "$(cat "$T/B/commit")"
[ "$bytes" -lt "$limit" ] || { echo "bundle.sh: more than $limit bytes" >&2; exit 1; }
