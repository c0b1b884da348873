#!/usr/bin/env bash
# Everything that needs a GPU, in a quarter of an hour: kernels, whole models, recommended against naive architectures.
#
#   benchmarks/gpu_suite.sh [OUTPUT_DIR] [full|quick]
#
# Needs archsearch with the extras torch and models in the python that PYTHON names (default python3). Writes kernels.csv,
# models.csv and verify-*.csv to OUTPUT_DIR (default: gpu_suite), continues what lies there, and prints a short table last.
# SPACES and SHAPES are the spaces whose recommendations are timed (SHAPES= for none of the second kind: one mode, rank 1).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu_suite}
suite=${2:-full}
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader || true
gpu=${GPU:-$($python -c 'import torch; from archsearch.hardware import load_gpu
print(load_gpu(torch.cuda.get_device_name()).id)')} || {
  echo "no profile has this GPU's name: GPU=id, or archsearch bench calibrate $out/kernels.csv --gpu NEW afterwards"
  gpu=
}
echo "== kernels"
$python -m archsearch.bench.micro --suite "$suite" --budget-minutes "${KERNEL_MINUTES:-4.5}" --output "$out/kernels.csv"
echo "== whole models"
$python benchmarks/real_models.py measure --output "$out/models.csv" --budget-seconds "${MODEL_SECONDS:-120}"
echo "== recommended against naive"
for space in ${SPACES:-modernbert-base-budget dit-xl-budget decoder-1b}; do
  for mode in --compiled --eager; do
    [ -n "$gpu" ] || continue
    timeout 90 $python -m archsearch bench verify "$space" --hardware "$gpu" --top 2 $mode \
      --output "$out/verify-$space$mode.csv" || echo "verify $space $mode: stopped"
  done
done
echo "== another shape of equal size against one chosen without the hardware in mind"
for space in ${SHAPES-gpt3-2.7b-shape pythia-2.8b-shape gpt2-shape dit-xl-2-shape llama-7b-shape}; do
  [ -n "$gpu" ] || continue
  timeout 120 $python -m archsearch bench verify "$space" --hardware "$gpu" --top 1 --eager \
    --output "$out/verify-$space--eager.csv" || echo "verify $space: stopped"
done
[ -n "$gpu" ] || exit 0
echo "== summary: predicted against measured, kernels and whole models"
$python -m archsearch validate "$out/kernels.csv"
$python benchmarks/real_models.py compare "$out/models.csv"
