# An installation of Almanac on AWS, from an account to a cluster that waits for the roll-out.

locals {
  namespace = "almanac"
  images    = ["bot", "worker", "worker-gpu", "serving"]
  cluster   = var.name # a name that is known before the cluster is there
}

module "encryption" {
  source = "../modules/aws/encryption"

  name = var.name
}

module "network" {
  source = "../modules/aws/network"

  name                = var.name
  cidr                = var.vpc_cidr
  zones               = local.size.zones
  nat                 = local.size.nat
  interface_endpoints = local.endpoints
  log_retention_days  = var.log_retention_days
  logs_key_arn        = module.encryption.arns["logs"]
}

module "cluster" {
  source = "../modules/aws/cluster"

  name               = local.cluster
  kubernetes_version = var.kubernetes_version
  subnet_ids         = module.network.private_subnet_ids
  api_cidrs          = var.api_cidrs
  admins             = var.admins
  deployers          = { for name, role in local.github_roles : name => role if name == "deploy" }
  namespace          = local.namespace
  secrets_key_arn    = module.encryption.arns["cluster"]
  logs_key_arn       = module.encryption.arns["logs"]
  log_retention_days = var.log_retention_days

  general = {
    instance_types = local.size.node_types
    min            = local.size.nodes.min
    desired        = local.size.nodes.desired
    max            = local.size.nodes.max
    disk_gib       = 50
  }
  gpu = {
    instance_types = local.size.gpu_types
    max            = local.size.gpu_max
    disk_gib       = 150 # images with CUDA, a base model, checkpoints
    capacity_type  = var.gpu_capacity
  }
}

module "database" {
  source = "../modules/aws/database"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  engine_version           = var.postgres_version
  instance_class           = local.size.database_class
  storage_gib              = local.size.database_gib
  multi_az                 = local.size.database_multi_az
  replicas                 = local.size.database_replicas
  backup_days              = local.size.backup_days
  deletion_protection      = var.deletion_protection
  data_key_arn             = module.encryption.arns["data"]
  logs_key_arn             = module.encryption.arns["logs"]
  log_retention_days       = var.log_retention_days
}

module "cache" {
  source = "../modules/aws/cache"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  node_type                = local.size.cache_type
  nodes                    = local.size.cache_nodes
  data_key_arn             = module.encryption.arns["data"]
  logs_key_arn             = module.encryption.arns["logs"]
  log_retention_days       = var.log_retention_days
}

module "registry" {
  source = "../modules/aws/registry"

  name         = var.name
  images       = local.images
  data_key_arn = module.encryption.arns["data"]
}

module "logs" {
  source = "../modules/aws/bucket"

  name              = "${var.name}-logs-${var.account_id}"
  expire_days       = var.log_retention_days
  old_versions_days = 7
  statements        = [data.aws_iam_policy_document.logs.json]
  force_destroy     = !var.deletion_protection
}

# Load balancers and S3 write their access logs here; the names are put together, since the bucket is not there yet.
data "aws_iam_policy_document" "logs" {
  statement {
    sid       = "AccessLogs"
    actions   = ["s3:PutObject"]
    resources = [for prefix in ["alb/*", "s3/*"] : "arn:${data.aws_partition.this.partition}:s3:::${var.name}-logs-${var.account_id}/${prefix}"]
    principals {
      type        = "Service"
      identifiers = ["logdelivery.elasticloadbalancing.amazonaws.com", "logging.s3.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

data "aws_partition" "this" {}

module "adapters" {
  source = "../modules/aws/bucket"

  name          = "${var.name}-adapters-${var.account_id}"
  kms_key_arn   = module.encryption.arns["data"]
  log_bucket    = module.logs.name
  force_destroy = !var.deletion_protection
}

module "secrets" {
  source = "../modules/aws/secrets"

  name              = var.name
  data_key_arn      = module.encryption.arns["data"]
  generate          = var.generate_secrets
  generated_version = var.secrets_version
  redis_url         = module.cache.url
  recovery_days     = var.deletion_protection ? 30 : 7
  database = {
    address        = module.database.address
    reader_address = module.database.reader_address
    parameters     = var.database_parameters
  }
}

module "ingress" {
  source = "../modules/aws/ingress"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = var.internal ? module.network.private_subnet_ids : module.network.public_subnet_ids
  internal                 = var.internal
  allowed_cidrs            = var.allowed_cidrs
  target_security_group_id = module.cluster.security_group_id
  domain                   = var.domain
  zone_id                  = var.zone_id
  certificate_arn          = var.certificate_arn
  log_bucket               = module.logs.name
  deletion_protection      = var.deletion_protection
  requests_per_5_minutes   = var.requests_per_5_minutes
  logs_key_arn             = module.encryption.arns["logs"]
  log_retention_days       = var.log_retention_days
}

module "monitoring" {
  source = "../modules/aws/monitoring"

  name               = var.name
  rules              = file("${path.module}/../../prometheus/rules.yml")
  alert_emails       = var.alert_emails
  grafana            = var.grafana
  monthly_budget_usd = var.monthly_budget_usd
  logs_key_arn       = module.encryption.arns["logs"]
  log_retention_days = var.log_retention_days
}

module "identities" {
  source = "../modules/aws/identities"

  name                = var.name
  cluster_name        = module.cluster.name
  namespace           = local.namespace
  adapters_bucket_arn = module.adapters.arn
  data_key_arn        = module.encryption.arns["data"]
  secret_arns         = concat(module.secrets.arns, [module.database.master_secret_arn])
  prometheus_arn      = module.monitoring.prometheus_arn
  target_group_arn    = module.ingress.target_group_arn
  bedrock_model_arns  = var.bedrock_model_arns
}

module "github" {
  source = "../modules/aws/github"
  count  = var.github == null ? 0 : 1

  name            = var.name
  repository      = var.github.repository
  environment     = var.github.environment
  provider_exists = var.github.provider_exists
  repository_arns = module.registry.arns
  cluster_name    = local.cluster
  state_bucket    = var.github.state_bucket
  state_key_arn   = var.github.state_key_arn
}

locals {
  github_roles = var.github == null ? {} : module.github[0].roles
}
