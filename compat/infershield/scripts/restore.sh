#!/usr/bin/env bash
# restore.sh STAMP [--postgres-only|--redis-only] [--terminate-connections] [--yes]
exec "${LIFEBOAT:-lifeboat}" compat infershield restore "$@"
