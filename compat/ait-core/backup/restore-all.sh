#!/usr/bin/env bash
# restore-all.sh -a [--terminate-connections] [--yes]: the newest backup of each service
exec "${LIFEBOAT:-lifeboat}" compat ait-core restore-all --variables "$(dirname "$0")/backup.env" "$@"
