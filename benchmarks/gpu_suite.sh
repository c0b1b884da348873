#!/usr/bin/env bash
# Everything that needs a GPU, in ten minutes: kernels, whole models, recommended against naive architectures.
#
#   benchmarks/gpu_suite.sh [OUTPUT_DIR] [full|quick]
#
# Needs archsearch with the extras torch and models in the python that PYTHON names (default python3). Writes kernels.csv,
# models.csv and verify-*.csv to OUTPUT_DIR (default: gpu_suite), continues what lies there, and prints a short table last.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu_suite}
suite=${2:-full}
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader || true
echo "== kernels"
$python -m archsearch.bench.micro --suite "$suite" --budget-minutes "${KERNEL_MINUTES:-4.5}" --output "$out/kernels.csv"
echo "== whole models"
$python benchmarks/real_models.py measure --output "$out/models.csv" --budget-seconds "${MODEL_SECONDS:-120}"
echo "== recommended against naive"
for space in ${SPACES:-modernbert-base-budget dit-xl-budget decoder-1b}; do
  for mode in --compiled --eager; do
    timeout 90 $python -m archsearch bench verify "$space" --hardware "${GPU:-h200-sxm}" --top 2 $mode \
      --output "$out/verify-$space$mode.csv" || echo "verify $space $mode: stopped"
  done
done
echo "== summary"
$python benchmarks/real_models.py compare "$out/models.csv"
