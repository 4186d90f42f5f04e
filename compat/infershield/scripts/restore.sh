#!/usr/bin/env bash
# restore.sh STAMP [--postgres-only|--redis-only] [--terminate-connections] [--yes], or restore.sh --drop-old
exec "${LIFEBOAT:-lifeboat}" compat infershield restore "$@"
