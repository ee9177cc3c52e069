# shellcheck shell=bash disable=SC2154,SC2034  # sourced by infra/install.sh
# Azure's part of infra/install.sh.

TOOLS="terraform kubectl kubelogin helm az docker jq"
STEPS="state cloud cluster addons database secrets images rollout check"
PRICED="Azure:"
DESTROY=()

check_account() {
  local found
  subscription=$(tfvar subscription_id)
  location=$(tfvar location)
  unique=$(tfvar unique)
  if [ -z "$subscription" ] || [ -z "$unique" ]; then fail "$vars has no subscription_id or no unique."; fi
  found=$(az account show --query id --output tsv) || fail "The Azure command line is not signed in: az login."
  [ "$found" = "$subscription" ] || fail "You are signed in to the subscription $found, and $vars is for $subscription."
}

# A storage account without shared keys: whoever applies is given the right to its blobs, which takes a minute to hold.
step_state() {
  local group=almanac-state store=almanacstate$unique me id attempt
  az group create --name "$group" --location "$location" --output none
  az storage account create --resource-group "$group" --name "$store" --location "$location" --sku Standard_ZRS \
    --min-tls-version TLS1_2 --https-only true --allow-blob-public-access false --allow-shared-key-access false --output none
  az storage account blob-service-properties update --resource-group "$group" --account-name "$store" \
    --enable-versioning true --output none
  id=$(az storage account show --resource-group "$group" --name "$store" --query id --output tsv)
  me=$(az ad signed-in-user show --query id --output tsv)
  az role assignment create --assignee-object-id "$me" --assignee-principal-type User \
    --role "Storage Blob Data Contributor" --scope "$id" --output none
  for attempt in 1 2 3 4 5 6; do
    if az storage container create --account-name "$store" --name tfstate --auth-mode login --output none; then break; fi
    [ "$attempt" != 6 ] || fail "The container of the state could not be made."
    sleep "${ALMANAC_INSTALL_WAIT:-30}"
  done
  cat > "$folder/state.config" << CONFIG
resource_group_name  = "$group"
storage_account_name = "$store"
container_name       = "tfstate"
subscription_id      = "$subscription"
CONFIG
}

enter_cluster() {
  az aks get-credentials --subscription "$subscription" --resource-group "$name" --name "$(output cluster)" --overwrite-existing &&
    kubelogin convert-kubeconfig --login azurecli && kubectl version --output=json > /dev/null
}
step_cluster() {
  enter_cluster || fail "The cluster's API does not answer. Is this machine in operator_cidrs? Else go on from inside the network."
}

# AKS brings KEDA, its autoscaler and its load balancers along.
step_addons() {
  local identity
  identity=$(tf "$folder" output -json service_accounts | jq -r '."external-secrets"')
  kubectl apply -f "$here/kubernetes/base/namespace.yaml"
  chart external-secrets external-secrets https://charts.external-secrets.io 0.20.4 \
    --set-json 'podLabels={"azure.workload.identity/use":"true"}' \
    --set-json "serviceAccount.annotations={\"azure.workload.identity/client-id\":\"$identity\"}"
  device_plugin
}

vault() { output vault | sed 's|https://||; s|\..*||'; }
secret() { az keyvault secret show --vault-name "$(vault)" --name "$1" --query value --output tsv; }
master_secret() { secret master; }
database_secret() { secret database; }

# The database's certificate is by an authority that every system knows; psql's image alone brings none along.
step_database() {
  local file
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [ -r "$file" ] || continue
    bootstrap "$(output database_host)" "$file"
    return 0
  done
  fail "This machine's own certificates were not found."
}

put_secret() { az keyvault secret set --vault-name "$(vault)" --name "$1" --file "$2" --content-type application/json --output none; }

registry() { output registry; }
sign_in() { az acr login --name "$(output registry | sed 's|\..*||')"; }
image_there() {
  az acr manifest show-metadata --registry "$(output registry | sed 's|\..*||')" --name "almanac/$1:$version" > /dev/null 2>&1
}

way_in() {
  printf 'point the domain to %s, and import its certificate into the vault as gateway (docs/deploy.md).' "$(output gateway_address)"
}

unprotect() { :; }
left_over() {
  printf 'The vault and its secrets can be brought back for ninety days; the group almanac-state stays until you delete it.'
}
