#!/usr/bin/env bash
# From an empty account to a running assistant, in one command:
#
#   infra/install.sh aws|azure            installs, or goes on where it broke off
#   infra/install.sh aws --plan           says what it would do and what it would cost, and changes nothing
#   infra/install.sh aws --destroy        takes it all down again
#
#   --vars FILE      what is installed; almanac.tfvars beside example.tfvars, where nothing is said
#   --secrets FILE   a JSON object {"slack": {"SLACK_BOT_TOKEN": "…"}, "model": {…}}, readable by nobody else; the names are
#                    those of docs/deploy.md. Without it they stay as they are, and what is missing is not used
#   --settings FILE  lines NAME=value of .env.example that are no secrets, beside those that Terraform tells
#   --version V      of the images (0.1.0)
#   --only STEP      just this step, as `database` after passwords were changed
#   --yes            does not ask
#
# Every step may run again and changes nothing that already is as it should be. What was done stands in
# infra/terraform/CLOUD/install.done until all of it is; that the account is the right one and the tools are there is seen
# before anything is touched. docs/deploy.md says what each step does, and how to do it by hand.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
  sed -n '2,20s/^# \{0,1\}//p' "$here/install.sh"
  exit "${1:-2}"
}

cloud=${1:-}
case $cloud in aws | azure) shift ;; -h | --help) usage 0 ;; *) usage ;; esac
mode=install only='' vars='' secrets='' extra_settings='' version=0.1.0 yes=''
while [ $# -gt 0 ]; do
  case $1 in
    --plan) mode=plan ;;
    --destroy) mode=destroy ;;
    --yes) yes=yes ;;
    --vars | --secrets | --settings | --version | --only)
      [ $# -ge 2 ] || usage
      case $1 in
        --vars) vars=$2 ;;
        --secrets) secrets=$2 ;;
        --settings) extra_settings=$2 ;;
        --version) version=$2 ;;
        --only) only=$2 ;;
      esac
      shift
      ;;
    -h | --help) usage 0 ;;
    *) usage ;;
  esac
  shift
done
folder=$here/terraform/$cloud
overlay=$here/kubernetes/overlays/$cloud
vars=${vars:-$folder/almanac.tfvars}
done_file=$folder/install.done

# shellcheck source=infra/install/common.sh
. "$here/install/common.sh"
# shellcheck source=infra/install/aws.sh
. "$here/install/$cloud.sh"

check_inputs
check_tools
check_account
case $mode in
  plan) show_plan ;;
  destroy) destroy ;;
  install) install_all ;;
esac
