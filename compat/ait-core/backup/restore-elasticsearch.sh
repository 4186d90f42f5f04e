#!/usr/bin/env bash
# restore-elasticsearch.sh [FOLDER] [--yes]
exec "${LIFEBOAT:-lifeboat}" compat ait-core restore-elasticsearch --variables "$(dirname "$0")/backup.env" "$@"
