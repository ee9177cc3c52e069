output "cluster" {
  description = "Name of the cluster: `aws eks update-kubeconfig --name …`."
  value       = module.cluster.name
}

output "pools" {
  description = "Pools of nodes as they start."
  value       = module.cluster.pools
}

output "images" {
  description = "Where images are pushed to."
  value       = module.registry.urls
}

output "values" {
  description = "Content of infra/kubernetes/overlays/aws/values.env, but for VERSION."
  value       = join("", [for key, value in local.values : "${key}=${value}\n"])
}

output "settings" {
  description = "Settings of Almanac that are no secrets: begin of infra/kubernetes/overlays/aws/settings.env."
  value       = join("", [for key, value in local.settings : "${key}=${value}\n"])
}

locals {
  values = {
    REGISTRY            = "${var.account_id}.dkr.ecr.${var.region}.amazonaws.com"
    REGION              = var.region
    PROMETHEUS_ENDPOINT = module.monitoring.prometheus_endpoint
    TARGET_GROUP_ARN    = module.ingress.target_group_arn
  }
  settings = {
    ALMANAC_PUBLIC_URL = "https://${var.domain}"
    ALMANAC_ADAPTERS   = "s3://${module.adapters.name}/adapters"
  }
}

output "secrets" {
  description = "Names of the secrets in Secrets Manager, for the ExternalSecrets; model, slack, teams, sources and tools are yours to fill."
  value       = module.secrets.names
}

output "database_master_secret" {
  description = "Secret of the database's master, for infra/terraform/bootstrap/database.sql."
  value       = module.database.master_secret_arn
}

output "database_address" {
  description = "Host of the database."
  value       = module.database.address
}

output "service_accounts" {
  description = "Service accounts with a role of AWS."
  value       = module.identities.service_accounts
}

output "permissions" {
  description = "What each service account may do in AWS."
  value       = module.identities.statements
}

output "target_group_arn" {
  description = "For the TargetGroupBinding."
  value       = module.ingress.target_group_arn
}

output "load_balancer" {
  description = "Name to point the domain at, where zone_id is not given."
  value       = module.ingress.dns_name
}

output "prometheus_endpoint" {
  description = "Endpoint of Managed Prometheus."
  value       = module.monitoring.prometheus_endpoint
}

output "grafana_endpoint" {
  description = "Address of Managed Grafana."
  value       = module.monitoring.grafana_endpoint
}

output "github_roles" {
  description = "Roles of the workflows: the repository's variables AWS_PLAN_ROLE, AWS_BUILD_ROLE and AWS_DEPLOY_ROLE."
  value       = local.github_roles
}
