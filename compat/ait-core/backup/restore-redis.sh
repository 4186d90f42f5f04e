#!/usr/bin/env bash
# restore-redis.sh [FILE] [--yes]
exec "${LIFEBOAT:-lifeboat}" compat ait-core restore-redis --variables "$(dirname "$0")/backup.env" "$@"
