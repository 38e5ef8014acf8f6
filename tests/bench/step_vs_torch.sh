#!/bin/sh
# ViT-Ti/16 224 px, batch 32, one whole training step: vitrail beside PyTorch, interleaved, medians of ROUNDS rounds.
#   tests/bench/step_vs_torch.sh [ROUNDS] [PYTHON]      PYTHON: an interpreter with torch (and timm); default python3
set -eu
rounds=${1:-5}
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
vitrail=$here/../../build/vitrail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
value() { sed -nE 's/.*"images_per_s": ?([0-9.]+).*/\1/p'; }
median() { sort -n "$1" | awk '{v[NR]=$1} END {print NR % 2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
for _ in $(seq "$rounds"); do
    for dtype in fp32 bf16; do
        $vitrail bench step compute.dtype=$dtype compute.threads=2 --steps 5 --json 2>/dev/null | tee -a "$out/json" | value >>"$out/vitrail.$dtype"
        $python "$here/torch_step.py" --dtype $dtype --threads 2 --steps 5 2>/dev/null | value >>"$out/torch.$dtype"
    done
done
best=$(cat "$out"/torch.fp32 "$out"/torch.bf16 >/dev/null; printf '%s\n%s\n' "$(median "$out/torch.fp32")" "$(median "$out/torch.bf16")" | sort -n | tail -1)
printf '%-6s %12s %12s %8s\n' dtype vitrail torch ratio
printf 'fp32   %12s %12s %8.2f\n' "$(median "$out/vitrail.fp32")" "$(median "$out/torch.fp32")" "$(echo "$(median "$out/vitrail.fp32") $(median "$out/torch.fp32")" | awk '{print $1/$2}')"
printf 'bf16   %12s %12s %8.2f   (torch: better of fp32 and bf16 autocast)\n' "$(median "$out/vitrail.bf16")" "$best" "$(echo "$(median "$out/vitrail.bf16") $best" | awk '{print $1/$2}')"
sed -E 's/.*"dtype":"([a-z0-9]+)".*"mfu_of_own_gemms":([0-9.]+).*/\1 \2/' "$out/json" | sort | awk '{s[$1]=s[$1] " " $2} END {for (k in s) print k, "share of the rate of the products of this model:" s[k]}'
