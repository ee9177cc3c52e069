#!/usr/bin/env bash
# Makes the secrets of the overlay `local` in the cluster that kubectl points to, with passwords drawn now, once.
set -euo pipefail

namespace=${1:-almanac}
password() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
secret() { # NAME KEY=VALUE…: values go by standard input, so that no list of processes shows them
  local name=$1
  shift
  printf '%s\n' "$@" | kubectl -n "$namespace" create secret generic "$name" --from-env-file=/dev/stdin
}

if kubectl -n "$namespace" get secret almanac-servers > /dev/null 2>&1; then
  echo "The secrets are there already." >&2
  exit 0
fi
kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"
postgres=$(password) valkey=$(password)
secret almanac-database "ALMANAC_DATABASE_URL=postgresql://almanac:$postgres@postgres:5432/almanac"
secret almanac-queue "ALMANAC_REDIS_URL=redis://:$valkey@valkey:6379/0"
secret almanac-web "ALMANAC_WEB_TOKEN=$(password)" "ALMANAC_ADMIN_TOKEN=$(password)"
secret almanac-model "ALMANAC_LLM_API_KEY=$(password)"
secret almanac-servers "POSTGRES_PASSWORD=$postgres" "VALKEY_PASSWORD=$valkey"
