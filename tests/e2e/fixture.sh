#!/bin/sh
# fixture.sh BUILD_DIR: BUILD_DIR/e2e-data, 1200 training and 300 validation pictures of Fashion-MNIST, packed once.
set -eu
build=$1
source=/usr/share/datasets/fashion-mnist
if [ ! -e $source/train-images-idx3-ubyte.gz ]; then
  echo "skipped: $source is missing (Debian package dataset-fashion-mnist)"
  exit 77
fi
if [ -e "$build/e2e-data/manifest.pb" ]; then exit 0; fi
T=$(mktemp -d "${TMPDIR:-/tmp}/vte.XXXXXX")
trap 'rm -rf "$T"' EXIT

# cut FILE HEADER_BYTES NEW_HEADER COUNT BYTES_EACH: the first COUNT items of an idx file. head closes the pipe early.
cut_idx() {
  # shellcheck disable=SC2059
  printf "$3" >"$T/$1"
  { gzip -dc "$source/$1.gz" 2>/dev/null || true; } | tail -c +$(($2 + 1)) | head -c $(($4 * $5)) >>"$T/$1"
}
side='\0\0\0\034\0\0\0\034'
cut_idx train-images-idx3-ubyte 16 "\\0\\0\\010\\003\\0\\0\\004\\260$side" 1200 784
cut_idx train-labels-idx1-ubyte 8 '\0\0\010\001\0\0\004\260' 1200 1
cut_idx t10k-images-idx3-ubyte 16 "\\0\\0\\010\\003\\0\\0\\001\\054$side" 300 784
cut_idx t10k-labels-idx1-ubyte 8 '\0\0\010\001\0\0\001\054' 300 1
rm -rf "$build/e2e-data.new"
"$build/vitrail" pack "$T" "$build/e2e-data.new" --from idx --shard-samples 256
rm -rf "$build/e2e-data"
mv "$build/e2e-data.new" "$build/e2e-data"
