#!/usr/bin/env bash
# backup-redis.sh
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-redis --variables "$(dirname "$0")/backup.env" "$@"
