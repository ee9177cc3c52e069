# shellcheck shell=bash disable=SC2154,SC2034  # sourced by infra/install.sh
# AWS' part of infra/install.sh.

TOOLS="terraform kubectl helm aws docker jq curl openssl"
STEPS="state cloud cluster authorities addons database secrets images rollout check"
PRICED="AWS, hours"
DESTROY=(-var deletion_protection=false)

check_account() {
  local found
  account=$(tfvar account_id)
  region=$(tfvar region eu-central-1)
  [ -n "$account" ] || fail "$vars has no account_id."
  found=$(aws sts get-caller-identity --query Account --output text) || fail "The AWS command line is not signed in."
  [ "$found" = "$account" ] || fail "You are signed in to the account $found, and $vars is for $account."
}

# The state's own state is a local file. Where it was lost, but the bucket is there, state.config is made by hand.
step_state() {
  tf "$folder/state" init -input=false
  tf "$folder/state" apply -input=false -auto-approve -var "account_id=$account" -var "region=$region"
  tf "$folder/state" output -raw backend > "$folder/state.config.new"
  mv "$folder/state.config.new" "$folder/state.config"
}

enter_cluster() {
  aws eks update-kubeconfig --region "$region" --name "$(output cluster)" && kubectl version --output=json > /dev/null
}
step_cluster() {
  enter_cluster || fail "The cluster's API does not answer. Is this machine in api_cidrs? Else go on from inside the network."
}

step_authorities() {
  kubectl apply -f "$here/kubernetes/base/namespace.yaml"
  "$here/kubernetes/authorities.sh" "$region"
}

# KEDA asks the database how much waits, and holds it to the same certificates as everybody.
step_addons() {
  local cluster vpc
  cluster=$(output cluster)
  vpc=$(aws eks describe-cluster --region "$region" --name "$cluster" --query cluster.resourcesVpcConfig.vpcId --output text)
  chart external-secrets external-secrets https://charts.external-secrets.io 0.20.4
  chart keda keda https://kedacore.github.io/charts 2.18.3 \
    --set-json 'volumes.keda.extraVolumes=[{"name":"authorities","configMap":{"name":"almanac-authorities"}}]' \
    --set-json 'volumes.keda.extraVolumeMounts=[{"name":"authorities","mountPath":"/etc/almanac/authorities","readOnly":true}]'
  chart kube-system aws-load-balancer-controller https://aws.github.io/eks-charts 1.14.1 \
    --set clusterName="$cluster" --set region="$region" --set vpcId="$vpc"
  chart kube-system cluster-autoscaler https://kubernetes.github.io/autoscaler 9.52.1 \
    --set autoDiscovery.clusterName="$cluster" --set awsRegion="$region" --set rbac.serviceAccount.name=cluster-autoscaler
  device_plugin
}

secret() { aws secretsmanager get-secret-value --region "$region" --secret-id "$1" --query SecretString --output text; }
master_secret() { secret "$(output database_master_secret)"; }
database_secret() { secret "$name/database"; }

step_database() {
  local authorities
  authorities=$(mktemp)
  kubectl -n almanac get configmap almanac-authorities --output 'jsonpath={.data.database\.pem}' > "$authorities"
  bootstrap "$(output database_address)" "$authorities"
  rm -f "$authorities"
}

put_secret() {
  aws secretsmanager put-secret-value --region "$region" --secret-id "$name/$1" --secret-string "file://$2" > /dev/null
}

registry() { printf '%s.dkr.ecr.%s.amazonaws.com' "$account" "$region"; }
sign_in() {
  aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "$(registry)"
}
image_there() {
  aws ecr describe-images --region "$region" --repository-name "almanac/$1" --image-ids "imageTag=$version" > /dev/null 2>&1
}

way_in() {
  if [ -n "$(tfvar zone_id)" ]; then
    printf 'the domain points there already.'
  else
    printf 'point the domain to %s.' "$(output load_balancer)"
  fi
}

unprotect() { tf "$folder" apply -input=false -auto-approve -var-file="$(absolute "$vars")" "${DESTROY[@]}"; }
left_over() {
  printf 'Secrets can be brought back for a week; snapshots of the database, and the bucket of the state, stay until you delete them.'
}
