# shellcheck shell=bash disable=SC2154  # sourced by infra/install.sh, which sets what both clouds read
# What is the same in every cloud. The cloud's own file has: TOOLS, STEPS, check_account, and step_NAME for each step that
# is not here.

TARGETS="bot worker worker-gpu serving"

say() { printf '\n== %s\n' "$*" >&2; }
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# The value of a variable in the tfvars, as `name = "value"` on a line of its own; else what is given.
tfvar() {
  local found
  found=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\"\([^\"]*\)\".*/\1/p" "$vars" | tail -n 1)
  printf '%s' "${found:-${2:-}}"
}

check_inputs() {
  [ -r "$vars" ] || fail "There is no $vars: copy example.tfvars beside it, fill it in, and come back."
  name=$(tfvar name almanac)
  size=$(tfvar size small)
  domain=$(tfvar domain)
  case $size in small | medium | large) ;; *) fail "size is small, medium or large, not $size." ;; esac
  [ "$name" = almanac ] || fail "This installs under the name almanac; for another one see infra/terraform/README.md, step by step."
  [ -z "$only" ] || case " $STEPS " in *" $only "*) ;; *) fail "There is no step $only: the steps are $STEPS." ;; esac
  [ -z "$extra_settings" ] || [ -r "$extra_settings" ] || fail "$extra_settings cannot be read."
  [ -z "$secrets" ] || check_secrets
}

check_secrets() {
  local mode_
  [ -r "$secrets" ] || fail "$secrets cannot be read."
  mode_=$(stat -c %a "$secrets" 2> /dev/null || stat -f %Lp "$secrets")
  [ "${mode_: -2}" = 00 ] || fail "$secrets can be read by others than you: chmod 600 $secrets."
  jq -e 'type == "object" and all(.[]; type == "object" and all(.[]; type == "string"))' "$secrets" > /dev/null ||
    fail "$secrets is not a JSON object of objects of strings."
  local unknown
  unknown=$(jq -r '(keys - ["model", "slack", "teams", "sources", "tools"]) | join(", ")' "$secrets")
  [ -z "$unknown" ] || fail "$secrets has entries that there are none of: $unknown (there are model, slack, teams, sources, tools)."
}

# at_least WANTED FOUND
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

check_tools() {
  local missing='' tool found
  for tool in $TOOLS; do
    command -v "$tool" > /dev/null || missing="$missing $tool"
  done
  [ -z "$missing" ] || fail "These programs are not here:$missing."
  found=$(terraform version -json | jq -r .terraform_version)
  at_least 1.11.0 "$found" || fail "Terraform 1.11 or newer is needed, this is $found."
  found=$(kubectl version --client --output=json | jq -r '.clientVersion.gitVersion' | tr -d v)
  at_least 1.29.0 "${found%%[-+]*}" || fail "kubectl 1.29 or newer is needed, this is $found."
  found=$(helm version --template '{{.Version}}' | tr -d v)
  at_least 3.12.0 "${found%%[-+]*}" || fail "Helm 3.12 or newer is needed, this is $found."
}

# The sum of infra/terraform/README.md for this cloud and size, in US dollars a month.
estimate() {
  local column
  case $size in small) column=3 ;; medium) column=4 ;; large) column=5 ;; esac
  sed -n "/^${1}/,/^| \*\*sum\*\*/p" "$here/terraform/README.md" | awk -F '|' -v column="$column" \
    '/\*\*sum\*\*/ { gsub(/[* ]/, "", $column); print $column }'
}

agreed() {
  local answer
  [ -z "$yes" ] || return 0
  [ -t 0 ] || fail "Nobody is there to be asked: --yes says yes."
  read -r -p "$1 [y/N] " answer
  case $answer in y | Y | yes) ;; *) fail "Nothing was changed." ;; esac
}

tf() {
  local where=$1
  shift
  terraform -chdir="$where" "$@"
}
output() { tf "$folder" output -raw "$1"; }

step_done() { grep -qx "$1" "$done_file" 2> /dev/null; }

install_all() {
  local step
  if [ ! -s "$done_file" ] && [ -z "$only" ]; then
    agreed "A $size installation on ${cloud} costs about $(estimate "$PRICED") US dollars a month (infra/terraform/README.md), from now on. Go on?"
  fi
  for step in ${only:-$STEPS}; do
    if [ -z "$only" ] && step_done "$step"; then
      say "$step: done before"
      continue
    fi
    say "$step"
    "step_$step"
    [ -n "$only" ] || printf '%s\n' "$step" >> "$done_file"
  done
  [ -n "$only" ] || rm -f "$done_file"
}

show_plan() {
  local step
  printf 'A %s installation on %s, about %s US dollars a month (infra/terraform/README.md). The steps:\n' \
    "$size" "$cloud" "$(estimate "$PRICED")"
  for step in ${only:-$STEPS}; do
    printf '  %-12s %s\n' "$step" "$(if step_done "$step"; then echo "done before"; else does "$step"; fi)"
  done
  if [ -r "$folder/state.config" ]; then
    initialised
    tf "$folder" plan -input=false -lock=false -var-file="$(absolute "$vars")"
  else
    printf 'What Terraform would make is shown once there is a place for its state.\n'
  fi
}

does() {
  case $1 in
    state) echo "makes the place of Terraform's state" ;;
    cloud) echo "terraform apply: network, cluster, database, queue, secrets, way in" ;;
    cluster) echo "lets kubectl into the cluster" ;;
    authorities) echo "brings the certificates that vouch for the database" ;;
    addons) echo "External Secrets and what else stands in the cluster, by Helm" ;;
    database) echo "roles, passwords and pgvector, by a job in the cluster" ;;
    secrets) if [ -n "$secrets" ]; then echo "puts what $secrets holds into the store"; else echo "leaves the store as it is"; fi ;;
    images) echo "builds and pushes $TARGETS at $version, unless they are there" ;;
    rollout) echo "migrates, then rolls out (infra/kubernetes/deploy.sh $cloud)" ;;
    check) echo "almanac check, in the cluster" ;;
  esac
}

