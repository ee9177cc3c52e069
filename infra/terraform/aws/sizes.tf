# What a size is. Figures from benchmarks.md and README, "Past one machine": about 3.5 GB of database memory for a
# million passages, 15 to 25 ms of a core for a question at a million.

locals {
  sizes = {
    small = {
      zones             = 2
      nat               = "single"
      node_types        = ["m6i.large"]
      nodes             = { min = 2, desired = 2, max = 4 }
      gpu_types         = ["g6.xlarge", "g5.xlarge"]
      gpu_max           = 1
      database_class    = "db.t4g.medium"
      database_gib      = 50
      database_multi_az = false
      database_replicas = 0
      cache_type        = "cache.t4g.micro"
      cache_nodes       = 1
      backup_days       = 7
    }
    medium = {
      zones             = 3
      nat               = "per_zone"
      node_types        = ["m6i.xlarge"]
      nodes             = { min = 3, desired = 3, max = 8 }
      gpu_types         = ["g6.xlarge", "g5.xlarge"]
      gpu_max           = 2
      database_class    = "db.r6g.large"
      database_gib      = 200
      database_multi_az = true
      database_replicas = 0
      cache_type        = "cache.t4g.small"
      cache_nodes       = 2
      backup_days       = 14
    }
    large = {
      zones             = 3
      nat               = "per_zone"
      node_types        = ["m6i.2xlarge"]
      nodes             = { min = 4, desired = 4, max = 20 }
      gpu_types         = ["g6.2xlarge", "g5.2xlarge"]
      gpu_max           = 4
      database_class    = "db.r6g.2xlarge"
      database_gib      = 1000
      database_multi_az = true
      database_replicas = 1
      cache_type        = "cache.m6g.large"
      cache_nodes       = 2
      backup_days       = 35
    }
  }

  overrides = { for key, value in var.overrides : key => value if value != null }
  size      = merge(local.sizes[var.size], local.overrides)

  # Everything a node and Almanac's pods call, so that nothing of AWS goes through the NAT, or without one.
  services = [
    "aps-workspaces", "autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "kms",
    "logs", "secretsmanager", "sts",
  ]
  endpoints = var.private_services || local.size.nat == "none" ? toset(concat(
    local.services, length(var.bedrock_model_arns) > 0 ? ["bedrock-runtime"] : []
  )) : toset([])
}
