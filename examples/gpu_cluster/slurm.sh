#!/usr/bin/env bash
# Two machines with four GPUs each, one process per machine: sbatch examples/gpu_cluster/slurm.sh
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@120
set -eu -o pipefail
# The results folder must be one that all machines see. A sweep that was stopped goes on with the same command.
coordinator=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):9876
export coordinator
# shellcheck disable=SC2016 # each task has its own SLURM_PROCID
srun bash -c 't1djax sweep --config examples/gpu_cluster/configs/sweep.yaml --results "${RESULTS:-results}" \
  --coordinator "$coordinator" --processes "$SLURM_NTASKS" --process "$SLURM_PROCID"'