absolute() { case $1 in /*) printf %s "$1" ;; *) printf %s "$PWD/$1" ;; esac; }

initialised() {
  tf "$folder" init -input=false -backend-config=state.config -backend-config="key=$name.tfstate"
}

# What is applied is what was planned. The second try is for roles that a vault believes in only after a minute or two.
step_cloud() {
  local attempt
  initialised
  for attempt in 1 2; do
    tf "$folder" plan -input=false -var-file="$(absolute "$vars")" -out=install.tfplan
    if tf "$folder" apply -input=false install.tfplan; then
      rm -f "$folder/install.tfplan"
      return 0
    fi
    rm -f "$folder/install.tfplan"
    [ "$attempt" = 2 ] || sleep "${ALMANAC_INSTALL_WAIT:-120}"
  done
  fail "terraform apply failed twice: see above. Run this again to go on from here."
}

# chart NAMESPACE NAME REPOSITORY VERSION [MORE…]
chart() {
  local namespace=$1 chart_=$2 repository=$3 at=$4
  shift 4
  helm upgrade --install "$chart_" "$chart_" --repo "$repository" --version "$at" --namespace "$namespace" \
    --create-namespace --wait --timeout 10m "$@"
}

device_plugin() {
  chart kube-system nvidia-device-plugin https://nvidia.github.io/k8s-device-plugin 0.18.0 \
    --set-json 'nodeSelector={"almanac/pool":"gpu"}' --set-json 'affinity={}'
}

# The database's first steps, as its master. HOST, a file with who vouches for it; master_secret and database_secret tell
# the secrets as JSON. Values go by standard input: no list of processes shows them.
bootstrap() {
  local host=$1 authorities=$2
  kubectl apply -f "$here/kubernetes/base/namespace.yaml"
  kubectl -n almanac delete job/bootstrap secret/bootstrap configmap/bootstrap --ignore-not-found --wait
  {
    printf 'PGHOST=%s\nPGDATABASE=almanac\nPGSSLMODE=verify-full\nPGSSLROOTCERT=/bootstrap/database.pem\n' "$host"
    master_secret | jq -r '"PGUSER=\(.username)\nPGPASSWORD=\(.password)"'
    database_secret | jq -r 'to_entries[] | "\(.key)=\(.value)"'
  } | kubectl -n almanac create secret generic bootstrap --from-env-file=/dev/stdin
  kubectl -n almanac create configmap bootstrap \
    --from-file="$here/terraform/bootstrap/database.sql" --from-file=database.pem="$authorities"
  kubectl -n almanac apply -f "$here/terraform/bootstrap/job.yaml"
  if ! kubectl -n almanac wait job/bootstrap --for=condition=complete --timeout=5m; then
    kubectl -n almanac logs job/bootstrap --tail=20 >&2
    fail "The database's first steps failed: see above."
  fi
  kubectl -n almanac delete job/bootstrap secret/bootstrap configmap/bootstrap
}

step_secrets() {
  local entry file
  if [ -z "$secrets" ]; then
    echo "No file of secrets was given: the store stays as it is." >&2
    return 0
  fi
  file=$(mktemp) # readable by its owner only
  for entry in $(jq -r 'keys[]' "$secrets"); do
    jq -c --arg entry "$entry" '.[$entry]' "$secrets" > "$file"
    put_secret "$entry" "$file"
  done
  rm -f "$file"
}

step_images() {
  local target image
  sign_in
  for target in $TARGETS; do
    image=$(registry)/almanac/$target:$version
    if image_there "$target"; then
      echo "$image is there." >&2
      continue
    fi
    # SBOM and provenance are more than the builder can that Docker brings.
    docker buildx inspect almanac > /dev/null 2>&1 || docker buildx create --name almanac --driver docker-container
    docker buildx build --builder almanac --platform linux/amd64 --file "$here/Dockerfile" --target "$target" --sbom=true \
      --provenance=mode=max --build-arg VERSION="$version" --tag "$image" --push "$here/.."
  done
}

step_rollout() {
  { output values && printf 'VERSION=%s\n' "$version"; } > "$overlay/values.env.new"
  { output settings && cat ${extra_settings:+"$extra_settings"} < /dev/null; } > "$overlay/settings.env.new"
  mv "$overlay/values.env.new" "$overlay/values.env"
  mv "$overlay/settings.env.new" "$overlay/settings.env"
  "$here/kubernetes/deploy.sh" "$cloud"
}

step_check() {
  kubectl -n almanac exec deploy/almanac-bot -- almanac check
  say "Almanac runs. https://$domain/ asks for the token in the secret web; $(way_in)"
}

destroy() {
  local answer
  initialised
  if [ -z "$yes" ]; then
    [ -t 0 ] || fail "Nobody is there to be asked: --yes says yes."
    read -r -p "This deletes the database, its documents and answers, the adapters and the images. The installation's name, to go on: " answer
    [ "$answer" = "$name" ] || fail "Nothing was changed."
  fi
  if enter_cluster; then # what is in it lets go of the load balancer first
    kubectl delete namespace almanac --ignore-not-found --timeout=10m
  else
    echo "The cluster cannot be reached; what Terraform made is taken down anyway." >&2
  fi
  unprotect
  tf "$folder" destroy -input=false -auto-approve -var-file="$(absolute "$vars")" ${DESTROY[@]+"${DESTROY[@]}"}
  rm -f "$done_file"
  say "It is gone. $(left_over)"
}
