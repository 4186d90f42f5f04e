#!/usr/bin/env bash
# backup-minio.sh
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-minio --variables "$(dirname "$0")/backup.env" "$@"
