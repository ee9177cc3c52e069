#!/usr/bin/env bash
# Who vouches for RDS: brings Amazon's certificates of a region into the cluster, for the pods and for KEDA, which all hold
# the database to them (sslmode=verify-full). They come from Amazon's own address by https, and one of them must be the one
# that the account's API names: neither alone is believed.
#
#   authorities.sh REGION [NAMESPACE…]      (almanac and keda where none is named)
#
# Once for each cluster, and again where `ca_cert_identifier` in infra/terraform/modules/aws/database becomes another.
set -euo pipefail

region=${1:?which region: authorities.sh eu-central-1}
shift
[ $# -gt 0 ] || set -- almanac keda
authority=${ALMANAC_RDS_AUTHORITY:-rds-ca-rsa2048-g1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

curl --fail --silent --show-error --proto '=https' --tlsv1.2 --retry 3 --max-time 60 \
  --output "$folder/database.pem" "https://truststore.pki.rds.amazonaws.com/$region/$region-bundle.pem"
wanted=$(aws rds describe-certificates --region "$region" --certificate-identifier "$authority" \
  --query 'Certificates[0].Thumbprint' --output text | tr 'A-F' 'a-f')

awk -v folder="$folder" '/-----BEGIN CERTIFICATE-----/ { n++ } n { print > (folder "/" n ".one") }' "$folder/database.pem"
found=
for certificate in "$folder"/*.one; do
  [ -e "$certificate" ] || continue
  thumbprint=$(openssl x509 -in "$certificate" -noout -fingerprint -sha1 | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
  [ "$thumbprint" != "$wanted" ] || found=yes
done
if [ -z "$found" ]; then
  echo "The certificates that were fetched are not those of $authority in $region: nothing was changed." >&2
  exit 1
fi

for namespace in "$@"; do
  kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"
  kubectl -n "$namespace" create configmap almanac-authorities --from-file="$folder/database.pem" \
    --dry-run=client --output=yaml | kubectl apply --server-side --force-conflicts -f -
done
