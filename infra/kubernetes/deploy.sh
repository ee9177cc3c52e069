#!/usr/bin/env bash
# Rolls out an overlay in the cluster that kubectl points to: deploy.sh local|aws|azure
# The order: what everything stands on, secrets, the migration (the version in force runs on meanwhile), then the rest.
# A migration that fails ends here, and nothing else has changed.
set -euo pipefail

overlay=${1:?which overlay: local, aws or azure}
here=$(cd "$(dirname "$0")" && pwd)
manifests=$(mktemp)
trap 'rm -f "$manifests"' EXIT
kubectl kustomize "$here/overlays/$overlay" > "$manifests"

kubectl apply -f "$here/base/namespace.yaml"
if [ "$overlay" = local ]; then
  "$here/secrets.sh"
  kubectl apply -f "$manifests" -l 'app.kubernetes.io/component in (postgres, valkey)'
  for server in postgres valkey; do
    kubectl -n almanac rollout status "statefulset/$server" --timeout=5m
  done
else
  if grep -q 'name: almanac-authorities' "$manifests" && ! kubectl -n almanac get configmap almanac-authorities > /dev/null; then
    echo "First, once for this cluster, who vouches for the database: infra/kubernetes/authorities.sh REGION" >&2
    exit 1
  fi
  kubectl apply -f "$manifests" -l app.kubernetes.io/component=secrets
  for name in database queue web; do
    kubectl -n almanac wait "externalsecret/almanac-$name" --for=condition=Ready --timeout=2m
  done
fi

kubectl -n almanac delete job almanac-migrate --ignore-not-found --wait
kubectl apply -f "$manifests" -l 'app.kubernetes.io/component in (settings, policy, migrate)'
if ! kubectl -n almanac wait job/almanac-migrate --for=condition=complete --timeout=60m; then
  kubectl -n almanac logs job/almanac-migrate --all-containers --tail=50 >&2
  exit 1
fi

kubectl apply -f "$manifests" -l 'app.kubernetes.io/component notin (migrate, secrets)'
kubectl -n almanac rollout status deployment --selector 'app.kubernetes.io/name=almanac' --timeout=15m
