#!/usr/bin/env bash
# verify-backups.sh: reads every backup from its beginning to its end
exec "${LIFEBOAT:-lifeboat}" compat ait-core verify-backups --variables "$(dirname "$0")/backup.env" "$@"
