#!/usr/bin/env bash
# restore-minio.sh [FOLDER] [--yes]
exec "${LIFEBOAT:-lifeboat}" compat ait-core restore-minio --variables "$(dirname "$0")/backup.env" "$@"
