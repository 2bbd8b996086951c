# What every shell and Ray process on a node has set; sourced, on every node alike.
# HPCM_SHARED is the folder that all nodes mount: data/<name>/ below it, checkpoints/ with weights to
# start from, and experiments/.
export HPCM_SHARED="${HPCM_SHARED:-/mnt/hpcm}"
export HPCM_DATA="${HPCM_DATA:-$HPCM_SHARED/data}"
export HPCM_CHECKPOINTS="${HPCM_CHECKPOINTS:-$HPCM_SHARED/checkpoints}"
export HPCM_HOME="${HPCM_HOME:-$HOME/hpcm-tune}"
export PATH="$HPCM_HOME/.venv/bin:$PATH"
export RAY_AUTH_MODE=token # the token is in ~/.ray/auth_token, the same on every node
export RAY_USAGE_STATS_ENABLED=0
export RAY_prestart_worker_first_driver=0 # no idle process for each core
