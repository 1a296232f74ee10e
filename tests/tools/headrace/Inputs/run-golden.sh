# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# run-golden.sh PYTHON CHECKPOINT DIR BOUND
set -e
inputs=$(dirname "$0")
python=$1
shift
prompt=$("$python" "$inputs/golden.py" "$1" prompt)
continuation=$("$python" "$inputs/golden.py" "$1" continuation)
new=$(echo "$continuation" | tr , '\n' | wc -l)
cd "$2"

test "$(headrace run "$1" --tokens="$prompt" --max-new-tokens="$new" \
  --logits=run.npy --cache-dir=cache)" = "$continuation"
"$python" "$inputs/compare_npy.py" run.npy "$1/golden_logits.npy" "$3"

headrace run "$1" --tokens="$prompt,$continuation" --max-new-tokens=0 \
  --logits=fed.npy --threads=1 --cache-dir=cache > fed.txt
test ! -s fed.txt
cmp run.npy fed.npy

test "$(headrace interpret "$1" --tokens="$prompt" --max-new-tokens="$new" \
  --logits=interpret.npy)" = "$continuation"
"$python" "$inputs/compare_npy.py" interpret.npy "$1/golden_logits.npy" "$3"
