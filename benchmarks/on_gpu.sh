#!/usr/bin/env bash
# All that is to be measured on a GPU, in at most nine minutes; each part has a time of its own.
#
#   benchmarks/on_gpu.sh                        # the first GPU
#   benchmarks/on_gpu.sh --device cpu --quick   # to see that it works
#
# Records go to results/bench/*-<device>.json. A part that fails or takes too long is named, the others
# go on, and the exit code is 1. PYTHON names the interpreter.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
device=cuda quick=
while (($#)); do
  case $1 in
    --device) device=${2:?--device needs a name}; shift 2 ;;
    --quick) quick=yes; shift ;;
    *) echo "usage: benchmarks/on_gpu.sh [--device NAME] [--quick]" >&2; exit 2 ;;
  esac
done

failed=()
part() { # SECONDS NAME [OPTIONS]
  local seconds=$(($1 * patience)) name=$2
  shift 2
  echo "== $name $*"
  timeout -k 5 "$seconds" "$python" -m benchmarks "$name" --device "$device" "$@" || failed+=("$name $*")
}

patience=1 model=hpcm_base batches=(8 16) large=16 size=() steps=20 models=(hpcm_tiny hpcm_base) trials=(1 2 4)
if [[ $quick ]]; then
  patience=5 model=hpcm_tiny batches=(1) large=1 size=(--batch 1 --steps 1) steps=1 models=(hpcm_tiny) trials=(1 2)
fi
step() { # SECONDS BATCH LABEL [SETTINGS]
  local seconds=$1 batch=$2 label=$3
  shift 3
  part "$seconds" train_step --model "$model" --batch "$batch" --steps "$steps" "--label=-$label" \
    ${*:+--set "$@"}
}

part 60 parity
for batch in "${batches[@]}"; do
  step 35 "$batch" eager
  step 35 "$batch" auto precision.preset=auto
done
step 35 "$large" cautious_adam precision.preset=auto optimizer.name=cautious_adam
step 35 "$large" famo_per_scale precision.preset=auto balancer.name=famo_per_scale
part 85 packing --models "${models[@]}" --trials "${trials[@]}" --set precision.preset=auto "${size[@]}"
[[ $quick ]] || step 30 "$large" cuda_graph precision.preset=auto precision.cuda_graph=true
[[ $quick ]] || step 150 "$large" compiled precision.preset=auto precision.compile=graph

if ((${#failed[@]})); then
  printf 'failed or not in time: %s\n' "${failed[@]}" >&2
  exit 1
fi
