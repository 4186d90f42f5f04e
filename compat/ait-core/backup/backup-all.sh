#!/usr/bin/env bash
# backup-all.sh: all services that are named as one recovery point
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-all --variables "$(dirname "$0")/backup.env" "$@"
