#!/usr/bin/env bash
# backup-postgres.sh
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-postgres --variables "$(dirname "$0")/backup.env" "$@"
