#!/usr/bin/env bash
# backup.sh [--test]
exec "${LIFEBOAT:-lifeboat}" compat infershield backup "$@"
