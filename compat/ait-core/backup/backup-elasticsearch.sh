#!/usr/bin/env bash
# backup-elasticsearch.sh
exec "${LIFEBOAT:-lifeboat}" compat ait-core backup-elasticsearch --variables "$(dirname "$0")/backup.env" "$@"
