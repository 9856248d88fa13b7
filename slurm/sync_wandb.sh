#!/usr/bin/env bash
# Uploads the offline W&B runs below folders, from a machine with a network, as often as wanted.
#   slurm/sync_wandb.sh runs
# They lie in the run folders, runs/<experiment>/seed_<seed>/wandb/offline-run-<time>-<id>.
# A run that was continued has several parts with one id: they go in order of their start. What W&B marks as uploaded
# (run-<id>.wandb.synced) is passed over; a part whose upload fails is tried again next time.
set -euo pipefail

complain() {
  echo "sync_wandb.sh: error: $1" >&2
  exit 2
}

[[ $# -gt 0 ]] || complain 'no folder; give the folders that hold offline runs'
for folder in "$@"; do
  [[ -d $folder ]] || complain "$folder is no folder; give the folders that hold offline runs"
done
command -v wandb >/dev/null || complain "wandb is not installed; pip install -e '.[dashboards]'"

# The names hold the time: offline-run-20261125_150102-<id>.
mapfile -t parts < <(find "$@" -type d -name 'offline-run-*' -printf '%f\t%p\n' | sort | cut -f 2- | xargs -r -d '\n' realpath | uniq)
login='not logged in to W&B, or no network; run wandb login or set WANDB_API_KEY'
uploaded=0 done_before=0 failed=0
for part in "${parts[@]}"; do
  if compgen -G "$part/*.wandb.synced" >/dev/null; then
    done_before=$((done_before + 1))
    continue
  fi
  if [[ $uploaded -eq 0 && $failed -eq 0 ]]; then
    wandb login --verify </dev/null >/dev/null 2>&1 || complain "$login"
  fi
  echo "uploading $part"
  if wandb sync "$part" </dev/null && compgen -G "$part/*.wandb.synced" >/dev/null; then
    uploaded=$((uploaded + 1))
  else
    echo "sync_wandb.sh: $part is not uploaded" >&2
    failed=$((failed + 1))
  fi
done
echo "${#parts[@]} offline runs: $uploaded uploaded, $done_before uploaded before, $failed failed"
[[ $failed -eq 0 ]]
