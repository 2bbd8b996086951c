#!/bin/sh
# Start a search, or continue the last one in STORAGE, a folder for this search alone:
#   deploy/search.sh STORAGE --space phase3 [other flags of tune.py]
# What starts a killed driver again (Slurm, KubeRay, a loop) calls this, and never loses a finished trial.
set -eu
storage=$1
shift
mkdir -p "$storage"
if [ -n "$(find "$storage" -mindepth 2 -maxdepth 2 -name experiment.json -print -quit)" ]; then
  set -- "$@" --resume last
fi
exec python tune.py --storage "$storage" "$@"
