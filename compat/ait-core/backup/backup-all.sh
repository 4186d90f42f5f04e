#!/usr/bin/env bash
# backup-all.sh: PostgreSQL and Redis as one recovery point
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-all --variables "$(dirname "$0")/backup.env" "$@"
