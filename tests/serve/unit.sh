#!/usr/bin/env bash
# The systemd unit: its options are understood, and systemd's own count of what a broken-into server could reach stays low (0 best, 10 worst).
cd "$(dirname "$0")/../.." || exit 2
failures=0
if ! systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
  [ -n "${CI:-}" ] && { echo "[  FAILED  ] no_systemd_analyze"; exit 1; }
  echo "[  SKIPPED ] no_systemd_analyze"; exit 0
fi
said=$(mktemp)
trap 'rm -f "$said"' EXIT
if systemd-analyze security --offline=true --threshold=20 --no-pager packaging/vitae.service >"$said" 2>&1 && ! grep -qi 'unknown\|ignoring\|failed to parse' "$said"; then
  echo "[       OK ] the_unit_exposes_little"
else tail -20 "$said"; echo "[  FAILED  ] the_unit_exposes_little"; failures=1; fi
for need in NoNewPrivileges= ProtectSystem=strict ProtectHome= PrivateDevices= RestrictNamespaces= SystemCallFilter= CapabilityBoundingSet= LimitCORE=0; do
  grep -q "^$need" packaging/vitae.service || { echo "[  FAILED  ] the_unit_has_$need"; failures=1; }
done
[ $failures -eq 0 ]
