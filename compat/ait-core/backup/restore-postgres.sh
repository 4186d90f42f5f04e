#!/usr/bin/env bash
# restore-postgres.sh [FILE] [--terminate-connections] [--yes], or restore-postgres.sh --drop-old
exec "${LIFEBOAT:-lifeboat}" compat ait-core restore-postgres --variables "$(dirname "$0")/backup.env" "$@"
